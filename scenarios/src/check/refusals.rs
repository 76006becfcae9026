//! I9: a request is refused as the slot's state demands.
//!
//! BAD_TARGET and LOGICAL UNIT NOT SUPPORTED are right for a request that is sent before a target is
//! attached there, or answered after a removal of the slot began, or its LUN began to go. A session that
//! started since then knows nothing of what was there: BAD_TARGET (SPDK's `vhost_scsi_start` forgets
//! removed targets). Knows nothing of other errors: what a device makes of a request is the device's.

use std::collections::BTreeMap;

use super::CheckId;
use super::tally::Tally;
use crate::names::{ControllerId, Place};
use crate::observation::{Inside, Io, SlotState};
use crate::time::Time;

/// The virtio-scsi response BAD_TARGET.
const BAD_TARGET: u8 = 3;
/// ILLEGAL REQUEST, LOGICAL UNIT NOT SUPPORTED.
const NO_LUN: u32 = 0x05_2500;

/// A slot in its controller's view.
#[derive(Clone, Copy, Debug)]
struct Slot {
    state: SlotState,
    device: u32,
    /// When it came to this state.
    since: Time,
}

/// Where all slots stand.
#[derive(Clone, Debug, Default)]
pub struct Refusals {
    slots: BTreeMap<Place, Slot>,
    /// When the sessions that run were started.
    started: BTreeMap<(ControllerId, u32), Time>,
}

impl Refusals {
    /// Takes what happened inside the target.
    pub fn inside(&mut self, inside: &Inside, at: Time) {
        match *inside {
            Inside::Slot {
                place,
                session: None,
                to,
                device,
                ..
            } => self.moved(place, to, device, at),
            Inside::LunGoing { device } => {
                let slots = self.slots.values_mut();
                let there =
                    |slot: &&mut Slot| slot.device == device && slot.state != SlotState::Empty;
                for slot in slots.filter(there) {
                    (slot.state, slot.since) = (SlotState::Removing, at);
                }
            }
            Inside::SessionStarted {
                controller,
                session,
                ..
            } => {
                self.started.insert((controller, session), at);
            }
            Inside::SessionStopped {
                controller,
                session,
            } => {
                self.started.remove(&(controller, session));
            }
            Inside::Slot { .. }
            | Inside::SessionClosed { .. }
            | Inside::Event { .. }
            | Inside::RpcTook { .. }
            | Inside::RemoveAnswered { .. }
            | Inside::LunClosed { .. } => {}
        }
    }

    /// A request that was submitted at `submitted` has failed with `answer`.
    pub fn failed(
        &self,
        io: &Io,
        answer: (u8, u8, u32),
        (submitted, at): (Time, Time),
        tally: &mut Tally,
    ) {
        if is_refusal(answer) && self.was_there(io.place, submitted) {
            let what = format!("request {} refused, as if {} were empty", io.id, io.place);
            let expected = "an answer of the target that is there";
            tally.violated(CheckId::I9, at, expected, what);
        }
        if lun_missing(answer) && self.is_forgotten(io.place, submitted) {
            let what = format!("request {} finds {} without its LUN", io.id, io.place);
            let expected = "BAD_TARGET, as the session started with that slot empty";
            tally.violated(CheckId::I9, at, expected, what);
        }
    }

    fn moved(&mut self, place: Place, to: SlotState, device: u32, at: Time) {
        let slot = self.slots.entry(place).or_insert(Slot {
            state: SlotState::Empty,
            device,
            since: at,
        });
        (slot.state, slot.device, slot.since) = (to, device, at);
    }

    /// Whether there was a target all the time since `submitted`.
    fn was_there(&self, place: Place, submitted: Time) -> bool {
        let slot = self.slots.get(&place);
        slot.is_some_and(|slot| slot.state == SlotState::Present && slot.since < submitted)
    }

    /// Whether the slot was empty before any session of its controller started, and all of them had
    /// started at `submitted`.
    fn is_forgotten(&self, place: Place, submitted: Time) -> bool {
        let emptied = match self.slots.get(&place) {
            Some(slot) if slot.state != SlotState::Empty => return false,
            Some(slot) => slot.since,
            None => Time::ZERO,
        };
        let of_controller = (place.controller, 0)..=(place.controller, u32::MAX);
        let mut started = self
            .started
            .range(of_controller)
            .map(|(_, at)| *at)
            .peekable();
        started.peek().is_some() && started.all(|at| emptied < at && at < submitted)
    }
}

fn is_refusal(answer: (u8, u8, u32)) -> bool {
    answer.0 == BAD_TARGET || lun_missing(answer)
}

fn lun_missing((response, status, sense): (u8, u8, u32)) -> bool {
    response == 0 && status == 2 && sense == NO_LUN
}
