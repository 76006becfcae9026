//! No known bug breaks an invariant of the simulator: what a target does wrong is data.

use testkit::bugs::{Lab, ROWS};

#[test]
fn every_invariant_holds_after_every_turn_of_every_episode() {
    let mut turns = 0;
    for row in ROWS {
        let mut lab = Lab::new(row.base.with(row.bug), 1, &[row.check]);
        lab.world.check_every_turn();
        (row.episode)(&mut lab);
        turns += lab.world.turns();
    }
    assert!(turns > 100_000, "{turns} turns show little");
}
