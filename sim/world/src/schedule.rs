//! When each actor can go, and who goes next.
//!
//! Three questions are asked of it: when can the first one go, who is that, and who can go by a time. The plain
//! search through all actors (`plain`) says what the answers are, and gives them in worlds of more than 128 actors;
//! smaller ones have a faster one (`small`), which a test compares with it.
//!
//! Knows numbers and times, not what an actor is. Among equals the next one round the table goes first, so that
//! nobody who is always ready starves another.

mod plain;
mod small;

use scenarios::Time;

use plain::Plain;
use small::{SMALL, Small};
use wire::Rng;
use wire::component::{ACTORS_MAX, When};

/// When each actor can take its next turn.
#[derive(Clone, Debug)]
pub struct Schedule(Table);

#[derive(Clone, Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "the usual one is asked at every turn, and stands in place"
)]
enum Table {
    Small(Small),
    Large(Plain),
}

impl Default for Schedule {
    fn default() -> Self {
        Self(Table::Small(Small::default()))
    }
}

impl Schedule {
    /// Adds `actors` blocked actors and returns the number of the first.
    ///
    /// # Panics
    ///
    /// If there would be more than [`ACTORS_MAX`]: no [`wire::ActorId`] could name them.
    pub fn add(&mut self, actors: usize) -> usize {
        let first = self.actors();
        let all = first + actors;
        assert!(all <= ACTORS_MAX, "{all} actors, at most {ACTORS_MAX}");
        if let Table::Small(small) = &self.0
            && all > SMALL
        {
            let mut large = Plain::default();
            large.add(first);
            for actor in 0..first {
                large.set(actor, small.ready(actor).map_or(When::Blocked, When::At));
            }
            large.went(small.last());
            self.0 = Table::Large(large);
        }
        match &mut self.0 {
            Table::Small(small) => small.add(actors),
            Table::Large(large) => large.add(actors),
        }
        first
    }

    /// Actors in use.
    #[must_use]
    pub fn actors(&self) -> usize {
        match &self.0 {
            Table::Small(small) => small.actors(),
            Table::Large(large) => large.actors(),
        }
    }

    /// Says when `actor` can take its next turn.
    #[inline]
    pub fn set(&mut self, actor: usize, when: When) {
        match &mut self.0 {
            Table::Small(small) => small.set(actor, when),
            Table::Large(large) => large.set(actor, when),
        }
    }

    /// When the next turn can be taken; `None` if all are blocked.
    #[inline]
    #[must_use]
    pub fn soonest(&mut self) -> Option<Time> {
        match &mut self.0 {
            Table::Small(small) => small.soonest(),
            Table::Large(large) => large.soonest(),
        }
    }

    /// The next one round the table that has been ready since `first`, the soonest of all times.
    #[inline]
    #[must_use]
    pub fn next_at(&self, first: Time) -> Option<usize> {
        match &self.0 {
            Table::Small(small) => small.next_at(first),
            Table::Large(large) => large.next_at(first),
        }
    }

    /// Since when an actor has been ready; `None` if it is blocked, or there is none.
    #[must_use]
    pub fn ready(&self, actor: usize) -> Option<Time> {
        match &self.0 {
            Table::Small(small) => small.ready(actor),
            Table::Large(large) => large.ready(actor),
        }
    }

    /// Any actor that is ready by `horizon`, each as likely, and the time it has been ready since; `None` if
    /// there is none.
    #[inline]
    pub fn any_until(&mut self, horizon: Time, rng: &mut Rng) -> Option<(usize, Time)> {
        match &mut self.0 {
            Table::Small(small) => small.any_until(horizon, rng),
            Table::Large(large) => large.any_until(horizon, rng),
        }
    }

    /// Notes that `actor` goes.
    pub fn went(&mut self, actor: usize) {
        match &mut self.0 {
            Table::Small(small) => small.went(actor),
            Table::Large(large) => large.went(actor),
        }
    }

    /// The one that remembers something, which could be wrong.
    pub(super) fn small(&self) -> Option<&Small> {
        match &self.0 {
            Table::Small(small) => Some(small),
            Table::Large(_) => None,
        }
    }

    pub(super) fn unknown_last(&self) -> Option<String> {
        let (last, actors) = match &self.0 {
            Table::Small(small) => (small.last(), small.actors()),
            Table::Large(large) => (large.last(), large.actors()),
        };
        (last >= actors.max(1)).then(|| format!("it is {last} of {actors}"))
    }

    /// Spoils it so that a certain invariant is broken.
    #[cfg(test)]
    pub(super) fn spoil(&mut self, invariant: &str) {
        match &mut self.0 {
            Table::Small(small) => small.spoil(invariant),
            Table::Large(_) => panic!("nothing is remembered of so many actors"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::plain::Plain;
    use super::*;

    fn earliest(schedule: &mut Schedule) -> Option<(usize, Time)> {
        let first = schedule.soonest()?;
        Some((schedule.next_at(first)?, first))
    }

    #[test]
    fn equals_take_turns() {
        let mut schedule = Schedule::default();
        schedule.add(3);
        schedule.set(0, When::At(Time(1)));
        schedule.set(1, When::At(Time(1)));
        let mut order = Vec::new();
        for _ in 0..4 {
            let (actor, _) = earliest(&mut schedule).expect("two are ready");
            schedule.went(actor);
            order.push(actor);
        }
        assert_eq!(order, [1, 0, 1, 0]);
    }

    #[test]
    fn nobody_goes_when_all_are_blocked() {
        let mut schedule = Schedule::default();
        assert_eq!(earliest(&mut schedule), None);
        schedule.add(9);
        assert_eq!(earliest(&mut schedule), None);
        assert_eq!((schedule.ready(3), schedule.ready(99)), (None, None));
    }

    #[test]
    fn it_answers_as_a_plain_search_does_in_worlds_of_any_size() {
        for actors in [1, 7, 8, 40, 64, 128, 129, 700] {
            for blocked_of_8 in [1, 4, 7] {
                for asks_within in [false, true] {
                    compared(actors, blocked_of_8, asks_within);
                }
            }
        }
    }

    fn compared(actors: u32, blocked_of_8: u32, asks_within: bool) {
        let mut rng = Rng::new(5, wire::Stream::Directed);
        let (mut schedule, mut plain) = (Schedule::default(), Plain::default());
        // In two parts, as a world gets its guests one by one.
        for part in [actors / 2, actors - actors / 2] {
            assert_eq!(schedule.add(part as usize), plain.actors());
            plain.add(part as usize);
        }
        let mut horizon = Time(0);
        for turn in 0..2000 {
            let actor = rng.below(actors) as usize;
            let when = match rng.below(8) < blocked_of_8 {
                true => When::Blocked,
                false => When::At(Time(rng.below(20).into())),
            };
            schedule.set(actor, when);
            plain.set(actor, when);
            assert_eq!(schedule.ready(actor), plain.ready(actor));
            if asks_within {
                if rng.chance(1, 5) {
                    horizon = Time(rng.below(22).into());
                }
                let mut same = rng.clone();
                let any = schedule.any_until(horizon, &mut rng);
                assert_eq!(any, plain.any_until(horizon, &mut same));
            }
            if turn % 3 == 0 || !asks_within {
                assert_eq!(schedule.soonest(), plain.soonest());
                let next = plain.soonest().and_then(|first| plain.next_at(first));
                assert_eq!(earliest(&mut schedule).map(|(actor, _)| actor), next);
                if let Some(actor) = next {
                    schedule.went(actor);
                    plain.went(actor);
                }
            }
            if turn % 100 == 0 {
                schedule = schedule.clone();
            }
        }
    }
}
