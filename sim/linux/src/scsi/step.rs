//! The step of a kernel flow: the flow, its host, and what it may touch.

use scenarios::Time;
use vm_memory::GuestAddress;
use wire::access::Access as _;
use wire::component::{Cx, push_made};
use wire::message::{FromGuest, REQUESTQ, VringIndex};
use wire::scsi::response;

use super::flow::{FlowState, Progress, Wait};
use super::host::{Host, STEP_NS, WAKE_NS};
use super::scan::Answer;
use crate::FlowStep;
use crate::driver::command::{Command, Reply};
use crate::driver::layout::{CPUS, FLOW_BYTES};
use crate::driver::request::{Data, Direction, Driver, Owner, Request};
use crate::ids::FlowNo;
use crate::shared::Shared;

/// A flow that found the ring full looks again after this.
const FULL_RING_NS: u64 = 50_000;

pub struct Step<'a, 'c> {
    pub n: FlowNo,
    pub flow: &'a mut FlowState,
    pub host: &'a mut Host,
    pub shared: &'a mut Shared,
    pub cx: &'a mut Cx<'c, FromGuest>,
}

impl Step<'_, '_> {
    /// The flow goes on after some code.
    pub fn sleep(&mut self, ns: u64) {
        self.flow.wait = Wait::At(Time(self.cx.now.0 + ns));
    }

    /// Takes the scan mutex, or sleeps on it.
    pub fn lock(&mut self) -> bool {
        self.host.lock(self.n, self.flow, self.cx.now)
    }

    /// Releases the scan mutex: whoever gets it goes on.
    pub fn unlock(&mut self) {
        let steal_one_in = self.shared.config.steal_one_in;
        let next = self.host.mutex.unlock(self.n, steal_one_in, self.cx.rng);
        if let Some(flow) = next.and_then(|next| self.host.flow_mut(next)) {
            flow.state.wait = Wait::At(Time(self.cx.now.0 + WAKE_NS));
        }
    }

    /// Sends a command, and sleeps on it; or ends, if there is none.
    pub fn send_or_end(&mut self, command: Option<Command>) -> Progress {
        match command {
            Some(command) => self.send(command),
            None => Progress::Ended(FlowStep::Command(0)),
        }
    }

    /// Sends a command, and sleeps on it.
    pub fn send(&mut self, command: Command) -> Progress {
        let device = &mut self.shared.hbas[self.host.id];
        let linux = device.driver == Driver::Linux;
        let cpu = if linux { self.n.0 % CPUS } else { 0 };
        let vring = VringIndex(REQUESTQ.0 + cpu as u16);
        let step = FlowStep::Command(command.target);
        self.flow.wanted = command.data_in.min(FLOW_BYTES as u32);
        if device.is_broken(vring) {
            // virtqueue_add fails on a broken queue, and the driver answers BAD_TARGET itself.
            self.flow.reply = Some(Reply {
                response: response::BAD_TARGET,
                ..Reply::default()
            });
            self.sleep(STEP_NS);
            return Progress::On(step);
        }
        let request = Request {
            vring,
            to: (command.target, command.lun),
            cdb: &command.cdb,
            data: Data {
                addr: device.layout.flow(self.n.0),
                len: self.flow.wanted,
                direction: Direction::In,
            },
            owner: Owner::Flow(self.n),
        };
        if device.send(&self.shared.memory, &request, self.cx).is_ok() {
            let hba = self.host.id;
            push_made(self.cx.out, || FromGuest::Doorbell { hba, vring });
            self.flow.wait = Wait::Reply;
        } else {
            self.flow.unsent = Some(command);
            self.sleep(FULL_RING_NS);
        }
        Progress::On(step)
    }

    /// Takes the answer to the last command; its data are in the scratch.
    pub fn take_reply(&mut self) -> Option<Reply> {
        let reply = self.flow.reply.take()?;
        let len = self.flow.wanted.saturating_sub(reply.resid) as usize;
        let addr = self.shared.hbas[self.host.id].layout.flow(self.n.0);
        self.shared.scratch.resize(len, 0);
        self.shared
            .memory
            .read_at(&mut self.shared.scratch, GuestAddress(addr))
            .expect("flow buffers lie in memory");
        Some(reply)
    }

    /// A reply that was taken, with its data.
    pub fn answer<'b>(&'b self, reply: &'b Option<Reply>) -> Option<Answer<'b>> {
        reply
            .as_ref()
            .map(|reply| (reply, &self.shared.scratch[..]))
    }
}
