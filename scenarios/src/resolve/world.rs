//! What hangs where, as far as a plan makes it so; and each step of the plan made ready to be carried out.
//!
//! Knows what *should* be: what is, only a testbed shows.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::Impossible;
use crate::names::{ControllerId, DiskId, FioId, Place, VmId};
use crate::plan::{self, Clock, FioExpect, Plan, StepKind, Wait};
use crate::script::{Branch, Expect, Job, JobMust, Step, VmDisks};
use crate::testbed::Action;

/// A fio of a case.
pub(super) struct Fio {
    pub(super) label: String,
    pub(super) fio: FioId,
    pub(super) jobs: Vec<Job>,
    /// Its body is being read.
    pub(super) open: bool,
}

/// Where a plan stands after the steps so far.
pub(super) struct World<'p> {
    pub(super) plan: &'p Plan,
    pub(super) attached: BTreeMap<Place, DiskId>,
    /// Where a disk was attached last.
    pub(super) last: BTreeMap<DiskId, Place>,
    pub(super) running: BTreeSet<VmId>,
    pub(super) paused: BTreeSet<VmId>,
    /// Disks whose bdev is away.
    pub(super) removed: BTreeSet<DiskId>,
    /// Controllers that are not there any more.
    pub(super) deleted: BTreeSet<ControllerId>,
    /// The fios of this case, in order of their starts.
    pub(super) fios: Vec<Fio>,
    fios_ever: u16,
    /// Controllers that the branch at hand has to do with; `None` outside of branches.
    pub(super) branch: Option<BTreeSet<ControllerId>>,
    /// A case that expects nothing was before: all this is not known any more.
    pub(super) unknown: bool,
}

type Made = Result<Vec<Step>, Impossible>;

impl<'p> World<'p> {
    pub(super) fn new(plan: &'p Plan) -> Self {
        Self {
            plan,
            attached: BTreeMap::new(),
            last: BTreeMap::new(),
            running: BTreeSet::new(),
            paused: BTreeSet::new(),
            removed: BTreeSet::new(),
            deleted: BTreeSet::new(),
            fios: Vec::new(),
            fios_ever: 0,
            branch: None,
            unknown: false,
        }
    }

    /// The steps of a case, or those before the first one.
    pub(super) fn case(&mut self, steps: &[plan::Step]) -> Made {
        self.fios.clear();
        if let Some(step) = steps.first().filter(|_| self.unknown) {
            let what = "a case before this one expects nothing, so what is attached is not known";
            let help = "expect=\"nothing\" here too, or put this case before it";
            return Err(impossible(step, what, help));
        }
        self.steps(steps)
    }

    fn steps(&mut self, steps: &[plan::Step]) -> Made {
        let mut made = Vec::new();
        for step in steps {
            made.extend(self.step(step)?);
        }
        Ok(made)
    }

    fn step(&mut self, step: &plan::Step) -> Made {
        if step.refused.is_some() {
            return Ok(vec![self.refused(step)?]);
        }
        let (does, expect) = match &step.kind {
            StepKind::Attach {
                disk, controller, ..
            } => {
                let (disk, controller) = (*disk, *controller);
                self.touch(controller);
                let (slot, expect) = self.attach(step, disk, controller, None)?;
                let action = Action::Attach {
                    disk,
                    controller,
                    target: Some(slot),
                };
                (vec![action], expect)
            }
            StepKind::Detach { disk } => {
                let place = self.attached_at(step, *disk)?;
                let actions = vec![Action::Detach { place }];
                let expect = self.act(step, &actions)?;
                (actions, expect)
            }
            StepKind::Act(actions) => (actions.clone(), self.act(step, actions)?),
            StepKind::Fio { .. } => return self.fio(step),
            StepKind::After {
                at: Clock::AtLeast(at) | Clock::Exactly(at),
                of,
            } => {
                let fio = self.clock_of(step, of.as_deref())?;
                let action = Action::WaitJobClock { fio, at: *at };
                (vec![action], Expect::Clock(fio))
            }
            StepKind::Gone { disk } => (Vec::new(), self.gone(step, *disk)?),
            StepKind::Present { vms } => (Vec::new(), self.present(step, vms.as_deref())?),
            StepKind::Failed { fio, disk } => (Vec::new(), self.failed(step, fio, *disk)?),
            StepKind::Passed { fio } => (Vec::new(), self.passed(step, fio)?),
            StepKind::Kept { disk } => self.kept(step, *disk)?,
            StepKind::Parallel { branches } => return self.parallel(step, branches),
            StepKind::Repeat { times, steps } => {
                let rounds = (0..*times).map(|_| self.steps(steps));
                let rounds: Vec<Vec<Step>> = rounds.collect::<Result<_, _>>()?;
                return Ok(rounds.into_iter().flatten().collect());
            }
        };
        let expect = match step.wait {
            Wait::Answer => expect,
            Wait::Nothing if does.is_empty() => {
                let what = format!("nobody waits for \"{}\", which only looks", step.kind);
                return Err(impossible(step, what, "remove wait=#false"));
            }
            Wait::Nothing => unawaited(expect),
        };
        Ok(vec![made(step, does, expect)])
    }

    /// A step that has to be refused: it changes nothing.
    fn refused(&mut self, step: &plan::Step) -> Result<Step, Impossible> {
        let does = match &step.kind {
            StepKind::Attach {
                disk, controller, ..
            } => vec![Action::Attach {
                disk: *disk,
                controller: *controller,
                target: None,
            }],
            StepKind::Detach { disk } => {
                let place = self.attached_at(step, *disk)?;
                vec![Action::Detach { place }]
            }
            StepKind::Act(actions) => actions.clone(),
            StepKind::Fio { .. }
            | StepKind::After { .. }
            | StepKind::Gone { .. }
            | StepKind::Present { .. }
            | StepKind::Failed { .. }
            | StepKind::Passed { .. }
            | StepKind::Kept { .. }
            | StepKind::Parallel { .. }
            | StepKind::Repeat { .. } => {
                let what = format!("nobody can refuse \"{}\"", step.kind);
                return Err(impossible(
                    step,
                    what,
                    "`refused` is for what asks the target",
                ));
            }
        };
        does.iter().for_each(|action| self.touch_by(action));
        let message = step.refused.clone().unwrap_or_default();
        let mut made = made(step, does, Expect::Refused(message));
        made.text += ", which is refused";
        Ok(made)
    }

    fn fio(&mut self, step: &plan::Step) -> Made {
        let StepKind::Fio {
            label,
            on,
            job,
            expect,
            body,
        } = &step.kind
        else {
            return Ok(Vec::new());
        };
        if self.fios.iter().any(|fio| fio.open && fio.label == *label) {
            let what = format!("a fio {label:?} runs already");
            return Err(impossible(step, what, "give it another label"));
        }
        let jobs = match self.absent(on, *expect) {
            Some(jobs) => jobs,
            None => self.select(step, on)?,
        };
        let fio = self.next_fio();
        let action = start(fio, job, &jobs);
        let at = self.fios.len();
        self.fios.push(Fio {
            label: label.clone(),
            fio,
            jobs,
            open: true,
        });
        let mut steps = vec![made(step, vec![action], Expect::Nothing)];
        steps[0].wait = Wait::Nothing;
        steps[0].text = format!("start fio \"{label}\" ({job}) on {on}");
        steps.extend(self.steps(body)?);
        self.fios[at].open = false;
        let ended = &mut self.fios[at];
        let detached = ended.jobs.iter().any(|job| job.must == JobMust::FailGone);
        match expect {
            FioExpect::Gone if !detached => {
                return Err(impossible(
                    step,
                    "no disk of this fio is detached while it runs",
                    "expect=\"gone\" needs a `detach` in the body",
                ));
            }
            FioExpect::Gone => {}
            FioExpect::Pass => ended
                .jobs
                .iter_mut()
                .for_each(|job| job.must = JobMust::Pass),
            FioExpect::Fail => ended
                .jobs
                .iter_mut()
                .for_each(|job| job.must = JobMust::Fail),
        }
        if step.wait == Wait::Answer {
            let (label, jobs) = (label.clone(), ended.jobs.clone());
            let mut end = made(step, Vec::new(), Expect::Fio { fio, label, jobs });
            end.after = Duration::ZERO;
            steps.push(end);
        }
        Ok(steps)
    }

    fn clock_of(&self, step: &plan::Step, label: Option<&str>) -> Result<FioId, Impossible> {
        let mut open = self.fios.iter().rev().filter(|fio| fio.open);
        let found = match label {
            None => open.next(),
            Some(label) => open.find(|fio| fio.label == label),
        };
        found.map(|fio| fio.fio).ok_or_else(|| match label {
            None => impossible(step, "`after` outside of a fio", "put it into a fio's body"),
            Some(label) => impossible(
                step,
                format!("no fio {label:?} runs here"),
                "expected the label of a fio around this step",
            ),
        })
    }

    fn parallel(&mut self, step: &plan::Step, branches: &[plan::Branch]) -> Made {
        if self.branch.is_some() {
            return Err(in_a_branch(step));
        }
        let mut all = made(step, Vec::new(), Expect::Nothing);
        let mut taken = BTreeSet::new();
        for branch in branches {
            self.branch = Some(BTreeSet::new());
            let steps = self.steps(&branch.steps);
            let touched = self.branch.take().unwrap_or_default();
            if let Some(shared) = taken.intersection(&touched).next() {
                return Err(impossible(
                    step,
                    format!("two branches have to do with {shared}, or with its VM"),
                    "give each branch VMs of its own",
                ));
            }
            taken.extend(touched);
            all.branches.push(Branch {
                name: branch.name.clone(),
                steps: steps?,
            });
        }
        Ok(vec![all])
    }

    pub(super) fn next_fio(&mut self) -> FioId {
        let fio = FioId(self.fios_ever);
        self.fios_ever += 1;
        fio
    }

    pub(super) fn place_of(&self, disk: DiskId) -> Option<Place> {
        let mut attached = self.attached.iter();
        attached
            .find(|(_, id)| **id == disk)
            .map(|(place, _)| *place)
    }

    pub(super) fn attached_at(&self, step: &plan::Step, disk: DiskId) -> Result<Place, Impossible> {
        self.place_of(disk).ok_or_else(|| {
            impossible(
                step,
                format!("{disk} is not attached"),
                "`attach` it before",
            )
        })
    }

    /// The VMs that have a controller.
    pub(super) fn vms_of(&self, controller: ControllerId) -> impl Iterator<Item = VmId> + use<'p> {
        let vms = self.plan.vms.iter();
        let has = move |vm: &&plan::PlanVm| vm.controllers.contains(&controller);
        vms.filter(has).map(|vm| vm.vm)
    }

    /// Those of them that run.
    pub(super) fn running_on(&self, controller: ControllerId) -> Option<VmId> {
        let mut vms = self.vms_of(controller);
        vms.find(|vm| self.running.contains(vm))
    }

    fn controllers_of(&self, vm: VmId) -> &'p [ControllerId] {
        let mut vms = self.plan.vms.iter();
        let found = vms.find(|other| other.vm == vm);
        found.map_or(&[], |vm| &vm.controllers)
    }

    pub(super) fn disks_of(&self, vm: VmId) -> VmDisks {
        let controllers = self.controllers_of(vm);
        let mut disks = Vec::new();
        for (place, disk) in &self.attached {
            if controllers.contains(&place.controller) {
                disks.push((*place, *disk));
            }
        }
        VmDisks { vm, disks }
    }

    /// Notes that the branch at hand has to do with `controller`, and so with all of its VMs.
    pub(super) fn touch(&mut self, controller: ControllerId) {
        self.vms_of(controller).for_each(|vm| self.touch_vm(vm));
        if let Some(branch) = &mut self.branch {
            branch.insert(controller);
        }
    }

    pub(super) fn touch_vm(&mut self, vm: VmId) {
        let controllers = self.controllers_of(vm);
        if let Some(branch) = &mut self.branch {
            branch.extend(controllers);
        }
    }
}

/// What is left to expect where nobody waits: nothing. But the fios under what is removed are noted, as that may
/// come too late for them.
fn unawaited(expect: Expect) -> Expect {
    match expect {
        Expect::Success { .. } => expect,
        Expect::Nothing
        | Expect::Refused(_)
        | Expect::Attached { .. }
        | Expect::GoesOn(_)
        | Expect::Booted(_)
        | Expect::Fio { .. }
        | Expect::Clock(_)
        | Expect::Jobs { .. }
        | Expect::Alive
        | Expect::Disks(_)
        | Expect::Kept { .. }
        | Expect::Rest => Expect::Nothing,
    }
}

/// Why `parallel` cannot stand in a branch: the branches of a step are carried out to their end before anything
/// else goes on.
pub(super) fn in_a_branch(step: &plan::Step) -> Impossible {
    let help = "make its branches some of those around it";
    impossible(step, "`parallel` inside of a branch", help)
}

pub(super) fn made(step: &plan::Step, does: Vec<Action>, expect: Expect) -> Step {
    Step {
        source: step.source.clone(),
        text: step.kind.to_string(),
        after: step.after,
        does,
        wait: step.wait,
        expect,
        branches: Vec::new(),
    }
}

pub(super) fn start(fio: FioId, job: &str, jobs: &[Job]) -> Action {
    Action::StartFio {
        fio,
        job: job.to_owned(),
        on: jobs.iter().map(|job| (job.disk, job.place)).collect(),
    }
}

pub(super) fn impossible(step: &plan::Step, what: impl Into<String>, help: &str) -> Impossible {
    Impossible {
        at: step.at,
        what: what.into(),
        help: help.into(),
    }
}
