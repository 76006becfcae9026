//! The RPCs that actions become: SPDK's methods and their parameters.
//!
//! Knows names of bdevs and controllers; sends nothing.

use serde_json::{Value, json};

use crate::names::{ControllerId, Place, TargetId};

/// A method and its parameters.
pub type Call = (&'static str, Option<Value>);

/// What becomes of the next requests of a `bdev_error` bdev.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inject {
    /// They are held until they are released.
    Pending,
    /// They fail.
    Failure,
}

/// The name of a controller, which is that of its socket too.
pub fn controller(controller: ControllerId) -> String {
    format!("vhost.{}", controller.0)
}

/// The name of the delay bdev on top of another.
pub fn delayed(base: &str) -> String {
    format!("Delayed_{base}")
}

/// The name of the error bdev on top of another (SPDK's `vbdev_error_init`).
pub fn faulty(base: &str) -> String {
    format!("EE_{base}")
}

/// What connects an NVMe controller by PCI address.
pub fn attach_nvme(name: &str, traddr: &str) -> Call {
    let params = json!({"name": name, "trtype": "PCIe", "traddr": traddr});
    ("bdev_nvme_attach_controller", Some(params))
}

/// What disconnects an NVMe controller.
pub fn detach_nvme(name: &str) -> Call {
    ("bdev_nvme_detach_controller", Some(json!({"name": name})))
}

/// What makes a bdev that keeps nothing.
pub fn create_null(bdev: &str, blocks: u64, block_bytes: u32) -> Call {
    let params = json!({"name": bdev, "num_blocks": blocks, "block_size": block_bytes});
    ("bdev_null_create", Some(params))
}

/// What takes a bdev that keeps nothing away.
pub fn delete_null(bdev: &str) -> Call {
    ("bdev_null_delete", Some(json!({"name": bdev})))
}

/// What resizes a bdev that keeps nothing.
pub fn resize(bdev: &str, mib: u32) -> Call {
    let params = json!({"name": bdev, "new_size": mib});
    ("bdev_null_resize", Some(params))
}

/// What puts an error bdev on a bdev.
pub fn create_faulty(base: &str) -> Call {
    ("bdev_error_create", Some(json!({"base_name": base})))
}

/// What makes the next requests of an error bdev wait or fail.
pub fn inject(bdev: &str, what: Inject, requests: u32) -> Call {
    let error_type = match what {
        Inject::Pending => "pending",
        Inject::Failure => "failure",
    };
    let params = json!({
        "name": bdev, "io_type": "all", "error_type": error_type, "num": requests,
    });
    ("bdev_error_inject_error", Some(params))
}

/// What lets an error bdev's held requests go, and makes no more wait or fail.
pub fn release(bdev: &str) -> Vec<Call> {
    let clear = json!({"name": bdev, "io_type": "clear", "error_type": "failure", "num": 0});
    vec![
        ("bdev_error_inject_error", Some(clear)),
        ("bdev_error_resume_pending", Some(json!({"name": bdev}))),
    ]
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

/// What asks for all controllers, and their sessions.
pub fn controllers() -> Call {
    ("vhost_get_controllers", None)
}

/// What attaches a bdev; `None`: to the first free slot.
pub fn attach(bdev: &str, to: ControllerId, target: Option<TargetId>) -> Call {
    let target = target.map_or(-1, |target| i64::from(target.0));
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
