//! A ring as the target's thread watches it: whether the driver has published more, and whether it shall
//! kick.
//!
//! Knows the first words of a ring, no descriptor; taking entries is the target's.

use std::fs::{self, File};
use std::io::Write as _;
use std::os::fd::{AsFd as _, AsRawFd as _};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use sim::wire::access::Access as _;
use sim::wire::component::GuestMemory;
use sim::wire::ring::{AVAIL_F_NO_INTERRUPT, USED_F_NO_NOTIFY};
use vm_memory::GuestAddress;

/// How a ring is watched.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Watch {
    /// Not at all: it was never started, or is stopped.
    #[default]
    Off,
    /// It may be the driver's again: read, not written.
    Read,
    /// It runs.
    Runs,
}

/// A ring.
#[derive(Debug, Default)]
pub struct Ring {
    /// Guest address of the available ring.
    pub avail: u64,
    /// Guest address of the used ring.
    pub used: u64,
    /// How it is watched.
    pub watch: Watch,
    /// Wakes us.
    pub kick: Option<File>,
    /// Wakes the driver.
    pub call: Option<File>,
    /// Flags and index of the available ring, when last seen.
    seen: Option<[u8; 4]>,
}

impl Ring {
    /// It starts: everything is new.
    pub fn start(&mut self) {
        self.watch = Watch::Runs;
        self.seen = None;
    }

    /// Whether the driver has changed anything since this was last asked.
    pub fn moved(&mut self, memory: &GuestMemory) -> bool {
        if self.watch == Watch::Off {
            return false;
        }
        let now = memory.read_few(GuestAddress(self.avail)).ok();
        if now == self.seen {
            return false;
        }
        self.seen = now;
        true
    }

    /// Asks for kicks, or says that none are needed.
    pub fn want_kicks(&self, memory: &GuestMemory, wanted: bool) {
        if self.watch == Watch::Runs {
            let flags = if wanted { 0 } else { USED_F_NO_NOTIFY };
            // A ring that is not there any more needs no kick.
            let _ = memory.store_le16(flags, GuestAddress(self.used));
        }
    }

    /// Whether the driver may change something without a kick: it has no descriptor to kick, or wants no
    /// calls now, or does not run.
    #[must_use]
    pub fn is_silent(&self) -> bool {
        match self.watch {
            Watch::Off => false,
            Watch::Read => true,
            Watch::Runs => {
                let flags = self
                    .seen
                    .map_or(0, |seen| u16::from_le_bytes([seen[0], seen[1]]));
                let deaf = flags & AVAIL_F_NO_INTERRUPT != 0;
                self.kick.is_none() || deaf
            }
        }
    }

    /// Calls the driver.
    pub fn call(&self) {
        let Some(mut call) = self.call.as_ref() else {
            return;
        };
        // A counter that is full is a call that was not taken yet: writing would wait for that.
        let mut polled = [PollFd::new(call.as_fd(), PollFlags::POLLOUT)];
        if poll(&mut polled, PollTimeout::ZERO).is_ok_and(|ready| ready > 0) {
            // Whoever closed it wants no calls.
            let _ = call.write(&1u64.to_ne_bytes());
        }
    }
}

/// Whether a descriptor is an eventfd. Writing to anything else might wait for the peer.
#[must_use]
pub fn is_eventfd(file: &File) -> bool {
    let link = fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd()));
    link.is_ok_and(|link| link.as_os_str() == "anon_inode:[eventfd]")
}
