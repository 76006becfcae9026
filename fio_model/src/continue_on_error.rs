//! `continue_on_error`: which errors a job counts and goes on after.
//!
//! Knows nothing of what going on means: that is the thread's. As fio 3.33's `td_error.c` decides it; the
//! errors that do not end a job (`ignore_error`) are always its default ones.

use crate::errno::Errno;
use crate::request::Op;

/// Where errors are counted only.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ContinueOnError {
    /// Of reads, those of the verification included.
    pub read: bool,
    /// Of writes.
    pub write: bool,
    /// Of what was read.
    pub verify: bool,
}

impl ContinueOnError {
    /// Names in job files.
    pub const NAMES: [(&'static str, ContinueOnError); 8] = [
        ("none", ContinueOnError::of(false, false, false)),
        ("read", ContinueOnError::of(true, false, false)),
        ("write", ContinueOnError::of(false, true, false)),
        ("io", ContinueOnError::of(true, true, false)),
        ("verify", ContinueOnError::of(false, false, true)),
        ("all", ContinueOnError::of(true, true, true)),
        ("0", ContinueOnError::of(false, false, false)),
        ("1", ContinueOnError::of(true, true, true)),
    ];

    const fn of(read: bool, write: bool, verify: bool) -> ContinueOnError {
        ContinueOnError {
            read,
            write,
            verify,
        }
    }

    /// Whether a request that ended with `errno` does not end the job: only EIO and EILSEQ can be.
    pub fn covers(self, op: Op, errno: Errno) -> bool {
        match (errno, op) {
            (Errno::EILSEQ, _) => self.verify,
            (Errno::EIO, Op::Read) => self.read,
            (Errno::EIO, Op::Write) => self.write,
            _ => false,
        }
    }
}
