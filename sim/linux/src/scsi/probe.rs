//! How a disk that a scan found gets its driver: `sd_probe`, asynchronously.
//!
//! Knows who is probed when; what `sd` asks stands in `sd`.

use std::time::Duration;

use scenarios::{Observation, Time};

use super::disk::{DeviceState, Disk};
use super::flow::{Flow, Kind, Progress, Wait};
use super::host::{Host, STEP_NS, WAKE_NS};
use super::scan::FoundDisk;
use super::sd::{Geometry, SdScript};
use super::step::Step;
use crate::FlowStep;
use crate::ids::DiskNo;
use crate::shared::{Power, Shared};

/// Disks of one device that `sd` probes at the same time.
const PROBES_MAX: usize = 12;

/// Adds a disk that a scan found; `sd` will probe it.
pub fn found(target: u8, found: &FoundDisk, host: &mut Host, shared: &mut Shared) {
    let id = shared.config.disks.get(&found.serial).copied();
    let inquiry = (found.inquiry_bytes, found.transfers);
    let disk = Disk::found(host.id, target, inquiry, id);
    host.unprobed.push_back(shared.disks.add(disk));
}

/// `sd` probes asynchronously: the order of a host's disks is free.
pub fn start_in_any_order(step: &mut Step<'_, '_>) {
    let unprobed = &mut step.host.unprobed;
    for last in (1..unprobed.len()).rev() {
        unprobed.swap(last, step.cx.rng.below(last as u32 + 1) as usize);
    }
    start(step.host, step.shared, step.cx.now);
}

/// Starts probes of disks that wait for one.
pub fn start(host: &mut Host, shared: &mut Shared, now: Time) {
    let is_probe = |flow: &&Flow| matches!(flow.kind, Kind::Probe { .. });
    let mut probes = host.flows().filter(is_probe).count();
    while probes < PROBES_MAX
        && let Some(disk) = host.unprobed.pop_front()
    {
        let name = shared.disks.free_name();
        let found = &mut shared.disks[disk];
        if found.state() != DeviceState::Created {
            over(disk, host, shared, now);
            continue;
        }
        found.begin_probe(name);
        let script = SdScript::probe(found.target());
        let at = now + Duration::from_nanos(STEP_NS);
        host.spawn(
            Flow::new(Kind::Probe { disk, script }, at),
            &mut shared.actors,
        );
        probes += 1;
    }
}

/// One step of the probe of a disk.
pub fn probe(disk: DiskNo, script: &mut SdScript, step: &mut Step<'_, '_>) -> Progress {
    let reply = step.take_reply();
    // The mid-layer sends nothing to a disk that is being removed, and `sd` gives up.
    let removed = step.shared.disks[disk].state() != DeviceState::Running;
    let next = script.next(step.answer(&reply));
    if let Some(command) = next.filter(|_| !removed) {
        // The block device is there before its partitions are read (`device_add_disk`).
        if command.is_read() {
            appear(disk, &script.geometry, step);
        }
        return step.send(command);
    }
    if !step.shared.disks[disk].was_visible() {
        appear(disk, &script.geometry, step);
    }
    Progress::Ended(FlowStep::Appeared(step.shared.disks[disk].target()))
}

/// A disk whose size is known is made a block device.
fn appear(disk: DiskNo, geometry: &Geometry, step: &mut Step<'_, '_>) {
    step.shared.disks[disk].appear(geometry);
    let probed = &step.shared.disks[disk];
    // Nobody looks on in a guest that goes down.
    if probed.was_visible() && step.shared.power != Power::Rebooting {
        let seen = step.shared.guest_disk(probed);
        step.cx.see(Observation::DiskAppeared(seen));
    }
}

/// A probe has ended, or will never begin: a removal that waits for it goes on.
pub fn over(disk: DiskNo, host: &mut Host, shared: &mut Shared, now: Time) {
    shared.disks[disk].end_probe();
    host.wake(Wait::Probe(disk), Time(now.0 + WAKE_NS));
}
