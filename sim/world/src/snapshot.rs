//! A world as it was at a moment, to go back to: a booted world is made once and used again and again.
//!
//! A snapshot is a copy of everything but the bytes. Of guest memory and of the devices' contents, what
//! is written afterwards is undone, so going back costs what the schedule touched, not what there is.
//!
//! ```text
//! let booted = world.snapshot().expect("both ends make marks");
//! for seed in seeds {
//!     world.restore(&booted);
//!     world.reseed(Rng::new(seed, …));
//!     world.follow(Strategy::random(seed));
//!     …
//! }
//! ```

use bytes::Bytes;
use scenarios::{Seen, Time};

use super::frozen::Frozen;
use super::{Choices, RunHash, Schedule, Strategy, World};
use wire::message::{ClientId, ConnId, HbaId};
use wire::{BackEnd, FrontEnd, Inside, Rng};

/// A world as it was. Only the last one that was taken of a world can be gone back to.
pub struct Snapshot<T: Inside, G: Inside> {
    number: u64,
    now: Time,
    schedule: Schedule,
    strategy: Strategy,
    choices: Option<Choices>,
    diverged: Option<u64>,
    owner: Vec<usize>,
    rng: Rng,
    target: T::Mark,
    died: bool,
    /// The guests, and the connections of their devices.
    vms: Vec<(G::Mark, Vec<Option<ConnId>>)>,
    conns: Vec<(usize, HbaId)>,
    saw: Vec<Seen>,
    rpc: Vec<(ClientId, Bytes)>,
    trace: RunHash,
    order: RunHash,
    turns: u64,
    pub(super) memories: Vec<Frozen>,
}

impl<T: BackEnd, G: FrontEnd> Snapshot<T, G> {
    /// Of a world as it is now; `None` if one of the ends makes no marks.
    pub(super) fn of(world: &mut World<T, G>) -> Option<Self> {
        let target = world.target.mark()?;
        let vms = world.vms.iter_mut().map(|vm| {
            let conns = vm.devices.iter().map(|device| device.conn);
            Some((vm.guest.mark()?, conns.collect()))
        });
        let vms = vms.collect::<Option<_>>()?;
        world.snapshots += 1;
        let mut memories: Vec<Frozen> = Vec::new();
        world.each_memory(&mut |memory| {
            if !memories.iter().any(|frozen| frozen.is_of(memory)) {
                memories.push(Frozen::new(memory));
            }
        });
        Some(Self {
            number: world.snapshots,
            now: world.now,
            schedule: world.schedule.clone(),
            strategy: world.strategy.clone(),
            choices: world.choices.clone(),
            diverged: world.diverged,
            owner: world.owner.clone(),
            rng: world.rng.clone(),
            target,
            died: world.died,
            vms,
            conns: world.conns.clone(),
            saw: world.saw.clone(),
            rpc: world.rpc.clone(),
            trace: world.trace,
            order: world.order,
            turns: world.turns,
            memories,
        })
    }

    /// Makes `world` what it was.
    ///
    /// # Panics
    ///
    /// If this is not its last snapshot.
    pub(super) fn put_back(&self, world: &mut World<T, G>) {
        assert_eq!(world.snapshots, self.number, "a later snapshot was taken");
        for frozen in &self.memories {
            frozen.put_back(&mut world.pages);
        }
        world.now = self.now;
        world.schedule.clone_from(&self.schedule);
        world.strategy.clone_from(&self.strategy);
        world.choices.clone_from(&self.choices);
        world.diverged = self.diverged;
        world.owner.clone_from(&self.owner);
        world.rng.clone_from(&self.rng);
        world.target.rewind(&self.target);
        world.died = self.died;
        world.vms.truncate(self.vms.len());
        for (vm, (guest, conns)) in world.vms.iter_mut().zip(&self.vms) {
            vm.guest.rewind(guest);
            for (device, conn) in vm.devices.iter_mut().zip(conns) {
                device.conn = *conn;
            }
        }
        world.conns.clone_from(&self.conns);
        world.from_target.clear();
        world.from_guest.clear();
        world.saw.clone_from(&self.saw);
        world.rpc.clone_from(&self.rpc);
        (world.trace, world.order, world.turns) = (self.trace, self.order, self.turns);
    }
}
