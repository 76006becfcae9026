//! Which options go together: contradictions are errors, what fio only remarks on are warnings.
//!
//! Knows nothing of how options are read.

use crate::digest::VerifyType;
use crate::job::Job;
use crate::job_error::JobErrorKind;
use crate::span::Span;

/// An option, and what is wrong with it.
pub(crate) type Found = (&'static str, JobErrorKind);

/// What is wrong with a section.
#[derive(Default)]
struct Findings(Vec<Found>);

impl Findings {
    fn contradictory(&mut self, option: &'static str, why: impl Into<String>) {
        let why = why.into();
        self.0
            .push((option, JobErrorKind::Contradictory { option, why }));
    }

    fn unsupported(&mut self, option: &'static str, expected: &str) {
        let kind = JobErrorKind::Unsupported {
            option: option.to_owned(),
            value: None,
            expected: expected.to_owned(),
        };
        self.0.push((option, kind));
    }
}

/// Checks a finished section, and makes fio's own corrections in it. Returns each option that cannot hold
/// beside the others, and why.
pub(crate) fn check(job: &mut Job, warnings: &mut Vec<String>) -> Vec<Found> {
    let mut found = Findings::default();
    if !job.reaches_disks() {
        return found.0;
    }
    check_verify_kind(job, &mut found);
    if job.verify_state_load && (job.nrfiles > 1 || job.file_names().len() > 1) {
        found.unsupported("verify_state_load", "reads it for one file");
    }
    check_pattern(job, &mut found);
    check_sizes(job, &mut found);
    if let Some(verify) = job.verify {
        check_verify(verify, job, &mut found);
    }
    warn(job, warnings);
    if job.time_based && job.runtime_ns == 0 {
        job.time_based = false;
    }
    found.0
}

fn check_verify_kind(job: &Job, found: &mut Findings) {
    if job.verify_only && job.time_based {
        found.contradictory(
            "verify_only",
            "a run that only verifies cannot be time_based",
        );
    }
    if job.experimental_verify && job.verify_backlog > 0 {
        found.unsupported(
            "experimental_verify",
            "verifies behind a pass: without verify_backlog",
        );
    }
}

fn check_pattern(job: &Job, found: &mut Findings) {
    match (&job.verify_pattern, job.verify) {
        (None, Some(VerifyType::PatternNoHeader)) => {
            found.contradictory("verify", "verify=pattern needs verify_pattern");
        }
        // It does not fill a buffer again that holds the pattern, and swaps an old header into the data.
        (Some(pattern), Some(verify))
            if verify.has_header() && job.verify_offset > 0 && !pattern.has_format() =>
        {
            found.unsupported(
                "verify_offset",
                "does without: fio 3.33 spoils its own pattern, unless there is a %o in it",
            );
        }
        _ => {}
    }
}

fn check_sizes(job: &Job, found: &mut Findings) {
    if let Some(Span::Bytes(size)) = job.size
        && size > 0
        && size < u64::from(job.len_min())
    {
        let why = format!("{size} bytes are less than a block of {}", job.len_min());
        found.contradictory("size", why);
    }
}

fn check_verify(verify: VerifyType, job: &Job, found: &mut Findings) {
    if verify == VerifyType::Null {
        return;
    }
    let header = verify.header_len() as u32;
    let interval = job.interval();
    if interval < header {
        let name = verify.name();
        let why = format!("{interval} bytes do not hold the {header} bytes of {name}'s header");
        found.contradictory("bs", why);
        return;
    }
    let offset = job.verify_offset;
    if offset > 0 && verify.has_header() && (offset < header || interval - header < offset) {
        let why = format!(
            "{offset} leaves no room for the {header} bytes of the header in {interval}, or is among them"
        );
        found.contradictory("verify_offset", why);
    }
}

/// What fio 3.33 says and goes on.
fn warn(job: &Job, warnings: &mut Vec<String>) {
    let name = &job.name;
    let mut say = |text: &str| warnings.push(format!("{name}: {text}"));
    if job.time_based && job.runtime_ns == 0 {
        say("time_based requires a runtime/timeout setting");
    }
    if job.ioengine.is_sync() && job.iodepth > 1 {
        say(
            "both iodepth >= 1 and synchronous I/O engine are selected, queue depth will be capped at 1",
        );
    }
    let writes = job.rw.writes() && job.verify.is_some();
    let (given, interval) = (job.verify_interval, job.interval());
    if writes && given > 0 && given != interval {
        let whole = job.write_len.1;
        say(&format!(
            "verify_interval={given} does not divide blocks of {whole}: headers stand every {interval} bytes"
        ));
    }
    if writes && job.norandommap && job.write_len.0 != job.write_len.1 {
        say("norandommap given for variable block sizes, verify limited");
    }
    if writes && job.do_verify && job.numjobs > 1 {
        say(
            "multiple writers may overwrite blocks that belong to other jobs. This can cause verification failures.",
        );
    }
    let forever = job.time_based && job.runtime_ns > 0;
    if writes && job.do_verify && forever && !job.rw.reads() && job.verify_backlog == 0 {
        say("verification read phase will never start because write phase uses all of runtime");
    }
}
