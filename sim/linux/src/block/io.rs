//! What a request of an application is, on its way through the block layer.

use fio_model::{Completion, Errno, UnitId};
use scenarios::{Io, Time};
use wire::message::VringIndex;

use crate::ids::{DiskNo, IoNo, ThreadNo};

/// Who waits for a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Submitter {
    Thread(ThreadNo),
    /// Somebody outside the model, who looks for what has [`Finished`].
    Direct,
}

/// Who asks for what, beside the request itself.
#[derive(Clone, Copy, Debug)]
pub struct Asked {
    pub submitter: Submitter,
    pub disk: DiskNo,
    /// The CPU that it is submitted on.
    pub cpu: usize,
    /// What an observer sees of it.
    pub io: Io,
    /// Where its data lie.
    pub addr: u64,
}

/// A request of an application.
#[derive(Clone, Debug)]
pub struct AppIo {
    pub(super) submitter: Submitter,
    /// The submitter's name for it.
    pub unit: UnitId,
    pub(super) disk: DiskNo,
    /// What an observer sees of it.
    pub io: Io,
    /// Where its data lie.
    pub addr: u64,
    /// The queue that it goes through.
    pub(super) vring: VringIndex,
    /// Bytes moved by earlier commands of this request.
    pub(super) moved: u32,
    /// The last command was in the (10) form.
    pub(super) long: bool,
    /// Commands sent.
    pub tries: u8,
    /// Of those, the ones that failed in a way that is counted (`scsi_cmnd.retries`).
    pub(super) retries: u8,
    /// When it was submitted.
    pub(super) since: Time,
    /// The answer that decided.
    pub answer: Option<(u8, u8, u32)>,
    pub(super) share: Share,
}

impl AppIo {
    /// Bytes that its next command is about: all that are left, or what one command trims.
    pub(super) fn next_len(&self, trim_bytes: u64) -> u32 {
        let left = self.io.len - self.moved;
        match u32::try_from(trim_bytes) {
            Ok(most) if self.io.trim => left.min(most),
            _ => left,
        }
    }
}

/// What came of a request of nobody's thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Finished {
    /// The tag that it was given.
    pub tag: u64,
    pub completion: Completion,
}

/// What a request has to do with others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Share {
    /// Nothing: it is one command.
    Own,
    /// It is a part of the one with this number.
    Part(IoNo),
    /// It is the whole of several parts.
    Whole {
        /// Parts under way.
        left: u32,
        /// The error of the first one that failed.
        failed: Option<Errno>,
    },
}
