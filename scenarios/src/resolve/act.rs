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

impl World<'_> {
    /// What is to come of actions that are asked for at once.
    pub(super) fn act(
        &mut self,
        step: &plan::Step,
        actions: &[Action],
    ) -> Result<Expect, Impossible> {
        let mut under = Vec::new();
        let (mut booted, mut go_on) = (Vec::new(), Vec::new());
        let mut expect = None;
        for action in actions {
            self.touch_by(action);
            match action {
                Action::BootVm { vm, .. } => {
                    if !self.running.insert(*vm) {
                        let what = format!("{vm} runs already");
                        return Err(impossible(step, what, "use `reboot`"));
                    }
                    booted.push(*vm);
                }
                // A firmware says nothing.
                Action::BootFirmware { .. } | Action::ListDisks { .. } => {
                    expect = Some(Expect::Nothing);
                }
                Action::RebootVm { vm } => {
                    self.runs(step, *vm)?;
                    booted.push(*vm);
                }
                Action::Attach {
                    disk,
                    controller,
                    target,
                } => expect = Some(self.attach(step, *disk, *controller, *target)?.1),
                Action::Detach { place } => under.extend(self.detach(step, *place)?),
                Action::Remove { disk } => under.extend(self.remove(step, *disk)?),
                Action::Insert { disk } => {
                    if !self.removed.remove(disk) {
                        let what = format!("{disk} is there");
                        return Err(impossible(step, what, "`remove` it before"));
                    }
                }
                Action::PauseVm { vm } => {
                    self.runs(step, *vm)?;
                    self.paused.insert(*vm);
                }
                Action::ContinueVm { vm } => {
                    if !self.paused.remove(vm) {
                        let what = format!("{vm} is not paused");
                        return Err(impossible(step, what, "`pause` it before"));
                    }
                    go_on.push(*vm);
                }
                Action::KillVm { vm } => {
                    self.paused.remove(vm);
                    if !self.running.remove(vm) {
                        let what = format!("{vm} does not run");
                        return Err(impossible(step, what, "`boot` it before"));
                    }
                }
                Action::AddMemory { vm } | Action::Reconnect { vm, .. } => self.runs(step, *vm)?,
                Action::Resize { disk, .. } => self.is_kind(step, *disk, DiskKind::Null)?,
                Action::Hold { disk, .. } | Action::Fail { disk, .. } => {
                    self.is_kind(step, *disk, DiskKind::Faulty)?;
                }
                Action::Release { disk } => self.is_kind(step, *disk, DiskKind::Faulty)?,
                Action::Delay { disk, .. } => self.is_kind(step, *disk, DiskKind::Delayed)?,
                Action::CreateController { controller } => {
                    if !self.deleted.remove(controller) {
                        let what = format!("{controller} is there");
                        return Err(impossible(step, what, "`delete` it before"));
                    }
                }
                Action::DeleteController { controller } => {
                    if !self.deleted.insert(*controller) {
                        let what = format!("{controller} is deleted already");
                        return Err(impossible(step, what, "`create` it before"));
                    }
                    self.attached.retain(|at, _| at.controller != *controller);
                }
                Action::CheckAlive => expect = Some(Expect::Alive),
                Action::Settle => expect = Some(Expect::Rest),
                Action::Manage { .. } | Action::SaveConfig => {}
                Action::StartTarget { .. }
                | Action::StartFio { .. }
                | Action::WaitJobClock { .. } => {
                    let what = format!("to {action} is no step of a case that expects something");
                    return Err(impossible(step, what, "expected it in no plan"));
                }
            }
        }
        if !booted.is_empty() {
            let disks = booted.into_iter().map(|vm| self.disks_of(vm));
            return Ok(Expect::Booted(disks.collect()));
        }
        if !go_on.is_empty() {
            return Ok(Expect::GoesOn(go_on));
        }
        Ok(expect.unwrap_or(Expect::Success { under }))
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
