//! Which disks a guest has: the agent's list, in the words of plans. Asks nothing.

use scenarios::{ControllerId, DiskId, GuestDisk, Observation, Place, TargetId};

use super::agent;
use super::process::HBA_SLOT;
use super::vm::Vm;

impl Vm {
    pub(super) fn listed(&self, listed: &[agent::Listed]) {
        let disks = listed.iter().filter_map(|disk| {
            Some(GuestDisk {
                vm: self.vm,
                place: Place {
                    controller: self.controller(disk.slot)?,
                    target: TargetId(disk.target),
                },
                disk: self.disk(&disk.serial),
            })
        });
        let mut disks: Vec<GuestDisk> = disks.collect();
        disks.sort();
        self.see(Observation::DisksListed { vm: self.vm, disks });
    }

    pub(super) fn controller(&self, slot: u8) -> Option<ControllerId> {
        let hba = self.hbas.get(usize::from(slot.checked_sub(HBA_SLOT)?))?;
        Some(hba.controller)
    }

    fn disk(&self, serial: &str) -> Option<DiskId> {
        let serials = self
            .shared
            .serials
            .read()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        serials.get(serial).copied()
    }
}
