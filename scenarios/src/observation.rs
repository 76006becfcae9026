//! What a testbed shows: the words a trace is written in.
//!
//! Observations say what happened, never whether it was right; that is for the checks. Those under
//! "inside" need evidence that only some testbeds have (`testbed::Evidence`).

use serde::{Deserialize, Serialize};

use crate::check_id::CheckId;
use crate::names::{ControllerId, DiskId, FioId, IoId, Place, TargetId, Ticket, VmId};
use crate::time::Time;

/// An observation and when it was made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// When.
    pub at: Time,
    /// What.
    #[serde(flatten)]
    pub what: Observation,
}

/// What was seen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "seen", rename_all = "snake_case")]
pub enum Observation {
    /// An action that was asked for was answered.
    Answered {
        /// Which.
        ticket: Ticket,
        /// The slot of an attach, the response of a task management request, 0 for anything else; or
        /// the text of the error.
        result: Result<u8, String>,
    },
    /// A guest has booted and scanned; it takes work.
    VmReady {
        /// The VM.
        vm: VmId,
        /// Boots so far, from 1.
        boot: u32,
    },
    /// A device of a VM connected to a controller's socket.
    Connected {
        /// The VM.
        vm: VmId,
        /// The controller.
        controller: ControllerId,
        /// The connection: rises by one with each, over the whole testbed.
        conn: u32,
    },
    /// A guest stopped taking work (reboot, power-off, crash).
    VmDown {
        /// The VM.
        vm: VmId,
    },
    /// Everybody who should be alive, and those who did not answer.
    Alive {
        /// Empty if all answered: "target", "VM 3".
        silent: Vec<String>,
    },
    /// A disk is usable in a guest (GUEST_DISKS).
    DiskAppeared(GuestDisk),
    /// A disk is gone from a guest (GUEST_DISKS).
    DiskVanished(GuestDisk),
    /// A scan found an old object of a disk that is no use (gone, or its size never read), and so made
    /// no new one (GUEST_DISKS).
    StaleDisk(GuestDisk),
    /// All disks of a guest, by place.
    DisksListed {
        /// The VM.
        vm: VmId,
        /// Its disks.
        disks: Vec<GuestDisk>,
    },
    /// A fio has ended (or hangs, for its jobs that have `hung`).
    FioEnded {
        /// Which.
        fio: FioId,
        /// fio's exit status: the number of failed jobs, mod 256.
        exit: u8,
        /// One entry a disk.
        jobs: Vec<FioJobEnd>,
    },
    /// Nothing is pending anywhere: what is left, if anything, will stay.
    Quiet {
        /// Whether all work really ended; false if the limit on time or turns came first.
        settled: bool,
        /// Counters that should be zero and are not, as "what: count".
        left: Vec<String>,
    },
    /// The target or a guest died.
    Crashed {
        /// "target", "VM 1".
        who: String,
        /// How, with the place in SPDK or Linux if it is modelled: "SIGSEGV in …".
        how: String,
    },
    /// An application's request was handed to the block layer (PER_IO).
    IoSubmitted(Io),
    /// An application's request came back (PER_IO).
    IoDone {
        /// The request.
        io: Io,
        /// Bytes moved, or the errno.
        result: Result<u32, u16>,
        /// For a read: the fingerprint of what was read.
        read: u64,
        /// SCSI commands that it took: 1, or more with retries, or 0 if it never got that far.
        tries: u8,
        /// The last virtio-scsi answer that decided: (response, status, sense key<<16|asc<<8|ascq).
        answer: Option<(u8, u8, u32)>,
    },
    /// An attach took effect (TARGET_INSIDE).
    Attached {
        /// Where.
        place: Place,
        /// Which device it made, as in [`Inside::Slot`].
        device: u32,
        /// The bdev.
        bdev: String,
        /// The disk, where the testbed knows and the disk keeps data.
        disk: Option<DiskId>,
    },
    /// Inside the target (TARGET_INSIDE).
    Inside(Inside),
    /// One end saw an invariant broken, of a kind that only it can see.
    Broken {
        /// Which check this trips.
        check: CheckId,
        /// What was expected and what was seen.
        text: String,
    },
}

/// A disk in a guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct GuestDisk {
    /// The VM.
    pub vm: VmId,
    /// Where it hangs.
    pub place: Place,
    /// Who it said it was when it was probed (VPD serial), if that is a disk of the plan.
    pub disk: Option<DiskId>,
}

/// An application's request on a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Io {
    /// Unique in the run.
    pub id: IoId,
    /// The fio that issued it.
    pub fio: FioId,
    /// The disk the guest believes in.
    pub disk: DiskId,
    /// Where.
    pub place: Place,
    /// Whether it writes.
    pub write: bool,
    /// Whether it trims; then it counts as a write, too, of nobody knows what.
    #[serde(default, skip_serializing_if = "is_false")]
    pub trim: bool,
    /// Byte offset on the disk.
    pub offset: u64,
    /// Bytes.
    pub len: u32,
    /// For a write: the fingerprint of what is written.
    pub wrote: u64,
}

/// How one job of a fio ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FioJobEnd {
    /// The disk it ran on.
    pub disk: DiskId,
    /// Where that was when it began.
    pub place: Place,
    /// Its section, counted in the job file; the clones of one (`numjobs`) share it.
    #[serde(default, skip_serializing_if = "is_first")]
    pub section: u16,
    /// fio's `error`: 0, or the errno of the first failure.
    pub error: u16,
    /// fio never ended.
    pub hung: bool,
    /// Blocks written and blocks read back and compared.
    pub written: u64,
    /// Blocks read back and found right.
    pub verified: u64,
    /// Blocks that the job had to verify, in its smallest block size: its volume, less what it only read
    /// (`rw=randrw`), what it wrote again before it had verified it (`norandommap`), and what fio leaves
    /// out. 0: nobody can tell, or none.
    pub volume: u64,
    /// What fio printed, a few lines at most.
    pub messages: Vec<String>,
    /// What the strict oracle found that fio cannot see (lost or stale writes).
    pub strict: Vec<String>,
    /// Reads of nothing that fio took for the data that its buffer held before. Linux reads nothing from a
    /// disk that has gone (`set_capacity(0)`); from any other it is a violation.
    #[serde(default)]
    pub no_data: Vec<String>,
}

fn is_false(value: &bool) -> bool {
    !*value
}

fn is_first(section: &u16) -> bool {
    *section == 0
}

impl FioJobEnd {
    /// The first thing that fio could not see; a disk that was to go may read nothing.
    #[must_use]
    pub fn unseen_by_fio(&self, to_go: bool) -> Option<&str> {
        let no_data = self.no_data.iter().filter(|_| !to_go);
        self.strict.iter().chain(no_data).next().map(String::as_str)
    }
}

/// The state of a target slot, in the controller's view or in a session's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SlotState {
    /// No device.
    Empty,
    /// Sessions are being told (controller's view only).
    Adding,
    /// In use.
    Present,
    /// Waiting for I/O to drain.
    Removing,
    /// Gone in this session; a tombstone (session's view only).
    Removed,
}

/// A virtio-scsi event that SPDK sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EventKind {
    /// TRANSPORT_RESET / RESCAN.
    Rescan,
    /// TRANSPORT_RESET / REMOVED.
    Removed,
    /// PARAM_CHANGE 2a/09.
    CapacityChanged,
    /// NO_EVENT: carries nothing but the bit EVENTS_MISSED.
    Missed,
}

/// What happens inside the target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "inside", rename_all = "snake_case")]
pub enum Inside {
    /// A slot moved, in the controller's view (`session` is `None`) or in a session's.
    Slot {
        /// The controller and slot.
        place: Place,
        /// SPDK's session id on that controller.
        session: Option<u32>,
        /// From.
        from: SlotState,
        /// To.
        to: SlotState,
        /// Which device is or was in it: rises by one with every attach, over the whole target.
        device: u32,
    },
    /// A session runs.
    SessionStarted {
        /// The controller.
        controller: ControllerId,
        /// The session.
        session: u32,
        /// The connection that it is.
        conn: u32,
        /// HOTPLUG was negotiated.
        hotplug: bool,
        /// There is an event queue.
        eventq: bool,
    },
    /// A session stopped; its slots are EMPTY.
    SessionStopped {
        /// The controller.
        controller: ControllerId,
        /// The session.
        session: u32,
    },
    /// A session's connection closed.
    SessionClosed {
        /// The controller.
        controller: ControllerId,
        /// The session.
        session: u32,
    },
    /// An event was due.
    Event {
        /// The controller.
        controller: ControllerId,
        /// The session.
        session: u32,
        /// The slot.
        target: TargetId,
        /// The event.
        kind: EventKind,
        /// It was written to a buffer; false: dropped.
        delivered: bool,
        /// The bit EVENTS_MISSED was set on it.
        missed: bool,
    },
    /// An add_target or remove_target RPC took effect.
    RpcTook {
        /// Which slot.
        place: Place,
        /// Attach or detach.
        attach: bool,
        /// Which device, as in `Slot`.
        device: u32,
    },
    /// A remove_target RPC was answered `true`.
    RemoveAnswered {
        /// Which slot.
        place: Place,
        /// Which device.
        device: u32,
        /// Sessions that still refer to the device.
        referrers: u8,
        /// Tasks of the device still in flight.
        tasks: u32,
    },
    /// A LUN is not found any more: its bdev goes, or its device was let go by all sessions.
    LunGoing {
        /// Which device.
        device: u32,
    },
    /// A LUN was closed: its io-channel references when it was.
    LunClosed {
        /// Which device.
        device: u32,
        /// References that were left.
        references: u32,
    },
}
