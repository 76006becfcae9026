//! Targets come and go: attach and detach by RPC, and what is done once every session was told.
//!
//! Source: `vhost_scsi_dev_add_tgt`, `vhost_scsi_dev_remove_tgt`, `remove_scsi_tgt`,
//! `vhost_scsi_dev_add_tgt_cpl_cb` and its like (lib/vhost/vhost_scsi.c); fact sheet §1.3 to §1.5.

use scenarios::{CheckId, Inside, Observation, SlotState};
use serde_json::Value;

use super::answer::{Answer, DONE, no_such};
use super::{AppThread, lun};
use crate::devices::NewDevice;
use crate::handles::{Foreach, SlotId, VdevId};
use crate::mail::{AppMessage, Waiting};
use crate::rpc::{
    CallId, Errno, RpcError, VhostScsiControllerAddTarget, VhostScsiControllerRemoveTarget,
};
use crate::turn::{ForeachOp, TargetTurn};
use crate::vdev::slot::Cause;
use wire::bugs::Bug;
use wire::message::LogLevel;

pub(super) fn add(
    app: &mut AppThread<'_>,
    params: &VhostScsiControllerAddTarget,
) -> Result<Value, RpcError> {
    let vdev = no_such(app.vdevs.find(&params.ctrlr))?;
    let added = add_target(app, vdev, params.scsi_target_num, &params.bdev_name);
    added.map(|slot| slot.0.into()).map_err(RpcError::vhost)
}

pub(super) fn remove(
    app: &mut AppThread<'_>,
    call: CallId,
    params: &VhostScsiControllerRemoveTarget,
) -> Answer {
    let vdev = match no_such(app.vdevs.find(&params.ctrlr)) {
        Ok(vdev) => vdev,
        Err(error) => return Some(Err(error)),
    };
    let slot = u8::try_from(params.scsi_target_num).map(SlotId).ok();
    let slot = slot.filter(|slot| slot.index() < SlotId::COUNT);
    let begun = slot
        .ok_or(Errno::Inval)
        .and_then(|slot| begin_remove(app, vdev, slot, Some(call)));
    let refused = begun.err()?;
    Some(Err(RpcError::vhost(refused)))
}

/// `vhost_scsi_dev_add_tgt`: puts a target on a bdev into a slot, the first free one if `slot` is negative.
///
/// # Errors
///
/// `ENOSPC`, `EINVAL`, `EEXIST` as in fact sheet §2.2.
fn add_target(
    app: &mut AppThread<'_>,
    vdev: VdevId,
    slot: i32,
    bdev_name: &str,
) -> Result<SlotId, Errno> {
    let bugs = app.shared.bugs;
    let bdev = app.shared.bdevs.find(bdev_name);
    let (entry, ctl) = app.controller(vdev).expect("found by name");
    if entry.blk.is_some() {
        if bugs.has(Bug::NoTypeCheck) {
            let place = "vhost_scsi_dev_add_tgt: the controller is no SCSI controller (B24)";
            app.die("SIGSEGV", place);
        }
        return Err(Errno::Inval);
    }
    // One that is being deleted would take the device with it, nobody knows where (N5).
    if entry.deleted && !bugs.has(Bug::UnregisterDropped) {
        return Err(Errno::NoDev);
    }
    let registered = entry.registered;
    let slot = match u8::try_from(slot).map(SlotId) {
        _ if slot < 0 => SlotId::all()
            .find(|slot| ctl.slots[slot.index()].dev.is_none())
            .ok_or(Errno::NoSpc)?,
        Ok(slot) if slot.index() < SlotId::COUNT => slot,
        Ok(_) | Err(_) => return Err(Errno::Inval),
    };
    if ctl.slots[slot.index()].dev.is_some() {
        return Err(Errno::Exist);
    }
    app.own.device_numbers += 1;
    let number = app.own.device_numbers;
    let ctl = app.vdevs.get_mut(vdev).expect("found by name");
    ctl.slots[slot.index()].device = number;
    ctl.move_slot(&mut app.cx, slot, Cause::AttachBegan);
    let made = bdev.and_then(|bdev| {
        let new = NewDevice {
            bdev,
            vdev,
            slot,
            number,
        };
        app.shared.devs.construct(&mut app.shared.bdevs, new)
    });
    let Some(dev) = made else {
        ctl.move_slot(&mut app.cx, slot, Cause::ConstructFailed);
        return Err(Errno::Inval);
    };
    ctl.slots[slot.index()].dev = Some(dev);
    let place = ctl.place(slot);
    app.cx.see(Observation::Inside(Inside::RpcTook {
        place,
        attach: true,
        device: number,
    }));
    app.cx.see(Observation::Attached {
        place,
        device: number,
        bdev: bdev_name.to_owned(),
        disk: None,
    });
    let (name, n) = (&ctl.name, slot.0);
    let text = format!("{name}: added SCSI target {n} using bdev '{bdev_name}'");
    if registered || !(bugs.has(Bug::LingererSilent) || ctl.sessions.is_empty()) {
        ctl.foreach(&mut app.shared.mail, app.cx.now, ForeachOp::Attach, slot);
    } else {
        attach_done(app, vdev, slot);
    }
    app.log(LogLevel::Info, text);
    Ok(slot)
}

fn attach_done(app: &mut AppThread<'_>, vdev: VdevId, slot: SlotId) {
    let ctl = app.vdevs.get_mut(vdev).expect("the caller found it");
    ctl.move_slot(&mut app.cx, slot, Cause::AttachDone);
    if let Some((entry, _)) = app.controller(vdev) {
        entry.refs += 1;
    }
}

/// `vhost_scsi_dev_remove_tgt`: begins to take a target away; `call` is answered when it is gone.
///
/// # Errors
///
/// `EINVAL`: no SCSI controller. `EBUSY`: it is not PRESENT.
pub(super) fn begin_remove(
    app: &mut AppThread<'_>,
    vdev: VdevId,
    slot: SlotId,
    call: Option<CallId>,
) -> Result<(), Errno> {
    let (entry, _) = app.controller(vdev).expect("the caller found it");
    if entry.blk.is_some() {
        return Err(Errno::Inval);
    }
    let ctl = app.vdevs.get_mut(vdev).expect("the caller found it");
    ctl.begin_remove(&mut app.cx, app.shared, slot, call)
}

/// Every session was visited.
pub(super) fn foreach_done(app: &mut AppThread<'_>, foreach: Foreach) -> TargetTurn {
    let Foreach { vdev, slot, .. } = foreach;
    let turn = TargetTurn::Foreach {
        op: foreach.op,
        visit: false,
        controller: foreach.number,
        slot: slot.0,
    };
    let there = app.vdevs.get_mut(vdev);
    let Some(ctl) = there.filter(|ctl| ctl.number == foreach.number) else {
        let text = format!("controller {} was freed under a foreach", foreach.number);
        app.cx.broken(CheckId::I3, text);
        return turn;
    };
    if ctl.locked {
        let message = AppMessage::ForeachDone(foreach);
        ctl.waiting.push_back(Waiting::App(message));
        return TargetTurn::Idle;
    }
    ctl.pending_ops = ctl.pending_ops.saturating_sub(1);
    let here = &mut ctl.slots[slot.index()];
    let state = here.state;
    match foreach.op {
        ForeachOp::Attach => {
            let remove_later = std::mem::take(&mut here.remove_later);
            attach_done(app, vdev, slot);
            if remove_later {
                // The slot is PRESENT, so it is not refused.
                let _ = begin_remove(app, vdev, slot, None);
            }
        }
        ForeachOp::Remove => {
            if !foreach.is_marked {
                target_gone(app, vdev, slot);
            }
        }
        ForeachOp::ProcessRemoved => {
            let bugs = app.shared.bugs;
            let finishes = !foreach.is_aborted || bugs.has(Bug::EarlyFinish);
            let removing = state == SlotState::Removing;
            let stale = bugs.has(Bug::StaleFinish) && state != SlotState::Empty;
            if finishes && (removing || stale) {
                target_gone(app, vdev, slot);
            }
        }
        ForeachOp::Resize => {}
    }
    app.shared.mail.wake_rpcs(app.cx.now);
    turn
}

/// `remove_scsi_tgt`: nobody refers to the target any more, or so it is believed.
fn target_gone(app: &mut AppThread<'_>, vdev: VdevId, slot: SlotId) {
    let Some((_, ctl)) = app.controller(vdev) else {
        return;
    };
    let here = &mut ctl.slots[slot.index()];
    let device = here.device;
    let dev = here.dev.take();
    let call = here.on_removed.take();
    let ctl = app.vdevs.get_mut(vdev).expect("just found");
    ctl.move_slot(&mut app.cx, slot, Cause::RemoveDone);
    if let Some(call) = call {
        let refers = |slots: &[crate::vdev::session::SessionSlot]| {
            dev.is_some() && slots[slot.index()].dev == dev
        };
        let mut referrers = ctl.sessions.iter();
        let referrers = referrers.by_ref().filter(|session| refers(&session.slots));
        app.cx.see(Observation::Inside(Inside::RemoveAnswered {
            place: ctl.place(slot),
            device,
            referrers: referrers.count() as u8,
            tasks: dev.map_or(0, |dev| app.shared.devs.tasks(dev)),
        }));
        app.own.rpc.answer(call, DONE);
    }
    let number = ctl.number;
    if let Some((entry, _)) = app.controller(vdev) {
        entry.refs = entry.refs.saturating_sub(1);
        if entry.refs == 0 && !entry.registered {
            let message = AppMessage::Unregister { vdev, number };
            app.shared.mail.send_app(app.cx.now, message);
        }
    }
    if let Some(dev) = dev {
        let device = app.shared.devs.get(dev);
        let name = device.map(|device| device.name.clone());
        app.log(
            LogLevel::Info,
            format!("removed target '{}'", name.unwrap_or_default()),
        );
        lun::destruct(app, dev);
    }
    app.shared.mail.wake_rpcs(app.cx.now);
}
