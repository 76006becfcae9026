//! A worker of a campaign: carries out seeds, and makes findings smaller.
//!
//! Everything that it sends is a function of the campaign and the number of the seed.

use std::sync::mpsc::Sender;

use scenarios::ledger::{Broken, Known, Signature};
use scenarios::plan::{Expects, Plan};
use sim::Bug;
use sim::linux::QEMU_TARGETS;
use sim::world::Difference;

use super::Campaign;
use super::attempt::{Note, attempt, caught};
use super::canary::Canary;
use super::conduct::Conduct;
use super::desk::{Desk, Job};
use super::findings::{Broke, Origin, ShrinkJob, Shrunk};
use super::moved::moved;
use crate::interrupt::asked;
use crate::options::Schedule;
use crate::repro::Repro;
use crate::run_error::RunError;
use crate::scenario::{ScenarioOptions, View, drawn, targets_asked};
use crate::shrink::{QUICKLY, shrink};

/// One seed in so many is carried out twice, and the runs are compared.
const DOUBLED_ONE_IN: u64 = 16;
/// Schedules under which a finding is tried without the known bug that it is said to come from.
const WITHOUT_SCHEDULES: u64 = 24;
/// How far apart the seeds of a scenario's schedules are: an odd number whose multiples spread over all bits.
const SPREAD: u64 = 0x9E37_79B9_7F4A_7C15;

/// What a worker sends.
pub enum Message {
    /// What came of a seed, counted from the first.
    Done(u64, Result<Done, RunError>),
    /// What a finding is when it is small; nothing, if somebody wanted it to end.
    Shrunk(usize, Box<Option<Shrunk>>),
    /// Whether it found its canary.
    Canary(bool),
}

/// What came of a run.
pub struct Run {
    /// What it broke, as far as that says something.
    pub broke: Vec<Broke>,
    /// Blocks that fio found right.
    pub verified: u64,
    /// The hash of the order of hot-plug turns.
    pub order_hash: u64,
}

/// What came of a seed.
#[derive(Default)]
pub struct Done {
    /// Its runs.
    pub runs: Vec<Run>,
    /// Whether one of them was done twice.
    pub doubled: bool,
    /// Where two runs that should be the same part.
    pub difference: Option<Difference>,
}

/// What all workers share, and none changes.
pub struct Worker<'a> {
    campaign: &'a Campaign,
    conduct: Conduct,
}

impl<'a> Worker<'a> {
    /// Workers of `campaign`.
    pub fn new(campaign: &'a Campaign) -> Result<Self, RunError> {
        let conduct = Conduct::new(campaign)?;
        Ok(Self { campaign, conduct })
    }

    /// Works until there is nothing to do any more.
    pub fn work(&self, desk: &Desk, is_over: &dyn Fn() -> bool, send: &Sender<Message>) {
        let mut canary = Canary::new(
            self.campaign.canary,
            Conduct {
                panic_at: None,
                view: View::Inside,
                ..self.conduct.clone()
            },
        );
        while let Some(job) = desk.take(is_over) {
            let message = match job {
                Job::Seed(item) => Message::Done(item, self.carry_out(item)),
                Job::Shrink(job) => Message::Shrunk(job.number, Box::new(self.shrink(&job))),
            };
            if send.send(message).is_err() {
                return;
            }
            canary.step();
        }
        // Nobody is there to be told, if somebody wants it to end.
        let _ = send.send(Message::Canary(canary.was_found()));
    }

    /// Carries out everything of a seed.
    fn carry_out(&self, item: u64) -> Result<Done, RunError> {
        let mut done = Done::default();
        let runs = self.scenarios(item) * self.campaign.schedules;
        for run in 0..runs {
            let (plan, options) = self.scenario(item, run)?;
            let doubles = run == 0 && item.is_multiple_of(DOUBLED_ONE_IN);
            let note = if doubles { Note::All } else { Note::Broken };
            let one = attempt(&plan, &options, &self.conduct, note)?;
            if doubles {
                let again = Conduct {
                    disturb_at: self.campaign.disturb_at,
                    ..self.conduct.clone()
                };
                let again = attempt(&plan, &options, &again, note)?;
                done.difference = one.parts_from(&again);
                done.doubled = true;
            }
            done.runs.push(Run {
                broke: self.look_up(&plan, &options, one.broke),
                verified: one.verified,
                order_hash: one.order_hash,
            });
        }
        Ok(done)
    }

    /// What the ledger knows of what a run broke. What comes after a finding may come of it, and is not looked at,
    /// unless the ledger says otherwise.
    fn look_up(&self, plan: &Plan, options: &ScenarioOptions, broke: Vec<Signature>) -> Vec<Broke> {
        let mut found = Vec::new();
        for signature in broke {
            let known: Vec<&Known> = self.campaign.ledger.find(&signature).collect();
            let goes_on = !known.is_empty() && known.iter().all(|known| known.goes_on);
            let known = self.told_apart(plan, options, &signature, known);
            let candidates = known.into_iter();
            let candidates = candidates.map(|known| (known.id.clone(), known.title.clone()));
            found.push(Broke {
                signature,
                candidates: candidates.collect(),
            });
            if !goes_on {
                break;
            }
        }
        found
    }

    /// The one of several that it is: that without which this run does not show it. All, if there is no such one.
    fn told_apart<'l>(
        &self,
        plan: &Plan,
        options: &ScenarioOptions,
        signature: &Signature,
        known: Vec<&'l Known>,
    ) -> Vec<&'l Known> {
        if known.len() < 2 {
            return known;
        }
        let is_it = |known: &&&Known| {
            let Some(bug) = Bug::named(&known.id).filter(|bug| options.bugs.has(*bug)) else {
                return false;
            };
            let without = ScenarioOptions {
                bugs: options.bugs.without(bug),
                ..options.clone()
            };
            !self.shows(plan, &without, signature)
        };
        match known.iter().find(is_it) {
            Some(one) => vec![*one],
            None => known,
        }
    }

    /// How many scenarios a seed has.
    fn scenarios(&self, item: u64) -> u64 {
        match self.campaign.origin(item) {
            Origin::Seed(_) => self.campaign.plans.len().max(1) as u64,
            Origin::Corpus(_) => 1,
        }
    }

    /// A scenario of a seed, and the options of one of its schedules.
    fn scenario(&self, item: u64, run: u64) -> Result<(Plan, ScenarioOptions), RunError> {
        let schedules = self.campaign.schedules;
        let (number, schedule) = (run / schedules, run % schedules);
        let (plan, seed, recorded) = match self.campaign.origin(item) {
            Origin::Corpus(file) => {
                let (_, repro) = &self.campaign.corpus[item as usize];
                let none =
                    || RunError::Input(format!("{file}: it was written by an older version"));
                let plan = repro.plan().cloned().ok_or_else(none)?;
                (plan, repro.recorded.seed, Some(&repro.recorded))
            }
            Origin::Seed(seed) => {
                let plan = match self.campaign.plans.get(number as usize) {
                    None => drawn(seed),
                    Some(plan) => moved(plan, seed)?,
                };
                (plan, seed, None)
            }
        };
        let seed = seed.wrapping_add(schedule.wrapping_mul(SPREAD));
        let mut options = self.options(seed, self.campaign.schedule);
        if let Some(recorded) = recorded {
            options.strategy = crate::options::schedule(recorded)?.strategy(seed);
            options.targets_asked = recorded.targets_asked.unwrap_or(QEMU_TARGETS);
        }
        Ok((plan, options))
    }

    fn options(&self, seed: u64, schedule: Schedule) -> ScenarioOptions {
        ScenarioOptions {
            seed,
            bugs: self.campaign.bugs,
            strategy: schedule.strategy(seed),
            targets_asked: targets_asked(seed),
            record: false,
        }
    }

    /// Makes a finding smaller, and names it.
    fn shrink(&self, job: &ShrinkJob) -> Option<Shrunk> {
        let (item, run) = job.at;
        let (plan, options) = self.scenario(item, run).ok()?;
        let steps = own_steps(&plan);
        let breaks = |plan: &Plan, options: &ScenarioOptions| {
            !asked() && self.shows(plan, options, &job.signature)
        };
        // Of a plan with cases of its own, every step is one that people wrote.
        let (plan, options) = if self.is_drawn(&plan) {
            shrink(plan, options, &breaks, QUICKLY)
        } else {
            (plan, options)
        };
        if asked() {
            return None;
        }
        let volume = self.conduct.volume;
        let unseen = Repro::unseen(&plan, &options, volume).ok()?;
        let repro = match job.signature.what {
            Broken::Panic => unseen,
            Broken::Check(_) => {
                let again = caught(|| unseen.clone().seen(options.strategy.clone()));
                again.ok().and_then(Result::ok).unwrap_or(unseen)
            }
        };
        Some(Shrunk {
            steps: (steps, own_steps(&plan)),
            named: self.named(job, &plan, &options),
            repro,
        })
    }

    /// Whether a scenario is one case of which only the checks say what is wrong.
    fn is_drawn(&self, plan: &Plan) -> bool {
        matches!(plan.cases.as_slice(), [case] if case.expects == Expects::Nothing)
    }

    fn shows(&self, plan: &Plan, options: &ScenarioOptions, signature: &Signature) -> bool {
        let attempt = attempt(plan, options, &self.conduct, Note::Broken);
        attempt.is_ok_and(|attempt| attempt.broke.contains(signature))
    }

    /// Which of the candidates it is. What is a known bug of the model's has to be in force, and without it the
    /// finding must not happen under any of some schedules: a ledger alone could hide what is new.
    fn named(
        &self,
        job: &ShrinkJob,
        plan: &Plan,
        options: &ScenarioOptions,
    ) -> Option<(String, String)> {
        let is_it = |candidate: &&(String, String)| {
            let Some(bug) = Bug::named(&candidate.0) else {
                return true;
            };
            let without = |seed: u64| ScenarioOptions {
                seed,
                bugs: options.bugs.without(bug),
                strategy: self.campaign.schedule.strategy(seed),
                ..options.clone()
            };
            let seeds = std::iter::once(options.seed).chain(0..WITHOUT_SCHEDULES);
            options.bugs.has(bug)
                && seeds
                    .map(without)
                    .all(|options| !self.shows(plan, &options, &job.signature))
        };
        job.candidates.iter().find(is_it).cloned()
    }
}

/// The steps of a plan's cases.
fn own_steps(plan: &Plan) -> usize {
    plan.cases.iter().map(|case| case.steps.len()).sum()
}
