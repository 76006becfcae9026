//! The SCSI mid-layer: disks, and the kernel flows that scan, probe and remove them.
//!
//! Knows when each flow goes on; what it then does stands in the file of its name.

pub mod disk;
pub mod disks;
mod events;
mod firmware;
pub mod flow;
pub mod host;
mod host_scan;
pub mod mutex;
mod probe;
mod removal;
mod scan;
mod sd;
mod step;
mod transfer;

use scenarios::Time;
use wire::component::Cx;
use wire::message::{FromGuest, HbaId};

use crate::actors::Actor;
use crate::driver::command::{Command, Reply};
use crate::ids::FlowNo;
use crate::shared::Shared;
use crate::turn::GuestTurn;
use disk::DeviceState;
use firmware::FirmwareScan;
use flow::{Flow, Flows, HostScan, Kind, Progress, Wait};
use host::{HANDLER_STEP_NS, Host, STEP_NS};
use step::Step;

/// From the end of a flow that QEMU's main loop waits for to its next step.
const QEMU_WAKE_NS: u64 = 10_000;

#[derive(Clone)]
pub struct Scsi {
    hosts: Vec<Host>,
    /// The flow that goes on at the end of this turn.
    answered: Option<(HbaId, FlowNo)>,
    /// Stands for a flow that takes a step.
    place_holder: Option<Box<Flow>>,
}

impl Scsi {
    pub fn new(hbas: impl Iterator<Item = HbaId>) -> Self {
        Self {
            hosts: hbas.map(Host::new).collect(),
            answered: None,
            place_holder: None,
        }
    }

    pub fn host(&self, hba: HbaId) -> &Host {
        &self.hosts[usize::from(hba.0)]
    }

    pub fn host_mut(&mut self, hba: HbaId) -> &mut Host {
        &mut self.hosts[usize::from(hba.0)]
    }

    fn flows(&self) -> impl Iterator<Item = &Flow> {
        self.hosts.iter().flat_map(Host::flows)
    }

    pub fn count(&self) -> usize {
        self.flows().count()
    }

    /// Whether the main loop waits for the firmware's scan or a shutdown.
    pub fn has_boot_flow(&self) -> bool {
        self.flows().any(Flow::is_boot)
    }

    /// Whether all scans and probes of a boot have ended.
    pub fn has_probed(&self) -> bool {
        self.hosts.iter().all(|host| host.unprobed.is_empty())
            && !self.flows().any(Flow::is_scan_or_probe)
    }

    /// The flow whose answer came with this turn and that goes on with it.
    pub fn take_answered(&mut self) -> Option<(HbaId, FlowNo)> {
        self.answered.take()
    }

    /// One step of the flow that has been ready longest; whether it ended with it.
    pub fn turn(
        &mut self,
        hba: HbaId,
        flows: Flows,
        shared: &mut Shared,
        cx: &mut Cx<'_, FromGuest>,
    ) -> (GuestTurn, bool) {
        let host = self.host(hba);
        match host.ready(flows, cx.now) {
            Some(n) => self.go_on(hba, n, shared, cx),
            None => {
                host.reschedule(&mut shared.actors);
                (GuestTurn::Idle, false)
            }
        }
    }

    /// One step of a flow that is ready; whether it ended with it.
    pub fn go_on(
        &mut self,
        hba: HbaId,
        n: FlowNo,
        shared: &mut Shared,
        cx: &mut Cx<'_, FromGuest>,
    ) -> (GuestTurn, bool) {
        // Its place stays taken while it steps, for a flow that it starts.
        let place = self.place_holder.take().unwrap_or_else(|| {
            let scan = Kind::HostScan(HostScan::default());
            let mut place = Flow::new(scan, Time::ZERO);
            place.state.wait = Wait::Reply;
            Box::new(place)
        });
        let host = &mut self.hosts[usize::from(hba.0)];
        let mut flow = host.replace(n, Some(place));
        let Flow { kind, state } = &mut *flow;
        let mut step = Step {
            n,
            flow: state,
            host,
            shared,
            cx,
        };
        let (step, ended) = match flow_step(kind, &mut step) {
            Progress::On(step) => {
                self.place_holder = Some(host.replace(n, Some(flow)));
                (step, false)
            }
            Progress::Ended(step) => {
                self.place_holder = Some(host.replace(n, None));
                assert_ne!(host.mutex.owner(), Some(n), "a flow ends without the mutex");
                flow_ended(&flow.kind, host, shared, cx.now);
                (step, true)
            }
        };
        host.reschedule(&mut shared.actors);
        (GuestTurn::Flow(hba.0, n.0 as u8, step), ended)
    }

    /// A flow's command came back. The last of the scans and probes of which one did goes on with this turn:
    /// its next step is another command, mostly. An event handler, which may be removing a disk, takes a turn
    /// of its own.
    pub fn answered(
        &mut self,
        (hba, n): (HbaId, FlowNo),
        reply: Reply,
        shared: &mut Shared,
        now: Time,
    ) {
        let Some(flow) = self.host_mut(hba).flow_mut(n) else {
            return;
        };
        let at = Time(now.0 + STEP_NS);
        flow.state.reply = Some(reply);
        flow.state.wait = Wait::At(at);
        if flow.is_event() {
            shared.actors.wake(Actor::Events(hba), at);
        } else if let Some((before, _)) = self.answered.replace((hba, n)) {
            shared.actors.wake(Actor::Scans(before), at);
        }
    }

    /// Pops the event buffers that came back on a device; says how many.
    pub fn pop_events(
        &mut self,
        hba: HbaId,
        shared: &mut Shared,
        cx: &mut Cx<'_, FromGuest>,
    ) -> u32 {
        events::pop(self.host_mut(hba), shared, cx)
    }

    /// Removals whose disk's last command came back go on.
    pub fn go_on_drained(&mut self, shared: &mut Shared, now: Time) {
        while let Some(disk) = shared.disks.take_drained() {
            let host = self.host_mut(shared.disks[disk].hba());
            if host.wake(Wait::Drain(disk), Time(now.0 + HANDLER_STEP_NS)) {
                host.reschedule(&mut shared.actors);
            }
        }
    }

    /// The firmware scans a device.
    pub fn start_firmware(&mut self, hba: HbaId, shared: &mut Shared, at: Time) {
        let scan = Kind::Firmware(FirmwareScan::new(shared.config.targets));
        self.host_mut(hba)
            .spawn(Flow::new(scan, at), &mut shared.actors);
    }

    /// Starts the asynchronous scan of a host (`scsi_scan_host`).
    pub fn start_host_scan(&mut self, hba: HbaId, shared: &mut Shared, at: Time) {
        events::start_host_scan(self.host_mut(hba), shared, at);
    }

    /// Writes the caches of a device's disks back.
    pub fn start_shutdown(&mut self, hba: HbaId, shared: &mut Shared, at: Time) {
        let disks = shared.disks.iter().map(|(_, disk)| disk);
        let disks = disks.filter(|disk| {
            disk.hba() == hba && disk.has_write_cache() && disk.state() == DeviceState::Running
        });
        // `device_shutdown` goes through its list from the end: the newest disk first.
        let targets = disks.map(|disk| disk.target()).collect();
        let flow = Flow::new(Kind::Shutdown { targets }, at);
        self.host_mut(hba).spawn(flow, &mut shared.actors);
    }

    /// The driver of a device is gone, and its disks with it.
    pub fn reset(&mut self, hba: HbaId, shared: &mut Shared) {
        shared.disks.end(hba);
        self.host_mut(hba).reset(&mut shared.actors);
    }
}

fn flow_step(kind: &mut Kind, step: &mut Step<'_, '_>) -> Progress {
    if let Some(command) = step.flow.unsent.take() {
        return step.send(command);
    }
    match kind {
        Kind::Firmware(scan) => {
            let reply = step.flow.reply.take();
            step.send_or_end(scan.next(reply.as_ref()))
        }
        Kind::HostScan(host) => host.step(step),
        Kind::Event { buffer, work } => work.step(*buffer, step),
        Kind::Probe { disk, script } => probe::probe(*disk, script, step),
        Kind::Shutdown { targets } => {
            step.flow.reply = None;
            step.send_or_end(targets.pop().map(Command::synchronize_cache))
        }
    }
}

/// Whoever waited for a flow that ended goes on.
fn flow_ended(kind: &Kind, host: &mut Host, shared: &mut Shared, now: Time) {
    match kind {
        Kind::Firmware(_) | Kind::Shutdown { .. } => {
            shared.actors.wake(Actor::Qemu, Time(now.0 + QEMU_WAKE_NS));
        }
        Kind::Probe { disk, .. } => {
            probe::over(*disk, host, shared, now);
            probe::start(host, shared, now);
        }
        Kind::HostScan(_) => host.async_scan = false,
        Kind::Event { .. } => {}
    }
}

/// Adds a disk as a scan would have found it.
#[cfg(test)]
impl Scsi {
    pub fn find_disk(hba: HbaId, target: u8, shared: &mut Shared) {
        let disk = disk::Disk::found(hba, target, (36, transfer::Transfers::default()), None);
        shared.disks.add(disk);
    }
}
