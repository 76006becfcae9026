//! How the disks of a plan are made on a target, and what they are called there.
//!
//! A disk is a bdev of its own, its *base*, with what its kind puts on top. Sends nothing.

use super::NotHere;
use super::calls::{self, Call};
use crate::names::DiskId;
use crate::testbed::{DiskKind, TestbedError};

/// Block size of every disk that we make.
pub const BLOCK_BYTES: u32 = 512;

/// Bytes of each of them: four times what the default volume writes, so that offsets matter.
pub const DISK_BYTES: u64 = 64 << 20;

/// Bytes of a bdev's name that guests see, as its unit serial number (`MAX_SERIAL_STRING` of SPDK's
/// lib/scsi/scsi_bdev.c, less the NUL).
pub const SERIAL_MAX: usize = 31;

/// What guests see of a bdev's name.
#[must_use]
pub fn serial(bdev: &str) -> &str {
    &bdev[..bdev.floor_char_boundary(SERIAL_MAX)]
}

/// How the disks of a plan are made on a target, and what they are called there.
pub trait Disks {
    /// What makes all disks of a plan.
    ///
    /// # Errors
    ///
    /// The target has no such disk.
    fn prepare(&mut self, disks: &[(DiskId, DiskKind)]) -> Result<Vec<Call>, TestbedError>;

    /// The name of a disk's base.
    fn base(&self, disk: DiskId) -> String;

    /// The name of a disk that keeps nothing and has no base ([`DiskKind::Null`]).
    fn null(&self, disk: DiskId) -> String;

    /// What brings a base back.
    ///
    /// # Errors
    ///
    /// It cannot be brought back.
    fn insert_base(&self, disk: DiskId) -> Result<Vec<Call>, NotHere>;

    /// What takes a base away, in use or not.
    ///
    /// # Errors
    ///
    /// It cannot be taken away.
    fn remove_base(&self, disk: DiskId) -> Result<Call, NotHere>;

    /// What takes away what [`Disks::prepare`] has made, on a target that goes on without us.
    fn undo(&self) -> Vec<Call> {
        Vec::new()
    }

    /// The bdevs that [`Disks::prepare`] makes, on a target that goes on without us.
    fn made(&self) -> Vec<String> {
        Vec::new()
    }

    /// The name of a disk's bdev, which is the serial number that guests see (SPDK's `bdev_scsi_inquiry`).
    fn bdev(&self, disk: DiskId, kind: DiskKind) -> String {
        match kind {
            DiskKind::Nvme => self.base(disk),
            DiskKind::Faulty => calls::faulty(&self.base(disk)),
            DiskKind::Null => self.null(disk),
            DiskKind::Delayed => calls::delayed(&self.base(disk)),
        }
    }

    /// What makes that which stands on top of a disk's base, or in its place.
    fn top(&self, disk: DiskId, kind: DiskKind) -> Option<Call> {
        match kind {
            DiskKind::Nvme => None,
            DiskKind::Faulty => Some(calls::create_faulty(&self.base(disk))),
            DiskKind::Null => {
                let blocks = DISK_BYTES / u64::from(BLOCK_BYTES);
                Some(calls::create_null(&self.null(disk), blocks, BLOCK_BYTES))
            }
            DiskKind::Delayed => Some(calls::delay(&self.base(disk))),
        }
    }

    /// What brings a disk back that was removed.
    ///
    /// # Errors
    ///
    /// It cannot be brought back.
    fn insert(&self, disk: DiskId, kind: DiskKind) -> Result<Vec<Call>, NotHere> {
        let mut calls = match kind {
            DiskKind::Nvme | DiskKind::Faulty => self.insert_base(disk)?,
            // There is none, or it is still there.
            DiskKind::Null | DiskKind::Delayed => Vec::new(),
        };
        calls.extend(self.top(disk, kind));
        Ok(calls)
    }

    /// What takes a disk away, in use or not.
    ///
    /// # Errors
    ///
    /// It cannot be taken away.
    fn remove(&self, disk: DiskId, kind: DiskKind) -> Result<Call, NotHere> {
        match kind {
            DiskKind::Nvme | DiskKind::Faulty => self.remove_base(disk),
            DiskKind::Null => Ok(calls::delete_null(&self.null(disk))),
            DiskKind::Delayed => Ok(calls::undelay(&self.bdev(disk, kind))),
        }
    }
}
