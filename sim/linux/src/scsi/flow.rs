//! What a kernel flow is, and where it stands: a scan, a probe, an event handler; a sequence that sleeps.
//!
//! The closed list of them, as data; what each does next stands in the file of its name.

use std::collections::VecDeque;

use scenarios::Time;

use super::firmware::FirmwareScan;
use super::scan::TargetScan;
use super::sd::SdScript;
use crate::FlowStep;
use crate::driver::command::{Command, Reply};
use crate::ids::DiskNo;

/// What a flow sleeps on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// It can go on from this time.
    At(Time),
    /// A command.
    Reply,
    /// The scan mutex.
    Mutex,
    /// The last request of this disk.
    Drain(DiskNo),
    /// The end of this disk's probe.
    Probe(DiskNo),
}

/// What a flow is.
#[derive(Clone, Debug)]
pub enum Kind {
    /// The firmware's scan.
    Firmware(FirmwareScan),
    /// The asynchronous scan of a whole host (`do_scan_async`); a host has one at most.
    HostScan(HostScan),
    /// The handler of an event; its buffer is posted again at its end. No buffer: somebody wrote into sysfs.
    Event { buffer: Option<u16>, work: Work },
    /// `sd` probes a disk.
    Probe { disk: DiskNo, script: SdScript },
    /// `sd` writes caches back before a reboot: targets still to be done, the next one last (the newest disk).
    Shutdown { targets: Vec<u8> },
}

/// Where an event handler is.
#[derive(Clone, Debug)]
pub enum Work {
    /// It has not begun; the event is here.
    Start([u8; 16]),
    /// It wants the scan mutex to look at this target.
    WantScan(u8),
    /// It scans a target, under the mutex.
    Scan(TargetScan),
    /// It removes this disk, under the mutex.
    Remove(DiskNo, RemoveStage),
    /// It wants the scan mutex to remove the disk of a target that a scan was making when it looked it
    /// up: the next one there, of those from this number on.
    WantRemove(u8, DiskNo),
    /// Events were missed: it asks each disk whether it is still there.
    Missed(Missed),
    /// Events were missed: it starts a scan of the host, then handles this event.
    WantHostScan([u8; 16]),
    /// An asynchronous scan of the host is under way already: it makes another one itself.
    HostScan(HostScan, [u8; 16]),
    /// The capacity of this disk may have changed.
    Revalidate(DiskNo, SdScript),
    /// All is done: the buffer is posted again.
    Post,
}

/// The first half of an event with the bit MISSED (`virtscsi_rescan_hotunplug`).
#[derive(Clone, Debug)]
pub struct Missed {
    /// Disks that are still to be asked, the next one first.
    pub disks: VecDeque<DiskNo>,
    /// The disk that is being asked.
    pub asking: Option<DiskNo>,
    /// A disk that did not answer as itself, and where its removal is.
    pub removing: Option<(DiskNo, RemoveStage)>,
    /// The event without the bit.
    pub event: [u8; 16],
}

/// Where the removal of a disk is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RemoveStage {
    /// It wants the scan mutex.
    Lock,
    /// The state becomes CANCEL: what is dispatched from now on gets ENODEV.
    Cancel,
    /// The capacity becomes 0, `/dev/sdX` goes.
    Kill,
    /// All requests in flight come back; no time-out.
    Drain,
    /// SYNCHRONIZE CACHE, this often so far.
    Sync(u8),
    /// The state becomes DEL.
    Delete,
}

/// Where the scan of a host is.
#[derive(Clone, Debug, Default)]
pub struct HostScan {
    /// The next target.
    pub next: u16,
    /// The scan of the target before it.
    pub scan: Option<TargetScan>,
    /// The mutex is held.
    pub locked: bool,
}

/// Which flows of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flows {
    /// Its event handlers.
    Events,
    /// Its scans and probes, and those of its firmware.
    Scans,
}

#[derive(Clone, Debug)]
pub struct Flow {
    pub kind: Kind,
    pub state: FlowState,
}

/// Where a flow stands: what it sleeps on, and its last command.
#[derive(Clone, Debug)]
pub struct FlowState {
    pub wait: Wait,
    /// The answer to its last command.
    pub reply: Option<Reply>,
    /// Bytes that its last command asked for.
    pub wanted: u32,
    /// A command that found no room in the ring.
    pub unsent: Option<Command>,
}

/// Whether a flow, or a part of it, goes on after a step.
pub enum Progress {
    On(FlowStep),
    Ended(FlowStep),
}

impl Flow {
    /// A flow that goes on at `at`.
    pub fn new(kind: Kind, at: Time) -> Self {
        let state = FlowState {
            wait: Wait::At(at),
            reply: None,
            wanted: 0,
            unsent: None,
        };
        Self { kind, state }
    }

    pub fn is_event(&self) -> bool {
        matches!(self.kind, Kind::Event { .. })
    }

    pub fn is_of(&self, flows: Flows) -> bool {
        self.is_event() == (flows == Flows::Events)
    }

    /// Whether a boot waits for it to come up.
    pub fn is_scan_or_probe(&self) -> bool {
        matches!(self.kind, Kind::HostScan(_) | Kind::Probe { .. })
    }

    /// Whether QEMU's main loop takes no further step of a boot before it ends.
    pub fn is_boot(&self) -> bool {
        matches!(self.kind, Kind::Firmware(_) | Kind::Shutdown { .. })
    }

    /// The scan of a target that is under way in it.
    pub fn target_scan(&self) -> Option<&TargetScan> {
        match &self.kind {
            Kind::HostScan(host)
            | Kind::Event {
                work: Work::HostScan(host, _),
                ..
            } => host.scan.as_ref(),
            Kind::Event {
                work: Work::Scan(scan),
                ..
            } => Some(scan),
            Kind::Firmware(_) | Kind::Event { .. } | Kind::Probe { .. } | Kind::Shutdown { .. } => {
                None
            }
        }
    }
}
