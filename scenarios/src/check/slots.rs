//! I4, I6, I10, I18: how slots move, in the controller's view and in each session's.

use std::collections::BTreeMap;

use super::CheckId;
use super::tally::Tally;
use crate::names::{ControllerId, Place};
use crate::observation::{Inside, Observation, Seen, SlotState};
use crate::time::Time;

/// A slot: whose view, and where.
type Slot = (Place, Option<u32>);

/// Where all slots stand.
#[derive(Clone, Debug, Default)]
pub struct Slots {
    known: BTreeMap<Slot, (SlotState, u32)>,
}

/// Whether SPDK's table has this movement in the controller's view (`vhost_scsi.c`).
fn controller_may(from: SlotState, to: SlotState) -> bool {
    use SlotState::{Adding, Empty, Present, Removing};
    matches!(
        (from, to),
        // Empty to Present at once: the controller's socket is not up yet.
        (Empty, Adding | Present)
            | (Adding, Present | Empty)
            | (Present, Removing)
            | (Removing, Empty)
    )
}

/// Whether the table has this movement in a session's view.
fn session_may(from: SlotState, to: SlotState) -> bool {
    use SlotState::{Empty, Present, Removed, Removing};
    matches!(
        (from, to),
        (Empty | Removed, Present)
            | (Present, Removing)
            | (Removing, Removed)
            // A stop.
            | (Present | Removing | Removed, Empty)
    )
}

impl Slots {
    /// Takes an observation.
    pub fn see(&mut self, seen: &Seen, tally: &mut Tally) {
        let Observation::Inside(inside) = &seen.what else {
            return;
        };
        match inside {
            Inside::Slot {
                place,
                session,
                from,
                to,
                device,
            } => {
                self.moved((*place, *session), (*from, *to), *device, seen.at, tally);
            }
            Inside::SessionStarted {
                controller,
                session,
                ..
            } => {
                tally.count(CheckId::I10);
                // Targets that it found at its start are PRESENT; nothing else may be left.
                self.expect_states(
                    (*controller, *session),
                    &[SlotState::Empty, SlotState::Present],
                    "a session that starts with no tombstone and no removal",
                    seen.at,
                    tally,
                );
            }
            Inside::SessionStopped {
                controller,
                session,
            } => {
                tally.count(CheckId::I10);
                let expected = "a stopped session with EMPTY slots";
                let states = [SlotState::Empty];
                self.expect_states((*controller, *session), &states, expected, seen.at, tally);
            }
            Inside::RemoveAnswered {
                place,
                device,
                referrers,
                ..
            } => {
                self.remove_answered((*place, *device), *referrers, seen.at, tally);
            }
            Inside::LunClosed { device, references } => {
                tally.count(CheckId::I4);
                if *references > 0 {
                    let left = format!("{references} references left of device {device}");
                    let expected = "no io-channel reference of a closed LUN";
                    tally.violated(CheckId::I4, seen.at, expected, left);
                }
            }
            Inside::SessionClosed {
                controller,
                session,
            } => {
                self.known.retain(|(place, whose), _| {
                    place.controller != *controller || *whose != Some(*session)
                });
            }
            Inside::Event { .. } | Inside::RpcTook { .. } | Inside::LunGoing { .. } => {}
        }
    }

    fn remove_answered(
        &self,
        (place, device): (Place, u32),
        referrers: u8,
        at: Time,
        tally: &mut Tally,
    ) {
        tally.count(CheckId::I6);
        let mine = self.known.iter().filter(|((here, session), (state, dev))| {
            *here == place && session.is_some() && *dev == device && holds(*state)
        });
        let sessions = mine.count().max(usize::from(referrers));
        if sessions > 0 {
            let answer = format!("answered while {sessions} sessions hold {place}");
            let expected = "no session with the device when its remove is answered";
            tally.violated(CheckId::I6, at, expected, answer);
        }
    }

    fn moved(
        &mut self,
        slot: Slot,
        (from, to): (SlotState, SlotState),
        device: u32,
        at: Time,
        tally: &mut Tally,
    ) {
        tally.count(CheckId::I18);
        let (place, session) = slot;
        let known = self
            .known
            .get(&slot)
            .map_or(SlotState::Empty, |(state, _)| *state);
        let may = if session.is_some() {
            session_may(from, to)
        } else {
            controller_may(from, to)
        };
        if !may || known != from {
            let whose = session.map_or("the controller".to_owned(), |id| format!("session {id}"));
            let seen = format!("{place} went from {from:?} to {to:?} in {whose} (was {known:?})");
            tally.violated(CheckId::I18, at, "a movement of the slot table", seen);
        }
        self.known.insert(slot, (to, device));
    }

    fn expect_states(
        &self,
        (controller, session): (ControllerId, u32),
        states: &[SlotState],
        expected: &str,
        at: Time,
        tally: &mut Tally,
    ) {
        let wrong = self.known.iter().find(|((place, whose), (state, _))| {
            place.controller == controller && *whose == Some(session) && !states.contains(state)
        });
        if let Some(((place, _), (state, _))) = wrong {
            tally.violated(CheckId::I10, at, expected, format!("{place} is {state:?}"));
        }
    }
}

/// Whether a session in this state refers to its device.
fn holds(state: SlotState) -> bool {
    matches!(state, SlotState::Present | SlotState::Removing)
}
