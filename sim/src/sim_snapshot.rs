//! A simulation as it was at a moment: its world, and what the testbed knows beside.

use std::collections::{BTreeMap, BTreeSet};

use scenarios::{DiskId, DiskKind, Ticket, Time};

use crate::Sim;
use crate::rpc_client::RpcClient;
use crate::testbed::{Alive, Held, Pending};
use crate::together::Together;
use world::Snapshot;

/// A simulation as it was at a moment ([`Sim::snapshot`]).
pub struct SimSnapshot {
    world: Snapshot,
    rpc: RpcClient<Pending>,
    tickets: u32,
    disks: BTreeMap<DiskId, DiskKind>,
    failed: BTreeMap<Ticket, String>,
    held: BTreeSet<Held>,
    alive: Option<Alive>,
    settling: Option<Time>,
    together: Together,
}

impl Sim {
    /// The simulation as it is now; one that was taken before cannot be gone back to any more.
    pub fn snapshot(&mut self) -> SimSnapshot {
        SimSnapshot {
            world: self.world.snapshot(),
            rpc: self.rpc.clone(),
            tickets: self.tickets,
            disks: self.disks.clone(),
            failed: self.failed.clone(),
            held: self.held.clone(),
            alive: self.alive.clone(),
            settling: self.settling,
            together: self.together.clone(),
        }
    }

    /// Becomes what it was: see [`World::restore`](super::World::restore).
    ///
    /// # Panics
    ///
    /// If `to` is not the last snapshot of this simulation.
    pub fn restore(&mut self, to: &SimSnapshot) {
        self.world.restore(&to.world);
        self.rpc.clone_from(&to.rpc);
        self.tickets = to.tickets;
        self.disks.clone_from(&to.disks);
        self.failed.clone_from(&to.failed);
        self.held.clone_from(&to.held);
        self.alive.clone_from(&to.alive);
        self.settling = to.settling;
        self.together.clone_from(&to.together);
    }
}
