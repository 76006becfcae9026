//! Each deviation is caught by its check, with every other check off; and a right target by none.
//!
//! One table of (check, deviation, episode), each on several seeds.

#[path = "deviations/episodes.rs"]
mod episodes;
#[path = "deviations/lab.rs"]
mod lab;

use lab::Lab;
use scenarios::check::CheckId;
use scenarios::run::{CheckOutcome, CheckResult};
use sim::{Deviation, Deviations};

/// A deviation, the check that catches it, and the episode in which it does.
struct Row {
    check: CheckId,
    deviation: Deviation,
    episode: fn(&mut Lab),
}

const fn row(check: CheckId, deviation: Deviation, episode: fn(&mut Lab)) -> Row {
    Row {
        check,
        deviation,
        episode,
    }
}

#[rustfmt::skip]
const ROWS: &[Row] = &[
    row(CheckId::I18, Deviation::StaleFinish, episodes::attach_between_two_completions),
    row(CheckId::I18, Deviation::RemoveWhileAdding, episodes::remove_at_once),
    row(CheckId::I10, Deviation::KeepTombstoneOnStop, episodes::reboot_after_detach),
    row(CheckId::V1, Deviation::StopForgetsRemoving, episodes::kill_while_removing),
    row(CheckId::V1, Deviation::RemovingAcceptsIo, episodes::load_on_a_disk_being_removed),
    row(CheckId::V1, Deviation::MgmtNeedsCtrlq, episodes::detach_under_firmware),
    row(CheckId::V2, Deviation::FullRingIsEmpty, episodes::fill_the_ring),
    row(CheckId::G5, Deviation::StatusGoodEarly, episodes::failing_writes),
    row(CheckId::I6, Deviation::EarlyFinish, episodes::detach_from_two_sessions),
    row(CheckId::I14, Deviation::HotremoveLostInAdding, episodes::delete_bdev_at_once),
    row(CheckId::G4, Deviation::LeakedSession, episodes::kill_with_held_writes),
    row(CheckId::I14, Deviation::StopTimeoutZombie, episodes::reboot_with_held_writes),
    row(CheckId::I14, Deviation::DeleteSpins, episodes::delete_a_controller_in_use),
    row(CheckId::I7, Deviation::EventsMissedUnsaid, episodes::burst_of_changes),
];

const SEEDS: std::ops::Range<u64> = 0..16;

/// What the checks in `only` say of an episode.
fn results(
    deviations: Deviations,
    seed: u64,
    only: &[CheckId],
    episode: fn(&mut Lab),
) -> Vec<CheckResult> {
    let mut lab = Lab::new(deviations, seed, only);
    episode(&mut lab);
    lab.results()
}

/// The checks that an episode violates, with what was seen.
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
fn each_deviation_is_caught_by_its_check() {
    let mut wrong = Vec::new();
    for row in ROWS {
        for seed in SEEDS {
            let deviations = Deviations::INTENDED.with(row.deviation);
            let with = violations(results(deviations, seed, &[row.check], row.episode));
            let (check, name) = (row.check, row.deviation.name());
            if with.is_empty() {
                wrong.push(format!("{check} is silent with {name}, seed {seed}"));
            }
            let without = results(Deviations::INTENDED, seed, &[row.check], row.episode);
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
    for row in ROWS {
        for seed in SEEDS {
            let name = row.deviation.name();
            let all = results(Deviations::INTENDED, seed, &CheckId::JUDGED, row.episode);
            for violation in violations(all) {
                wrong.push(format!("episode of {name}, seed {seed}: {violation}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_bug_of_the_past_has_a_row() {
    let past = Deviation::ALL
        .iter()
        .filter(|deviation| !deviation.in_head());
    for deviation in past {
        let caught = ROWS.iter().any(|row| row.deviation == *deviation);
        assert!(caught, "{} {}", deviation.id(), deviation.name());
    }
}
