//! A choice of a strategy, and what must hold of it before it is followed.

use scenarios::Time;

use wire::invariant::Invariant;

/// What a strategy chose, with what it chose from.
#[derive(Clone, Copy, Debug)]
pub struct Picked {
    /// Who goes.
    pub actor: usize,
    /// Since when it has been ready, as the strategy says.
    pub since: Time,
    /// Since when it has been ready, as the schedule says; `None`: it is blocked.
    pub ready: Option<Time>,
    /// When the first of all is ready, if the strategy has to take that one.
    pub soonest: Option<Time>,
    /// Actors that there are.
    pub actors: usize,
    /// No turn is later than this.
    pub limit: Time,
}

pub static PICKED: [Invariant<Picked>; 4] = [
    Invariant {
        name: "who_is_picked_exists",
        says: "A strategy picks an actor that there is.",
        broken: |picked| {
            let exists = picked.actor < picked.actors;
            (!exists).then(|| format!("it is {picked:?}"))
        },
    },
    Invariant {
        name: "who_is_picked_is_ready",
        says: "A strategy picks an actor that is not blocked, and knows since when.",
        broken: |picked| {
            let is_ready = picked.ready == Some(picked.since);
            (!is_ready).then(|| format!("it is {picked:?}"))
        },
    },
    Invariant {
        name: "no_turn_is_after_the_limit",
        says: "Nobody goes who is ready only after the limit.",
        broken: |picked| {
            let is_late = picked.since > picked.limit;
            is_late.then(|| format!("it is {picked:?}"))
        },
    },
    Invariant {
        name: "a_timed_schedule_takes_the_earliest",
        says: "Nobody is ready sooner than whom a timed schedule picks.",
        broken: |picked| {
            let soonest = picked.soonest?;
            (soonest < picked.since).then(|| format!("it is {picked:?}"))
        },
    },
];
