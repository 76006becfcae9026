//! The checks: which there are, what evidence each needs.
//!
//! The families stand in the files beside this one; each reads observations only.

use std::fmt;

use serde::{Deserialize, Serialize};

/// An invariant. `I…` are the target's, `G…` and `V…` the guest's view of safety and liveness.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum CheckId {
    /// Every submitted head is returned exactly once, while its ring lives.
    I1,
    /// A read returns the last acknowledged write; detached data survive a re-attach.
    I2,
    /// Nobody touches what was freed.
    I3,
    /// One io-channel reference a session slot with a device.
    I4,
    /// Every RPC answers exactly once, a removal only when drained.
    I5,
    /// `true` from a remove means gone for every session.
    I6,
    /// One event for every change that a session should be told.
    I7,
    /// The guest's disks converge to the target's.
    I8,
    /// A stop finishes, and leaves no residue.
    I10,
    /// Counters return to zero.
    I14,
    /// Slots move only along the table.
    I18,
    /// Each used entry names a head that is in flight.
    G1,
    /// The response is there when the used index moves.
    G2,
    /// Guest memory is not written for a head that was used, or for a stopped ring.
    G3,
    /// Nothing outside the memory table is touched.
    G4,
    /// Acknowledged writes are readable while the disk is attached.
    G5,
    /// No read returns another disk's data.
    G6,
    /// Events only with HOTPLUG, and only into posted buffers.
    G7,
    /// The target's state changes before its event is sent.
    G8,
    /// A detach is answered once its commands are.
    V1,
    /// Every command completes.
    V2,
    /// When nothing more happens, guest and target agree.
    V3,
    /// What the plan expects.
    Plan,
    /// fio's verdict and the strict oracle's.
    Fio,
}

impl fmt::Display for CheckId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Plan => f.write_str("plan"),
            Self::Fio => f.write_str("fio"),
            other => write!(f, "{other:?}"),
        }
    }
}
