//! The disks of the model target: an NVMe device each, named as SPDK's examples are.
//!
//! Sends nothing.

use scenarios::driver::calls::{self, Call};
use scenarios::driver::disks::{BLOCK_BYTES, DISK_BYTES};
use scenarios::driver::{Disks, NotHere};
use scenarios::{DiskId, DiskKind, TestbedError};

use spdk::NvmeDevice;

/// Disks that a plan can have (`scenarios::plan`).
pub const DISKS_MAX: u8 = 128;

/// A device for each of so many disks: at 0000:01:00.0 and so on.
#[must_use]
pub fn nvme_devices(disks: u8) -> Vec<NvmeDevice> {
    let namespace = (DISK_BYTES / u64::from(BLOCK_BYTES), BLOCK_BYTES);
    let nvme = (1..=disks).map(|disk| NvmeDevice {
        traddr: traddr(DiskId(disk)),
        namespaces: vec![namespace],
    });
    nvme.collect()
}

/// The NVMe controller of a disk: the first disk's is Nvme0.
fn nvme(disk: DiskId) -> String {
    format!("Nvme{}", disk.0.saturating_sub(1))
}

/// The PCI address of a disk's NVMe controller.
fn traddr(disk: DiskId) -> String {
    format!("0000:{:02x}:00.0", disk.0)
}

/// The disks of a target that has [`nvme_devices`].
#[derive(Clone, Copy, Debug)]
pub struct ModelledDisks;

impl Disks for ModelledDisks {
    fn prepare(&mut self, disks: &[(DiskId, DiskKind)]) -> Result<Vec<Call>, TestbedError> {
        let mut calls = Vec::new();
        for (disk, kind) in disks {
            if *kind != DiskKind::Null {
                calls.push(calls::attach_nvme(&nvme(*disk), &traddr(*disk)));
            }
            calls.extend(self.top(*disk, *kind));
        }
        Ok(calls)
    }

    fn base(&self, disk: DiskId) -> String {
        format!("{}n1", nvme(disk))
    }

    fn null(&self, disk: DiskId) -> String {
        format!("Null{}", disk.0)
    }

    fn insert_base(&self, disk: DiskId) -> Result<Vec<Call>, NotHere> {
        Ok(vec![calls::attach_nvme(&nvme(disk), &traddr(disk))])
    }

    fn remove_base(&self, disk: DiskId) -> Result<Call, NotHere> {
        Ok(calls::detach_nvme(&nvme(disk)))
    }
}
