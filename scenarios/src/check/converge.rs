//! I8 and V3: when nothing moves any more, sessions have what their controller has, and guests see it.
//!
//! # Waived differences
//!
//! Even a right target and a stock Linux guest can end with different disks, for reasons that nobody in
//! the run can mend. They are a closed list; anything else is a violation.
//!
//! | cause | what shows it |
//! |---|---|
//! | `no_hotplug` | the session had not negotiated HOTPLUG when the slot moved |
//! | `session_paused` | the slot moved while the guest's session did not run, or was stopping or starting |
//! | `event_dropped` | an event of that slot was dropped (head only) |
//! | `stale_identity` | a RESCAN found an old object of the disk, which is no use |
//! | `guest_reordered` | REMOVED then RESCAN were sent, and the disk went after the RESCAN |

use std::collections::{BTreeMap, BTreeSet};

use super::CheckId;
use super::tally::Tally;
use crate::names::{ControllerId, Place, VmId};
use crate::observation::{EventKind, GuestDisk, Inside, Observation, Seen, SlotState};
use crate::time::Time;

/// What is known of a place, for one guest, since that last scanned everything.
#[derive(Clone, Copy, Debug, Default)]
struct History {
    dropped: bool,
    /// The last event but one, the last one, and when that was sent.
    events: [Option<EventKind>; 2],
    event_at: Time,
    vanished_at: Time,
    stale: bool,
    no_hotplug: bool,
    paused: bool,
}

#[derive(Clone, Debug, Default)]
struct Session {
    /// Whose it is; `None`: of all that have the controller.
    vm: Option<VmId>,
    /// The devices with which it is about to start for the first time.
    found: Vec<(Place, u32)>,
    running: bool,
    hotplug: bool,
    slots: BTreeMap<Place, (SlotState, u32)>,
}

/// Where everybody stands.
#[derive(Clone, Debug)]
pub struct Converge {
    vms: Vec<(VmId, Vec<ControllerId>)>,
    events_may_drop: bool,
    running: BTreeSet<VmId>,
    disks: BTreeSet<(VmId, Place)>,
    slots: BTreeMap<Place, (SlotState, u32)>,
    sessions: BTreeMap<(ControllerId, u32), Session>,
    history: BTreeMap<(VmId, Place), History>,
    /// Changes that a running session was to be told and has not been yet.
    untold: BTreeSet<((ControllerId, u32), Place)>,
    /// The device that each running session was last told of, by its slot or by an event.
    told: BTreeMap<((ControllerId, u32), Place), u32>,
    /// The same of the sessions that each guest had: it may go on, on another connection.
    was_told: BTreeMap<(VmId, Place), u32>,
    /// Guests whose next session with HOTPLUG is the one that scans.
    booting: BTreeSet<(VmId, ControllerId)>,
    /// Whose each connection is.
    conns: BTreeMap<u32, VmId>,
    died: bool,
}

impl Converge {
    /// Nothing is attached.
    #[must_use]
    pub fn new(vms: Vec<(VmId, Vec<ControllerId>)>, events_may_drop: bool) -> Self {
        Self {
            vms,
            events_may_drop,
            running: BTreeSet::new(),
            disks: BTreeSet::new(),
            slots: BTreeMap::new(),
            sessions: BTreeMap::new(),
            history: BTreeMap::new(),
            untold: BTreeSet::new(),
            told: BTreeMap::new(),
            was_told: BTreeMap::new(),
            booting: BTreeSet::new(),
            conns: BTreeMap::new(),
            died: false,
        }
    }

    /// Takes an observation.
    pub fn see(&mut self, seen: &Seen, tally: &mut Tally) {
        match &seen.what {
            Observation::VmReady { vm, .. } => {
                self.running.insert(*vm);
                // One that never started a session with HOTPLUG has scanned all the same.
                let booting = std::mem::take(&mut self.booting);
                for (whose, controller) in booting {
                    if whose == *vm {
                        self.forget_history(*vm, controller);
                    } else {
                        self.booting.insert((whose, controller));
                    }
                }
            }
            Observation::Connected {
                vm,
                controller,
                conn,
            } => {
                self.conns.insert(*conn, *vm);
                // One that runs connects anew, and scans nothing.
                if !self.running.contains(vm) {
                    self.booting.insert((*vm, *controller));
                }
            }
            Observation::VmDown { vm } => {
                self.running.remove(vm);
                self.disks.retain(|(whose, _)| whose != vm);
                let mine = self.vms.iter().filter(|(whose, _)| whose == vm);
                let mine = mine.flat_map(|(_, all)| all.iter().map(|of| (*vm, *of)));
                self.booting.extend(mine);
            }
            Observation::DiskAppeared(GuestDisk { vm, place, .. }) => {
                self.disks.insert((*vm, *place));
                self.history.entry((*vm, *place)).or_default().stale = false;
            }
            Observation::DiskVanished(GuestDisk { vm, place, .. }) => {
                self.disks.remove(&(*vm, *place));
                self.history.entry((*vm, *place)).or_default().vanished_at = seen.at;
            }
            Observation::StaleDisk(GuestDisk { vm, place, .. }) => {
                self.history.entry((*vm, *place)).or_default().stale = true;
            }
            Observation::Inside(inside) => self.inside(inside, seen.at),
            Observation::Crashed { who, .. } if who == "target" => self.died = true,
            Observation::Quiet { settled: true, .. } if !self.died => self.quiet(seen.at, tally),
            Observation::Answered { .. }
            | Observation::Alive { .. }
            | Observation::DisksListed { .. }
            | Observation::FioEnded { .. }
            | Observation::Quiet { .. }
            | Observation::Crashed { .. }
            | Observation::IoSubmitted(_)
            | Observation::IoDone { .. }
            | Observation::Attached { .. }
            | Observation::Broken { .. } => {}
        }
    }

    /// A guest scans a controller: what was missed before is seen.
    fn forget_history(&mut self, vm: VmId, controller: ControllerId) {
        let mine = |whose: VmId, place: Place| whose == vm && place.controller == controller;
        self.history
            .retain(|(whose, place), _| !mine(*whose, *place));
    }

    /// The guests that have a controller.
    fn guests(&self, controller: ControllerId) -> impl Iterator<Item = VmId> {
        let have = self
            .vms
            .iter()
            .filter(move |(_, all)| all.contains(&controller));
        have.map(|(vm, _)| *vm)
    }

    /// The guests whose a session is.
    fn guests_of(&self, controller: ControllerId, session: u32) -> Vec<VmId> {
        let session = self.sessions.get(&(controller, session));
        match session.and_then(|session| session.vm) {
            Some(vm) => vec![vm],
            None => self.guests(controller).collect(),
        }
    }

    /// Whether a session of this guest runs on a controller.
    fn is_told(&self, vm: VmId, controller: ControllerId) -> bool {
        let mut sessions = self.sessions.iter();
        sessions.any(|((of, _), session)| {
            *of == controller && session.running && session.vm.is_none_or(|whose| whose == vm)
        })
    }

    fn inside(&mut self, inside: &Inside, at: Time) {
        match *inside {
            Inside::Slot {
                place,
                session: None,
                to,
                device,
                ..
            } => self.moved(place, (to, device)),
            Inside::Slot {
                place,
                session: Some(session),
                from,
                to,
                device,
            } => self.session_moved(place, session, from, (to, device)),
            Inside::SessionStarted {
                controller,
                session,
                conn,
                hotplug,
                ..
            } => self.started((controller, session), conn, hotplug),
            Inside::SessionStopped {
                controller,
                session,
            } => {
                let of = (controller, session);
                self.sessions.entry(of).or_default().running = false;
                let untold = std::mem::take(&mut self.untold);
                for (whose, place) in untold {
                    if whose == of {
                        self.paused(of, place);
                    } else {
                        self.untold.insert((whose, place));
                    }
                }
            }
            Inside::SessionClosed {
                controller,
                session,
            } => {
                self.closed((controller, session));
            }
            Inside::Event {
                controller,
                session,
                target,
                kind,
                delivered,
                ..
            } => {
                let place = Place { controller, target };
                self.untold.remove(&((controller, session), place));
                for vm in self.guests_of(controller, session) {
                    let place = (vm, place);
                    let history = self.history.entry(place).or_default();
                    // What is delivered tells of everything that was dropped before.
                    history.dropped = !delivered;
                    history.events = [history.events[1], Some(kind)];
                    history.event_at = at;
                }
            }
            Inside::RpcTook { .. }
            | Inside::RemoveAnswered { .. }
            | Inside::LunGoing { .. }
            | Inside::LunClosed { .. } => {}
        }
    }

    /// What a session was told, its guest knows.
    fn closed(&mut self, of: (ControllerId, u32)) {
        let vm = self.sessions.remove(&of).and_then(|session| session.vm);
        let told = std::mem::take(&mut self.told);
        for ((whose, place), device) in told {
            if whose != of {
                self.told.insert((whose, place), device);
            } else if let Some(vm) = vm {
                self.was_told.insert((vm, place), device);
            }
        }
    }

    fn started(&mut self, of: (ControllerId, u32), conn: u32, hotplug: bool) {
        let vm = self.conns.get(&conn).copied();
        let session = self.sessions.entry(of).or_default();
        (session.vm, session.running, session.hotplug) = (vm, true, hotplug);
        for (place, device) in std::mem::take(&mut session.found) {
            let before = vm.and_then(|vm| self.was_told.get(&(vm, place)));
            if before != Some(&device) {
                self.paused(of, place);
            }
        }
        if let Some(vm) = vm
            && hotplug
            && self.booting.remove(&(vm, of.0))
        {
            self.forget_history(vm, of.0);
        }
    }

    /// A slot of a controller moved.
    fn moved(&mut self, place: Place, slot: (SlotState, u32)) {
        self.slots.insert(place, slot);
        let untold: Vec<VmId> = self
            .guests(place.controller)
            .filter(|vm| !self.is_told(*vm, place.controller))
            .collect();
        for vm in untold {
            self.history.entry((vm, place)).or_default().paused = true;
        }
    }

    /// A slot of a session moved.
    fn session_moved(
        &mut self,
        place: Place,
        session: u32,
        from: SlotState,
        slot: (SlotState, u32),
    ) {
        let of = (place.controller, session);
        let session = self.sessions.entry(of).or_default();
        session.slots.insert(place, slot);
        let running = session.running;
        if slot.0 == SlotState::Present {
            let before = self.told.insert((of, place), slot.1);
            if !running && session.vm.is_none() {
                // Whose it is, is known when it has started.
                session.found.push((place, slot.1));
            } else if !running && before != Some(slot.1) {
                // It starts with a device that the guest has not been told of.
                self.paused(of, place);
            }
        } else {
            session.found.retain(|(at, _)| *at != place);
        }
        let session = self.sessions.entry(of).or_default();
        if session.running && !session.hotplug {
            for vm in self.guests_of(of.0, of.1) {
                self.history.entry((vm, place)).or_default().no_hotplug = true;
            }
        } else if session.running && matches!(slot.0, SlotState::Present | SlotState::Removing) {
            self.untold.insert((of, place));
        }
        // A stop empties the slot; what is being removed meanwhile is not there when it starts again.
        let there = self.slots.get(&place).map(|(state, _)| *state);
        if (from, slot.0) == (SlotState::Present, SlotState::Empty)
            && there != Some(SlotState::Present)
        {
            self.paused(of, place);
        }
    }

    /// The guests of a session are not told of a change, because the session stops.
    fn paused(&mut self, (controller, session): (ControllerId, u32), place: Place) {
        for vm in self.guests_of(controller, session) {
            self.history.entry((vm, place)).or_default().paused = true;
        }
    }

    fn quiet(&self, at: Time, tally: &mut Tally) {
        let running = self.sessions.iter().filter(|(_, session)| session.running);
        for ((controller, id), session) in running {
            tally.count(CheckId::I8);
            let mine: BTreeSet<Place> = session.slots.keys().copied().collect();
            let theirs = self
                .slots
                .keys()
                .copied()
                .filter(|place| place.controller == *controller);
            for place in mine.into_iter().chain(theirs) {
                let here = present(session.slots.get(&place));
                let there = present(self.slots.get(&place));
                if here != there {
                    let expected = format!("session {id} to have the controller's targets");
                    let seen = format!("{place}: device {here:?}, the controller's {there:?}");
                    tally.violated(CheckId::I8, at, expected, seen);
                }
            }
        }
        for (vm, controllers) in self.vms.iter().filter(|(vm, _)| self.running.contains(vm)) {
            tally.count(CheckId::V3);
            let has: BTreeSet<Place> = self
                .disks
                .iter()
                .filter(|(whose, _)| whose == vm)
                .map(|(_, place)| *place)
                .collect();
            let should: BTreeSet<Place> = (self.slots.iter())
                .filter(|(place, slot)| {
                    controllers.contains(&place.controller) && present(Some(*slot)).is_some()
                })
                .map(|(place, _)| *place)
                .collect();
            for place in has.symmetric_difference(&should) {
                self.differs(*vm, *place, has.contains(place), at, tally);
            }
        }
    }

    /// A guest has a disk that the target has not, or the reverse.
    fn differs(&self, vm: VmId, place: Place, has: bool, at: Time, tally: &mut Tally) {
        let history = self.history.get(&(vm, place)).copied().unwrap_or_default();
        let overtook = history.events == [Some(EventKind::Removed), Some(EventKind::Rescan)]
            && history.vanished_at >= history.event_at;
        let cause = if history.dropped && self.events_may_drop {
            "event_dropped"
        } else if history.no_hotplug {
            "no_hotplug"
        } else if history.paused {
            "session_paused"
        } else if overtook && !has {
            "guest_reordered"
        } else if history.stale && !has {
            "stale_identity"
        } else {
            let seen = match has {
                true => format!("{vm} has a disk at {place} that the target has not"),
                false => format!("{vm} has no disk at {place}, and the target has"),
            };
            let expected = format!("{vm} to have the disks of its controllers");
            tally.violated(CheckId::V3, at, expected, seen);
            return;
        };
        tally.waived(CheckId::V3, cause);
    }
}

/// The device in a slot that is PRESENT.
fn present(slot: Option<&(SlotState, u32)>) -> Option<u32> {
    slot.filter(|(state, _)| *state == SlotState::Present)
        .map(|(_, device)| *device)
}
