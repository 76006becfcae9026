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

use fio_model::Completion;
use scenarios::Time;

use wire::component::Cx;
use wire::message::FromGuest;

use super::Block;
use super::io::Share;
use crate::ids::IoNo;
use crate::shared::Shared;

impl Block {
    /// Dispatches a request in parts of `max` bytes.
    pub(super) fn dispatch_parts(
        &mut self,
        n: IoNo,
        max: u32,
        shared: &mut Shared,
        cx: &mut Cx<'_, FromGuest>,
    ) {
        let whole = self.ios[n.0].as_mut().expect("it was just made");
        let (len, disk) = (whole.io.len, whole.disk);
        let (left, failed) = (len.div_ceil(max), None);
        whole.share = Share::Whole { left, failed };
        let whole = whole.clone();
        // The whole is no command.
        shared.disks[disk].took(left - 1);
        let mut parts = Vec::with_capacity(left as usize);
        for at in (0..len).step_by(max as usize) {
            let mut part = whole.clone();
            part.io.offset += u64::from(at);
            part.io.len = max.min(len - at);
            part.addr += u64::from(at);
            part.share = Share::Part(n);
            parts.push(self.place(part));
        }
        for part in parts {
            self.dispatch(part, shared, cx);
        }
    }

    /// A part is over; with the last one, the whole is.
    pub(super) fn part_over(
        &mut self,
        n: IoNo,
        of: IoNo,
        completion: Completion,
        shared: &mut Shared,
        now: Time,
    ) {
        let part = self.forget(n).expect("a request ends once");
        let whole = self.ios[of.0].as_mut().expect("parts are left");
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
        self.hand_back(of, completion, shared, now);
    }
}
