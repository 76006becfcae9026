//! A simulation as it was at a moment: its world, and what is under way in it.

use linux::Guest;
use scenarios::driver::UnderWay;
use spdk::Target;
use wire::inside::BackEnd;
use world::Snapshot;

use crate::testbed::Sim;

/// A simulation as it was at a moment ([`Sim::snapshot`]).
pub struct SimSnapshot<T: BackEnd = Target> {
    world: Snapshot<T, Guest>,
    run: UnderWay,
}

impl<T: BackEnd> Sim<T> {
    /// The simulation as it is now; one that was taken before cannot be gone back to any more.
    ///
    /// # Panics
    ///
    /// If the target makes no marks ([`wire::Inside::mark`]); the model does.
    pub fn snapshot(&mut self) -> SimSnapshot<T> {
        let world = self.driver.ends.world.snapshot();
        SimSnapshot {
            world: world.expect("both ends make marks"),
            run: self.driver.under_way().clone(),
        }
    }

    /// Becomes what it was: see [`world::World::restore`].
    ///
    /// # Panics
    ///
    /// If `to` is not the last snapshot of this simulation.
    pub fn restore(&mut self, to: &SimSnapshot<T>) {
        self.driver.ends.world.restore(&to.world);
        self.driver.go_back(&to.run);
    }
}
