//! A job file, as a real guest runs it: for another time, and reading back what fio wrote before.
//!
//! Knows fio's options by name; runs nothing.

use std::collections::BTreeMap;
use std::time::Duration;

use fio_model::JobFile;
use scenarios::{DiskId, FioJobEnd};

/// What a disk must hold, by what fios wrote on it in this run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// How the blocks can be checked: fio's `verify=`.
    pub verify: String,
    /// Bytes of a block.
    pub block: u32,
    /// The most blocks that one fio has written: as many are there, for a fio writes no block twice before
    /// it has written all.
    pub blocks: u64,
}

/// A job, as it is run.
#[derive(Clone, Debug, PartialEq)]
pub struct GuestJob {
    /// `[global]` and its options.
    pub globals: String,
    /// Bytes of a block.
    pub block: u32,
    /// How the blocks that it writes can be checked, if it writes such.
    pub verify: Option<String>,
    /// How much shorter it is than it was written: the job's clock runs by so much faster.
    pub scale: f64,
}

/// `file` with a report a job, for `runtime` if it is time-based.
///
/// `group_reporting` is left out, because it would make one report of all disks (fio's HOWTO).
#[must_use]
pub fn to_run(file: &JobFile, runtime: Option<Duration>) -> GuestJob {
    let template = file.jobs.first().unwrap_or(file.template());
    let whole = Duration::from_nanos(template.runtime_ns);
    let runtime = runtime.filter(|_| template.time_based && !whole.is_zero());
    let mut globals = String::new();
    for line in file.to_own_text().lines() {
        match (name(line), runtime) {
            ("group_reporting", _) => continue,
            ("runtime", Some(runtime)) => globals += &format!("runtime={}ms", runtime.as_millis()),
            _ => globals += line,
        }
        globals.push('\n');
    }
    let verify = template
        .rw
        .writes()
        .then(|| value(&globals, "verify"))
        .flatten();
    GuestJob {
        globals,
        block: template.write_len.0,
        verify,
        scale: runtime.map_or(1.0, |runtime| runtime.as_secs_f64() / whole.as_secs_f64()),
    }
}

/// Whether `file` only reads, and compares nothing: the testbed is to say whether the data is right.
#[must_use]
pub fn reads_back(file: &JobFile) -> bool {
    let template = file.template();
    !template.rw.writes() && template.verify.is_none()
}

/// `file`, reading each block of its disks once, in order, and checking those that were written.
///
/// # Divergence from *sim*
///
/// There each block is compared with the last write that was acknowledged. Here a block must be whole by its
/// own checksum and at its own offset, or never written; and as many must be there as one fio wrote. An old
/// write in place of the last one is not found.
#[must_use]
pub fn to_read_back(file: &JobFile, written: &Written) -> GuestJob {
    let dropped = [
        "group_reporting",
        "rw",
        "readwrite",
        "time_based",
        "runtime",
        "verify",
        "loops",
    ];
    let text = file.to_text([]);
    let kept = text.lines().filter(|line| !dropped.contains(&name(line)));
    let mut globals: String = kept.map(|line| format!("{line}\n")).collect();
    globals += &format!(
        "rw=read\nverify={}\nverify_fatal=0\ncontinue_on_error=verify\n",
        written.verify
    );
    GuestJob {
        globals,
        block: written.block,
        verify: None,
        scale: 1.0,
    }
}

/// Notes what the jobs of a fio wrote.
pub fn note(written: &mut BTreeMap<DiskId, Written>, job: &GuestJob, ends: &[FioJobEnd]) {
    let Some(verify) = &job.verify else {
        return;
    };
    for end in ends.iter().filter(|end| end.written > 0) {
        let fresh = Written {
            verify: verify.clone(),
            block: job.block,
            blocks: end.written,
        };
        let known = written.entry(end.disk).or_insert_with(|| fresh.clone());
        if known.verify == fresh.verify && known.block == fresh.block {
            known.blocks = known.blocks.max(fresh.blocks);
        } else {
            *known = fresh;
        }
    }
}

fn name(line: &str) -> &str {
    line.split('=').next().unwrap_or_default().trim()
}

fn value(globals: &str, option: &str) -> Option<String> {
    let line = globals.lines().find(|line| name(line) == option)?;
    Some(line.split_once('=')?.1.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use scenarios::shipped::JOBS;
    use scenarios::{ControllerId, Place, TargetId};

    use super::*;

    fn shipped(name: &str) -> JobFile {
        let job = JOBS.iter().find(|job| job.name == name).expect("it ships");
        JobFile::parse(job.file, job.text).expect("it is a job file")
    }

    #[test]
    fn a_job_is_shortened_and_its_clock_with_it() {
        let job = to_run(&shipped("default_integrity"), Some(Duration::from_secs(3)));
        assert!(
            job.globals.contains("\nruntime=3000ms\n"),
            "{}",
            job.globals
        );
        assert!(job.globals.contains("\nverify=md5\n"), "{}", job.globals);
        assert!(!job.globals.contains("group_reporting"), "{}", job.globals);
        assert_eq!(
            (job.scale, job.block, job.verify.as_deref()),
            (0.3, 4096, Some("md5"))
        );
    }

    #[test]
    fn a_job_runs_as_written_if_nobody_says_how_long() {
        let job = to_run(&shipped("default_integrity"), None);
        assert!(job.globals.contains("\nruntime=10\n"), "{}", job.globals);
        assert_eq!(job.scale, 1.0);
    }

    #[test]
    fn what_is_read_back_is_checked_by_the_way_it_was_written() {
        assert!(!reads_back(&shipped("default_integrity")));
        let file = shipped("read_back");
        assert!(reads_back(&file));
        let written = Written {
            verify: "md5".into(),
            block: 4096,
            blocks: 9,
        };
        let job = to_read_back(&file, &written);
        let text = &job.globals;
        assert!(
            text.contains("\nrw=read\nverify=md5\n") && !text.contains("time_based"),
            "{text}"
        );
        assert!(
            text.contains("\nioengine=libaio\n") && !text.contains("randread"),
            "{text}"
        );
    }

    #[test]
    fn a_disk_holds_what_the_busiest_fio_wrote() {
        let job = to_run(&shipped("default_integrity"), None);
        let end = |blocks| FioJobEnd {
            disk: DiskId(9),
            place: Place {
                controller: ControllerId(5),
                target: TargetId(0),
            },
            section: 0,
            error: 0,
            hung: false,
            written: blocks,
            verified: blocks,
            volume: 0,
            messages: Vec::new(),
            strict: Vec::new(),
            no_data: Vec::new(),
        };
        let mut written = BTreeMap::new();
        for blocks in [0, 7, 3] {
            note(&mut written, &job, &[end(blocks)]);
        }
        assert_eq!(
            written.get(&DiskId(9)).map(|written| written.blocks),
            Some(7)
        );
    }
}
