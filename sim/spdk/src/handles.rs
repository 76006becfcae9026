//! Names by which one part of the target speaks of what another part owns.
//!
//! Handles carry a generation: SPDK's array entries are used again, and a stale pointer there points to a
//! stranger; a stale handle here is noticed instead of followed.

use scenarios::{TARGETS_PER_CONTROLLER_MAX, TargetId};

use crate::turn::ForeachOp;
use wire::message::VringIndex;

// The actors.

/// The app thread: RPC, bdev management, completions of foreach operations.
pub const APP: usize = 0;
/// DPDK's `vhost-events` thread.
pub const DPDK: usize = 1;
/// The devices under the bdevs.
pub const BDEV: usize = 2;
/// The first controller's thread.
pub const VDEV: usize = 3;

/// A controller's place among the controllers, and so among the actors. Used again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct VdevId(pub u8);

impl VdevId {
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// A target slot of a controller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlotId(pub u8);

impl SlotId {
    pub const COUNT: usize = TARGETS_PER_CONTROLLER_MAX as usize;

    pub fn all() -> impl Iterator<Item = Self> {
        (0..TARGETS_PER_CONTROLLER_MAX).map(Self)
    }

    pub const fn index(self) -> usize {
        self.0 as usize
    }

    pub const fn target(self) -> TargetId {
        TargetId(self.0)
    }
}

/// SPDK's id of a session: rises on a controller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SessionId(pub u32);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DevHandle {
    /// SPDK's id: its place, used again.
    pub index: u16,
    pub generation: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct BdevHandle {
    pub index: u16,
    pub generation: u32,
}

/// A task, for as long as it is in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TaskRef {
    pub vdev: VdevId,
    pub vring: u16,
    pub head: u16,
    pub session: SessionId,
    /// The life of the ring that issued it.
    pub life: u32,
}

/// A session, by its controller and its place there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SessionAt {
    pub vdev: VdevId,
    pub index: usize,
}

/// A ring of a session, by the session's place among those of its controller.
#[derive(Clone, Copy, Debug)]
pub struct RingAt {
    pub session: usize,
    pub vring: VringIndex,
}

/// A foreach-session operation under way.
#[derive(Clone, Copy, Debug)]
pub struct Foreach {
    pub vdev: VdevId,
    /// The controller's creation number: its place may be another's by now.
    pub number: u8,
    pub op: ForeachOp,
    pub slot: SlotId,
    /// A session has to finish what the visit began (`async_fini`).
    pub is_marked: bool,
    /// A session broke the visit off.
    pub is_aborted: bool,
}
