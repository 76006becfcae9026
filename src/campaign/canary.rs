//! The canary of a worker: a known bug that it has to find again and again, or nothing that it finds, or does not
//! find, is to be trusted.
//!
//! Knows no campaign.

use sim::{Bug, Bugs};

use super::attempt::{Note, attempt};
use super::conduct::Conduct;
use crate::scenario::{ScenarioOptions, drawn};

/// The known bug that workers have to find: about every second scenario shows it.
pub const CANARY: Bug = Bug::AnsweredTwice;
/// One in so many of a worker's jobs is followed by a canary.
const ONE_IN: u64 = 64;
/// Scenarios in which it is looked for at most.
const SCENARIOS_MAX: u64 = 200;

/// The canary of a worker.
pub struct Canary {
    bug: Bug,
    conduct: Conduct,
    jobs: u64,
    /// The scenario that shows it.
    seed: Option<u64>,
    is_blind: bool,
}

impl Canary {
    /// Nothing was looked for yet.
    pub fn new(bug: Bug, conduct: Conduct) -> Self {
        Self {
            bug,
            conduct,
            jobs: 0,
            seed: None,
            is_blind: false,
        }
    }

    /// A job is done: now and then the canary is looked for.
    pub fn step(&mut self) {
        if self.jobs.is_multiple_of(ONE_IN) {
            self.look();
        }
        self.jobs += 1;
    }

    fn look(&mut self) {
        match self.seed {
            Some(seed) => self.is_blind |= !self.shows(seed),
            None => self.seed = (0..SCENARIOS_MAX).find(|seed| self.shows(*seed)),
        }
    }

    fn shows(&self, seed: u64) -> bool {
        let options = ScenarioOptions {
            bugs: Bugs::INTENDED.with(self.bug),
            ..ScenarioOptions::intended(seed)
        };
        let attempt = attempt(&drawn(seed), &options, &self.conduct, Note::Broken);
        attempt.is_ok_and(|attempt| !attempt.broke.is_empty())
    }

    /// Whether it was found whenever it was looked for. It is looked for once more.
    pub fn was_found(mut self) -> bool {
        self.look();
        self.seed.is_some() && !self.is_blind
    }
}
