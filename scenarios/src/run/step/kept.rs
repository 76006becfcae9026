//! The step `kept`: what was written to a disk is read back.
//!
//! Where single requests are seen, each block is compared with the last write that was acknowledged (check
//! I2). Where only fio's report is, the blocks were checked as they were read: each must be whole, in its
//! place, and as many as were written. A disk to which nothing was written has nothing to keep: that is
//! said, and is no verdict. Knows no testbed.

use super::{Polled, held, inconclusive, violated};
use crate::observation::FioJobEnd;
use crate::run::known::ReadBack;
use crate::testbed::Evidence;

/// Whether a testbed shows what is read.
pub(super) fn can_be_seen(evidence: Evidence) -> bool {
    evidence.intersects(Evidence::PER_IO.union(Evidence::FIO_REPORT))
}

/// What the end of the fio that read back shows.
pub(super) fn judged(evidence: Evidence, end: &FioJobEnd, counted: ReadBack) -> Polled {
    if evidence.contains(Evidence::PER_IO) {
        compared(end, counted)
    } else {
        checked(end)
    }
}

/// Single requests were seen.
fn compared(end: &FioJobEnd, back: ReadBack) -> Polled {
    let ReadBack {
        done,
        failed,
        held: whole,
    } = back;
    if end.error != 0 || failed > 0 || done == 0 {
        let error = end.error;
        let seen = format!("{done} blocks read, {failed} failed, fio's error {error}");
        return violated("its blocks can be read", seen);
    }
    if whole == 0 {
        // Lost, or written elsewhere: I2 knows which, block by block.
        return inconclusive(format!(
            "none of the {done} blocks that were read holds anything"
        ));
    }
    held(format!(
        "{whole} written blocks read back, compared under I2"
    ))
}

/// fio's report was seen.
fn checked(end: &FioJobEnd) -> Polled {
    let done = end.verified;
    let wrong = match (end.error, end.unseen_by_fio(false)) {
        (0, None) if done == 0 => return unseen(),
        (0, None) => {
            return held(format!(
                "{done} blocks read back, each whole and in its place"
            ));
        }
        (0, Some(strict)) => strict.to_owned(),
        (error, _) => match end.messages.first() {
            Some(message) => format!("fio's error {error} ({message})"),
            None => format!("fio's error {error}"),
        },
    };
    violated("its blocks are there as they were written", wrong)
}

pub(super) fn unseen() -> Polled {
    inconclusive("this testbed does not show what is read")
}
