//! A campaign: many scenarios from seeds, on all cores; what they break, told apart, made smaller, and named where
//! it is known.
//!
//! Workers take seeds as they come. What is told is in order of the seeds, so that nothing but the time that it
//! takes depends on how many workers there are. Knows nothing of arguments, files and clocks.

mod attempt;
mod canary;
mod conduct;
mod desk;
mod findings;
mod moved;
mod work;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use scenarios::ledger::Ledger;
use scenarios::plan::Plan;
use sim::world::Difference;
use sim::{Bug, Bugs};

use crate::interrupt::asked;
use crate::options::Schedule;
use crate::repro::Repro;
use crate::run_error::RunError;
pub use crate::scenario::View;

pub use canary::CANARY;
use desk::Desk;
use findings::Findings;
pub use findings::{Found, Origin, Shrunk};
use work::{Done, Message, Worker};

/// The ledger of SPDK as it is, and its name in errors.
const HEAD: (&str, &str) = ("src/campaign/head.kdl", include_str!("head.kdl"));

/// What is known of SPDK as it is (3230130e6a): what campaigns find on a target of behaviour head.
#[must_use]
pub fn head_ledger() -> Ledger {
    let (file, text) = HEAD;
    Ledger::parse(file, text).expect("what ships is a ledger")
}

/// Signatures that are told apart; a campaign with more of them has one cause, and stops.
const FINDINGS_MAX: usize = 64;

/// How long the results of workers are waited for before it is asked whether more will come.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// What is carried out, on what target.
pub struct Campaign {
    /// Plans whose steps come at other moments with each seed; none: scenarios that are drawn.
    pub plans: Vec<Plan>,
    /// The seeds.
    pub seeds: Range<u64>,
    /// Schedules of each scenario.
    pub schedules: u64,
    /// How the model target is wrong.
    pub bugs: Bugs,
    /// Who goes next.
    pub schedule: Schedule,
    /// Worker threads.
    pub workers: u16,
    /// Stop after so many findings that are not known.
    pub stop_at: Option<u64>,
    /// What is known.
    pub ledger: Ledger,
    /// Scenarios that come before those of the seeds, and the names of their files.
    pub corpus: Vec<(String, Repro)>,
    /// What the checks are shown.
    pub view: View,
    /// The known bug that every worker has to find.
    pub canary: Bug,
    /// Disturb the second of two equal runs at this turn: to show that a difference is found.
    pub disturb_at: Option<u64>,
    /// Panic at this turn of each run: to show that a panic is a finding.
    pub panic_at: Option<u64>,
}

impl Default for Campaign {
    /// 2000 scenarios on a target as it should be, on one core, with nothing known.
    fn default() -> Self {
        Self {
            plans: Vec::new(),
            seeds: 0..2000,
            schedules: 1,
            bugs: Bugs::INTENDED,
            schedule: Schedule::Random,
            workers: 1,
            stop_at: None,
            ledger: Ledger::default(),
            corpus: Vec::new(),
            view: View::Inside,
            canary: CANARY,
            disturb_at: None,
            panic_at: None,
        }
    }
}

impl Campaign {
    /// Where the scenarios of a seed come from; `item` counts the corpus and then the seeds.
    fn origin(&self, item: u64) -> Origin {
        let corpus = usize::try_from(item)
            .ok()
            .and_then(|item| self.corpus.get(item));
        match corpus {
            Some((file, _)) => Origin::Corpus(file.clone()),
            None => Origin::Seed(self.seeds.start + (item - self.corpus.len() as u64)),
        }
    }

    /// How many seeds there are, those of the corpus included.
    fn items(&self) -> u64 {
        self.corpus.len() as u64 + (self.seeds.end - self.seeds.start)
    }
}

/// Where a campaign stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Seeds that are done, and those of the corpus before them.
    pub seeds: u64,
    /// Runs: a scenario under a schedule each.
    pub runs: u64,
    /// Blocks that fio found right.
    pub verified: u64,
    /// Different orders of hot-plug turns.
    pub orders: u64,
    /// Findings that are not known.
    pub new: u64,
    /// Findings that are.
    pub known: u64,
    /// Runs that were done twice and compared.
    pub doubled: u64,
}

/// What a campaign tells while it goes on.
#[derive(Debug)]
pub enum Event<'a> {
    /// So much is done.
    Done(Tally),
    /// This was found: the smallest scenario that shows it.
    Found(&'a Found),
}

/// Why a campaign ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// All seeds are done.
    Whole,
    /// The time is over.
    TimeOver,
    /// There were as many findings as were asked for, or more than are told apart.
    Enough,
    /// Somebody wanted it to end.
    Interrupted,
    /// Two runs of one scenario differ: no result can be trusted.
    Differs {
        /// Whose.
        origin: String,
        /// Where they part.
        difference: Difference,
    },
}

/// What came of a campaign.
#[derive(Debug)]
pub struct Outcome {
    /// How much was done.
    pub tally: Tally,
    /// What was found, in order of the seeds.
    pub found: Vec<Found>,
    /// Why it ended.
    pub ended: Ended,
    /// Whether every worker found the canary.
    pub canary: bool,
}

impl Campaign {
    /// Carries it out; no more seed is begun once `is_over` says so.
    ///
    /// # Errors
    ///
    /// A scenario cannot be carried out, or there is none.
    pub fn run(
        &self,
        is_over: &(dyn Fn() -> bool + Sync),
        tell: &mut dyn FnMut(Event<'_>),
    ) -> Result<Outcome, RunError> {
        if self.seeds.is_empty() || self.schedules == 0 {
            let none = "there are no seeds, or no schedules: nothing would be shown";
            return Err(RunError::Input(none.to_owned()));
        }
        let worker = Worker::new(self)?;
        let desk = Desk::new(self.items());
        let (send, receive) = mpsc::channel();
        thread::scope(|scope| {
            for _ in 0..self.workers.max(1) {
                let (worker, desk, send) = (&worker, &desk, send.clone());
                scope.spawn(move || worker.work(desk, is_over, &send));
            }
            drop(send);
            let mut merger = Merger {
                campaign: self,
                desk: &desk,
                findings: Findings::default(),
                orders: BTreeSet::new(),
                tally: Tally::default(),
                ended: None,
                canaries: Vec::new(),
            };
            let merged = merger.take_all(&receive, tell);
            // Whatever happened: nobody waits for work any more.
            desk.close();
            for message in receive {
                if let Message::Canary(found) = message {
                    merger.canaries.push(found);
                }
            }
            merged.map(|()| merger.outcome(is_over))
        })
    }
}

/// Takes in what the workers send, in order of the seeds.
struct Merger<'a> {
    campaign: &'a Campaign,
    desk: &'a Desk,
    findings: Findings,
    orders: BTreeSet<u64>,
    tally: Tally,
    ended: Option<Ended>,
    canaries: Vec<bool>,
}

impl Merger<'_> {
    fn take_all(
        &mut self,
        receive: &mpsc::Receiver<Message>,
        tell: &mut dyn FnMut(Event<'_>),
    ) -> Result<(), RunError> {
        let mut early = BTreeMap::new();
        let mut next = 0;
        while self.goes_on(next) {
            let message = match receive.recv_timeout(LOOK_AGAIN) {
                Ok(message) => message,
                Err(RecvTimeoutError::Timeout) => continue,
                Err(RecvTimeoutError::Disconnected) => break,
            };
            match message {
                Message::Done(item, done) => {
                    early.insert(item, done);
                }
                Message::Shrunk(number, shrunk) => self.findings.shrunk(number, *shrunk),
                Message::Canary(found) => self.canaries.push(found),
            }
            while self.ended.is_none()
                && let Some(done) = early.remove(&next)
            {
                self.take(next, done?);
                next += 1;
                tell(Event::Done(self.tally));
            }
            for found in self.findings.untold() {
                tell(Event::Found(found));
            }
        }
        Ok(())
    }

    /// Whether more is to come: seeds, or findings that are still made smaller.
    fn goes_on(&self, next: u64) -> bool {
        let seeds = self.ended.is_none() && self.desk.has(next);
        seeds || self.findings.are_shrinking()
    }

    /// Takes in what came of a seed.
    fn take(&mut self, item: u64, done: Done) {
        let origin = self.campaign.origin(item);
        self.tally.seeds += 1;
        for (number, attempt) in (0..).zip(done.runs) {
            self.tally.runs += 1;
            self.tally.verified += attempt.verified;
            self.orders.insert(attempt.order_hash);
            self.tally.orders = self.orders.len() as u64;
            let run = (item, number);
            let jobs = self.findings.take(attempt.broke, run, &origin);
            jobs.into_iter().for_each(|job| self.desk.shrink(job));
        }
        (self.tally.new, self.tally.known) = self.findings.counts();
        self.tally.doubled += u64::from(done.doubled);
        if let Some(difference) = done.difference {
            self.end(Ended::Differs {
                origin: origin.to_string(),
                difference,
            });
        }
        let enough = self
            .campaign
            .stop_at
            .is_some_and(|stop| self.findings.unknown() >= stop);
        if enough || self.findings.len() >= FINDINGS_MAX {
            self.end(Ended::Enough);
        }
    }

    fn end(&mut self, why: Ended) {
        self.ended.get_or_insert(why);
        self.desk.stop();
    }

    fn outcome(mut self, is_over: &(dyn Fn() -> bool + Sync)) -> Outcome {
        // A finding may turn out to be another one once it is small.
        (self.tally.new, self.tally.known) = self.findings.counts();
        let all = self.campaign.items();
        let ended = self.ended.unwrap_or_else(|| match self.tally.seeds {
            seeds if seeds == all => Ended::Whole,
            _ if asked() || !is_over() => Ended::Interrupted,
            _ => Ended::TimeOver,
        });
        Outcome {
            tally: self.tally,
            found: self.findings.into_all(),
            ended,
            canary: !self.canaries.is_empty() && self.canaries.iter().all(|found| *found),
        }
    }
}

impl Outcome {
    /// Whether nothing was found that is not known.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.tally.new == 0
    }

    /// Why what was found, or not found, is not to be trusted; `None` if it is.
    #[must_use]
    pub fn doubt(&self) -> Option<String> {
        if let Ended::Differs { origin, difference } = &self.ended {
            return Some(format!(
                "{origin}: two runs of one scenario differ: {difference}"
            ));
        }
        let blind = "a worker did not find the known bug that it was to find";
        (!self.canary).then(|| blind.to_owned())
    }
}
