//! What people and applications beside fio do in the guest: direct I/O, flushes, and writes into sysfs.
//!
//! What becomes of requests comes back by their tags. Knows no application.

use fio_model::{Op, Request, UnitId};
use scenarios::{DiskId, FioId, Io, IoId};
use wire::component::Cx;
use wire::message::{FromGuest, HbaId};

use super::ScriptedBackEnd;
use crate::block::{Asked, Submitter};
use crate::driver::layout::thread_buffers;
use crate::guest::Guest;

pub use crate::block::Finished;
pub use crate::driver::layout::CPUS;
pub use crate::ids::DiskNo;
pub use crate::scsi::disk::{DeviceState, Disk};

/// The only device.
const HBA: HbaId = HbaId(0);

/// A request of `len` bytes; none for a flush.
#[derive(Clone, Copy, Debug)]
pub struct DirectIo {
    /// What its end is known by.
    pub tag: u64,
    pub disk: DiskNo,
    /// The CPU that it is submitted on.
    pub cpu: usize,
    pub op: Op,
    /// First byte.
    pub offset: u64,
    /// Bytes; 0: write the cache back (`fsync` of a block device).
    pub len: u32,
    /// Where its data lie: the number of a buffer of that many bytes.
    pub buffer: usize,
}

impl ScriptedBackEnd {
    /// The disk of a target, if it has one that is not gone.
    pub fn disk_at(&self, target: u8) -> Option<DiskNo> {
        self.guest.shared.disks.at(HBA, target)
    }

    pub fn disk(&self, disk: DiskNo) -> &Disk {
        &self.guest.shared.disks[disk]
    }

    /// All disks since the last boot, those that are gone included.
    pub fn all_disks(&self) -> impl Iterator<Item = &Disk> {
        self.guest.shared.disks.iter().map(|(_, disk)| disk)
    }

    /// Somebody opens a disk.
    pub fn open(&mut self, disk: DiskNo) {
        self.guest.shared.disks[disk].opened();
    }

    /// Somebody closes a disk.
    pub fn close(&mut self, disk: DiskNo) {
        self.guest.shared.disks.closed(disk);
    }

    /// Hands a request to the block layer.
    ///
    /// # Panics
    ///
    /// If there is no room for it now.
    pub fn submit(&mut self, io: DirectIo) {
        let request = Request {
            unit: UnitId(0),
            op: io.op,
            offset: io.offset,
            len: io.len,
            buffer_offset: 0,
            verify: false,
        };
        let shared = &self.guest.shared;
        let disk = &shared.disks[io.disk];
        let seen = Io {
            id: IoId(io.tag),
            fio: FioId(u16::MAX),
            disk: disk.id().unwrap_or(DiskId(0)),
            place: shared.place(disk),
            write: io.op != Op::Read,
            trim: io.op == Op::Trim,
            offset: io.offset,
            len: io.len,
            wrote: 0,
        };
        let asked = Asked {
            submitter: Submitter::Direct,
            disk: io.disk,
            cpu: io.cpu,
            io: seen,
            addr: thread_buffers(1, 0) + io.buffer as u64 * u64::from(io.len),
        };
        self.with_cx(|guest, cx| {
            let (block, shared) = (&mut guest.block, &mut guest.shared);
            let waits = block.waits_for_room(&request, io.disk, io.cpu, shared);
            assert!(!waits, "a queue has room for a few threads");
            block.submit(&request, asked, shared, cx);
        });
    }

    /// Requests that have ended, in order.
    pub fn take_finished(&mut self) -> Vec<Finished> {
        self.guest.block.take_finished()
    }

    /// `echo 1 > /sys/block/sdX/device/delete`.
    pub fn delete_by_hand(&mut self, disk: DiskNo) {
        let actors = &mut self.guest.shared.actors;
        let host = self.guest.scsi.host_mut(HBA);
        host.delete_by_hand(disk, self.now, actors);
    }

    /// `echo "0 TARGET 0" > /sys/class/scsi_host/hostN/scan`.
    pub fn scan_by_hand(&mut self, target: u8) {
        let actors = &mut self.guest.shared.actors;
        let host = self.guest.scsi.host_mut(HBA);
        host.scan_by_hand(target, self.now, actors);
    }

    /// Does something as the guest, and serves what it sent.
    fn with_cx(&mut self, f: impl FnOnce(&mut Guest, &mut Cx<'_, FromGuest>)) {
        let mut out = Vec::new();
        let mut cx = Cx {
            now: self.now,
            rng: &mut self.rng,
            out: &mut out,
            saw: &mut self.seen,
        };
        f(&mut self.guest, &mut cx);
        self.deliver(out);
    }
}
