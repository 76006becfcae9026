//! When each actor can go, and who goes next.
//!
//! Three questions are asked of it: when can the first one go, who is that, and who can go by a time. The answers
//! are those of a plain search through all actors, which stands beside it (`plain`) and is compared with it in a
//! test. This one remembers what has not changed: a turn makes few actors ready and blocks few.
//!
//! Knows numbers and times, not what an actor is. Among equals the next one round the table goes first, so that
//! nobody who is always ready starves another.

#[cfg(test)]
mod plain;
mod search;

use scenarios::Time;

use search::{Bits, least};
use wire::Rng;
use wire::component::{ACTORS_MAX, When};

/// Actors whose earliest is kept: a search looks at groups first.
const GROUP: usize = 8;
/// The ready time of an actor that is blocked.
const NEVER: u64 = Time::NEVER.0;

/// When each actor can take its next turn.
#[derive(Debug, Default)]
pub struct Schedule {
    /// Since when each actor has been ready, or will be; in whole groups, the last one filled up with blocked ones.
    ready: Vec<[u64; GROUP]>,
    /// The earliest of each group, where it is not stale.
    earliest: Vec<u64>,
    /// The groups whose earliest has changed, or is not kept.
    stale: Bits,
    /// Who is ready by the time that was asked for last.
    within: Within,
    /// Actors in use: 0 up to this.
    count: usize,
    /// No group from this one on has anybody who is ready.
    top: usize,
    /// Who went last.
    last: usize,
}

impl Schedule {
    /// Adds `actors` blocked actors and returns the number of the first.
    ///
    /// # Panics
    ///
    /// If there would be more than [`ACTORS_MAX`]: no [`wire::ActorId`] could name them.
    pub fn add(&mut self, actors: usize) -> usize {
        let first = self.count;
        self.count += actors;
        assert!(
            self.count <= ACTORS_MAX,
            "{} actors, at most {ACTORS_MAX}",
            self.count
        );
        let groups = self.count.div_ceil(GROUP);
        self.ready.resize(groups, [NEVER; GROUP]);
        self.earliest.resize(groups, NEVER);
        self.stale.grow(groups);
        self.within.set.grow(self.count);
        first
    }

    /// Actors in use.
    #[must_use]
    pub fn actors(&self) -> usize {
        self.count
    }

    /// Says when `actor` can take its next turn.
    #[inline]
    pub fn set(&mut self, actor: usize, when: When) {
        let time = match when {
            When::Blocked => NEVER,
            When::At(time) => time.0,
        };
        let group = actor / GROUP;
        let before = std::mem::replace(&mut self.ready[group][actor % GROUP], time);
        if time != NEVER {
            self.top = self.top.max(group + 1);
        }
        if self.within.is_kept {
            self.within.note(actor, time);
            self.stale.insert(group);
        } else if time <= self.earliest[group] {
            self.earliest[group] = time;
            self.stale.remove(group);
        } else if before == self.earliest[group] {
            self.stale.insert(group);
        }
    }

    /// When the next turn can be taken; `None` if all are blocked.
    #[inline]
    #[must_use]
    pub fn soonest(&mut self) -> Option<Time> {
        let (ready, earliest) = (&self.ready, &mut self.earliest);
        self.stale
            .take_each(|group| earliest[group] = least(&ready[group]));
        while self.top > 0 && self.earliest[self.top - 1] == NEVER {
            self.top -= 1;
        }
        let first = least(&self.earliest[..self.top]);
        (first != NEVER).then_some(Time(first))
    }

    /// The next one round the table that has been ready since `first`, the soonest of all times.
    #[inline]
    #[must_use]
    pub fn next_at(&self, first: Time) -> Option<usize> {
        let find = |group: usize, from: usize| {
            let ready = self.ready[group][from..].iter();
            let found = ready.clone().position(|time| *time == first.0)?;
            Some(group * GROUP + from + found)
        };
        let (last, next) = (self.last / GROUP, self.last % GROUP + 1);
        if self.earliest[last] == first.0
            && let Some(found) = find(last, next)
        {
            return Some(found);
        }
        let mut round = (last + 1..self.top).chain(0..self.top.min(last + 1));
        let group = round.find(|group| self.earliest[*group] == first.0)?;
        find(group, 0)
    }

    /// Since when an actor has been ready; `None` if it is blocked, or there is none.
    #[must_use]
    pub fn ready(&self, actor: usize) -> Option<Time> {
        let time = self.ready.get(actor / GROUP)?[actor % GROUP];
        (time != NEVER).then_some(Time(time))
    }

    /// Any actor that is ready by `horizon`, each as likely, and the time it has been ready since; `None` if
    /// there is none.
    #[inline]
    pub fn any_until(&mut self, horizon: Time, rng: &mut Rng) -> Option<(usize, Time)> {
        if !self.within.is_kept || self.within.until != horizon.0 {
            self.within.fill(horizon.0, &self.ready);
        }
        if self.within.count == 0 {
            return None;
        }
        let actor = self.within.set.nth(rng.below(self.within.count));
        Some((actor, Time(self.ready[actor / GROUP][actor % GROUP])))
    }

    /// Notes that `actor` goes.
    pub fn went(&mut self, actor: usize) {
        self.last = actor;
    }
}

/// What must hold of a schedule ([`Schedule::INVARIANTS`]): each says what is wrong, if anything is.
impl Schedule {
    pub(super) fn wrong_earliest(&self) -> Option<String> {
        let groups = self.ready.iter().zip(&self.earliest).enumerate();
        let mut kept = groups.filter(|(group, _)| !self.stale.has(*group));
        let (group, (ready, earliest)) = kept.find(|(_, (ready, kept))| least(*ready) != **kept)?;
        Some(format!("of group {group}, {ready:?}, it is {earliest}"))
    }

    pub(super) fn ready_above_top(&self) -> Option<String> {
        let above = self.ready.iter().skip(self.top);
        let ready = above
            .map(|group| least(group))
            .find(|time| *time != NEVER)?;
        Some(format!("somebody above {} is at {ready}", self.top))
    }

    pub(super) fn ready_beyond_count(&self) -> Option<String> {
        let beyond = self.ready.as_flattened().iter().skip(self.count);
        let ready = beyond.copied().find(|time| *time != NEVER)?;
        Some(format!("somebody above {} is at {ready}", self.count))
    }

    pub(super) fn wrong_within(&self) -> Option<String> {
        if !self.within.is_kept {
            return None;
        }
        let ready = |actor: usize| self.ready[actor / GROUP][actor % GROUP] <= self.within.until;
        let wrong = (0..self.count).find(|actor| self.within.set.has(*actor) != ready(*actor));
        let (size, counted) = (self.within.set.count(), self.within.count);
        if let Some(actor) = wrong {
            return Some(format!("actor {actor} is not where it belongs"));
        }
        (size != counted).then(|| format!("{size} were counted as {counted}"))
    }

    pub(super) fn unknown_last(&self) -> Option<String> {
        let exists = self.last < self.count.max(1);
        (!exists).then(|| format!("it is {} of {}", self.last, self.count))
    }
}

impl Clone for Schedule {
    fn clone(&self) -> Self {
        let mut clone = Self::default();
        clone.clone_from(self);
        clone
    }

    /// Into the room that is there: a world goes back to its snapshot for each schedule that is tried.
    fn clone_from(&mut self, of: &Self) {
        self.ready.clone_from(&of.ready);
        self.earliest.clone_from(&of.earliest);
        self.stale.clone_from(&of.stale);
        self.within.clone_from(&of.within);
        (self.count, self.top, self.last) = (of.count, of.top, of.last);
    }
}

/// Who is ready by a time, kept up to date as long as that time is asked for.
#[derive(Debug, Default)]
struct Within {
    /// Whether anybody has asked. A timed schedule never does, and nothing is kept for it.
    is_kept: bool,
    until: u64,
    set: Bits,
    /// Actors in the set: counted as they change, as counting words that were just written stalls.
    count: u32,
}

impl Within {
    fn fill(&mut self, until: u64, ready: &[[u64; GROUP]]) {
        self.set.fill_bytes(ready.iter().map(|group| {
            let bit = |n: usize| u8::from(group[n] <= until) << n;
            (0..GROUP).fold(0, |bits, n| bits | bit(n))
        }));
        (self.is_kept, self.until, self.count) = (true, until, self.set.count());
    }

    #[inline]
    fn note(&mut self, actor: usize, time: u64) {
        let now = time <= self.until;
        let before = self.set.put(actor, now);
        self.count = self.count + u32::from(now) - u32::from(before);
    }
}

impl Clone for Within {
    fn clone(&self) -> Self {
        let mut clone = Self::default();
        clone.clone_from(self);
        clone
    }

    fn clone_from(&mut self, of: &Self) {
        (self.is_kept, self.until, self.count) = (of.is_kept, of.until, of.count);
        self.set.clone_from(&of.set);
    }
}

#[cfg(test)]
impl Schedule {
    /// Spoils it so that a certain invariant is broken.
    pub(super) fn spoil(&mut self, invariant: &str) {
        match invariant {
            "the_earliest_of_a_group_is_known" => {
                let _ = self.soonest();
                self.earliest[0] ^= 1;
            }
            "nobody_is_ready_above_the_top" => {
                self.set(0, When::At(Time(1)));
                self.top = 0;
            }
            "nobody_is_ready_who_does_not_exist" => {
                while self.count.is_multiple_of(GROUP) {
                    self.add(1);
                }
                self.set(self.count, When::At(Time(1)));
            }
            "who_is_ready_in_time_is_known" => {
                let mut rng = Rng::new(0, wire::Stream::Directed);
                self.any_until(Time(1 << 40), &mut rng);
                self.within.count += 1;
            }
            "who_went_last_exists" => self.last = self.count,
            other => panic!("nothing is known that breaks {other}"),
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
        for actors in [1, 7, 8, 40, 64, 128, 129, 700, 5000] {
            // In the last ones mostly nobody is ready in the upper groups.
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
            let first = schedule.add(part as usize);
            assert_eq!(first, plain.add(part as usize));
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
                let next = plain.next();
                assert_eq!(earliest(&mut schedule), next);
                if let Some((actor, _)) = next {
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
