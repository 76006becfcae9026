//! A simulation as it was at a moment: its world, and what is under way in it.

use linux::Guest;
use scenarios::driver::UnderWay;
use spdk::Target;
use world::Snapshot;

use crate::testbed::Sim;

/// A simulation as it was at a moment ([`Sim::snapshot`]).
pub struct SimSnapshot {
    world: Snapshot<Target, Guest>,
    run: UnderWay,
}

impl Sim {
    /// The simulation as it is now; one that was taken before cannot be gone back to any more.
    pub fn snapshot(&mut self) -> SimSnapshot {
        SimSnapshot {
            world: self
                .driver
                .ends
                .world
                .snapshot()
                .expect("both models make marks"),
            run: self.driver.under_way().clone(),
        }
    }

    /// Becomes what it was: see [`world::World::restore`].
    ///
    /// # Panics
    ///
    /// If `to` is not the last snapshot of this simulation.
    pub fn restore(&mut self, to: &SimSnapshot) {
        self.driver.ends.world.restore(&to.world);
        self.driver.go_back(&to.run);
    }
}
