//! The report for programs: one JSON object a case, with stable keys in a stable order.

use serde_json::{Map, Value, json};

use super::{CaseRow, Report};
use crate::plan::Source;
use crate::run::{CheckOutcome, CheckResult, FioRun, StepReport, StepResult};
use crate::testbed::Ending;

/// One case of `report`, as one object.
#[must_use]
pub fn case_json(report: &Report, row: &CaseRow) -> Value {
    let header = &report.header;
    let checks: Map<String, Value> = row
        .checks
        .iter()
        .map(|check| (check.id.to_string(), check_json(check)))
        .collect();
    // Turns are the simulator's: a testbed without them has no hashes either.
    let ending = Some(&row.ending).filter(|ending| ending.turns > 0);
    let hash = |of: fn(&Ending) -> u64| ending.map(|ending| format!("{:016x}", of(ending)));
    json!({
        "plan": header.plan,
        "case": row.case,
        "title": row.title,
        "seed": header.seed,
        "behaviour": header.behaviour,
        "volume": header.volume,
        "verdict": row.verdict.word(),
        "reason": row.reason,
        "trace_hash": hash(|ending| ending.trace_hash),
        "order_hash": hash(|ending| ending.order_hash),
        "turns": ending.map(|ending| ending.turns),
        "checks": checks,
        "steps": row.steps.iter().map(step_json).collect::<Vec<_>>(),
        "fios": row.fios.iter().map(fio_json).collect::<Vec<_>>(),
        "lost": report.lost,
    })
}

fn check_json(check: &CheckResult) -> Value {
    let (outcome, mut more) = match &check.outcome {
        CheckOutcome::Held => ("held", json!({})),
        CheckOutcome::Violated { expected, seen, at } => (
            "violated",
            json!({ "expected": expected, "seen": seen, "at_ns": at.0 }),
        ),
        CheckOutcome::Waived { cause } => ("waived", json!({ "cause": cause })),
        CheckOutcome::NotSeen { needs } => ("not_seen", json!({ "needs": needs })),
    };
    let mut object = Map::new();
    object.insert("outcome".into(), outcome.into());
    object.insert("observations".into(), check.observations.into());
    if let Value::Object(more) = &mut more {
        object.append(more);
    }
    Value::Object(object)
}

fn step_json(step: &StepReport) -> Value {
    let mut object = Map::new();
    let mut put = |key: &str, value: Value| object.insert(key.to_owned(), value);
    put("step", step.text.clone().into());
    match &step.source {
        Source::Lines(lines) => put("lines", lines.clone().into()),
        Source::Implied(why) => put("implied", why.clone().into()),
        Source::Itself => None,
    };
    if let Some(branch) = &step.branch {
        put("lane", branch.clone().into());
    }
    put("began_ns", step.began.0.into());
    put("ended_ns", step.ended.0.into());
    match &step.result {
        StepResult::Held { seen } => {
            put("result", "held".into());
            put("seen", seen.clone().into())
        }
        StepResult::Violated { expected, seen } => {
            put("result", "violated".into());
            put("expected", expected.clone().into());
            put("seen", seen.clone().into())
        }
        StepResult::Skipped { reason } => {
            put("result", "skipped".into());
            put("reason", reason.clone().into())
        }
        StepResult::Inconclusive { reason } => {
            put("result", "inconclusive".into());
            put("reason", reason.clone().into())
        }
    };
    Value::Object(object)
}

fn fio_json(fio: &FioRun) -> Value {
    let jobs: Vec<Value> = fio
        .jobs
        .iter()
        .map(|job| {
            json!({
                "disk": job.disk,
                "place": job.place.to_string(),
                "error": job.error,
                "hung": job.hung,
                "written": job.written,
                "verified": job.verified,
                "volume": job.volume,
                "messages": job.messages,
                "strict": job.strict,
                "no_data": job.no_data,
            })
        })
        .collect();
    json!({
        "fio": fio.label,
        "exit": fio.exit,
        "reads_back": fio.reads_back,
        "jobs": jobs,
    })
}
