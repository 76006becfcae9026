//! Bdevs that go away and come back, and VMs that are switched off.
//!
//! The rest of [`World`], which `world` begins.

use super::world::{World, impossible};
use super::{Does, Impossible, Job, JobMust};
use crate::names::{DiskId, Place, VmId};
use crate::plan::{self, Base, FioExpect, Selector};
use crate::testbed::Action;

impl World<'_> {
    /// Takes bdevs away: every target on them goes, and the fios on them notice.
    pub(super) fn remove(
        &mut self,
        step: &plan::Step,
        disks: &[DiskId],
    ) -> Result<Does, Impossible> {
        let mut under = Vec::new();
        for disk in disks {
            if !self.removed.insert(*disk) {
                let what = format!("{disk} is removed already");
                return Err(impossible(step, what, "`insert` it before"));
            }
            if let Some(place) = self.place_of(*disk) {
                self.touch(place.controller);
                self.attached.remove(&place);
            }
            under.extend(self.lost_under(*disk));
        }
        let actions = disks.iter().map(|disk| Action::Remove { disk: *disk });
        Ok(Does::Remove {
            actions: actions.collect(),
            under,
        })
    }

    /// Gives bdevs back; they are attached to nothing.
    pub(super) fn insert(
        &mut self,
        step: &plan::Step,
        disks: &[DiskId],
    ) -> Result<Does, Impossible> {
        if let Some(disk) = disks.iter().find(|disk| !self.removed.contains(disk)) {
            let what = format!("{disk} is there");
            return Err(impossible(step, what, "`remove` it before"));
        }
        self.removed.retain(|disk| !disks.contains(disk));
        let actions = disks.iter().map(|disk| Action::Insert { disk: *disk });
        Ok(Does::Ask {
            actions: actions.collect(),
        })
    }

    /// Switches VMs off.
    pub(super) fn stop(&mut self, step: &plan::Step, vms: &[VmId]) -> Result<Does, Impossible> {
        for vm in vms {
            self.touch_vm(*vm);
            if !self.running.remove(vm) {
                let what = format!("{vm} does not run");
                return Err(impossible(step, what, "`boot` it before"));
            }
        }
        let actions = vms.iter().map(|vm| Action::KillVm { vm: *vm });
        Ok(Does::Ask {
            actions: actions.collect(),
        })
    }

    /// The jobs of a fio that shall fail because its disks are gone: where they were last.
    pub(super) fn absent(&self, on: &Selector, expect: FioExpect) -> Option<Vec<Job>> {
        let Base::Disks(disks) = &on.base else {
            return None;
        };
        let gone = |disk: &DiskId| self.place_of(*disk).is_none();
        if expect != FioExpect::Fail || !disks.iter().all(gone) {
            return None;
        }
        let job = |disk: &DiskId| {
            let place: Place = *self.last.get(disk)?;
            let vm = self.vm_of(place.controller)?;
            self.running.contains(&vm).then_some(Job {
                disk: *disk,
                place,
                must: JobMust::Fail,
            })
        };
        disks.iter().map(job).collect()
    }
}
