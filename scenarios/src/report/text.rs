//! The report for people: a line a step as it goes, then the table, then the verdict.

use std::fmt::Write as _;

use super::{CaseRow, Report, Verdict};
use crate::plan::Source;
use crate::run::{CheckOutcome, Progress, StepReport, StepResult};

/// What is told while a run goes on.
#[must_use]
pub fn progress_line(plan: &str, progress: &Progress<'_>) -> String {
    match progress {
        Progress::Began => format!("\n{plan}  Prerequisites\n"),
        Progress::CaseBegan { id, title, judged } => {
            let set_up = if *judged { "" } else { " (set-up, not judged)" };
            format!("\n{plan}/{id}  {title}{set_up}\n")
        }
        Progress::StepEnded(step) => step_lines(step),
    }
}

/// A step: its result, when it ended, the lines of `test_plan.md` that want it, and what it did.
#[must_use]
pub fn step_lines(step: &StepReport) -> String {
    let (mark, note) = match &step.result {
        StepResult::Held { seen } => ("ok  ", seen.clone()),
        StepResult::Violated { .. } => ("FAIL", String::new()),
        StepResult::Skipped { reason } => ("skip", reason.clone()),
        StepResult::Inconclusive { reason } => ("????", reason.clone()),
    };
    let from = match &step.source {
        Source::Lines(_) => format!("line {}", step.source),
        Source::Implied(_) => "implied".to_owned(),
        Source::Itself => String::new(),
    };
    let branch = step
        .branch
        .as_ref()
        .map_or(String::new(), |branch| format!("[{branch}] "));
    let mut text = format!(
        "  {mark} {:>10}  {from:<10}  {branch}{}",
        step.ended.to_string(),
        step.text
    );
    if !note.is_empty() {
        let _ = write!(text, ": {note}");
    }
    text.push('\n');
    if let StepResult::Violated { expected, seen } = &step.result {
        let _ = writeln!(text, "       expected: {expected}");
        let _ = writeln!(text, "       seen:     {seen}");
    }
    text
}

/// A row in one line: for campaigns that print only what failed.
#[must_use]
pub fn row_line(report: &Report, row: &CaseRow) -> String {
    let what = row
        .checks
        .iter()
        .find_map(|check| match &check.outcome {
            CheckOutcome::Violated { expected, seen, .. } => {
                Some(format!(": {}: expected {expected}; seen {seen}", check.id))
            }
            CheckOutcome::Held | CheckOutcome::Waived { .. } | CheckOutcome::NotSeen { .. } => None,
        })
        .or_else(|| checked_nothing(row).then(|| format!(": {NOTHING_CHECKED}")))
        .or_else(|| row.reason.map(|reason| format!(": {reason}")))
        .or_else(|| report.lost.as_ref().map(|lost| format!(": {lost}")))
        .or_else(|| open_step(row))
        .unwrap_or_default();
    let header = &report.header;
    format!(
        "seed {} {}/{} {}{what}",
        header.seed,
        header.plan,
        row.case,
        row.verdict.word()
    )
}

/// The first step that says nothing, and why.
fn open_step(row: &CaseRow) -> Option<String> {
    row.steps.iter().find_map(|step| match &step.result {
        StepResult::Skipped { reason } | StepResult::Inconclusive { reason } => {
            Some(format!(": {}: {reason}", step.text))
        }
        StepResult::Held { .. } | StepResult::Violated { .. } => None,
    })
}

/// The end of the report on several plans: violations of checks, the table, the verdict, and, alone
/// in the last line, the command that repeats what did not pass.
#[must_use]
pub fn render(reports: &[Report]) -> String {
    render_partial(reports, 0)
}

/// As [`render`], of a run that ended before all its plans were begun: they have `left` cases.
#[must_use]
pub fn render_partial(reports: &[Report], left: usize) -> String {
    let mut text = String::new();
    for report in reports {
        for row in &report.rows {
            violations(&mut text, report, row);
        }
    }
    table(&mut text, reports);
    blocks(&mut text, reports);
    verdict(&mut text, reports, left);
    text
}

/// What checks found; steps have said so already when they ended.
fn violations(text: &mut String, report: &Report, row: &CaseRow) {
    if checked_nothing(row) {
        let name = format!("{}/{}", report.header.plan, row.case);
        let _ = writeln!(text, "\n{name}: {NOTHING_CHECKED}");
    }
    if let Some(reason) = row.reason.filter(|_| row.begun) {
        let _ = writeln!(text, "\n{}/{}: {reason}", report.header.plan, row.case);
    }
    for check in &row.checks {
        match &check.outcome {
            CheckOutcome::Violated { expected, seen, at } if check.id != crate::CheckId::Plan => {
                let name = format!("{}/{}", report.header.plan, row.case);
                let _ = writeln!(text, "\n{name}: check {} is violated at {at}", check.id);
                let _ = writeln!(text, "       expected: {expected}");
                let _ = writeln!(text, "       seen:     {seen}");
            }
            CheckOutcome::Waived { cause } => {
                let name = format!("{}/{}", report.header.plan, row.case);
                let _ = writeln!(text, "\n{name}: check {}: waived: {cause}", check.id);
            }
            CheckOutcome::Held | CheckOutcome::Violated { .. } | CheckOutcome::NotSeen { .. } => {}
        }
    }
}

/// Why a case without a violation can have failed.
const NOTHING_CHECKED: &str = "no step and no check has looked at anything";

fn checked_nothing(row: &CaseRow) -> bool {
    let violated = |outcome: &CheckOutcome| matches!(outcome, CheckOutcome::Violated { .. });
    row.verdict == Verdict::Failed && !row.checks.iter().any(|check| violated(&check.outcome))
}

/// Whether it was never begun, and nothing is said against it.
fn is_open(row: &CaseRow) -> bool {
    !row.begun && row.verdict == Verdict::Inconclusive
}

/// Cases by checks.
fn table(text: &mut String, reports: &[Report]) {
    let rows = || {
        let each = |report| -> Box<dyn Iterator<Item = (&Report, &CaseRow)>> {
            let report: &Report = report;
            Box::new(report.rows.iter().map(move |row| (report, row)))
        };
        reports.iter().flat_map(each)
    };
    let mut ids: Vec<_> = rows()
        .flat_map(|(_, row)| row.checks.iter().map(|check| check.id))
        .collect();
    ids.sort();
    ids.dedup();
    let name = |report: &Report, row: &CaseRow| format!("{}/{}", report.header.plan, row.case);
    let width = rows()
        .map(|(report, row)| name(report, row).len())
        .max()
        .unwrap_or(4)
        .max(4);
    let _ = write!(text, "\n{:width$} ", "case");
    for id in &ids {
        let id = id.to_string();
        let _ = write!(text, " {id:>w$}", w = id.len().max(2));
    }
    let _ = writeln!(text, "  verdict");
    for (report, row) in rows() {
        let _ = write!(text, "{:width$} ", name(report, row));
        for id in &ids {
            let found = row.checks.iter().find(|check| check.id == *id);
            let mark = found.map_or("", |check| mark(&check.outcome, check.observations));
            let _ = write!(text, " {mark:>w$}", w = id.to_string().len().max(2));
        }
        let word = if is_open(row) {
            "not begun"
        } else {
            row.verdict.word()
        };
        let _ = writeln!(text, "  {word}");
    }
    text.push_str("+ held  X violated  ~ waived  . nothing to look at  - not seen here\n");
}

fn mark(outcome: &CheckOutcome, observations: u64) -> &'static str {
    match outcome {
        CheckOutcome::Held if observations == 0 => ".",
        CheckOutcome::Held => "+",
        CheckOutcome::Violated { .. } => "X",
        CheckOutcome::Waived { .. } => "~",
        CheckOutcome::NotSeen { .. } => "-",
    }
}

/// Blocks verified, by fio and disk.
fn blocks(text: &mut String, reports: &[Report]) {
    let _ = writeln!(
        text,
        "\nblocks verified by each fio on each disk (! = failed):"
    );
    for report in reports {
        for row in &report.rows {
            for fio in row.fios.iter().filter(|fio| !fio.reads_back) {
                let _ = write!(
                    text,
                    "{}/{} \"{}\":",
                    report.header.plan, row.case, fio.label
                );
                for job in &fio.jobs {
                    let failed = if job.error != 0 || job.hung { "!" } else { "" };
                    let _ = write!(text, " {}={}{failed}", job.disk.0, job.verified);
                }
                text.push('\n');
            }
        }
    }
}

fn verdict(text: &mut String, reports: &[Report], left: usize) {
    let rows = || reports.iter().flat_map(|report| report.rows.iter());
    let begun = || rows().filter(|row| !is_open(row));
    let count = |verdict| begun().filter(|row| row.verdict == verdict).count();
    let all = rows().count() + left;
    text.push('\n');
    for report in reports {
        let header = &report.header;
        let (seed, target, io_count) = (header.seed, &header.behaviour, &header.volume);
        let _ = write!(
            text,
            "{}: seed {seed}, target {target}, io-count {io_count}",
            header.plan
        );
        // A real testbed takes no turns.
        let ending = &report.ending;
        if ending.turns > 0 {
            let (trace, order, turns) = (ending.trace_hash, ending.order_hash, ending.turns);
            let _ = write!(
                text,
                ", trace hash {trace:016x}, order hash {order:016x}, {turns} turns"
            );
        }
        text.push('\n');
        if let Some(lost) = &report.lost {
            let _ = writeln!(text, "{}: stopped early: {lost}", header.plan);
        }
    }
    let _ = write!(text, "{} of {all} cases passed", count(Verdict::Passed));
    for other in [Verdict::Failed, Verdict::Inconclusive] {
        if count(other) > 0 {
            let _ = write!(text, ", {} {}", count(other), other.word());
        }
    }
    let open = all - begun().count();
    if open > 0 {
        let _ = write!(text, ", {open} did not begin");
    }
    text.push('\n');
    if let Some(command) = reports.iter().find_map(Report::repeat) {
        let _ = writeln!(text, "\nto repeat it:\n{command}");
    }
}
