//! The names of the checks, and what each needs to see.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::evidence::Evidence;

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
    /// The sessions' targets converge to the controller's.
    I8,
    /// A target is only refused when it is not there.
    I9,
    /// A stop finishes, and leaves no residue.
    I10,
    /// Task management is answered as it should be; nothing that comes in kills the target.
    I11,
    /// Every used entry is called for, unless the driver wants no calls.
    I12,
    /// Nobody waits for ever for a lock, and no step takes long.
    I13,
    /// Counters return to zero.
    I14,
    /// The work of a request is bounded.
    I15,
    /// A deleted controller goes once nobody holds it.
    I16,
    /// The residual is no more than the payload; the used length is what was written.
    I17,
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
    /// GET_VRING_BASE is answered.
    V4,
    /// What the plan expects.
    Plan,
    /// fio's verdict and the strict oracle's.
    Fio,
}

impl CheckId {
    /// The checks that read observations; `Plan` and `Fio` are the plan's own steps.
    pub const JUDGED: [Self; 30] = [
        Self::I1,
        Self::I2,
        Self::I3,
        Self::I4,
        Self::I5,
        Self::I6,
        Self::I7,
        Self::I8,
        Self::I9,
        Self::I10,
        Self::I11,
        Self::I12,
        Self::I13,
        Self::I14,
        Self::I15,
        Self::I16,
        Self::I17,
        Self::I18,
        Self::G1,
        Self::G2,
        Self::G3,
        Self::G4,
        Self::G5,
        Self::G6,
        Self::G7,
        Self::G8,
        Self::V1,
        Self::V2,
        Self::V3,
        Self::V4,
    ];

    /// The check that reports call so.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        let mut all = (Self::JUDGED.into_iter()).chain([Self::Plan, Self::Fio]);
        all.find(|check| check.to_string() == name)
    }

    /// What a testbed must show for it.
    #[must_use]
    pub const fn needs(self) -> Evidence {
        match self {
            Self::I2 | Self::G5 | Self::G6 | Self::V2 => Evidence::PER_IO,
            Self::I9 => Evidence::PER_IO.union(Evidence::TARGET_INSIDE),
            Self::I1 | Self::G1 | Self::G2 | Self::G3 | Self::G4 => Evidence::RINGS,
            Self::I12 | Self::I17 | Self::V4 => Evidence::RINGS,
            Self::I13 | Self::I15 | Self::I16 => Evidence::TARGET_INSIDE,
            Self::I3 | Self::I4 | Self::I5 | Self::I6 | Self::I7 | Self::I8 | Self::I10 => {
                Evidence::TARGET_INSIDE
            }
            Self::I14 | Self::I18 | Self::G7 | Self::G8 | Self::V1 => Evidence::TARGET_INSIDE,
            Self::V3 => Evidence::TARGET_INSIDE.union(Evidence::GUEST_DISKS),
            Self::I11 | Self::Plan | Self::Fio => Evidence::empty(),
        }
    }
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
