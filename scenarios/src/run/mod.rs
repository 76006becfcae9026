//! Carries out a script on a testbed, and says of each step whether it held.
//!
//! Every wait names a condition and a limit. Knows the testbed only by its trait; hands everything
//! that is seen to the judge.

mod equal;
mod fios;
mod jobs;
mod known;
mod say;
mod step;
mod under_way;
mod undone;
mod untouched;

use std::time::Duration;

use tracing::{Span, info, info_span};

use crate::names::FioId;
use crate::observation::{FioJobEnd, Seen};
use crate::plan::{Expects, Role, Source};
use crate::said;
use crate::script::{Case, Script, Step};
use crate::testbed::{Ending, Evidence, Testbed, TestbedError};
use crate::time::Time;

pub use crate::verdict::{CheckOutcome, CheckResult, Judge};
use fios::Fios;
pub use jobs::GONE_ERRORS;
use known::Known;
use say::Say;
use step::Poll;
use under_way::UnderWay;
use undone::Undone;
use untouched::Untouched;

/// How long things may take. A condition that is not met by then is a violation.
///
/// Generous, because they must hold on an emulated machine too; the boot is upstream's
/// (`vm_wait_for_boot 300` in SPDK's test/vhost/common.sh).
pub mod limits {
    use std::time::Duration;

    /// An answer to an RPC. A detach waits for the slowest request in flight.
    pub const ANSWER: Duration = Duration::from_secs(30);
    /// A disk to come or go in a guest.
    pub const DISKS: Duration = Duration::from_secs(30);
    /// A boot or a reboot.
    pub const BOOT: Duration = Duration::from_secs(300);
    /// A fio to end, or its clock to come to a time.
    pub const FIO: Duration = Duration::from_secs(300);
    /// A sign of life.
    pub const ALIVE: Duration = Duration::from_secs(30);
    /// Everything to come to rest.
    pub const SETTLE: Duration = Duration::from_secs(60);
    /// Between two looks at a guest's disks.
    pub const LOOK_AGAIN: Duration = Duration::from_millis(100);
}

/// What became of a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StepResult {
    /// As expected.
    Held {
        /// What was seen, if there is something to say.
        seen: String,
    },
    /// Not as expected.
    Violated {
        /// What was expected.
        expected: String,
        /// What was seen.
        seen: String,
    },
    /// Not done.
    Skipped {
        /// Why.
        reason: String,
    },
    /// Done, but it says nothing.
    Inconclusive {
        /// Why.
        reason: String,
    },
}

/// A step that was carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepReport {
    /// The branch it ran in, if there were several.
    pub branch: Option<String>,
    /// Why it is there.
    pub source: Source,
    /// What it did, in words.
    pub text: String,
    /// What became of it.
    pub result: StepResult,
    /// When it began.
    pub began: Time,
    /// When that was known.
    pub ended: Time,
}

/// A fio that ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FioRun {
    /// Its number.
    pub fio: FioId,
    /// Its label in the plan.
    pub label: String,
    /// fio's exit status.
    pub exit: u8,
    /// It only read back what others wrote, and verified nothing itself.
    pub reads_back: bool,
    /// A job a disk.
    pub jobs: Vec<FioJobEnd>,
}

/// A case that was carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CaseOutcome {
    /// Its ID in the plan.
    pub id: String,
    /// Its title.
    pub title: String,
    /// False: it was only set-up.
    pub judged: bool,
    /// False: the testbed was lost before its first step. If it was lost later, the steps that were left are
    /// inconclusive.
    pub begun: bool,
    /// Its steps, in the order in which they ended.
    pub steps: Vec<StepReport>,
    /// What the checks said.
    pub checks: Vec<CheckResult>,
    /// The fios that ended in it.
    pub fios: Vec<FioRun>,
    /// Hashes and counts up to here.
    pub ending: Ending,
}

/// A run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunOutcome {
    /// What the testbed could show.
    pub evidence: Evidence,
    /// The cases, set-up included.
    pub cases: Vec<CaseOutcome>,
    /// Hashes and counts at the end.
    pub ending: Ending,
    /// Why the run stopped early, if the testbed was lost.
    pub lost: Option<String>,
}

/// What a run tells while it goes on.
#[derive(Clone, Copy, Debug)]
pub enum Progress<'a> {
    /// The prerequisites begin.
    Began,
    /// A case begins.
    CaseBegan {
        /// Its ID.
        id: &'a str,
        /// Its title.
        title: &'a str,
        /// False: it is only set-up.
        judged: bool,
    },
    /// A step has ended.
    StepEnded(&'a StepReport),
}

/// Carries out `script`.
///
/// # Errors
///
/// The testbed did not come up: it could not even begin with the first step. If it breaks later, the outcome says
/// so ([`RunOutcome::lost`]).
pub fn run(
    script: &Script,
    testbed: &mut dyn Testbed,
    judge: &mut dyn Judge,
    progress: &mut dyn FnMut(&Progress<'_>),
) -> Result<RunOutcome, TestbedError> {
    let mut runner = Runner {
        testbed,
        judge,
        progress,
        known: Known::default(),
        fios: Fios::new(script.doubtful()),
        batch: Vec::new(),
        clock: Time::ZERO,
        undone: Undone::default(),
        bare: None,
        say: Say::new(),
        came_up: false,
        lost: None,
    };
    runner.judge.begin_case();
    (runner.progress)(&Progress::Began);
    let mut steps = runner.branches(&[(None, &script.prerequisites)]);
    if let Some(reason) = runner.lost.as_ref().filter(|_| !runner.came_up) {
        return Err(TestbedError(reason.clone()));
    }
    let mut cases = Vec::new();
    for (at, case) in script.cases.iter().enumerate() {
        if at > 0 {
            runner.judge.begin_case();
        }
        runner.bare = match case.expects {
            Expects::Steps => None,
            Expects::Nothing => Some(Bare {
                untouched: Untouched::new(&script.vms, &case.steps),
                started: Vec::new(),
            }),
        };
        cases.push(runner.case(case, &mut steps));
    }
    Ok(RunOutcome {
        evidence: runner.testbed.evidence(),
        cases,
        ending: runner.testbed.ending(),
        lost: runner.lost,
    })
}

/// A run under way.
struct Runner<'a> {
    testbed: &'a mut dyn Testbed,
    judge: &'a mut dyn Judge,
    progress: &'a mut dyn FnMut(&Progress<'_>),
    known: Known,
    fios: Fios<'a>,
    /// Reused for every look at the testbed.
    batch: Vec<Seen>,
    /// No earlier than the testbed's time: moves on when nothing can happen any more.
    clock: Time,
    undone: Undone,
    /// What the case at hand has, if it expects nothing.
    bare: Option<Bare>,
    say: Say,
    /// Whether the testbed has done anything.
    came_up: bool,
    lost: Option<String>,
}

/// A case that expects nothing.
struct Bare {
    /// The fios that have to pass all the same.
    untouched: Untouched,
    /// All fios.
    started: Vec<FioId>,
}

/// A branch under way.
struct BranchState<'a> {
    name: Option<&'a str>,
    steps: &'a [Step],
    under_way: Option<UnderWay>,
    /// The span of the step under way.
    span: Span,
}

impl Runner<'_> {
    fn case(&mut self, case: &Case, prerequisites: &mut Vec<StepReport>) -> CaseOutcome {
        let judged = match case.role {
            Role::Judged => true,
            Role::SetUp => false,
        };
        (self.progress)(&Progress::CaseBegan {
            id: &case.id,
            title: &case.title,
            judged,
        });
        let span = info_span!(target: "run", "case", id = %case.id);
        let _case = span.enter();
        let begun = self.lost.is_none();
        let mut steps = Vec::new();
        if judged {
            steps.append(prerequisites);
        }
        steps.extend(self.branches(&[(None, &case.steps)]));
        let mut checks = self.judge.end_case();
        if let Some(bare) = self.bare.take() {
            checks.extend(bare.untouched.result());
            for fio in bare.started {
                if let Some((exit, jobs)) = self.known.fios.get(&fio) {
                    self.fios.end(FioRun {
                        fio,
                        label: fio.to_string(),
                        exit: *exit,
                        reads_back: false,
                        jobs: jobs.clone(),
                    });
                }
            }
        }
        CaseOutcome {
            id: case.id.clone(),
            title: case.title.clone(),
            judged,
            begun,
            steps,
            checks,
            fios: self.fios.take_ended(),
            ending: self.testbed.ending(),
        }
    }

    /// Runs branches until each has come to its end.
    fn branches(&mut self, branches: &[(Option<&str>, &[Step])]) -> Vec<StepReport> {
        let mut reports = Vec::new();
        let mut branches: Vec<BranchState<'_>> = branches
            .iter()
            .map(|(name, steps)| BranchState {
                name: *name,
                steps,
                under_way: None,
                span: Span::none(),
            })
            .collect();
        loop {
            for branch in &mut branches {
                while self.advance(branch, &mut reports) {}
            }
            let waits = branches.iter().filter_map(|of| of.under_way.as_ref());
            let Some(deadline) = waits.map(|of| of.wake).min() else {
                return reports;
            };
            if let Err(TestbedError(reason)) = self.observe(deadline) {
                self.lost = Some(reason);
            }
        }
    }

    /// Takes a branch one step on; false if it has to wait, or is at its end.
    fn advance(&mut self, branch: &mut BranchState<'_>, reports: &mut Vec<StepReport>) -> bool {
        let Some((step, rest)) = branch.steps.split_first() else {
            return false;
        };
        let mut under_way = match branch.under_way.take() {
            Some(under_way) => under_way,
            None => {
                branch.span = info_span!(target: "run", "step", text = %step.text);
                UnderWay::new(self.now(), step.after)
            }
        };
        let span = branch.span.clone();
        let _step = span.enter();
        if self.now() < under_way.began && self.lost.is_none() {
            branch.under_way = Some(under_way);
            return false;
        }
        if !step.branches.is_empty() {
            let inner: Vec<(Option<&str>, &[Step])> = step
                .branches
                .iter()
                .map(|of| (Some(of.name.as_str()), of.steps.as_slice()))
                .collect();
            reports.extend(self.branches(&inner));
            branch.steps = rest;
            return true;
        }
        let result = match self.outcome(step, &mut under_way) {
            Ok(Poll::Wait) => {
                branch.under_way = Some(under_way);
                return false;
            }
            Ok(Poll::Done(result)) => {
                let result = self.undone.excuse(result, &self.known);
                if matches!(result, StepResult::Skipped { .. }) && !under_way.has_begun() {
                    self.undone.note(step);
                }
                result
            }
            Err(TestbedError(reason)) => {
                self.lost = Some(reason.clone());
                StepResult::Inconclusive { reason }
            }
        };
        branch.steps = rest;
        let report = StepReport {
            branch: branch.name.map(str::to_owned),
            source: step.source.clone(),
            text: step.text.clone(),
            result,
            began: under_way.began,
            ended: self.now(),
        };
        said::at(
            self.now(),
            || info!(target: "run", result = ?report.result, "the step has ended"),
        );
        (self.progress)(&Progress::StepEnded(&report));
        reports.push(report);
        true
    }

    /// Begins `step` if it has not begun, and looks whether it has ended.
    fn outcome(&mut self, step: &Step, under_way: &mut UnderWay) -> Result<Poll, TestbedError> {
        if let Some(reason) = &self.lost {
            let reason = format!("the testbed was lost: {reason}");
            return Ok(Poll::Done(StepResult::Inconclusive { reason }));
        }
        // Who expects nothing goes on: what comes of it is for the checks.
        if let Some(crash) = self.known.target_crash()
            && self.bare.is_none()
        {
            return Ok(Poll::Done(if under_way.has_begun() {
                StepResult::Violated {
                    expected: step.text.clone(),
                    seen: crash,
                }
            } else {
                StepResult::Skipped { reason: crash }
            }));
        }
        self.poll(step, under_way)
    }

    fn now(&self) -> Time {
        self.testbed.now().max(self.clock)
    }

    /// Lets time pass, at most until `deadline`, and takes in what is seen.
    fn observe(&mut self, deadline: Time) -> Result<(), TestbedError> {
        let mut batch = std::mem::take(&mut self.batch);
        batch.clear();
        let observed = self.testbed.observe(deadline, &mut batch);
        for seen in &batch {
            self.say.seen(seen);
            self.known.see(seen);
            self.judge.see(seen);
            if let Some(bare) = &mut self.bare {
                bare.untouched.see(seen);
            }
        }
        if batch.is_empty() && observed.is_ok() {
            // The deadline, or nothing can happen any more: either way it will not be earlier.
            self.clock = self.clock.max(deadline);
        }
        self.batch = batch;
        observed
    }
}

/// "30 s".
fn seconds(limit: Duration) -> String {
    format!("{} s", limit.as_secs_f64())
}
