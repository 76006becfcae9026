//! Short scripts about rings: resets, calls, messages and chains that Linux would not send by itself.
//!
//! With a right target nothing is wrong in any of them: it refuses what is malformed, and goes on.

use std::time::Duration;

use linux::GuestConfig;
use scenarios::SlotState;
use wire::message::{
    EVENTQ, GuestAct, HbaId, Part, PartOf, REQUESTQ, Script, VhostUser, VringIndex,
};
use wire::scsi::{feature, lun_bytes, tmf};

use super::harness::{
    Harness, MALLOC, NVME, VM_A, attach, detach, ready, resume, session_slot, started,
};
use super::hotplug::{LONG, SOON, hold_writes, ms, submitted};

/// The only device of the guest.
const HBA: HbaId = HbaId(0);
/// The request queues of the guest's two CPUs.
const QUEUES: [VringIndex; 2] = [REQUESTQ, VringIndex(REQUESTQ.0 + 1)];
/// What the guest's Linux accepts.
const FEATURES: u64 = feature::VERSION_1
    | feature::PROTOCOL_FEATURES
    | feature::INDIRECT_DESC
    | feature::HOTPLUG
    | feature::CHANGE;
const ABORT_TASK: u32 = 0;

const HEADER: Part = part(PartOf::Header, 51, false);

const fn part(what: PartOf, len: u32, write: bool) -> Part {
    Part { what, len, write }
}

fn manage(harness: &mut Harness, target: u8, subtype: u32) {
    let lun = lun_bytes(target, 0);
    harness.script(Script::Manage {
        hba: HBA,
        lun,
        subtype,
    });
}

fn chain(harness: &mut Harness, parts: &[Part], endless: bool) {
    harness.script(Script::Chain {
        hba: HBA,
        lun: lun_bytes(0, 0),
        parts: parts.to_vec(),
        endless,
    });
}

fn calls(harness: &mut Harness, vrings: &[VringIndex], wanted: bool) {
    for vring in vrings {
        harness.script(Script::Calls {
            hba: HBA,
            vring: *vring,
            wanted,
        });
    }
}

fn message(harness: &mut Harness, message: VhostUser) {
    harness.script(Script::Message { hba: HBA, message });
}

/// A guest that reads from a slow disk, at this depth, so many bytes.
fn load(harness: &mut Harness, depth: u32, size: &str) {
    harness.call(attach(NVME, 0));
    harness.boot(VM_A);
    let options = format!("rw=randread\niodepth={depth}\nsize={size}");
    harness.fio(NVME, 0, &options);
    harness.wait("a read is submitted", submitted);
    harness.run(ms(1));
}

/// A disk is read.
pub fn read_a_disk(harness: &mut Harness) {
    harness.call(attach(MALLOC, 0));
    harness.boot(VM_A);
    harness.whole_fio(MALLOC, 0, "rw=read\niodepth=4\nsize=64k");
    harness.rest(SOON);
}

/// The LUN is reset again and again under load.
pub fn resets_under_load(harness: &mut Harness) {
    load(harness, 16, "16m");
    for round in 0..24 {
        manage(harness, 0, tmf::LOGICAL_UNIT_RESET);
        // Not in step with the pollers.
        harness.run(ms(59) + Duration::from_micros(37) * round);
    }
    harness.rest(LONG);
}

/// A reset of a target that waits for its I/O to be removed.
pub fn reset_while_removing(harness: &mut Harness) {
    hold_writes(harness);
    harness.send([detach(0)]);
    harness.wait("the session is told", |seen| {
        session_slot(seen, SlotState::Removing)
    });
    manage(harness, 0, tmf::LOGICAL_UNIT_RESET);
    harness.run(ms(20));
    harness.send([resume()]);
    harness.rest(LONG);
}

/// Task management for a target, then for one that cannot be.
pub fn manage_nobody(harness: &mut Harness) {
    harness.call(attach(MALLOC, 0));
    harness.boot(VM_A);
    for target in [0, 9] {
        manage(harness, target, ABORT_TASK);
        harness.run(ms(20));
    }
    harness.rest(SOON);
}

/// INQUIRY for more than its buffer holds.
pub fn short_inquiry(harness: &mut Harness) {
    harness.call(attach(MALLOC, 0));
    harness.boot(VM_A);
    harness.whole_fio(MALLOC, 0, "rw=read\nsize=4k");
    harness.script(Script::Command {
        hba: HBA,
        lun: lun_bytes(0, 0),
        cdb: vec![0x12, 0, 0, 0, 96, 0],
        data_in: 36,
    });
    harness.rest(SOON);
}

/// A request whose payload is nowhere.
pub fn unmapped_payload(harness: &mut Harness) {
    harness.call(attach(MALLOC, 0));
    harness.boot(VM_A);
    harness.whole_fio(MALLOC, 0, "rw=read\nsize=4k");
    let payload = part(PartOf::Nowhere, 512, false);
    let answer = part(PartOf::Response, 108, true);
    chain(harness, &[HEADER, payload, answer], false);
    harness.rest(SOON);
}

/// A chain of a header and empty descriptors without end.
pub fn endless_empty_chain(harness: &mut Harness) {
    harness.boot(VM_A);
    chain(harness, &[HEADER, part(PartOf::Data, 0, false)], true);
    harness.rest(SOON);
}

/// A descriptor that points to itself, for a back-end that logs what is dirty.
pub fn endless_chain_while_logging(harness: &mut Harness) {
    harness.boot(VM_A);
    message(harness, VhostUser::SetFeatures(FEATURES | feature::LOG_ALL));
    harness.run(ms(1));
    chain(harness, &[HEADER], true);
    harness.rest(SOON);
}

/// The memory table comes again while the rings are in use.
pub fn memory_again(harness: &mut Harness) {
    load(harness, 4, "256k");
    harness.tell(VM_A, GuestAct::AddMemory);
    harness.rest(LONG);
}

/// The call descriptors are replaced while the rings are in use.
pub fn new_call_descriptors(harness: &mut Harness) {
    load(harness, 4, "256k");
    harness.run(ms(100));
    for vring in QUEUES {
        message(harness, VhostUser::SetVringCall { vring });
    }
    harness.rest(LONG);
}

/// The kick descriptor of a ring in use is replaced again and again.
pub fn new_kick_descriptors(harness: &mut Harness) {
    load(harness, 4, "256k");
    for _ in 0..20 {
        let vring = REQUESTQ;
        message(harness, VhostUser::SetVringKick { vring });
        harness.run(ms(1));
    }
    harness.rest(LONG);
}

/// The driver wants no calls for a while, and then does.
pub fn calls_unwanted_for_a_while(harness: &mut Harness) {
    load(harness, 4, "64k");
    calls(harness, &QUEUES, false);
    harness.run(ms(100));
    calls(harness, &QUEUES, true);
    harness.rest(LONG);
}

/// The driver wants no calls; it wants them again while the machine is paused.
pub fn calls_wanted_after_a_pause(harness: &mut Harness) {
    load(harness, 4, "64k");
    calls(harness, &QUEUES, false);
    harness.run(ms(100));
    harness.pause(VM_A);
    calls(harness, &QUEUES, true);
    harness.go_on(VM_A);
    harness.rest(LONG);
}

/// The driver wants no calls for events in the moment of an attach.
pub fn event_calls_unwanted(harness: &mut Harness) {
    harness.boot(VM_A);
    calls(harness, &[EVENTQ], false);
    harness.call(attach(MALLOC, 0));
    harness.run(ms(20));
    calls(harness, &[EVENTQ], true);
    harness.rest(SOON);
}

/// A firmware that wants events has no queue for them.
pub fn attach_under_a_firmware_without_event_queue(harness: &mut Harness) {
    harness.switch_on(VM_A, |config| GuestConfig {
        bootable: false,
        firmware_hotplug: true,
        ..config
    });
    harness.wait("the firmware's session starts", started);
    harness.rest(SOON);
    harness.send([attach(MALLOC, 0)]);
    harness.rest(SOON);
}

/// A driver that did not negotiate HOTPLUG has posted event buffers all the same.
pub fn attach_without_hotplug(harness: &mut Harness) {
    harness.switch_on(VM_A, |config| GuestConfig {
        hotplug: false,
        ..config
    });
    harness.wait("the guest is ready", ready);
    harness.script(Script::PostEvents { hba: HBA });
    harness.call(attach(MALLOC, 0));
    harness.rest(SOON);
    harness.tell(VM_A, GuestAct::ListDisks);
    harness.rest(SOON);
}
