//! A request in flight: what `spdk_vhost_scsi_task` and the `spdk_scsi_task` inside it hold.
//!
//! Tasks live in an array a ring, indexed by head, and are reused. Knows no SCSI.

use super::chain::Iov;
use crate::handles::DevHandle;
use crate::scsi::{BlockIo, Sense};
use wire::scsi::CDB_SIZE;

/// A request in flight.
#[derive(Clone, Debug, Default)]
pub struct Task {
    pub in_flight: bool,
    /// The SCSI device it is for. Stays behind in the array, as in SPDK (S3).
    pub dev: Option<DevHandle>,
    pub to_device: bool,
    /// The response, as a guest physical address.
    pub response: u64,
    /// What goes into the used element.
    pub used_len: u32,
    pub length: u32,
    /// Bytes of payload that the command moved.
    pub transferred: u32,
    pub status: u8,
    /// Sense data, if any.
    pub sense: Option<Sense>,
    pub cdb: [u8; CDB_SIZE],
    pub iovs: Vec<Iov>,
    /// What the bdev was asked for.
    pub io: Option<BlockIo>,
}

impl Task {
    /// Begins a new request in this place; the device of the last one stays (S3).
    pub fn begin(&mut self) {
        self.in_flight = true;
        self.to_device = false;
        self.response = 0;
        self.used_len = 0;
        self.length = 0;
        self.transferred = 0;
        self.status = 0;
        self.sense = None;
        self.iovs.clear();
        self.io = None;
    }

    /// As after allocation, but keeps the buffers.
    pub fn forget(&mut self) {
        self.begin();
        self.in_flight = false;
        self.dev = None;
    }
}

/// Guest memory was not where it should be: the data of a task are not there.
pub struct Gone;
