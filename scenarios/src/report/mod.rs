//! A report: what a run came to, for people and for programs.
//!
//! Knows what the steps and the checks said, never how they came to it.

mod json;
mod shell;
mod text;

use std::fmt;

use crate::check_id::CheckId;
use crate::run::{
    CaseOutcome, CheckOutcome, CheckResult, FioRun, RunOutcome, StepReport, StepResult,
};
use crate::testbed::Ending;

pub use json::case_json;
pub use shell::shell_quoted;
pub use text::{progress_line, render, render_partial, row_line, step_lines};

/// What a run was made from, as far as a report repeats it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunHeader {
    /// The plan.
    pub plan: String,
    /// What follows `plugfest run` to name that plan: its name, or the path of its file.
    pub plan_argument: String,
    /// The seed.
    pub seed: u64,
    /// How the target behaves: "head".
    pub behaviour: String,
    /// How much each fio writes: "default".
    pub volume: String,
    /// What follows `plugfest run PLAN/CASE --seed N` to repeat it exactly: " --io-count quick".
    pub repeat_options: String,
}

/// What a run came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// What was run.
    pub header: RunHeader,
    /// The judged cases.
    pub rows: Vec<CaseRow>,
    /// Why it stopped early, if it did.
    pub lost: Option<String>,
    /// Hashes and counts at the end.
    pub ending: Ending,
}

/// What a case came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CaseRow {
    /// Its ID.
    pub case: String,
    /// Its title.
    pub title: String,
    /// Its steps.
    pub steps: Vec<StepReport>,
    /// The checks, the steps' own (`CheckId::Plan`) included; ordered by check.
    pub checks: Vec<CheckResult>,
    /// The fios that ended in it.
    pub fios: Vec<FioRun>,
    /// Whether it passed.
    pub verdict: Verdict,
    /// False: the testbed was lost before its first step.
    pub begun: bool,
    /// Why it shows nothing, though nothing is wrong with any step or check.
    pub reason: Option<&'static str>,
    /// Hashes and counts when it ended.
    pub ending: Ending,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

/// What a case, or a run, came to; the worse the greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// Everything that was expected was seen.
    Passed,
    /// Something that was to be checked was not.
    Inconclusive,
    /// Something was not as expected, or nothing was checked at all.
    Failed,
}

impl Verdict {
    /// "passed".
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Inconclusive => "inconclusive",
            Self::Failed => "failed",
        }
    }

    /// The exit status of `plugfest` that says so.
    #[must_use]
    pub const fn exit(self) -> u8 {
        match self {
            Self::Passed => 0,
            Self::Failed => 1,
            Self::Inconclusive => 3,
        }
    }
}

impl Report {
    /// Sums up a run.
    #[must_use]
    pub fn new(header: RunHeader, outcome: RunOutcome) -> Self {
        let judged = outcome.cases.into_iter().filter(|case| case.judged);
        Self {
            header,
            rows: judged.map(row).collect(),
            lost: outcome.lost,
            ending: outcome.ending,
        }
    }

    /// The worst verdict of its rows; a run without rows has checked nothing, so it failed.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        let worst = self.rows.iter().map(|row| row.verdict).max();
        worst.unwrap_or(Verdict::Failed)
    }

    /// The command that repeats the first row that did not pass.
    #[must_use]
    pub fn repeat(&self) -> Option<String> {
        let row = self
            .rows
            .iter()
            .find(|row| row.verdict != Verdict::Passed)?;
        Some(self.repeat_case(row))
    }

    /// The command that repeats one case.
    #[must_use]
    pub fn repeat_case(&self, row: &CaseRow) -> String {
        let RunHeader {
            plan_argument,
            seed,
            repeat_options,
            ..
        } = &self.header;
        let target = format!("{plan_argument}/{}", row.case);
        let target = shell_quoted(&target);
        format!("plugfest run {target} --seed {seed}{repeat_options}")
    }
}

fn row(case: CaseOutcome) -> CaseRow {
    let mut checks = case.checks;
    checks.retain(|check| check.id != CheckId::Plan);
    checks.push(plan_check(&case.steps));
    checks.sort_by_key(|check| check.id);
    let (verdict, reason) = match verdict(&case.steps, &checks, case.begun) {
        Verdict::Inconclusive if !case.begun => (Verdict::Inconclusive, Some(NOT_BEGUN)),
        Verdict::Passed if verified_nothing(&case.fios) => {
            (Verdict::Inconclusive, Some(NOTHING_VERIFIED))
        }
        verdict => (verdict, None),
    };
    CaseRow {
        case: case.id,
        title: case.title,
        steps: case.steps,
        checks,
        fios: case.fios,
        verdict,
        begun: case.begun,
        reason,
        ending: case.ending,
    }
}

/// Why a case whose steps and checks all hold can be inconclusive.
const NOTHING_VERIFIED: &str = "its fios verified no block: whether data are right was not seen";

/// Why a case is inconclusive that was never begun.
const NOT_BEGUN: &str = "it did not begin";

/// Whether fios ran, and none of them read back a single block of what was written.
fn verified_nothing(fios: &[FioRun]) -> bool {
    let mut own = fios.iter().filter(|fio| !fio.reads_back).peekable();
    own.peek().is_some() && own.flat_map(|fio| &fio.jobs).all(|job| job.verified == 0)
}

/// The steps' expectations, as one check.
fn plan_check(steps: &[StepReport]) -> CheckResult {
    let violated = steps.iter().find_map(|step| match &step.result {
        StepResult::Violated { expected, seen } => Some((step.ended, expected, seen)),
        StepResult::Held { .. } | StepResult::Skipped { .. } | StepResult::Inconclusive { .. } => {
            None
        }
    });
    let held = |step: &&StepReport| matches!(step.result, StepResult::Held { .. });
    CheckResult {
        id: CheckId::Plan,
        outcome: match violated {
            None => CheckOutcome::Held,
            Some((at, expected, seen)) => CheckOutcome::Violated {
                expected: expected.clone(),
                seen: seen.clone(),
                at,
            },
        },
        observations: steps.iter().filter(held).count() as u64,
    }
}

fn verdict(steps: &[StepReport], checks: &[CheckResult], begun: bool) -> Verdict {
    let violated = |check: &CheckResult| matches!(check.outcome, CheckOutcome::Violated { .. });
    if checks.iter().any(violated) {
        return Verdict::Failed;
    }
    // What every case names is the plan itself and fio's verdict.
    let named = |check: &&CheckResult| matches!(check.id, CheckId::Plan | CheckId::Fio);
    let unseen = |check: &CheckResult| matches!(check.outcome, CheckOutcome::NotSeen { .. });
    let open = steps.iter().any(|step| {
        matches!(
            step.result,
            StepResult::Skipped { .. } | StepResult::Inconclusive { .. }
        )
    });
    if !begun || open || checks.iter().filter(named).any(unseen) {
        return Verdict::Inconclusive;
    }
    let looked_at: u64 = checks.iter().map(|check| check.observations).sum();
    if looked_at == 0 {
        return Verdict::Failed;
    }
    Verdict::Passed
}
