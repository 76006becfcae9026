//! The knowing differences: transcripts that the model does not reproduce, and why.
//!
//! One list for each preset of the target, and one for `serve`. Under `head` it holds what the model does not model;
//! under `intended` it holds the transcripts that show a bug of SPDK head, and which. A
//! transcript that stands here and passes anyway is an error: the list is kept true by running.

use wire::bugs::Bug::{
    self, DeleteSpins, DuplicateKick, EarlyFinish, EventsMissedUnsaid, FailedSplitStays,
    HotremoveLostInAdding, LeakedSession, LogLoop, NameTruncated, RejectUntouched, ResidUnderflow,
    SaveConfigNullLun, SplitDivByZero, StaleCompletion, StartOnBlk, StopTimeoutZombie, TmfNullLun,
    TmfStaleDev, UnregisterDropped,
};

/// Why a transcript does not pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Known {
    /// The case.
    pub case: &'static str,
    /// The bugs of head that it shows, no more than it needs to hold; none if the model is to
    /// blame.
    pub shows: &'static [Bug],
    /// Why, for people.
    pub why: &'static str,
}

/// What the model of SPDK head does otherwise than SPDK head.
pub const UNDER_HEAD: &[Known] = &[];

/// What `serve` does otherwise than SPDK head, beside [`UNDER_HEAD`].
pub const OVER_SOCKETS: &[Known] = &[Known {
    case: "T-D22-used-flags",
    shows: &[],
    why: "SPDK polls and never wants a kick; serve asks for one before it sleeps",
}];

const fn shows(case: &'static str, shows: &'static [Bug], why: &'static str) -> Known {
    Known { case, shows, why }
}

/// What SPDK head does otherwise than it should.
///
/// Three transcripts are named for a finding and hold all the same: T-D16 (S11 cannot be seen from
/// outside), T-E19 (S6 was refuted for this bdev), T-F22 (S8 is a race there, and surviving it was
/// recorded too).
pub const UNDER_INTENDED: &[Known] = &[
    shows(
        "T-A05-create-controller",
        &[NameTruncated],
        "a name too long for a socket path is taken and cut",
    ),
    shows(
        "T-A07-S19-delete-controller-connected",
        &[DeleteSpins],
        "a delete with a session connected waits instead of saying busy",
    ),
    shows(
        "T-A08-delete-controller-not-started",
        &[DeleteSpins],
        "a delete with a session connected waits instead of saying busy",
    ),
    shows(
        "T-A10-S14-connect-during-delete",
        &[DeleteSpins],
        "the connection wins, and the delete waits instead of saying busy",
    ),
    shows(
        "T-A16-split-create",
        &[FailedSplitStays],
        "a split that failed leaves its configuration behind, and the next one exists already",
    ),
    shows(
        "T-A17-S10-split-count-too-large",
        &[SplitDivByZero],
        "more parts than blocks: a division by zero instead of an error",
    ),
    shows(
        "T-A25-S15-start-on-blk",
        &[StartOnBlk],
        "the start of a blk controller as a scsi one crashes instead of being refused",
    ),
    shows(
        "T-B25-S18-short-buffer",
        &[ResidUnderflow],
        "data longer than the buffer are dropped whole, and resid is negative",
    ),
    shows(
        "T-C04-one-event-buffer",
        &[EventsMissedUnsaid],
        "an event without a buffer is lost and nobody is told",
    ),
    shows(
        "T-C22-S1-remove-answers-early",
        &[EarlyFinish],
        "a removal is answered while a stopping session still has the device",
    ),
    shows(
        "T-C23-S1-reattach-then-remove-again",
        &[EarlyFinish],
        "the slot is given away early, so the stopping session gets a second REMOVED",
    ),
    shows(
        "T-C29-S9-save-config-in-hotremove",
        &[SaveConfigNullLun],
        "a configuration dump during a hot-remove crashes",
    ),
    shows(
        "T-C53-S5-hotremove-lost-in-adding",
        &[HotremoveLostInAdding],
        "a bdev that goes while its target is being added leaves a dead target behind",
    ),
    shows(
        "T-C62-disconnect-queued-then-remove",
        &[DeleteSpins],
        "a delete with a session connected waits instead of saying busy",
    ),
    shows(
        "T-C64-S14-plain-linger",
        &[UnregisterDropped],
        "a controller under deletion takes a connection and stays for ever",
    ),
    shows("T-D02-header-length", &[RejectUntouched], MALFORMED),
    shows("T-D05-response-length", &[RejectUntouched], MALFORMED),
    shows("T-D07-next-out-of-range", &[RejectUntouched], MALFORMED),
    shows("T-D08-loops", &[RejectUntouched], MALFORMED),
    shows("T-D10-unmapped-payload", &[RejectUntouched], MALFORMED),
    shows("T-D13-indirect", &[RejectUntouched], MALFORMED),
    shows("T-D23-data-direction", &[RejectUntouched], MALFORMED),
    shows(
        "T-D25-event-descriptor-bad",
        &[EventsMissedUnsaid],
        "an event that found no usable buffer is lost and nobody is told",
    ),
    shows(
        "T-D27-S12-loop-with-log-all",
        &[LogLoop],
        "a descriptor that names itself is followed for ever once LOG_ALL is accepted",
    ),
    shows(
        "T-E05-S2-reset-while-removing",
        &[TmfNullLun],
        "a reset of a target that is being removed crashes",
    ),
    shows(
        "T-E06-S2-reset-lun-1",
        &[TmfNullLun],
        "a reset of a LUN that is not there crashes",
    ),
    shows(
        "T-E07-S2-reset-lun-hotremoved",
        &[TmfNullLun],
        "a reset of a LUN whose bdev goes crashes",
    ),
    shows(
        "T-E08-S3-bad-target-stale-dev",
        &[TmfStaleDev],
        "a request to no target is served by the one its head served before",
    ),
    shows(
        "T-E09-S3-reset-bad-target-after-good",
        &[TmfNullLun, TmfStaleDev],
        "a reset of no target reaches the one before, without a LUN, and crashes",
    ),
    shows(
        "T-E10-S3-reset-bad-lun0-after-good",
        &[TmfNullLun, TmfStaleDev],
        "a reset with a bad LUN form reaches the target before, without a LUN, and crashes",
    ),
    shows("T-F09-S13-stop-timeout", &[StopTimeoutZombie], ZOMBIE),
    shows(
        "T-F10-S13-zombie-restart",
        &[StopTimeoutZombie, StaleCompletion],
        "the zombie does not start again, and its old completion lands in the new ring",
    ),
    shows(
        "T-F11-S13-disconnect-stuck-io",
        &[StopTimeoutZombie, LeakedSession],
        "the session outlives its front-end without its memory; the I/O's return crashes",
    ),
    shows(
        "T-F17-stop-timeout-while-removing",
        &[StopTimeoutZombie],
        ZOMBIE,
    ),
    shows("T-F20-set-mem-table-smaller", &[RejectUntouched], MALFORMED),
    shows(
        "T-F23-S8-duplicate-kick-io",
        &[DuplicateKick],
        "a second kick zeroes a ring that has I/O in flight",
    ),
    shows("T-F43-S13-second-vring-base", &[StopTimeoutZombie], ZOMBIE),
];

const MALFORMED: &str = "a malformed request comes back with its response untouched and length 0";
const ZOMBIE: &str = "a stop that times out answers an old base and leaves a session half stopped";
