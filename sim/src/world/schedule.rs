//! When each actor can go, and the earliest of them.
//!
//! Knows numbers and times, not what an actor is. Among equals the next one round the table is the
//! earliest, so that nobody who is always ready starves another.

use scenarios::Time;

use crate::dice::Dice;
use crate::end::{ACTORS_MAX, When};

/// Actors whose earliest is kept: looking for the next turn looks at groups first.
const GROUP: usize = 8;

/// When each actor can take its next turn.
#[derive(Clone, Debug)]
pub struct Schedule {
    /// `Time::NEVER.0` for a blocked actor.
    ready: [u64; ACTORS_MAX],
    /// The earliest of each group.
    groups: [u64; ACTORS_MAX / GROUP],
    /// Actors in use: 0 up to this.
    count: usize,
    /// Who went last.
    last: usize,
}

impl Default for Schedule {
    fn default() -> Self {
        Self {
            ready: [Time::NEVER.0; ACTORS_MAX],
            groups: [Time::NEVER.0; ACTORS_MAX / GROUP],
            count: 0,
            last: 0,
        }
    }
}

impl Schedule {
    /// Adds `actors` blocked actors and returns the number of the first.
    ///
    /// # Panics
    ///
    /// If there would be more than [`ACTORS_MAX`]: the world is too large for one bit set.
    pub fn add(&mut self, actors: usize) -> usize {
        let first = self.count;
        self.count += actors;
        assert!(
            self.count <= ACTORS_MAX,
            "{} actors, at most {ACTORS_MAX}",
            self.count
        );
        first
    }

    /// Says when `actor` can take its next turn.
    pub fn set(&mut self, actor: usize, when: When) {
        let time = match when {
            When::Blocked => Time::NEVER.0,
            When::At(time) => time.0,
        };
        let before = std::mem::replace(&mut self.ready[actor], time);
        let group = &mut self.groups[actor / GROUP];
        if time <= *group {
            *group = time;
        } else if before == *group {
            let (groups, _) = self.ready.as_chunks::<GROUP>();
            *group = groups[actor / GROUP].iter().copied().fold(time, u64::min);
        }
    }

    /// The actor that goes next, and the time it has been ready since; `None` if all are blocked.
    #[must_use]
    pub fn earliest(&self) -> Option<(usize, Time)> {
        let used = self.count.div_ceil(GROUP);
        let earliest = &self.groups[..used];
        let first = earliest.iter().copied().fold(Time::NEVER.0, u64::min);
        if first == Time::NEVER.0 {
            return None;
        }
        // The first behind the last one that went, or the first of all.
        let mut lowest = None;
        let (groups, _) = self.ready.as_chunks::<GROUP>();
        for (n, group) in groups[..used].iter().enumerate() {
            if earliest[n] != first {
                continue;
            }
            let actors = (n * GROUP..).zip(group);
            for (actor, _) in actors.filter(|(_, time)| **time == first) {
                if actor > self.last {
                    return Some((actor, Time(first)));
                }
                lowest = lowest.or(Some(actor));
            }
        }
        lowest.map(|actor| (actor, Time(first)))
    }

    /// Since when an actor has been ready; `None` if it is blocked, or there is none.
    #[must_use]
    pub fn ready(&self, actor: usize) -> Option<Time> {
        let time = *self.ready[..self.count].get(actor)?;
        (time != Time::NEVER.0).then_some(Time(time))
    }

    /// Any actor that is ready by `horizon`, each as likely, and the time it has been ready since.
    ///
    /// # Panics
    ///
    /// If there is none.
    pub fn any_until(&self, horizon: Time, dice: &mut Dice) -> (usize, Time) {
        let ready = self.ready[..self.count].iter().enumerate();
        let mut among = 0_u128;
        for (actor, time) in ready {
            among |= u128::from(*time <= horizon.0) << actor;
        }
        for _ in 0..dice.below(among.count_ones()) {
            among &= among - 1;
        }
        let actor = among.trailing_zeros() as usize;
        (actor, Time(self.ready[actor]))
    }

    /// Notes that `actor` goes.
    pub fn went(&mut self, actor: usize) {
        self.last = actor;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule(times: &[When]) -> Schedule {
        let mut schedule = Schedule::default();
        schedule.add(times.len());
        times
            .iter()
            .enumerate()
            .for_each(|(actor, when)| schedule.set(actor, *when));
        schedule
    }

    #[test]
    fn the_earliest_goes_first() {
        let schedule = schedule(&[When::At(Time(7)), When::Blocked, When::At(Time(3))]);
        assert_eq!(schedule.earliest(), Some((2, Time(3))));
    }

    #[test]
    fn equals_take_turns() {
        let mut schedule = schedule(&[When::At(Time(1)), When::At(Time(1)), When::Blocked]);
        let mut order = Vec::new();
        for _ in 0..4 {
            let (actor, _) = schedule.earliest().expect("two are ready");
            schedule.went(actor);
            order.push(actor);
        }
        assert_eq!(order, [1, 0, 1, 0]);
    }

    #[test]
    fn the_earliest_is_that_of_a_plain_search() {
        let mut dice = Dice::new(5, 0);
        let mut schedule = schedule(&[When::Blocked; 40]);
        let mut last = 0;
        for _ in 0..20_000 {
            let actor = dice.below(40) as usize;
            let when = match dice.below(4) {
                0 => When::Blocked,
                _ => When::At(Time(dice.below(20).into())),
            };
            schedule.set(actor, when);
            let ready: Vec<_> = (0..40).map(|actor| schedule.ready(actor)).collect();
            let first = ready.iter().flatten().min().copied();
            let plain = first.map(|first| {
                let mut round = (last + 1..40).chain(0..=last);
                let next = round.find(|actor| ready[*actor] == Some(first));
                (next.expect("one of them is the first"), first)
            });
            assert_eq!(schedule.earliest(), plain);
            if let Some((actor, _)) = plain {
                schedule.went(actor);
                last = actor;
            }
        }
    }

    #[test]
    fn nobody_goes_when_all_are_blocked() {
        assert_eq!(schedule(&[When::Blocked, When::Blocked]).earliest(), None);
        assert_eq!(Schedule::default().earliest(), None);
    }
}
