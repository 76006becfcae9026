//! What a testbed can show: what a check says it needs, and what a testbed says it has.

use serde::{Deserialize, Serialize};

/// What a testbed can show a check: a set of flags.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Evidence(pub u8);

impl Evidence {
    /// Nothing but answers and ends.
    pub const NONE: Self = Self(0);
    /// Every request of a guest's applications, with its result and the fingerprint of its data.
    pub const PER_IO: Self = Self(1);
    /// Slots, sessions, events, references inside the target.
    pub const TARGET_INSIDE: Self = Self(2);
    /// The disks a guest has, by place, as they come and go.
    pub const GUEST_DISKS: Self = Self(4);
    /// How each fio job ended.
    pub const FIO_REPORT: Self = Self(8);
    /// Ring contents as both ends see them, access by access.
    pub const RINGS: Self = Self(16);

    /// Both sets together.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether everything in `needed` is here.
    #[must_use]
    pub const fn covers(self, needed: Self) -> bool {
        self.0 & needed.0 == needed.0
    }
}
