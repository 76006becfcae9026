//! When each actor can go, and the earliest of them.
//!
//! Knows numbers and times, not what an actor is. Among equals the next one round the table is the
//! earliest, so that nobody who is always ready starves another.

use std::hint::select_unpredictable;

use scenarios::Time;

use wire::Rng;
use wire::component::{ACTORS_MAX, When};

/// Actors whose earliest is kept: looking for the next turn looks at groups first.
const GROUP: usize = 8;

/// When each actor can take its next turn.
#[derive(Clone, Debug)]
pub struct Schedule {
    /// `Time::NEVER.0` for a blocked actor.
    ready: [u64; ACTORS_MAX],
    /// The earliest of each group that is not stale.
    groups: [u64; ACTORS_MAX / GROUP],
    /// The groups whose earliest has gone, or is not kept, one bit each.
    stale: u16,
    /// Who is ready by the end of a slack, once a random schedule has asked.
    within: Option<Within>,
    /// Actors in use: 0 up to this.
    count: usize,
    /// No group from this one on has anybody who is ready.
    top: usize,
    /// Who went last.
    last: usize,
}

impl Default for Schedule {
    fn default() -> Self {
        Self {
            ready: [Time::NEVER.0; ACTORS_MAX],
            groups: [Time::NEVER.0; ACTORS_MAX / GROUP],
            stale: 0,
            within: None,
            count: 0,
            top: 0,
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
    #[inline]
    pub fn set(&mut self, actor: usize, when: When) {
        let time = match when {
            When::Blocked => Time::NEVER.0,
            When::At(time) => time.0,
        };
        let before = std::mem::replace(&mut self.ready[actor], time);
        let n = actor / GROUP;
        if time != Time::NEVER.0 {
            self.top = self.top.max(n + 1);
        }
        if let Some(within) = &mut self.within {
            within.note(actor, time);
            self.stale |= 1 << n;
        } else if time <= self.groups[n] {
            self.groups[n] = time;
            self.stale &= !(1 << n);
        } else if before == self.groups[n] {
            self.stale |= 1 << n;
        }
    }

    /// When the next turn can be taken; `None` if all are blocked.
    #[inline]
    #[must_use]
    pub fn soonest(&mut self) -> Option<Time> {
        let (groups, _) = self.ready.as_chunks::<GROUP>();
        while self.stale != 0 {
            let n = self.stale.trailing_zeros() as usize;
            self.stale &= self.stale - 1;
            self.groups[n] = least(&groups[n]);
        }
        while let Some(Time::NEVER) = self.groups[..self.top].last().map(|time| Time(*time)) {
            self.top -= 1;
        }
        let first = Time(least(&self.groups[..self.top]));
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
        let mut round = (last + 1..self.top).chain(0..self.top.min(last + 1));
        let group = round.find(|n| self.groups[*n] == first.0)?;
        find(group, 0)
    }

    /// Since when an actor has been ready; `None` if it is blocked, or there is none.
    #[must_use]
    pub fn ready(&self, actor: usize) -> Option<Time> {
        let time = *self.ready[..self.count].get(actor)?;
        (time != Time::NEVER.0).then_some(Time(time))
    }

    /// Any actor that is ready by `horizon`, each as likely, and the time it has been ready since; `None` if
    /// there is none.
    #[inline]
    pub fn any_until(&mut self, horizon: Time, rng: &mut Rng) -> Option<(usize, Time)> {
        let within = match &mut self.within {
            Some(within) if within.until == horizon.0 => within,
            stale => {
                let (groups, _) = self.ready.as_chunks::<GROUP>();
                let groups = &groups[..self.count.div_ceil(GROUP)];
                stale.insert(Within::new(horizon.0, groups))
            }
        };
        if within.count == 0 {
            return None;
        }
        let actor = within.nth(rng.below(within.count));
        Some((actor, Time(self.ready[actor])))
    }

    /// Notes that `actor` goes.
    pub fn went(&mut self, actor: usize) {
        self.last = actor;
    }
}

/// The least of some times; `Time::NEVER.0` if there is none.
///
/// Each comparison waits for no other but those of its own half, and none is a branch: which of them is the
/// least cannot be foretold.
#[inline]
fn least(times: &[u64]) -> u64 {
    let (pairs, rest) = times.as_chunks::<2>();
    let mut least = [
        rest.first().copied().unwrap_or(Time::NEVER.0),
        Time::NEVER.0,
    ];
    for pair in pairs {
        least[0] = select_unpredictable(pair[0] < least[0], pair[0], least[0]);
        least[1] = select_unpredictable(pair[1] < least[1], pair[1], least[1]);
    }
    select_unpredictable(least[0] < least[1], least[0], least[1])
}

/// The number of the nth bit that is set, by bits and n: looked up, as a loop over random bits is mispredicted
/// at every turn.
static SELECT: [[u8; GROUP]; 1 << GROUP] = {
    let mut select = [[0; GROUP]; 1 << GROUP];
    let mut bits = 0;
    while bits < 1 << GROUP {
        let (mut bit, mut nth) = (0, 0);
        while bit < GROUP {
            if bits >> bit & 1 != 0 {
                select[bits][nth] = bit as u8;
                nth += 1;
            }
            bit += 1;
        }
        bits += 1;
    }
    select
};

/// How many bits are set: without an instruction for it, looking it up is the shortest way to who goes next.
static COUNT: [u8; 1 << GROUP] = {
    let mut count = [0; 1 << GROUP];
    let mut bits = 0;
    while bits < 1 << GROUP {
        count[bits] = bits.count_ones() as u8;
        bits += 1;
    }
    count
};

/// Who is ready until a time, kept up to date as long as that time is asked for.
#[derive(Clone, Copy, Debug)]
struct Within {
    until: u64,
    /// A bit for each actor.
    ready: [u64; ACTORS_MAX / 64],
    /// Bits that are set: counted as they change, as counting words that were just written stalls.
    count: u32,
}

impl Within {
    fn new(until: u64, groups: &[[u64; GROUP]]) -> Self {
        let bit = |group: &[u64; GROUP], n: usize| u64::from(group[n] <= until) << n;
        let mut ready = [0; ACTORS_MAX / 64];
        for (n, group) in groups.iter().enumerate() {
            let bits = (0..GROUP).fold(0, |bits, n| bits | bit(group, n));
            ready[n * GROUP / 64] |= bits << (n * GROUP % 64);
        }
        let count = ready.iter().map(|word| word.count_ones()).sum();
        Self {
            until,
            ready,
            count,
        }
    }

    #[inline]
    fn note(&mut self, actor: usize, time: u64) {
        let (word, bit) = (&mut self.ready[actor / 64], actor % 64);
        let before = *word >> bit & 1;
        let now = u64::from(time <= self.until);
        *word ^= (before ^ now) << bit;
        self.count = self.count + now as u32 - before as u32;
    }

    /// The nth of those that are ready.
    fn nth(&self, mut n: u32) -> usize {
        let mut first = 0;
        loop {
            let bits = usize::from((self.ready[first / 64] >> (first % 64)) as u8);
            let here = u32::from(COUNT[bits]);
            if n < here {
                return first + usize::from(SELECT[bits][n as usize]);
            }
            n -= here;
            first += GROUP;
        }
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

    fn earliest(schedule: &mut Schedule) -> Option<(usize, Time)> {
        let first = schedule.soonest()?;
        Some((schedule.next_at(first)?, first))
    }

    #[test]
    fn the_earliest_goes_first() {
        let mut schedule = schedule(&[When::At(Time(7)), When::Blocked, When::At(Time(3))]);
        assert_eq!(earliest(&mut schedule), Some((2, Time(3))));
    }

    #[test]
    fn equals_take_turns() {
        let mut schedule = schedule(&[When::At(Time(1)), When::At(Time(1)), When::Blocked]);
        let mut order = Vec::new();
        for _ in 0..4 {
            let (actor, _) = earliest(&mut schedule).expect("two are ready");
            schedule.went(actor);
            order.push(actor);
        }
        assert_eq!(order, [1, 0, 1, 0]);
    }

    #[test]
    fn the_earliest_is_that_of_a_plain_search() {
        searched(1);
        // Mostly nobody is ready in the upper groups.
        searched(3);
    }

    /// Of four draws, so many block an actor.
    fn searched(blocked: u32) {
        let mut rng = Rng::new(5, wire::Stream::Directed);
        let mut schedule = schedule(&[When::Blocked; 40]);
        let mut last = 0;
        for _ in 0..20_000 {
            let actor = rng.below(40) as usize;
            let when = if rng.below(4) < blocked {
                When::Blocked
            } else {
                When::At(Time(rng.below(20).into()))
            };
            schedule.set(actor, when);
            let ready: Vec<_> = (0..40).map(|actor| schedule.ready(actor)).collect();
            let first = ready.iter().flatten().min().copied();
            let plain = first.map(|first| {
                let mut round = (last + 1..40).chain(0..=last);
                let next = round.find(|actor| ready[*actor] == Some(first));
                (next.expect("one of them is the first"), first)
            });
            assert_eq!(earliest(&mut schedule), plain);
            if let Some((actor, _)) = plain {
                schedule.went(actor);
                last = actor;
            }
        }
    }

    #[test]
    fn who_is_ready_in_time_is_that_of_a_plain_search() {
        let mut rng = Rng::new(6, wire::Stream::Directed);
        let mut schedule = schedule(&[When::Blocked; 100]);
        let mut horizon = 0;
        let mut picked = [0; 100];
        for _ in 0..20_000 {
            let actor = rng.below(100) as usize;
            let when = match rng.below(4) {
                0 => When::Blocked,
                _ => When::At(Time(rng.below(20).into())),
            };
            schedule.set(actor, when);
            if rng.chance(1, 5) {
                horizon = rng.below(22).into();
            }
            let times = (0..100).filter_map(|actor| schedule.ready(actor));
            let soonest = times.min();
            let ready: Vec<usize> = (0..100)
                .filter(|actor| schedule.ready(*actor) <= Some(Time(horizon)))
                .filter(|actor| schedule.ready(*actor).is_some())
                .collect();
            let any = schedule.any_until(Time(horizon), &mut rng);
            assert_eq!(any.is_none(), ready.is_empty());
            if let Some((actor, since)) = any {
                assert!(ready.contains(&actor));
                assert_eq!(Some(since), schedule.ready(actor));
                picked[actor] += 1;
            }
            assert_eq!(schedule.soonest(), soonest);
        }
        assert!(picked.iter().all(|times| *times > 50), "{picked:?}");
    }

    #[test]
    fn nobody_goes_when_all_are_blocked() {
        assert_eq!(
            earliest(&mut schedule(&[When::Blocked, When::Blocked])),
            None
        );
        assert_eq!(earliest(&mut Schedule::default()), None);
    }
}
