//! What the driver is asked to send, and for whom.

use wire::message::VringIndex;
use wire::scsi::CDB_SIZE;

use crate::ids::{FlowNo, IoNo, StepNo};

/// Who sent a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    Flow(FlowNo),
    /// A script, from buffers of its own.
    Script(StepNo),
    Io(IoNo),
}

/// Which way the data of a command go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    In,
    Out,
}

impl Direction {
    /// The one of two things that goes with it.
    #[inline]
    pub fn pick<T>(self, when_in: T, when_out: T) -> T {
        match self {
            Self::In => when_in,
            Self::Out => when_out,
        }
    }
}

/// Data of a command.
#[derive(Clone, Copy, Debug)]
pub struct Data {
    /// Guest address.
    pub addr: u64,
    /// Bytes; 0: no data.
    pub len: u32,
    pub direction: Direction,
}

/// A command for a request queue.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    pub vring: VringIndex,
    /// Target and LUN.
    pub to: (u8, u16),
    pub cdb: &'a [u8; CDB_SIZE],
    pub data: Data,
    pub owner: Owner,
}

/// The ring has no room for a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RingFull;

/// Which driver has the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Driver {
    /// None: not started.
    None,
    /// The firmware's: request queue 0 alone, no HOTPLUG, no indirect descriptors.
    Firmware,
    /// Linux's.
    Linux,
}

/// Whether a chain of descriptors ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChainEnd {
    Proper,
    /// Its last descriptor points to itself.
    Endless,
}
