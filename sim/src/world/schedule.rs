//! When each actor can go, and the earliest of them.
//!
//! Knows numbers and times, not what an actor is. Among equals the next one round the table is the
//! earliest, so that nobody who is always ready starves another.

use scenarios::Time;

use crate::dice::Dice;
use crate::end::{ACTORS_MAX, When};

/// When each actor can take its next turn.
#[derive(Clone, Debug)]
pub struct Schedule {
    /// `Time::NEVER.0` for a blocked actor.
    ready: [u64; ACTORS_MAX],
    /// Actors in use: 0 up to this.
    count: usize,
    /// Who went last.
    last: usize,
}

impl Default for Schedule {
    fn default() -> Self {
        Self {
            ready: [Time::NEVER.0; ACTORS_MAX],
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
        self.ready[actor] = match when {
            When::Blocked => Time::NEVER.0,
            When::At(time) => time.0,
        };
    }

    /// The actor that goes next, and the time it has been ready since; `None` if all are blocked.
    #[must_use]
    pub fn earliest(&self) -> Option<(usize, Time)> {
        let ready = &self.ready[..self.count];
        let first = ready.iter().copied().min()?;
        if first == Time::NEVER.0 {
            return None;
        }
        let after = self.last + 1;
        let tail = ready
            .iter()
            .skip(after)
            .position(|time| *time == first)
            .map(|n| n + after);
        let actor = tail.or_else(|| ready.iter().position(|time| *time == first))?;
        Some((actor, Time(first)))
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
    fn nobody_goes_when_all_are_blocked() {
        assert_eq!(schedule(&[When::Blocked, When::Blocked]).earliest(), None);
        assert_eq!(Schedule::default().earliest(), None);
    }
}
