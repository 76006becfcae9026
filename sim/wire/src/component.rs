//! What the world, `serve` and `socket` know of either end: messages in, turns, messages out.
//!
//! An end is sans-I/O: it is handed memory, messages and time, and hands back messages. It knows
//! no socket, no clock, and nothing of the other end.

use std::fmt::Debug;
use std::sync::Arc;

use scenarios::{CheckId, Observation, Seen, Time};
use vm_memory::GuestMemoryMmap;

use crate::dirty::DirtyPages;
use scenarios::rng::Rng;

/// Guest memory that notes which of its pages were written.
pub type GuestMemory = GuestMemoryMmap<DirtyPages>;
/// A guest's memory. In *sim* anonymous; behind sockets the peer's file descriptors.
pub type Memory = Arc<GuestMemory>;

/// Actors an end can have: their numbers fit a bit set.
pub const COMPONENT_ACTORS_MAX: usize = 64;
/// Actors of all ends of a world together: an [`ActorId`] names each.
pub const ACTORS_MAX: usize = 1 << 16;

/// What can run in an end: a thread, a device, a work item.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ActorId(pub u16);

/// When an actor can take its next turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// Not until something is put in.
    Blocked,
    /// From this time on (which may be past).
    At(Time),
}

/// What a turn is told, and where it puts what comes of it.
pub struct Cx<'a, Out> {
    /// The time of the turn.
    pub now: Time,
    /// The end's accidents: latencies, orders that the hardware does not fix.
    pub rng: &'a mut Rng,
    /// Messages to the other end.
    pub out: &'a mut Vec<Out>,
    /// What an observer sees.
    pub saw: &'a mut Vec<Seen>,
}

impl<Out> Cx<'_, Out> {
    /// Notes an observation.
    pub fn see(&mut self, what: Observation) {
        self.saw.push(Seen { at: self.now, what });
    }

    /// Notes what `make` says, of the most frequent ones: see [`push_made`].
    #[inline]
    pub fn see_made(&mut self, make: impl FnOnce() -> Observation) {
        let at = self.now;
        push_made(self.saw, || Seen { at, what: make() });
    }

    /// Notes a broken invariant of the modelled system.
    pub fn broken(&mut self, check: CheckId, text: String) {
        self.see(Observation::Broken { check, text });
    }
}

/// Appends what `make` makes, where it stays: a copy of what was just written, field by field, waits until that
/// has arrived in the processor's cache.
#[inline]
pub fn push_made<T>(to: &mut Vec<T>, make: impl FnOnce() -> T) {
    to.extend(std::iter::once_with(make));
}

/// Describes a turn that was taken.
pub trait TurnInfo: Copy + Debug {
    /// What the trace hash folds in: a number for the kind, and the fields.
    fn words(&self) -> [u64; 3];

    /// What kind of turn it was, in a word or two, for people: "session start".
    fn kind(&self) -> &'static str;

    /// Whether it belongs to the order of hot-plug turns; `words()[0]` is then its identity,
    /// which must hold no time and no data, but may hold the place it is about.
    fn is_hotplug(&self) -> bool;
}

/// One end of the picture: a target or a guest.
pub trait Component {
    /// Messages it takes.
    type In;
    /// Messages it gives.
    type Out;
    /// What its turns are.
    type Turn: TurnInfo;

    /// Queues `message`. Takes no turn, never blocks, never recurses.
    fn input(&mut self, now: Time, message: Self::In);

    /// When `actor` can take a turn. O(1).
    fn when(&self, actor: ActorId) -> When;

    /// How many actors there are, up to [`COMPONENT_ACTORS_MAX`]: `ActorId(0)` up to this, exclusively. Constant
    /// over a run.
    fn actors(&self) -> u16;

    /// What `actor` is called, for people.
    fn name(&self, actor: ActorId) -> String {
        format!("actor {}", actor.0)
    }

    /// The actors whose `when` may have changed since this was last called, as a bit set.
    fn changed(&mut self) -> u64;

    /// Lets `actor` take one turn: a step to the next point where another thread could have run.
    ///
    /// # Panics
    ///
    /// If the actor is blocked: a bug of whoever schedules.
    fn turn(&mut self, actor: ActorId, cx: &mut Cx<'_, Self::Out>) -> Self::Turn;
}
