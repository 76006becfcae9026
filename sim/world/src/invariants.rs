//! What must always hold of a world and of its parts, and when that is checked.
//!
//! One table for each thing that is looked at; the ends bring their own ([`wire::Inside::invariants`]). A broken one
//! is a bug of the simulator and panics. In a debug build the end that took a turn is checked after each 31st turn,
//! and all ends after each eighth of these (after each turn a run takes four times as long); in a release build all
//! ends after each 1024th. What is noted of memory is looked at after each 64th check, in a release build each
//! 16th. A test can ask for all but memory after every turn ([`World::check_every_turn`]).

mod picked;

use std::fmt::Debug;
use std::time::Duration;

use scenarios::Time;

use picked::{PICKED, Picked};

use super::frozen::Frozen;
use super::{Schedule, Strategy, TARGET, World};
use vm_memory::GuestMemoryBackend as _;
use wire::component::{ActorId, Component, When};
use wire::dirty::DirtyPages;
use wire::inside::{BackEnd, FrontEnd};
use wire::invariant::{Invariant, Rows, check_all};

/// Turns from one check to the next.
const CHECK_EVERY: u64 = if cfg!(debug_assertions) { 31 } else { 4096 };
/// Of so many checks, one is of everything but memory; the others are of the end that took the turn.
const ALL_OF: u64 = if cfg!(debug_assertions) { 8 } else { 4 };
/// Of so many checks, one is of what is noted of memory too: that takes as long as there is memory.
const MEMORY_OF: u64 = if cfg!(debug_assertions) { 64 } else { 32 };
/// Restores from one check of the restored memory to the next.
const CHECK_RESTORED_EVERY: u64 = if cfg!(debug_assertions) { 64 } else { 1024 };

/// Multiples of it, taken by the number of turns between checks, are spread evenly.
const SPREAD: u64 = 1619;

/// `SPDK_VHOST_SESSION_STOP_RETRY_TIMEOUT_IN_SEC`: no schedule may invent that wait.
const STOP_TIMEOUT: Duration = Duration::from_secs(4);
/// Observations, and answers to RPCs, that nobody has taken: more are a leak.
const UNTAKEN_MAX: usize = 1 << 16;

/// When a world was checked last, and when it will be.
#[derive(Clone, Copy, Debug)]
pub struct Checked {
    now: Time,
    turns: u64,
    /// Checks so far.
    checks: u64,
    /// The turn after which the next one is.
    next: u64,
    every: u64,
    all_of: u64,
}

impl Default for Checked {
    fn default() -> Self {
        Self {
            now: Time::ZERO,
            turns: 0,
            checks: 0,
            next: CHECK_EVERY,
            every: CHECK_EVERY,
            all_of: ALL_OF,
        }
    }
}

impl Schedule {
    /// What must hold of every schedule.
    pub(super) const INVARIANTS: &'static [Invariant<Self>] = &[
        Invariant {
            name: "the_earliest_of_a_group_is_known",
            says: "What is kept as the earliest of a group is its earliest, unless it is marked as stale.",
            broken: |schedule| schedule.small()?.wrong_earliest(),
        },
        Invariant {
            name: "nobody_is_ready_above_the_top",
            says: "No group from the top on has an actor that is ready.",
            broken: |schedule| schedule.small()?.ready_above_top(),
        },
        Invariant {
            name: "nobody_is_ready_who_does_not_exist",
            says: "The last group is filled up with blocked actors.",
            broken: |schedule| schedule.small()?.ready_beyond_count(),
        },
        Invariant {
            name: "who_is_ready_in_time_is_known",
            says: "The set of those that are ready by a time is that of a plain search, and so is its size.",
            broken: |schedule| schedule.small()?.wrong_within(),
        },
        Invariant {
            name: "who_went_last_exists",
            says: "The actor that went last is one of the schedule.",
            broken: Self::unknown_last,
        },
    ];
}

impl Frozen {
    /// What must hold of the frozen content of a memory.
    pub(super) const INVARIANTS: &'static [Invariant<Self>] = &[
        Invariant {
            name: "frozen_pages_ascend",
            says: "The pages of a snapshot are in ascending order, each once, each with its bytes.",
            broken: |frozen| frozen.out_of_order(),
        },
        Invariant {
            name: "frozen_pages_hold_something",
            says: "A snapshot keeps no page of zeroes.",
            broken: |frozen| frozen.empty_page(),
        },
    ];

    /// What must hold of a memory that was just put back.
    pub(super) const RESTORED: &'static [Invariant<Self>] = &[
        Invariant {
            name: "a_restored_page_is_as_it_was",
            says: "Every page that was ever written has the bytes of the snapshot again: the dirty pages covered all writes.",
            broken: |frozen| frozen.different_page(),
        },
        Invariant {
            name: "a_restored_memory_is_clean",
            says: "No page is dirty that was put back.",
            broken: |frozen| frozen.dirty_page(),
        },
    ];
}

impl<T: BackEnd, G: FrontEnd> World<T, G> {
    /// What must hold of every world.
    pub(super) const INVARIANTS: &'static [Invariant<Self>] = &[
        Invariant {
            name: "time_never_goes_back",
            says: "It is not earlier than at the last check.",
            broken: |world| {
                let (before, now) = (world.checked.now, world.now);
                (now < before).then(|| format!("it was {before} and is {now}"))
            },
        },
        Invariant {
            name: "turns_are_counted",
            says: "Not fewer turns were taken than at the last check.",
            broken: |world| {
                let (before, turns) = (world.checked.turns, world.turns);
                (turns < before).then(|| format!("there were {before} and are {turns}"))
            },
        },
        Invariant {
            name: "each_turn_is_in_the_trace_hash_once",
            says: "The trace hash has folded in as many turns as were taken.",
            broken: |world| {
                let (folds, turns) = (world.trace.folds(), world.turns);
                (folds != turns).then(|| format!("it has {folds} of {turns}"))
            },
        },
        Invariant {
            name: "the_order_hash_is_of_turns",
            says: "The order hash has folded in no more turns than were taken.",
            broken: |world| {
                let (folds, turns) = (world.order.folds(), world.turns);
                (folds > turns).then(|| format!("it has {folds} of {turns}"))
            },
        },
        Invariant {
            name: "every_actor_has_an_owner",
            says: "The schedule has the actors of the target, then those of each guest, and no others.",
            broken: |world| world.wrong_owner(),
        },
        Invariant {
            name: "the_schedule_knows_the_target",
            says: "An actor of the target is ready when the target says so, and blocked once that has died.",
            broken: |world| out_of_date(&world.schedule, 0, &world.target, world.died),
        },
        Invariant {
            name: "the_schedule_knows_the_guests",
            says: "An actor of a guest is ready when the guest says so.",
            broken: |world| {
                let mut vms = world.vms.iter();
                vms.find_map(|vm| out_of_date(&world.schedule, vm.first, &vm.guest, false))
            },
        },
        Invariant {
            name: "messages_are_handed_over_at_once",
            says: "What a turn sent is in the other end's queue before the next turn.",
            broken: |world| {
                let (target, guest) = (world.from_target.len(), world.from_guest.len());
                let left = target + guest > 0;
                left.then(|| format!("{target} of the target and {guest} of a guest are left"))
            },
        },
        Invariant {
            name: "a_connection_is_of_a_device",
            says: "The front-end of every connection is a device that there is.",
            broken: |world| world.connection_of_nobody(),
        },
        Invariant {
            name: "both_sides_know_a_connection",
            says: "A device that is connected is the front-end of its connection.",
            broken: |world| world.one_sided_connection(),
        },
        Invariant {
            name: "a_dead_target_has_no_connection",
            says: "All connections are closed once the target has died.",
            broken: |world| {
                let mut devices = world.vms.iter().flat_map(|vm| &vm.devices);
                let device = devices.find(|device| world.died && device.conn.is_some())?;
                Some(format!("{device:?} is connected"))
            },
        },
        Invariant {
            name: "guests_have_names_of_their_own",
            says: "No two guests are the same VM.",
            broken: |world| {
                let mut vms = world.vms.iter().enumerate();
                let twice =
                    vms.find(|(n, vm)| world.vms[..*n].iter().any(|other| other.id == vm.id));
                twice.map(|(_, vm)| format!("there are two {}", vm.id))
            },
        },
        Invariant {
            name: "observations_are_in_order",
            says: "What was seen first stands first, and nothing was seen in the future.",
            broken: |world| world.unordered_observation(),
        },
        Invariant {
            name: "observations_are_taken",
            says: "What was seen and what was answered is taken by somebody.",
            broken: |world| {
                let (seen, answers) = (world.saw.len(), world.rpc.len());
                let piles_up = seen.max(answers) > UNTAKEN_MAX;
                piles_up.then(|| format!("{seen} observations and {answers} answers are not"))
            },
        },
        Invariant {
            name: "an_answer_has_bytes",
            says: "Nothing is handed to an RPC client that is no byte long.",
            broken: |world| {
                let mut answers = world.rpc.iter();
                let (client, _) = answers.find(|(_, bytes)| bytes.is_empty())?;
                Some(format!("{client:?} is handed nothing"))
            },
        },
        Invariant {
            name: "no_schedule_invents_a_stall",
            says: "A random schedule never goes so far ahead that a stop times out.",
            broken: |world| match &world.strategy {
                Strategy::Random { slack, .. } if *slack >= STOP_TIMEOUT.as_nanos() as u64 => {
                    Some(format!("its slack is {slack} ns"))
                }
                Strategy::Random { .. } | Strategy::Timed | Strategy::Replay(_) => None,
            },
        },
        Invariant {
            name: "a_choice_is_of_an_actor",
            says: "No run of recorded choices is empty.",
            broken: |world| match (&world.strategy, &world.choices) {
                (Strategy::Replay(choices), _) | (_, Some(choices)) => choices.empty_run(),
                (Strategy::Timed | Strategy::Random { .. }, None) => None,
            },
        },
        Invariant {
            name: "a_schedule_diverged_in_the_past",
            says: "The turn at which a replay could not be followed was taken.",
            broken: |world| {
                let (turns, diverged) = (world.turns, world.diverged?);
                (diverged > turns).then(|| format!("it is {diverged} of {turns}"))
            },
        },
    ];

    /// Checks everything but memory after every turn from now on: for tests.
    pub fn check_every_turn(&mut self) {
        let next = self.turns;
        let (every, all_of) = (1, 1);
        self.checked = Checked {
            next,
            every,
            all_of,
            ..self.checked
        };
    }

    /// Whether the next turn is one after which something is checked.
    #[inline]
    pub(super) fn is_checked(&self) -> bool {
        self.turns >= self.checked.next
    }

    /// Checks a choice, before it is followed.
    #[cold]
    #[inline(never)]
    pub(super) fn check_pick(&mut self, actor: usize, since: Time, limit: Time) {
        let timed = matches!(self.strategy, Strategy::Timed);
        let picked = Picked {
            actor,
            since,
            ready: self.schedule.ready(actor),
            soonest: self.schedule.soonest().filter(|_| timed),
            actors: self.schedule.actors(),
            limit,
        };
        check_all(&PICKED, &picked);
    }

    /// Checks the end that took a turn, or everything.
    #[cold]
    #[inline(never)]
    pub(super) fn check_turn(&mut self, end: usize) {
        self.checked.checks += 1;
        self.checked.next = self.turns + self.checked.every;
        if self.checked.checks.is_multiple_of(MEMORY_OF) {
            return self.check();
        }
        if self.checked.checks.is_multiple_of(self.checked.all_of) {
            return self.check_all_but_memory();
        }
        match end {
            TARGET if self.died => {}
            TARGET => check_all(T::invariants(), &self.target),
            guest => check_all(G::invariants(), &self.vms[guest - 1].guest),
        }
    }

    /// Checks every invariant of the world, its parts and its ends.
    ///
    /// # Panics
    ///
    /// If one is broken: a bug of the simulator.
    pub fn check(&mut self) {
        self.check_all_but_memory();
        self.each_memory(&mut |memory| {
            for region in memory.iter() {
                check_all(DirtyPages::INVARIANTS, region.get_mmap().bitmap());
            }
        });
    }

    fn check_all_but_memory(&mut self) {
        check_all(Self::INVARIANTS, self);
        check_all(Schedule::INVARIANTS, &self.schedule);
        // A process that has died may have died anywhere.
        if !self.died {
            check_all(T::invariants(), &self.target);
        }
        for vm in &self.vms {
            check_all(G::invariants(), &vm.guest);
        }
        self.note_checked();
    }

    /// Checks a memory that was put back, now and then.
    pub(super) fn check_restored(&mut self, memories: &[Frozen]) {
        self.restores += 1;
        if self.restores.is_multiple_of(CHECK_RESTORED_EVERY) {
            for frozen in memories {
                check_all(Frozen::RESTORED, frozen);
            }
        }
        self.note_checked();
        // Sooner after some restores and later after others: what is short is checked now and then, too.
        let sooner = self.restores.wrapping_mul(SPREAD) % self.checked.every;
        self.checked.next -= sooner;
    }

    fn note_checked(&mut self) {
        (self.checked.now, self.checked.turns) = (self.now, self.turns);
        self.checked.next = self.turns + self.checked.every;
    }

    /// Every invariant of a world, its parts and its ends: name and sentence.
    pub fn invariants() -> impl Iterator<Item = (&'static str, &'static str)> {
        let parts = PICKED.rows().chain(Schedule::INVARIANTS.rows());
        let memory = Frozen::INVARIANTS.rows().chain(Frozen::RESTORED.rows());
        let ends = T::invariants().rows().chain(G::invariants().rows());
        let all = Self::INVARIANTS.rows().chain(parts).chain(memory);
        all.chain(DirtyPages::INVARIANTS.rows()).chain(ends)
    }

    fn wrong_owner(&self) -> Option<String> {
        let counts = self.vms.iter().map(|vm| vm.guest.actors());
        let counts = std::iter::once(self.target.actors()).chain(counts);
        let ends = counts.enumerate();
        let expected = ends.flat_map(|(end, count)| std::iter::repeat_n(end, usize::from(count)));
        let mut first = usize::from(self.target.actors());
        for vm in &self.vms {
            if vm.first != first {
                return Some(format!("{} begins at {}, not at {first}", vm.id, vm.first));
            }
            first += usize::from(vm.guest.actors());
        }
        let agrees = expected.eq(self.owner.iter().copied()) && first == self.schedule.actors();
        let actors = self.schedule.actors();
        (!agrees).then(|| format!("the owners of {actors} actors are {:?}", self.owner))
    }

    fn connection_of_nobody(&self) -> Option<String> {
        let mut conns = self.conns.iter().enumerate();
        let (conn, front_end) = conns.find(|(_, (vm, hba))| {
            let vm = self.vms.get(*vm);
            vm.is_none_or(|vm| vm.devices.len() <= usize::from(hba.0))
        })?;
        Some(format!("connection {conn} is of {front_end:?}"))
    }

    fn one_sided_connection(&self) -> Option<String> {
        for (n, vm) in self.vms.iter().enumerate() {
            for (hba, device) in vm.devices.iter().enumerate() {
                let Some(conn) = device.conn else {
                    continue;
                };
                let of = self.conns.get(conn.0 as usize);
                if of.is_none_or(|(vm, of)| (*vm, usize::from(of.0)) != (n, hba)) {
                    return Some(format!("{}: {device:?} is of {of:?}", vm.id));
                }
            }
        }
        None
    }

    fn unordered_observation(&self) -> Option<String> {
        let late = self.saw.last().filter(|seen| seen.at > self.now);
        let unordered = self.saw.array_windows().find(|[a, b]| a.at > b.at);
        let seen = late.or(unordered.map(|[_, seen]| seen))?;
        Some(format!(
            "at {} was seen at {}: {:?}",
            self.now, seen.at, seen.what
        ))
    }
}

/// An actor of an end of which the schedule knows something else than the end says.
fn out_of_date<C: Component<Turn: Debug>>(
    schedule: &Schedule,
    first: usize,
    end: &C,
    is_dead: bool,
) -> Option<String> {
    (0..end.actors()).find_map(|actor| {
        let says = match end.when(ActorId(actor)) {
            When::At(at) if !is_dead && at != Time::NEVER => Some(at),
            When::At(_) | When::Blocked => None,
        };
        let knows = schedule.ready(first + usize::from(actor));
        let agrees = knows == says;
        (!agrees).then(|| format!("of actor {actor} it says {says:?}, and the schedule {knows:?}"))
    })
}

#[cfg(test)]
mod tests;
