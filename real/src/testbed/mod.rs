//! The testbed on this machine: a target and guests that are processes or threads, and the wall clock.
//!
//! ```text
//!  Action ─▶ RealTestbed ─▶ JSON-RPC ─▶ target        (target; disks: how disks are made)
//!                  └──────▶ Ask ──────▶ guests        (guests)
//!  Observation ◀── one channel ◀── what both say
//! ```
//!
//! Translates actions into RPCs and into what guests are asked, and answers into observations. Knows no plan
//! and no check, and not what kind of target and guests it holds.

mod act;
pub mod disks;
pub mod erase;
pub mod guests;
mod jobs;
mod rest;
pub mod run_dir;
pub mod target;
pub mod undo;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use fio_model::JobFile;
use scenarios::{
    Action, CheckId, ControllerId, DiskId, DiskKind, Ending, Evidence, FioId, Observation,
    Performed, Seen, Testbed, TestbedError, Ticket, Time, VmId,
};
use serde_json::Value;
use sim::rpc_client::RpcClient;
use sim::together::Together;

use crate::qemu::Serials;
use crate::serve::{Ended, News};
use disks::Disks;
use guests::{Ask, Guests, Told};
use jobs::{GuestJob, Written};
pub use rest::ALIVE_MAX;
use rest::{Alive, Settling};
use target::Target;

/// How often it is looked whether somebody wants the run to end.
const ASK_PERIOD: Duration = Duration::from_millis(100);
/// A target that has closed its connection says how it died within this.
const DEATH_MAX: Duration = Duration::from_secs(2);

/// What a testbed is made of.
pub struct Parts {
    /// The target.
    pub target: Target,
    /// How its disks are made.
    pub disks: Box<dyn Disks>,
    /// The guests.
    pub guests: Box<dyn Guests>,
    /// Where both say what they see.
    pub told: Receiver<Told>,
    /// Filled with the disks' serial numbers, for the guests.
    pub serials: Serials,
}

/// What else it is to know.
pub struct RealOptions {
    /// The job files, by the names that plans use.
    pub jobs: BTreeMap<String, Arc<JobFile>>,
    /// How long a time-based job runs; as it is written, if not given.
    pub runtime: Option<Duration>,
    /// A sign of life comes within this, or not at all ([`ALIVE_MAX`]).
    pub alive_max: Duration,
    /// Whether somebody wants the run to end.
    pub asked_to_end: fn() -> bool,
    /// A target that is not ours and closes its JSON-RPC socket has died: for runs that are to show just
    /// that. Otherwise nothing is learned, since somebody may have stopped it.
    pub closing_is_death: bool,
}

/// What waits for an answer of the target.
#[derive(Clone, Debug)]
enum Pending {
    /// One of several calls of an action, the last of which answers the ticket: with 0, or with the first
    /// error of any.
    Done { ticket: Ticket, last: bool },
    /// An attach: a slot.
    Attach { ticket: Ticket },
    /// A detach: `true`.
    Detach { ticket: Ticket },
    /// A sign of life.
    Alive,
    /// Whether anything is in flight.
    Rest,
}

/// A fio that runs.
struct Run {
    job: GuestJob,
    /// The guests in which it was started.
    vms: Vec<VmId>,
}

/// A target and guests on this machine.
pub struct RealTestbed {
    // Guests go first: a target that ends under them would be a fault.
    guests: Box<dyn Guests>,
    target: Target,
    disks: Box<dyn Disks>,
    told: Receiver<Told>,
    serials: Serials,
    options: RealOptions,
    began: Instant,
    rpc: RpcClient<Pending>,
    /// Calls of actions that are not answered yet.
    unanswered: u32,
    tickets: u32,
    failed: BTreeMap<Ticket, String>,
    kinds: BTreeMap<DiskId, DiskKind>,
    vms: BTreeMap<VmId, Vec<ControllerId>>,
    together: Together,
    runs: BTreeMap<FioId, Run>,
    /// The guests in which a fio waits to begin its I/O.
    armed: BTreeMap<FioId, BTreeSet<VmId>>,
    written: BTreeMap<DiskId, Written>,
    alive: Option<Alive>,
    settling: Option<Settling>,
    target_died: bool,
}

impl RealTestbed {
    /// A testbed in which nothing was done yet.
    #[must_use]
    pub fn new(parts: Parts, options: RealOptions) -> Self {
        Self {
            guests: parts.guests,
            target: parts.target,
            disks: parts.disks,
            told: parts.told,
            serials: parts.serials,
            options,
            began: Instant::now(),
            rpc: RpcClient::default(),
            unanswered: 0,
            tickets: 0,
            failed: BTreeMap::new(),
            kinds: BTreeMap::new(),
            vms: BTreeMap::new(),
            together: Together::default(),
            runs: BTreeMap::new(),
            armed: BTreeMap::new(),
            written: BTreeMap::new(),
            alive: None,
            settling: None,
            target_died: false,
        }
    }

    fn see(&self, seen: &mut Vec<Seen>, what: Observation) {
        seen.push(Seen {
            at: self.now(),
            what,
        });
    }

    fn take(&mut self, told: Told, seen: &mut Vec<Seen>) -> Result<(), TestbedError> {
        match told {
            Told::Saw(vm, what) => self.saw(vm, what, seen)?,
            Told::Alive(vm) => {
                if let Some(alive) = &mut self.alive {
                    alive.vms.retain(|waiting| *waiting != vm);
                }
            }
            Told::Armed(vm, fio) => {
                self.armed.entry(fio).or_default().insert(vm);
                self.let_go(fio)?;
            }
            Told::Lost(why) => return Err(TestbedError(why)),
            Told::Rpc(bytes) if bytes.is_empty() => return self.closed(seen),
            Told::Rpc(bytes) => {
                for (pending, result) in self.rpc.read(&bytes).map_err(TestbedError)? {
                    self.answered(pending, result, seen);
                }
            }
            Told::Target(News::Broken(text)) => {
                let (check, text) = check_of(&text);
                self.see(seen, Observation::Broken { check, text });
            }
            Told::Target(News::Listening { .. } | News::Log(_)) => {}
        }
        Ok(())
    }

    /// Hands on what a guest saw: what several answer together becomes one.
    fn saw(
        &mut self,
        vm: VmId,
        what: Observation,
        seen: &mut Vec<Seen>,
    ) -> Result<(), TestbedError> {
        match what {
            Observation::FioEnded { fio, exit, jobs } => {
                let whole = self.together.ended(fio, Some(vm), exit, jobs);
                if let Some((exit, jobs)) = whole {
                    if let Some(run) = self.runs.remove(&fio) {
                        jobs::note(&mut self.written, &run.job, &jobs);
                    }
                    self.armed.remove(&fio);
                    self.see(seen, Observation::FioEnded { fio, exit, jobs });
                } else {
                    self.let_go(fio)?;
                }
            }
            Observation::Answered { ticket, result } => {
                if let Err(text) = &result {
                    self.failed.entry(ticket).or_insert(text.clone());
                }
                if self.together.answered(ticket) {
                    let result = self.failed.remove(&ticket).map_or(result, Err);
                    self.see(seen, Observation::Answered { ticket, result });
                }
            }
            other => self.see(seen, other),
        }
        Ok(())
    }

    /// Lets a fio begin its I/O, once it can in all guests in which it still runs.
    fn let_go(&mut self, fio: FioId) -> Result<(), TestbedError> {
        let running = self.together.running(fio);
        let armed = self.armed.get(&fio);
        let all = armed.is_some_and(|armed| running.iter().all(|vm| armed.contains(vm)));
        if all {
            self.armed.remove(&fio);
            for vm in running {
                // Guests that say `Armed` can be told to go.
                let _ = self.guests.ask(vm, Ask::Go(fio))?;
            }
        }
        Ok(())
    }

    fn answered(&mut self, pending: Pending, result: Result<Value, String>, seen: &mut Vec<Seen>) {
        let (ticket, result) = match pending {
            Pending::Done { ticket, last } => {
                self.unanswered = self.unanswered.saturating_sub(1);
                if let Err(text) = result {
                    self.failed.entry(ticket).or_insert(text);
                }
                if !last {
                    return;
                }
                (ticket, self.failed.remove(&ticket).map_or(Ok(0), Err))
            }
            Pending::Attach { ticket } => {
                self.unanswered = self.unanswered.saturating_sub(1);
                let slot = |value: Value| {
                    let slot = value.as_u64().and_then(|slot| u8::try_from(slot).ok());
                    slot.ok_or_else(|| format!("{value} in place of a slot"))
                };
                (ticket, result.and_then(slot))
            }
            Pending::Detach { ticket } => {
                self.unanswered = self.unanswered.saturating_sub(1);
                let done = |value| match value {
                    Value::Bool(true) => Ok(0),
                    other => Err(format!("{other} in place of true")),
                };
                (ticket, result.and_then(done))
            }
            Pending::Alive => {
                if let Some(alive) = &mut self.alive {
                    alive.target = false;
                }
                return;
            }
            Pending::Rest => return self.looked(result, seen),
        };
        self.see(seen, Observation::Answered { ticket, result });
    }

    /// The target has closed its connection: one of ours says whether it died. Another one may have been
    /// killed, and that says nothing of it.
    fn closed(&mut self, seen: &mut Vec<Seen>) -> Result<(), TestbedError> {
        let how = match self.target.why_closed(DEATH_MAX) {
            Some(Ended::Died(crash)) => format!("{} in {}", crash.signal, crash.place),
            Some(Ended::Failed(why)) => return Err(TestbedError(why)),
            None if self.options.closing_is_death => "it has closed its JSON-RPC socket".to_owned(),
            Some(Ended::Stopped) | None => {
                let closed = "the target has closed its JSON-RPC socket";
                return Err(TestbedError(closed.to_owned()));
            }
        };
        if !std::mem::replace(&mut self.target_died, true) {
            self.see(
                seen,
                Observation::Crashed {
                    who: "target".into(),
                    how,
                },
            );
        }
        Ok(())
    }

    /// The next moment at which there is something to do without being told.
    fn due(&self) -> Option<Time> {
        let alive = self.alive.as_ref().map(|alive| alive.deadline);
        let settling = self.settling.as_ref().map(|settling| settling.due);
        alive.into_iter().chain(settling).min()
    }
}

/// The check that a target names as broken, and what it says of it.
fn check_of(text: &str) -> (CheckId, String) {
    let (name, rest) = text.split_once(": ").unwrap_or(("", text));
    let known = CheckId::JUDGED
        .iter()
        .find(|check| check.to_string() == name);
    // What names none that we know is the target's own bug all the same.
    known.map_or((CheckId::I11, text.to_owned()), |check| {
        (*check, rest.to_owned())
    })
}

impl Testbed for RealTestbed {
    fn evidence(&self) -> Evidence {
        self.guests.evidence()
    }

    fn now(&self) -> Time {
        Time::ZERO + self.began.elapsed()
    }

    fn perform(&mut self, action: &Action) -> Result<Performed, TestbedError> {
        self.tickets += 1;
        let ticket = Ticket(self.tickets);
        let refused = self.act(ticket, action)?;
        Ok(refused.map_or(Performed::Asked(ticket), Performed::NotHere))
    }

    fn observe(&mut self, deadline: Time, seen: &mut Vec<Seen>) -> Result<(), TestbedError> {
        let before = seen.len();
        loop {
            if (self.options.asked_to_end)() {
                return Err(TestbedError("interrupted".into()));
            }
            self.pass(seen)?;
            if seen.len() > before || self.now() >= deadline {
                return Ok(());
            }
            let until = self.due().map_or(deadline, |due| due.min(deadline));
            let patience = until.since(self.now()).min(ASK_PERIOD);
            match self.told.recv_timeout(patience) {
                Ok(told) => self.take(told, seen)?,
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(TestbedError("nobody is left who could say anything".into()));
                }
            }
            while let Ok(told) = self.told.try_recv() {
                self.take(told, seen)?;
            }
        }
    }

    fn ending(&self) -> Ending {
        Ending::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_target_finds_broken_names_its_check() {
        assert_eq!(
            check_of("I3: a handle"),
            (CheckId::I3, "a handle".to_owned())
        );
        assert_eq!(
            check_of("odd: text"),
            (CheckId::I11, "odd: text".to_owned())
        );
    }
}
