//! I9: a request is refused for want of a target or a LUN only if that was not there.
//!
//! BAD_TARGET and LOGICAL UNIT NOT SUPPORTED are right from when a removal of the slot began, or its
//! LUN began to go, and until a target is attached there again. Knows nothing of other errors: what a
//! device makes of a request is the device's.

use std::collections::BTreeMap;

use super::CheckId;
use super::tally::Tally;
use crate::names::Place;
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
    /// When it was last being left.
    left_at: Time,
}

/// Where all slots stand.
#[derive(Clone, Debug, Default)]
pub struct Refusals {
    slots: BTreeMap<Place, Slot>,
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
                for slot in slots.filter(|slot| slot.device == device) {
                    (slot.state, slot.left_at) = (SlotState::Removing, at);
                }
            }
            _ => {}
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
    }

    fn moved(&mut self, place: Place, to: SlotState, device: u32, at: Time) {
        let slot = self.slots.entry(place).or_insert(Slot {
            state: SlotState::Empty,
            device,
            left_at: Time::ZERO,
        });
        (slot.state, slot.device) = (to, device);
        if matches!(to, SlotState::Removing | SlotState::Empty) {
            slot.left_at = at;
        }
    }

    /// Whether there was a target all the time since `submitted`.
    fn was_there(&self, place: Place, submitted: Time) -> bool {
        let slot = self.slots.get(&place);
        slot.is_some_and(|slot| slot.state == SlotState::Present && slot.left_at < submitted)
    }
}

fn is_refusal((response, status, sense): (u8, u8, u32)) -> bool {
    response == BAD_TARGET || (response == 0 && status == 2 && sense == NO_LUN)
}
