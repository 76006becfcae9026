//! A repro: one failure, kept so that it happens again, whatever becomes of the generators.
//!
//! ```text
//! {"plugfest_repro":2,"crc32":"9ae0daaf","body":{…}}
//! ```
//!
//! The body holds what was done, step by step; how the target was wrong; who went, turn by turn; and
//! what came of it. The sum is the IEEE CRC-32 of the body as JSON without white space.

use std::collections::BTreeMap;

use scenarios::concretise::Concrete;
use scenarios::report::{Report, RunHeader};
use scenarios::run::{CheckOutcome, CheckResult};
use scenarios::story::Story;
use scenarios::testbed::Testbed as _;
use scenarios::{CheckId, ControllerId, Ending, VmId};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sim::world::{Choices, Strategy};
use sim::{Bug, Bugs};
use sim::{Sim, SimOptions};

use crate::run::{GuestKind, JobText, RunError, RunOptions, concrete};
use crate::story::{StoryOptions, tell};
use crate::testbed::{self, parse_jobs};

/// The version of the schema that is written; newer ones are refused.
pub const REPRO_VERSION: u64 = 2;

/// A failure that can be replayed.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Repro {
    /// What the checks said.
    pub findings: Vec<Finding>,
    /// The names of the bugs in force.
    pub bugs: Vec<String>,
    /// Feeds the accidents of the world.
    pub seed: u64,
    /// What was done.
    pub what: What,
    /// Who went, turn by turn ([`Choices`]).
    pub choices: String,
    /// Hashes and counts at the end.
    pub ending: Ending,
}

/// What a check said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// The check.
    pub check: CheckId,
    /// What it expected.
    pub expected: String,
    /// What it saw.
    pub seen: String,
}

/// What was done.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// A story.
    Story(Story),
    /// A plan in which nothing is left to chance.
    Plan(Box<PlanSteps>),
}

/// A plan in which nothing is left to chance, and what else its run needs.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PlanSteps {
    /// The steps.
    pub steps: Concrete,
    /// The VMs, and their controllers.
    pub vms: Vec<(VmId, Vec<ControllerId>)>,
    /// Blocks of a job and its scale; `None`: as the job says.
    pub volume: Option<(u64, u32)>,
    /// The job files by the names that the steps use: file name and text.
    pub jobs: BTreeMap<String, (String, String)>,
}

impl PlanSteps {
    /// The job files.
    pub(crate) fn job_texts(&self) -> BTreeMap<String, JobText> {
        let jobs = self.jobs.iter().map(|(name, (file, text))| {
            let (file, text) = (file.clone(), text.clone());
            (name.clone(), JobText { file, text })
        });
        jobs.collect()
    }

    /// What each disk of a job covers.
    pub(crate) fn volume(&self) -> Option<fio_model::Volume> {
        let (blocks, scale) = self.volume?;
        Some(fio_model::Volume { blocks, scale })
    }
}

/// What came of a replay.
#[derive(Clone, Debug)]
pub struct Replayed {
    /// What the checks said this time.
    pub findings: Vec<Finding>,
    /// Hashes and counts this time.
    pub ending: Ending,
    /// The first turn at which the recorded choices could not be followed.
    pub strayed: Option<u64>,
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
        _ => None,
    });
    violated.collect()
}

impl Repro {
    /// Tells `story` again, with every choice noted.
    ///
    /// # Errors
    ///
    /// The simulator cannot carry it out.
    pub fn of_story(story: &Story, options: StoryOptions) -> Result<Self, RunError> {
        let (seed, strategy) = (options.seed, options.strategy);
        let what = What::Story(story.clone());
        Self::of(what, options.bugs, seed, strategy)
    }

    /// Carries `plan` out again, with every choice noted.
    ///
    /// # Errors
    ///
    /// As [`run`](crate::run()).
    pub fn of_run(plan: &scenarios::Plan, options: &RunOptions) -> Result<Self, RunError> {
        let volume = testbed::volume(options.volume);
        let jobs = options.jobs.iter();
        let jobs = jobs.map(|(name, job)| (name.clone(), (job.file.clone(), job.text.clone())));
        let what = What::Plan(Box::new(PlanSteps {
            steps: concrete(plan, options)?,
            vms: testbed::vms(plan),
            volume: volume.map(|volume| (volume.blocks, volume.scale)),
            jobs: jobs.collect(),
        }));
        let strategy = testbed::strategy(options);
        Self::of(what, testbed::bugs(options), options.seed, strategy)
    }

    fn of(what: What, bugs: Bugs, seed: u64, strategy: Strategy) -> Result<Self, RunError> {
        let again = carry_out(&what, bugs, seed, strategy)?;
        let names = bugs.iter().map(|bug| bug.name().into());
        Ok(Self {
            findings: again.findings,
            bugs: names.collect(),
            seed,
            what,
            choices: again.choices,
            ending: again.ending,
        })
    }

    /// Does it all again.
    ///
    /// # Errors
    ///
    /// A bug that this program does not know, or choices that are none.
    pub fn replay(&self) -> Result<Replayed, RunError> {
        let strategy = Strategy::Replay(self.parsed_choices()?);
        carry_out(&self.what, self.bugs()?, self.seed, strategy)
    }

    pub(crate) fn parsed_choices(&self) -> Result<Choices, RunError> {
        let choices = Choices::parse(&self.choices);
        choices.map_err(|error| RunError(format!("choices: {error}")))
    }

    /// The VMs, and their controllers.
    pub(crate) fn vms(&self) -> Vec<(VmId, Vec<ControllerId>)> {
        match &self.what {
            What::Story(story) => {
                let vms = story.vms.iter();
                vms.map(|vm| (vm.vm, vm.controllers.clone())).collect()
            }
            What::Plan(plan) => plan.vms.clone(),
        }
    }

    /// How the target was wrong.
    ///
    /// # Errors
    ///
    /// A bug that this program does not know.
    pub fn bugs(&self) -> Result<Bugs, RunError> {
        let mut all = Bugs::INTENDED;
        for name in &self.bugs {
            let unknown = || RunError(format!("deviations: no deviation is called {name:?}"));
            all = all.with(Bug::named(name).ok_or_else(unknown)?);
        }
        Ok(all)
    }

    /// The file's text.
    #[must_use]
    pub fn text(&self) -> String {
        let body = serde_json::to_value(self).expect("a repro is plain data");
        let crc32 = format!("{:08x}", crc32fast::hash(body.to_string().as_bytes()));
        let file = serde_json::json!({
            "plugfest_repro": REPRO_VERSION, "crc32": crc32, "body": body,
        });
        format!("{file:#}\n")
    }

    /// Reads a file's text.
    ///
    /// # Errors
    ///
    /// It is no repro, a newer one, cut off, or changed since it was written; with the place.
    pub fn parse(text: &str) -> Result<Self, RunError> {
        let file: Value = serde_json::from_str(text).map_err(|error| {
            let what = if error.is_eof() {
                "it is cut off: "
            } else {
                ""
            };
            RunError(format!("no repro: {what}{error}"))
        })?;
        let wrong = |what: String| RunError(what);
        if !text.ends_with('\n') {
            return Err(wrong(
                "no repro: it is cut off: its last line has no end".into(),
            ));
        }
        match file.get("plugfest_repro").map(Value::as_u64) {
            Some(Some(REPRO_VERSION)) => {}
            Some(Some(newer)) if newer > REPRO_VERSION => {
                return Err(wrong(format!(
                    "schema {newer} is newer than this program, which reads {REPRO_VERSION}"
                )));
            }
            Some(Some(older)) if older > 0 => {
                return Err(wrong(format!(
                    "schema {older} is older than this program, which reads {REPRO_VERSION}: the failure has to be found again, by `plugfest fuzz` with its seed"
                )));
            }
            _ => {
                return Err(wrong(format!(
                    "no repro: expected \"plugfest_repro\": {REPRO_VERSION} at its top"
                )));
            }
        }
        let keys = file.as_object().into_iter().flat_map(|file| file.keys());
        let strange = |key: &&String| !["plugfest_repro", "crc32", "body"].contains(&key.as_str());
        if let Some(key) = keys.into_iter().find(strange) {
            return Err(wrong(format!(
                "no repro: {key:?} at its top\n  = expected plugfest_repro, crc32 and body alone"
            )));
        }
        let body = file.get("body").cloned().unwrap_or_default();
        let crc32 = format!("{:08x}", crc32fast::hash(body.to_string().as_bytes()));
        let written = file.get("crc32").and_then(Value::as_str).unwrap_or("none");
        if written != crc32 {
            return Err(wrong(format!(
                "changed since it was written: its crc32 says {written}, its body has {crc32}"
            )));
        }
        serde_json::from_value(body).map_err(|error| wrong(format!("body: {error}")))
    }
}

fn carry_out(what: &What, bugs: Bugs, seed: u64, strategy: Strategy) -> Result<Replayed, RunError> {
    match what {
        What::Story(story) => {
            let options = StoryOptions {
                seed,
                bugs,
                strategy,
                record: true,
            };
            let report = tell(story, options)?;
            Ok(Replayed {
                findings: findings(&report.checks),
                ending: report.ending,
                strayed: report.strayed,
                choices: report.choices.unwrap_or_default().to_string(),
            })
        }
        What::Plan(plan) => carry_out_plan(plan, bugs, seed, strategy),
    }
}

/// What a report of a plan's steps is about.
pub(crate) fn header(plan: &PlanSteps, seed: u64) -> RunHeader {
    RunHeader {
        plan: plan.steps.plan.clone(),
        plan_argument: plan.steps.plan.clone(),
        seed,
        behaviour: String::new(),
        volume: String::new(),
        repeat_options: String::new(),
    }
}

/// The simulator on which `what` was done.
pub(crate) fn sim_of(
    what: &What,
    bugs: Bugs,
    seed: u64,
    strategy: Strategy,
) -> Result<Sim, RunError> {
    let (jobs, volume) = match what {
        What::Story(_) => (RunOptions::default().jobs, None),
        What::Plan(plan) => (plan.job_texts(), plan.volume()),
    };
    simulator(jobs, volume, bugs, seed, strategy)
}

fn simulator(
    jobs: BTreeMap<String, JobText>,
    volume: Option<fio_model::Volume>,
    bugs: Bugs,
    seed: u64,
    strategy: Strategy,
) -> Result<Sim, RunError> {
    Ok(Sim::new(SimOptions {
        seed,
        bugs,
        volume,
        jobs: parse_jobs(&jobs, &GuestKind::Model)?,
        strategy,
        per_io: true,
        digests: testbed::digests(),
        disturb_at: None,
    }))
}

fn carry_out_plan(
    plan: &PlanSteps,
    bugs: Bugs,
    seed: u64,
    strategy: Strategy,
) -> Result<Replayed, RunError> {
    let mut sim = simulator(plan.job_texts(), plan.volume(), bugs, seed, strategy)?;
    sim.record_choices();
    let mut judge = testbed::judge(sim.evidence(), plan.vms.clone(), bugs);
    let outcome = scenarios::run::run(&plan.steps, &mut sim, &mut judge, &mut |_| {});
    let outcome = outcome.map_err(|error| RunError(error.to_string()))?;
    let report = Report::new(header(plan, seed), outcome);
    Ok(Replayed {
        findings: findings(report.rows.iter().flat_map(|row| &row.checks)),
        ending: report.ending,
        strayed: sim.strayed(),
        choices: sim.choices().cloned().unwrap_or_default().to_string(),
    })
}
