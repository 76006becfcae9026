//! Scripts on the simulator: one from a seed or a plan, under a schedule, and what the checks made of it.
//!
//! Knows nothing of arguments and files.

use std::collections::BTreeMap;

use scenarios::check::Judge;
use scenarios::generate::{ShapeBytes, StepBytes, choose};
use scenarios::plan::{Expects, JobText, Plan};
use scenarios::report::{Report, RunHeader};
use scenarios::run::{CheckOutcome, CheckResult, StepResult, run};
use scenarios::testbed::TestbedError;
use scenarios::{Ending, Script, Seen};
use sim::world::{Choices, Strategy};
use sim::{Bugs, Rng, Stream};
use sim::{Sim, SimOptions};

use crate::job_files::parse_jobs;
use crate::options::{GuestKind, RunOptions};
use crate::run_error::RunError;
use crate::testbed;

/// Steps of a drawn scenario, behind its boots.
const STEPS: (u32, u32) = (8, 40);

/// Under what a generated scenario is carried out.
#[derive(Clone, Debug)]
pub struct ScenarioOptions {
    /// Feeds the accidents of the world.
    pub seed: u64,
    /// How the target is wrong.
    pub bugs: Bugs,
    /// Who goes next.
    pub strategy: Strategy,
    /// Whether who went is noted.
    pub record: bool,
}

impl ScenarioOptions {
    /// A target as it should be, under a random schedule that `seed` draws.
    #[must_use]
    pub fn intended(seed: u64) -> Self {
        Self {
            seed,
            bugs: Bugs::INTENDED,
            strategy: Strategy::random(seed),
            record: false,
        }
    }
}

/// What came of a script.
#[derive(Clone, Debug)]
pub struct ScenarioReport {
    /// What every check said.
    pub checks: Vec<CheckResult>,
    /// Blocks that fio found right.
    pub verified: u64,
    /// Steps that the simulator cannot do.
    pub skipped: usize,
    /// Hashes and counts.
    pub ending: Ending,
    /// Who went, if that was noted.
    pub choices: Option<Choices>,
    /// The turn at which a replayed schedule could not be followed.
    pub diverged: Option<u64>,
}

impl ScenarioReport {
    /// The checks that were violated.
    pub fn violated(&self) -> impl Iterator<Item = &CheckResult> {
        let violated =
            |check: &&CheckResult| matches!(check.outcome, CheckOutcome::Violated { .. });
        self.checks.iter().filter(violated)
    }
}

/// The scenario that `seed` draws.
#[must_use]
pub fn drawn(seed: u64) -> Plan {
    let mut rng = Rng::new(seed, Stream::Scenario);
    let shape: ShapeBytes = first(rng.bits());
    let steps = rng.between(STEPS.0, STEPS.1);
    let steps: Vec<StepBytes> = (0..steps).map(|_| first(rng.bits())).collect();
    Plan {
        name: format!("generated-{seed}"),
        ..choose(shape, &steps)
    }
}

/// The first bytes of a draw.
fn first<const N: usize>(bits: u64) -> [u8; N] {
    let bytes = bits.to_le_bytes();
    std::array::from_fn(|n| bytes[n])
}

/// Carries out a generated scenario on the simulator, with every check on.
///
/// # Errors
///
/// The simulator cannot carry it out: too many actors, or no such VM.
pub fn carry_out(plan: &Plan, options: ScenarioOptions) -> Result<ScenarioReport, RunError> {
    carry_out_watched(plan, options, &mut |_| {})
}

/// Like [`carry_out`], and shows `watch` everything that is seen.
///
/// # Errors
///
/// As [`carry_out`].
pub fn carry_out_watched(
    plan: &Plan,
    options: ScenarioOptions,
    watch: &mut dyn FnMut(&Seen),
) -> Result<ScenarioReport, RunError> {
    let script = scenarios::resolve::script(plan)?;
    let setting = Setting {
        options,
        volume: None,
        jobs: RunOptions::default().jobs,
    };
    on_simulator(&script, setting, watch)
}

/// What a script is carried out with.
pub(crate) struct Setting {
    pub(crate) options: ScenarioOptions,
    /// What each disk of a job covers; `None`: as the job says.
    pub(crate) volume: Option<fio_model::Volume>,
    pub(crate) jobs: BTreeMap<String, JobText>,
}

impl Setting {
    /// The simulator on which that is done.
    pub(crate) fn simulator(self) -> Result<Sim, RunError> {
        let mut sim = Sim::new(SimOptions {
            seed: self.options.seed,
            bugs: self.options.bugs,
            volume: self.volume,
            jobs: parse_jobs(&self.jobs, &GuestKind::Model)?,
            strategy: self.options.strategy,
            per_io: true,
            digests: testbed::digests(),
            disturb_at: None,
        });
        if self.options.record {
            sim.record_choices();
        }
        Ok(sim)
    }
}

/// Carries out `script` on the simulator, and shows `watch` everything that is seen.
pub(crate) fn on_simulator(
    script: &Script,
    setting: Setting,
    watch: &mut dyn FnMut(&Seen),
) -> Result<ScenarioReport, RunError> {
    let bugs = setting.options.bugs;
    let mut sim = setting.simulator()?;
    let judge = testbed::judge(sim.as_testbed().evidence(), script.vms.clone(), bugs);
    let mut judge = Watched { judge, watch };
    let report = judged(script, sim.as_testbed(), &mut judge)?;
    let fios = report.rows.iter().flat_map(|row| &row.fios);
    let ended = fios.flat_map(|fio| &fio.jobs);
    let steps = report.rows.iter().flat_map(|row| &row.steps);
    let skipped = steps.filter(|step| matches!(step.result, StepResult::Skipped { .. }));
    Ok(ScenarioReport {
        verified: ended.map(|job| job.verified).sum(),
        skipped: skipped.count(),
        ending: report.ending,
        choices: sim.choices().cloned(),
        diverged: sim.diverged(),
        checks: report.rows.into_iter().flat_map(|row| row.checks).collect(),
    })
}

/// Carries out `script`, whoever the testbed is; a testbed that is lost, or a target that does not even start
/// where nothing is expected of it, is an error.
pub(crate) fn judged(
    script: &Script,
    testbed: &mut dyn scenarios::Testbed,
    judge: &mut dyn scenarios::run::Judge,
) -> Result<Report, RunError> {
    let outcome = run(script, testbed, judge, &mut |_| {})?;
    let header = RunHeader {
        plan: script.plan.clone(),
        plan_argument: script.plan.clone(),
        seed: 0,
        behaviour: String::new(),
        volume: String::new(),
        repeat_options: String::new(),
    };
    let report = Report::new(header, outcome);
    let expects_nothing = script
        .cases
        .iter()
        .any(|case| case.expects == Expects::Nothing);
    let start = report.rows.iter().find_map(|row| row.steps.first());
    match start.map(|step| &step.result) {
        Some(StepResult::Violated { seen, .. }) if expects_nothing => {
            Err(RunError::NoTestbed(seen.clone()))
        }
        _ => match &report.lost {
            Some(lost) if expects_nothing => Err(TestbedError(lost.clone()).into()),
            _ => Ok(report),
        },
    }
}

/// A judge, and somebody who looks on.
struct Watched<'a> {
    judge: Judge,
    watch: &'a mut dyn FnMut(&Seen),
}

impl scenarios::run::Judge for Watched<'_> {
    fn begin_case(&mut self) {
        self.judge.begin_case();
    }

    fn see(&mut self, seen: &Seen) {
        (self.watch)(seen);
        self.judge.see(seen);
    }

    fn end_case(&mut self) -> Vec<CheckResult> {
        self.judge.end_case()
    }
}
