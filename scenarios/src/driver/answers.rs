//! Answers: what the target and the guests say becomes observations.
//!
//! Knows what belongs together; judges nothing.

use serde_json::Value;

use super::json_rpc::Refused;
use super::quiesce::tasks_in_flight;
use super::{Driver, Ends, disks};
use crate::names::{Ticket, VmId};
use crate::observation::Observation;
use crate::said;
use crate::testbed::{DiskKind, TestbedError};

/// What waits for an answer of the target.
#[derive(Clone, Copy, Debug)]
pub(super) enum Pending {
    /// One of several calls of an action; not the last.
    Part { ticket: Ticket },
    /// The last call of an action, which answers the ticket: with 0, or with the first error of any.
    Last { ticket: Ticket },
    /// An attach: a slot.
    Attach { ticket: Ticket },
    /// A detach: `true`.
    Detach { ticket: Ticket },
    /// A sign of life.
    Alive,
    /// Whether anything is in flight.
    InFlight,
}

impl Pending {
    /// Whether an action waits for it.
    pub(super) const fn is_of_action(self) -> bool {
        match self {
            Self::Part { .. } | Self::Last { .. } | Self::Attach { .. } | Self::Detach { .. } => {
                true
            }
            Self::Alive | Self::InFlight => false,
        }
    }
}

/// What an observation of one end is of the whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Share {
    /// All of it, or the last part: it stands for the whole now.
    Whole,
    /// A part: others are still to come.
    Part,
}

impl<E: Ends> Driver<E> {
    /// Reads what the target has sent on the RPC connection.
    ///
    /// # Errors
    ///
    /// It is no answer to anything that was asked.
    pub fn read(&mut self, bytes: &[u8]) -> Result<(), TestbedError> {
        let answers = said::at(self.ends.now(), || self.run.rpc.read(bytes));
        for (pending, result) in answers.map_err(|error| TestbedError(error.to_string()))? {
            self.answered(pending, result);
        }
        Ok(())
    }

    fn answered(&mut self, pending: Pending, result: Result<Value, Refused>) {
        let result = result.map_err(|refused| refused.message);
        let (ticket, result) = match pending {
            Pending::Part { ticket } => return self.note_error(ticket, &result),
            Pending::Last { ticket } => {
                self.note_error(ticket, &result);
                (ticket, self.run.failed.remove(&ticket).map_or(Ok(0), Err))
            }
            Pending::Attach { ticket } => {
                let slot = |value: Value| {
                    let slot = value.as_u64().and_then(|slot| u8::try_from(slot).ok());
                    slot.ok_or_else(|| format!("{value} in place of a slot"))
                };
                (ticket, result.and_then(slot))
            }
            Pending::Detach { ticket } => {
                let done = |value| match value {
                    Value::Bool(true) => Ok(0),
                    other => Err(format!("{other} in place of true")),
                };
                (ticket, result.and_then(done))
            }
            Pending::Alive => return self.run.quiesce.target_lives(),
            Pending::InFlight => return self.in_flight(result),
        };
        self.ends.see(Observation::Answered { ticket, result });
    }

    /// The target has said what is in flight.
    fn in_flight(&mut self, answer: Result<Value, String>) {
        let left = match answer {
            Ok(controllers) => tasks_in_flight(&controllers),
            Err(text) => vec![format!("vhost_get_controllers: {text}")],
        };
        if !left.is_empty() {
            self.go_on_settling(left);
        } else if self.run.quiesce.rests() {
            let settled = true;
            self.ends.see(Observation::Quiet { settled, left });
        }
    }

    fn note_error<T>(&mut self, ticket: Ticket, result: &Result<T, String>) {
        if let Err(text) = result {
            self.run
                .failed
                .entry(ticket)
                .or_insert_with(|| text.clone());
        }
    }

    /// What `from` saw, if it is known who, becomes what all have seen, with what that end cannot know.
    pub fn complete(&mut self, from: Option<VmId>, what: &mut Observation) -> Share {
        match what {
            Observation::FioEnded { fio, exit, jobs } => {
                let first = jobs.first().map(|job| job.place.controller);
                let running = self.run.fan_in.running(*fio);
                let mut vms = self.run.vms.iter().filter(|(vm, _)| running.contains(vm));
                let guess = || {
                    let has = vms.find(|(_, of)| first.is_some_and(|first| of.contains(&first)));
                    has.map(|(vm, _)| *vm)
                };
                let vm = from.or_else(guess);
                let whole = self.run.fan_in.ended(*fio, vm, *exit, std::mem::take(jobs));
                let Some(whole) = whole else {
                    return Share::Part;
                };
                (*exit, *jobs) = whole;
            }
            Observation::Answered { ticket, result } => {
                self.note_error(*ticket, result);
                if !self.run.fan_in.answered(*ticket) {
                    return Share::Part;
                }
                if let Some(text) = self.run.failed.remove(ticket) {
                    *result = Err(text);
                }
            }
            Observation::DisksListed { vm, .. } => self.lives(*vm),
            Observation::Attached { bdev, disk, .. } => {
                let known = self.run.serials.get(disks::serial(bdev)).copied();
                *disk = known.filter(|disk| self.kind(*disk) != DiskKind::Null);
            }
            Observation::VmReady { .. }
            | Observation::Connected { .. }
            | Observation::VmDown { .. }
            | Observation::Alive { .. }
            | Observation::DiskAppeared(_)
            | Observation::DiskVanished(_)
            | Observation::StaleDisk(_)
            | Observation::Quiet { .. }
            | Observation::Crashed { .. }
            | Observation::IoSubmitted(_)
            | Observation::IoDone { .. }
            | Observation::Inside(_)
            | Observation::Broken { .. } => {}
        }
        Share::Whole
    }
}
