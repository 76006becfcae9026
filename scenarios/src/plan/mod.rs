//! A plan: what a test asks for, as plain data.
//!
//! Written in KDL 2 (`parse`), in words of the test plan that it encodes. Knows nothing of seeds,
//! slots that were drawn, tickets or testbeds: those come with [`concretise`](crate::concretise()).

mod describe;
mod error;
mod jobs;
mod node;
mod parse;
mod parse_step;
mod selector;

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::names::{ControllerId, DiskId, Place, TargetId, VmId};

pub use error::{PlanError, Position, nearest};
pub use jobs::NamedJob;
pub use parse::parse;
pub(crate) use selector::spaced;
pub use selector::{Base, Selector};

/// A test plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Its name, as `plugfest run` takes it.
    pub name: String,
    /// What it shows, in a sentence or two.
    pub about: String,
    /// The target has controllers 1 to this, all empty.
    pub controllers: u8,
    /// Where the line on the controllers comes from.
    pub controllers_source: Source,
    /// The plan has disks 1 to this.
    pub disks: u8,
    /// What the disks are.
    pub disks_from: DiskSource,
    /// Where the line on the disks comes from.
    pub disks_source: Source,
    /// The job that a `fio` runs if it names none.
    pub job: String,
    /// Where the line on the job comes from.
    pub job_source: Source,
    /// Where that line stands in the plan file.
    pub job_at: Position,
    /// The VMs it knows; they run only once a step boots them.
    pub vms: Vec<PlanVm>,
    /// Done once, before the first case.
    pub prerequisites: Vec<Step>,
    /// The cases, in order; what one leaves is what the next one finds.
    pub cases: Vec<Case>,
}

/// What the disks of a plan are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiskSource {
    /// NVMe namespaces, or splits of them if there are fewer than the plan wants.
    Nvme,
    /// Any bdev.
    Any,
}

/// A VM and its virtio-scsi devices.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlanVm {
    /// The VM.
    pub vm: VmId,
    /// One device a controller, in this order.
    pub controllers: Vec<ControllerId>,
}

/// A case of a plan: a row of the report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Case {
    /// Its name within the plan: "1", "4-literal".
    pub id: String,
    /// What it does, in a line.
    pub title: String,
    /// What is done and checked, in order.
    pub steps: Vec<Step>,
}

/// A step, and the line of the test plan that wants it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Why it is there.
    pub source: Source,
    /// Where it stands in the plan file.
    pub at: Position,
    /// What it asks for.
    pub kind: StepKind,
}

/// Why a line is in a plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// The lines of `test_plan.md` that say so.
    Lines(Vec<u32>),
    /// No line says so, but this is why the test plan needs it.
    Implied(String),
    /// The plan follows no document: no line of it names one.
    Itself,
}

/// What a step asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StepKind {
    /// Boot VMs and wait until they take work and see their disks.
    Boot {
        /// Which.
        vms: Vec<VmId>,
    },
    /// Attach a disk, and wait until a guest that runs can use it.
    Attach {
        /// Which disk.
        disk: DiskId,
        /// On which controller.
        controller: ControllerId,
        /// In which slot; `None` leaves it to the seed whether the lowest free slot is asked for by
        /// its number or as "any" (-1). Both must end in the same slot.
        target: Option<TargetId>,
    },
    /// Detach and wait for the answer.
    Detach {
        /// What.
        what: DetachWhat,
    },
    /// The bdevs of disks go away under whoever uses them; wait for the answers.
    Remove {
        /// Which disks.
        disks: Vec<DiskId>,
    },
    /// The bdevs of removed disks come back, with their data; they are attached to nothing.
    Insert {
        /// Which disks.
        disks: Vec<DiskId>,
    },
    /// Switch VMs off, as pulling the plug does.
    Stop {
        /// Which.
        vms: Vec<VmId>,
    },
    /// Run fio; the steps of its body run while it does.
    Fio {
        /// Its name within the case.
        label: String,
        /// The disks it runs on.
        on: Selector,
        /// The job file.
        job: String,
        /// How it must end.
        expect: FioExpect,
        /// What happens meanwhile.
        body: Vec<Step>,
    },
    /// Wait until a fio has run this long on its own clock.
    After {
        /// No earlier than this; the seed adds up to two seconds.
        at_least: Duration,
        /// The label of the fio whose clock counts; `None` is the innermost one around.
        of: Option<String>,
    },
    /// Reboot VMs; each must come back with its boot number risen by one.
    Reboot {
        /// Which.
        vms: Vec<VmId>,
    },
    /// Target and VMs give a sign of life.
    Alive,
    /// The disk is gone from the VM it was attached to, and no other is: the VM has exactly the
    /// disks that are still attached.
    Gone {
        /// Which.
        disk: DiskId,
    },
    /// VMs have exactly the disks that are attached, each in its place.
    Present {
        /// Which VMs; `None` is all that run.
        vms: Option<Vec<VmId>>,
    },
    /// A fio's jobs failed, as they do on a disk that is gone.
    Failed {
        /// The label of the fio.
        fio: String,
        /// On which disk; `None` is all of the fio.
        disk: Option<DiskId>,
    },
    /// A fio's jobs passed, on every disk that was not detached under it.
    Passed {
        /// The label of the fio.
        fio: String,
    },
    /// What was written to a disk before it was detached is read back; the judge compares (I2).
    Kept {
        /// Which disk.
        disk: DiskId,
    },
    /// Several sequences at once.
    Together {
        /// They share no controller.
        lanes: Vec<Lane>,
    },
}

/// One of several sequences that run at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lane {
    /// Its name in the report.
    pub name: String,
    /// Its steps.
    pub steps: Vec<Step>,
}

/// What is detached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DetachWhat {
    /// A disk, wherever it is attached.
    Disk(DiskId),
    /// Whatever is in a slot.
    Place(Place),
}

/// How a fio must end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FioExpect {
    /// Every job with error 0, its volume verified, and nothing found by the strict oracle.
    Pass,
    /// Every job with an error.
    Fail,
    /// Jobs on disks that are detached in the body fail as on a disk that is gone; the others pass.
    Gone,
}

/// The job that `kept` runs.
pub const READ_BACK_JOB: &str = "read_back";
