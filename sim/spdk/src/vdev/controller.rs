//! A controller: what its thread owns, and what the other threads touch under its lock.
//!
//! Knows no RPC; what only the app thread knows of a controller stands there. Source:
//! lib/vhost/vhost_scsi.c, lib/vhost/rte_vhost_user.c; fact sheet §1.1, §1.3, §1.5.

use std::collections::VecDeque;

use scenarios::{CheckId, ControllerId, Inside, Observation, Place, SlotState, Time};

use super::session::Session;
use super::slot::{Cause, transition};
use crate::handles::{DevHandle, Foreach, SessionId, SlotId, VdevId};
use crate::mail::{Inbox, Mail, VdevMessage, Waiting};
use crate::rpc::{CallId, Errno};
use crate::shared::{Out, Shared};
use crate::turn::ForeachOp;
use wire::bugs::Bug;
use wire::message::{CONTROLQ, EVENTQ, REQUESTQ, VringIndex};

/// The request queues are polled every reactor turn: so long after something is there.
pub const POLL_AFTER: std::time::Duration = std::time::Duration::from_micros(1);

/// A slot in the controller's view: written on the app thread, read on the controller's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot {
    pub state: SlotState,
    pub dev: Option<DevHandle>,
    /// Which device is or was in it.
    pub device: u32,
    /// The RPC to answer once it is gone.
    pub on_removed: Option<CallId>,
    /// The bdev went while sessions were being told (S5 off).
    pub remove_later: bool,
}

#[derive(Clone, Debug)]
pub struct Controller {
    pub vdev: VdevId,
    /// By creation order, from 1.
    pub number: u8,
    /// What observers call it: N of "vhost.N", so that one made again is the same to them; else its
    /// number.
    shown: ControllerId,
    pub name: String,
    /// New connections are taken (`user_dev->registered`).
    pub accepts: bool,
    pub slots: [Slot; SlotId::COUNT],
    /// In the order of their connections.
    pub sessions: Vec<Session>,
    pub next_session: SessionId,
    /// Foreach operations under way (`pending_async_op_num`).
    pub pending_ops: u32,
    /// DPDK's thread holds `user_dev->lock`.
    pub locked: bool,
    /// What waits for the lock: it re-sends itself until it gets it, that is, it goes behind what
    /// was sent meanwhile.
    pub waiting: VecDeque<Waiting>,
    inbox: Inbox<VdevMessage>,
    /// When the request queues are polled next.
    pub poll_at: Time,
    /// LUN pollers on its thread.
    pub lun_polls: Vec<(Time, DevHandle)>,
}

impl Controller {
    /// A new controller, with no socket yet.
    pub fn new(vdev: VdevId, number: u8, name: String) -> Self {
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
            vdev,
            number,
            shown: ControllerId(plain.unwrap_or(number)),
            name,
            accepts: false,
            slots: [slot; SlotId::COUNT],
            sessions: Vec::new(),
            next_session: SessionId(0),
            pending_ops: 0,
            locked: false,
            waiting: VecDeque::new(),
            inbox: Inbox::default(),
            poll_at: Time::NEVER,
            lun_polls: Vec::new(),
        }
    }

    /// Its name to an observer.
    pub const fn id(&self) -> ControllerId {
        self.shown
    }

    /// A slot's name to an observer.
    pub const fn place(&self, slot: SlotId) -> Place {
        Place {
            controller: self.shown,
            target: slot.target(),
        }
    }

    pub fn session(&mut self, id: SessionId) -> Option<&mut Session> {
        self.sessions.iter_mut().find(|session| session.id == id)
    }

    pub fn session_index(&self, id: SessionId) -> Option<usize> {
        self.sessions.iter().position(|session| session.id == id)
    }

    /// What SPDK calls a session in its log: "vhost.0s1".
    pub fn session_name(&self, index: usize) -> String {
        format!("{}s{}", self.name, self.sessions[index].vid)
    }

    /// Puts a message into its thread's inbox.
    pub fn send(&mut self, mail: &mut Mail, now: Time, message: VdevMessage) {
        let stamp = mail.stamp(now);
        self.inbox.push(stamp, message);
        mail.touch_vdev(self.vdev);
    }

    pub fn inbox(&self) -> &Inbox<VdevMessage> {
        &self.inbox
    }

    pub(super) fn take_message(&mut self) -> Option<VdevMessage> {
        self.inbox.pop()
    }

    /// Lets the lock go: what waited for it is sent again.
    pub fn unlock(&mut self, mail: &mut Mail, now: Time) {
        self.locked = false;
        for waiting in std::mem::take(&mut self.waiting) {
            match waiting {
                Waiting::Vdev(message) => self.send(mail, now, message),
                Waiting::App(message) => mail.send_app(now, message),
            }
        }
        mail.wake_rpcs(now);
    }

    /// `vhost_user_dev_foreach_session`: begins a visit of every session on the controller's thread, with a
    /// completion on the app thread.
    pub fn foreach(&mut self, mail: &mut Mail, now: Time, op: ForeachOp, slot: SlotId) {
        self.pending_ops += 1;
        let foreach = Foreach {
            vdev: self.vdev,
            number: self.number,
            op,
            slot,
            is_marked: false,
            is_aborted: false,
        };
        self.send(mail, now, VdevMessage::Foreach(foreach));
    }

    /// `vhost_scsi_dev_remove_tgt`: begins to take a target away; `call` is answered when it is gone.
    ///
    /// # Errors
    ///
    /// `EBUSY`: it is not PRESENT.
    pub fn begin_remove(
        &mut self,
        cx: &mut Out<'_>,
        shared: &mut Shared,
        slot: SlotId,
        call: Option<CallId>,
    ) -> Result<(), Errno> {
        let early = shared.bugs.has(Bug::RemoveWhileAdding);
        let here = &mut self.slots[slot.index()];
        let adding = here.state == SlotState::Adding && early;
        if here.state != SlotState::Present && !adding {
            return Err(Errno::Busy);
        }
        here.on_removed = call;
        let device = here.device;
        self.move_slot(cx, slot, Cause::RemoveBegan);
        if call.is_some() {
            cx.see(Observation::Inside(Inside::RpcTook {
                place: self.place(slot),
                attach: false,
                device,
            }));
        }
        self.foreach(&mut shared.mail, cx.now, ForeachOp::Remove, slot);
        Ok(())
    }

    /// Moves a slot in the controller's view.
    pub fn move_slot(&mut self, cx: &mut Out<'_>, slot: SlotId, cause: Cause) {
        let place = self.place(slot);
        let here = &mut self.slots[slot.index()];
        let of = (place, None, here.device);
        here.state = moved(cx, of, here.state, cause);
    }

    /// Moves a slot in a session's view.
    pub fn move_session_slot(
        &mut self,
        cx: &mut Out<'_>,
        index: usize,
        slot: SlotId,
        cause: Cause,
    ) {
        let place = self.place(slot);
        let session = &mut self.sessions[index];
        let here = &mut session.slots[slot.index()];
        let of = (place, Some(session.id), here.device);
        here.state = moved(cx, of, here.state, cause);
    }

    /// The earliest of what its thread has to do, messages aside.
    pub fn due(&self) -> Time {
        let sessions = self.sessions.iter().map(Session::due);
        let luns = self.lun_polls.iter().map(|(at, _)| *at);
        sessions.chain(luns).fold(self.poll_at, Time::min)
    }

    /// A hint that a ring has more.
    pub fn doorbell(&mut self, now: Time, index: usize, vring: VringIndex) {
        let session = &mut self.sessions[index];
        let polled = session.polled;
        let Some(ring) = session.ring(vring.0) else {
            return;
        };
        ring.look = true;
        if vring.0 >= REQUESTQ.0 {
            if polled {
                self.poll_at = self.poll_at.min(now + POLL_AFTER);
            }
        } else if vring == CONTROLQ || session.events_missed || ring_calls(session) {
            session.manage(now);
        }
    }

    /// What was used during a poll was signalled at its end, so that it wants no poll of its own: only
    /// what the driver did not want to be called for then is looked at once more.
    pub(super) fn polled(&mut self, now: Time) {
        let sessions = self.sessions.iter().filter(|session| session.polled);
        let rings = sessions.flat_map(|session| session.vrings.iter().skip(REQUESTQ.0.into()));
        let mut next = Time::NEVER;
        for ring in rings {
            if ring.calls_due > 0 {
                return;
            }
            if ring.look && ring.live {
                next = now + POLL_AFTER;
            }
        }
        self.poll_at = next;
    }

    /// Takes a session off the list.
    pub fn close_session(&mut self, cx: &mut Out<'_>, mail: &mut Mail, index: usize) {
        let session = self.sessions.remove(index);
        let id = session.id.0;
        cx.see(Observation::Inside(Inside::SessionClosed {
            controller: self.shown,
            session: id,
        }));
        let held = session.slots.iter().filter(|slot| slot.dev.is_some());
        let held = held.count();
        if held > 0 {
            let text = format!("session {id} closed with {held} targets");
            cx.broken(CheckId::I10, text);
        }
        mail.wake_rpcs(cx.now);
    }
}

/// Whether a call for an event is due: it may have been suppressed, and be allowed now.
fn ring_calls(session: &mut Session) -> bool {
    session
        .ring(EVENTQ.0)
        .is_some_and(|ring| ring.calls_due > 0)
}

/// Where `cause` takes a slot, for an observer to see.
fn moved(
    cx: &mut Out<'_>,
    (place, session, device): (Place, Option<SessionId>, u32),
    from: SlotState,
    cause: Cause,
) -> SlotState {
    let (to, allowed) = transition(from, cause);
    let session = session.map(|id| id.0);
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
    to
}

/// Every controller, at its place.
#[derive(Clone, Debug)]
pub struct Vdevs(Vec<Option<Box<Controller>>>);

impl Vdevs {
    pub fn new(max: u8) -> Self {
        Self((0..max).map(|_| None).collect())
    }

    /// How many places there are.
    pub fn places(&self) -> usize {
        self.0.len()
    }

    pub fn get(&self, vdev: VdevId) -> Option<&Controller> {
        self.0.get(vdev.index())?.as_deref()
    }

    pub fn get_mut(&mut self, vdev: VdevId) -> Option<&mut Controller> {
        self.0.get_mut(vdev.index())?.as_deref_mut()
    }

    pub fn iter(&self) -> impl Iterator<Item = &Controller> {
        self.0.iter().flatten().map(AsRef::as_ref)
    }

    pub fn find(&self, name: &str) -> Option<VdevId> {
        let named = self.iter().find(|ctl| ctl.name == name);
        named.map(|ctl| ctl.vdev)
    }

    /// A place where there is none.
    pub fn free(&self) -> Option<VdevId> {
        let place = self.0.iter().position(Option::is_none)?;
        Some(VdevId(place as u8))
    }

    pub fn put(&mut self, controller: Controller) {
        let place = controller.vdev.index();
        self.0[place] = Some(Box::new(controller));
    }

    pub fn take(&mut self, vdev: VdevId) -> Option<Box<Controller>> {
        self.0[vdev.index()].take()
    }
}
