//! A script: what is carried out, step by step, with nothing left to chance.
//!
//! A plan becomes one by [`resolve`](crate::resolve()), whether people wrote it or it was generated. It is plain
//! data; whoever carries it out ([`run`](crate::run::run)) needs no plan and no seed.

mod answer;

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::names::{ControllerId, DiskId, FioId, Place, VmId};
use crate::plan::{Expects, Role, Source, Wait};
use crate::testbed::Action;

pub use answer::is_answer;

/// What is carried out, from a cold start until everything is at rest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Script {
    /// The plan's name.
    pub plan: String,
    /// The VMs, and the controllers of each.
    pub vms: Vec<(VmId, Vec<ControllerId>)>,
    /// Done before the first case; their results belong to the first judged one.
    pub prerequisites: Vec<Step>,
    /// The cases, in order, up to the last judged one.
    pub cases: Vec<Case>,
    /// What fios may fail with on disks that do nothing wrong, by job; whoever knows the jobs fills it in.
    pub doubts: BTreeMap<String, Doubts>,
}

/// Why a fio may fail on a disk that does nothing wrong: an end of that kind says nothing of the target.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Doubts {
    /// It may find blocks wrong that it wrote itself.
    pub spoils: Option<String>,
    /// It verifies blocks that it has not written: no doubt on a disk that an earlier fio wrote to.
    pub unwritten: Option<String>,
    /// Its requests may be none that the disk, or the guest's kernel, takes.
    pub refused: Option<String>,
}

/// A case of a script.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Case {
    /// Its ID in the plan.
    pub id: String,
    /// Its title.
    pub title: String,
    /// Whether it is judged.
    pub role: Role,
    /// Whether its steps expect anything.
    pub expects: Expects,
    /// Its steps, flat: a fio is started by one and awaited by a later one.
    pub steps: Vec<Step>,
}

/// One thing that is done, and what is to come of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Why it is there.
    pub source: Source,
    /// What it does, in words.
    pub text: String,
    /// It is asked for no earlier than this after the step before it has ended.
    pub after: Duration,
    /// What is asked for at once, in this order.
    pub does: Vec<Action>,
    /// Whether a step that expects nothing ends with what comes of it, or once it is asked for.
    pub wait: Wait,
    /// What is to come of it.
    pub expect: Expect,
    /// Sequences that are carried out at once; such a step does nothing else.
    pub branches: Vec<Branch>,
}

/// What is to come of a step. Each has a limit in time ([`limits`](crate::run::limits)).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expect {
    /// Nothing: the checks say what is wrong.
    Nothing,
    /// Answers without an error.
    Success {
        /// The fios that run on what is removed, and shall notice.
        under: Vec<FioId>,
    },
    /// An error with this message.
    Refused(String),
    /// The slot in the answer, and a disk in these VMs.
    Attached {
        /// The disk.
        disk: DiskId,
        /// Where.
        place: Place,
        /// The VMs that must see it.
        seen_by: Vec<VmId>,
    },
    /// Answers, and then VMs that take work again: a testbed may answer before they do.
    GoesOn(Vec<VmId>),
    /// VMs that have booted once more, and have these disks.
    Booted(Vec<VmDisks>),
    /// The end of a fio.
    Fio {
        /// Its number.
        fio: FioId,
        /// Its label in the plan.
        label: String,
        /// How each job has to end.
        jobs: Vec<Job>,
    },
    /// A job's clock comes to that time, and the job runs.
    Clock(FioId),
    /// Once more how jobs of a fio that has ended did end.
    Jobs {
        /// Its number.
        fio: FioId,
        /// Some of its jobs.
        jobs: Vec<Job>,
    },
    /// A sign of life of everybody.
    Alive,
    /// VMs with exactly these disks.
    Disks(Vec<VmDisks>),
    /// A fio that reads back what was written.
    Kept {
        /// Its number.
        fio: FioId,
        /// Its job.
        job: Job,
    },
    /// Everything comes to rest, and nothing is left.
    Rest,
}

/// One of several sequences that run at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Branch {
    /// Its name.
    pub name: String,
    /// Its steps.
    pub steps: Vec<Step>,
}

/// The disks that a VM must have, exactly, by place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VmDisks {
    /// The VM.
    pub vm: VmId,
    /// Its disks, ordered by place.
    pub disks: Vec<(Place, DiskId)>,
}

/// How a job of a fio must end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Job {
    /// Its disk.
    pub disk: DiskId,
    /// Where that was at the start.
    pub place: Place,
    /// How it must end.
    pub must: JobMust,
}

/// How a job must end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobMust {
    /// Error 0, the volume verified, nothing found by the strict oracle.
    Pass,
    /// Any error, but an end.
    Fail,
    /// An error that a removed disk gives, and an end.
    FailGone,
}

impl Script {
    /// Every step, those in branches included, in no order.
    pub fn steps(&self) -> impl Iterator<Item = &Step> {
        let cases = self.cases.iter().flat_map(|case| &case.steps);
        let mut open: Vec<&Step> = self.prerequisites.iter().chain(cases).collect();
        std::iter::from_fn(move || {
            let step = open.pop()?;
            open.extend(step.branches.iter().flat_map(|branch| &branch.steps));
            Some(step)
        })
    }

    /// [`doubts`](Self::doubts), by the fios that run these jobs.
    pub(crate) fn doubtful(&self) -> BTreeMap<FioId, &Doubts> {
        let of = |action: &Action| {
            let Action::StartFio { fio, job, .. } = action else {
                return None;
            };
            let doubt = self.doubts.get(job)?;
            Some((*fio, doubt))
        };
        let started = self.steps().filter(|step| step.expect == Expect::Nothing);
        started.flat_map(|step| &step.does).filter_map(of).collect()
    }

    /// The steps of the cases that a plan has, and not only implies.
    pub fn own_steps(&self) -> impl Iterator<Item = &Step> {
        let steps = self.cases.iter().flat_map(|case| &case.steps);
        steps.filter(|step| !matches!(step.source, Source::Implied(_)))
    }

    /// What is done, a line a step, for whoever looks at a few steps that are left.
    #[must_use]
    pub fn lines(&self) -> String {
        let mut text = String::new();
        for (number, step) in (1..).zip(self.own_steps()) {
            let gap = match step.after {
                Duration::ZERO => String::new(),
                after => format!("+{after:?} "),
            };
            let waits = match step.wait {
                Wait::Answer => ", and wait",
                Wait::Nothing => "",
            };
            text += &format!("  {number:>3}. {gap}{}{waits}\n", step.text);
        }
        text
    }
}
