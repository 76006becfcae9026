//! Foreach-session operations: a visit of every session on the controller's thread, then a
//! completion on the app thread.
//!
//! Source: `vhost_user_dev_foreach_session` (lib/vhost/rte_vhost_user.c), fact sheet §1.3. A try-lock
//! that fails re-sends itself; here it waits for the lock, and then goes behind newer messages.

use scenarios::{CheckId, EventKind, SlotState, Time};

use super::controller::Waiting;
use super::mail::{AppMessage, VdevMessage};
use super::session::SLOTS;
use super::slot::Cause;
use super::turn::{ForeachOp, TargetTurn};
use super::{Out, Target};
use wire::bugs::Bug;
use wire::scsi::feature;

/// An operation under way.
#[derive(Clone, Copy, Debug)]
pub struct Foreach {
    /// The controller's place.
    pub vdev: u8,
    /// Its creation number.
    pub number: u8,
    /// What is done.
    pub op: ForeachOp,
    /// To which slot.
    pub slot: u8,
    /// A session has to finish what the visit began (`async_fini`).
    pub marked: bool,
    /// A session broke the visit off.
    pub aborted: bool,
}

impl Target {
    /// Begins an operation.
    pub fn foreach(&mut self, now: Time, vdev: usize, op: ForeachOp, slot: usize) {
        let Some(ctl) = self.ctl[vdev].as_mut() else {
            return;
        };
        ctl.pending_ops += 1;
        let foreach = Foreach {
            vdev: vdev as u8,
            number: ctl.number,
            op,
            slot: slot as u8,
            marked: false,
            aborted: false,
        };
        self.send_vdev(now, vdev, VdevMessage::Foreach(foreach));
    }

    /// The visit, on the controller's thread.
    pub fn foreach_visit(&mut self, cx: &mut Out<'_>, mut foreach: Foreach) -> TargetTurn {
        let vdev = usize::from(foreach.vdev);
        let turn = TargetTurn::Foreach {
            op: foreach.op,
            visit: true,
            controller: foreach.number,
            slot: foreach.slot,
        };
        let wrong = self.dev.has(Bug::ForeachWrongCtx);
        let Some(ctl) = self.ctl[vdev].as_mut() else {
            return turn;
        };
        if ctl.locked {
            let message = VdevMessage::Foreach(foreach);
            ctl.waiting.push_back(Waiting::Vdev(message));
            return TargetTurn::Idle;
        }
        let about = if wrong {
            (foreach.slot + 1) % SLOTS as u8
        } else {
            foreach.slot
        };
        let sessions = ctl.sessions.len();
        for session in 0..sessions {
            match foreach.op {
                ForeachOp::Attach => self.tell_attach(cx, vdev, session, about),
                ForeachOp::Remove => {
                    foreach.marked |= self.tell_remove(cx, vdev, session, about);
                }
                ForeachOp::ProcessRemoved => {
                    let ctl = self.ctl[vdev].as_ref().expect("still there");
                    let slot = &ctl.sessions[session].slots[usize::from(about)];
                    if slot.dev.is_some() {
                        foreach.aborted = true;
                        break;
                    }
                }
                ForeachOp::Resize => self.tell_resize(cx, vdev, session, about),
            }
            if self.dead {
                return turn;
            }
        }
        self.send_app(cx.now, AppMessage::ForeachDone(foreach));
        turn
    }

    /// `vhost_scsi_session_add_tgt`.
    fn tell_attach(&mut self, cx: &mut Out<'_>, vdev: usize, session: usize, slot: u8) {
        let bugs = self.dev;
        let Self { ctl, devs, .. } = self;
        let ctl = ctl[vdev].as_mut().expect("still there");
        let index = usize::from(slot);
        let here = &ctl.sessions[session];
        let runs = here.started || bugs.has(Bug::HotplugIntoStopped);
        let has = here.slots[index].dev.is_some();
        if !runs || (has && !bugs.has(Bug::DoubleSessionAdd)) {
            return;
        }
        let (dev, device) = (ctl.slots[index].dev, ctl.slots[index].device);
        let Some(dev) = dev else {
            return;
        };
        ctl.sessions[session].slots[index].device = device;
        if !devs.take_channel(dev, vdev as u8) {
            ctl.move_session_slot(cx, session, index, Cause::NoChannel);
            let name = &ctl.name;
            let vid = ctl.sessions[session].vid;
            let text =
                format!("{name}s{vid}: Couldn't allocate io channel for SCSI target {slot}.");
            self.log(cx, text);
            return;
        }
        let wants =
            ctl.sessions[session].has(feature::HOTPLUG) || bugs.has(Bug::HotplugUnnegotiated);
        let early = bugs.has(Bug::EventBeforeState);
        if wants && early {
            self.send_event(cx, vdev, session, slot, EventKind::Rescan);
        }
        let ctl = self.ctl[vdev].as_mut().expect("still there");
        ctl.sessions[session].slots[index].dev = Some(dev);
        ctl.move_session_slot(cx, session, index, Cause::Told);
        let here = &ctl.sessions[session];
        if wants && !early {
            self.send_event(cx, vdev, session, slot, EventKind::Rescan);
        } else if !wants {
            let text = format!(
                "{}s{}: driver does not support hotplug. Please restart it or perform a rescan.",
                ctl.name, here.vid
            );
            self.log(cx, text);
        }
    }

    /// `vhost_scsi_session_remove_tgt`; whether the session has to let go later.
    fn tell_remove(&mut self, cx: &mut Out<'_>, vdev: usize, session: usize, slot: u8) -> bool {
        let Self { ctl, devs, .. } = self;
        let ctl = ctl[vdev].as_mut().expect("still there");
        let index = usize::from(slot);
        let here = &ctl.sessions[session];
        let Some(dev) = here.slots[index].dev else {
            return false;
        };
        if !here.started && !here.draining {
            return false;
        }
        ctl.move_session_slot(cx, session, index, Cause::RemoveTold);
        devs.note_removing(dev);
        let here = &mut ctl.sessions[session];
        if devs.idle(dev) {
            here.manage(cx.now);
        }
        if here.started && here.has(feature::HOTPLUG) {
            self.send_event(cx, vdev, session, slot, EventKind::Removed);
        }
        true
    }

    /// `vhost_scsi_session_param_changed`.
    fn tell_resize(&mut self, cx: &mut Out<'_>, vdev: usize, session: usize, slot: u8) {
        let ctl = self.ctl[vdev].as_mut().expect("still there");
        let here = &ctl.sessions[session];
        if here.started && here.slots[usize::from(slot)].dev.is_some() && here.has(feature::CHANGE)
        {
            self.send_event(cx, vdev, session, slot, EventKind::CapacityChanged);
        }
    }

    /// The completion, on the app thread.
    pub fn foreach_done(&mut self, cx: &mut Out<'_>, foreach: Foreach) -> TargetTurn {
        let vdev = usize::from(foreach.vdev);
        let slot = usize::from(foreach.slot);
        let turn = TargetTurn::Foreach {
            op: foreach.op,
            visit: false,
            controller: foreach.number,
            slot: foreach.slot,
        };
        let there = self.ctl[vdev].as_mut();
        let Some(ctl) = there.filter(|ctl| ctl.number == foreach.number) else {
            let text = format!("controller {} was freed under a foreach", foreach.number);
            cx.broken(CheckId::I3, text);
            return turn;
        };
        if ctl.locked {
            let message = AppMessage::ForeachDone(foreach);
            ctl.waiting.push_back(Waiting::App(message));
            return TargetTurn::Idle;
        }
        ctl.pending_ops = ctl.pending_ops.saturating_sub(1);
        let state = ctl.slots[slot].state;
        match foreach.op {
            ForeachOp::Attach => {
                ctl.move_slot(cx, slot, Cause::AttachDone);
                ctl.refs += 1;
                if std::mem::take(&mut ctl.slots[slot].remove_later) {
                    // The slot is PRESENT, so it is not refused.
                    let _ = self.remove_target(cx, vdev, slot as u32, None);
                }
            }
            ForeachOp::Remove => {
                if !foreach.marked {
                    self.target_gone(cx, vdev, slot);
                }
            }
            ForeachOp::ProcessRemoved => {
                let finishes = !foreach.aborted || self.dev.has(Bug::EarlyFinish);
                let removing = state == SlotState::Removing;
                let stale = self.dev.has(Bug::StaleFinish) && state != SlotState::Empty;
                if finishes && (removing || stale) {
                    self.target_gone(cx, vdev, slot);
                }
            }
            ForeachOp::Resize => {}
        }
        self.retry_soon(cx.now);
        turn
    }
}
