//! Steps that ask for something, and what is to come of it where all goes well.
//!
//! The rest of [`World`], which `world` begins.

use super::Impossible;
use super::world::{World, impossible};
use crate::names::{
    ControllerId, DiskId, FioId, Place, TARGETS_PER_CONTROLLER_MAX, TargetId, VmId,
};
use crate::plan;
use crate::script::{Expect, JobMust};
use crate::testbed::{Action, DiskKind};

/// What is to come of some actions.
#[derive(Default)]
struct Coming {
    /// The fios that notice.
    under: Vec<FioId>,
    booted: Vec<VmId>,
    go_on: Vec<VmId>,
    /// What is to come of any other.
    expect: Option<Expect>,
}

/// Why an action cannot stand in a case that expects something: steps of other kinds make it.
fn no_step(step: &plan::Step, action: &Action) -> Impossible {
    let what = format!("to {action} is no step of a case that expects something");
    impossible(step, what, "expected a step of another kind")
}

/// That something is possible, or else what is not, and what would be.
fn must(
    step: &plan::Step,
    is_possible: bool,
    why: impl FnOnce() -> (String, &'static str),
) -> Result<(), Impossible> {
    if is_possible {
        return Ok(());
    }
    let (what, help) = why();
    Err(impossible(step, what, help))
}

impl World<'_> {
    /// What is to come of actions that are asked for at once.
    pub(super) fn act(
        &mut self,
        step: &plan::Step,
        actions: &[Action],
    ) -> Result<Expect, Impossible> {
        let mut coming = Coming::default();
        for action in actions {
            self.touch_by(action);
            self.act_one(step, action, &mut coming)?;
        }
        let Coming {
            under,
            booted,
            go_on,
            expect,
        } = coming;
        if !booted.is_empty() {
            let disks = booted.into_iter().map(|vm| self.disks_of(vm));
            return Ok(Expect::Booted(disks.collect()));
        }
        if !go_on.is_empty() {
            return Ok(Expect::GoesOn(go_on));
        }
        Ok(expect.unwrap_or(Expect::Success { under }))
    }

    fn act_one(
        &mut self,
        step: &plan::Step,
        action: &Action,
        coming: &mut Coming,
    ) -> Result<(), Impossible> {
        match action {
            Action::BootVm { vm, .. } => {
                let new = self.running.insert(*vm);
                must(step, new, || (format!("{vm} runs already"), "use `reboot`"))?;
                coming.booted.push(*vm);
            }
            Action::BootFirmware { .. } | Action::ListDisks { .. } => {
                coming.expect = Some(Expect::Nothing);
            }
            Action::RebootVm { vm } => {
                self.runs(step, *vm)?;
                coming.booted.push(*vm);
            }
            Action::Attach {
                disk,
                controller,
                target,
            } => coming.expect = Some(self.attach(step, *disk, *controller, *target)?.1),
            Action::Detach { place } => coming.under.extend(self.detach(step, *place)?),
            Action::Remove { disk } => coming.under.extend(self.remove(step, *disk)?),
            Action::Insert { disk } => {
                let away = self.removed.remove(disk);
                must(step, away, || {
                    (format!("{disk} is there"), "`remove` it before")
                })?;
            }
            Action::PauseVm { vm } => {
                self.runs(step, *vm)?;
                self.paused.insert(*vm);
            }
            Action::ContinueVm { vm } => {
                let paused = self.paused.remove(vm);
                must(step, paused, || {
                    (format!("{vm} is not paused"), "`pause` it before")
                })?;
                coming.go_on.push(*vm);
            }
            Action::KillVm { vm } => {
                self.paused.remove(vm);
                let ran = self.running.remove(vm);
                must(step, ran, || {
                    (format!("{vm} does not run"), "`boot` it before")
                })?;
            }
            Action::AddMemory { vm } | Action::Reconnect { vm, .. } => self.runs(step, *vm)?,
            Action::Resize { disk, .. } => self.is_kind(step, *disk, DiskKind::Null)?,
            Action::Delay { disk, .. } => self.is_kind(step, *disk, DiskKind::Delayed)?,
            Action::Hold { disk, .. } | Action::Fail { disk, .. } | Action::Release { disk } => {
                self.is_kind(step, *disk, DiskKind::Faulty)?;
            }
            Action::CreateController { controller } => {
                let gone = self.deleted.remove(controller);
                must(step, gone, || {
                    (format!("{controller} is there"), "`delete` it before")
                })?;
            }
            Action::DeleteController { controller } => {
                let new = self.deleted.insert(*controller);
                let what = format!("{controller} is deleted already");
                must(step, new, || (what, "`create` it before"))?;
                self.attached.retain(|at, _| at.controller != *controller);
            }
            Action::CheckAlive => coming.expect = Some(Expect::Alive),
            Action::Settle => coming.expect = Some(Expect::Rest),
            Action::Manage { .. } | Action::SaveConfig => {}
            Action::StartTarget { .. } | Action::StartFio { .. } | Action::WaitJobClock { .. } => {
                return Err(no_step(step, action));
            }
        }
        Ok(())
    }

    /// Attaches a disk; to the lowest free slot, if none is named. Which it is, and what is to come of it.
    pub(super) fn attach(
        &mut self,
        step: &plan::Step,
        disk: DiskId,
        controller: ControllerId,
        target: Option<TargetId>,
    ) -> Result<(TargetId, Expect), Impossible> {
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
        if self.deleted.contains(&controller) {
            let what = format!("{controller} is deleted");
            return Err(impossible(step, what, "`create` it before"));
        }
        let at = |target| Place { controller, target };
        let free = |target: &TargetId| !self.attached.contains_key(&at(*target));
        let lowest = (0..TARGETS_PER_CONTROLLER_MAX).map(TargetId).find(free);
        let slot = match target {
            Some(target) if !free(&target) => {
                return Err(impossible(
                    step,
                    format!("{target} of {controller} is taken"),
                    "leave `target` out for the lowest free one, or say what refuses it: refused=\"File exists\"",
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
        let place = at(slot);
        self.attached.insert(place, disk);
        self.last.insert(disk, place);
        let seen_by = self.vms_of(controller);
        let sees = |vm: &VmId| self.running.contains(vm) && !self.paused.contains(vm);
        let expect = Expect::Attached {
            disk,
            place,
            seen_by: seen_by.filter(sees).collect(),
        };
        Ok((slot, expect))
    }

    /// Empties a slot; the fios that notice.
    pub(super) fn detach(
        &mut self,
        step: &plan::Step,
        place: Place,
    ) -> Result<Vec<FioId>, Impossible> {
        let Some(disk) = self.attached.remove(&place) else {
            let Place { controller, target } = place;
            return Err(impossible(
                step,
                format!("nothing is attached to {target} of {controller}"),
                "`attach` a disk before",
            ));
        };
        Ok(self.lost_under(disk))
    }

    /// Takes a bdev away: every target on it goes, and the fios on it notice.
    fn remove(&mut self, step: &plan::Step, disk: DiskId) -> Result<Vec<FioId>, Impossible> {
        if !self.removed.insert(disk) {
            let what = format!("{disk} is removed already");
            return Err(impossible(step, what, "`insert` it before"));
        }
        if let Some(place) = self.place_of(disk) {
            self.touch(place.controller);
            self.attached.remove(&place);
        }
        Ok(self.lost_under(disk))
    }

    /// The fios that run on a disk which goes: their jobs on it shall fail.
    fn lost_under(&mut self, disk: DiskId) -> Vec<FioId> {
        let mut under = Vec::new();
        for fio in self.fios.iter_mut().filter(|fio| fio.open) {
            for job in fio.jobs.iter_mut().filter(|job| job.disk == disk) {
                job.must = JobMust::FailGone;
                under.push(fio.fio);
            }
        }
        under
    }

    /// That a VM runs, and goes on.
    pub(super) fn runs(&self, step: &plan::Step, vm: VmId) -> Result<(), Impossible> {
        if !self.running.contains(&vm) {
            let what = format!("{vm} does not run");
            return Err(impossible(step, what, "`boot` it before"));
        }
        if self.paused.contains(&vm) {
            let what = format!("{vm} is paused");
            return Err(impossible(step, what, "`continue` it before"));
        }
        Ok(())
    }

    fn is_kind(&self, step: &plan::Step, disk: DiskId, kind: DiskKind) -> Result<(), Impossible> {
        if self.plan.kinds.contains(&(disk, kind)) {
            return Ok(());
        }
        let word = kind.word();
        let what = format!("{disk} is not of the kind that can do that");
        let help = format!("declare it: disk {} kind=\"{word}\"", disk.0);
        Err(impossible(step, what, &help))
    }

    /// Notes whom an action has to do with.
    pub(super) fn touch_by(&mut self, action: &Action) {
        match action {
            Action::BootVm { vm, .. }
            | Action::BootFirmware { vm, .. }
            | Action::RebootVm { vm }
            | Action::PauseVm { vm }
            | Action::ContinueVm { vm }
            | Action::KillVm { vm }
            | Action::AddMemory { vm }
            | Action::Reconnect { vm, .. }
            | Action::ListDisks { vm } => self.touch_vm(*vm),
            Action::Attach { controller, .. }
            | Action::CreateController { controller }
            | Action::DeleteController { controller } => self.touch(*controller),
            Action::Detach { place } | Action::Manage { place, .. } => {
                self.touch(place.controller);
            }
            Action::Remove { disk }
            | Action::Insert { disk }
            | Action::Resize { disk, .. }
            | Action::Hold { disk, .. }
            | Action::Fail { disk, .. }
            | Action::Delay { disk, .. }
            | Action::Release { disk } => {
                if let Some(place) = self.place_of(*disk) {
                    self.touch(place.controller);
                }
            }
            Action::StartFio { on, .. } => {
                on.iter()
                    .for_each(|(_, place)| self.touch(place.controller));
            }
            Action::StartTarget { .. }
            | Action::WaitJobClock { .. }
            | Action::SaveConfig
            | Action::CheckAlive
            | Action::Settle => {}
        }
    }
}
