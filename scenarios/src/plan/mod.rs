//! A plan: what a test asks for, as plain data.
//!
//! Written in KDL 2 (`parse`), in words of the test plan that it encodes. Knows nothing of seeds,
//! slots that were drawn, tickets or testbeds: those come with [`resolve`](crate::resolve()).

mod describe;
mod error;
mod jobs;
mod node;
mod parse;
mod parse_step;
mod parse_verb;
mod print;
mod recorded;
mod selector;

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::names::{ControllerId, DiskId, VmId};
use crate::testbed::{Action, DiskKind};

pub use error::{PlanError, Position, nearest};
pub(crate) use error::{Text, one_of};
pub use jobs::NamedJob;
pub(crate) use node::Node;
pub(crate) use parse::document;
pub use parse::parse;
pub use parse_step::VERBS;
pub use recorded::{Finding, JobText, RECORDED_SCHEMA, Recorded};
pub(crate) use selector::spaced;
pub use selector::{Base, Selector};

/// A test plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Its name, as `plugfest run` takes it.
    pub name: String,
    /// What it shows, in a sentence or two.
    pub about: String,
    /// The target has these controllers, all empty.
    pub controllers: Vec<ControllerId>,
    /// Where the line on the controllers comes from.
    pub controllers_source: Source,
    /// Its disks.
    pub disks: Vec<DiskId>,
    /// What the disks are.
    pub disks_from: DiskSource,
    /// What some of them are; the others are [`DiskKind::Nvme`].
    pub kinds: Vec<(DiskId, DiskKind)>,
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
    /// Under what it was carried out, and what came of it, if the file says so.
    pub recorded: Option<Recorded>,
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
    /// Whether it is judged.
    pub role: Role,
    /// Whether its steps expect anything.
    pub expects: Expects,
    /// What is done and checked, in order.
    pub steps: Vec<Step>,
}

/// Whether a case is judged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Role {
    /// It is a row of the report.
    #[default]
    Judged,
    /// A later one needs it.
    SetUp,
}

/// Who says what is wrong in a case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Expects {
    /// Its steps, and the checks.
    #[default]
    Steps,
    /// Only the checks: its steps are asked for as they stand, whatever comes of them.
    Nothing,
}

/// A step, and the line of the test plan that wants it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Why it is there.
    pub source: Source,
    /// Where it stands in the plan file.
    pub at: Position,
    /// No earlier than this after the step before it has ended.
    pub after: Duration,
    /// Whether the next step comes after the answer.
    pub wait: Wait,
    /// The message of the error that it is answered with, if it is to be refused.
    pub refused: Option<String>,
    /// What it asks for.
    pub kind: StepKind,
}

impl Step {
    /// A step that is awaited, comes at once, and has no place in a file.
    #[must_use]
    pub fn of(kind: StepKind) -> Self {
        Self {
            source: Source::Itself,
            at: Position::default(),
            after: Duration::ZERO,
            wait: Wait::Answer,
            refused: None,
            kind,
        }
    }
}

/// Whether somebody waits for the answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Wait {
    /// Yes, as long as the limit allows.
    #[default]
    Answer,
    /// No: it is asked for, and that is all.
    Nothing,
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
    /// Attach a disk to the lowest free slot, and wait until a guest that runs can use it.
    Attach {
        /// Which disk.
        disk: DiskId,
        /// On which controller.
        controller: ControllerId,
        /// How the slot is asked for.
        by: SlotBy,
    },
    /// Detach a disk, wherever it is attached, and wait for the answer.
    Detach {
        /// Which.
        disk: DiskId,
    },
    /// Ask for all of these at once; each says by itself what is done. The plan expects what it comes to where
    /// all goes well.
    Act(Vec<Action>),
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
        /// No earlier than this.
        at: Clock,
        /// The label of the fio whose clock counts; `None` is the innermost one around.
        of: Option<String>,
    },
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
    Parallel {
        /// They share no VM.
        branches: Vec<Branch>,
    },
    /// The same steps again and again; what is drawn is drawn each time.
    Repeat {
        /// How often.
        times: u8,
        /// What.
        steps: Vec<Step>,
    },
}

/// One of several sequences that run at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Branch {
    /// Its name in the report.
    pub name: String,
    /// Its steps.
    pub steps: Vec<Step>,
}

/// How the lowest free slot is asked for: by its number, or, which must end in the same one, as "any" (-1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SlotBy {
    /// The seed decides.
    Drawn,
    /// By its number.
    Number,
}

/// A time on a job's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clock {
    /// The seed adds up to two seconds.
    AtLeast(Duration),
    /// This one.
    Exactly(Duration),
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
