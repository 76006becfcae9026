//! A request that is longer than the disk moves with one command: its parts are commands of their own, all
//! sent at once (`bio_split`), and it is over when the last of them is.
//!
//! # Divergence from Linux
//!
//! All parts get a place, on the disk and in the ring, or none does; Linux waits between two of them. One
//! with more parts than there are places goes when all are free, and the parts that find none try again
//! every 20 µs. Meanwhile a request that fits passes one that does not: beside other threads that keep the
//! disk or the queue busy, a request of many parts may wait longer than in Linux, even until they are done.
//! Of several parts that fail, the first one's error counts.

use fio_model::{Completion, Errno};
use scenarios::Time;

use super::Guest;
use wire::component::Cx;
use wire::message::FromGuest;

/// What a request has to do with others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Share {
    /// Nothing: it is one command.
    Own,
    /// It is a part of the one with this number.
    Part(usize),
    /// It is the whole of several parts.
    Whole {
        /// Parts under way.
        left: u32,
        /// The error of the first one that failed.
        failed: Option<Errno>,
    },
}

impl Guest {
    /// Dispatches a request in parts of `max` bytes.
    pub(super) fn dispatch_parts(&mut self, n: usize, max: u32, cx: &mut Cx<'_, FromGuest>) {
        let whole = self.ios[n].as_mut().expect("it was just made");
        let (len, disk) = (whole.io.len, whole.disk);
        let (left, failed) = (len.div_ceil(max), None);
        whole.share = Share::Whole { left, failed };
        let whole = whole.clone();
        // The whole is no command.
        self.disks[disk].in_flight += left - 1;
        let mut parts = Vec::with_capacity(left as usize);
        for at in (0..len).step_by(max as usize) {
            let mut part = whole.clone();
            part.io.offset += u64::from(at);
            part.io.len = max.min(len - at);
            part.addr += u64::from(at);
            part.share = Share::Part(n);
            parts.push(self.place_io(part));
        }
        for part in parts {
            self.dispatch(part, cx);
        }
    }

    /// A part is over; with the last one, the whole is.
    pub(super) fn part_over(&mut self, n: usize, of: usize, completion: Completion, now: Time) {
        let part = self.forget_io(n).expect("a request ends once");
        let whole = self.ios[of].as_mut().expect("parts are left");
        let Share::Whole { left, failed } = &mut whole.share else {
            unreachable!("a part is of a whole");
        };
        *left -= 1;
        if failed.is_none() {
            if let Completion::Failed { errno } = completion {
                *failed = Some(errno);
            }
            whole.answer = part.answer;
        }
        whole.tries = whole.tries.max(part.tries);
        if *left > 0 {
            return;
        }
        let completion = match *failed {
            Some(errno) => Completion::Failed { errno },
            None => Completion::Done {
                bytes: whole.io.len,
            },
        };
        self.hand_back(of, completion, now);
    }
}
