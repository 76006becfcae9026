//! A repro: one failure, kept so that it happens again, whatever becomes of the generators.
//!
//! It is a plan file in which nothing is left to chance, with a node `recorded`: under what it was carried out, who
//! went, turn by turn, and what came of it. `plugfest run` takes it as any other plan; `plugfest replay` follows
//! the recorded choices. What older versions wrote, in JSON, is read still ([`old_repro`](crate::old_repro)).

use scenarios::plan::{Finding, Plan, Recorded};
use scenarios::resolve::{Options, draw, script};
use scenarios::run::{CheckOutcome, CheckResult};
use scenarios::{Ending, Script};
use sim::Bugs;
use sim::linux::QEMU_TARGETS;
use sim::world::{Choices, Strategy};

use crate::job_files::parse_jobs;
use crate::old_repro;
use crate::options::{self, GuestKind, RunOptions, Schedule, Volume};
use crate::run::doubts;
use crate::run_error::RunError;
use crate::scenario::{ScenarioOptions, Setting, View, on_simulator};

/// A failure that can be replayed.
#[derive(Clone, Debug)]
pub struct Repro {
    /// What is carried out.
    pub script: Script,
    /// Under what, and what came of it.
    pub recorded: Recorded,
    /// The text of it; what an older version wrote has none.
    plan: Option<Plan>,
}

/// What is recorded of how many targets guests ask for: nothing, if they ask for all.
fn asked_for(targets: u16) -> Option<u16> {
    (targets != QEMU_TARGETS).then_some(targets)
}

/// What came of a replay.
#[derive(Clone, Debug)]
pub struct Replayed {
    /// What the checks said this time.
    pub findings: Vec<Finding>,
    /// Hashes and counts this time.
    pub ending: Ending,
    /// The first turn at which the recorded choices could not be followed.
    pub diverged: Option<u64>,
    /// Who went.
    pub choices: String,
}

/// The violations among results.
pub(crate) fn findings<'a>(checks: impl IntoIterator<Item = &'a CheckResult>) -> Vec<Finding> {
    let violated = checks.into_iter().filter_map(|check| match &check.outcome {
        CheckOutcome::Violated { expected, seen, .. } => Some(Finding {
            check: check.id,
            expected: expected.clone(),
            seen: seen.clone(),
        }),
        CheckOutcome::Held | CheckOutcome::Waived { .. } | CheckOutcome::NotSeen { .. } => None,
    });
    violated.collect()
}

impl Repro {
    /// Carries a generated scenario out again, with every choice noted.
    ///
    /// # Errors
    ///
    /// The simulator cannot carry it out.
    pub fn of_scenario(plan: &Plan, options: ScenarioOptions) -> Result<Self, RunError> {
        let recorded = Self::recorded(plan, &options, Volume::Full);
        Self::of(plan.clone(), recorded, options.strategy)
    }

    /// A scenario that nobody has carried out.
    ///
    /// # Errors
    ///
    /// The plan asks for something impossible.
    pub(crate) fn unseen(
        plan: &Plan,
        options: &ScenarioOptions,
        volume: Volume,
    ) -> Result<Self, RunError> {
        Self::new(plan.clone(), Self::recorded(plan, options, volume))
    }

    /// The same, carried out, with every choice noted.
    ///
    /// # Errors
    ///
    /// The simulator cannot carry it out.
    pub(crate) fn seen(mut self, strategy: Strategy) -> Result<Self, RunError> {
        let again = self.carry_out(strategy)?;
        self.recorded.findings = again.findings;
        self.recorded.ending = Some(again.ending);
        self.recorded.choices = again.choices;
        Ok(self)
    }

    /// Under what a scenario is carried out.
    fn recorded(plan: &Plan, options: &ScenarioOptions, volume: Volume) -> Recorded {
        let named = plan.jobs().into_iter().map(|job| job.name);
        let shipped = RunOptions::default().jobs;
        let jobs = named.filter_map(|name| Some((name.to_owned(), shipped.get(name)?.clone())));
        Recorded {
            seed: options.seed,
            schedule: match options.strategy {
                Strategy::Timed => Schedule::Timed.word().to_owned(),
                Strategy::Random { .. } | Strategy::Replay(_) => Schedule::Random.word().to_owned(),
            },
            io_count: volume.word().to_owned(),
            targets_asked: asked_for(options.targets_asked),
            bugs: options
                .bugs
                .iter()
                .map(|bug| bug.name().to_owned())
                .collect(),
            jobs: jobs.collect(),
            ..Recorded::default()
        }
    }

    /// Carries `plan` out again, with every choice noted.
    ///
    /// # Errors
    ///
    /// As [`run`](crate::run()).
    pub fn of_run(plan: &Plan, options: &RunOptions) -> Result<Self, RunError> {
        let only = options.only.clone();
        let drawn = draw(plan, options.seed, &Options { only })?;
        let named = drawn.jobs().into_iter().map(|job| job.name);
        let jobs =
            named.filter_map(|name| Some((name.to_owned(), options.jobs.get(name)?.clone())));
        let bugs = options.all_bugs();
        let recorded = Recorded {
            seed: options.seed,
            schedule: options.schedule.word().to_owned(),
            io_count: options.volume.word().to_owned(),
            targets_asked: asked_for(options.targets_asked),
            bugs: bugs.iter().map(|bug| bug.name().to_owned()).collect(),
            jobs: jobs.collect(),
            ..Recorded::default()
        };
        Self::of(drawn, recorded, options.schedule.strategy(options.seed))
    }

    fn of(plan: Plan, recorded: Recorded, strategy: Strategy) -> Result<Self, RunError> {
        Self::new(plan, recorded)?.seen(strategy)
    }

    fn new(plan: Plan, recorded: Recorded) -> Result<Self, RunError> {
        let script = script(&plan)?;
        let doubts = doubts(&plan, &recorded.jobs);
        Ok(Self {
            script: Script { doubts, ..script },
            recorded,
            plan: Some(plan),
        })
    }

    /// How the target was wrong.
    ///
    /// # Errors
    ///
    /// A bug that this program does not know.
    pub fn bugs(&self) -> Result<Bugs, RunError> {
        options::recorded_bugs(&self.recorded)
    }

    /// Does it all again: by the recorded choices, or, if there are none, by the schedule.
    ///
    /// # Errors
    ///
    /// A bug that this program does not know, or choices that are none.
    pub fn replay(&self) -> Result<Replayed, RunError> {
        self.carry_out(self.strategy()?)
    }

    /// Who goes next in a replay.
    pub(crate) fn strategy(&self) -> Result<Strategy, RunError> {
        let Recorded { choices, seed, .. } = &self.recorded;
        if choices.is_empty() && self.plan.is_some() {
            return Ok(options::schedule(&self.recorded)?.strategy(*seed));
        }
        let choices = Choices::parse(choices);
        let choices = choices.map_err(|error| RunError::Input(format!("choices: {error}")))?;
        Ok(Strategy::Replay(choices))
    }

    /// What it is carried out with.
    pub(crate) fn setting(&self, strategy: Strategy) -> Result<Setting, RunError> {
        let mut jobs = RunOptions::default().jobs;
        jobs.extend(self.recorded.jobs.clone());
        Ok(Setting {
            options: ScenarioOptions {
                seed: self.recorded.seed,
                bugs: self.bugs()?,
                strategy,
                targets_asked: self.recorded.targets_asked.unwrap_or(QEMU_TARGETS),
                record: true,
            },
            volume: options::volume(&self.recorded)?.of_a_job(),
            jobs: parse_jobs(&jobs, &GuestKind::Model)?,
            turns: None,
            disturb_at: None,
            view: View::Inside,
        })
    }

    fn carry_out(&self, strategy: Strategy) -> Result<Replayed, RunError> {
        let report = on_simulator(&self.script, self.setting(strategy)?, &mut |_| {})?;
        Ok(Replayed {
            findings: findings(&report.checks),
            ending: report.ending,
            diverged: report.diverged,
            choices: report.choices.unwrap_or_default().to_string(),
        })
    }

    /// The plan; `None` of what an older version wrote.
    #[must_use]
    pub const fn plan(&self) -> Option<&Plan> {
        self.plan.as_ref()
    }

    /// The file's text; `None` of what an older version wrote.
    #[must_use]
    pub fn text(&self) -> Option<String> {
        let plan = Plan {
            recorded: Some(self.recorded.clone()),
            ..self.plan.clone()?
        };
        Some(plan.to_string())
    }

    /// Reads the text of `file`.
    ///
    /// # Errors
    ///
    /// It is no repro, a newer one, cut off, or, if it is JSON, changed since it was written; with the place.
    pub fn parse(file: &str, text: &str) -> Result<Self, RunError> {
        if text.trim_start().starts_with(['{', '[']) {
            let old = old_repro::parse(text);
            let (script, recorded) =
                old.map_err(|error| RunError::Input(format!("{file}: {error}")))?;
            return Ok(Self {
                script,
                recorded,
                plan: None,
            });
        }
        let plan = scenarios::parse(file, text)?;
        let Some(recorded) = plan.recorded.clone() else {
            let what = format!(
                "{file}: the plan has no `recorded`\n  = expected what `fuzz` or `run --repro` wrote"
            );
            return Err(RunError::Input(what));
        };
        let repro = Self::new(plan, recorded)?;
        let at = repro.recorded.at;
        let wrong = |error| RunError::Input(format!("{file}:{}:{}: {error}", at.line, at.column));
        repro.bugs().map_err(wrong)?;
        options::volume(&repro.recorded).map_err(wrong)?;
        options::schedule(&repro.recorded).map_err(wrong)?;
        Ok(repro)
    }
}
