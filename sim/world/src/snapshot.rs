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

use std::collections::VecDeque;

use bytes::Bytes;
use scenarios::{Seen, Time};

use super::frozen::Frozen;
use super::{Choices, RunHash, Schedule, Strategy, World};
use wire::component::Memory;
use wire::message::{ClientId, ConnId, HbaId};
use wire::{BackEnd, FrontEnd, Inside, Rng};

/// A world as it was. Only the last one that was taken of a world can be gone back to.
pub struct Snapshot<T: Inside, G: Inside> {
    number: u64,
    now: Time,
    schedule: Schedule,
    strategy: Strategy,
    choices: Option<Choices>,
    strayed: Option<u64>,
    owner: Vec<usize>,
    rng: Rng,
    target: T::Mark,
    died: bool,
    /// The guests, and the connections of their devices.
    vms: Vec<(G::Mark, Vec<Option<ConnId>>)>,
    conns: Vec<(usize, HbaId)>,
    saw: Vec<Seen>,
    rpc: Vec<(ClientId, Bytes)>,
    log: VecDeque<String>,
    trace: RunHash,
    order: RunHash,
    turns: u64,
    pub(super) memories: Vec<Frozen>,
}

impl<T: BackEnd, G: FrontEnd> World<T, G> {
    /// The world as it is now; one that was taken before cannot be gone back to any more. `None` if one of the ends
    /// makes no marks.
    pub fn snapshot(&mut self) -> Option<Snapshot<T, G>> {
        let target = self.target.mark()?;
        let vms = self.vms.iter_mut().map(|vm| {
            let conns = vm.devices.iter().map(|device| device.conn);
            Some((vm.guest.mark()?, conns.collect()))
        });
        let vms = vms.collect::<Option<_>>()?;
        self.snapshots += 1;
        let mut memories: Vec<Frozen> = Vec::new();
        self.each_memory(&mut |memory| {
            if !memories.iter().any(|frozen| frozen.is_of(memory)) {
                memories.push(Frozen::new(memory));
            }
        });
        Some(Snapshot {
            number: self.snapshots,
            now: self.now,
            schedule: self.schedule.clone(),
            strategy: self.strategy.clone(),
            choices: self.choices.clone(),
            strayed: self.strayed,
            owner: self.owner.clone(),
            rng: self.rng.clone(),
            target,
            died: self.died,
            vms,
            conns: self.conns.clone(),
            saw: self.saw.clone(),
            rpc: self.rpc.clone(),
            log: self.log.clone(),
            trace: self.trace,
            order: self.order,
            turns: self.turns,
            memories,
        })
    }

    /// Becomes what it was, strategy, rng and hashes included; who records its turns stays.
    ///
    /// It then takes the very turns that it took, or would have taken, after the snapshot.
    ///
    /// # Panics
    ///
    /// If `to` is not the last snapshot of this world.
    pub fn restore(&mut self, to: &Snapshot<T, G>) {
        assert_eq!(self.snapshots, to.number, "a later snapshot was taken");
        for frozen in &to.memories {
            frozen.put_back(&mut self.pages);
        }
        self.now = to.now;
        self.schedule.clone_from(&to.schedule);
        self.strategy.clone_from(&to.strategy);
        self.choices.clone_from(&to.choices);
        self.strayed = to.strayed;
        self.owner.clone_from(&to.owner);
        self.rng.clone_from(&to.rng);
        self.target.rewind(&to.target);
        self.died = to.died;
        self.vms.truncate(to.vms.len());
        for (vm, (guest, conns)) in self.vms.iter_mut().zip(&to.vms) {
            vm.guest.rewind(guest);
            for (device, conn) in vm.devices.iter_mut().zip(conns) {
                device.conn = *conn;
            }
        }
        self.conns.clone_from(&to.conns);
        self.from_target.clear();
        self.from_guest.clear();
        self.saw.clone_from(&to.saw);
        self.rpc.clone_from(&to.rpc);
        self.log.clone_from(&to.log);
        (self.trace, self.order, self.turns) = (to.trace, to.order, to.turns);
        self.check_restored(&to.memories);
    }

    /// Draws its accidents from `rng` from now on.
    pub fn reseed(&mut self, rng: Rng) {
        self.rng = rng;
    }

    /// Bytes of guest memory that were ever written, and of the devices' contents, if those are seen.
    #[must_use]
    pub fn bytes_touched(&self) -> (u64, Option<u64>) {
        let (mut pages, mut counted) = (0, Vec::<Memory>::new());
        self.each_memory(&mut |memory| {
            // Both ends know an inflight buffer.
            if !counted.iter().any(|of| std::sync::Arc::ptr_eq(of, memory)) {
                pages += super::frozen::pages_touched(memory);
                counted.push(memory.clone());
            }
        });
        let page = wire::dirty::PAGE as u64;
        (pages * page, self.target.stored_bytes())
    }

    pub(super) fn each_memory(&self, f: &mut dyn FnMut(&Memory)) {
        for vm in &self.vms {
            vm.guest.memories(f);
        }
        self.target.memories(f);
    }
}
