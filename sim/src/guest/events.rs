//! The handler of a virtio-scsi event: `virtscsi_handle_event` (drivers/scsi/virtio_scsi.c).
//!
//! Each buffer has a work item of its own; they start in order and then run at the same time, held
//! apart only by the scan mutex. A REMOVED looks its disk up before the mutex, a RESCAN inside it.
//! Knows event bytes; removals stand in `removal`.

use scenarios::{CheckId, Time};

use super::command::Command;
use super::flow::{Flow, Goes, Kind, Wait};
use super::removal::RemoveStage;
use super::scan::{Found, TargetScan};
use super::sd::SdScript;
use super::{FlowStep, Guest};
use crate::end::Cx;
use crate::message::{EVENTQ, FromGuest, HbaId};
use crate::wire::scsi::{event, feature};

/// From the interrupt to the handler: the work queue's latency, least and most (10–100 µs, recorded as
/// an order of magnitude).
const WORK_START_NS: (u32, u32) = (10_000, 100_000);
/// Reasons of PARAM_CHANGE that make Linux look again: 2a/00, 2a/01, 2a/09.
const LOOK_AGAIN: [u32; 3] = [0x002a, 0x012a, 0x092a];
/// Code between two steps of a handler.
pub const STEP_NS: u64 = 5_000;

/// Where a handler is.
#[derive(Clone, Debug)]
pub enum Work {
    /// It has not begun; the event is here, if the buffer was written.
    Start(Option<[u8; 16]>),
    /// It wants the scan mutex to look at this target.
    WantScan(u8),
    /// It scans a target, under the mutex.
    Scan(TargetScan),
    /// It wants the scan mutex to remove this disk.
    WantRemove(usize),
    /// It removes this disk, under the mutex.
    Remove(usize, RemoveStage),
    /// Events were missed: it asks each disk whether it is still there, then handles the event.
    Missed {
        /// Disks that are still to be asked, the next one last.
        disks: Vec<usize>,
        /// The disk that is being asked.
        asking: Option<usize>,
        /// Disks that did not answer as theirs.
        gone: Vec<usize>,
        /// The event without the bit.
        event: [u8; 16],
    },
    /// The capacity of this disk may have changed.
    Revalidate(usize, SdScript),
    /// All is done: the buffer is posted again.
    Post,
}

fn word(bytes: &[u8; 16], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

impl Guest {
    /// Pops the event buffers that came back and starts a handler for each.
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
                    let drawn = Time(cx.now.0 + u64::from(cx.dice.between(low, high)));
                    // One CPU's queue: handlers start in order, and run at the same time once they sleep.
                    let at = drawn.max(Time(self.hbas[hba].work_starts.0 + 1));
                    self.hbas[hba].work_starts = at;
                    let kind = Kind::Event {
                        buffer,
                        work: Work::Start(event),
                    };
                    self.spawn(hba, Flow::new(kind, at));
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
        flow: &mut Flow,
        work: &mut Work,
        buffer: u16,
        cx: &mut Cx<'_, FromGuest>,
    ) -> Goes {
        flow.wait = Wait::At(Time(cx.now.0 + STEP_NS));
        match work {
            Work::Start(event) => {
                let step = event.map_or(FlowStep::LookUp(0), |e| FlowStep::LookUp(e[5]));
                *work = event.map_or(Work::Post, |event| self.look_up(hba, &event));
                Goes::On(step)
            }
            Work::WantScan(target) => {
                let target = *target;
                if !self.lock(hba, n, flow, cx.now) {
                    return Goes::On(FlowStep::Waits(target));
                }
                *work = Work::Scan(TargetScan::new(target, self.disk_at(hba, target).is_some()));
                Goes::On(FlowStep::Locked(target))
            }
            Work::Scan(_) => self.scan_step(hba, n, flow, work, cx),
            Work::WantRemove(disk) => {
                let disk = *disk;
                let target = self.disks[disk].target;
                if !self.lock(hba, n, flow, cx.now) {
                    return Goes::On(FlowStep::Waits(target));
                }
                *work = Work::Remove(disk, RemoveStage::Cancel);
                Goes::On(FlowStep::Locked(target))
            }
            Work::Remove(disk, stage) => {
                let (goes, over) = self.removal_step(hba, n, flow, *disk, stage, cx);
                if over {
                    *work = Work::Post;
                }
                goes
            }
            Work::Missed { .. } => self.missed_step(hba, n, flow, work, cx),
            Work::Revalidate(disk, script) => {
                let reply = self.take_answer(hba, n, flow);
                let answer = reply.as_ref().map(|reply| (reply, &self.scratch[..]));
                if let Some(command) = script.next(answer) {
                    return self.send_command(hba, n, flow, command, cx);
                }
                let (disk, geometry) = (*disk, script.geometry);
                let bytes = geometry.blocks * u64::from(geometry.block_size);
                if geometry.blocks > 0 && !self.disks[disk].dead {
                    self.disks[disk].capacity = bytes;
                }
                *work = Work::Post;
                Goes::On(FlowStep::Scanned(self.disks[disk].target))
            }
            Work::Post => {
                if buffer != NO_BUFFER {
                    self.hbas[hba].post_event(buffer);
                    let hba = HbaId(hba as u8);
                    cx.out.push(FromGuest::Look { hba, vring: EVENTQ });
                }
                Goes::Ended(FlowStep::Posted(buffer as u8))
            }
        }
    }

    /// One step of the scan of a target, under the mutex.
    fn scan_step(
        &mut self,
        hba: usize,
        n: usize,
        flow: &mut Flow,
        work: &mut Work,
        cx: &mut Cx<'_, FromGuest>,
    ) -> Goes {
        let reply = self.take_answer(hba, n, flow);
        let Work::Scan(scan) = work else {
            return self.over(work);
        };
        let answer = reply.as_ref().map(|reply| (reply, &self.scratch[..]));
        if let Some(command) = scan.next(answer) {
            return self.send_command(hba, n, flow, command, cx);
        }
        let target = scan.target();
        if let Found::Disk { serial } = scan.found() {
            let serial = serial.clone();
            self.found(hba, target, &serial);
            self.start_probes(hba, cx.now);
        }
        *work = Work::Post;
        self.unlock(hba, n, cx);
        Goes::On(FlowStep::Scanned(target))
    }

    /// What an event asks for.
    fn look_up(&self, hba: usize, bytes: &[u8; 16]) -> Work {
        let (kind, reason) = (word(bytes, 0), word(bytes, 12));
        if kind & event::EVENTS_MISSED != 0 {
            let disks = self.disks.iter().enumerate().filter(|(_, disk)| {
                usize::from(disk.hba) == hba && disk.state == super::disk::DeviceState::Running
            });
            let disks = disks.map(|(n, _)| n).rev().collect();
            let mut event = *bytes;
            event[3] &= 0x7f;
            return Work::Missed {
                disks,
                asking: None,
                gone: Vec::new(),
                event,
            };
        }
        // Linux reads target and LUN without masking the address method out of the LUN.
        let (target, lun) = (bytes[5], u16::from_be_bytes([bytes[6], bytes[7]]));
        match (kind, reason) {
            (event::TRANSPORT_RESET, event::RESET_RESCAN) if lun == 0 => Work::WantScan(target),
            (event::TRANSPORT_RESET, event::RESET_REMOVED) if lun == 0 => {
                match self.disk_at(hba, target) {
                    Some(disk) if self.disks[disk].removable() => Work::WantRemove(disk),
                    _ => Work::Post,
                }
            }
            (event::PARAM_CHANGE, reason) if LOOK_AGAIN.contains(&reason) => {
                match self.disk_at(hba, target) {
                    Some(disk) if self.disks[disk].removable() => {
                        Work::Revalidate(disk, SdScript::revalidate(target))
                    }
                    _ => Work::Post,
                }
            }
            // "Unsupported virtio scsi event": logged and forgotten.
            _ => Work::Post,
        }
    }

    /// `virtscsi_rescan_hotunplug`: each disk is asked; then the host is scanned.
    fn missed_step(
        &mut self,
        hba: usize,
        n: usize,
        flow: &mut Flow,
        work: &mut Work,
        cx: &mut Cx<'_, FromGuest>,
    ) -> Goes {
        let reply = self.take_answer(hba, n, flow);
        let Work::Missed {
            disks,
            asking,
            gone,
            event,
        } = work
        else {
            return self.over(work);
        };
        if let (Some(reply), Some(asked)) = (reply, asking.take()) {
            let other = self.scratch.first().is_some_and(|byte| byte >> 5 != 0);
            if (reply.is_good() && other) || reply.is_bad_target() {
                gone.push(asked);
            }
        }
        if let Some(disk) = disks.pop() {
            *asking = Some(disk);
            let command = Command::inquiry(self.disks[disk].target, 36);
            return self.send_command(hba, n, flow, command, cx);
        }
        let event = *event;
        for disk in std::mem::take(gone) {
            let work = Work::WantRemove(disk);
            let at = Time(cx.now.0 + STEP_NS);
            // Removed by handlers of their own, whose "buffer" is posted by nobody: none was used.
            self.spawn(
                hba,
                Flow::new(
                    Kind::Event {
                        buffer: NO_BUFFER,
                        work,
                    },
                    at,
                ),
            );
        }
        self.spawn(hba, Flow::new(Kind::host_scan(), Time(cx.now.0 + STEP_NS)));
        *work = self.look_up(hba, &event);
        Goes::On(FlowStep::LookUp(event[5]))
    }

    fn over(&mut self, work: &mut Work) -> Goes {
        *work = Work::Post;
        Goes::On(FlowStep::LookUp(0))
    }
}

/// In place of an event buffer, for a removal that no event asked for.
pub const NO_BUFFER: u16 = u16::MAX;
