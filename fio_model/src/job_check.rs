//! Which options go together: contradictions are errors, what fio only remarks on are warnings.
//!
//! Knows nothing of how options are read.

use crate::digest::VerifyType;
use crate::job::{Job, Span};
use crate::job_error::JobErrorKind;
use crate::options::Draft;

/// An option, and what is wrong with it.
pub(crate) type Found = (&'static str, JobErrorKind);

fn contradictory(option: &'static str, why: impl Into<String>) -> Result<(), Found> {
    Err((
        option,
        JobErrorKind::Contradictory {
            option,
            why: why.into(),
        },
    ))
}

fn unsupported(option: &'static str, expected: &str) -> Result<(), Found> {
    let option_name = option.to_owned();
    let expected = expected.to_owned();
    Err((
        option,
        JobErrorKind::Unsupported {
            option: option_name,
            value: None,
            expected,
        },
    ))
}

/// Checks a finished section. `job` is `draft`, finished; fio's own corrections are made in it.
///
/// # Errors
///
/// The first option that cannot hold beside the others, and why.
pub(crate) fn check(draft: &Draft, job: &mut Job, warnings: &mut Vec<String>) -> Result<(), Found> {
    check_verify_kind(draft)?;
    check_pattern(job)?;
    let goes_on = job.continue_on_error;
    if job.ioengine.is_sync() && (goes_on.read || goes_on.write) {
        unsupported(
            "continue_on_error",
            "goes on after failed I/O with libaio and io_uring only",
        )?;
    }
    check_sizes(job)?;
    if !job.randrepeat && job.randseed.is_none() && !job.allrandrepeat {
        unsupported("randrepeat", "has no entropy: give randseed=")?;
    }
    if let Some(verify) = job.verify {
        check_verify(verify, job)?;
    }
    warn(job, warnings);
    if job.time_based && job.runtime_ns == 0 {
        job.time_based = false;
    }
    Ok(())
}

fn check_verify_kind(draft: &Draft) -> Result<(), Found> {
    if draft.verify_only && draft.job.time_based {
        contradictory(
            "verify_only",
            "a run that only verifies cannot be time_based",
        )?;
    }
    if draft.verify_only {
        unsupported(
            "verify_only",
            "verifies what it wrote, or reads with rw=read",
        )?;
    }
    Ok(())
}

fn check_pattern(job: &Job) -> Result<(), Found> {
    let verify = job.verify;
    match (&job.verify_pattern, verify) {
        (None, Some(VerifyType::PatternNoHeader)) => {
            contradictory("verify", "verify=pattern needs verify_pattern")
        }
        (Some(_), None | Some(VerifyType::Null)) => unsupported(
            "verify_pattern",
            "writes a pattern where verify= asks for a check of it",
        ),
        // It does not fill a buffer again that holds the pattern, and swaps an old header into the data.
        (Some(pattern), _) if job.verify_offset > 0 && !pattern.has_format() => unsupported(
            "verify_offset",
            "does without: fio 3.33 spoils its own pattern, unless there is a %o in it",
        ),
        _ => Ok(()),
    }
}

fn check_sizes(job: &Job) -> Result<(), Found> {
    if job.io_size.is_some() && job.norandommap && job.rw.is_random() {
        unsupported(
            "io_size",
            "goes over size once, or in whole passes, of a job with a map",
        )?;
    }
    if let Some(Span::Bytes(size)) = job.size
        && size > 0
        && size < u64::from(job.len_min())
    {
        let why = format!("{size} bytes are less than a block of {}", job.len_min());
        contradictory("size", why)?;
    }
    Ok(())
}

fn check_verify(verify: VerifyType, job: &Job) -> Result<(), Found> {
    if verify == VerifyType::Null {
        return Ok(());
    }
    let given = job.verify_interval;
    let (min, max) = job.write_len;
    if given > 0 && (!min.is_multiple_of(given) || !max.is_multiple_of(given)) {
        let why = format!("{given} does not divide the block size of {min}");
        let why = if min == max {
            why
        } else {
            format!("{why} to {max}")
        };
        contradictory("verify_interval", why)?;
    }
    let header = verify.header_len() as u32;
    let interval = job.interval();
    if interval < header {
        let name = verify.name();
        let why = format!("{interval} bytes do not hold the {header} bytes of {name}'s header");
        contradictory("bs", why)?;
    }
    let offset = job.verify_offset;
    if offset > 0 && verify.has_header() && (offset < header || interval - header < offset) {
        let why = format!(
            "{offset} leaves no room for the {header} bytes of the header in {interval}, or is among them"
        );
        contradictory("verify_offset", why)?;
    }
    Ok(())
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
