//! A controller: its slots, its sessions, its thread's inbox; attach and remove as the RPCs and
//! hot-remove begin them.
//!
//! Source: lib/vhost/vhost_scsi.c (`vhost_scsi_dev_add_tgt`, `vhost_scsi_dev_remove_tgt`,
//! `remove_scsi_tgt`), fact sheet §1.1, §1.4, §1.5.

use std::collections::VecDeque;

use scenarios::{CheckId, ControllerId, Inside, Observation, Place, SlotState, TargetId, Time};

use super::bdev::BdevHandle;
use super::lun::DevHandle;
use super::mail::{AppMessage, Inbox, VdevMessage};
use super::rpc::{CallId, Errno};
use super::session::{SLOTS, Session};
use super::slot::{Cause, transition};
use super::turn::ForeachOp;
use super::{Out, Target};
use wire::bugs::Bug;

/// A slot in the controller's view.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot {
    /// Its state.
    pub state: SlotState,
    /// The device.
    pub dev: Option<DevHandle>,
    /// Which device is or was in it.
    pub device: u32,
    /// The RPC to answer once it is gone.
    pub on_removed: Option<CallId>,
    /// The bdev went while sessions were being told (S5 off).
    pub remove_later: bool,
}

/// What may be waiting for a controller's lock.
#[derive(Clone, Copy, Debug)]
pub enum Waiting {
    /// On its own thread.
    Vdev(VdevMessage),
    /// On the app thread.
    App(AppMessage),
}

/// A controller.
#[derive(Clone, Debug)]
pub struct Controller {
    /// By creation order, from 1.
    pub number: u8,
    /// What observers call it: N of "vhost.N", so that one made anew is the same to them; else its
    /// number.
    shown: ControllerId,
    /// Its name.
    pub name: String,
    /// The cores its thread may run on.
    pub cpumask: u64,
    /// It has a socket (`svdev->registered`).
    pub registered: bool,
    /// New connections are taken (`user_dev->registered`).
    pub accepts: bool,
    /// It was deleted, and goes when it can (S14 off).
    pub deleted: bool,
    /// It is a vhost-blk controller, of which only the RPCs' view is modelled: its bdev until that
    /// goes, and whether it is read-only.
    pub blk: Option<(Option<BdevHandle>, bool)>,
    /// Coalescing, as set by RPC.
    pub coalescing: (u32, u32),
    /// PRESENT and REMOVING targets.
    pub refs: u32,
    /// Its slots.
    pub slots: [Slot; SLOTS],
    /// In the order of their connections.
    pub sessions: Vec<Session>,
    /// The next session's id.
    pub next_session: u32,
    /// Foreach operations under way.
    pub pending_ops: u32,
    /// DPDK's thread holds `user_dev->lock`.
    pub locked: bool,
    /// What waits for the lock: it re-sends itself until it gets it, that is, it goes behind what
    /// was sent meanwhile.
    pub waiting: VecDeque<Waiting>,
    /// Its thread's messages.
    pub inbox: Inbox<VdevMessage>,
    /// When the request queues are polled next.
    pub poll_at: Time,
    /// LUN pollers on its thread.
    pub lun_polls: Vec<(Time, DevHandle)>,
}

impl Controller {
    /// A new controller, with no socket yet.
    pub fn new(number: u8, name: String, cpumask: u64) -> Self {
        let slot = Slot {
            state: SlotState::Empty,
            dev: None,
            device: 0,
            on_removed: None,
            remove_later: false,
        };
        let plain = name
            .strip_prefix("vhost.")
            .and_then(|n| n.parse::<u8>().ok());
        Self {
            number,
            shown: ControllerId(plain.unwrap_or(number)),
            name,
            cpumask,
            registered: false,
            accepts: false,
            deleted: false,
            blk: None,
            coalescing: (0, 60_000),
            refs: 0,
            slots: [slot; SLOTS],
            sessions: Vec::new(),
            next_session: 0,
            pending_ops: 0,
            locked: false,
            waiting: VecDeque::new(),
            inbox: Inbox::default(),
            poll_at: Time::NEVER,
            lun_polls: Vec::new(),
        }
    }

    /// Its name to an observer.
    #[must_use]
    pub const fn id(&self) -> ControllerId {
        self.shown
    }

    /// A slot's name to an observer.
    #[must_use]
    pub const fn place(&self, slot: usize) -> Place {
        Place {
            controller: self.shown,
            target: TargetId(slot as u8),
        }
    }

    /// The session with this id.
    pub fn session(&mut self, id: u32) -> Option<&mut Session> {
        self.sessions.iter_mut().find(|session| session.id == id)
    }

    /// Moves a slot in the controller's view.
    pub fn move_slot(&mut self, cx: &mut Out<'_>, slot: usize, cause: Cause) {
        let place = self.place(slot);
        let here = &mut self.slots[slot];
        let (to, allowed) = transition(here.state, cause);
        saw_move(cx, place, None, here.state, to, here.device, cause, allowed);
        here.state = to;
    }

    /// Moves a slot in a session's view.
    pub fn move_session_slot(
        &mut self,
        cx: &mut Out<'_>,
        session: usize,
        slot: usize,
        cause: Cause,
    ) {
        let place = self.place(slot);
        let session = &mut self.sessions[session];
        let here = &mut session.slots[slot];
        let (to, allowed) = transition(here.state, cause);
        let id = Some(session.id);
        saw_move(cx, place, id, here.state, to, here.device, cause, allowed);
        here.state = to;
    }

    /// The earliest of what its thread has to do, messages aside.
    #[must_use]
    pub fn due(&self) -> Time {
        let sessions = self.sessions.iter().map(Session::due);
        let luns = self.lun_polls.iter().map(|(at, _)| *at);
        sessions.chain(luns).fold(self.poll_at, Time::min)
    }
}

#[expect(
    clippy::too_many_arguments,
    reason = "what an observation of a move is made of"
)]
fn saw_move(
    cx: &mut Out<'_>,
    place: Place,
    session: Option<u32>,
    from: SlotState,
    to: SlotState,
    device: u32,
    cause: Cause,
    allowed: bool,
) {
    if !allowed {
        let whose = session.map_or("the controller's view".to_owned(), |id| {
            format!("session {id}")
        });
        let text = format!("{place} in {whose}: {cause:?} while {from:?}");
        cx.broken(CheckId::I18, text);
    }
    if from != to {
        cx.see(Observation::Inside(Inside::Slot {
            place,
            session,
            from,
            to,
            device,
        }));
    }
}

impl Target {
    /// `vhost_scsi_dev_add_tgt`: puts a target on `bdev` into a slot, the first free one if `slot`
    /// is negative.
    ///
    /// # Errors
    ///
    /// `ENOSPC`, `EINVAL`, `EEXIST` as in fact sheet §2.2.
    pub fn add_target(
        &mut self,
        cx: &mut Out<'_>,
        vdev: usize,
        slot: i32,
        bdev_name: &str,
    ) -> Result<u8, Errno> {
        let bdev = self.bdevs.find(bdev_name);
        let silent = self.dev.has(Bug::LingererSilent);
        let ctl = self.ctl[vdev].as_mut().expect("the caller found it");
        if ctl.blk.is_some() {
            if self.dev.has(Bug::NoTypeCheck) {
                let place = "vhost_scsi_dev_add_tgt: the controller is no SCSI controller (B24)";
                self.die(cx, "SIGSEGV", place);
            }
            return Err(Errno::Inval);
        }
        // One that is being deleted would take the device with it, nobody knows where (N5).
        if ctl.deleted && !self.dev.has(Bug::UnregisterDropped) {
            return Err(Errno::NoDev);
        }
        let slot = match usize::try_from(slot) {
            Err(_) => (ctl.slots.iter())
                .position(|slot| slot.dev.is_none())
                .ok_or(Errno::NoSpc)?,
            Ok(slot) if slot < SLOTS => slot,
            Ok(_) => return Err(Errno::Inval),
        };
        if ctl.slots[slot].dev.is_some() {
            return Err(Errno::Exist);
        }
        self.device_numbers += 1;
        ctl.slots[slot].device = self.device_numbers;
        ctl.move_slot(cx, slot, Cause::AttachBegan);
        let made = bdev.and_then(|bdev| {
            self.devs.construct(
                &mut self.bdevs,
                bdev,
                vdev as u8,
                slot as u8,
                self.device_numbers,
            )
        });
        let ctl = self.ctl[vdev].as_mut().expect("still there");
        let Some(dev) = made else {
            ctl.move_slot(cx, slot, Cause::ConstructFailed);
            return Err(Errno::Inval);
        };
        ctl.slots[slot].dev = Some(dev);
        let number = self.device_numbers;
        cx.see(Observation::Inside(Inside::RpcTook {
            place: ctl.place(slot),
            attach: true,
            device: number,
        }));
        cx.see(Observation::Attached {
            place: ctl.place(slot),
            device: number,
            bdev: bdev_name.to_owned(),
            disk: None,
        });
        let text = format!(
            "{}: added SCSI target {slot} using bdev '{bdev_name}'",
            ctl.name
        );
        if ctl.registered || !(silent || ctl.sessions.is_empty()) {
            self.foreach(cx.now, vdev, ForeachOp::Attach, slot);
        } else {
            ctl.move_slot(cx, slot, Cause::AttachDone);
            ctl.refs += 1;
        }
        self.log(cx, text);
        Ok(slot as u8)
    }

    /// `vhost_scsi_dev_remove_tgt`: begins to take a target away; `call` is answered when it is gone.
    ///
    /// # Errors
    ///
    /// `EINVAL`: no such slot. `EBUSY`: it is not PRESENT.
    pub fn remove_target(
        &mut self,
        cx: &mut Out<'_>,
        vdev: usize,
        slot: u32,
        call: Option<CallId>,
    ) -> Result<(), Errno> {
        let early = self.dev.has(Bug::RemoveWhileAdding);
        let ctl = self.ctl[vdev].as_mut().expect("the caller found it");
        if ctl.blk.is_some() {
            return Err(Errno::Inval);
        }
        let slot = slot as usize;
        let here = ctl.slots.get_mut(slot).ok_or(Errno::Inval)?;
        let adding = here.state == SlotState::Adding && early;
        if here.state != SlotState::Present && !adding {
            return Err(Errno::Busy);
        }
        here.on_removed = call;
        let device = here.device;
        ctl.move_slot(cx, slot, Cause::RemoveBegan);
        if call.is_some() {
            cx.see(Observation::Inside(Inside::RpcTook {
                place: ctl.place(slot),
                attach: false,
                device,
            }));
        }
        self.foreach(cx.now, vdev, ForeachOp::Remove, slot);
        Ok(())
    }

    /// `remove_scsi_tgt`: nobody refers to the target any more, or so it is believed.
    pub fn target_gone(&mut self, cx: &mut Out<'_>, vdev: usize, slot: usize) {
        let Some(ctl) = self.ctl[vdev].as_mut() else {
            return;
        };
        let device = ctl.slots[slot].device;
        let dev = ctl.slots[slot].dev.take();
        let call = ctl.slots[slot].on_removed.take();
        ctl.move_slot(cx, slot, Cause::RemoveDone);
        let referrers = ctl
            .sessions
            .iter()
            .filter(|session| dev.is_some() && session.slots[slot].dev == dev)
            .count();
        let tasks = dev.map_or(0, |dev| self.devs.tasks(dev));
        if let Some(call) = call {
            cx.see(Observation::Inside(Inside::RemoveAnswered {
                place: ctl.place(slot),
                device,
                referrers: referrers as u8,
                tasks,
            }));
            self.rpc.answer(call, Ok(serde_json::Value::Bool(true)));
        }
        let Some(ctl) = self.ctl[vdev].as_mut() else {
            return;
        };
        ctl.refs = ctl.refs.saturating_sub(1);
        if ctl.refs == 0 && !ctl.registered {
            let message = AppMessage::Unregister {
                vdev: vdev as u8,
                number: ctl.number,
            };
            self.send_app(cx.now, message);
        }
        if let Some(dev) = dev {
            let name = self.devs.get(dev).map(|dev| dev.name.clone());
            self.log(cx, format!("removed target '{}'", name.unwrap_or_default()));
            self.destruct(cx, dev);
        }
        self.retry_soon(cx.now);
    }

    /// The LUN's bdev goes: the controller removes the target, as by RPC but with nobody to answer
    /// (`vhost_scsi_lun_hotremove`).
    pub fn hot_removed(&mut self, cx: &mut Out<'_>, vdev: usize, dev: DevHandle) {
        let Some(ctl) = self.ctl[vdev].as_mut() else {
            return;
        };
        let Some(slot) = ctl.slots.iter().position(|slot| slot.dev == Some(dev)) else {
            return;
        };
        if ctl.slots[slot].state == SlotState::Adding && !self.dev.has(Bug::HotremoveLostInAdding) {
            ctl.slots[slot].remove_later = true;
            return;
        }
        // Refused if the slot is not PRESENT; SPDK ignores that, which is S5.
        let _ = self.remove_target(cx, vdev, slot as u32, None);
    }
}
