//! What a guest is made from.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use fio_model::{DigestCache, Volume};
use scenarios::{ControllerId, DiskId, VmId};

use crate::driver::layout::HBAS_MAX;

/// Digests of payloads. They depend on nothing but the payload, so guests, and one simulation after the
/// other, may share them: nothing but the time that it takes changes.
///
/// A guest does not own them: its marks are clones of it, and each would copy megabytes. Nor does the world,
/// which knows no fio. The lock is taken once a turn, and nobody waits for it: whoever runs simulations on
/// several threads gives each thread digests of its own.
pub type Digests = Arc<Mutex<DigestCache>>;

/// Targets of a host of QEMU's, whose `max_target` is 255 whatever the back-end has.
pub const QEMU_TARGETS: u16 = 256;

/// What a guest is made from.
#[derive(Clone, Debug)]
pub struct GuestConfig {
    /// Its number in the plan.
    pub vm: VmId,
    /// The controllers of its devices, in the order of the devices.
    pub controllers: Vec<ControllerId>,
    /// Disks of the plan by serial number.
    pub disks: BTreeMap<String, DiskId>,
    /// Blocks that each disk of a job covers; `None`: as the job says.
    pub volume: Option<Volume>,
    /// Whether every request of an application is observed.
    pub per_io: bool,
    /// Targets that its firmware and its kernel ask for in each host, from 0: `max_target` of the device's
    /// configuration space, and one.
    pub targets: u16,
    /// Whether HOTPLUG is accepted (QEMU's `hotplug=on`).
    pub hotplug: bool,
    /// One in how many releases of a scan mutex lets a later waiter pass the first; 0: none.
    pub steal_one_in: u32,
    /// Whether there is something to boot from; otherwise it stays in its firmware.
    pub bootable: bool,
    /// Whether its firmware accepts HOTPLUG, though it sets up no event queue; SeaBIOS does not.
    pub firmware_hotplug: bool,
    /// Digests of payloads that its fio threads write and check.
    pub digests: Digests,
}

impl GuestConfig {
    /// A guest as the test plan has it.
    pub fn new(
        vm: VmId,
        controllers: Vec<ControllerId>,
        disks: BTreeMap<String, DiskId>,
        volume: Option<Volume>,
    ) -> Self {
        Self {
            vm,
            controllers,
            disks,
            volume,
            per_io: true,
            targets: QEMU_TARGETS,
            hotplug: true,
            steal_one_in: 0,
            bootable: true,
            firmware_hotplug: false,
            digests: Digests::default(),
        }
    }

    /// Looks whether a model guest can be made from it.
    ///
    /// # Errors
    ///
    /// There are more controllers than [`HBAS_MAX`]; in words for whoever wrote the plan.
    pub fn check(&self) -> Result<(), String> {
        let (vm, count) = (self.vm, self.controllers.len());
        if count <= HBAS_MAX {
            return Ok(());
        }
        Err(format!(
            "{vm} has {count} controllers; a model guest has at most {HBAS_MAX}"
        ))
    }
}
