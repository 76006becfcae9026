//! What was found so far, told apart by signature and named by the ledger.
//!
//! Knows no worker; carries nothing out.

use std::fmt;

use scenarios::ledger::Signature;

use crate::repro::Repro;

/// What was found.
#[derive(Debug)]
pub struct Found {
    /// What makes it this finding.
    pub signature: Signature,
    /// What it is, if the ledger knows: its ID and its title.
    pub known: Option<(String, String)>,
    /// The first scenario that shows it.
    pub origin: Origin,
    /// The run of that scenario: which plan, and under which schedule.
    pub run: u64,
    /// The runs that showed it.
    pub runs: u64,
    /// The smallest scenario that shows it; `None`: somebody wanted it to end before.
    pub small: Option<Box<Shrunk>>,
    /// All that the ledger says it may be.
    candidates: Vec<(String, String)>,
    /// The last run that was counted.
    last: (u64, u64),
    told: bool,
}

/// The smallest scenario that shows a finding.
#[derive(Debug)]
pub struct Shrunk {
    /// What was seen: `repro.text()` is a file for `plugfest replay`.
    pub repro: Repro,
    /// Steps of the scenario that was found first, and of this one.
    pub steps: (usize, usize),
    /// Which of the candidates it is: without that known bug it does not happen.
    pub named: Option<(String, String)>,
}

/// Where a scenario comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A seed.
    Seed(u64),
    /// A file of the corpus.
    Corpus(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Seed(seed) => write!(f, "seed {seed}"),
            Self::Corpus(file) => f.write_str(file),
        }
    }
}

/// What a run broke, and what the ledger says that it may be: IDs and titles.
#[derive(Clone, Debug)]
pub struct Broke {
    /// How it shows itself.
    pub signature: Signature,
    /// What it may be.
    pub candidates: Vec<(String, String)>,
}

/// A finding that is to be made smaller.
#[derive(Debug)]
pub struct ShrinkJob {
    /// Its number.
    pub number: usize,
    /// Its seed, counted from the first, and the run of it.
    pub at: (u64, u64),
    /// What it has to show still.
    pub signature: Signature,
    /// What it may be.
    pub candidates: Vec<(String, String)>,
}

/// What was found so far.
#[derive(Default)]
pub struct Findings {
    all: Vec<Found>,
    shrinking: usize,
}

impl Findings {
    /// Takes in what a run showed; what is to be made smaller, if nobody showed it before.
    pub fn take(&mut self, broke: Vec<Broke>, at: (u64, u64), origin: &Origin) -> Vec<ShrinkJob> {
        let jobs = broke.into_iter();
        let jobs = jobs.filter_map(|broke| self.take_one(broke, at, origin));
        jobs.collect()
    }

    fn take_one(&mut self, broke: Broke, at: (u64, u64), origin: &Origin) -> Option<ShrinkJob> {
        let Broke {
            signature,
            candidates,
        } = broke;
        let is_same = |found: &&mut Found| {
            if candidates.is_empty() {
                found.signature == signature
            } else {
                found.candidates == candidates
            }
        };
        if let Some(found) = self.all.iter_mut().find(is_same) {
            found.runs += u64::from(found.last != at);
            found.last = at;
            return None;
        }
        let number = self.all.len();
        self.shrinking += 1;
        self.all.push(Found {
            signature: signature.clone(),
            known: candidates.first().cloned(),
            origin: origin.clone(),
            run: at.1,
            runs: 1,
            small: None,
            candidates: candidates.clone(),
            last: at,
            told: false,
        });
        Some(ShrinkJob {
            number,
            at,
            signature,
            candidates,
        })
    }

    /// A finding is as small as it gets; `None`: somebody wanted it to end before.
    pub fn shrunk(&mut self, number: usize, shrunk: Option<Shrunk>) {
        self.shrinking -= 1;
        let found = &mut self.all[number];
        if let Some(shrunk) = shrunk {
            found.known = shrunk.named.clone();
            found.small = Some(Box::new(shrunk));
        }
    }

    /// Whether some are still made smaller.
    pub fn are_shrinking(&self) -> bool {
        self.shrinking > 0
    }

    /// Those that nobody was told of and that are small, up to the first that is not.
    pub fn untold(&mut self) -> impl Iterator<Item = &Found> {
        let ready = self
            .all
            .iter_mut()
            .take_while(|found| found.told || found.small.is_some());
        ready.filter_map(|found| (!std::mem::replace(&mut found.told, true)).then_some(&*found))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// How many the ledger does not know, whatever it knows turns out to be.
    pub fn unknown(&self) -> u64 {
        let unknown = self.all.iter().filter(|found| found.candidates.is_empty());
        unknown.count() as u64
    }

    /// How many are not known, and how many are.
    pub fn counts(&self) -> (u64, u64) {
        let known = self
            .all
            .iter()
            .filter(|found| found.known.is_some())
            .count();
        ((self.all.len() - known) as u64, known as u64)
    }

    /// All of them.
    pub fn into_all(self) -> Vec<Found> {
        self.all
    }
}
