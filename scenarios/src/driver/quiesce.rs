//! Signs of life, and coming to rest: questions that everybody has to answer, by a deadline.
//!
//! Where a testbed cannot see that nothing can happen any more, it is at rest when no RPC of an action is open,
//! no fio runs, and the target counts no task in flight. What a kernel still has to do with what it was told is
//! not seen then; steps that wait for disks wait for that.

use std::time::Duration;

use serde_json::Value;

use super::answers::Pending;
use super::{Ask, Driver, Ends, Refusal, calls};
use crate::names::VmId;
use crate::observation::Observation;
use crate::testbed::TestbedError;
use crate::time::Time;

/// How long a testbed waits for what everybody has to answer.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// A sign of life comes within this, or not at all. Less than `run::limits::ALIVE`.
    pub alive: Duration,
    /// Everything comes to rest within this, or it never will. Less than `run::limits::SETTLE`.
    pub settle: Duration,
    /// How often the target is asked for what is in flight ([`Driver::pass`]); `None`: the testbed sees that
    /// nothing can happen any more, and says so ([`Driver::at_rest`]).
    pub ask_every: Option<Duration>,
}

/// Who still owes a sign of life.
#[derive(Clone, Debug)]
pub(super) struct Alive {
    deadline: Time,
    target: bool,
    vms: Vec<VmId>,
}

/// Somebody waits for everything to come to rest.
#[derive(Clone, Debug)]
pub(super) struct Settling {
    deadline: Time,
    /// When to ask what is in flight.
    due: Time,
    /// What was in flight when that was last asked.
    left: Vec<String>,
}

impl<E: Ends> Driver<E> {
    /// Asks everybody for a sign of life.
    pub(super) fn check_alive(&mut self) -> Result<(), Refusal> {
        let vms: Vec<VmId> = self.vms().collect();
        for vm in &vms {
            self.ends.ask(*vm, Ask::Ping)?;
        }
        self.run.alive = Some(Alive {
            deadline: self.ends.now() + self.limits.alive,
            target: true,
            vms,
        });
        Ok(self.call(calls::controllers(), Pending::Alive)?)
    }

    /// A guest has given a sign of life.
    pub fn lives(&mut self, vm: VmId) {
        if let Some(alive) = &mut self.run.alive {
            alive.vms.retain(|waiting| *waiting != vm);
        }
    }

    pub(super) fn target_lives(&mut self) {
        if let Some(alive) = &mut self.run.alive {
            alive.target = false;
        }
    }

    /// Who is silent, once all others have answered or the time is over.
    pub fn signs_of_life(&mut self) -> Option<Observation> {
        let now = self.ends.now();
        let over =
            |alive: &mut Alive| (!alive.target && alive.vms.is_empty()) || now >= alive.deadline;
        let alive = self.run.alive.take_if(over)?;
        let target = alive.target.then(|| "target".to_owned());
        let vms = alive.vms.iter().map(ToString::to_string);
        let silent = target.into_iter().chain(vms).collect();
        Some(Observation::Alive { silent })
    }

    /// From now on somebody waits for everything to come to rest.
    pub(super) fn settle(&mut self) -> Result<(), Refusal> {
        let now = self.ends.now();
        let deadline = now + self.limits.settle;
        let due = self.limits.ask_every.map_or(deadline, |_| now);
        self.run.settling = Some(Settling {
            deadline,
            due,
            left: Vec::new(),
        });
        Ok(())
    }

    /// When it will not be waited for rest any more, if it is now.
    #[must_use]
    pub fn settles_by(&self) -> Option<Time> {
        self.run.settling.as_ref().map(|settling| settling.deadline)
    }

    /// The next moment at which there is something to do without being told.
    #[must_use]
    pub fn due(&self) -> Option<Time> {
        let alive = self.run.alive.as_ref().map(|alive| alive.deadline);
        let settling = self.run.settling.as_ref();
        let settling = settling.map(|settling| settling.due.min(settling.deadline));
        alive.into_iter().chain(settling).min()
    }

    /// Nothing can happen any more, or the time is over, so nobody gives a sign of life any more. Whether
    /// somebody waited for everything to come to rest, who is to be told ([`Observation::Quiet`]).
    pub fn at_rest(&mut self) -> bool {
        if let Some(alive) = &mut self.run.alive {
            alive.deadline = self.ends.now();
        }
        self.run.settling.take().is_some()
    }

    /// Does what is due by now.
    ///
    /// # Errors
    ///
    /// The target cannot be reached.
    pub fn pass(&mut self) -> Result<(), TestbedError> {
        let now = self.ends.now();
        if let Some(alive) = self.signs_of_life() {
            self.ends.see(alive);
        }
        let Some(settling) = &mut self.run.settling else {
            return Ok(());
        };
        if now >= settling.deadline {
            let left = std::mem::take(&mut settling.left);
            self.run.settling = None;
            let settled = false;
            self.ends.see(Observation::Quiet { settled, left });
        } else if now >= settling.due {
            return self.ask_in_flight(now);
        }
        Ok(())
    }

    /// Asks what is in flight, or waits on if it is known that something is.
    fn ask_in_flight(&mut self, now: Time) -> Result<(), TestbedError> {
        let mut left: Vec<String> = self
            .run
            .fan_in
            .fios()
            .map(|fio| format!("{fio} runs"))
            .collect();
        let open = self.run.rpc.open().filter(|pending| pending.is_of_action());
        let open = open.count();
        if open > 0 && !self.ends.target_died() {
            left.push(format!("RPCs without an answer: {open}"));
        }
        if !left.is_empty() {
            self.go_on_settling(now, left);
            return Ok(());
        }
        if let Some(settling) = &mut self.run.settling {
            settling.left = left;
            // The answer says when to ask again.
            settling.due = settling.deadline;
        }
        self.call(calls::controllers(), Pending::InFlight)
    }

    /// The target has said what is in flight.
    pub(super) fn in_flight(&mut self, answer: Result<Value, String>) {
        let left = match answer {
            Ok(controllers) => tasks_in_flight(&controllers),
            Err(text) => vec![format!("vhost_get_controllers: {text}")],
        };
        if !left.is_empty() {
            self.go_on_settling(self.ends.now(), left);
        } else if self.run.settling.take().is_some() {
            let settled = true;
            self.ends.see(Observation::Quiet { settled, left });
        }
    }

    fn go_on_settling(&mut self, now: Time, left: Vec<String>) {
        if let (Some(settling), Some(every)) = (&mut self.run.settling, self.limits.ask_every) {
            settling.left = left;
            settling.due = now + every;
        }
    }
}

/// The sessions with tasks in flight, by `vhost_get_controllers` (SPDK's `vhost_dump_info_json`).
fn tasks_in_flight(controllers: &Value) -> Vec<String> {
    let all = controllers.as_array().into_iter().flatten();
    let sessions =
        all.flat_map(|controller| controller["sessions"].as_array().into_iter().flatten());
    let busy = sessions.filter_map(|session| {
        let tasks = session["inflight_task_cnt"].as_u64();
        let tasks = tasks.filter(|tasks| *tasks > 0)?;
        let name = session["name"].as_str().unwrap_or("?");
        Some(format!("tasks in flight of {name}: {tasks}"))
    });
    busy.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sessions_with_tasks_are_not_at_rest() {
        let session =
            |name: &str, tasks: u32| serde_json::json!({"name": name, "inflight_task_cnt": tasks});
        let controllers = serde_json::json!([
            {"ctrlr": "vhost.1", "sessions": [session("vhost.1s0", 0), session("vhost.1s1", 3)]},
            {"ctrlr": "vhost.2", "sessions": []},
        ]);
        assert_eq!(
            tasks_in_flight(&controllers),
            ["tasks in flight of vhost.1s1: 3"]
        );
        assert_eq!(tasks_in_flight(&serde_json::json!([])), [""; 0]);
    }
}
