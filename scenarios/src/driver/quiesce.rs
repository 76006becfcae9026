//! Signs of life, and coming to rest: questions that everybody has to answer, by a deadline.
//!
//! Where a testbed cannot see that nothing can happen any more, it is at rest when no RPC of an action is open,
//! no fio runs, and the target counts no task in flight. What a kernel still has to do with what it was told is
//! not seen then; steps that wait for disks wait for that.

use std::time::Duration;

use serde_json::Value;

use crate::names::VmId;
use crate::observation::Observation;
use crate::time::Time;

/// How long a testbed waits for what everybody has to answer.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// A sign of life comes within this, or not at all. Less than `run::limits::ALIVE`.
    pub alive: Duration,
    /// Everything comes to rest within this, or it never will. Less than `run::limits::SETTLE`.
    pub settle: Duration,
    /// How often the target is asked for what is in flight ([`Driver::pass`](super::Driver::pass)); `None`: the
    /// testbed sees that nothing can happen any more, and says so ([`Driver::at_rest`](super::Driver::at_rest)).
    pub ask_every: Option<Duration>,
}

/// Who still owes a sign of life.
#[derive(Clone, Debug)]
struct Alive {
    deadline: Time,
    target: bool,
    vms: Vec<VmId>,
}

/// Somebody waits for everything to come to rest.
#[derive(Clone, Debug)]
struct Settling {
    deadline: Time,
    /// When to ask what is in flight.
    due: Time,
    /// What was in flight when that was last asked.
    left: Vec<String>,
}

/// What everybody is asked for now, if anything.
#[derive(Clone, Debug, Default)]
pub(super) struct Quiesce {
    alive: Option<Alive>,
    settling: Option<Settling>,
}

impl Quiesce {
    /// From now on the target and these VMs owe a sign of life.
    pub(super) fn await_life(&mut self, deadline: Time, vms: Vec<VmId>) {
        self.alive = Some(Alive {
            deadline,
            target: true,
            vms,
        });
    }

    /// A guest has given a sign of life.
    pub(super) fn lives(&mut self, vm: VmId) {
        if let Some(alive) = &mut self.alive {
            alive.vms.retain(|waiting| *waiting != vm);
        }
    }

    pub(super) fn target_lives(&mut self) {
        if let Some(alive) = &mut self.alive {
            alive.target = false;
        }
    }

    /// Nobody will give a sign of life any more.
    pub(super) fn nobody_lives(&mut self, now: Time) {
        if let Some(alive) = &mut self.alive {
            alive.deadline = now;
        }
    }

    /// Who is silent, once all others have answered or the time is over.
    pub(super) fn signs_of_life(&mut self, now: Time) -> Option<Observation> {
        let over =
            |alive: &mut Alive| (!alive.target && alive.vms.is_empty()) || now >= alive.deadline;
        let alive = self.alive.take_if(over)?;
        let target = alive.target.then(|| "target".to_owned());
        let vms = alive.vms.iter().map(ToString::to_string);
        let silent = target.into_iter().chain(vms).collect();
        Some(Observation::Alive { silent })
    }

    /// From now on somebody waits for everything to come to rest; what is in flight is asked at `due`.
    pub(super) fn await_rest(&mut self, deadline: Time, due: Time) {
        self.settling = Some(Settling {
            deadline,
            due,
            left: Vec::new(),
        });
    }

    /// When it will not be waited for rest any more, if it is now.
    pub(super) fn settles_by(&self) -> Option<Time> {
        self.settling.as_ref().map(|settling| settling.deadline)
    }

    /// The next moment at which there is something to do without being told.
    pub(super) fn due(&self) -> Option<Time> {
        let alive = self.alive.as_ref().map(|alive| alive.deadline);
        let settling = self.settling.as_ref();
        let settling = settling.map(|settling| settling.due.min(settling.deadline));
        alive.into_iter().chain(settling).min()
    }

    /// Whether what is in flight is to be asked now.
    pub(super) fn is_to_ask(&self, now: Time) -> bool {
        self.settling
            .as_ref()
            .is_some_and(|settling| now >= settling.due)
    }

    /// It was asked what is in flight: the answer says when to ask again.
    pub(super) fn await_answer(&mut self) {
        if let Some(settling) = &mut self.settling {
            settling.left.clear();
            settling.due = settling.deadline;
        }
    }

    /// This is in flight, so it is asked again then.
    pub(super) fn go_on(&mut self, left: Vec<String>, due: Time) {
        if let Some(settling) = &mut self.settling {
            (settling.left, settling.due) = (left, due);
        }
    }

    /// Everything is at rest; false if nobody waits for that.
    pub(super) fn rests(&mut self) -> bool {
        self.settling.take().is_some()
    }

    /// What was still in flight when the time was over, if it is.
    pub(super) fn never_rests(&mut self, now: Time) -> Option<Vec<String>> {
        let over = |settling: &mut Settling| now >= settling.deadline;
        Some(self.settling.take_if(over)?.left)
    }
}

/// The sessions with tasks in flight, by `vhost_get_controllers` (SPDK's `vhost_dump_info_json`).
pub(super) fn tasks_in_flight(controllers: &Value) -> Vec<String> {
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
