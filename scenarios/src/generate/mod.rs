//! Generated scenarios: what happens to a target and its guests, drawn, with no expectation but the checks.
//!
//! Where a plan of people's says what must come of each step, these only stir: whatever they do, no invariant may
//! break. Each is a [`Plan`] with one case that expects nothing, so it can be read, kept, made smaller, and carried
//! out on any testbed. Knows no testbed and no schedule.

mod choose;
mod scenes;

use crate::names::{ControllerId, DiskId};
use crate::plan::{
    Case, DiskSource, Expects, Plan, PlanVm, Position, Role, Source, Step, StepKind,
};
use crate::testbed::{Action, DiskKind};

pub use choose::{ShapeBytes, StepBytes, choose};

/// The jobs that generated scenarios run: one that verifies, and one for disks that keep no data.
pub const VERIFY_JOB: &str = "generated";
/// See [`VERIFY_JOB`].
pub const WRITE_JOB: &str = "generated_writes";

/// Controllers, all empty at first; disks, none attached at first; VMs, and what is done, boots included.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scene {
    /// Controllers.
    pub controllers: Vec<ControllerId>,
    /// Disks.
    pub disks: Vec<(DiskId, DiskKind)>,
    /// VMs.
    pub vms: Vec<PlanVm>,
    /// What is done.
    pub steps: Vec<Step>,
}

impl From<Scene> for Plan {
    fn from(scene: Scene) -> Self {
        let disks = scene.disks.iter().map(|(disk, _)| *disk);
        let kinds = scene.disks.iter().copied();
        Self {
            name: "generated".to_owned(),
            about: "Whatever happens, the checks hold.".to_owned(),
            controllers: scene.controllers,
            controllers_source: Source::Itself,
            disks: disks.collect(),
            disks_from: DiskSource::Nvme,
            kinds: kinds.filter(|(_, kind)| *kind != DiskKind::Nvme).collect(),
            disks_source: Source::Itself,
            job: VERIFY_JOB.to_owned(),
            job_source: Source::Itself,
            job_at: Position::default(),
            vms: scene.vms,
            prerequisites: Vec::new(),
            cases: vec![Case {
                id: "1".to_owned(),
                title: "Generated".to_owned(),
                role: Role::Judged,
                expects: Expects::Nothing,
                steps: scene.steps,
            }],
            recorded: None,
        }
    }
}

/// A step that asks for `action` at once, and waits for its answer.
#[must_use]
pub fn step(action: Action) -> Step {
    Step::of(StepKind::Act(vec![action]))
}
