//! Cases that expect nothing: each step is asked for as it stands, whatever is attached where.
//!
//! At the end faults are taken back, so that whatever stays undone is the target's doing.

use std::collections::BTreeSet;
use std::time::Duration;

use super::world::{impossible, in_a_branch, made};
use super::{Impossible, settle};
use crate::names::{DiskId, VmId};
use crate::plan::{self, Source, StepKind, Wait};
use crate::script::{Branch, Expect, Step};
use crate::testbed::Action;

/// A case of which only the checks say what is wrong.
pub(super) fn case(steps: &[plan::Step]) -> Result<Vec<Step>, Impossible> {
    let mut all = bare(steps, Nesting::Case)?;
    let mut faults = Faults::default();
    faults.note(&all);
    all.extend(faults.taken_back().map(|action| Step {
        source: Source::Implied("what stays undone is to be the target's doing".into()),
        text: action.to_string(),
        after: Duration::ZERO,
        does: vec![action],
        wait: Wait::Answer,
        expect: Expect::Nothing,
        branches: Vec::new(),
    }));
    all.push(settle(Expect::Nothing));
    Ok(all)
}

/// Where steps stand.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Nesting {
    Case,
    Branch,
}

fn bare(steps: &[plan::Step], within: Nesting) -> Result<Vec<Step>, Impossible> {
    let mut all = Vec::new();
    for step in steps {
        if step.refused.is_some() {
            let what = "`refused` in a case that expects nothing";
            return Err(impossible(step, what, "remove it: the checks judge alone"));
        }
        match &step.kind {
            StepKind::Act(actions) => {
                all.push(made(step, actions.clone(), Expect::Nothing));
            }
            StepKind::Parallel { .. } if within == Nesting::Branch => {
                return Err(in_a_branch(step));
            }
            StepKind::Parallel { branches } => {
                let mut some = made(step, Vec::new(), Expect::Nothing);
                for branch in branches {
                    some.branches.push(Branch {
                        name: branch.name.clone(),
                        steps: bare(&branch.steps, Nesting::Branch)?,
                    });
                }
                all.push(some);
            }
            StepKind::Repeat { times, steps } => {
                for _ in 0..*times {
                    all.extend(bare(steps, within)?);
                }
            }
            StepKind::Attach { .. } | StepKind::Detach { .. } => {
                let what = "where is not known in a case that expects nothing";
                return Err(impossible(
                    step,
                    what,
                    "say the slot: controller=1 target=0",
                ));
            }
            StepKind::Fio { .. }
            | StepKind::After { .. }
            | StepKind::Gone { .. }
            | StepKind::Present { .. }
            | StepKind::Failed { .. }
            | StepKind::Passed { .. }
            | StepKind::Kept { .. } => {
                let what = format!("{} in a case that expects nothing", step.kind);
                return Err(impossible(step, what, "put it into a case of its own"));
            }
        }
    }
    Ok(all)
}

/// What keeps requests or VMs from going on.
#[derive(Default)]
struct Faults {
    /// Disks that hold or fail requests.
    holding: BTreeSet<DiskId>,
    delayed: BTreeSet<DiskId>,
    paused: BTreeSet<VmId>,
}

impl Faults {
    fn note(&mut self, steps: &[Step]) {
        for step in steps {
            step.does.iter().for_each(|action| self.act(action));
            let branches = step.branches.iter();
            branches.for_each(|branch| self.note(&branch.steps));
        }
    }

    fn act(&mut self, action: &Action) {
        match action {
            Action::Hold { disk, .. } | Action::Fail { disk, .. } => {
                self.holding.insert(*disk);
            }
            Action::Release { disk } => {
                self.holding.remove(disk);
            }
            Action::Delay { disk, .. } => {
                self.delayed.insert(*disk);
            }
            Action::PauseVm { vm } => {
                self.paused.insert(*vm);
            }
            Action::ContinueVm { vm } | Action::KillVm { vm } => {
                self.paused.remove(vm);
            }
            Action::StartTarget { .. }
            | Action::BootVm { .. }
            | Action::BootFirmware { .. }
            | Action::Attach { .. }
            | Action::Detach { .. }
            | Action::StartFio { .. }
            | Action::WaitJobClock { .. }
            | Action::RebootVm { .. }
            | Action::AddMemory { .. }
            | Action::Reconnect { .. }
            | Action::Manage { .. }
            | Action::Remove { .. }
            | Action::Insert { .. }
            | Action::Resize { .. }
            | Action::CreateController { .. }
            | Action::DeleteController { .. }
            | Action::SaveConfig
            | Action::ListDisks { .. }
            | Action::CheckAlive
            | Action::Settle => {}
        }
    }

    fn taken_back(self) -> impl Iterator<Item = Action> {
        let released = self
            .holding
            .into_iter()
            .map(|disk| Action::Release { disk });
        let fast = self.delayed.into_iter();
        let fast = fast.map(|disk| Action::Delay { disk, micros: 0 });
        let woken = self.paused.into_iter().map(|vm| Action::ContinueVm { vm });
        released.chain(fast).chain(woken)
    }
}
