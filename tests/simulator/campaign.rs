//! Campaigns: what they find does not depend on the workers, and whether they are to be trusted is known.

use plugfest::command::{Campaign, Ended, Event, Outcome, Tally, View};
use scenarios::Ledger;
use scenarios::ledger::Broken;
use sim::{Bug, Bugs};

/// What came of a campaign, and what it told on the way.
fn campaign(campaign: &Campaign) -> (Outcome, Vec<String>) {
    let mut told = Vec::new();
    let outcome = campaign.run(&|| false, &mut |event| {
        if let Event::Found(found) = event {
            let small = found.small.as_ref().expect("nobody interrupts");
            let text = small.repro.text().unwrap_or_default();
            told.push(format!("{} {} {text}", found.signature, found.origin));
        }
    });
    (outcome.expect("it can be carried out"), told)
}

fn wrong(bugs: &[Bug]) -> Bugs {
    let all = bugs.iter();
    all.fold(Bugs::INTENDED, |all, bug| all.with(*bug))
}

#[test]
fn what_is_found_does_not_depend_on_the_workers() {
    let with = |workers| {
        campaign(&Campaign {
            seeds: 0..150,
            schedules: 2,
            bugs: wrong(&[Bug::RemoveWhileAdding, Bug::EarlyFinish]),
            workers,
            ..Campaign::default()
        })
    };
    let (one, two) = (with(1), with(2));
    assert!(!one.1.is_empty(), "150 scenarios find something");
    assert_eq!(one.1, two.1);
    assert_eq!(one.0.tally, two.0.tally);
    let runs =
        |outcome: &Outcome| -> Vec<u64> { outcome.found.iter().map(|found| found.runs).collect() };
    assert_eq!(runs(&one.0), runs(&two.0));
    assert_eq!(one.0.tally.runs, 300);
    assert_eq!(one.0.ended, Ended::Whole);
    assert_eq!(one.0.doubt(), None);
}

#[test]
fn nothing_is_found_where_nothing_is_wrong() {
    let (outcome, told) = campaign(&Campaign {
        seeds: 0..200,
        ..Campaign::default()
    });
    assert_eq!(told, [""; 0]);
    assert!(outcome.holds() && outcome.doubt().is_none());
    assert!(outcome.tally.verified > 0 && outcome.tally.doubled > 10);
    assert!(outcome.tally.orders > 150, "{:?}", outcome.tally);
}

#[test]
fn a_worker_that_does_not_find_its_canary_is_not_trusted() {
    // No scenario has a controller with so long a name.
    let (outcome, _) = campaign(&Campaign {
        seeds: 0..3,
        canary: Bug::NameTruncated,
        ..Campaign::default()
    });
    assert!(outcome.holds() && !outcome.canary);
    assert!(outcome.doubt().is_some());
}

#[test]
fn a_run_that_differs_from_itself_stops_the_campaign() {
    let (outcome, _) = campaign(&Campaign {
        seeds: 0..100,
        disturb_at: Some(40),
        ..Campaign::default()
    });
    let Ended::Differs { origin, difference } = &outcome.ended else {
        panic!("{:?}", outcome.ended);
    };
    assert_eq!(origin, "seed 0");
    assert!(difference.turn > 40, "{difference}");
    assert!(difference.first.starts_with("turn "), "{difference}");
    assert!(outcome.tally.seeds < 100);
    assert!(outcome.doubt().expect("it differs").contains("differ"));
}

#[test]
fn a_panic_of_the_simulator_is_a_finding() {
    let (outcome, told) = campaign(&Campaign {
        seeds: 0..40,
        panic_at: Some(300),
        ..Campaign::default()
    });
    assert_eq!(outcome.ended, Ended::Whole);
    assert_eq!(told.len(), 1, "{told:#?}");
    let found = &outcome.found[0];
    assert_eq!(found.signature.what, Broken::Panic);
    assert!(found.runs > 1);
    let small = found.small.as_ref().expect("nobody interrupts");
    assert!(small.steps.1 < small.steps.0, "{:?}", small.steps);
    assert!(told[0].contains("recorded schema="), "{}", told[0]);
}

const LEDGER: &str = r#"
    ledger {
        known "S18" "the residual underflows" { shows "I17" "controller *"; }
        known "S1" "answered too early" { shows "I17" "controller *"; shows "I6" "*" at="*visit"; }
    }
"#;

#[test]
fn what_is_known_is_named_by_what_makes_it_happen() {
    let ledger = Ledger::parse("a.kdl", LEDGER).expect("it is one");
    let with = |bugs: &[Bug], seeds| {
        let (outcome, _) = campaign(&Campaign {
            seeds,
            bugs: wrong(bugs),
            ledger: ledger.clone(),
            ..Campaign::default()
        });
        let names = outcome.found.iter().map(|found| {
            let known = found.known.as_ref();
            known.map_or(found.signature.what.to_string(), |(id, _)| id.clone())
        });
        names.collect::<Vec<_>>()
    };
    assert_eq!(with(&[Bug::ResidUnderflow], 100..120), ["S18"]);
    // It looks like what is known, and is not.
    let new = with(&[Bug::UsedLenZeroOnRead], 0..20);
    assert!(new.contains(&"I17".to_owned()), "{new:?}");
}

#[test]
fn it_stops_after_so_many_findings() {
    let (outcome, told) = campaign(&Campaign {
        seeds: 0..1_000,
        bugs: wrong(&[Bug::RemoveWhileAdding, Bug::ResidUnderflow]),
        stop_at: Some(1),
        ..Campaign::default()
    });
    assert_eq!(outcome.ended, Ended::Enough);
    assert!(!told.is_empty() && outcome.tally.seeds < 100);
}

#[test]
fn it_stops_when_the_time_is_over() {
    let many = Campaign {
        seeds: 0..u64::MAX,
        workers: 2,
        ..Campaign::default()
    };
    let looks = std::sync::atomic::AtomicU64::new(0);
    let is_over = || looks.fetch_add(1, std::sync::atomic::Ordering::Relaxed) > 20;
    let mut last = Tally::default();
    let outcome = many.run(&is_over, &mut |event| {
        if let Event::Done(tally) = event {
            last = tally;
        }
    });
    let outcome = outcome.expect("it can be carried out");
    assert_eq!(outcome.ended, Ended::TimeOver);
    assert_eq!(outcome.tally, last);
    assert!((1..50).contains(&last.seeds), "{last:?}");
    assert_eq!(outcome.doubt(), None);
}

/// What only the target's inside shows is nothing that a target which runs could show; its death is.
#[test]
fn from_outside_only_some_of_it_is_seen() {
    let found = |bug, seeds, view| {
        let (outcome, _) = campaign(&Campaign {
            seeds,
            bugs: wrong(&[bug]),
            view,
            ..Campaign::default()
        });
        outcome.found.len()
    };
    assert!(found(Bug::ResidUnderflow, 100..120, View::Inside) > 0);
    assert_eq!(found(Bug::ResidUnderflow, 100..120, View::Outside), 0);
    assert!(found(Bug::LeakedSession, 110..111, View::Outside) > 0);
}
