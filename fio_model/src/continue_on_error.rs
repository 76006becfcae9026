//! `continue_on_error` and `ignore_error`: which errors a job counts and goes on after.
//!
//! Knows nothing of what going on means: that is the thread's. As fio 3.33's `td_error.c` decides it.

use crate::errno::Errno;
use crate::request::Op;

/// Where errors are counted only, and which.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ContinueOnError {
    /// Of reads, those of the verification included; of writes; of what was read.
    on: [bool; 3],
    /// Which errors of each, if not `EIO` and `EILSEQ`.
    ignored: [Vec<Errno>; 3],
}

const NONE: [bool; 3] = [false; 3];
const ALL: [bool; 3] = [true; 3];
/// Names in job files: of reads, of writes, of the verification.
pub(crate) const NAMES: [(&str, [bool; 3]); 8] = [
    ("none", NONE),
    ("read", [true, false, false]),
    ("write", [false, true, false]),
    ("io", [true, true, false]),
    ("verify", [false, false, true]),
    ("all", ALL),
    ("0", NONE),
    ("1", ALL),
];

impl ContinueOnError {
    /// Sets where errors are counted only.
    pub(crate) fn set(&mut self, on: [bool; 3]) {
        self.on = on;
    }

    /// Reads `ignore_error`: three lists of names or numbers. `None` if one is no error.
    pub(crate) fn ignore(&mut self, text: &str) -> Option<()> {
        let lists: Vec<&str> = text.split(',').collect();
        if lists.len() > self.ignored.len() {
            return None;
        }
        for (index, list) in lists.into_iter().enumerate() {
            let errors = list.split(':').take_while(|error| !error.is_empty());
            let errors: Option<Vec<Errno>> = errors.map(errno).collect();
            self.ignored[index] = errors?;
            self.on[index] |= !self.ignored[index].is_empty();
        }
        Some(())
    }

    /// Whether a request that ended with `errno` does not end the job.
    pub fn covers(&self, op: Op, errno: Errno) -> bool {
        let kind = match (errno, op) {
            (Errno::EILSEQ, _) => 2,
            (_, Op::Read) => 0,
            // As `td_error_type` has it.
            (_, Op::Write | Op::Trim) => 1,
        };
        let ignored = match &self.ignored[kind][..] {
            [] => &[Errno::EIO, Errno::EILSEQ][..],
            ignored => ignored,
        };
        self.on[kind] && ignored.contains(&errno)
    }
}

/// The last error that fio has a name for: ERANGE.
const NAMED_MAX: u16 = 34;

/// An error by its name, of those that fio has names for, or by its number.
fn errno(text: &str) -> Option<Errno> {
    if text.starts_with('E') {
        return Errno::named(text).filter(|errno| errno.0 <= NAMED_MAX);
    }
    let number: u16 = text.trim_start_matches('-').parse().ok()?;
    Some(Errno(number)).filter(|errno| !errno.is_ok())
}
