//! The RPCs that an action becomes: methods and parameters.
//!
//! Knows how the simulator names its bdevs and controllers; sends nothing.

use scenarios::{ControllerId, DiskId, DiskKind, Place};
use serde_json::{Value, json};

use spdk::NvmeDevice;

/// A method and its parameters.
pub type Call = (&'static str, Option<Value>);

/// Block size of every disk.
pub const BLOCK_BYTES: u32 = 512;

/// Bytes of each disk: four times what the default volume writes, so that offsets matter.
pub const DISK_BYTES: u64 = 64 << 20;

/// Disks that a plan can have (`scenarios::plan`).
const DISKS_MAX: u8 = 128;

/// A device for each disk that a plan can have.
#[must_use]
pub fn nvme_devices() -> Vec<NvmeDevice> {
    let namespace = (DISK_BYTES / u64::from(BLOCK_BYTES), BLOCK_BYTES);
    let nvme = (1..=DISKS_MAX).map(|disk| NvmeDevice {
        traddr: traddr(DiskId(disk)),
        namespaces: vec![namespace],
    });
    nvme.collect()
}

/// The name of a controller's socket.
pub fn controller(controller: ControllerId) -> String {
    format!("vhost.{}", controller.0)
}

/// The name of a disk's bdev, which is its serial number too.
pub fn bdev(disk: DiskId, kind: DiskKind) -> String {
    match kind {
        DiskKind::Nvme => format!("{}n1", nvme(disk)),
        DiskKind::Faulty => format!("EE_{}n1", nvme(disk)),
        DiskKind::Null => format!("Null{}", disk.0),
        DiskKind::Delayed => delayed(&bdev(disk, DiskKind::Nvme)),
    }
}

/// The name of the delay bdev on top of another.
pub fn delayed(base: &str) -> String {
    format!("Delayed_{base}")
}

/// The NVMe controller of a disk: the first disk's is Nvme0.
fn nvme(disk: DiskId) -> String {
    format!("Nvme{}", disk.0.saturating_sub(1))
}

/// The PCI address of a disk's NVMe controller.
pub fn traddr(disk: DiskId) -> String {
    format!("0000:{:02x}:00.0", disk.0)
}

/// What makes a disk's bdev for the first time.
pub fn prepare(disk: DiskId, kind: DiskKind, bytes: u64) -> Vec<Call> {
    let mut calls = insert(disk, kind, bytes);
    if kind == DiskKind::Delayed {
        calls.splice(0..0, insert(disk, DiskKind::Nvme, bytes));
    }
    calls
}

/// What makes a disk's bdev again.
pub fn insert(disk: DiskId, kind: DiskKind, bytes: u64) -> Vec<Call> {
    if kind == DiskKind::Delayed {
        return vec![delay(&bdev(disk, DiskKind::Nvme))];
    }
    if kind == DiskKind::Null {
        let blocks = bytes / u64::from(BLOCK_BYTES);
        let name = bdev(disk, kind);
        let null = json!({"name": name, "num_blocks": blocks, "block_size": BLOCK_BYTES});
        return vec![("bdev_null_create", Some(null))];
    }
    let attach = json!({"name": nvme(disk), "trtype": "PCIe", "traddr": traddr(disk)});
    let mut calls = vec![("bdev_nvme_attach_controller", Some(attach))];
    if kind == DiskKind::Faulty {
        let base = bdev(disk, DiskKind::Nvme);
        calls.push(("bdev_error_create", Some(json!({"base_name": base}))));
    }
    calls
}

/// What takes a disk's bdev away.
pub fn remove(disk: DiskId, kind: DiskKind) -> Call {
    match kind {
        DiskKind::Null => {
            let name = bdev(disk, kind);
            ("bdev_null_delete", Some(json!({"name": name})))
        }
        DiskKind::Delayed => undelay(&bdev(disk, kind)),
        DiskKind::Nvme | DiskKind::Faulty => {
            let name = nvme(disk);
            ("bdev_nvme_detach_controller", Some(json!({"name": name})))
        }
    }
}

/// What resizes a bdev.
pub fn resize(bdev: &str, mib: u32) -> Call {
    let params = json!({"name": bdev, "new_size": mib});
    ("bdev_null_resize", Some(params))
}

/// What puts a delay bdev, which does not delay yet, on a bdev.
pub fn delay(base: &str) -> Call {
    let params = json!({
        "name": delayed(base), "base_bdev_name": base,
        "avg_read_latency": 0, "p99_read_latency": 0, "avg_write_latency": 0, "p99_write_latency": 0,
    });
    ("bdev_delay_create", Some(params))
}

/// What takes a delay bdev away.
pub fn undelay(bdev: &str) -> Call {
    ("bdev_delay_delete", Some(json!({"name": bdev})))
}

/// What sets how long a delay bdev delays, the usual requests and the slowest in a hundred alike.
pub fn latency(bdev: &str, micros: u32) -> Vec<Call> {
    let types = ["avg_read", "p99_read", "avg_write", "p99_write"];
    let calls = types.map(|of| {
        let params = json!({"delay_bdev_name": bdev, "latency_type": of, "latency_us": micros});
        ("bdev_delay_update_latency", Some(params))
    });
    calls.into()
}

/// What makes the next requests of a bdev "pending" or a "failure", or "clear"s that.
pub fn inject(bdev: &str, what: &str, requests: u32) -> Call {
    let io_type = if what == "clear" { "clear" } else { "all" };
    let error_type = if what == "clear" { "failure" } else { what };
    let params = json!({
        "name": bdev, "io_type": io_type, "error_type": error_type, "num": requests,
    });
    ("bdev_error_inject_error", Some(params))
}

/// What lets a bdev's held requests go.
pub fn resume(bdev: &str) -> Call {
    let params = json!({"name": bdev});
    ("bdev_error_resume_pending", Some(params))
}

/// What makes a controller.
pub fn create(of: ControllerId) -> Call {
    let params = json!({"ctrlr": controller(of)});
    ("vhost_create_scsi_controller", Some(params))
}

/// What deletes a controller.
pub fn delete(of: ControllerId) -> Call {
    let params = json!({"ctrlr": controller(of)});
    ("vhost_delete_controller", Some(params))
}

/// What attaches a disk; a negative target: the first free slot.
pub fn attach(disk: DiskId, kind: DiskKind, to: ControllerId, target: i64) -> Call {
    attach_bdev(&bdev(disk, kind), to, target)
}

/// What attaches a bdev, by name.
pub fn attach_bdev(bdev: &str, to: ControllerId, target: i64) -> Call {
    let params = json!({
        "ctrlr": controller(to), "scsi_target_num": target, "bdev_name": bdev,
    });
    ("vhost_scsi_controller_add_target", Some(params))
}

/// What detaches.
pub fn detach(place: Place) -> Call {
    let params = json!({
        "ctrlr": controller(place.controller), "scsi_target_num": place.target.0,
    });
    ("vhost_scsi_controller_remove_target", Some(params))
}

/// What asks for the configuration of a subsystem.
pub fn save_config() -> Call {
    let params = json!({"name": "vhost_scsi"});
    ("framework_get_config", Some(params))
}
