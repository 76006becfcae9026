//! The disks of a guest, by number.

use std::ops::{Index, IndexMut};

use wire::message::HbaId;

use super::disk::{DeviceState, Disk};
use crate::ids::DiskNo;

/// All disks since the last boot, in order of their appearance; one that is gone stays.
#[derive(Clone, Debug, Default)]
pub struct Disks {
    all: Vec<Disk>,
    /// Disks that a removal drained, whose last command has come back since.
    drained: Vec<DiskNo>,
}

impl Disks {
    pub fn count(&self) -> usize {
        self.all.len()
    }

    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (DiskNo, &Disk)> {
        let all = self.all.iter().enumerate();
        all.map(|(n, disk)| (DiskNo(n), disk))
    }

    /// The disk of a target, if it has one that is not gone.
    pub fn at(&self, hba: HbaId, target: u8) -> Option<DiskNo> {
        let is_it = |disk: &Disk| {
            disk.hba() == hba && disk.target() == target && disk.state() != DeviceState::Del
        };
        self.all.iter().rposition(is_it).map(DiskNo)
    }

    pub(super) fn add(&mut self, disk: Disk) -> DiskNo {
        self.all.push(disk);
        DiskNo(self.all.len() - 1)
    }

    /// The disks of a device are gone with its driver; their numbers are not given again.
    pub(super) fn end(&mut self, hba: HbaId) {
        for disk in self.all.iter_mut().filter(|disk| disk.hba() == hba) {
            disk.end();
        }
    }

    /// All is forgotten: the machine starts anew, or is off.
    pub fn clear(&mut self) {
        self.all.clear();
        self.drained.clear();
    }

    /// The lowest `sdX` that is free: a name goes back when its disk is gone and no file is open, one that
    /// has hung included.
    pub(super) fn free_name(&self) -> u16 {
        let is_free = |name: &u16| !self.all.iter().any(|disk| disk.has_name(*name));
        (0..).find(is_free).unwrap_or(u16::MAX)
    }

    /// A command of an application is over.
    pub fn gave_back(&mut self, disk: DiskNo) {
        if self.all[disk.0].gave_back() {
            self.drained.push(disk);
        }
    }

    /// A request of an application is nobody's any more.
    pub fn forgot(&mut self, disk: DiskNo) {
        if let Some(disk) = self.all.get_mut(disk.0) {
            disk.forgot();
        }
    }

    /// A file on a disk is closed; the disk may be forgotten by then.
    pub fn closed(&mut self, disk: DiskNo) {
        if let Some(disk) = self.all.get_mut(disk.0) {
            disk.closed();
        }
    }

    pub fn has_drained(&self) -> bool {
        !self.drained.is_empty()
    }

    pub(super) fn take_drained(&mut self) -> Option<DiskNo> {
        self.drained.pop()
    }
}

#[cfg(test)]
impl Disks {
    pub fn spoil_name(&mut self) {
        let twin = self.all[0].clone();
        self.all.push(twin);
    }
}

impl Index<DiskNo> for Disks {
    type Output = Disk;

    fn index(&self, disk: DiskNo) -> &Disk {
        &self.all[disk.0]
    }
}

impl IndexMut<DiskNo> for Disks {
    fn index_mut(&mut self, disk: DiskNo) -> &mut Disk {
        &mut self.all[disk.0]
    }
}
