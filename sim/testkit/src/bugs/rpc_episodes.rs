//! Short scripts of RPCs: what an operator does, and in what order.
//!
//! With a right target nothing is wrong in any of them; some calls are refused.

use scenarios::DiskId;
use serde_json::json;
use wire::message::GuestAct;

use super::episodes::{LONG, MOMENT, RPC_PERIOD, SOON, hold_writes, ms};
use super::lab::{Call, LAST, Lab, MALLOC, MORE, PART, VM_A, attach, delete};

fn delete_controller(name: &str) -> Call {
    ("vhost_delete_controller", json!({"ctrlr": name}))
}

fn split(count: u32, size_mb: u32) -> Call {
    let base = format!("Malloc{}", LAST.0);
    let params = json!({"base_bdev": base, "split_count": count, "split_size_mb": size_mb});
    ("bdev_split_create", params)
}

fn blk_controller(lab: &mut Lab) {
    let params = json!({"ctrlr": "blk.0", "dev_name": "Malloc0"});
    lab.call(("vhost_create_blk_controller", params));
}

/// A SCSI target for a controller that has none.
pub fn attach_to_a_blk_controller(lab: &mut Lab) {
    blk_controller(lab);
    let params = json!({"ctrlr": "blk.0", "scsi_target_num": 0, "bdev_name": "Malloc10"});
    lab.send([("vhost_scsi_controller_add_target", params)]);
    lab.rest(SOON);
}

/// A SCSI controller is to start that is none.
pub fn start_a_blk_controller(lab: &mut Lab) {
    blk_controller(lab);
    lab.send([("vhost_start_scsi_controller", json!({"ctrlr": "blk.0"}))]);
    lab.rest(SOON);
}

/// A controller that nobody is connected to is deleted with its target; then another call comes.
pub fn delete_the_last_controller(lab: &mut Lab) {
    lab.call(attach(MALLOC, 0));
    lab.send([delete_controller("vhost.1")]);
    lab.run(ms(6));
    lab.send([("bdev_get_bdevs", json!({"name": "Malloc0"}))]);
    lab.rest(SOON);
}

/// A machine connects to a controller in the moment in which that is deleted, and goes again.
pub fn connect_while_deleting(lab: &mut Lab) {
    connect(lab);
    lab.tell(VM_A, GuestAct::Kill);
    lab.rest(SOON);
}

/// A machine connects to a controller in the moment in which that is deleted; then a target is attached.
pub fn attach_to_what_lingers(lab: &mut Lab) {
    connect(lab);
    lab.send([attach(DiskId(MORE), 1)]);
    lab.rest(SOON);
}

fn connect(lab: &mut Lab) {
    lab.call(attach(MALLOC, 0));
    lab.run_to(ms(2), RPC_PERIOD);
    lab.send([delete_controller("vhost.1")]);
    lab.run_to(RPC_PERIOD - MOMENT, RPC_PERIOD);
    lab.switch_on(VM_A, |config| config);
    lab.run(ms(2_000));
}

/// A controller whose socket's path is too long comes and goes.
pub fn a_long_name(lab: &mut Lab) {
    let name = "x".repeat(100);
    lab.send([("vhost_create_scsi_controller", json!({"ctrlr": name}))]);
    lab.run(ms(20));
    lab.send([delete_controller(&name)]);
    lab.rest(SOON);
}

/// Parts that are larger than their disk.
pub fn split_into_too_much(lab: &mut Lab) {
    lab.send([split(2, 100)]);
    lab.rest(SOON);
}

/// More parts than the disk has blocks.
pub fn split_into_too_many(lab: &mut Lab) {
    lab.send([split(100_000, 0)]);
    lab.rest(SOON);
}

/// The disk under a part goes that a guest has.
pub fn delete_a_base_in_use(lab: &mut Lab) {
    lab.call(split(2, 0));
    lab.call(attach(PART, 0));
    lab.boot(VM_A);
    lab.send([delete(LAST)]);
    lab.rest(SOON);
}

/// The configuration is asked for while a bdev that goes waits for its I/O.
pub fn save_config_while_removing(lab: &mut Lab) {
    hold_writes(lab);
    lab.send([("bdev_error_delete", json!({"name": "EE_Malloc1"}))]);
    lab.run(ms(20));
    lab.send([("framework_get_config", json!({"name": "vhost_scsi"}))]);
    lab.run(ms(20));
    lab.send([super::lab::resume()]);
    lab.rest(LONG);
}
