//! Scripts on the simulator: one from a seed or a plan, under a schedule, and what the checks made of it.
//!
//! Knows nothing of arguments and files.

use std::collections::BTreeMap;
use std::sync::Arc;

use fio_model::JobFile;
use scenarios::check::Judge;
use scenarios::generate::{ShapeBytes, StepBytes, choose};
use scenarios::plan::{Expects, Plan};
use scenarios::report::{Report, RunHeader};
use scenarios::run::{CheckOutcome, CheckResult, StepResult, run};
use scenarios::testbed::TestbedError;
use scenarios::{Action, Ending, Evidence, Observation, Script, Seen, TARGETS_PER_CONTROLLER_MAX};
use sim::linux::QEMU_TARGETS;
use sim::world::{Choices, Record, Strategy};
use sim::{Bugs, Rng, Stream};
use sim::{DISKS_MAX, Sim, SimOptions};

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
    /// Targets that guests ask for in each host when they scan it.
    pub targets_asked: u16,
    /// Whether who went is noted.
    pub record: bool,
}

/// Targets that guests of generated scenarios ask for: those that there can be, which is a quarter of the work.
const TARGETS_ASKED: u16 = TARGETS_PER_CONTROLLER_MAX as u16;
/// One seed in so many has guests that ask for as many as QEMU says that there are.
const ASK_ALL_ONE_IN: u64 = 16;

/// Targets that the guests of a seed's scenario ask for.
///
/// # Divergence from Linux
///
/// Behind QEMU, SeaBIOS and Linux ask for 256 targets, whatever the back-end has. Guests that ask for those eight that
/// SPDK can have find what the others find, and boot in a tenth of the time.
#[must_use]
pub const fn targets_asked(seed: u64) -> u16 {
    if seed % ASK_ALL_ONE_IN == ASK_ALL_ONE_IN - 1 {
        QEMU_TARGETS
    } else {
        TARGETS_ASKED
    }
}

impl ScenarioOptions {
    /// A target as it should be, under a random schedule that `seed` draws.
    #[must_use]
    pub fn intended(seed: u64) -> Self {
        Self {
            seed,
            bugs: Bugs::INTENDED,
            strategy: Strategy::random(seed),
            targets_asked: targets_asked(seed),
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
        jobs: shipped_jobs()?,
        turns: None,
        disturb_at: None,
        view: View::Inside,
    };
    on_simulator(&script, setting, watch)
}

/// What a script is carried out with.
pub(crate) struct Setting {
    pub(crate) options: ScenarioOptions,
    /// What each disk of a job covers; `None`: as the job says.
    pub(crate) volume: Option<fio_model::Volume>,
    pub(crate) jobs: Jobs,
    /// Who is told of every turn.
    pub(crate) turns: Option<Record>,
    /// Draw once more from the world's rng at this turn.
    pub(crate) disturb_at: Option<u64>,
    /// What the checks are shown.
    pub(crate) view: View,
}

/// What of the simulator the checks are shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum View {
    /// All of it.
    #[default]
    Inside,
    /// What model guests on the sockets of a target that runs would see.
    Outside,
}

impl View {
    /// What of `whole` is left to see.
    const fn evidence(self, whole: Evidence) -> Evidence {
        let outside = Evidence::PER_IO
            .union(Evidence::GUEST_DISKS)
            .union(Evidence::FIO_REPORT);
        match self {
            Self::Inside => whole,
            Self::Outside => whole.intersection(outside),
        }
    }
}

/// Job files, parsed, by the names that plans use.
pub(crate) type Jobs = BTreeMap<String, Arc<JobFile>>;

thread_local! {
    /// The jobs that ship: no scenario changes them.
    static SHIPPED: Result<Jobs, RunError> = parse_jobs(&RunOptions::default().jobs, &GuestKind::Model);
}

/// The jobs that ship.
pub(crate) fn shipped_jobs() -> Result<Jobs, RunError> {
    SHIPPED.with(Clone::clone)
}

impl Setting {
    /// The simulator on which that is done.
    pub(crate) fn simulator(self, script: &Script) -> Sim {
        let mut sim = Sim::new(SimOptions {
            disks: disks(script),
            seed: self.options.seed,
            bugs: self.options.bugs,
            volume: self.volume,
            jobs: self.jobs,
            strategy: self.options.strategy,
            targets: self.options.targets_asked,
            per_io: true,
            digests: testbed::digests(),
            disturb_at: self.disturb_at,
        });
        if self.options.record {
            sim.record_choices();
        }
        if let Some(record) = self.turns {
            sim.record_turns(record);
        }
        sim
    }
}

/// Disks that a script names, up to the last: no other is asked for.
fn disks(script: &Script) -> u8 {
    let started = script.steps().flat_map(|step| &step.does);
    let disks = started.filter_map(|action| match action {
        Action::StartTarget { disks, .. } => disks.iter().map(|disk| disk.0).max(),
        _ => None,
    });
    disks.max().unwrap_or(DISKS_MAX)
}

/// Carries out `script` on the simulator, and shows `watch` everything that is seen.
pub(crate) fn on_simulator(
    script: &Script,
    setting: Setting,
    watch: &mut dyn FnMut(&Seen),
) -> Result<ScenarioReport, RunError> {
    let (bugs, view) = (setting.options.bugs, setting.view);
    let mut sim = setting.simulator(script);
    let evidence = view.evidence(sim.as_testbed().evidence());
    let judge = testbed::judge(evidence, script.vms.clone(), bugs);
    let mut judge = Watched {
        judge,
        watch,
        view,
        evidence,
    };
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
    let failed = match start.map(|step| &step.result) {
        Some(StepResult::Violated { seen, .. }) if expects_nothing => {
            return Err(RunError::NoTestbed(seen.clone()));
        }
        Some(
            StepResult::Violated { .. }
            | StepResult::Held { .. }
            | StepResult::Skipped { .. }
            | StepResult::Inconclusive { .. },
        )
        | None => report.lost.as_ref(),
    };
    match failed.filter(|_| expects_nothing) {
        Some(lost) => Err(TestbedError(lost.clone()).into()),
        None => Ok(report),
    }
}

/// A judge that is shown what a view leaves to see, and somebody who looks on.
struct Watched<'a> {
    judge: Judge,
    watch: &'a mut dyn FnMut(&Seen),
    view: View,
    evidence: Evidence,
}

impl Watched<'_> {
    fn shows(&self, what: &Observation) -> bool {
        match (self.view, what) {
            (View::Inside, _) => true,
            (View::Outside, Observation::Inside(_)) => false,
            (View::Outside, Observation::Broken { check, .. }) => {
                self.evidence.contains(check.needs())
            }
            (View::Outside, _) => true,
        }
    }
}

impl scenarios::run::Judge for Watched<'_> {
    fn begin_case(&mut self) {
        self.judge.begin_case();
    }

    fn see(&mut self, seen: &Seen) {
        (self.watch)(seen);
        if self.shows(&seen.what) {
            self.judge.see(seen);
        }
    }

    fn end_case(&mut self) -> Vec<CheckResult> {
        let mut checks = self.judge.end_case();
        for check in &mut checks {
            let needs = check.id.needs();
            if self.view == View::Outside && !self.evidence.contains(needs) {
                check.outcome = CheckOutcome::NotSeen { needs };
            }
        }
        checks
    }
}
