//! The seam: what a plan may ask of a testbed, and what a testbed may show.
//!
//! There are four testbeds (model or real target, model or real guest) and no way to ask which one
//! you hold. A testbed says which [`Evidence`] it can show, so that a check that needs more is
//! reported as not seen instead of held.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use crate::evidence::Evidence;
use crate::names::{ControllerId, DiskId, FioId, Place, TargetId, Ticket, VmId};
use crate::observation::Seen;
use crate::time::Time;

/// What a testbed can be asked to do. Asking returns at once; what came of it is observed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Run the target with empty controllers, and prepare the disks. First action of every run.
    StartTarget {
        /// Controllers to create, all empty.
        controllers: Vec<ControllerId>,
        /// Disks to prepare, none attached.
        disks: Vec<DiskId>,
        /// What some of them are; the others are [`DiskKind::Nvme`].
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        kinds: Vec<(DiskId, DiskKind)>,
    },
    /// Boot a VM with one virtio-scsi device a controller. Observed: `VmReady`.
    BootVm {
        /// The VM.
        vm: VmId,
        /// Its controllers, in the order of its devices.
        controllers: Vec<ControllerId>,
    },
    /// Switch on a VM that has nothing to boot from: its firmware uses the disks, and then it sits
    /// there, a session with one request queue and without HOTPLUG.
    BootFirmware {
        /// The VM.
        vm: VmId,
        /// Its controllers, in the order of its devices.
        controllers: Vec<ControllerId>,
    },
    /// `vhost_scsi_controller_add_target`. Observed: `Answered` with the slot.
    Attach {
        /// What to attach.
        disk: DiskId,
        /// Where.
        controller: ControllerId,
        /// The slot; `None` asks for the first free one (`scsi_target_num` -1).
        target: Option<TargetId>,
    },
    /// `vhost_scsi_controller_remove_target`. Observed: `Answered`.
    Detach {
        /// The slot to empty.
        place: Place,
    },
    /// Start one fio with one job section a disk, in every VM that has one of the disks.
    /// Observed: `FioEnded` once all its jobs have ended.
    StartFio {
        /// Its number.
        fio: FioId,
        /// The name of the job file it runs.
        job: String,
        /// The disks, by place.
        on: Vec<(DiskId, Place)>,
    },
    /// Answer (`Answered`) when the clock of a running job says `at`, and its I/O is under way on
    /// every disk of it; at once if it has ended, with an error if it has only in some of its VMs.
    WaitJobClock {
        /// The fio.
        fio: FioId,
        /// Time since the start of its I/O, on the job's clock.
        at: Duration,
    },
    /// `reboot -f` in a guest. Observed: `VmDown`, then `VmReady` with the next boot number.
    RebootVm {
        /// The VM.
        vm: VmId,
    },
    /// Stop the vCPUs and devices of a VM (QMP `stop`).
    PauseVm {
        /// The VM.
        vm: VmId,
    },
    /// Let a paused VM go on (QMP `cont`).
    ContinueVm {
        /// The VM.
        vm: VmId,
    },
    /// Kill a VM's process: its connections close, nothing is drained. Observed: `VmDown`.
    /// [`RebootVm`](Self::RebootVm) switches it on again.
    KillVm {
        /// The VM.
        vm: VmId,
    },
    /// Give a running VM a new memory table (a DIMM is plugged): SET_MEM_TABLE under I/O.
    AddMemory {
        /// The VM.
        vm: VmId,
    },
    /// Break the connection of a running VM to a controller, and make it anew, while the guest goes on
    /// (QEMU's `reconnect=`). Observed: `Answered` when that begins, with an error if it does not (the VM
    /// does not run, or makes a connection anew already); then `Connected`.
    Reconnect {
        /// The VM.
        vm: VmId,
        /// The controller.
        controller: ControllerId,
    },
    /// A task management request from a guest that has the controller. Observed: `Answered` with the
    /// response.
    Manage {
        /// Where; a target that no controller has is nobody's.
        place: Place,
        /// What is asked for.
        function: TaskFunction,
    },
    /// Take a disk's bdev away under whoever uses it (`bdev_nvme_detach_controller`, `bdev_null_delete`).
    /// Observed: `Answered`.
    Remove {
        /// The disk.
        disk: DiskId,
    },
    /// Give a disk's bdev back, with the data that it had. Observed: `Answered`.
    Insert {
        /// The disk.
        disk: DiskId,
    },
    /// Resize a disk ([`DiskKind::Null`]). Observed: `Answered`.
    Resize {
        /// The disk.
        disk: DiskId,
        /// Its new size.
        mib: u32,
    },
    /// Hold the next requests of a disk ([`DiskKind::Faulty`]) until they are released.
    Hold {
        /// The disk.
        disk: DiskId,
        /// How many.
        requests: u32,
    },
    /// Fail the next requests of a disk ([`DiskKind::Faulty`]).
    Fail {
        /// The disk.
        disk: DiskId,
        /// How many.
        requests: u32,
    },
    /// Let each request of a disk ([`DiskKind::Delayed`]) that is yet to come take so much longer; 0: no
    /// longer. Observed: `Answered`.
    Delay {
        /// The disk.
        disk: DiskId,
        /// Microseconds.
        micros: u32,
    },
    /// Let go of the requests that a disk holds, and hold and fail no more.
    Release {
        /// The disk.
        disk: DiskId,
    },
    /// `vhost_create_scsi_controller`. Observed: `Answered`.
    CreateController {
        /// The controller.
        controller: ControllerId,
    },
    /// `vhost_delete_controller`. Observed: `Answered`.
    DeleteController {
        /// The controller.
        controller: ControllerId,
    },
    /// Ask the target for its configuration (`framework_get_config vhost_scsi`). Observed: `Answered`.
    SaveConfig,
    /// Ask the guest for its disks. Observed: `DisksListed`.
    ListDisks {
        /// The VM.
        vm: VmId,
    },
    /// Ask target and VMs for a sign of life. Observed: `Alive`.
    CheckAlive,
    /// Let everything in flight come to rest (no turn can be taken, nothing is pending).
    /// Observed: `Quiet`.
    Settle,
}

impl Action {
    /// The fio that it starts, if it starts one.
    #[must_use]
    pub fn fio(&self) -> Option<FioId> {
        let Self::StartFio { fio, .. } = self else {
            return None;
        };
        Some(*fio)
    }

    /// Whether later steps may find something else if it was not done: other disks, VMs or controllers, or
    /// requests that end otherwise.
    ///
    /// That a fio was not started is known by its number.
    #[must_use]
    pub const fn changes_what_is_there(&self) -> bool {
        match self {
            Self::StartTarget { .. }
            | Self::BootVm { .. }
            | Self::BootFirmware { .. }
            | Self::RebootVm { .. }
            | Self::PauseVm { .. }
            | Self::ContinueVm { .. }
            | Self::KillVm { .. }
            | Self::AddMemory { .. }
            | Self::Reconnect { .. }
            | Self::Attach { .. }
            | Self::Detach { .. }
            | Self::Manage { .. }
            | Self::Remove { .. }
            | Self::Insert { .. }
            | Self::Resize { .. }
            | Self::Hold { .. }
            | Self::Fail { .. }
            | Self::Delay { .. }
            | Self::Release { .. }
            | Self::CreateController { .. }
            | Self::DeleteController { .. } => true,
            Self::StartFio { .. }
            | Self::WaitJobClock { .. }
            | Self::SaveConfig
            | Self::ListDisks { .. }
            | Self::CheckAlive
            | Self::Settle => false,
        }
    }

    /// The job that it runs, if it runs one.
    #[must_use]
    pub fn job(&self) -> Option<&str> {
        let Self::StartFio { job, .. } = self else {
            return None;
        };
        Some(job)
    }
}

/// A task management function (virtio 1.x §5.6.6.2).
///
/// Linux sends a LUN RESET for `sg_reset -d`, and ABORT TASK from its error handler; the others only
/// another system sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TaskFunction {
    /// All requests of a LUN end.
    LunReset,
    /// One request ends.
    AbortTask,
    /// All requests of this guest on a LUN end.
    AbortTaskSet,
    /// The condition that a failed request left is over.
    ClearAca,
    /// All requests of all guests on a LUN end.
    ClearTaskSet,
    /// All requests of this guest end.
    ItNexusReset,
    /// Whether a request is there.
    QueryTask,
    /// Whether any request of this guest is there.
    QueryTaskSet,
}

impl TaskFunction {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::LunReset,
        Self::AbortTask,
        Self::AbortTaskSet,
        Self::ClearAca,
        Self::ClearTaskSet,
        Self::ItNexusReset,
        Self::QueryTask,
        Self::QueryTaskSet,
    ];

    /// The function that plans call so.
    #[must_use]
    pub fn named(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|of| of.word() == word)
    }

    /// "lun-reset", as plans call it; [`Display`](fmt::Display) is SCSI's way.
    #[must_use]
    pub fn word(self) -> String {
        self.to_string().to_lowercase().replace([' ', '_'], "-")
    }
}

/// What a disk of a testbed is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DiskKind {
    /// A namespace of an NVMe controller of its own, or a split of one.
    #[default]
    Nvme,
    /// The same under a `bdev_error`, so that requests can be held or failed.
    Faulty,
    /// A `bdev_null`, which keeps no data and can be resized.
    Null,
    /// As [`Nvme`](Self::Nvme), under a `bdev_delay`, so that requests can be made slow. That is what is
    /// removed and inserted.
    Delayed,
}

impl DiskKind {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Nvme, Self::Faulty, Self::Null, Self::Delayed];

    /// The kind that plans call so.
    #[must_use]
    pub fn named(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.word() == word)
    }

    /// "nvme".
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Nvme => "nvme",
            Self::Faulty => "faulty",
            Self::Null => "null",
            Self::Delayed => "delayed",
        }
    }
}

/// What became of asking.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Performed {
    /// It was asked; answers carry this ticket.
    Asked(Ticket),
    /// This testbed cannot do that, and why. The step is reported as skipped.
    NotHere(String),
}

/// The testbed broke: nothing is learned about the system under test (exit 2 or 3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TestbedError(pub String);

impl fmt::Display for TestbedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for TestbedError {}

/// How a testbed's run ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ending {
    /// Folds in every turn; equal for equal plan, seed and build. Zero on a real testbed.
    pub trace_hash: u64,
    /// Folds in only the order of hot-plug turns, without times and data.
    pub order_hash: u64,
    /// Turns taken.
    pub turns: u64,
}

/// A place where a plan can be carried out.
pub trait Testbed {
    /// What it can show.
    fn evidence(&self) -> Evidence;

    /// The time now.
    fn now(&self) -> Time;

    /// Asks for `action`. Returns once it has been asked, not once it has happened.
    ///
    /// # Errors
    ///
    /// The testbed broke.
    fn perform(&mut self, action: &Action) -> Result<Performed, TestbedError>;

    /// Lets time pass until something was seen or until `deadline`, and appends what was seen.
    /// Returns with nothing appended only at the deadline or when nothing can happen any more.
    ///
    /// # Errors
    ///
    /// The testbed broke.
    fn observe(&mut self, deadline: Time, seen: &mut Vec<Seen>) -> Result<(), TestbedError>;

    /// Hashes and counts so far.
    fn ending(&self) -> Ending;
}
