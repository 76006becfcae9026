//! Malformed inputs do a right target no harm, and a wrong one is found out by them.

use sim::{Bug, Bugs};
use testkit::malformed::{Bounds, Fire, Tally};

fn give(inputs: u64, bugs: Bugs) -> (Result<(), String>, Tally) {
    let mut fire = Fire::new(7, bugs);
    (fire.give(inputs), fire.tally)
}

#[test]
fn an_intended_target_takes_anything() {
    let (given, tally) = give(40_000, Bugs::INTENDED);
    assert_eq!(given, Ok(()));
    let each = [
        tally.chains,
        tally.tables,
        tally.controls,
        tally.rpcs,
        tally.messages,
    ];
    assert!(each.iter().all(|given| *given > 1_500), "{tally:?}");
    assert!(tally.inflights > 300, "{tally:?}");
    let methods = sim::spdk::rpc::methods().count();
    assert!(methods > 40);
    assert_eq!(tally.methods, (1 << methods) - 1, "all are called");
    let requests = tally.chains + tally.tables + tally.controls;
    let used = tally.used as f64 / requests as f64;
    assert!((0.9..1.1).contains(&used), "{used}: {tally:?}");
    assert!(tally.turns < 1_000, "work is bounded: {tally:?}");
}

#[test]
fn the_crashes_of_head_are_found() {
    for bug in [Bug::LogLoop, Bug::SplitDivByZero, Bug::TmfNullLun] {
        let (given, _) = give(200_000, Bugs::INTENDED.with(bug));
        assert!(given.is_err(), "{} does no harm", bug.name());
    }
}

/// Nothing above is green because nobody looked.
#[test]
fn what_an_input_costs_and_touches_is_seen() {
    let mut fire = Fire::new(7, Bugs::INTENDED);
    let spoiled = fire.give_to_canary();
    assert!(spoiled.is_err_and(|what| what.contains("canary")));
    let wide = Bounds::default();
    let narrow = [
        ("turns", Bounds { turns: 20, ..wide }),
        (
            "messages",
            Bounds {
                messages: 2,
                ..wide
            },
        ),
        (
            "bytes said",
            Bounds {
                said: 1_000,
                ..wide
            },
        ),
        ("bytes kept", Bounds { kept: 0, ..wide }),
    ];
    for (what, bounds) in narrow {
        let mut fire = Fire::new(7, Bugs::INTENDED).within(bounds);
        let over = fire.give(2_000).expect_err(what);
        assert!(over.contains(what), "{over}");
    }
}
