//! The schedule as a plain search through all actors: the specification, and what worlds of more than 128 actors
//! take.

use scenarios::Time;

use wire::Rng;
use wire::component::When;

#[derive(Clone, Debug, Default)]
pub struct Plain {
    ready: Vec<Option<Time>>,
    last: usize,
}

impl Plain {
    /// Adds actors, blocked.
    pub fn add(&mut self, actors: usize) {
        self.ready.resize(self.ready.len() + actors, None);
    }

    /// Actors in use.
    pub fn actors(&self) -> usize {
        self.ready.len()
    }

    /// Who went last.
    pub fn last(&self) -> usize {
        self.last
    }

    pub fn set(&mut self, actor: usize, when: When) {
        self.ready[actor] = match when {
            When::Blocked => None,
            When::At(time) => Some(time),
        };
    }

    pub fn ready(&self, actor: usize) -> Option<Time> {
        self.ready.get(actor).copied().flatten()
    }

    pub fn soonest(&self) -> Option<Time> {
        self.ready.iter().flatten().min().copied()
    }

    /// Of those that have been ready since `first`, the next one behind the one that went last.
    pub fn next_at(&self, first: Time) -> Option<usize> {
        let mut round = (self.last + 1..self.ready.len()).chain(0..=self.last);
        round.find(|actor| self.ready(*actor) == Some(first))
    }

    /// Any of those that are ready by `horizon`, counted from the lowest number.
    pub fn any_until(&self, horizon: Time, rng: &mut Rng) -> Option<(usize, Time)> {
        let actors = self.ready.iter().enumerate();
        let ready = actors.filter_map(|(actor, ready)| Some((actor, (*ready)?)));
        let mut within = ready.filter(|(_, ready)| *ready <= horizon);
        let count = within.clone().count() as u32;
        (count > 0).then(|| within.nth(rng.below(count) as usize))?
    }

    pub fn went(&mut self, actor: usize) {
        self.last = actor;
    }
}
