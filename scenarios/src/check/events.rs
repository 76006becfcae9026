//! I7, G7, G8: one event for each change, at the right time, to sessions that want it.

use std::collections::BTreeMap;

use super::CheckId;
use super::tally::Tally;
use crate::names::{ControllerId, TargetId};
use crate::observation::{EventKind, Inside, Observation, Seen, SlotState};
use crate::time::Time;

/// A session, by controller.
type Session = (ControllerId, u32);

#[derive(Clone, Copy, Debug)]
struct Started {
    hotplug: bool,
    eventq: bool,
}

/// What sessions should have been told.
#[derive(Clone, Debug)]
pub struct Events {
    may_drop: bool,
    started: BTreeMap<Session, Started>,
    states: BTreeMap<(Session, TargetId), SlotState>,
    /// Changes whose event has not been seen.
    due: BTreeMap<(Session, TargetId), EventKind>,
    /// Sessions that lost an event and have not been told so.
    unsaid: BTreeMap<Session, Time>,
}

impl Events {
    /// Nothing is due. `may_drop`: lost events are waived, not violations.
    #[must_use]
    pub fn new(may_drop: bool) -> Self {
        let (started, states) = (BTreeMap::new(), BTreeMap::new());
        Self {
            may_drop,
            started,
            states,
            due: BTreeMap::new(),
            unsaid: BTreeMap::new(),
        }
    }

    /// Takes an observation.
    pub fn see(&mut self, seen: &Seen, tally: &mut Tally) {
        match &seen.what {
            Observation::Inside(inside) => self.inside(inside, seen.at, tally),
            Observation::Quiet { .. } => self.quiet(seen.at, tally),
            Observation::Answered { .. }
            | Observation::VmReady { .. }
            | Observation::Connected { .. }
            | Observation::VmDown { .. }
            | Observation::Alive { .. }
            | Observation::DiskAppeared(_)
            | Observation::DiskVanished(_)
            | Observation::StaleDisk(_)
            | Observation::DisksListed { .. }
            | Observation::FioEnded { .. }
            | Observation::Crashed { .. }
            | Observation::IoSubmitted(_)
            | Observation::IoDone { .. }
            | Observation::Attached { .. }
            | Observation::Broken { .. } => {}
        }
    }

    fn inside(&mut self, inside: &Inside, at: Time, tally: &mut Tally) {
        match *inside {
            Inside::SessionStarted {
                controller,
                session,
                hotplug,
                eventq,
                ..
            } => {
                self.started
                    .insert((controller, session), Started { hotplug, eventq });
            }
            Inside::SessionStopped {
                controller,
                session,
            }
            | Inside::SessionClosed {
                controller,
                session,
            } => {
                let whose = (controller, session);
                self.started.remove(&whose);
                self.due.retain(|(session, _), _| *session != whose);
                self.unsaid.remove(&whose);
            }
            Inside::Slot {
                place,
                session: Some(session),
                to,
                ..
            } => {
                let whose = ((place.controller, session), place.target);
                self.states.insert(whose, to);
                self.changed(whose, to, at, tally);
            }
            Inside::Event {
                controller,
                session,
                target,
                kind,
                delivered,
                missed,
            } => {
                let whose = (controller, session);
                self.event((whose, target), kind, (delivered, missed), at, tally);
            }
            Inside::Slot { .. }
            | Inside::RpcTook { .. }
            | Inside::RemoveAnswered { .. }
            | Inside::LunGoing { .. }
            | Inside::LunClosed { .. } => {}
        }
    }

    /// A slot of a session moved: a started one with HOTPLUG is to be told.
    fn changed(&mut self, whose: (Session, TargetId), to: SlotState, at: Time, tally: &mut Tally) {
        tally.count(CheckId::G7);
        let kind = match to {
            SlotState::Present => EventKind::Rescan,
            SlotState::Removing => EventKind::Removed,
            SlotState::Empty | SlotState::Adding | SlotState::Removed => return,
        };
        if self
            .started
            .get(&whose.0)
            .is_some_and(|session| session.hotplug)
            && let Some(untold) = self.due.insert(whose, kind)
        {
            self.untold(whose, untold, at, tally);
        }
    }

    fn event(
        &mut self,
        whose: (Session, TargetId),
        kind: EventKind,
        (delivered, missed): (bool, bool),
        at: Time,
        tally: &mut Tally,
    ) {
        let ((controller, session), target) = whose;
        let what = || {
            format!(
                "{kind:?} for {controller} target {} in session {session}",
                target.0
            )
        };
        tally.count(CheckId::G7);
        let started = self.started.get(&whose.0).copied();
        if delivered && kind != EventKind::CapacityChanged {
            let wanted = started.is_some_and(|session| session.hotplug && session.eventq);
            if !wanted {
                let expected = "events only to a session with HOTPLUG and an event queue";
                tally.violated(CheckId::G7, at, expected, what());
            }
        }
        if missed {
            self.unsaid.remove(&whose.0);
        }
        // Who has no event queue cannot be told that he missed something.
        if !delivered && started.is_none_or(|session| session.eventq) {
            self.unsaid.entry(whose.0).or_insert(at);
        }
        let (before, word) = match kind {
            EventKind::Rescan => (SlotState::Present, "PRESENT"),
            EventKind::Removed => (SlotState::Removing, "REMOVING"),
            EventKind::CapacityChanged | EventKind::Missed => return,
        };
        tally.count(CheckId::G8);
        let state = self.states.get(&whose).copied().unwrap_or(SlotState::Empty);
        if state != before {
            let expected = format!("a slot that is {word} before its event is sent");
            tally.violated(
                CheckId::G8,
                at,
                expected,
                format!("{} while {state:?}", what()),
            );
        }
        tally.count(CheckId::I7);
        if self.due.get(&whose) == Some(&kind) {
            self.due.remove(&whose);
        } else {
            tally.violated(
                CheckId::I7,
                at,
                "one event a change",
                format!("{}, of no change", what()),
            );
        }
    }

    fn untold(&self, whose: (Session, TargetId), kind: EventKind, at: Time, tally: &mut Tally) {
        let ((controller, session), target) = whose;
        let what = format!(
            "{kind:?} of {controller} target {}, session {session}",
            target.0
        );
        tally.violated(
            CheckId::I7,
            at,
            "an event for each change",
            format!("none: {what}"),
        );
    }

    fn quiet(&mut self, at: Time, tally: &mut Tally) {
        if let Some((whose, kind)) = self.due.first_key_value() {
            self.untold(*whose, *kind, at, tally);
        }
        if self.may_drop && !self.unsaid.is_empty() {
            tally.waived(CheckId::I7, "event_dropped");
        } else if let Some(((controller, session), _)) = self.unsaid.first_key_value() {
            let expected = "EVENTS_MISSED after an event was lost";
            let what = format!("none to session {session} of {controller}");
            tally.violated(CheckId::I7, at, expected, what);
        }
    }
}
