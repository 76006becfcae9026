//! What hangs where, as far as a plan makes it so; and each step of the plan made concrete.
//!
//! Knows what *should* be: what is, only a testbed shows.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::{AFTER_EXTRA_MAX, AFTER_EXTRA_STEP};
use super::{Does, Impossible, Job, JobMust, Lane, Step, VmDisks};
use crate::names::{
    ControllerId, DiskId, FioId, Place, TARGETS_PER_CONTROLLER_MAX, TargetId, VmId,
};
use crate::plan::{self, DetachWhat, FioExpect, Plan, Source, StepKind};
use crate::rng::{Rng, Stream};
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
    rng: Rng,
    pub(super) attached: BTreeMap<Place, DiskId>,
    /// Where a disk was attached last.
    pub(super) last: BTreeMap<DiskId, Place>,
    pub(super) running: BTreeSet<VmId>,
    /// Disks whose bdev is away.
    pub(super) removed: BTreeSet<DiskId>,
    /// The fios of this case, in order of their starts.
    pub(super) fios: Vec<Fio>,
    fios_ever: u16,
    /// Controllers that the lane at hand has to do with; `None` outside of lanes.
    pub(super) lane: Option<BTreeSet<ControllerId>>,
}

/// What is added to an `after`.
fn extra(rng: &mut Rng) -> Duration {
    let steps = AFTER_EXTRA_MAX.as_millis() / AFTER_EXTRA_STEP.as_millis();
    AFTER_EXTRA_STEP * rng.below(steps as u32 + 1)
}

type Made = Result<Vec<Step>, Impossible>;

impl<'p> World<'p> {
    pub(super) fn new(plan: &'p Plan, seed: u64) -> Self {
        Self {
            plan,
            rng: Rng::new(seed, Stream::Stimulus),
            attached: BTreeMap::new(),
            last: BTreeMap::new(),
            running: BTreeSet::new(),
            removed: BTreeSet::new(),
            fios: Vec::new(),
            fios_ever: 0,
            lane: None,
        }
    }

    /// The start of the target, and the plan's own prerequisites.
    pub(super) fn prerequisites(&mut self) -> Made {
        let plan = self.plan;
        let action = Action::StartTarget {
            controllers: (1..=plan.controllers).map(ControllerId).collect(),
            disks: (1..=plan.disks).map(DiskId).collect(),
            kinds: Vec::new(),
        };
        let mut steps = vec![Step {
            source: both(&plan.controllers_source, &plan.disks_source),
            text: format!(
                "run the target with {} empty controllers, prepare {} disks",
                plan.controllers, plan.disks
            ),
            does: Does::Prepare { action },
        }];
        steps.extend(self.case(&plan.prerequisites)?);
        Ok(steps)
    }

    pub(super) fn case(&mut self, steps: &[plan::Step]) -> Made {
        self.fios.clear();
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
        let does = match &step.kind {
            StepKind::Boot { vms } => self.boot(step, vms)?,
            StepKind::Attach {
                disk,
                controller,
                target,
            } => self.attach(step, *disk, *controller, *target)?,
            StepKind::Detach { what } => self.detach(step, *what)?,
            StepKind::Remove { disks } => self.remove(step, disks)?,
            StepKind::Insert { disks } => self.insert(step, disks)?,
            StepKind::Stop { vms } => self.stop(step, vms)?,
            StepKind::Fio { .. } => return self.fio(step),
            StepKind::After { at_least, of } => {
                let fio = self.clock_of(step, of.as_deref())?;
                let at = *at_least + extra(&mut self.rng);
                let action = Action::WaitJobClock { fio, at };
                let mut made = made(step, Does::WaitClock { action });
                made.text = format!("wait until fio has run {:.2} s", at.as_secs_f64());
                return Ok(vec![made]);
            }
            StepKind::Reboot { vms } => self.reboot(step, vms)?,
            StepKind::Alive => Does::Alive,
            StepKind::Gone { disk } => self.gone(step, *disk)?,
            StepKind::Present { vms } => self.present(step, vms.as_deref())?,
            StepKind::Failed { fio, disk } => self.failed(step, fio, *disk)?,
            StepKind::Passed { fio } => self.passed(step, fio)?,
            StepKind::Kept { disk } => self.kept(step, *disk)?,
            StepKind::Together { lanes } => self.together(step, lanes)?,
        };
        Ok(vec![made(step, does)])
    }

    fn boot(&mut self, step: &plan::Step, vms: &[VmId]) -> Result<Does, Impossible> {
        let mut actions = Vec::new();
        for vm in vms {
            let controllers = self.controllers_of(*vm);
            self.touch_vm(*vm);
            if !self.running.insert(*vm) {
                return Err(impossible(
                    step,
                    format!("{vm} runs already"),
                    "use `reboot`",
                ));
            }
            actions.push(Action::BootVm {
                vm: *vm,
                controllers,
            });
        }
        let disks = vms.iter().map(|vm| self.disks_of(*vm)).collect();
        Ok(Does::Boot { actions, disks })
    }

    fn reboot(&mut self, step: &plan::Step, vms: &[VmId]) -> Result<Does, Impossible> {
        for vm in vms {
            self.touch_vm(*vm);
            if !self.running.contains(vm) {
                return Err(impossible(
                    step,
                    format!("{vm} does not run"),
                    "`boot` it before",
                ));
            }
        }
        Ok(Does::Reboot {
            actions: vms.iter().map(|vm| Action::RebootVm { vm: *vm }).collect(),
            disks: vms.iter().map(|vm| self.disks_of(*vm)).collect(),
        })
    }

    fn attach(
        &mut self,
        step: &plan::Step,
        disk: DiskId,
        controller: ControllerId,
        target: Option<TargetId>,
    ) -> Result<Does, Impossible> {
        self.touch(controller);
        if let Some(place) = self.place_of(disk) {
            return Err(impossible(
                step,
                format!("{disk} is attached already, to {}", place.controller),
                "`detach` it before, or take another one",
            ));
        }
        if self.removed.contains(&disk) {
            let what = format!("the bdev of {disk} is away");
            return Err(impossible(step, what, "`insert` it before"));
        }
        let at = |target| Place { controller, target };
        let free = |target: &TargetId| !self.attached.contains_key(&at(*target));
        let lowest = (0..TARGETS_PER_CONTROLLER_MAX).map(TargetId).find(free);
        let slot = match target {
            Some(target) if !free(&target) => {
                return Err(impossible(
                    step,
                    format!("{target} of {controller} is taken"),
                    "leave `target` out for the lowest free one",
                ));
            }
            Some(target) => target,
            None => lowest.ok_or_else(|| {
                impossible(
                    step,
                    format!("all slots of {controller} are taken"),
                    "a controller has 8",
                )
            })?,
        };
        // "Any" is the lowest free slot, so both ways of asking must come to the same.
        let asked = match target {
            Some(target) => Some(target),
            None => self.rng.chance(1, 2).then_some(slot),
        };
        let place = at(slot);
        self.attached.insert(place, disk);
        self.last.insert(disk, place);
        let seen_by = self.vm_of(controller);
        Ok(Does::Attach {
            action: Action::Attach {
                disk,
                controller,
                target: asked,
            },
            slot,
            seen_by: seen_by.filter(|vm| self.running.contains(vm)),
            disk,
            place,
        })
    }

    fn detach(&mut self, step: &plan::Step, what: DetachWhat) -> Result<Does, Impossible> {
        let place = match what {
            DetachWhat::Disk(disk) => self.attached_at(step, disk)?,
            DetachWhat::Place(place) => place,
        };
        self.touch(place.controller);
        let Some(disk) = self.attached.remove(&place) else {
            return Err(impossible(
                step,
                format!(
                    "nothing is attached to {} of {}",
                    place.target, place.controller
                ),
                "`attach` a disk before",
            ));
        };
        let under = self.lost_under(disk);
        Ok(Does::Detach {
            action: Action::Detach { place },
            under,
        })
    }

    /// The fios that run on a disk which goes: their jobs on it shall fail.
    pub(super) fn lost_under(&mut self, disk: DiskId) -> Vec<FioId> {
        let mut under = Vec::new();
        for fio in self.fios.iter_mut().filter(|fio| fio.open) {
            for job in fio.jobs.iter_mut().filter(|job| job.disk == disk) {
                job.must = JobMust::FailGone;
                under.push(fio.fio);
            }
        }
        under
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
        if self.fios.iter().any(|fio| fio.label == *label) {
            let what = format!("the case has a fio {label:?} already");
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
        let mut steps = vec![made(step, Does::StartFio { action, fio })];
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
        let (label, jobs) = (label.clone(), ended.jobs.clone());
        steps.push(made(step, Does::AwaitFio { fio, label, jobs }));
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

    fn together(&mut self, step: &plan::Step, lanes: &[plan::Lane]) -> Result<Does, Impossible> {
        if self.lane.is_some() || self.fios.iter().any(|fio| fio.open) {
            return Err(impossible(
                step,
                "`together` inside of a lane or a fio",
                "put it directly into the case",
            ));
        }
        let mut made = Vec::new();
        let mut taken = BTreeSet::new();
        for lane in lanes {
            self.lane = Some(BTreeSet::new());
            let steps = self.steps(&lane.steps);
            let touched = self.lane.take().unwrap_or_default();
            if let Some(shared) = taken.intersection(&touched).next() {
                return Err(impossible(
                    step,
                    format!("two lanes have to do with {shared}, or with its VM"),
                    "give each lane VMs of its own",
                ));
            }
            taken.extend(touched);
            made.push(Lane {
                name: lane.name.clone(),
                steps: steps?,
            });
        }
        Ok(Does::Together { lanes: made })
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

    pub(super) fn vm_of(&self, controller: ControllerId) -> Option<VmId> {
        let mut vms = self.plan.vms.iter();
        vms.find(|vm| vm.controllers.contains(&controller))
            .map(|vm| vm.vm)
    }

    fn controllers_of(&self, vm: VmId) -> Vec<ControllerId> {
        let mut vms = self.plan.vms.iter();
        vms.find(|other| other.vm == vm)
            .map(|vm| vm.controllers.clone())
            .unwrap_or_default()
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

    /// Notes that the lane at hand has to do with `controller`, and so with all of its VM.
    pub(super) fn touch(&mut self, controller: ControllerId) {
        match self.vm_of(controller) {
            Some(vm) => self.touch_vm(vm),
            None => {
                if let Some(lane) = &mut self.lane {
                    lane.insert(controller);
                }
            }
        }
    }

    pub(super) fn touch_vm(&mut self, vm: VmId) {
        let controllers = self.controllers_of(vm);
        if let Some(lane) = &mut self.lane {
            lane.extend(controllers);
        }
    }
}

fn made(step: &plan::Step, does: Does) -> Step {
    Step {
        source: step.source.clone(),
        text: step.kind.to_string(),
        does,
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

/// The lines of both.
fn both(a: &Source, b: &Source) -> Source {
    match (a, b) {
        (Source::Lines(a), Source::Lines(b)) => {
            let mut lines: Vec<u32> = a.iter().chain(b).copied().collect();
            lines.sort_unstable();
            lines.dedup();
            Source::Lines(lines)
        }
        (Source::Implied(_) | Source::Itself, other) => other.clone(),
        (lines, Source::Implied(_) | Source::Itself) => lines.clone(),
    }
}
