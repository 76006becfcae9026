//! A SCSI host, one a device: its kernel flows, its scan mutex, the disks that wait for `sd`.

use std::collections::VecDeque;

use scenarios::Time;
use wire::component::When;
use wire::message::HbaId;

use super::flow::{Flow, FlowState, Flows, Kind, RemoveStage, Wait, Work};
use super::mutex::ScanMutex;
use crate::actors::{Actor, Actors};
use crate::driver::layout::FLOWS_MAX;
use crate::ids::{DiskNo, FlowNo};

/// Code between two commands of a flow.
pub const STEP_NS: u64 = 2_000;
/// Code between two steps of an event handler.
pub const HANDLER_STEP_NS: u64 = 5_000;
/// From the release of the scan mutex to the next holder's first instruction.
pub const WAKE_NS: u64 = 5_000;

#[derive(Clone)]
pub struct Host {
    pub id: HbaId,
    /// A flow's buffer goes with its place.
    flows: Vec<Option<Box<Flow>>>,
    pub mutex: ScanMutex,
    /// The asynchronous scan of the host is under way (`shost->async_scan`).
    pub async_scan: bool,
    /// Disks that a scan found and `sd` has not begun to probe.
    pub unprobed: VecDeque<DiskNo>,
    /// When the last event handler starts or started: they start in the order of their events.
    pub last_work: Time,
}

impl Host {
    pub fn new(id: HbaId) -> Self {
        Self {
            id,
            flows: Vec::new(),
            mutex: ScanMutex::default(),
            async_scan: false,
            unprobed: VecDeque::new(),
            last_work: Time(0),
        }
    }

    pub fn flows(&self) -> impl Iterator<Item = &Flow> {
        self.flows.iter().flatten().map(Box::as_ref)
    }

    pub fn numbered_flows(&self) -> impl Iterator<Item = (FlowNo, &Flow)> {
        let flows = self.flows.iter().enumerate();
        flows.filter_map(|(n, flow)| Some((FlowNo(n), flow.as_deref()?)))
    }

    pub fn flow(&self, n: FlowNo) -> Option<&Flow> {
        self.flows.get(n.0)?.as_deref()
    }

    pub fn flow_mut(&mut self, n: FlowNo) -> Option<&mut Flow> {
        self.flows.get_mut(n.0)?.as_deref_mut()
    }

    /// Puts another flow, or none, in a place that is taken.
    ///
    /// # Panics
    ///
    /// If nothing is there.
    pub fn replace(&mut self, n: FlowNo, flow: Option<Box<Flow>>) -> Box<Flow> {
        std::mem::replace(&mut self.flows[n.0], flow).expect("the place of a flow is taken")
    }

    /// Starts a flow.
    ///
    /// # Panics
    ///
    /// If there are more than [`FLOWS_MAX`]: handlers and probes are bounded well below it.
    pub fn spawn(&mut self, flow: Flow, actors: &mut Actors) {
        let flows = &mut self.flows;
        let free = flows.iter().position(Option::is_none);
        let free = free.unwrap_or(flows.len());
        assert!(free < FLOWS_MAX, "{free} kernel flows of one device");
        if free == flows.len() {
            flows.push(None);
        }
        flows[free] = Some(Box::new(flow));
        self.reschedule(actors);
    }

    /// When the event handlers, and the other flows, can go.
    pub fn earliest(&self) -> [When; 2] {
        let mut earliest = [When::Blocked; 2];
        for flow in self.flows() {
            if let Wait::At(at) = flow.state.wait {
                let slot = &mut earliest[usize::from(!flow.is_event())];
                match slot {
                    When::At(sooner) if *sooner <= at => {}
                    When::At(_) | When::Blocked => *slot = When::At(at),
                }
            }
        }
        earliest
    }

    /// Works out when the two actors of its flows can go.
    pub fn reschedule(&self, actors: &mut Actors) {
        let [events, scans] = self.earliest();
        actors.set(Actor::Events(self.id), events);
        actors.set(Actor::Scans(self.id), scans);
    }

    /// The flow that has been ready longest.
    pub fn ready(&self, flows: Flows, now: Time) -> Option<FlowNo> {
        let ready = self.flows.iter().enumerate().filter_map(|(n, flow)| {
            let flow = flow.as_ref().filter(|flow| flow.is_of(flows))?;
            match flow.state.wait {
                Wait::At(at) if at <= now => Some((at, FlowNo(n))),
                Wait::At(_) | Wait::Reply | Wait::Mutex | Wait::Drain(_) | Wait::Probe(_) => None,
            }
        });
        ready.min().map(|(_, n)| n)
    }

    /// Flows that sleep on `wait` go on at `at`; whether there were any.
    pub fn wake(&mut self, wait: Wait, at: Time) -> bool {
        let mut woken = false;
        for flow in self.flows.iter_mut().flatten() {
            if flow.state.wait == wait {
                flow.state.wait = Wait::At(at);
                woken = true;
            }
        }
        woken
    }

    /// Takes the scan mutex for a flow, or puts it to sleep on it.
    pub fn lock(&mut self, n: FlowNo, flow: &mut FlowState, now: Time) -> bool {
        let taken = self.mutex.lock(n);
        flow.wait = if taken {
            Wait::At(Time(now.0 + STEP_NS))
        } else {
            Wait::Mutex
        };
        taken
    }

    /// All its flows and what it was about to probe are forgotten, with its driver.
    pub fn reset(&mut self, actors: &mut Actors) {
        self.flows.clear();
        self.unprobed.clear();
        self.mutex = ScanMutex::default();
        self.async_scan = false;
        self.reschedule(actors);
    }

    /// Somebody writes into sysfs: `/sys/block/sdX/device/delete`.
    pub fn delete_by_hand(&mut self, disk: DiskNo, now: Time, actors: &mut Actors) {
        self.by_hand(Work::Remove(disk, RemoveStage::Lock), now, actors);
    }

    /// Somebody writes `0 TARGET 0` into `/sys/class/scsi_host/hostN/scan`.
    ///
    /// # Divergence from Linux
    ///
    /// It asks what a RESCAN event asks: it goes on with REPORT LUNS, and does not look at the disk once
    /// more at its end (`SCSI_SCAN_MANUAL`).
    pub fn scan_by_hand(&mut self, target: u8, now: Time, actors: &mut Actors) {
        self.by_hand(Work::WantScan(target), now, actors);
    }

    fn by_hand(&mut self, work: Work, now: Time, actors: &mut Actors) {
        let buffer = None;
        self.spawn(Flow::new(Kind::Event { buffer, work }, now), actors);
    }
}
