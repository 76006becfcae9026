//! No known bug breaks an invariant of the simulator: what a target does wrong is data.

use std::panic::{AssertUnwindSafe, catch_unwind};

use testkit::bugs::{Harness, ROWS};

#[test]
fn every_invariant_holds_after_every_turn_of_every_directed_test() {
    let (mut turns, mut broken) = (0, Vec::new());
    for row in ROWS {
        let run = catch_unwind(AssertUnwindSafe(|| {
            let mut harness = Harness::new(row.base.with(row.bug), 1, &[row.check]);
            harness.world.check_every_turn();
            (row.test)(&mut harness);
            harness.world.turns()
        }));
        match run {
            Ok(took) => turns += took,
            Err(text) => {
                let text = text.downcast::<String>();
                broken.push((row.bug.name(), text.unwrap_or_default()));
            }
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
    assert!(turns > 100_000, "{turns} turns show little");
}
