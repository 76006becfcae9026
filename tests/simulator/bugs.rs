//! Each bug is caught by its check, with every other check off; and a right target by none.
//!
//! One table of (check, bug, directed test), each on several seeds.

use scenarios::check::CheckId;
use scenarios::run::{CheckOutcome, CheckResult};
use sim::{Bug, Bugs};
use testkit::bugs::{ROWS, results};

const SEEDS: std::ops::Range<u64> = 0..16;

/// The checks that a directed test violates, with what was seen.
fn violations(results: Vec<CheckResult>) -> Vec<String> {
    let violated = results
        .into_iter()
        .filter_map(|result| match result.outcome {
            CheckOutcome::Violated { expected, seen, at } => Some(format!(
                "{} at {at}: expected {expected}, saw {seen}",
                result.id
            )),
            _ => None,
        });
    violated.collect()
}

#[test]
fn each_bug_is_caught_by_its_check() {
    let mut wrong = Vec::new();
    for row in ROWS {
        for seed in SEEDS {
            let bugs = row.base.with(row.bug);
            let with = violations(results(bugs, seed, &[row.check], row.test));
            let (check, name) = (row.check, row.bug.name());
            if with.is_empty() {
                wrong.push(format!("{check} is silent with {name}, seed {seed}"));
            }
            let without = results(row.base, seed, &[row.check], row.test);
            if without.iter().any(|result| result.observations == 0) {
                wrong.push(format!(
                    "{check} looks at nothing without {name}, seed {seed}"
                ));
            }
            for violation in violations(without) {
                wrong.push(format!("without {name}, seed {seed}: {violation}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_right_target_violates_nothing() {
    let mut wrong = Vec::new();
    for row in ROWS.iter().filter(|row| row.base == Bugs::INTENDED) {
        for seed in SEEDS {
            let name = row.bug.name();
            let all = results(Bugs::INTENDED, seed, &CheckId::JUDGED, row.test);
            for violation in violations(all) {
                wrong.push(format!("directed test of {name}, seed {seed}: {violation}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_bug_and_every_check_has_a_row() {
    for bug in Bug::ALL {
        let caught = ROWS.iter().any(|row| row.bug == *bug);
        assert!(caught, "{} {}", bug.id(), bug.name());
    }
    for check in CheckId::JUDGED {
        assert!(ROWS.iter().any(|row| row.check == check), "{check}");
    }
}
