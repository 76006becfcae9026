//! A simulation as it was at a moment: its world, and what its driver knows.

use linux::Guest;
use scenarios::driver::Driver;
use spdk::Target;
use world::Snapshot;

use crate::testbed::Sim;

/// A simulation as it was at a moment ([`Sim::snapshot`]).
pub struct SimSnapshot {
    world: Snapshot<Target, Guest>,
    driver: Driver,
}

impl Sim {
    /// The simulation as it is now; one that was taken before cannot be gone back to any more.
    pub fn snapshot(&mut self) -> SimSnapshot {
        SimSnapshot {
            world: self.ends.world.snapshot().expect("both models make marks"),
            driver: self.driver.clone(),
        }
    }

    /// Becomes what it was: see [`world::World::restore`].
    ///
    /// # Panics
    ///
    /// If `to` is not the last snapshot of this simulation.
    pub fn restore(&mut self, to: &SimSnapshot) {
        self.ends.world.restore(&to.world);
        self.driver.clone_from(&to.driver);
    }
}
