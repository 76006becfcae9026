//! The disks of a linked target: SPDK's own bdevs that need no hardware, under the names that plans' disks have.
//!
//! A disk is a malloc bdev with a delay bdev on top, which takes the place of the NVMe device: its deletion is the hot
//! removal, and what was written is still there when it is made again. Sends nothing.

use scenarios::driver::calls::Call;
use scenarios::driver::disks::{BLOCK_BYTES, DISK_BYTES};
use scenarios::driver::{Disks, NotHere};
use scenarios::{DiskId, DiskKind, TestbedError};
use serde_json::json;

/// Disks of a target that has no NVMe.
#[derive(Clone, Copy, Debug)]
pub struct LinkedDisks {
    /// How long a request takes, the slowest in a hundred twice as long.
    pub micros: u32,
}

fn memory(disk: DiskId) -> String {
    format!("Malloc{}", disk.0.saturating_sub(1))
}

fn create_memory(disk: DiskId) -> Call {
    let blocks = DISK_BYTES / u64::from(BLOCK_BYTES);
    let params = json!({"name": memory(disk), "num_blocks": blocks, "block_size": BLOCK_BYTES});
    ("bdev_malloc_create", Some(params))
}

impl LinkedDisks {
    fn create(self, disk: DiskId) -> Call {
        let (usual, slowest) = (self.micros, 2 * self.micros);
        let params = json!({
            "base_bdev_name": memory(disk), "name": self.base(disk),
            "avg_read_latency": usual, "p99_read_latency": slowest,
            "avg_write_latency": usual, "p99_write_latency": slowest,
        });
        ("bdev_delay_create", Some(params))
    }
}

impl Disks for LinkedDisks {
    fn prepare(&mut self, disks: &[(DiskId, DiskKind)]) -> Result<Vec<Call>, TestbedError> {
        let mut calls = Vec::new();
        for (disk, kind) in disks {
            if *kind != DiskKind::Null {
                calls.extend([create_memory(*disk), self.create(*disk)]);
            }
            calls.extend(self.top(*disk, *kind));
        }
        Ok(calls)
    }

    fn base(&self, disk: DiskId) -> String {
        format!("Nvme{}n1", disk.0.saturating_sub(1))
    }

    fn null(&self, disk: DiskId) -> String {
        format!("Null{}", disk.0)
    }

    fn insert_base(&self, disk: DiskId) -> Result<Vec<Call>, NotHere> {
        Ok(vec![self.create(disk)])
    }

    fn remove_base(&self, disk: DiskId) -> Result<Call, NotHere> {
        let params = json!({"name": self.base(disk)});
        Ok(("bdev_delay_delete", Some(params)))
    }
}
