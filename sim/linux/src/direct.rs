//! What people and applications beside fio do: direct I/O, flushes, and writes into sysfs.
//!
//! What becomes of requests comes back by their tags. Knows no application.
//!
//! # Divergence from Linux
//!
//! A scan by hand (`/sys/class/scsi_host/*/scan`) asks what a RESCAN event asks: it goes on with REPORT
//! LUNS, and does not look at the disk once more at its end (`SCSI_SCAN_MANUAL`).

use fio_model::{Completion, Op, Request, UnitId};
use scenarios::{FioId, Io, IoId, Time};

use super::Guest;
use super::events::{NO_BUFFER, Work};
use super::flow::{Flow, Kind};
use super::io::{Asked, DIRECT};
use super::removal::RemoveStage;
use wire::component::Cx;
use wire::message::FromGuest;

/// What came of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Finished {
    /// The tag that it was given.
    pub tag: u64,
    /// Its result.
    pub completion: Completion,
}

/// What applications beside fio have under way.
#[derive(Clone, Debug, Default)]
pub struct Direct {
    /// Requests that ended, in order.
    pub finished: Vec<Finished>,
    /// Disks that somebody has open, once for each time.
    pub open: Vec<usize>,
}

/// A request of `len` bytes; none for a flush.
#[derive(Clone, Copy, Debug)]
pub struct DirectIo {
    /// What its end is known by.
    pub tag: u64,
    /// The disk.
    pub disk: usize,
    /// The CPU that it is submitted on.
    pub cpu: usize,
    /// Read, or write.
    pub write: bool,
    /// First byte.
    pub offset: u64,
    /// Bytes; 0: write the cache back (`fsync` of a block device).
    pub len: u32,
    /// Where its data lie.
    pub addr: u64,
}

impl Guest {
    /// Hands a request to the block layer; false if there is no room for it now.
    pub fn submit_direct(&mut self, io: DirectIo, cx: &mut Cx<'_, FromGuest>) -> bool {
        let (op, unit) = (if io.write { Op::Write } else { Op::Read }, UnitId(0));
        let request = Request {
            unit,
            op,
            offset: io.offset,
            len: io.len,
            buffer_offset: 0,
            verify: false,
        };
        if self.waits_for_room(&request, io.disk, io.cpu) {
            return false;
        }
        let disk = &self.disks[io.disk];
        let seen = Io {
            id: IoId(io.tag),
            fio: FioId(u16::MAX),
            disk: disk.id.unwrap_or(scenarios::DiskId(0)),
            place: self.place(disk),
            write: io.write,
            offset: io.offset,
            len: io.len,
            wrote: 0,
        };
        let asked = Asked {
            thread: DIRECT,
            disk: io.disk,
            cpu: io.cpu,
            io: seen,
            addr: io.addr,
        };
        self.submit(&request, asked, cx);
        true
    }

    /// `echo 1 > /sys/block/sdX/device/delete`.
    pub fn delete_by_hand(&mut self, disk: usize, now: Time) {
        let hba = usize::from(self.disks[disk].hba);
        self.work_by_hand(hba, Work::Remove(disk, RemoveStage::Lock), now);
    }

    /// `echo "0 TARGET 0" > /sys/class/scsi_host/hostN/scan`.
    pub fn scan_by_hand(&mut self, hba: usize, target: u8, now: Time) {
        self.work_by_hand(hba, Work::WantScan(target), now);
    }

    fn work_by_hand(&mut self, hba: usize, work: Work, now: Time) {
        let buffer = NO_BUFFER;
        self.spawn(hba, Flow::new(Kind::Event { buffer, work }, now));
    }
}
