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

use super::episodes::{LONG, SOON, hold_writes, ms, submitted};
use super::lab::{Lab, MALLOC, NVME, VM_A, attach, detach, ready, resume, session_slot, started};

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

fn manage(lab: &mut Lab, target: u8, subtype: u32) {
    let lun = lun_bytes(target, 0);
    lab.script(Script::Manage {
        hba: HBA,
        lun,
        subtype,
    });
}

fn chain(lab: &mut Lab, parts: &[Part], endless: bool) {
    lab.script(Script::Chain {
        hba: HBA,
        lun: lun_bytes(0, 0),
        parts: parts.to_vec(),
        endless,
    });
}

fn calls(lab: &mut Lab, vrings: &[VringIndex], wanted: bool) {
    for vring in vrings {
        lab.script(Script::Calls {
            hba: HBA,
            vring: *vring,
            wanted,
        });
    }
}

fn message(lab: &mut Lab, message: VhostUser) {
    lab.script(Script::Message { hba: HBA, message });
}

/// A guest that reads from a slow disk, at this depth, so many bytes.
fn load(lab: &mut Lab, depth: u32, size: &str) {
    lab.call(attach(NVME, 0));
    lab.boot(VM_A);
    let options = format!("rw=randread\niodepth={depth}\nsize={size}");
    lab.fio(NVME, 0, &options);
    lab.wait("a read is submitted", submitted);
    lab.run(ms(1));
}

/// A disk is read.
pub fn read_a_disk(lab: &mut Lab) {
    lab.call(attach(MALLOC, 0));
    lab.boot(VM_A);
    lab.whole_fio(MALLOC, 0, "rw=read\niodepth=4\nsize=64k");
    lab.rest(SOON);
}

/// The LUN is reset again and again under load.
pub fn resets_under_load(lab: &mut Lab) {
    load(lab, 16, "16m");
    for round in 0..24 {
        manage(lab, 0, tmf::LOGICAL_UNIT_RESET);
        // Not in step with the pollers.
        lab.run(ms(59) + Duration::from_micros(37) * round);
    }
    lab.rest(LONG);
}

/// A reset of a target that waits for its I/O to be removed.
pub fn reset_while_removing(lab: &mut Lab) {
    hold_writes(lab);
    lab.send([detach(0)]);
    lab.wait("the session is told", |seen| {
        session_slot(seen, SlotState::Removing)
    });
    manage(lab, 0, tmf::LOGICAL_UNIT_RESET);
    lab.run(ms(20));
    lab.send([resume()]);
    lab.rest(LONG);
}

/// Task management for a target, then for one that cannot be.
pub fn manage_nobody(lab: &mut Lab) {
    lab.call(attach(MALLOC, 0));
    lab.boot(VM_A);
    for target in [0, 9] {
        manage(lab, target, ABORT_TASK);
        lab.run(ms(20));
    }
    lab.rest(SOON);
}

/// INQUIRY for more than its buffer holds.
pub fn short_inquiry(lab: &mut Lab) {
    lab.call(attach(MALLOC, 0));
    lab.boot(VM_A);
    lab.whole_fio(MALLOC, 0, "rw=read\nsize=4k");
    lab.script(Script::Command {
        hba: HBA,
        lun: lun_bytes(0, 0),
        cdb: vec![0x12, 0, 0, 0, 96, 0],
        data_in: 36,
    });
    lab.rest(SOON);
}

/// A request whose payload is nowhere.
pub fn unmapped_payload(lab: &mut Lab) {
    lab.call(attach(MALLOC, 0));
    lab.boot(VM_A);
    lab.whole_fio(MALLOC, 0, "rw=read\nsize=4k");
    let payload = part(PartOf::Nowhere, 512, false);
    let answer = part(PartOf::Response, 108, true);
    chain(lab, &[HEADER, payload, answer], false);
    lab.rest(SOON);
}

/// A chain of a header and empty descriptors without end.
pub fn endless_empty_chain(lab: &mut Lab) {
    lab.boot(VM_A);
    chain(lab, &[HEADER, part(PartOf::Data, 0, false)], true);
    lab.rest(SOON);
}

/// A descriptor that points to itself, for a back-end that logs what is dirty.
pub fn endless_chain_while_logging(lab: &mut Lab) {
    lab.boot(VM_A);
    message(lab, VhostUser::SetFeatures(FEATURES | feature::LOG_ALL));
    lab.run(ms(1));
    chain(lab, &[HEADER], true);
    lab.rest(SOON);
}

/// The memory table comes again while the rings are in use.
pub fn memory_again(lab: &mut Lab) {
    load(lab, 4, "256k");
    lab.tell(VM_A, GuestAct::AddMemory);
    lab.rest(LONG);
}

/// The call descriptors are replaced while the rings are in use.
pub fn new_call_descriptors(lab: &mut Lab) {
    load(lab, 4, "256k");
    lab.run(ms(100));
    for vring in QUEUES {
        message(lab, VhostUser::SetVringCall { vring });
    }
    lab.rest(LONG);
}

/// The kick descriptor of a ring in use is replaced again and again.
pub fn new_kick_descriptors(lab: &mut Lab) {
    load(lab, 4, "256k");
    for _ in 0..20 {
        let vring = REQUESTQ;
        message(lab, VhostUser::SetVringKick { vring });
        lab.run(ms(1));
    }
    lab.rest(LONG);
}

/// The driver wants no calls for a while, and then does.
pub fn calls_unwanted_for_a_while(lab: &mut Lab) {
    load(lab, 4, "64k");
    calls(lab, &QUEUES, false);
    lab.run(ms(100));
    calls(lab, &QUEUES, true);
    lab.rest(LONG);
}

/// The driver wants no calls; it wants them again while the machine is paused.
pub fn calls_wanted_after_a_pause(lab: &mut Lab) {
    load(lab, 4, "64k");
    calls(lab, &QUEUES, false);
    lab.run(ms(100));
    lab.pause(VM_A);
    calls(lab, &QUEUES, true);
    lab.go_on(VM_A);
    lab.rest(LONG);
}

/// The driver wants no calls for events in the moment of an attach.
pub fn event_calls_unwanted(lab: &mut Lab) {
    lab.boot(VM_A);
    calls(lab, &[EVENTQ], false);
    lab.call(attach(MALLOC, 0));
    lab.run(ms(20));
    calls(lab, &[EVENTQ], true);
    lab.rest(SOON);
}

/// A firmware that wants events has no queue for them.
pub fn attach_under_a_firmware_without_event_queue(lab: &mut Lab) {
    lab.switch_on(VM_A, |config| GuestConfig {
        bootable: false,
        firmware_hotplug: true,
        ..config
    });
    lab.wait("the firmware's session starts", started);
    lab.rest(SOON);
    lab.send([attach(MALLOC, 0)]);
    lab.rest(SOON);
}

/// A driver that did not negotiate HOTPLUG has posted event buffers all the same.
pub fn attach_without_hotplug(lab: &mut Lab) {
    lab.switch_on(VM_A, |config| GuestConfig {
        hotplug: false,
        ..config
    });
    lab.wait("the guest is ready", ready);
    lab.script(Script::PostEvents { hba: HBA });
    lab.call(attach(MALLOC, 0));
    lab.rest(SOON);
    lab.tell(VM_A, GuestAct::ListDisks);
    lab.rest(SOON);
}
