//! Signs of life, and coming to rest: questions that everybody has to answer, by a deadline.
//!
//! At rest: no RPC of an action is open, no fio runs, and the target counts no task in flight. What a kernel
//! still has to do with what it was told is not seen here; steps that wait for disks wait for that.

use std::time::Duration;

use scenarios::{Observation, Seen, Testbed as _, TestbedError, Time, VmId};
use serde_json::Value;

use super::guests::Ask;
use super::{Pending, RealTestbed};

/// A sign of life comes within this, or not at all. Less than `scenarios::run::limits::ALIVE`.
const ALIVE_MAX: Duration = Duration::from_secs(20);
/// Everything comes to rest within this. Less than `scenarios::run::limits::SETTLE`.
const SETTLE_MAX: Duration = Duration::from_secs(50);
/// Between two looks at what is in flight.
const LOOK_PERIOD: Duration = Duration::from_millis(50);

/// Who still owes a sign of life.
pub(super) struct Alive {
    pub(super) deadline: Time,
    pub(super) target: bool,
    pub(super) vms: Vec<VmId>,
}

/// Somebody waits for everything to come to rest.
pub(super) struct Settling {
    deadline: Time,
    /// When to look, if nobody does.
    pub(super) due: Time,
    /// What was in flight when it was last looked.
    left: Vec<String>,
}

impl RealTestbed {
    pub(super) fn check_alive(&mut self) -> Result<Option<String>, TestbedError> {
        let vms: Vec<VmId> = self.vms.keys().copied().collect();
        let deadline = self.now() + ALIVE_MAX;
        self.alive = Some(Alive {
            deadline,
            target: true,
            vms: vms.clone(),
        });
        for vm in vms {
            if let Some(reason) = self.guests.ask(vm, Ask::Ping)? {
                return Ok(Some(reason));
            }
        }
        self.call(("vhost_get_controllers", None), Pending::Alive)?;
        Ok(None)
    }

    pub(super) fn begin_settling(&mut self) {
        let now = self.now();
        self.settling = Some(Settling {
            deadline: now + SETTLE_MAX,
            due: now,
            left: Vec::new(),
        });
    }

    /// Does what is due by now.
    pub(super) fn pass(&mut self, seen: &mut Vec<Seen>) -> Result<(), TestbedError> {
        let now = self.now();
        let over =
            |alive: &mut Alive| (!alive.target && alive.vms.is_empty()) || now >= alive.deadline;
        if let Some(alive) = self.alive.take_if(over) {
            let target = alive.target.then(|| "target".to_owned());
            let vms = alive.vms.iter().map(ToString::to_string);
            let silent = target.into_iter().chain(vms).collect();
            self.see(seen, Observation::Alive { silent });
        }
        if let Some(settling) = self.settling.take_if(|settling| now >= settling.deadline) {
            let left = settling.left;
            self.see(
                seen,
                Observation::Quiet {
                    settled: false,
                    left,
                },
            );
        }
        if self
            .settling
            .as_ref()
            .is_some_and(|settling| now >= settling.due)
        {
            self.look()?;
        }
        Ok(())
    }

    /// Asks what is in flight, or waits on if it is known that something is.
    fn look(&mut self) -> Result<(), TestbedError> {
        let mut left: Vec<String> = self.runs.keys().map(|fio| format!("{fio} runs")).collect();
        if self.unanswered > 0 && !self.target_died {
            left.push(format!("RPCs without an answer: {}", self.unanswered));
        }
        let (busy, now) = (!left.is_empty(), self.now());
        if let Some(settling) = &mut self.settling {
            settling.left = left;
            // The answer says when to look again.
            settling.due = if busy {
                now + LOOK_PERIOD
            } else {
                settling.deadline
            };
        }
        if busy {
            return Ok(());
        }
        self.call(("vhost_get_controllers", None), Pending::Rest)
    }

    /// The target has said what is in flight.
    pub(super) fn looked(&mut self, answer: Result<Value, String>, seen: &mut Vec<Seen>) {
        let left = match answer {
            Ok(controllers) => in_flight(&controllers),
            Err(text) => vec![format!("vhost_get_controllers: {text}")],
        };
        let now = self.now();
        if left.is_empty() && self.settling.take().is_some() {
            self.see(
                seen,
                Observation::Quiet {
                    settled: true,
                    left,
                },
            );
        } else if let Some(settling) = &mut self.settling {
            settling.left = left;
            settling.due = now + LOOK_PERIOD;
        }
    }
}

/// The sessions with tasks in flight, by `vhost_get_controllers` (SPDK's `vhost_dump_info_json`).
fn in_flight(controllers: &Value) -> Vec<String> {
    let all = controllers.as_array().into_iter().flatten();
    let sessions =
        all.flat_map(|controller| controller["sessions"].as_array().into_iter().flatten());
    let busy = sessions.filter_map(|session| {
        let tasks = session["inflight_task_cnt"]
            .as_u64()
            .filter(|tasks| *tasks > 0)?;
        Some(format!(
            "tasks in flight of {}: {tasks}",
            session["name"].as_str().unwrap_or("?")
        ))
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
        assert_eq!(in_flight(&controllers), ["tasks in flight of vhost.1s1: 3"]);
        assert_eq!(in_flight(&serde_json::json!([])), [""; 0]);
    }
}
