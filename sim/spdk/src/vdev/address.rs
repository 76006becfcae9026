//! What a LUN address means to a session.
//!
//! Source: `vhost_scsi_task_init_target` (lib/vhost/vhost_scsi.c); fact sheet §3.6.

use scenarios::SlotState;

use super::session::Session;
use crate::devices::Devices;
use crate::handles::{DevHandle, SlotId};
use wire::bugs::{Bug, Bugs};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Addressed {
    /// Malformed, or no such slot.
    Nowhere,
    /// A slot that is EMPTY.
    Empty,
    /// There is, or was, a device, but no such LUN: the null-LUN answers.
    NullLun,
    Lun(DevHandle),
}

pub fn address(session: &Session, lun: [u8; 8], bugs: Bugs, devs: &Devices) -> Addressed {
    let target = usize::from(lun[1]);
    if lun[0] != 1 || target >= SlotId::COUNT {
        return Addressed::Nowhere;
    }
    let slot = &session.slots[target];
    let serves = match slot.state {
        SlotState::Empty | SlotState::Adding => return Addressed::Empty,
        SlotState::Removed => return Addressed::NullLun,
        SlotState::Removing => bugs.has(Bug::RemovingAcceptsIo),
        SlotState::Present => true,
    };
    let number = lun_number(lun);
    let found = slot.dev.filter(|dev| {
        let lun = devs.get(*dev).and_then(|dev| dev.lun.as_ref());
        number == 0 && lun.is_some_and(|lun| !lun.removed)
    });
    match found {
        Some(dev) if serves => Addressed::Lun(dev),
        Some(_) | None => Addressed::NullLun,
    }
}

/// The number of the LUN under its target.
pub const fn lun_number(lun: [u8; 8]) -> u16 {
    u16::from_be_bytes([lun[2], lun[3]]) & 0x3fff
}
