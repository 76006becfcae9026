//! The handler of a virtio-scsi event: `virtscsi_handle_event` (drivers/scsi/virtio_scsi.c).
//!
//! Each buffer has a work item of its own; they start in order and then run at the same time, held
//! apart only by the scan mutex. A REMOVED looks its disk up before the mutex, a RESCAN inside it.
//! Knows event bytes; removals stand in `removal`.

use scenarios::{CheckId, Observation, Time};

use super::command::Command;
use super::disk::{DeviceState, Disk};
use super::flow::{Flow, Goes, Kind, Standing, Wait};
use super::host_scan::HostScan;
use super::removal::RemoveStage;
use super::scan::{Found, TargetScan};
use super::sd::SdScript;
use super::{FlowStep, Guest};
use wire::component::Cx;
use wire::message::{EVENTQ, FromGuest, HbaId};
use wire::scsi::{event, feature};

/// From the interrupt to the handler: the work queue's latency, least and most (10–100 µs, recorded as
/// an order of magnitude).
const WORK_START_NS: (u32, u32) = (10_000, 100_000);
/// Reasons of PARAM_CHANGE that make Linux look again: 2a/00, 2a/01, 2a/09.
const LOOK_AGAIN: [u32; 3] = [0x002a, 0x012a, 0x092a];
/// Code between two steps of a handler.
pub const STEP_NS: u64 = 5_000;

/// The buffer of work that no event asked for.
pub const NO_BUFFER: u16 = u16::MAX;

/// Where a handler is.
#[derive(Clone, Debug)]
pub enum Work {
    /// It has not begun; the event is here.
    Start([u8; 16]),
    /// It wants the scan mutex to look at this target.
    WantScan(u8),
    /// It scans a target, under the mutex.
    Scan(TargetScan),
    /// It removes this disk, under the mutex.
    Remove(usize, RemoveStage),
    /// It wants the scan mutex to remove the disk of a target that a scan was making when it looked it
    /// up: the next one there, of those from this number on.
    WantRemove(u8, usize),
    /// Events were missed: it asks each disk whether it is still there.
    Missed(Missed),
    /// Events were missed: it starts a scan of the host, then handles this event.
    WantHostScan([u8; 16]),
    /// An asynchronous scan of the host is under way already: it makes another one itself.
    HostScan(HostScan, [u8; 16]),
    /// The capacity of this disk may have changed.
    Revalidate(usize, SdScript),
    /// All is done: the buffer is posted again.
    Post,
}

impl Work {
    /// The scan of a target that is under way in it.
    #[must_use]
    pub fn target_scan(&self) -> Option<&TargetScan> {
        match self {
            Self::Scan(scan) => Some(scan),
            Self::HostScan(host, _) => host.current(),
            _ => None,
        }
    }
}

/// The first half of an event with the bit MISSED (`virtscsi_rescan_hotunplug`).
#[derive(Clone, Debug)]
pub struct Missed {
    /// Disks that are still to be asked, the next one last.
    disks: Vec<usize>,
    /// The disk that is being asked.
    asking: Option<usize>,
    /// A disk that did not answer as itself, and where its removal is.
    removing: Option<(usize, RemoveStage)>,
    /// The event without the bit.
    event: [u8; 16],
}

fn word(bytes: &[u8; 16], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

impl Guest {
    /// Pops the event buffers that came back and starts a handler for each. Handlers start in the order
    /// of the events (one CPU's work queue), then run at the same time.
    pub(super) fn pop_events(&mut self, hba: usize, cx: &mut Cx<'_, FromGuest>) -> u32 {
        let memory = self.memory.clone();
        let mut popped = 0;
        loop {
            match self.hbas[hba].receive_event(&memory) {
                Ok(Some((buffer, event))) => {
                    popped += 1;
                    if self.hbas[hba].features & feature::HOTPLUG == 0 {
                        let text = "expected no event without HOTPLUG, got one".to_owned();
                        cx.broken(CheckId::G7, text);
                    }
                    let (low, high) = WORK_START_NS;
                    let drawn = cx.now.0 + u64::from(cx.rng.between(low, high));
                    let at = Time(drawn.max(self.hbas[hba].last_work.0 + 1));
                    self.hbas[hba].last_work = at;
                    let work = Work::Start(event);
                    self.spawn(hba, Flow::new(Kind::Event { buffer, work }, at));
                }
                Ok(None) => return popped,
                Err(broken) => {
                    self.not_a_head(hba, EVENTQ, broken.id, cx);
                    return popped;
                }
            }
        }
    }

    /// One step of a handler.
    pub(super) fn work_step(
        &mut self,
        hba: usize,
        n: usize,
        flow: &mut Standing,
        work: &mut Work,
        buffer: u16,
        cx: &mut Cx<'_, FromGuest>,
    ) -> Goes {
        flow.wait = Wait::At(Time(cx.now.0 + STEP_NS));
        match work {
            Work::Start(event) => {
                let target = event[5];
                *work = self.look_up(hba, *event);
                Goes::On(FlowStep::LookUp(target))
            }
            Work::WantScan(target) => {
                let target = *target;
                if !self.lock(hba, n, flow, cx.now) {
                    return Goes::On(FlowStep::Waits(target));
                }
                *work = Work::Scan(TargetScan::new(target, self.disk_at(hba, target).is_some()));
                Goes::On(FlowStep::Locked(target))
            }
            Work::Scan(scan) => {
                let (goes, over) = self.scan_step(hba, n, flow, scan, cx);
                if over {
                    *work = Work::Post;
                }
                goes
            }
            Work::Remove(disk, stage) => {
                let (goes, over) = self.removal_step(hba, n, flow, *disk, stage, cx);
                if over {
                    *work = Work::Post;
                }
                goes
            }
            Work::WantRemove(target, from) => {
                let (target, from) = (*target, *from);
                if let Some(next) = self.want_remove(hba, n, flow, (target, from), cx) {
                    *work = next;
                    return Goes::On(FlowStep::Locked(target));
                }
                Goes::On(FlowStep::Waits(target))
            }
            Work::Missed(missed) => {
                let (goes, over) = self.missed_step(hba, n, flow, missed, cx);
                if over {
                    *work = Work::WantHostScan(missed.event);
                }
                goes
            }
            Work::WantHostScan(event) => {
                let event = *event;
                if !self.lock(hba, n, flow, cx.now) {
                    return Goes::On(FlowStep::Waits(event[5]));
                }
                *work = self.prepare_host_scan(hba, event, cx.now);
                self.unlock(hba, n, cx);
                Goes::On(FlowStep::LookUp(event[5]))
            }
            Work::HostScan(host, event) => {
                let (goes, over) = self.host_scan_step(hba, n, flow, host, cx);
                if over {
                    *work = self.look_up(hba, *event);
                }
                goes
            }
            Work::Revalidate(..) => self.revalidate_step(hba, n, flow, work, cx),
            // Nothing came from the device: somebody wrote into sysfs.
            Work::Post if buffer == NO_BUFFER => Goes::Ended(FlowStep::Posted(u8::MAX)),
            Work::Post => {
                self.hbas[hba].post_event(buffer);
                let hba = HbaId(hba as u8);
                cx.out.push(FromGuest::Doorbell { hba, vring: EVENTQ });
                Goes::Ended(FlowStep::Posted(buffer as u8))
            }
        }
    }

    /// What an event asks for.
    fn look_up(&self, hba: usize, bytes: [u8; 16]) -> Work {
        let (kind, reason) = (word(&bytes, 0), word(&bytes, 12));
        if kind & event::EVENTS_MISSED != 0 {
            let disks = self.disks.iter().enumerate();
            let mine = |disk: &Disk| usize::from(disk.hba) == hba && disk.removable();
            let disks = disks.filter(|(_, disk)| mine(disk)).map(|(n, _)| n).rev();
            let mut event = bytes;
            event[3] &= 0x7f;
            return Work::Missed(Missed {
                disks: disks.collect(),
                asking: None,
                removing: None,
                event,
            });
        }
        // Linux reads target and LUN without masking the address method out of the LUN.
        let (target, lun) = (bytes[5], u16::from_be_bytes([bytes[6], bytes[7]]));
        let disk = self.disk_at(hba, target).filter(|_| lun == 0);
        let disk = disk.filter(|disk| self.disks[*disk].removable());
        match (kind, reason, disk) {
            (event::TRANSPORT_RESET, event::RESET_RESCAN, _) if lun == 0 => Work::WantScan(target),
            (event::TRANSPORT_RESET, event::RESET_REMOVED, Some(disk)) => {
                Work::Remove(disk, RemoveStage::Lock)
            }
            (event::PARAM_CHANGE, reason, Some(disk)) if LOOK_AGAIN.contains(&reason) => {
                Work::Revalidate(disk, SdScript::revalidate(target))
            }
            (event::TRANSPORT_RESET, event::RESET_REMOVED, None)
                if lun == 0 && self.is_making(hba, target) =>
            {
                Work::WantRemove(target, self.disks.len())
            }
            // Not found, or "Unsupported virtio scsi event": logged and forgotten.
            _ => Work::Post,
        }
    }

    /// Whether a scan is making the disk of a target: it is looked up though it has no name yet.
    fn is_making(&self, hba: usize, target: u8) -> bool {
        let flows = self.flows[hba].iter().flatten();
        let mut scans = flows.filter_map(|flow| flow.kind.target_scan());
        scans.any(|scan| scan.target() == target && scan.is_making())
    }

    /// A removal whose disk was being made gets the mutex, or waits for it: what it does then.
    fn want_remove(
        &mut self,
        hba: usize,
        n: usize,
        flow: &mut Standing,
        (target, from): (u8, usize),
        cx: &mut Cx<'_, FromGuest>,
    ) -> Option<Work> {
        if !self.lock(hba, n, flow, cx.now) {
            return None;
        }
        let disk = self.made_since(hba, target, from);
        if disk.is_none() {
            self.unlock(hba, n, cx);
        }
        Some(disk.map_or(Work::Post, |disk| Work::Remove(disk, RemoveStage::Cancel)))
    }

    /// The first disk that was made on a target since there were `from`.
    fn made_since(&self, hba: usize, target: u8, from: usize) -> Option<usize> {
        let disks = self.disks.iter().enumerate().skip(from);
        let mut mine =
            disks.filter(|(_, disk)| usize::from(disk.hba) == hba && disk.target == target);
        mine.next().map(|(n, _)| n)
    }

    /// One step of the scan of a target; true with the last one.
    fn scan_step(
        &mut self,
        hba: usize,
        n: usize,
        flow: &mut Standing,
        scan: &mut TargetScan,
        cx: &mut Cx<'_, FromGuest>,
    ) -> (Goes, bool) {
        let reply = self.take_answer(hba, n, flow);
        let answer = reply.as_ref().map(|reply| (reply, &self.scratch[..]));
        let command = scan.next(answer);
        let target = scan.target();
        match scan.take_found() {
            Some(Found::Disk {
                serial,
                inquiry_bytes,
                transfers,
            }) => {
                // `sd` probes it while the scan goes on to its other LUNs.
                self.found(hba, target, &serial, (inquiry_bytes, transfers));
                self.start_probes(hba, cx.now);
            }
            Some(Found::Known) => self.known(hba, target, cx),
            Some(Found::Nothing) | None => {}
        }
        if let Some(command) = command {
            return (self.send_command(hba, n, flow, command, cx), false);
        }
        self.unlock(hba, n, cx);
        (Goes::On(FlowStep::Scanned(target)), true)
    }

    /// A scan found that a target has its object already. One that is no use stays so for good.
    fn known(&self, hba: usize, target: u8, cx: &mut Cx<'_, FromGuest>) {
        if let Some(disk) = self.disk_at(hba, target).map(|disk| &self.disks[disk])
            && (!disk.visible || disk.dead || !disk.removable())
        {
            cx.see(Observation::StaleDisk(self.guest_disk(disk)));
        }
    }

    /// `virtscsi_rescan_hotunplug`: each disk is asked, and removed at once if it is gone. True with the
    /// last step.
    fn missed_step(
        &mut self,
        hba: usize,
        n: usize,
        flow: &mut Standing,
        missed: &mut Missed,
        cx: &mut Cx<'_, FromGuest>,
    ) -> (Goes, bool) {
        if let Some((disk, stage)) = &mut missed.removing {
            let (goes, over) = self.removal_step(hba, n, flow, *disk, stage, cx);
            if over {
                missed.removing = None;
            }
            return (goes, false);
        }
        let reply = self.take_answer(hba, n, flow);
        if let (Some(reply), Some(asked)) = (reply, missed.asking.take()) {
            let other = self.scratch.first().is_some_and(|byte| byte >> 5 != 0);
            if (reply.is_good() && other) || reply.is_bad_target() {
                missed.removing = Some((asked, RemoveStage::Lock));
                let target = self.disks[asked].target;
                return (Goes::On(FlowStep::LookUp(target)), false);
            }
        }
        while let Some(disk) = missed.disks.pop() {
            if self.disks[disk].removable() {
                missed.asking = Some(disk);
                let Disk {
                    target,
                    inquiry_bytes,
                    ..
                } = self.disks[disk];
                let command = Command::inquiry(target, inquiry_bytes);
                return (self.send_command(hba, n, flow, command, cx), false);
            }
        }
        (Goes::On(FlowStep::LookUp(missed.event[5])), true)
    }

    /// `scsi_prep_async_scan`: a host has one asynchronous scan at most; whoever wants another one
    /// scans himself.
    fn prepare_host_scan(&mut self, hba: usize, event: [u8; 16], now: Time) -> Work {
        if self.hbas[hba].async_scan {
            return Work::HostScan(HostScan::default(), event);
        }
        self.start_host_scan(hba, Time(now.0 + STEP_NS));
        self.look_up(hba, event)
    }

    /// `scsi_rescan_device`: the VPD pages, then what `sd` wants to know. Not under the scan mutex.
    fn revalidate_step(
        &mut self,
        hba: usize,
        n: usize,
        flow: &mut Standing,
        work: &mut Work,
        cx: &mut Cx<'_, FromGuest>,
    ) -> Goes {
        let reply = self.take_answer(hba, n, flow);
        if let Work::Revalidate(number, script) = work {
            let disk = &mut self.disks[*number];
            if disk.probing {
                // The probe holds the device's lock.
                flow.wait = Wait::Probe(*number);
                return Goes::On(FlowStep::Waits(disk.target));
            }
            let running = disk.state == DeviceState::Running;
            let answer = reply.as_ref().map(|reply| (reply, &self.scratch[..]));
            if let Some(command) = script.next(answer).filter(|_| running) {
                return self.send_command(hba, n, flow, command, cx);
            }
            let geometry = script.geometry;
            if running && geometry.blocks > 0 {
                disk.capacity = geometry.bytes();
            }
        }
        *work = Work::Post;
        Goes::On(FlowStep::Scanned(0))
    }
}
