//! The words between a fio thread and whoever carries out its I/O.
//!
//! Plain data: knows nothing of how either side works.

use crate::errno::Errno;

/// The disk that a thread works on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// As fio's messages name it, such as `/dev/sdb`.
    pub name: String,
    /// Its capacity, in bytes.
    pub size_bytes: u64,
}

/// Number of an I/O unit, `0..iodepth`: each has a buffer and at most one request in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct UnitId(pub u16);

/// What a request does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Op {
    /// Device to buffer.
    Read = 0,
    /// Buffer to device.
    Write = 1,
    /// The device may forget what it holds there (`BLKDISCARD`).
    Trim = 2,
}

impl Op {
    /// fio's word for it.
    pub fn name(self) -> &'static str {
        match self {
            Op::Read => "read",
            Op::Write => "write",
            Op::Trim => "trim",
        }
    }
}

/// An I/O to carry out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// The unit whose buffer it uses.
    pub unit: UnitId,
    /// Direction.
    pub op: Op,
    /// Where on the device, in bytes.
    pub offset: u64,
    /// How many bytes.
    pub len: u32,
    /// Where in the unit's buffer it starts: 0, except for the rest of a short transfer.
    pub buffer_offset: u32,
    /// Whether it is a read whose content fio checks.
    pub verify: bool,
}

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Completion {
    /// It moved this many bytes; 0 for a read is the end of a device that has gone.
    Done {
        /// Bytes moved, at most the request's length.
        bytes: u32,
    },
    /// The system call's error.
    Failed {
        /// Its number.
        errno: Errno,
    },
}

/// What a fio thread wants next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// `io_submit` the requests of `batch()`, in order.
    Submit,
    /// `io_getevents`: wait until this many completions were handed in.
    Reap {
        /// At least 1.
        at_least: u32,
    },
    /// fio closes and opens the device again; answer with `reopened`.
    Reopen,
    /// It is over: `result()` tells how.
    Ended,
}
