//! The schedule of up to 128 actors: what [`Plain`](super::plain::Plain) answers, from arrays that remember what a
//! turn has not changed. A turn makes few actors ready and blocks few.

use std::hint::select_unpredictable;

use scenarios::Time;

use wire::Rng;
use wire::component::When;

/// Actors that there is room for.
pub const SMALL: usize = 128;
/// Actors whose earliest is kept: looking for the next turn looks at groups first.
const GROUP: usize = 8;

#[derive(Clone, Debug)]
pub struct Small {
    /// `Time::NEVER.0` for a blocked actor.
    ready: [u64; SMALL],
    /// The earliest of each group that is not stale.
    groups: [u64; SMALL / GROUP],
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

impl Default for Small {
    fn default() -> Self {
        Self {
            ready: [Time::NEVER.0; SMALL],
            groups: [Time::NEVER.0; SMALL / GROUP],
            stale: 0,
            within: None,
            count: 0,
            top: 0,
            last: 0,
        }
    }
}

impl Small {
    /// Adds actors, blocked.
    pub fn add(&mut self, actors: usize) {
        self.count += actors;
        assert!(
            self.count <= SMALL,
            "{} actors, at most {SMALL}",
            self.count
        );
    }

    /// Actors in use.
    pub fn actors(&self) -> usize {
        self.count
    }

    /// Who went last.
    pub fn last(&self) -> usize {
        self.last
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

/// What must hold of it: each says what is wrong, if anything is.
impl Small {
    pub fn wrong_earliest(&self) -> Option<String> {
        let (groups, _) = self.ready.as_chunks::<GROUP>();
        let mut kept = (0..groups.len()).filter(|n| self.stale >> n & 1 == 0);
        let n = kept.find(|n| least(&groups[*n]) != self.groups[*n])?;
        Some(format!(
            "of group {n}, {:?}, it is {}",
            groups[n], self.groups[n]
        ))
    }

    pub fn ready_above_top(&self) -> Option<String> {
        let ready = least(&self.ready[self.top * GROUP..]);
        (ready != Time::NEVER.0).then(|| format!("somebody above {} is at {ready}", self.top))
    }

    pub fn ready_beyond_count(&self) -> Option<String> {
        let ready = least(&self.ready[self.count..]);
        (ready != Time::NEVER.0).then(|| format!("somebody above {} is at {ready}", self.count))
    }

    pub fn wrong_within(&self) -> Option<String> {
        let within = self.within.as_ref()?;
        let is_in = |actor: usize| within.ready[actor / 64] >> (actor % 64) & 1 != 0;
        let mut actors = 0..self.count;
        if let Some(actor) =
            actors.find(|actor| is_in(*actor) != (self.ready[*actor] <= within.until))
        {
            return Some(format!("actor {actor} is not where it belongs"));
        }
        let size: u32 = within.ready.iter().map(|word| word.count_ones()).sum();
        (size != within.count).then(|| format!("{size} were counted as {}", within.count))
    }
}

#[cfg(test)]
impl Small {
    /// Spoils it so that a certain invariant is broken.
    pub fn spoil(&mut self, invariant: &str) {
        match invariant {
            "the_earliest_of_a_group_is_known" => {
                let _ = self.soonest();
                self.groups[0] ^= 1;
            }
            "nobody_is_ready_above_the_top" => {
                self.set(0, When::At(Time(1)));
                self.top = 0;
            }
            "nobody_is_ready_who_does_not_exist" => self.set(self.count, When::At(Time(1))),
            "who_is_ready_in_time_is_known" => {
                let mut rng = Rng::new(0, wire::Stream::Directed);
                self.any_until(Time(1 << 40), &mut rng);
                self.within.as_mut().expect("somebody asked").count += 1;
            }
            "who_went_last_exists" => self.last = self.count,
            other => panic!("nothing is known that breaks {other}"),
        }
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
    ready: [u64; SMALL / 64],
    /// Bits that are set: counted as they change, as counting words that were just written stalls.
    count: u32,
}

impl Within {
    fn new(until: u64, groups: &[[u64; GROUP]]) -> Self {
        let bit = |group: &[u64; GROUP], n: usize| u64::from(group[n] <= until) << n;
        let mut ready = [0; SMALL / 64];
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
