//! The names of things in a plan: IDs, once, for everyone.
//!
//! Knows nothing of how a testbed calls them (paths, ports, device nodes, socket names).

use std::fmt;

use serde::{Deserialize, Serialize};

/// SPDK's `SPDK_VHOST_SCSI_CTRLR_MAX_DEVS` (lib/vhost/vhost_internal.h): slots 0..8 of a controller.
/// Beyond it, an attach is refused with "Invalid argument".
pub const TARGETS_PER_CONTROLLER_MAX: u8 = 8;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident($inner:ty), $shown:literal) => {
        $(#[$doc])*
        #[derive(
            Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
        )]
        #[serde(transparent)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, $shown, self.0)
            }
        }
    };
}

id!(
    /// A virtual machine, numbered as the plan numbers it, from 1.
    VmId(u8), "VM {}"
);
id!(
    /// A vhost-scsi controller, numbered as the plan numbers it, from 1.
    ControllerId(u8), "controller {}"
);
id!(
    /// A SCSI target slot of a controller, 0 to 7.
    TargetId(u8), "target {}"
);
id!(
    /// A disk of the plan, from 1: an NVMe namespace, a split of one, or any bdev.
    DiskId(u8), "disk {}"
);
id!(
    /// One start of fio in a case, from 0 in the order of the starts over the whole run.
    FioId(u16), "fio {}"
);
id!(
    /// An action that was asked for and has not been answered yet.
    Ticket(u32), "ticket {}"
);

id!(
    /// A request of an application: which of its VM's requests it is, in the order in which they were
    /// submitted. One number, so that a trace has one.
    IoId(u64), "{}"
);

impl IoId {
    /// Bits of the number within its VM; the VM's own number stands above them.
    const NUMBER_BITS: u32 = 48;

    /// Request `number` of `vm`.
    #[must_use]
    pub fn new(vm: VmId, number: u64) -> Self {
        Self(u64::from(vm.0) << Self::NUMBER_BITS | number)
    }

    /// Whose request it is.
    #[must_use]
    pub fn vm(self) -> VmId {
        VmId((self.0 >> Self::NUMBER_BITS) as u8)
    }

    /// Its number within its VM: they rise.
    #[must_use]
    pub fn number(self) -> u64 {
        self.0 & ((1 << Self::NUMBER_BITS) - 1)
    }
}

/// Where a disk hangs: what `H:C:T:L` says in a guest, without the names that move.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Place {
    /// The controller whose guest sees the disk.
    pub controller: ControllerId,
    /// The slot on it.
    pub target: TargetId,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.controller.0, self.target.0)
    }
}
