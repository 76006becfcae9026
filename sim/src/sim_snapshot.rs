//! A simulation as it was at a moment: its world, and what its driver knows.

use linux::Guest;
use scenarios::driver::Driver;
use wire::{BackEnd, Inside};
use world::Snapshot;

use crate::testbed::Sim;

/// A simulation as it was at a moment ([`Sim::snapshot`]).
pub struct SimSnapshot<T: Inside = spdk::Target> {
    world: Snapshot<T, Guest>,
    driver: Driver,
}

impl<T: BackEnd> Sim<T> {
    /// The simulation as it is now; one that was taken before cannot be gone back to any more.
    pub fn snapshot(&mut self) -> SimSnapshot<T> {
        SimSnapshot {
            world: self
                .ends
                .world
                .snapshot()
                .expect("all ends of the simulator make marks"),
            driver: self.driver.clone(),
        }
    }

    /// Becomes what it was: see [`world::World::restore`].
    ///
    /// # Panics
    ///
    /// If `to` is not the last snapshot of this simulation.
    pub fn restore(&mut self, to: &SimSnapshot<T>) {
        self.ends.world.restore(&to.world);
        self.driver.clone_from(&to.driver);
    }
}
