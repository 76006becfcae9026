//! `--junit FILE`: the report that CI systems read, a suite a plan, a test case a case and seed.

use std::path::Path;

use plugfest::{Report, Verdict};
use quick_junit::{NonSuccessKind, Report as Xml, TestCase, TestCaseStatus, TestSuite};
use scenarios::report::{CaseRow, step_lines};
use scenarios::run::{CheckOutcome, StepResult};

use crate::output::{Stop, write_whole};

/// The cases so far.
#[derive(Clone, Debug, Default)]
pub struct Junit {
    suites: Vec<(String, Vec<TestCase>)>,
}

impl Junit {
    /// Adds the judged cases of a report.
    pub fn add(&mut self, report: &Report) {
        let cases = report.rows.iter().map(|row| test_case(report, row));
        self.suite(&report.header.plan).extend(cases);
    }

    /// The cases of a plan.
    fn suite(&mut self, plan: &str) -> &mut Vec<TestCase> {
        let known = self.suites.iter().position(|(name, _)| name == plan);
        let known = known.unwrap_or_else(|| {
            self.suites.push((plan.to_owned(), Vec::new()));
            self.suites.len() - 1
        });
        &mut self.suites[known].1
    }

    /// Adds an error for what of a plan was not carried out, in the words of `what`: nobody shall take it for passed.
    pub fn add_missing(&mut self, plan: &str, what: &str) {
        let mut status = TestCaseStatus::non_success(NonSuccessKind::Error);
        status.set_message(what);
        let mut case = TestCase::new(format!("{plan}: not carried out"), status);
        case.set_classname(format!("plugfest.{plan}"));
        self.suite(plan).push(case);
    }

    /// Adds a case.
    pub fn push(&mut self, suite: &str, mut case: TestCase) {
        case.set_classname(format!("plugfest.{suite}"));
        self.suite(suite).push(case);
    }

    /// Adds those of another.
    pub fn append(&mut self, other: Self) {
        for (plan, cases) in other.suites {
            self.suite(&plan).extend(cases);
        }
    }

    /// Writes the file; what was there is replaced only by a whole one.
    pub fn write(self, path: &Path) -> Result<(), Stop> {
        let mut xml = Xml::new("plugfest");
        for (name, cases) in self.suites {
            let mut suite = TestSuite::new(name);
            suite.add_test_cases(cases);
            xml.add_test_suite(suite);
        }
        let text = xml.to_string().map_err(Stop::error)?;
        write_whole(path, text.as_bytes())
    }
}

fn test_case(report: &Report, row: &CaseRow) -> TestCase {
    let (plan, seed) = (&report.header.plan, report.header.seed);
    let kind = match row.verdict {
        Verdict::Passed => None,
        Verdict::Failed => Some((NonSuccessKind::Failure, "failed")),
        Verdict::Inconclusive => Some((NonSuccessKind::Error, "inconclusive")),
    };
    let status = match kind {
        None => TestCaseStatus::success(),
        Some((kind, word)) => {
            let mut status = TestCaseStatus::non_success(kind);
            let said = first_wrong(row).or(row.reason.map(str::to_owned));
            status.set_message(said.unwrap_or_else(|| word.to_owned()));
            status.set_description(explanation(report, row));
            status
        }
    };
    let mut case = TestCase::new(format!("{}/{} seed {seed}", plan, row.case), status);
    case.set_classname(format!("plugfest.{plan}"));
    let skipped = row.steps.iter().filter_map(|step| match &step.result {
        StepResult::Skipped { reason } => Some(format!("skipped: {}: {reason}\n", step.text)),
        StepResult::Held { .. } | StepResult::Violated { .. } | StepResult::Inconclusive { .. } => {
            None
        }
    });
    let skipped: String = skipped.collect();
    if !skipped.is_empty() {
        case.set_system_out(skipped);
    }
    case
}

/// The first thing that was not as expected.
fn first_wrong(row: &CaseRow) -> Option<String> {
    row.checks.iter().find_map(|check| match &check.outcome {
        CheckOutcome::Violated { expected, seen, .. } => {
            Some(format!("{}: expected {expected}, saw {seen}", check.id))
        }
        CheckOutcome::Held | CheckOutcome::Waived { .. } | CheckOutcome::NotSeen { .. } => None,
    })
}

/// The steps that were not as expected, and the command that repeats them.
fn explanation(report: &Report, row: &CaseRow) -> String {
    let wrong = row.steps.iter();
    let wrong = wrong.filter(|step| !matches!(step.result, StepResult::Held { .. }));
    let mut text: String = wrong.map(step_lines).collect();
    text += &format!("again: {}\n", report.repeat_case(row));
    text
}
