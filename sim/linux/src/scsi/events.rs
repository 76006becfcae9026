//! The handler of a virtio-scsi event: `virtscsi_handle_event` (drivers/scsi/virtio_scsi.c).
//!
//! Each buffer has a work item of its own; they start in order and then run at the same time, held
//! apart only by the scan mutex. A REMOVED looks its disk up before the mutex, a RESCAN inside it.
//! Knows event bytes; removals stand in `removal`.

use scenarios::{CheckId, Observation, Time};
use wire::component::Cx;
use wire::message::{EVENTQ, FromGuest, HbaId};
use wire::scsi::{event, feature};

use super::disk::{DeviceState, Disk};
use super::flow::{Flow, HostScan, Kind, Missed, Progress, RemoveStage, Wait, Work};
use super::host::{HANDLER_STEP_NS, Host};
use super::probe;
use super::removal::remove;
use super::scan::{Found, TargetScan};
use super::sd::SdScript;
use super::step::Step;
use crate::FlowStep;
use crate::driver::command::Command;
use crate::ids::DiskNo;
use crate::shared::Shared;

/// From the interrupt to the handler: the work queue's latency, least and most (10–100 µs, recorded as
/// an order of magnitude).
const WORK_START_NS: (u32, u32) = (10_000, 100_000);
/// Reasons of PARAM_CHANGE that make Linux look again: 2a/00, 2a/01, 2a/09.
const LOOK_AGAIN: [u32; 3] = [0x002a, 0x012a, 0x092a];

fn word(bytes: &[u8; 16], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

/// Pops the event buffers that came back and starts a handler for each. Handlers start in the order
/// of the events (one CPU's work queue), then run at the same time.
pub fn pop(host: &mut Host, shared: &mut Shared, cx: &mut Cx<'_, FromGuest>) -> u32 {
    let mut popped = 0;
    loop {
        let hba = &mut shared.hbas[host.id];
        match hba.receive_event(&shared.memory) {
            Ok(Some((buffer, event))) => {
                popped += 1;
                if hba.features & feature::HOTPLUG == 0 {
                    let text = "expected no event without HOTPLUG, got one".to_owned();
                    cx.broken(CheckId::G7, text);
                }
                let (low, high) = WORK_START_NS;
                let drawn = cx.now.0 + u64::from(cx.rng.between(low, high));
                let at = Time(drawn.max(host.last_work.0 + 1));
                host.last_work = at;
                let (buffer, work) = (Some(buffer), Work::Start(event));
                let flow = Flow::new(Kind::Event { buffer, work }, at);
                host.spawn(flow, &mut shared.actors);
            }
            Ok(None) => return popped,
            Err(broken) => {
                hba.not_a_head(EVENTQ, broken, cx);
                return popped;
            }
        }
    }
}

impl Work {
    /// One step of a handler.
    pub fn step(&mut self, buffer: Option<u16>, step: &mut Step<'_, '_>) -> Progress {
        step.sleep(HANDLER_STEP_NS);
        // What a part of the handler ends with, and what comes then.
        let (progress, then) = match self {
            Self::Start(event) => {
                let target = event[5];
                *self = look_up(step.host, step.shared, *event);
                return Progress::On(FlowStep::LookUp(target));
            }
            Self::WantScan(target) => {
                let target = *target;
                if !step.lock() {
                    return Progress::On(FlowStep::Waits(target));
                }
                let known = step.shared.disks.at(step.host.id, target);
                *self = Self::Scan(TargetScan::new(target, known.into()));
                return Progress::On(FlowStep::Locked(target));
            }
            Self::WantRemove(target, from) => {
                let (target, from) = (*target, *from);
                if !step.lock() {
                    return Progress::On(FlowStep::Waits(target));
                }
                *self = want_remove(target, from, step);
                return Progress::On(FlowStep::Locked(target));
            }
            Self::WantHostScan(event) => {
                let event = *event;
                if !step.lock() {
                    return Progress::On(FlowStep::Waits(event[5]));
                }
                *self = want_host_scan(event, step);
                step.unlock();
                return Progress::On(FlowStep::LookUp(event[5]));
            }
            Self::Post => return post(buffer, step),
            Self::Scan(scan) => (scan_step(scan, step), Self::Post),
            Self::Remove(disk, stage) => (remove(*disk, stage, step), Self::Post),
            Self::Missed(missed) => {
                let event = missed.event;
                (missed.step(step), Self::WantHostScan(event))
            }
            Self::HostScan(host, event) => {
                let event = *event;
                let progress = host.step(step);
                // Only looked up at its end: until then it is not known what is there.
                let Progress::Ended(last) = progress else {
                    return progress;
                };
                *self = look_up(step.host, step.shared, event);
                return Progress::On(last);
            }
            Self::Revalidate(disk, script) => (revalidate(*disk, script, step), Self::Post),
        };
        let Progress::Ended(last) = progress else {
            return progress;
        };
        *self = then;
        Progress::On(last)
    }
}

/// The handler's last line: it posts its buffer again.
fn post(buffer: Option<u16>, step: &mut Step<'_, '_>) -> Progress {
    // Nothing came from the device: somebody wrote into sysfs.
    let Some(buffer) = buffer else {
        return Progress::Ended(FlowStep::Posted(u8::MAX));
    };
    let hba = step.host.id;
    step.shared.hbas[hba].post_event(buffer);
    step.cx.out.push(FromGuest::Doorbell { hba, vring: EVENTQ });
    Progress::Ended(FlowStep::Posted(buffer as u8))
}

/// What an event asks for.
fn look_up(host: &Host, shared: &Shared, bytes: [u8; 16]) -> Work {
    let disks = &shared.disks;
    let (kind, reason) = (word(&bytes, 0), word(&bytes, 12));
    if kind & event::EVENTS_MISSED != 0 {
        let mine = |disk: &Disk| disk.hba() == host.id && disk.removable();
        let mut event = bytes;
        event[3] &= 0x7f;
        return Work::Missed(Missed {
            disks: (disks.iter().filter(|(_, disk)| mine(disk)))
                .map(|(n, _)| n)
                .collect(),
            asking: None,
            removing: None,
            event,
        });
    }
    // Linux reads target and LUN without masking the address method out of the LUN.
    let (target, lun) = (bytes[5], u16::from_be_bytes([bytes[6], bytes[7]]));
    let disk = disks.at(host.id, target).filter(|_| lun == 0);
    let disk = disk.filter(|disk| disks[*disk].removable());
    match (kind, reason, disk) {
        (event::TRANSPORT_RESET, event::RESET_RESCAN, _) if lun == 0 => Work::WantScan(target),
        (event::TRANSPORT_RESET, event::RESET_REMOVED, Some(disk)) => {
            Work::Remove(disk, RemoveStage::Lock)
        }
        (event::PARAM_CHANGE, reason, Some(disk)) if LOOK_AGAIN.contains(&reason) => {
            Work::Revalidate(disk, SdScript::revalidate(target))
        }
        (event::TRANSPORT_RESET, event::RESET_REMOVED, None)
            if lun == 0 && is_making(host, target) =>
        {
            Work::WantRemove(target, DiskNo(disks.count()))
        }
        // Not found, or "Unsupported virtio scsi event": logged and forgotten.
        _ => Work::Post,
    }
}

/// Whether a scan is making the disk of a target: it is looked up though it has no name yet.
fn is_making(host: &Host, target: u8) -> bool {
    let mut scans = host.flows().filter_map(Flow::target_scan);
    scans.any(|scan| scan.target() == target && scan.is_making())
}

/// A removal whose disk was being made has the mutex: it removes the first one that was made on the target
/// since there were `from`.
fn want_remove(target: u8, from: DiskNo, step: &mut Step<'_, '_>) -> Work {
    let hba = step.host.id;
    let is_it = |n: DiskNo, disk: &Disk| n >= from && disk.hba() == hba && disk.target() == target;
    let made = step.shared.disks.iter().find(|(n, disk)| is_it(*n, disk));
    match made.map(|(n, _)| n) {
        Some(disk) => Work::Remove(disk, RemoveStage::Cancel),
        None => {
            step.unlock();
            Work::Post
        }
    }
}

/// `scsi_prep_async_scan`: a host has one asynchronous scan at most; whoever wants another one scans himself.
fn want_host_scan(event: [u8; 16], step: &mut Step<'_, '_>) -> Work {
    if step.host.async_scan {
        return Work::HostScan(HostScan::default(), event);
    }
    let at = Time(step.cx.now.0 + HANDLER_STEP_NS);
    start_host_scan(step.host, step.shared, at);
    look_up(step.host, step.shared, event)
}

/// Starts the asynchronous scan of a host (`scsi_scan_host`).
pub fn start_host_scan(host: &mut Host, shared: &mut Shared, at: Time) {
    host.async_scan = true;
    let scan = Kind::HostScan(HostScan::default());
    host.spawn(Flow::new(scan, at), &mut shared.actors);
}

/// One step of the scan of a target.
fn scan_step(scan: &mut TargetScan, step: &mut Step<'_, '_>) -> Progress {
    let reply = step.take_reply();
    let command = scan.next(step.answer(&reply));
    let target = scan.target();
    match scan.take_found() {
        Some(Found::Disk(found)) => {
            // `sd` probes it while the scan goes on to its other LUNs.
            probe::found(target, &found, step.host, step.shared);
            probe::start(step.host, step.shared, step.cx.now);
        }
        Some(Found::Known) => known(step.host.id, target, step.shared, step.cx),
        Some(Found::Nothing) | None => {}
    }
    if let Some(command) = command {
        return step.send(command);
    }
    step.unlock();
    Progress::Ended(FlowStep::Scanned(target))
}

/// A scan found that a target has its object already. One that is no use stays so for good.
fn known(hba: HbaId, target: u8, shared: &Shared, cx: &mut Cx<'_, FromGuest>) {
    if let Some(disk) = shared.disks.at(hba, target).map(|n| &shared.disks[n])
        && (!disk.is_there() || !disk.removable())
    {
        cx.see(Observation::StaleDisk(shared.guest_disk(disk)));
    }
}

impl Missed {
    /// Each disk is asked, and removed at once if it is gone.
    fn step(&mut self, step: &mut Step<'_, '_>) -> Progress {
        if let Some((disk, stage)) = &mut self.removing {
            let progress = remove(*disk, stage, step);
            let Progress::Ended(last) = progress else {
                return progress;
            };
            self.removing = None;
            return Progress::On(last);
        }
        let reply = step.take_reply();
        if let (Some(reply), Some(asked)) = (reply, self.asking.take()) {
            let first = step.shared.scratch.first();
            let other = first.is_some_and(|byte| byte >> 5 != 0);
            if (reply.is_good() && other) || reply.is_bad_target() {
                self.removing = Some((asked, RemoveStage::Lock));
                let target = step.shared.disks[asked].target();
                return Progress::On(FlowStep::LookUp(target));
            }
        }
        while let Some(disk) = self.disks.pop_front() {
            let asked = &step.shared.disks[disk];
            if asked.removable() {
                self.asking = Some(disk);
                let command = Command::inquiry(asked.target(), asked.inquiry_bytes());
                return step.send(command);
            }
        }
        Progress::Ended(FlowStep::LookUp(self.event[5]))
    }
}

/// `scsi_rescan_device`: the VPD pages, then what `sd` wants to know. Not under the scan mutex.
fn revalidate(number: DiskNo, script: &mut SdScript, step: &mut Step<'_, '_>) -> Progress {
    let reply = step.take_reply();
    let disk = &step.shared.disks[number];
    if disk.is_probing() {
        // The probe holds the device's lock.
        step.flow.wait = Wait::Probe(number);
        return Progress::On(FlowStep::Waits(disk.target()));
    }
    let running = disk.state() == DeviceState::Running;
    if let Some(command) = script.next(step.answer(&reply)).filter(|_| running) {
        return step.send(command);
    }
    let geometry = script.geometry;
    if running && geometry.blocks > 0 {
        step.shared.disks[number].resize(geometry.bytes());
    }
    Progress::Ended(FlowStep::Scanned(0))
}
