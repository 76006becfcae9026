//! Malformed inputs do a right target no harm, and a wrong one is found out by them.

#[path = "../benches/support/malformed.rs"]
mod malformed;

use malformed::{Fire, Tally};
use sim::{Deviation, Deviations};

fn give(inputs: u64, deviations: Deviations) -> (Result<(), String>, Tally) {
    let mut fire = Fire::new(7, deviations);
    (fire.give(inputs, deviations), fire.tally)
}

#[test]
fn an_intended_target_takes_anything() {
    let (given, tally) = give(40_000, Deviations::INTENDED);
    assert_eq!(given, Ok(()));
    let each = [
        tally.chains,
        tally.tables,
        tally.controls,
        tally.rpcs,
        tally.messages,
    ];
    assert!(each.iter().all(|given| *given > 1_500), "{tally:?}");
    assert!(tally.used > 5_000, "most requests come back: {tally:?}");
    assert!(tally.turns < 1_000, "work is bounded: {tally:?}");
}

#[test]
fn the_crashes_of_head_are_found() {
    for deviation in [
        Deviation::LogLoop,
        Deviation::SplitDivByZero,
        Deviation::TmfNullLun,
    ] {
        let (given, _) = give(200_000, Deviations::INTENDED.with(deviation));
        assert!(given.is_err(), "{} does no harm", deviation.name());
    }
}
