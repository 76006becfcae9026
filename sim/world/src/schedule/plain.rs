//! The schedule as a plain search through all actors: what [`super::Schedule`] answers, without its memory.

use scenarios::Time;

use wire::Rng;
use wire::component::When;

#[derive(Default)]
pub struct Plain {
    ready: Vec<Option<Time>>,
    last: usize,
}

impl Plain {
    pub fn add(&mut self, actors: usize) -> usize {
        let first = self.ready.len();
        self.ready.resize(first + actors, None);
        first
    }

    pub fn set(&mut self, actor: usize, when: When) {
        self.ready[actor] = match when {
            When::Blocked => None,
            When::At(time) => Some(time),
        };
    }

    pub fn ready(&self, actor: usize) -> Option<Time> {
        self.ready[actor]
    }

    pub fn soonest(&self) -> Option<Time> {
        self.ready.iter().flatten().min().copied()
    }

    /// Of those that have been ready since the soonest time, the first behind the one that went last.
    pub fn next(&self) -> Option<(usize, Time)> {
        let first = self.soonest()?;
        let mut round = (self.last + 1..self.ready.len()).chain(0..=self.last);
        let next = round.find(|actor| self.ready[*actor] == Some(first))?;
        Some((next, first))
    }

    /// Any of those that are ready by `horizon`, counted from the lowest number.
    pub fn any_until(&self, horizon: Time, rng: &mut Rng) -> Option<(usize, Time)> {
        let actors = self.ready.iter().enumerate();
        let ready = actors.filter_map(|(actor, ready)| Some((actor, (*ready)?)));
        let within: Vec<_> = ready.filter(|(_, ready)| *ready <= horizon).collect();
        if within.is_empty() {
            return None;
        }
        Some(within[rng.below(within.len() as u32) as usize])
    }

    pub fn went(&mut self, actor: usize) {
        self.last = actor;
    }
}
