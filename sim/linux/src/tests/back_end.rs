//! What the tests do with the scripted back-end and its guest, beside what it does by itself.

use std::sync::Arc;
use std::time::Duration;

use fio_model::JobFile;
use scenarios::{ControllerId, DiskId, FioId, FioJobEnd, Observation, Place, TargetId, Time};
use vm_memory::{Bytes, GuestAddress};

use crate::testing::LATENCY;
pub use crate::testing::ScriptedBackEnd;
use crate::testing::chain::Sent;
use crate::testing::scsi::{Answer, Reaction, Slot};
use wire::component::Cx;
use wire::message::GuestAct;

impl ScriptedBackEnd {
    /// A guest that has booted with these targets present.
    pub fn booted(targets: &[u8]) -> Self {
        let mut back_end = Self::new(1, |_| {});
        back_end.slots = targets.iter().map(|t| (*t, Slot::Present)).collect();
        back_end.boot();
        back_end
    }

    /// The same, with fio 1 on target 0: whatever that asks of it is held.
    pub fn with_held_io(targets: &[u8], job: &str) -> Self {
        let mut back_end = Self::booted(targets);
        back_end.hold_io(job);
        back_end
    }

    /// Starts fio 1 on target 0, which holds whatever it asks.
    pub fn hold_io(&mut self, job: &str) {
        self.reactions.insert(0, [Reaction::Hold].into());
        self.start_fio(1, job, &[0]);
        self.rest();
    }

    pub fn boot(&mut self) {
        self.act(GuestAct::Boot);
        self.rest();
        assert!(self.has(|what| matches!(what, Observation::VmReady { .. })));
    }

    /// Forgets what was recorded so far.
    pub fn forget(&mut self) {
        self.log.clear();
        self.sent.clear();
        self.seen.clear();
        self.turns.clear();
    }

    pub fn has(&self, is: impl Fn(&Observation) -> bool) -> bool {
        self.seen.iter().any(|seen| is(&seen.what))
    }

    /// The targets of the disks that the guest lists, with who they are.
    pub fn disks(&mut self) -> Vec<(u8, Option<DiskId>)> {
        let from = self.seen.len();
        self.act(GuestAct::ListDisks);
        self.run_for(Duration::from_millis(1));
        let listed = self.seen[from..].iter().find_map(|seen| match &seen.what {
            Observation::DisksListed { disks, .. } => Some(disks),
            _ => None,
        });
        let listed = listed.expect("a guest that runs lists its disks");
        listed.iter().map(|d| (d.place.target.0, d.disk)).collect()
    }

    pub fn targets(&mut self) -> Vec<u8> {
        self.disks().into_iter().map(|(target, _)| target).collect()
    }

    /// `/dev/sdX` of the last disk on a target.
    pub fn node(&self, target: u8) -> String {
        let disk = self.disk_at(target).expect("there is a disk");
        self.disk(disk).node()
    }

    pub fn start_fio(&mut self, fio: u16, job: &str, targets: &[u8]) {
        let job = Arc::new(JobFile::parse("test.fio", job).expect("fio takes it"));
        let on = targets.iter().map(|t| {
            let (controller, target) = (ControllerId(0), TargetId(*t));
            (DiskId(*t + 1), Place { controller, target })
        });
        self.act(GuestAct::StartFio {
            fio: FioId(fio),
            job,
            on: on.collect(),
        });
    }

    /// How a fio ended, if it has.
    pub fn ended(&self, fio: u16) -> Option<&[FioJobEnd]> {
        self.seen.iter().find_map(|seen| match &seen.what {
            Observation::FioEnded { fio: it, jobs, .. } if it.0 == fio => Some(&jobs[..]),
            _ => None,
        })
    }

    /// Results of requests, in the order in which they were reaped, with the tries.
    pub fn results(&self) -> Vec<(bool, Result<u32, u16>, u8)> {
        let done = self.seen.iter().filter_map(|seen| match &seen.what {
            Observation::IoDone {
                io, result, tries, ..
            } => Some((io.write, *result, *tries)),
            _ => None,
        });
        done.collect()
    }

    pub fn attach(&mut self, target: u8) {
        self.slots.insert(target, Slot::Present);
        assert!(
            self.event(1, [1, target, 0, 0], 1),
            "an event buffer is posted"
        );
    }

    pub fn detach(&mut self, target: u8) {
        self.slots.insert(target, Slot::Removed);
        assert!(
            self.event(1, [1, target, 0, 0], 2),
            "an event buffer is posted"
        );
    }

    /// Carries out what was held.
    pub fn release(&mut self) {
        self.reactions.clear();
        while let Some(chain) = self.held.pop_front() {
            let at = self.now + LATENCY;
            self.due.push_back((at, chain, Answer::good()));
        }
    }

    pub fn held(&self) -> usize {
        self.held.len()
    }

    /// Writes into the response of a head that was given back: what a broken target does.
    pub fn scribble(&mut self, sent: &Sent) {
        let memory = self.memory.clone().expect("a driver has the device");
        let chain = self.rings[usize::from(sent.vring)].take_apart(&memory, sent.vring, sent.head);
        memory
            .write_obj(0u64, GuestAddress(chain.response))
            .unwrap();
    }

    /// Lets the guest look for what no request shows.
    pub fn audit(&mut self) {
        let mut out = Vec::new();
        self.guest.audit(
            true,
            &mut Cx {
                now: self.now,
                rng: &mut self.rng,
                out: &mut out,
                saw: &mut self.seen,
            },
        );
    }

    /// Event buffers that are posted.
    pub fn buffers(&self) -> u16 {
        self.avail_idx(1).wrapping_sub(self.rings[1].next)
    }

    pub fn run_for(&mut self, time: Duration) {
        let limit = self.now + time;
        while self.step(limit) {}
        self.now = limit;
    }

    /// Until nothing can happen.
    pub fn rest(&mut self) {
        while self.step(Time(u64::MAX)) {}
    }
}
