//! A step of the target as a turn: what it did, by the names of SPDK's functions.

use wire::TurnInfo;

use crate::library::{How, Stepped};

/// What a step did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Turn {
    /// How it ended; `None`: the target died in it.
    pub how: Option<How>,
    /// Preemption points that it passed.
    pub points: u32,
    /// What it did: of the first function's name.
    pub name: u64,
    /// Of the names of all functions that did something.
    pub hash: u64,
    /// Whether one of hot-plug's functions was the first.
    pub hotplug: bool,
}

impl Turn {
    pub(crate) fn new(step: Option<Stepped>, name: u64, hotplug: bool) -> Self {
        Self {
            how: step.map(|step| step.how),
            points: step.map_or(0, |step| step.points),
            name,
            hash: step.map_or(0, |step| step.hash),
            hotplug,
        }
    }
}

impl TurnInfo for Turn {
    fn words(&self) -> [u64; 3] {
        let how = match self.how {
            None => 0,
            Some(How::Done) => 1,
            Some(How::Point) => 2,
            Some(How::Waits) => 3,
        };
        [self.name, self.hash, u64::from(self.points) << 2 | how]
    }

    fn kind(&self) -> &'static str {
        match self.how {
            None => "SPDK's last",
            Some(How::Done | How::Point | How::Waits) => "SPDK's",
        }
    }

    fn is_hotplug(&self) -> bool {
        self.hotplug
    }
}

/// Whether a function of SPDK's, or a request of the message thread's, belongs to hot-plug: attach, detach,
/// removal, and the sessions that they race with.
pub(crate) fn is_hotplug(name: &str) -> bool {
    const PARTS: [&str; 12] = [
        "foreach_session",
        "session_start",
        "session_stop",
        "destroy_session",
        "hotremove",
        "hot_remove",
        "remove",
        "rpc_vhost",
        "unregister",
        "VRING_KICK",
        "VRING_BASE",
        "connect",
    ];
    PARTS.iter().any(|part| name.contains(part))
}

/// A name's identity that is the same in every process: FNV-1a.
pub(crate) fn hash(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}
