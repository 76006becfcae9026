//! Short scripts, each of which comes to where one bug shows.
//!
//! With a right target nothing is wrong in any of them. Knows when things happen in the target only as
//! far as SPDK's periods go: RPCs at multiples of 4 ms, a session's management every 5 ms after its start.

use std::time::Duration;

use linux::GuestConfig;
use scenarios::{DiskId, Observation, Seen, SlotState};
use wire::message::GuestAct;

use super::harness::{
    ERROR, Harness, MALLOC, MORE, NVME, VM_A, VM_B, attach, delete, detach, inject, ready, removed,
    resume, session_slot, started,
};

/// What is in flight is over well within this.
pub const SOON: Duration = Duration::from_secs(1);
/// Longer than anything takes but a request that never comes back.
pub const LONG: Duration = Duration::from_secs(120);
/// Both periods of the target, 4 ms and 5 ms, are where they began.
const CYCLE: Duration = Duration::from_millis(20);
/// RPCs are read at multiples of this.
pub const RPC_PERIOD: Duration = Duration::from_millis(4);
/// A message between two threads of the target; a completion is two after its poller.
const HOP: Duration = Duration::from_nanos(500);
/// Less than a message takes.
pub const MOMENT: Duration = Duration::from_nanos(200);

pub const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

pub fn submitted(seen: &Seen) -> bool {
    matches!(seen.what, Observation::IoSubmitted(_))
}

/// Two sessions let a target go 0.4 µs apart, so that each sees that all have: the first ends the removal, an
/// attach is taken, and the second comes too late.
pub fn attach_between_two_completions(harness: &mut Harness) {
    harness.call(attach(MALLOC, 0));
    harness.boot(VM_A);
    harness.boot(VM_B);
    // The first completion is 0.2 µs before an RPC tick, the second 0.2 µs after it.
    let drains = CYCLE - 2 * HOP - Duration::from_nanos(200);
    harness.start_session_at(VM_A, drains, CYCLE);
    harness.start_session_at(VM_B, drains + Duration::from_nanos(400), CYCLE);
    harness.run_to(ms(15), CYCLE);
    harness.send([detach(0)]);
    harness.run_to(ms(17), CYCLE);
    harness.send([attach(DiskId(MORE), 0)]);
    harness.rest(SOON);
}

/// A session starts just when its controller has begun to take a target, and before the sessions are
/// told of it.
pub fn attach_as_a_session_starts(harness: &mut Harness) {
    harness.boot(VM_A);
    let took = harness.rehearse(VM_A);
    harness.aim(took, MOMENT, RPC_PERIOD);
    harness.send([attach(MALLOC, 3)]);
    harness.go_on(VM_A);
    harness.rest(SOON);
}

/// A guest that is not told of it goes on using a target that was detached, also after a restart.
pub fn use_what_was_detached(harness: &mut Harness) {
    harness.call(attach(NVME, 3));
    harness.switch_on(VM_A, |config| GuestConfig {
        hotplug: false,
        ..config
    });
    harness.wait("the guest is ready", ready);
    harness.call(detach(3));
    harness.pause(VM_A);
    harness.go_on(VM_A);
    harness.fio(NVME, 3, "rw=randread\niodepth=4\nsize=512k");
    harness.rest(LONG);
}

/// A machine boots while a target of its controller waits for the I/O of another machine.
pub fn boot_while_removing(harness: &mut Harness) {
    hold_writes(harness);
    harness.send([detach(0)]);
    harness.wait("the session is told", |seen| {
        session_slot(seen, SlotState::Removing)
    });
    harness.boot(VM_B);
    harness.send([resume()]);
    harness.rest(LONG);
}

/// A target is attached for a machine that is paused.
pub fn attach_to_a_paused_guest(harness: &mut Harness) {
    harness.boot(VM_A);
    harness.pause(VM_A);
    harness.call(attach(MALLOC, 1));
    harness.run(ms(20));
    harness.go_on(VM_A);
    harness.rest(SOON);
}

/// A target is attached for a machine that runs.
pub fn attach_to_a_running_guest(harness: &mut Harness) {
    harness.boot(VM_A);
    harness.send([attach(MALLOC, 1)]);
    harness.rest(SOON);
}

/// The bdev of a disk goes under the guest that has it.
pub fn delete_a_bdev_in_use(harness: &mut Harness) {
    harness.call(attach(MALLOC, 0));
    harness.boot(VM_A);
    harness.send([delete(MALLOC)]);
    harness.rest(SOON);
}

/// The bdev of a target goes that no session has; then a machine boots.
pub fn delete_a_bdev_of_nobody(harness: &mut Harness) {
    harness.call(attach(MALLOC, 2));
    harness.send([delete(MALLOC)]);
    harness.rest(SOON);
    harness.boot(VM_A);
    harness.rest(SOON);
}

/// A remove in the same write as its add, before any session was told.
pub fn remove_at_once(harness: &mut Harness) {
    harness.boot(VM_A);
    harness.send([attach(MALLOC, 3), detach(3)]);
    harness.rest(SOON);
}

/// A disk is detached, and then the guest reboots.
pub fn reboot_after_detach(harness: &mut Harness) {
    harness.call(attach(MALLOC, 0));
    harness.boot(VM_A);
    harness.send([detach(0)]);
    harness.wait("the disk is gone", removed);
    harness.tell(VM_A, GuestAct::Boot);
    harness.wait("the guest is ready again", ready);
    harness.rest(SOON);
}

/// The front-end goes as soon as it is told of the removal, before the management poller has seen it.
pub fn kill_while_removing(harness: &mut Harness) {
    harness.call(attach(MALLOC, 0));
    harness.boot(VM_A);
    harness.send([detach(0)]);
    harness.wait("the session is told", |seen| {
        session_slot(seen, SlotState::Removing)
    });
    harness.tell(VM_A, GuestAct::Kill);
    harness.rest(LONG);
}

/// A guest that is told of no removal goes on with its load.
pub fn load_on_a_disk_being_removed(harness: &mut Harness) {
    harness.call(attach(NVME, 0));
    harness.switch_on(VM_A, |config| GuestConfig {
        hotplug: false,
        ..config
    });
    harness.wait("the guest is ready", ready);
    harness.fio(NVME, 0, "rw=randread\niodepth=16\ntime_based=1\nruntime=10");
    harness.run(ms(20));
    harness.send([detach(0)]);
    harness.rest(ms(200));
}

/// A machine with nothing to boot from stays in its firmware, which has a request queue only.
pub fn detach_under_firmware(harness: &mut Harness) {
    harness.call(attach(MALLOC, 0));
    harness.switch_on(VM_A, |config| GuestConfig {
        bootable: false,
        ..config
    });
    harness.wait("the firmware's session starts", started);
    harness.rest(SOON);
    harness.send([detach(0)]);
    harness.rest(SOON);
}

/// Four threads of a queue submit 32 requests each in one instant: 128, as many as the ring has. They
/// are on two disks: one disk takes 128 requests, over both queues.
pub fn fill_the_ring(harness: &mut Harness) {
    harness.call(attach(MALLOC, 0));
    harness.call(attach(DiskId(MORE), 1));
    harness.boot(VM_A);
    for (disk, slot) in [(MALLOC, 0), (DiskId(MORE), 1)] {
        harness.fio(disk, slot, "rw=randread\nnumjobs=4\niodepth=32\nsize=1m");
    }
    harness.rest(SOON);
}

/// Writes that the device fails, and what is there instead.
pub fn failing_writes(harness: &mut Harness) {
    harness.call(attach(ERROR, 0));
    harness.boot(VM_A);
    harness.call(inject("failure", 1000));
    harness.whole_fio(
        ERROR,
        0,
        "rw=write\niodepth=4\nsize=64k\nverify=crc32c\ndo_verify=0",
    );
    harness.whole_fio(ERROR, 0, "rw=read\niodepth=4\nsize=64k");
    harness.rest(SOON);
}

/// Writes that are there, and then writes over them that the device fails.
pub fn failing_overwrites(harness: &mut Harness) {
    const WRITE: &str = "rw=write\niodepth=4\nsize=64k\nverify=crc32c\ndo_verify=0";
    harness.call(attach(ERROR, 0));
    harness.boot(VM_A);
    harness.whole_fio(ERROR, 0, WRITE);
    harness.call(inject("failure", 1000));
    harness.whole_fio(ERROR, 0, &format!("{WRITE}\nrandseed=2"));
    harness.whole_fio(ERROR, 0, "rw=read\niodepth=4\nsize=64k");
    harness.rest(SOON);
}

/// Two disks are written, and then read at the same time.
pub fn read_two_disks_at_once(harness: &mut Harness) {
    const WRITE: &str = "rw=write\niodepth=4\nsize=64k\nverify=crc32c\ndo_verify=0";
    let other = DiskId(MORE);
    harness.call(attach(MALLOC, 0));
    harness.call(attach(other, 1));
    harness.boot(VM_A);
    harness.whole_fio(MALLOC, 0, WRITE);
    harness.whole_fio(other, 1, &format!("{WRITE}\nrandseed=2"));
    harness.fio(MALLOC, 0, "rw=read\niodepth=4\nsize=64k");
    harness.fio(other, 1, "rw=read\niodepth=4\nsize=64k");
    harness.rest(SOON);
}

/// Two sessions, whose management pollers run at different times.
pub fn detach_from_two_sessions(harness: &mut Harness) {
    harness.call(attach(MALLOC, 0));
    harness.boot(VM_A);
    harness.boot(VM_B);
    harness.send([detach(0)]);
    harness.rest(SOON);
}

/// A bdev is deleted in the same write as the attach that uses it, when nobody holds an io channel.
pub fn delete_bdev_at_once(harness: &mut Harness) {
    harness.send([attach(MALLOC, 2), delete(MALLOC)]);
    harness.rest(SOON);
    harness.boot(VM_A);
    harness.rest(SOON);
}

/// Writes are held by the device, and the guest is killed; they end when the stop has long timed out.
pub fn kill_with_held_writes(harness: &mut Harness) {
    hold_writes(harness);
    harness.tell(VM_A, GuestAct::Kill);
    harness.run(Duration::from_secs(10));
    harness.send([resume()]);
    harness.rest(LONG);
}

/// As above, but the guest reboots: a stop for each queue, each of which times out.
pub fn reboot_with_held_writes(harness: &mut Harness) {
    hold_writes(harness);
    harness.tell(VM_A, GuestAct::Boot);
    harness.run(LONG);
    harness.send([resume()]);
    harness.rest(LONG);
}

/// A guest whose writes its device holds.
pub fn hold_writes(harness: &mut Harness) {
    harness.call(attach(ERROR, 0));
    harness.boot(VM_A);
    harness.whole_fio(ERROR, 0, "rw=read\niodepth=4\nsize=64k");
    harness.call(inject("pending", 1000));
    harness.fio(ERROR, 0, "rw=write\niodepth=4\nsize=64k");
    harness.wait("a write is submitted", submitted);
    harness.run(ms(10));
}

/// The controller of a guest that is connected is deleted.
pub fn delete_a_controller_in_use(harness: &mut Harness) {
    harness.boot(VM_A);
    harness.send([(
        "vhost_delete_controller",
        serde_json::json!({"ctrlr": "vhost.1"}),
    )]);
    harness.rest(SOON);
}

/// More changes in a burst than a guest has event buffers.
pub fn burst_of_changes(harness: &mut Harness) {
    for slot in 0..8 {
        harness.call(attach(DiskId(MORE + slot), slot));
    }
    harness.boot(VM_A);
    for _ in 0..3 {
        harness.send((0..8).map(detach));
        harness.run(ms(12));
        harness.send((0..8).map(|slot| attach(DiskId(MORE + slot), slot)));
        harness.run(ms(4));
    }
    harness.rest(SOON);
}
