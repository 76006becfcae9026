//! What Linux does with an answer to a READ or WRITE: done, an errno, or another try.
//!
//! `virtscsi_complete_cmd` (drivers/scsi/virtio_scsi.c) and `scsi_decide_disposition`,
//! `scsi_io_completion_action` (drivers/scsi), Linux 6.1, as recorded: the same table is in the
//! project's facts on guests. Knows no queue.

use std::time::Duration;

use fio_model::Errno;

use wire::scsi::{response, status};

use crate::driver::command::Reply;

/// Retries of a command of `sd` (`SD_MAX_RETRIES`): six tries in all.
pub const RETRIES_MAX: u8 = 5;
/// A command is not tried again when it is older than (retries + 1) × 30 s; checked only when it
/// comes back.
pub const AGE_MAX: Duration = Duration::from_secs(180);
/// Requeued commands are tried again about a hundred times a second (recorded).
pub const REQUEUE_DELAY: Duration = Duration::from_millis(10);

/// RESERVATION CONFLICT as an errno: EBADE.
const EBADE: Errno = Errno(52);
/// A medium error that is final: ENODATA.
const ENODATA: Errno = Errno(61);

/// What becomes of a command that came back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It did what it should.
    Done,
    /// The application gets this.
    Fails(Errno),
    /// Again at once, if it was not retried [`RETRIES_MAX`] times; then EIO.
    Retry,
    /// Again at once, however often, until it is too old; then EIO.
    RetryForever,
    /// Again after [`REQUEUE_DELAY`], until it is too old; then EIO.
    Requeue,
}

/// The fate of a command with this answer.
pub fn fate(reply: &Reply) -> Fate {
    match reply.response {
        response::OK => by_status(reply),
        response::ABORTED | response::BAD_TARGET | response::TARGET_FAILURE => {
            Fate::Fails(Errno::EIO)
        }
        response::RESET => Fate::RetryForever,
        response::NEXUS_FAILURE => Fate::Fails(EBADE),
        // OVERRUN, BUSY, TRANSPORT_FAILURE, FAILURE, and what nobody knows (as FAILURE).
        _ => Fate::Retry,
    }
}

fn by_status(reply: &Reply) -> Fate {
    match reply.status {
        status::GOOD => Fate::Done,
        status::BUSY | status::TASK_SET_FULL => Fate::Requeue,
        status::RESERVATION_CONFLICT => Fate::Fails(EBADE),
        status::CHECK_CONDITION => by_sense(reply.sense),
        _ => Fate::Retry,
    }
}

fn by_sense(sense: Option<(u8, u8, u8)>) -> Fate {
    match sense {
        Some((0x05, 0x20..=0x22 | 0x24 | 0x26, _) | (0x04, _, _) | (0x07, 0x27, 0x00)) => {
            Fate::Fails(Errno::EREMOTEIO)
        }
        // A UNIT ATTENTION and a unit that becomes ready pass; `scsi_io_completion_action` counts no
        // tries for them.
        Some((0x06, _, _) | (0x02, 0x04, 0x01)) => Fate::RetryForever,
        Some((0x03, 0x11 | 0x13 | 0x14, _)) => Fate::Fails(ENODATA),
        // LOGICAL UNIT NOT SUPPORTED, the answer of a target that is going; a unit that is not ready.
        Some((0x05 | 0x02, _, _)) => Fate::Fails(Errno::EIO),
        // ABORTED COMMAND, other medium errors; and no sense at all: the error handler asks for it,
        // which here counts as another try.
        _ => Fate::Retry,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(key: u8, asc: u8, ascq: u8) -> Reply {
        let status = status::CHECK_CONDITION;
        Reply {
            response: 0,
            status,
            sense: Some((key, asc, ascq)),
            resid: 0,
        }
    }

    fn answer(response: u8, status: u8) -> Reply {
        Reply {
            response,
            status,
            sense: None,
            resid: 0,
        }
    }

    #[test]
    fn each_answer_has_the_recorded_fate() {
        let rows = [
            (answer(0, 0), Fate::Done),
            (answer(1, 0), Fate::Retry),
            (answer(2, 0), Fate::Fails(Errno(5))),
            (answer(3, 0), Fate::Fails(Errno(5))),
            (answer(4, 0), Fate::RetryForever),
            (answer(5, 0), Fate::Retry),
            (answer(7, 0), Fate::Fails(Errno(5))),
            (answer(8, 0), Fate::Fails(Errno(52))),
            (answer(9, 0), Fate::Retry),
            (answer(0, 0x08), Fate::Requeue),
            (answer(0, 0x28), Fate::Requeue),
            (answer(0, 0x18), Fate::Fails(Errno(52))),
            (answer(0, 0x40), Fate::Retry),
            (check(5, 0x25, 0), Fate::Fails(Errno(5))),
            (check(5, 0x20, 0), Fate::Fails(Errno(121))),
            (check(5, 0x24, 0), Fate::Fails(Errno(121))),
            (check(7, 0x27, 0), Fate::Fails(Errno(121))),
            (check(3, 0x11, 0), Fate::Fails(Errno(61))),
            (check(3, 0x03, 0), Fate::Retry),
            (check(0xb, 0, 0), Fate::Retry),
            (check(6, 0x29, 0), Fate::RetryForever),
            (check(6, 0x2a, 9), Fate::RetryForever),
            (check(2, 4, 1), Fate::RetryForever),
            (check(4, 0x44, 0), Fate::Fails(Errno(121))),
        ];
        for (reply, expected) in rows {
            assert_eq!(fate(&reply), expected, "{reply:?}");
        }
    }
}
