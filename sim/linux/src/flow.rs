//! Kernel flows: the scans, probes and event handlers of a device, and how they take turns.
//!
//! A flow is a sequence that sleeps: on a command, on the scan mutex, on a drain. Knows when each goes
//! on; what it then does stands in `events`, `removal` and the scripts.

use scenarios::Time;
use vm_memory::GuestAddress;

use super::command::{Command, Reply};
use super::disk::DeviceState;
use super::events::Work;
use super::firmware::FirmwareScan;
use super::hba::{Data, Driver, Owner};
use super::host_scan::HostScan;
use super::layout::{FLOW_BYTES, FLOWS_MAX};
use super::scan::TargetScan;
use super::sd::SdScript;
use super::{FlowStep, Guest, GuestTurn};
use wire::access::Access as _;
use wire::component::{Cx, When, push_made};
use wire::message::{FromGuest, REQUESTQ, VringIndex};
use wire::scsi::response;

/// Code between two commands of a flow.
pub const STEP_NS: u64 = 2_000;
/// A flow that found the ring full looks again after this.
const FULL_RING_NS: u64 = 50_000;
/// From the release of the scan mutex to the next holder's first instruction.
pub const WAKE_NS: u64 = 5_000;

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
    Drain(usize),
    /// The end of this disk's probe.
    Probe(usize),
}

/// What a flow is.
#[derive(Clone, Debug)]
pub enum Kind {
    /// The firmware's scan.
    Firmware(FirmwareScan),
    /// The asynchronous scan of a whole host (`do_scan_async`); a host has one at most.
    HostScan(HostScan),
    /// The handler of an event; its buffer is posted again at its end.
    Event {
        /// The buffer.
        buffer: u16,
        /// Where it is.
        work: Work,
    },
    /// `sd` probes a disk.
    Probe {
        /// The disk.
        disk: usize,
        /// Its conversation.
        script: SdScript,
    },
    /// `sd` writes caches back before a reboot, one disk after the other.
    Shutdown {
        /// Targets that are still to be done, the next one last: the newest disk.
        targets: Vec<u8>,
    },
}

impl Kind {
    /// A scan of all targets that has not begun.
    #[must_use]
    pub fn host_scan() -> Self {
        Self::HostScan(HostScan::default())
    }

    /// Whether a boot waits for it.
    #[must_use]
    pub fn is_scan_or_probe(&self) -> bool {
        matches!(self, Self::HostScan(_) | Self::Probe { .. })
    }

    /// The scan of a target that is under way in it.
    #[must_use]
    pub fn target_scan(&self) -> Option<&TargetScan> {
        match self {
            Self::HostScan(host) => host.current(),
            Self::Event { work, .. } => work.target_scan(),
            _ => None,
        }
    }

    fn is_event(&self) -> bool {
        matches!(self, Self::Event { .. })
    }
}

/// A flow.
#[derive(Clone, Debug)]
pub struct Flow {
    /// What it is.
    pub kind: Kind,
    /// Where it stands.
    pub standing: Standing,
}

/// Where a flow stands: what it sleeps on, and its last command.
#[derive(Clone, Debug)]
pub struct Standing {
    /// What it sleeps on.
    pub wait: Wait,
    /// The answer to its last command.
    pub reply: Option<Reply>,
    /// Bytes that its last command asked for.
    wanted: u32,
    /// A command that found no room in the ring.
    unsent: Option<Command>,
}

impl Flow {
    /// A flow that goes on at `at`.
    #[must_use]
    pub fn new(kind: Kind, at: Time) -> Self {
        let standing = Standing {
            wait: Wait::At(at),
            reply: None,
            wanted: 0,
            unsent: None,
        };
        Self { kind, standing }
    }
}

/// Whether a flow goes on after a step.
pub enum Goes {
    /// It does; `Flow::wait` says when.
    On(FlowStep),
    /// It has ended.
    Ended(FlowStep),
}

impl Guest {
    /// Starts a flow.
    ///
    /// # Panics
    ///
    /// If there are more than [`FLOWS_MAX`]: handlers and probes are bounded well below it.
    pub(super) fn spawn(&mut self, hba: usize, flow: Flow) {
        let flows = &mut self.flows[hba];
        let free = flows
            .iter()
            .position(Option::is_none)
            .unwrap_or(flows.len());
        assert!(free < FLOWS_MAX, "{free} kernel flows of one device");
        if free == flows.len() {
            flows.push(None);
        }
        flows[free] = Some(Box::new(flow));
        self.reschedule_flows(hba);
    }

    /// Works out when the two actors of a device's flows can go.
    pub(super) fn reschedule_flows(&mut self, hba: usize) {
        let mut earliest = [When::Blocked; 2];
        for flow in self.flows[hba].iter().flatten() {
            if let Wait::At(at) = flow.standing.wait {
                let slot = &mut earliest[usize::from(!flow.kind.is_event())];
                match slot {
                    When::At(sooner) if *sooner <= at => {}
                    _ => *slot = When::At(at),
                }
            }
        }
        self.set(Self::event_worker(hba), earliest[0]);
        self.set(Self::scan_thread(hba), earliest[1]);
    }

    /// One step of the flow that has been ready longest.
    pub(super) fn flow_turn(
        &mut self,
        hba: usize,
        scans: bool,
        cx: &mut Cx<'_, FromGuest>,
    ) -> GuestTurn {
        let ready = self.flows[hba].iter().enumerate().filter_map(|(n, flow)| {
            let flow = flow.as_ref().filter(|flow| flow.kind.is_event() != scans)?;
            match flow.standing.wait {
                Wait::At(at) if at <= cx.now => Some((at, n)),
                _ => None,
            }
        });
        let Some((_, n)) = ready.min() else {
            self.reschedule_flows(hba);
            return GuestTurn::Idle;
        };
        self.flow_goes_on(hba, n, cx)
    }

    /// One step of a flow that is ready.
    pub(super) fn flow_goes_on(
        &mut self,
        hba: usize,
        n: usize,
        cx: &mut Cx<'_, FromGuest>,
    ) -> GuestTurn {
        // Its place stays taken while it steps, for a flow that it starts.
        let place = self.place_holder.take().unwrap_or_else(|| {
            let mut place = Flow::new(Kind::host_scan(), Time::ZERO);
            place.standing.wait = Wait::Reply;
            Box::new(place)
        });
        let mut flow = self.flows[hba][n]
            .replace(place)
            .expect("it was just found");
        let step = match self.flow_step(hba, n, &mut flow, cx) {
            Goes::On(step) => {
                self.place_holder = self.flows[hba][n].replace(flow);
                step
            }
            Goes::Ended(step) => {
                self.place_holder = self.flows[hba][n].take();
                self.flow_ended(hba, n, &flow.kind, cx);
                step
            }
        };
        self.reschedule_flows(hba);
        GuestTurn::Flow(hba as u8, n as u8, step)
    }

    fn flow_step(
        &mut self,
        hba: usize,
        n: usize,
        flow: &mut Flow,
        cx: &mut Cx<'_, FromGuest>,
    ) -> Goes {
        let Flow {
            kind,
            standing: flow,
        } = flow;
        if let Some(command) = flow.unsent.take() {
            return self.send_command(hba, n, flow, command, cx);
        }
        match kind {
            Kind::Firmware(scan) => {
                let reply = flow.reply.take();
                let command = scan.next(reply.as_ref());
                self.command_or_end(hba, n, flow, command, cx)
            }
            Kind::HostScan(host) => match self.host_scan_step(hba, n, flow, host, cx) {
                (Goes::On(step), true) => Goes::Ended(step),
                (goes, _) => goes,
            },
            Kind::Event { buffer, work } => {
                let buffer = *buffer;
                self.work_step(hba, n, flow, work, buffer, cx)
            }
            Kind::Probe { disk, script } => self.probe_step(hba, n, flow, *disk, script, cx),
            Kind::Shutdown { targets } => {
                flow.reply = None;
                let command = targets.pop().map(Command::synchronize_cache);
                self.command_or_end(hba, n, flow, command, cx)
            }
        }
    }

    fn command_or_end(
        &mut self,
        hba: usize,
        n: usize,
        flow: &mut Standing,
        command: Option<Command>,
        cx: &mut Cx<'_, FromGuest>,
    ) -> Goes {
        match command {
            Some(command) => self.send_command(hba, n, flow, command, cx),
            None => Goes::Ended(FlowStep::Command(0)),
        }
    }

    /// Sends a command of a flow, which then sleeps on it.
    pub(super) fn send_command(
        &mut self,
        hba: usize,
        n: usize,
        flow: &mut Standing,
        command: Command,
        cx: &mut Cx<'_, FromGuest>,
    ) -> Goes {
        let linux = self.hbas[hba].driver == Driver::Linux;
        let cpu = if linux { n % super::CPUS } else { 0 };
        let vring = VringIndex(REQUESTQ.0 + cpu as u16);
        let step = FlowStep::Command(command.target);
        flow.wanted = command.data_in.min(FLOW_BYTES as u32);
        if self.hbas[hba].is_broken(vring) {
            // virtqueue_add fails on a broken queue, and the driver answers BAD_TARGET itself.
            flow.reply = Some(Reply {
                response: response::BAD_TARGET,
                ..Reply::default()
            });
            flow.wait = Wait::At(Time(cx.now.0 + STEP_NS));
            return Goes::On(step);
        }
        let data = Data {
            addr: self.hbas[hba].layout.flow(n),
            len: flow.wanted,
            out: false,
        };
        let to = (command.target, command.lun);
        let device = &mut self.hbas[hba];
        let sent = device.send(&self.memory, vring, to, &command.cdb, data, Owner::Flow(n));
        if let Some(head) = sent.spoiled {
            self.spoiled(self.hbas[hba].controller, vring, head, cx);
        }
        if sent.sent {
            push_made(cx.out, || FromGuest::Doorbell {
                hba: wire::message::HbaId(hba as u8),
                vring,
            });
            flow.wait = Wait::Reply;
        } else {
            flow.unsent = Some(command);
            flow.wait = Wait::At(Time(cx.now.0 + FULL_RING_NS));
        }
        Goes::On(step)
    }

    /// A flow's command came back. The last of the scans and probes of which one did goes on with this turn:
    /// its next step is another command, mostly. An event handler, which may be removing a disk, takes a turn
    /// of its own.
    pub(super) fn flow_answered(&mut self, hba: usize, n: usize, reply: Reply, now: Time) {
        if let Some(flow) = self.flows[hba].get_mut(n).and_then(Option::as_mut) {
            let at = Time(now.0 + STEP_NS);
            flow.standing.reply = Some(reply);
            flow.standing.wait = Wait::At(at);
            if flow.kind.is_event() {
                self.wake(Self::event_worker(hba), at);
                return;
            }
            if let Some((before, _)) = self.answered.replace((hba, n)) {
                self.wake(Self::scan_thread(before), at);
            }
        }
    }

    /// Takes the answer to a flow's last command: the reply and its data, in the guest's scratch.
    pub(super) fn take_answer(
        &mut self,
        hba: usize,
        n: usize,
        flow: &mut Standing,
    ) -> Option<Reply> {
        let reply = flow.reply.take()?;
        let len = flow.wanted.saturating_sub(reply.resid) as usize;
        let addr = self.hbas[hba].layout.flow(n);
        self.scratch.resize(len, 0);
        self.memory
            .read_at(&mut self.scratch, GuestAddress(addr))
            .expect("flow buffers lie in memory");
        Some(reply)
    }

    /// Whoever waited for a flow that ended goes on.
    fn flow_ended(&mut self, hba: usize, n: usize, kind: &Kind, cx: &mut Cx<'_, FromGuest>) {
        match kind {
            Kind::Firmware(_) | Kind::Shutdown { .. } => self.boot_flow_ended(cx.now),
            Kind::Probe { disk, .. } => {
                self.probe_over(hba, *disk, cx.now);
                self.start_probes(hba, cx.now);
            }
            Kind::HostScan(_) => self.hbas[hba].async_scan = false,
            Kind::Event { .. } => {}
        }
        debug_assert!(
            self.hbas[hba].mutex.owner != Some(n),
            "a flow ended with the scan mutex"
        );
        self.ready_if_probed(cx);
    }

    /// Starts the asynchronous scan of a host (`scsi_scan_host`).
    pub(super) fn start_host_scan(&mut self, hba: usize, at: Time) {
        self.hbas[hba].async_scan = true;
        self.spawn(hba, Flow::new(Kind::host_scan(), at));
    }

    /// Writes the caches of a device's disks back.
    pub(super) fn start_shutdown(&mut self, hba: usize, at: Time) {
        let disks = self.disks.iter().filter(|disk| {
            usize::from(disk.hba) == hba && disk.write_cache && disk.state == DeviceState::Running
        });
        // `device_shutdown` goes through its list from the end: the newest disk first.
        let targets = disks.map(|disk| disk.target).collect();
        self.spawn(hba, Flow::new(Kind::Shutdown { targets }, at));
    }
}
