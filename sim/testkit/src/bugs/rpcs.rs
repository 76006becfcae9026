//! Short scripts of RPCs: what an operator does, and in what order.
//!
//! With a right target nothing is wrong in any of them; some calls are refused.

use scenarios::DiskId;
use serde_json::json;
use wire::message::GuestAct;

use super::harness::{Call, Harness, LAST, MALLOC, MORE, PART, VM_A, attach, delete};
use super::hotplug::{LONG, MOMENT, RPC_PERIOD, SOON, hold_writes, ms};

fn delete_controller(name: &str) -> Call {
    ("vhost_delete_controller", json!({"ctrlr": name}))
}

fn split(count: u32, size_mb: u32) -> Call {
    let base = format!("Malloc{}", LAST.0);
    let params = json!({"base_bdev": base, "split_count": count, "split_size_mb": size_mb});
    ("bdev_split_create", params)
}

fn blk_controller(harness: &mut Harness) {
    let params = json!({"ctrlr": "blk.0", "dev_name": "Malloc0"});
    harness.call(("vhost_create_blk_controller", params));
}

/// A SCSI target for a controller that has none.
pub fn attach_to_a_blk_controller(harness: &mut Harness) {
    blk_controller(harness);
    let params = json!({"ctrlr": "blk.0", "scsi_target_num": 0, "bdev_name": "Malloc10"});
    harness.send([("vhost_scsi_controller_add_target", params)]);
    harness.rest(SOON);
}

/// A SCSI controller is to start that is none.
pub fn start_a_blk_controller(harness: &mut Harness) {
    blk_controller(harness);
    harness.send([("vhost_start_scsi_controller", json!({"ctrlr": "blk.0"}))]);
    harness.rest(SOON);
}

/// A controller that nobody is connected to is deleted with its target; then another call comes.
pub fn delete_the_last_controller(harness: &mut Harness) {
    harness.call(attach(MALLOC, 0));
    harness.send([delete_controller("vhost.1")]);
    harness.run(ms(6));
    harness.send([("bdev_get_bdevs", json!({"name": "Malloc0"}))]);
    harness.rest(SOON);
}

/// A machine connects to a controller in the moment in which that is deleted, and goes again.
pub fn connect_while_deleting(harness: &mut Harness) {
    connect(harness);
    harness.tell(VM_A, GuestAct::Kill);
    harness.rest(SOON);
}

/// A machine connects to a controller in the moment in which that is deleted; then a target is attached.
pub fn attach_to_what_lingers(harness: &mut Harness) {
    connect(harness);
    harness.send([attach(DiskId(MORE), 1)]);
    harness.rest(SOON);
}

fn connect(harness: &mut Harness) {
    harness.call(attach(MALLOC, 0));
    harness.run_to(ms(2), RPC_PERIOD);
    harness.send([delete_controller("vhost.1")]);
    harness.run_to(RPC_PERIOD - MOMENT, RPC_PERIOD);
    harness.switch_on(VM_A, |config| config);
    harness.run(ms(2_000));
}

/// A controller whose socket's path is too long comes and goes.
pub fn a_long_name(harness: &mut Harness) {
    let name = "x".repeat(100);
    harness.send([("vhost_create_scsi_controller", json!({"ctrlr": name}))]);
    harness.run(ms(20));
    harness.send([delete_controller(&name)]);
    harness.rest(SOON);
}

/// Parts that are larger than their disk.
pub fn split_into_too_much(harness: &mut Harness) {
    harness.send([split(2, 100)]);
    harness.rest(SOON);
}

/// More parts than the disk has blocks.
pub fn split_into_too_many(harness: &mut Harness) {
    harness.send([split(100_000, 0)]);
    harness.rest(SOON);
}

/// The disk under a part goes that a guest has.
pub fn delete_a_base_in_use(harness: &mut Harness) {
    harness.call(split(2, 0));
    harness.call(attach(PART, 0));
    harness.boot(VM_A);
    harness.send([delete(LAST)]);
    harness.rest(SOON);
}

/// The configuration is asked for while a bdev that goes waits for its I/O.
pub fn save_config_while_removing(harness: &mut Harness) {
    hold_writes(harness);
    harness.send([("bdev_error_delete", json!({"name": "EE_Malloc1"}))]);
    harness.run(ms(20));
    harness.send([("framework_get_config", json!({"name": "vhost_scsi"}))]);
    harness.run(ms(20));
    harness.send([super::harness::resume()]);
    harness.rest(LONG);
}
