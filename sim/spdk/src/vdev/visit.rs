//! What a foreach-session operation does as it visits each session, on the controller's thread.
//!
//! Sources: `vhost_scsi_session_add_tgt`, `vhost_scsi_session_remove_tgt`,
//! `vhost_scsi_session_process_removed`, `vhost_scsi_session_param_changed` (lib/vhost/vhost_scsi.c),
//! `vhost_user_dev_foreach_session` (lib/vhost/rte_vhost_user.c); fact sheet §1.3. A try-lock that fails
//! re-sends itself; here it waits for the lock, and then goes behind newer messages.

use scenarios::EventKind;

use super::eventq::send_event;
use super::slot::Cause;
use super::thread::VdevThread;
use crate::handles::{Foreach, SlotId};
use crate::mail::{AppMessage, VdevMessage, Waiting};
use crate::turn::{ForeachOp, TargetTurn};
use wire::bugs::Bug;
use wire::message::LogLevel;
use wire::scsi::feature;

pub fn visit(vdev: &mut VdevThread<'_>, mut foreach: Foreach) -> TargetTurn {
    let turn = TargetTurn::Foreach {
        op: foreach.op,
        visit: true,
        controller: foreach.number,
        slot: foreach.slot.0,
    };
    let ctl = &mut *vdev.own;
    if ctl.locked {
        let message = VdevMessage::Foreach(foreach);
        ctl.waiting.push_back(Waiting::Vdev(message));
        return TargetTurn::Idle;
    }
    let slot = if vdev.shared.bugs.has(Bug::ForeachWrongCtx) {
        SlotId((foreach.slot.0 + 1) % SlotId::COUNT as u8)
    } else {
        foreach.slot
    };
    for index in 0..ctl.sessions.len() {
        match foreach.op {
            ForeachOp::Attach => tell_attach(vdev, index, slot),
            ForeachOp::Remove => foreach.is_marked |= tell_remove(vdev, index, slot),
            ForeachOp::ProcessRemoved => {
                let here = &vdev.own.sessions[index].slots[slot.index()];
                if here.dev.is_some() {
                    foreach.is_aborted = true;
                    break;
                }
            }
            ForeachOp::Resize => tell_resize(vdev, index, slot),
        }
        if vdev.shared.is_dead {
            return turn;
        }
    }
    let done = AppMessage::ForeachDone(foreach);
    vdev.shared.mail.send_app(vdev.cx.now, done);
    turn
}

/// `vhost_scsi_session_add_tgt`.
fn tell_attach(vdev: &mut VdevThread<'_>, index: usize, slot: SlotId) {
    let bugs = vdev.shared.bugs;
    let ctl = &mut *vdev.own;
    let session = &mut ctl.sessions[index];
    let runs = session.started || bugs.has(Bug::HotplugIntoStopped);
    let has = session.slots[slot.index()].dev.is_some();
    if !runs || (has && !bugs.has(Bug::DoubleSessionAdd)) {
        return;
    }
    let Some(dev) = ctl.slots[slot.index()].dev else {
        return;
    };
    session.slots[slot.index()].device = ctl.slots[slot.index()].device;
    if !vdev.shared.devs.take_channel(dev, ctl.vdev) {
        ctl.move_session_slot(&mut vdev.cx, index, slot, Cause::NoChannel);
        let (name, slot) = (ctl.session_name(index), slot.0);
        vdev.log(
            LogLevel::Error,
            format!("{name}: Couldn't allocate io channel for SCSI target {slot}."),
        );
        return;
    }
    let wants = session.has(feature::HOTPLUG) || bugs.has(Bug::HotplugUnnegotiated);
    let early = bugs.has(Bug::EventBeforeState);
    if wants && early {
        send_event(vdev, index, slot, EventKind::Rescan);
    }
    let ctl = &mut *vdev.own;
    ctl.sessions[index].slots[slot.index()].dev = Some(dev);
    ctl.move_session_slot(&mut vdev.cx, index, slot, Cause::Told);
    if wants && !early {
        send_event(vdev, index, slot, EventKind::Rescan);
    } else if !wants {
        let name = ctl.session_name(index);
        vdev.log(
            LogLevel::Notice,
            format!(
                "{name}: driver does not support hotplug. Please restart it or perform a rescan."
            ),
        );
    }
}

/// `vhost_scsi_session_remove_tgt`; whether the session has to let go later.
fn tell_remove(vdev: &mut VdevThread<'_>, index: usize, slot: SlotId) -> bool {
    let ctl = &mut *vdev.own;
    let session = &ctl.sessions[index];
    let Some(dev) = session.slots[slot.index()].dev else {
        return false;
    };
    if !session.started && !session.draining {
        return false;
    }
    ctl.move_session_slot(&mut vdev.cx, index, slot, Cause::RemoveTold);
    let devs = &mut vdev.shared.devs;
    devs.note_removing(dev);
    let session = &mut ctl.sessions[index];
    if devs.idle(dev) {
        session.manage(vdev.cx.now);
    }
    if session.started && session.has(feature::HOTPLUG) {
        send_event(vdev, index, slot, EventKind::Removed);
    }
    true
}

/// `vhost_scsi_session_param_changed`.
fn tell_resize(vdev: &mut VdevThread<'_>, index: usize, slot: SlotId) {
    let session = &vdev.own.sessions[index];
    let has = session.slots[slot.index()].dev.is_some();
    if session.started && has && session.has(feature::CHANGE) {
        send_event(vdev, index, slot, EventKind::CapacityChanged);
    }
}
