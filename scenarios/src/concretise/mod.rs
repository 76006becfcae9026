//! A plan and a seed make concrete steps: every place, slot, delay and number of a fio is fixed.
//!
//! All chance of the stimulus is thrown here, from a stream of its own, so that a testbed that
//! draws too does not change what a seed asks for, and every testbed is asked the same. What
//! is impossible (a disk attached twice, a fio on no disk) is found here as well, since only here is
//! it known what hangs where.

mod faults;
mod select;
mod world;

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::names::{DiskId, FioId, Place, TargetId, VmId};
use crate::plan::{Plan, Position, Source};
use crate::testbed::Action;

use world::World;

/// What of a plan is carried out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// The one case to judge; those before it are set-up. `None`: all cases.
    pub only: Option<String>,
}

/// A plan in which nothing is left to chance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Concrete {
    /// The plan's name.
    pub plan: String,
    /// The seed that made it.
    pub seed: u64,
    /// Done before the first case; their results belong to the first judged one.
    pub prerequisites: Vec<Step>,
    /// The cases, in order, up to the last judged one.
    pub cases: Vec<Case>,
    /// Why fio may find blocks wrong on a disk that does nothing wrong, by job; whoever knows the jobs fills
    /// it in.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub doubts: BTreeMap<String, String>,
}

impl Concrete {
    /// [`doubts`](Self::doubts), by the fios that run these jobs.
    pub(crate) fn doubtful(&self) -> BTreeMap<FioId, &str> {
        let mut found = BTreeMap::new();
        let cases = self.cases.iter().map(|case| &case.steps);
        let mut open: Vec<&Step> = self.prerequisites.iter().chain(cases.flatten()).collect();
        while let Some(step) = open.pop() {
            match &step.does {
                Does::Together { lanes } => {
                    open.extend(lanes.iter().flat_map(|lane| &lane.steps));
                }
                Does::StartFio {
                    action: Action::StartFio { fio, job, .. },
                    ..
                } => {
                    found.extend(self.doubts.get(job).map(|doubt| (*fio, doubt.as_str())));
                }
                _ => {}
            }
        }
        found
    }
}

/// A case in which nothing is left to chance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Case {
    /// Its ID in the plan.
    pub id: String,
    /// Its title.
    pub title: String,
    /// False: it is only the set-up of a later one.
    pub judged: bool,
    /// Its steps, flat: a fio is started by one and awaited by a later one.
    pub steps: Vec<Step>,
}

/// A concrete step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// Why it is there.
    pub source: Source,
    /// What it does, in words.
    pub text: String,
    /// What it does.
    pub does: Does,
}

/// What a concrete step does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Does {
    /// Runs the target.
    Prepare {
        /// `StartTarget`.
        action: Action,
    },
    /// Boots VMs, and waits until they are ready and have these disks.
    Boot {
        /// One `BootVm` each.
        actions: Vec<Action>,
        /// What they have then.
        disks: Vec<VmDisks>,
    },
    /// Attaches.
    Attach {
        /// `Attach`.
        action: Action,
        /// The slot that the answer must name.
        slot: TargetId,
        /// The VM that must see the disk, if it runs.
        seen_by: Option<VmId>,
        /// The disk.
        disk: DiskId,
        /// Where.
        place: Place,
    },
    /// Detaches.
    Detach {
        /// `Detach`.
        action: Action,
        /// The fios that run on the disk now, and shall notice.
        under: Vec<FioId>,
    },
    /// Takes bdevs away.
    Remove {
        /// One `Remove` each.
        actions: Vec<Action>,
        /// The fios that run on the disks now, and shall notice.
        under: Vec<FioId>,
    },
    /// Asks for something, and waits for the answers.
    Ask {
        /// What.
        actions: Vec<Action>,
    },
    /// Starts fio.
    StartFio {
        /// `StartFio`.
        action: Action,
        /// Its number.
        fio: FioId,
    },
    /// Waits until fio has ended, and compares how.
    AwaitFio {
        /// Its number.
        fio: FioId,
        /// Its label in the plan.
        label: String,
        /// What is expected, a job a disk.
        jobs: Vec<Job>,
    },
    /// Waits for a job's clock.
    WaitClock {
        /// `WaitJobClock`.
        action: Action,
    },
    /// Compares once more how jobs of an ended fio ended.
    Jobs {
        /// Its number.
        fio: FioId,
        /// What is expected, of some of its jobs.
        jobs: Vec<Job>,
    },
    /// Reboots VMs; they come back with a higher boot number and these disks.
    Reboot {
        /// One `RebootVm` each.
        actions: Vec<Action>,
        /// What they have then.
        disks: Vec<VmDisks>,
    },
    /// Asks everybody for a sign of life.
    Alive,
    /// Waits until VMs have exactly these disks.
    Disks {
        /// What they must have.
        disks: Vec<VmDisks>,
    },
    /// Reads back what was written to a disk.
    Kept {
        /// `StartFio` of the job that reads.
        action: Action,
        /// Its number.
        fio: FioId,
        /// The job.
        job: Job,
    },
    /// Lets everything come to rest.
    Settle,
    /// Runs lanes of steps at once.
    Together {
        /// The lanes.
        lanes: Vec<Lane>,
    },
}

/// A lane of concrete steps.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lane {
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

/// A plan asks for something impossible.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Impossible {
    /// At which step of the plan file.
    pub at: Position,
    /// What.
    pub what: String,
    /// What would be possible.
    pub help: String,
}

impl std::fmt::Display for Impossible {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}; {}", self.what, self.help)
    }
}

impl std::error::Error for Impossible {}

/// The most that the seed adds to an `after`, and in which steps.
pub const AFTER_EXTRA_MAX: Duration = Duration::from_secs(2);
/// The grid of the delays that the seed draws.
pub const AFTER_EXTRA_STEP: Duration = Duration::from_millis(10);

/// Draws what `plan` leaves to chance from `seed`.
///
/// # Errors
///
/// The plan asks for something impossible, or `options` name a case that it does not have.
pub fn concretise(plan: &Plan, seed: u64, options: &Options) -> Result<Concrete, Impossible> {
    let last = match &options.only {
        None => plan.cases.len().saturating_sub(1),
        Some(id) => plan
            .cases
            .iter()
            .position(|case| case.id == *id)
            .ok_or_else(|| {
                let known: Vec<&str> = plan.cases.iter().map(|case| case.id.as_str()).collect();
                Impossible {
                    at: Position::default(),
                    what: format!("plan {:?} has no case {id:?}", plan.name),
                    help: format!("it has {}", known.join(", ")),
                }
            })?,
    };
    let mut world = World::new(plan, seed);
    let prerequisites = world.prerequisites()?;
    let mut cases = Vec::new();
    for (at, case) in plan.cases.iter().enumerate().take(last + 1) {
        let mut steps = world.case(&case.steps)?;
        steps.push(settle());
        cases.push(Case {
            id: case.id.clone(),
            title: case.title.clone(),
            judged: options.only.is_none() || at == last,
            steps,
        });
    }
    Ok(Concrete {
        plan: plan.name.clone(),
        seed,
        prerequisites,
        cases,
        doubts: BTreeMap::new(),
    })
}

/// The end of every case.
fn settle() -> Step {
    Step {
        source: Source::Implied("what a case leaves pending would be blamed on the next".into()),
        text: "everything comes to rest".into(),
        does: Does::Settle,
    }
}
