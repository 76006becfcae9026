//! What every part of a guest is handed beside its own state: memory, devices, disks, who can go.

use std::ops::{Index, IndexMut};
use std::sync::Arc;

use scenarios::{ControllerId, GuestDisk, Place, TargetId};
use wire::component::Memory;
use wire::message::HbaId;

use crate::actors::Actors;
use crate::config::GuestConfig;
use crate::driver::hba::Hba;
use crate::driver::layout::HBAS_MAX;
use crate::scsi::disk::Disk;
use crate::scsi::disks::Disks;

/// Whether the machine runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Power {
    Off,
    Booting,
    Running,
    /// Shutting down before the next boot.
    Rebooting,
}

/// The virtio-scsi devices.
#[derive(Clone, Debug)]
pub struct Hbas(Vec<Hba>);

#[derive(Clone)]
pub struct Shared {
    pub config: Arc<GuestConfig>,
    pub memory: Memory,
    /// QEMU's main loop moves it; the others look.
    pub power: Power,
    pub actors: Actors,
    pub hbas: Hbas,
    pub disks: Disks,
    /// Bytes that one turn reads or writes; nothing of it is kept.
    pub scratch: Vec<u8>,
}

impl Shared {
    /// # Panics
    ///
    /// If the guest is to have more devices than [`HBAS_MAX`] ([`GuestConfig::check`]).
    pub fn new(memory: Memory, config: GuestConfig) -> Self {
        let count = config.controllers.len();
        assert!(count <= HBAS_MAX, "{count} devices, at most {HBAS_MAX}");
        let numbered = config.controllers.iter().enumerate();
        let hbas = numbered.map(|(n, controller)| Hba::new(HbaId(n as u8), *controller));
        Self {
            memory,
            power: Power::Off,
            actors: Actors::new(count),
            hbas: Hbas(hbas.collect()),
            disks: Disks::default(),
            scratch: Vec::new(),
            config: Arc::new(config),
        }
    }

    /// Whether the guest takes work.
    pub fn runs(&self) -> bool {
        self.power == Power::Running && !self.actors.is_paused()
    }

    pub fn place(&self, disk: &Disk) -> Place {
        Place {
            controller: self.hbas[disk.hba()].controller,
            target: TargetId(disk.target()),
        }
    }

    /// A disk as an observer sees it.
    pub fn guest_disk(&self, disk: &Disk) -> GuestDisk {
        GuestDisk {
            vm: self.config.vm,
            place: self.place(disk),
            disk: disk.id(),
        }
    }
}

impl Hbas {
    pub fn ids(&self) -> impl Iterator<Item = HbaId> + Clone + use<> {
        (0..self.0.len() as u8).map(HbaId)
    }

    pub fn count(&self) -> usize {
        self.0.len()
    }

    pub fn iter(&self) -> impl Iterator<Item = &Hba> {
        self.0.iter()
    }

    /// The device on a controller.
    pub fn on(&self, controller: ControllerId) -> Option<HbaId> {
        self.ids().find(|hba| self[*hba].controller == controller)
    }
}

impl Index<HbaId> for Hbas {
    type Output = Hba;

    fn index(&self, hba: HbaId) -> &Hba {
        &self.0[usize::from(hba.0)]
    }
}

impl IndexMut<HbaId> for Hbas {
    fn index_mut(&mut self, hba: HbaId) -> &mut Hba {
        &mut self.0[usize::from(hba.0)]
    }
}
