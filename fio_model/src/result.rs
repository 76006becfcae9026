//! How a fio thread ended, as fio reports it, and the exit status of a whole run.
//!
//! Knows nothing of why: the thread fills it in.

use std::fmt;

use crate::errno::Errno;
use crate::request::Op;
use crate::strict::StrictViolation;
use crate::verify::VerifyFailure;

/// Messages and violations that a result keeps; the rest is counted. A dead disk yields one line
/// for each request in flight, up to 512 (facts: fio 3.33).
pub const KEPT_MAX: usize = 16;

/// Where in fio 3.33 a job's error came from: what stands behind `err=` in its report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A request failed.
    IoUnit,
    /// A trim failed: every engine waits for it.
    Queue,
    /// A read returned 0 bytes, synchronous engine.
    FullResid,
    /// A check failed after an asynchronous read.
    QueuedComplete,
    /// A check failed after a synchronous read.
    SyncComplete,
    /// The device could not be opened again.
    Open,
    /// The job has no size to work on.
    TotalFileSize,
    /// Blocks are too small for the header.
    BlocksizeTooSmall,
}

impl Origin {
    /// fio 3.33's source file and line.
    pub fn place(self) -> &'static str {
        match self {
            Origin::IoUnit => "io_u.c:1876",
            Origin::Queue => "ioengines.c:399",
            Origin::FullResid => "backend.c:471",
            Origin::QueuedComplete => "io_u.c:2190",
            Origin::SyncComplete => "io_u.c:2152",
            Origin::Open => "filesetup.c:805",
            Origin::TotalFileSize => "filesetup.c:1155",
            Origin::BlocksizeTooSmall => "verify.c:1189",
        }
    }

    /// What fio calls the function; `device` is named where fio names it.
    pub fn func(self, device: &str) -> String {
        let func = match self {
            Origin::IoUnit => "io_u error",
            Origin::Queue => "td_io_queue",
            Origin::FullResid => "full resid",
            Origin::QueuedComplete => "io_u_queued_complete",
            Origin::SyncComplete => "io_u_sync_complete",
            Origin::Open => return format!("open({device})"),
            Origin::TotalFileSize => "total_file_size",
            Origin::BlocksizeTooSmall => "Blocksize too small",
        };
        func.to_owned()
    }
}

/// The first thing that went wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FirstFailure {
    /// A request failed.
    Io {
        /// Its direction.
        op: Op,
        /// Where it was.
        offset: u64,
        /// What was left of it.
        len: u32,
        /// Its error.
        errno: Errno,
    },
    /// A synchronous read returned nothing.
    NoData {
        /// Where it was.
        offset: u64,
    },
    /// What was read did not pass fio's check.
    Verify(VerifyFailure),
    /// The device could not be opened again.
    Reopen {
        /// Why.
        errno: Errno,
    },
}

/// Counts of a thread's I/O.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IoCounts {
    /// Writes completed.
    pub writes: u64,
    /// Reads completed, those of the verification included.
    pub reads: u64,
    /// Bytes written.
    pub write_bytes: u64,
    /// Bytes read.
    pub read_bytes: u64,
    /// Trims completed.
    pub trims: u64,
    /// Bytes trimmed.
    pub trim_bytes: u64,
    /// Reads whose content was checked and found good.
    pub verified: u64,
    /// Bytes of those reads.
    pub verified_bytes: u64,
    /// Reads whose content was checked and found bad.
    pub verify_failures: u64,
    /// Requests that failed.
    pub failed: u64,
    /// Requests that moved some but not all of their bytes.
    pub short: u64,
    /// Reads that returned 0 bytes.
    pub no_data: u64,
}

/// How a thread ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobResult {
    /// Name of the job.
    pub name: String,
    /// Number of the thread, from 1. Also stands where fio prints a process number.
    pub thread_number: u32,
    /// Name of the file or device.
    pub device: String,
    /// fio's error, `Errno::OK` if none.
    pub error: Errno,
    /// Where fio found it.
    pub origin: Option<Origin>,
    /// How many errors `continue_on_error` has let pass: fio's `total_err`.
    pub continued: u64,
    /// The first of them.
    pub first_error: Errno,
    /// What exactly went wrong first.
    pub first_failure: Option<FirstFailure>,
    /// Counts.
    pub counts: IoCounts,
    /// Bytes of the job's smallest block; 0 of a job that could not begin.
    pub block_len: u32,
    /// The first [`KEPT_MAX`] messages, as fio prints them.
    pub messages: Vec<String>,
    /// How many messages more there were.
    pub messages_dropped: u64,
    /// The first [`KEPT_MAX`] violations of the strict oracle.
    pub strict_violations: Vec<StrictViolation>,
    /// How many violations there were in all.
    pub strict_count: u64,
    /// Whether a completion never came: the caller's verdict, see [`JobResult::hung`].
    pub is_hung: bool,
}

impl JobResult {
    /// The result of a thread that has not begun.
    pub fn new(name: &str, thread_number: u32, device: &str) -> JobResult {
        JobResult {
            name: name.to_owned(),
            thread_number,
            device: device.to_owned(),
            error: Errno::OK,
            origin: None,
            continued: 0,
            first_error: Errno::OK,
            first_failure: None,
            counts: IoCounts::default(),
            block_len: 0,
            messages: Vec::new(),
            messages_dropped: 0,
            strict_violations: Vec::new(),
            strict_count: 0,
            is_hung: false,
        }
    }

    /// Blocks of the smallest size that were written, however long the writes were.
    pub fn blocks_written(&self) -> u64 {
        self.blocks(self.counts.write_bytes)
    }

    /// Blocks of the smallest size that were checked and found good, however long the reads were.
    pub fn blocks_verified(&self) -> u64 {
        self.blocks(self.counts.verified_bytes)
    }

    fn blocks(&self, bytes: u64) -> u64 {
        let blocks = bytes.checked_div(u64::from(self.block_len));
        blocks.unwrap_or(0)
    }

    /// Whether fio would count this job as good: it ended, and with no error.
    pub fn passed(&self) -> bool {
        self.error.is_ok() && !self.is_hung
    }

    /// Whether no read violated the strict oracle.
    pub fn strictly_passed(&self) -> bool {
        self.passed() && self.strict_count == 0
    }

    /// This result, of a job that never ended. fio itself would wait for ever: in thread mode
    /// nothing detects a missing completion (facts: fio 3.33).
    pub fn hung(&self) -> JobResult {
        JobResult {
            is_hung: true,
            ..self.clone()
        }
    }

    /// Keeps a message, or counts it. It is only made if it is kept.
    pub(crate) fn say(&mut self, message: impl FnOnce() -> String) {
        if self.messages.len() < KEPT_MAX {
            self.messages.push(message());
        } else {
            self.messages_dropped += 1;
        }
    }

    /// Keeps a strict violation, or counts it.
    pub(crate) fn violate(&mut self, violation: StrictViolation) {
        self.strict_count += 1;
        if self.strict_violations.len() < KEPT_MAX {
            self.strict_violations.push(violation);
        }
    }

    /// Counts an error that does not end the job.
    pub(crate) fn go_on_after(&mut self, errno: Errno) {
        self.continued += 1;
        if self.continued == 1 {
            self.first_error = errno;
        }
    }

    /// The error that fio's reports show: unlike [`error`](JobResult::error), with an exit status of 0 beside
    /// it if `continue_on_error` let it pass.
    pub fn reported_error(&self) -> Errno {
        if self.error.is_ok() {
            self.first_error
        } else {
            self.error
        }
    }

    /// The line of fio's summary about errors that `continue_on_error` has let pass, if there were any.
    pub fn continued_line(&self) -> Option<String> {
        let (total, first) = (self.continued, self.first_error);
        let line = || {
            format!(
                "errors    : total={total}, first_error={}/<{first}>",
                first.0
            )
        };
        (total > 0).then(line)
    }

    /// Ends the job with `errno`, unless it has an error already.
    pub(crate) fn fail(&mut self, errno: Errno, origin: Origin, failure: FirstFailure) {
        if !self.error.is_ok() {
            return;
        }
        self.error = errno;
        self.origin = Some(origin);
        self.first_failure = Some(failure);
        let line = self.error_line();
        self.say(|| line);
    }

    /// The line that fio prints when a job ends with an error; empty without one.
    pub fn error_line(&self) -> String {
        let Some(origin) = self.origin else {
            return String::new();
        };
        let (pid, err, place) = (self.thread_number, self.error.0, origin.place());
        let func = origin.func(&self.device);
        format!(
            "fio: pid={pid}, err={err}/file:{place}, func={func}, error={}",
            self.error
        )
    }

    /// What fio's summary shows behind `err=`: the number and, if there is one, its origin.
    fn err_field(&self) -> String {
        let Some(origin) = self.origin else {
            let cause = if self.continued > 0 { " ()" } else { "" };
            return format!("{:2}{cause}", self.reported_error().0);
        };
        let (err, place, func) = (self.error.0, origin.place(), origin.func(&self.device));
        format!("{err:2} (file:{place}, func={func}, error={})", self.error)
    }
}

impl fmt::Display for JobResult {
    /// The head line of fio's summary: `name: (groupid=0, jobs=1): err= 5 (file:io_u.c:1876,
    /// func=io_u error, error=Input/output error)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_hung {
            return write!(
                f,
                "{}: (groupid=0, jobs=1): hung, a completion never came",
                self.name
            );
        }
        write!(
            f,
            "{}: (groupid=0, jobs=1): err={}",
            self.name,
            self.err_field()
        )
    }
}

/// One entry of the summary under `group_reporting`: all threads of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupSummary {
    /// Name of the group's first job.
    pub name: String,
    /// Number of the group, from 0.
    pub group_id: u32,
    /// Threads in it.
    pub jobs: usize,
    /// What stands behind `err=`: that of the first job with an error.
    err_field: String,
    /// The first error, in job order.
    pub error: Errno,
    /// Sums over the threads.
    pub counts: IoCounts,
}

impl GroupSummary {
    /// Sums up `results`, which must not be empty, as fio does: the first job's name, the first
    /// error in job order.
    pub fn new(group_id: u32, results: &[JobResult]) -> GroupSummary {
        let failed = results
            .iter()
            .find(|result| !result.reported_error().is_ok());
        let shown = failed.unwrap_or(&results[0]);
        let mut counts = IoCounts::default();
        for part in results.iter().map(|result| &result.counts) {
            counts.writes += part.writes;
            counts.reads += part.reads;
            counts.write_bytes += part.write_bytes;
            counts.read_bytes += part.read_bytes;
            counts.trims += part.trims;
            counts.trim_bytes += part.trim_bytes;
            counts.verified += part.verified;
            counts.verified_bytes += part.verified_bytes;
            counts.verify_failures += part.verify_failures;
            counts.failed += part.failed;
            counts.short += part.short;
            counts.no_data += part.no_data;
        }
        GroupSummary {
            name: results[0].name.clone(),
            group_id,
            jobs: results.len(),
            err_field: shown.err_field(),
            error: shown.reported_error(),
            counts,
        }
    }
}

impl fmt::Display for GroupSummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let GroupSummary {
            name,
            group_id,
            jobs,
            err_field,
            ..
        } = self;
        write!(
            f,
            "{name}: (groupid={group_id}, jobs={jobs}): err={err_field}"
        )
    }
}

/// fio's exit status when run locally: the number of failed jobs, modulo 256. `None` if one hangs,
/// as fio then never exits.
pub fn exit_status(results: &[JobResult]) -> Option<u8> {
    if results.iter().any(|result| result.is_hung) {
        return None;
    }
    Some(results.iter().filter(|result| !result.passed()).count() as u8)
}

/// fio's exit status under `--client`: 1 if any job of any server failed, else 0. `None` as above.
pub fn client_exit_status(results: &[JobResult]) -> Option<u8> {
    if results.iter().any(|result| result.is_hung) {
        return None;
    }
    Some(u8::from(results.iter().any(|result| !result.passed())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(name: &str) -> JobResult {
        let mut result = JobResult::new(name, 1, "/dev/sdb");
        let failure = FirstFailure::Io {
            op: Op::Write,
            offset: 0,
            len: 4096,
            errno: Errno::EIO,
        };
        result.fail(Errno::EIO, Origin::IoUnit, failure);
        result
    }

    #[test]
    fn the_summary_is_fios() {
        assert_eq!(
            failed("nvme-hostA").to_string(),
            "nvme-hostA: (groupid=0, jobs=1): err= 5 (file:io_u.c:1876, func=io_u error, \
             error=Input/output error)"
        );
        let good = JobResult::new("job_sdb", 1, "/dev/sdb");
        assert_eq!(good.to_string(), "job_sdb: (groupid=0, jobs=1): err= 0");
        let group = GroupSummary::new(0, &[good, failed("b")]);
        assert!(
            group
                .to_string()
                .starts_with("job_sdb: (groupid=0, jobs=2): err= 5 (file:")
        );
    }

    #[test]
    fn exit_status_counts_failed_jobs_modulo_256() {
        let good = JobResult::new("a", 1, "x");
        assert_eq!(
            exit_status(&[good.clone(), failed("b"), failed("c")]),
            Some(2)
        );
        assert_eq!(
            client_exit_status(&[good.clone(), failed("b"), failed("c")]),
            Some(1)
        );
        assert_eq!(exit_status(&vec![failed("b"); 256]), Some(0));
        assert_eq!(exit_status(&[good.hung()]), None);
    }

    #[test]
    fn messages_beyond_the_limit_are_counted() {
        let mut result = JobResult::new("a", 1, "x");
        for i in 0..KEPT_MAX + 5 {
            result.say(|| i.to_string());
        }
        assert_eq!(
            (result.messages.len(), result.messages_dropped),
            (KEPT_MAX, 5)
        );
    }
}
