//! One run of a scenario within a campaign: what it broke, by signature, and every turn if somebody compares.
//!
//! A panic of the simulator is a finding as any other, and never the end of the campaign. Knows no worker.

use std::cell::{Cell, RefCell};
use std::panic::{self, AssertUnwindSafe};
use std::sync::{Arc, Mutex, Once, PoisonError};

use scenarios::check::NOBODY_CRASHES;
use scenarios::ledger::Signature;
use scenarios::plan::Plan;
use scenarios::run::{CheckOutcome, CheckResult};
use scenarios::{Observation, Seen, Time};
use sim::Bugs;
use sim::world::{Difference, Record, TurnRecord, first_difference};

use super::conduct::Conduct;
use crate::run_error::RunError;
use crate::scenario::{ScenarioOptions, ScenarioReport, Setting, on_simulator};

/// What came of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attempt {
    /// What it broke, in the order in which that was seen.
    pub broke: Vec<Signature>,
    /// Blocks that fio found right.
    pub verified: u64,
    /// The hash of the order of hot-plug turns, and of all turns.
    pub order_hash: u64,
    pub trace_hash: u64,
    /// Every turn.
    turns: Vec<TurnRecord>,
}

/// Where the turns of a run are kept.
type Turns = Arc<Mutex<Vec<TurnRecord>>>;

/// Whether every turn is noted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Note {
    /// Of a run that breaks something: its signatures name turns.
    Broken,
    /// Of every run.
    All,
}

/// Carries a scenario out.
///
/// # Errors
///
/// The simulator cannot carry it out.
pub fn attempt(
    plan: &Plan,
    options: &ScenarioOptions,
    conduct: &Conduct,
    note: Note,
) -> Result<Attempt, RunError> {
    // Turns cost a twentieth; where nothing is wrong, it is cheaper to do again what is found.
    if note == Note::Broken && options.bugs == Bugs::INTENDED && conduct.panic_at.is_none() {
        let first = once(plan, options, conduct, None)?;
        if first.broke.is_empty() {
            return Ok(first);
        }
    }
    once(plan, options, conduct, Some(Turns::default()))
}

/// Carries a scenario out once, and notes every turn if there is a place for them.
fn once(
    plan: &Plan,
    options: &ScenarioOptions,
    conduct: &Conduct,
    turns: Option<Turns>,
) -> Result<Attempt, RunError> {
    let mut rest_at = Time::NEVER;
    let mut watch = |seen: &Seen| {
        if matches!(seen.what, Observation::Quiet { .. }) {
            rest_at = rest_at.min(seen.at);
        }
    };
    let record = turns.clone().map(|turns| record(turns, conduct.panic_at));
    let report = caught(|| carry_out(plan, options, conduct, record, &mut watch));
    let report = match report {
        Ok(report) => report?,
        Err(signature) => {
            return Ok(Attempt {
                broke: vec![signature],
                ..Attempt::default()
            });
        }
    };
    let turns = turns.unwrap_or_default();
    let turns = std::mem::take(&mut *turns.lock().unwrap_or_else(PoisonError::into_inner));
    Ok(Attempt {
        broke: signatures(&report.checks, &turns, rest_at),
        verified: report.verified,
        order_hash: report.ending.order_hash,
        trace_hash: report.ending.trace_hash,
        turns,
    })
}

fn carry_out(
    plan: &Plan,
    options: &ScenarioOptions,
    conduct: &Conduct,
    turns: Option<Record>,
    watch: &mut dyn FnMut(&Seen),
) -> Result<ScenarioReport, RunError> {
    let script = conduct.script(plan)?;
    let setting = Setting {
        options: options.clone(),
        volume: conduct.volume.of_a_job(),
        jobs: conduct.jobs.clone(),
        turns,
        disturb_at: conduct.disturb_at,
        view: conduct.view,
    };
    on_simulator(&script, setting, watch)
}

/// Notes every turn; panics at one, if that is asked for.
fn record(turns: Turns, panic_at: Option<u64>) -> Record {
    Box::new(move |turn: &TurnRecord| {
        assert!(panic_at != Some(turn.turn), "a panic that was asked for");
        let mut turns = turns.lock().unwrap_or_else(PoisonError::into_inner);
        turns.push(turn.clone());
    })
}

impl Attempt {
    /// Where this run and another of the same scenario part, if they do.
    #[must_use]
    pub fn parts_from(&self, other: &Self) -> Option<Difference> {
        if self.trace_hash == other.trace_hash && self.broke == other.broke {
            return None;
        }
        let log =
            |of: &Self| -> String { of.turns.iter().map(|turn| format!("{turn}\n")).collect() };
        let parted = first_difference(&log(self), &log(other));
        // The turns are the same, and what the checks made of them is not.
        Some(parted.unwrap_or_else(|| Difference {
            turn: self.turns.len() as u64,
            first: format!("it broke {:?}", self.broke),
            second: format!("it broke {:?}", other.broke),
        }))
    }
}

/// What was broken. What comes after the target has died comes of that, and is not told apart.
fn signatures(checks: &[CheckResult], turns: &[TurnRecord], rest_at: Time) -> Vec<Signature> {
    let mut died_at = Time::NEVER;
    for check in checks {
        if let CheckOutcome::Violated { expected, at, .. } = &check.outcome
            && expected == NOBODY_CRASHES
        {
            died_at = died_at.min(*at);
        }
    }
    let mut signatures: Vec<(Time, Signature)> = Vec::new();
    for check in checks {
        let CheckOutcome::Violated { expected, at, .. } = &check.outcome else {
            continue;
        };
        let is_crash = expected == NOBODY_CRASHES;
        if *at >= died_at && !is_crash {
            continue;
        }
        let turn = if *at >= rest_at && !is_crash {
            "rest"
        } else {
            turn_at(turns, *at)
        };
        signatures.extend(Signature::of(check, turn).map(|signature| (*at, signature)));
    }
    signatures.sort_by_key(|(at, _)| *at);
    signatures
        .into_iter()
        .map(|(_, signature)| signature)
        .collect()
}

/// Turns at which requests come and go: what breaks beside one that moves slots or sessions breaks at that one.
const COMMON: [&str; 9] = [
    "nothing",
    "fio",
    "interrupt",
    "kernel flow",
    "QEMU",
    "event",
    "TMF answer",
    "request poll",
    "bdev I/O",
];

/// What the last turn was that was taken by then; of several at one time, the last that is not common.
fn turn_at(turns: &[TurnRecord], at: Time) -> &'static str {
    let after = turns.partition_point(|turn| turn.at <= at);
    let Some(last) = after.checked_sub(1).map(|last| &turns[last]) else {
        return "";
    };
    let same = turns[..after].iter().rev();
    let mut same = same.take_while(|turn| turn.at == last.at);
    let rare = same.find(|turn| !COMMON.contains(&turn.kind));
    rare.map_or(last.kind, |turn| turn.kind)
}

thread_local! {
    /// Whether a panic of this thread is awaited, and then where it was.
    static AWAITED: Cell<bool> = const { Cell::new(false) };
    static PLACE: RefCell<String> = const { RefCell::new(String::new()) };
}

/// What `run` returns, or the signature of its panic, of which nobody is told otherwise.
pub fn caught<T>(run: impl FnOnce() -> T) -> Result<T, Signature> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !AWAITED.get() {
                return before(info);
            }
            let place = info.location().map(ToString::to_string);
            PLACE.set(place.unwrap_or_default());
        }));
    });
    AWAITED.set(true);
    let caught = panic::catch_unwind(AssertUnwindSafe(run));
    AWAITED.set(false);
    caught.map_err(|payload| {
        let text = payload.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| payload.downcast_ref::<&str>().copied());
        Signature::of_panic(text.unwrap_or("it says nothing"), &PLACE.take())
    })
}

#[cfg(test)]
mod tests {
    use scenarios::CheckId;

    use super::*;

    #[test]
    fn a_panic_is_caught_with_its_place() {
        let Err(signature) = caught(|| -> u8 { panic!("slot {} of 8", 9) }) else {
            panic!("nothing was caught");
        };
        let said = signature.to_string();
        assert_eq!(said, "panic: slot # of # (at src/campaign/attempt.rs)");
        assert_eq!(caught(|| 7).expect("nothing panics"), 7);
    }

    #[test]
    fn what_comes_of_a_crash_is_not_told_apart() {
        let violated = |id, expected: &str, at| CheckResult {
            id,
            outcome: CheckOutcome::Violated {
                expected: expected.to_owned(),
                seen: format!("what {id} saw"),
                at: Time(at),
            },
            observations: 1,
        };
        let turn = |at, kind| TurnRecord {
            turn: at,
            at: Time(at),
            actor: sim::ActorId(0),
            kind,
            name: "somebody".to_owned(),
            words: [0; 3],
            hash: 0,
        };
        let turns = [turn(1, "RPC"), turn(5, "request poll"), turn(9, "fio")];
        let before = violated(CheckId::I6, "it", 2);
        let crash = violated(CheckId::I11, NOBODY_CRASHES, 5);
        let after = violated(CheckId::V2, "it", 7);
        let said = |checks: &[CheckResult]| {
            let all = signatures(checks, &turns, Time(7));
            all.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        let i6 = "I6: what I# saw (at RPC)".to_owned();
        let i11 = "I11: what I# saw (at request poll)".to_owned();
        assert_eq!(
            said(&[before.clone(), crash, after.clone()]),
            [i6.clone(), i11]
        );
        let v2 = "V2: what V# saw (at rest)".to_owned();
        assert_eq!(said(&[before, after]), [i6, v2]);
    }
}
