//! The hot-remove of a LUN, step by step, on the thread of its io channel; on the app thread if it has none.
//!
//! Source: `_scsi_lun_hot_remove`, `scsi_lun_check_outstanding_tasks` (lib/scsi/lun.c),
//! `vhost_scsi_lun_hotremove` (lib/vhost/vhost_scsi.c); fact sheet §1.6.

use scenarios::SlotState;

use super::execute::abort;
use super::reset::reset_answered;
use super::thread::VdevThread;
use super::wake::lun_idle;
use crate::devices::Removal;
use crate::handles::{DevHandle, SlotId};
use crate::lun;
use crate::mail::AppMessage;
use crate::turn::{LunStep, TargetTurn};
use wire::bugs::Bug;

/// `_scsi_lun_hot_remove`: what waits is aborted, what the bdev has is waited for.
pub fn lun_remove_began(vdev: &mut VdevThread<'_>, dev: DevHandle) -> TargetTurn {
    let device = vdev.shared.devs.get(dev).map_or(0, |dev| dev.number);
    let Some(lun) = vdev.shared.devs.lun(dev) else {
        return TargetTurn::Idle;
    };
    lun.removal = Removal::Draining;
    let pending = std::mem::take(&mut lun.pending);
    for task in pending {
        abort(vdev, task);
    }
    lun_remove_goes_on(vdev, dev);
    let step = LunStep::RemoveBegan;
    TargetTurn::Lun { device, step }
}

/// A step of a hot-remove, if it can be taken.
fn lun_remove_goes_on(vdev: &mut VdevThread<'_>, dev: DevHandle) {
    let bugs = vdev.shared.bugs;
    let Some(lun) = vdev.shared.devs.lun(dev) else {
        return;
    };
    if lun.removal == Removal::Draining && lun.idle() {
        lun.removal = Removal::Told;
        if lun.channel.is_some() || !bugs.has(Bug::SkipHotremoveCb) {
            hot_removed(vdev, dev);
        }
    }
    let Some(lun) = vdev.shared.devs.lun(dev) else {
        return;
    };
    if lun.removal == Removal::Told && lun.channel.is_none() {
        lun.removal = Removal::Closing;
        if lun.on_app || bugs.has(Bug::CloseOnVdevThread) {
            lun::close(&mut vdev.cx, vdev.shared, dev);
        } else {
            let mail = &mut vdev.shared.mail;
            mail.send_app(vdev.cx.now, AppMessage::LunClose(dev));
        }
    }
}

/// The LUN's bdev goes: the controller removes the target, as by RPC but with nobody to answer
/// (`vhost_scsi_lun_hotremove`).
fn hot_removed(vdev: &mut VdevThread<'_>, dev: DevHandle) {
    let ctl = &mut *vdev.own;
    let held = |slot: &SlotId| ctl.slots[slot.index()].dev == Some(dev);
    let Some(slot) = SlotId::all().find(held) else {
        return;
    };
    let here = &mut ctl.slots[slot.index()];
    if here.state == SlotState::Adding && !vdev.shared.bugs.has(Bug::HotremoveLostInAdding) {
        here.remove_later = true;
        return;
    }
    // Refused if the slot is not PRESENT; SPDK ignores that, which is S5.
    let _ = ctl.begin_remove(&mut vdev.cx, vdev.shared, slot, None);
}

/// A run of the LUN's poller.
pub fn lun_poll(vdev: &mut VdevThread<'_>, dev: DevHandle) -> TargetTurn {
    let device = vdev.shared.devs.get(dev).map_or(0, |dev| dev.number);
    let Some(lun) = vdev.shared.devs.lun(dev) else {
        return TargetTurn::Idle;
    };
    lun.polled = false;
    let step = if lun.reset_done && lun.outstanding == 0 {
        reset_answered(vdev, dev);
        lun_idle(vdev, dev);
        LunStep::ResetDone
    } else {
        lun_remove_goes_on(vdev, dev);
        LunStep::RemoveTold
    };
    TargetTurn::Lun { device, step }
}
