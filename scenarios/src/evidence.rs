//! What a testbed can show: what a check says it needs, and what a testbed says it has.

use bitflags::bitflags;
use serde::{Deserialize, Serialize};

/// What a testbed can show a check; nothing but answers and ends if it is empty.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Evidence(u8);

bitflags! {
    impl Evidence: u8 {
        /// Every request of a guest's applications, with its result and the fingerprint of its data.
        const PER_IO = 1;
        /// Slots, sessions, events, references inside the target.
        const TARGET_INSIDE = 2;
        /// The disks a guest has, by place, as they come and go.
        const GUEST_DISKS = 4;
        /// How each fio job ended.
        const FIO_REPORT = 8;
        /// Ring contents as both ends see them, access by access.
        const RINGS = 16;
    }
}
