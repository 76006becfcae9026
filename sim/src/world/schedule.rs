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
            *group = least(&groups[actor / GROUP]);
        }
    }

    /// When the next turn can be taken; `None` if all are blocked.
    #[must_use]
    pub fn soonest(&self) -> Option<Time> {
        let first = Time(least(&self.groups[..self.count.div_ceil(GROUP)]));
        (first != Time::NEVER).then_some(first)
    }

    /// The next one round the table that has been ready since `first`, the soonest of all times.
    #[inline]
    #[must_use]
    pub fn next_at(&self, first: Time) -> Option<usize> {
        let (groups, _) = self.ready.as_chunks::<GROUP>();
        let find = |n: usize, from: usize| {
            let ready = groups[n][from..].iter().position(|time| *time == first.0)?;
            Some(n * GROUP + from + ready)
        };
        let (last, next) = (self.last / GROUP, self.last % GROUP + 1);
        if self.groups[last] == first.0
            && let Some(found) = find(last, next)
        {
            return Some(found);
        }
        let mut round = (last + 1..self.count.div_ceil(GROUP)).chain(0..=last);
        let group = round.find(|n| self.groups[*n] == first.0)?;
        find(group, 0)
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
        let (groups, _) = self.ready.as_chunks::<GROUP>();
        let mut among = [0_u8; ACTORS_MAX / GROUP];
        let mut count = 0;
        for n in 0..self.count.div_ceil(GROUP) {
            if self.groups[n] <= horizon.0 {
                among[n] = until(&groups[n], horizon.0);
                count += among[n].count_ones();
            }
        }
        let mut skip = dice.below(count);
        let mut n = 0;
        while skip >= among[n].count_ones() {
            skip -= among[n].count_ones();
            n += 1;
        }
        let mut ready = among[n];
        for _ in 0..skip {
            ready &= ready - 1;
        }
        let actor = n * GROUP + ready.trailing_zeros() as usize;
        (actor, Time(self.ready[actor]))
    }

    /// Notes that `actor` goes.
    pub fn went(&mut self, actor: usize) {
        self.last = actor;
    }
}

/// The least of some times; `Time::NEVER.0` if there is none.
///
/// By its index: in vectors of 64-bit integers without AVX, a minimum costs several times as much.
#[inline]
fn least(times: &[u64]) -> u64 {
    let mut least = 0;
    for n in 1..times.len() {
        if times[n] < times[least] {
            least = n;
        }
    }
    times.get(least).copied().unwrap_or(Time::NEVER.0)
}

/// A bit for each actor of a group that is ready by `horizon`.
#[inline]
fn until(group: &[u64; GROUP], horizon: u64) -> u8 {
    let bit = |n: usize| u8::from(group[n] <= horizon) << n;
    (0..GROUP).fold(0, |bits, n| bits | bit(n))
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

    fn earliest(schedule: &Schedule) -> Option<(usize, Time)> {
        let first = schedule.soonest()?;
        Some((schedule.next_at(first)?, first))
    }

    #[test]
    fn the_earliest_goes_first() {
        let schedule = schedule(&[When::At(Time(7)), When::Blocked, When::At(Time(3))]);
        assert_eq!(earliest(&schedule), Some((2, Time(3))));
    }

    #[test]
    fn equals_take_turns() {
        let mut schedule = schedule(&[When::At(Time(1)), When::At(Time(1)), When::Blocked]);
        let mut order = Vec::new();
        for _ in 0..4 {
            let (actor, _) = earliest(&schedule).expect("two are ready");
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
            assert_eq!(earliest(&schedule), plain);
            if let Some((actor, _)) = plain {
                schedule.went(actor);
                last = actor;
            }
        }
    }

    #[test]
    fn nobody_goes_when_all_are_blocked() {
        assert_eq!(earliest(&schedule(&[When::Blocked, When::Blocked])), None);
        assert_eq!(earliest(&Schedule::default()), None);
    }
}
