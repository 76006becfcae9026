//! What must always hold of the app thread's state.

use scenarios::Time;

use super::{App, RPC_PERIOD};
use crate::bdev::Waiter;
use crate::devices::Devices;
use crate::handles::VdevId;
use crate::mail::{AppMessage, Awaited, Mail};
use crate::rpc::CallId;
use crate::shared::Shared;
use crate::vdev::controller::Vdevs;

impl App {
    /// When the RPC poller runs next.
    pub fn poll_due(&self) -> Time {
        self.rpc_at
    }

    pub fn knows(&self, vdev: VdevId) -> bool {
        self.entries[vdev.index()].is_some()
    }

    pub fn misnumbered(&self, vdevs: &Vdevs, devs: &Devices) -> Option<String> {
        let controller = vdevs.iter().find(|ctl| {
            let same = vdevs.iter().filter(|other| other.number == ctl.number);
            ctl.number > self.controllers_made || same.count() > 1
        });
        if let Some(ctl) = controller {
            let made = self.controllers_made;
            return Some(format!(
                "{} is controller {} of {made}",
                ctl.name, ctl.number
            ));
        }
        let (id, device) = devs.all().find(|(_, device)| {
            let same = devs
                .all()
                .filter(|(_, other)| other.number == device.number);
            device.number > self.device_numbers || same.count() > 1
        })?;
        let given = self.device_numbers;
        Some(format!("SCSI device {id} is {} of {given}", device.number))
    }

    pub fn poller_out_of_phase(&self) -> Option<String> {
        let at = self.rpc_at;
        let on_tick = at.0.is_multiple_of(RPC_PERIOD.as_nanos() as u64);
        let idle = at == Time::NEVER;
        let work = self.rpc.has_work() || !self.input.is_empty();
        (!(idle || on_tick) || idle && work).then(|| format!("due at {at:?}, work {work}"))
    }
}

pub fn retries_miscounted(app: &App, mail: &Mail) -> Option<String> {
    let (counted, at) = mail.retries();
    let waiting = app.deferred.retrying();
    (counted != waiting || waiting == 0 && at != Time::NEVER)
        .then(|| format!("{counted} of {waiting} are counted, tried at {at:?}"))
}

/// An RPC that waits at two places, or was answered and waits still.
pub fn call_out_of_place(app: &App, vdevs: &Vdevs, shared: &Shared) -> Option<String> {
    let mut calls: Vec<CallId> = Vec::new();
    let deferred = &app.deferred;
    for waiting in [&deferred.deletes, &deferred.nvme, &deferred.bdevs] {
        calls.extend(waiting.iter().map(|(call, _)| call));
    }
    let slots = vdevs.iter().flat_map(|ctl| &ctl.slots);
    calls.extend(slots.filter_map(|slot| slot.on_removed));
    let waiters = shared.bdevs.waiters();
    calls.extend(waiters.filter_map(|waiter| match waiter {
        Waiter::Call(call) => Some(*call),
        Waiter::NvmeDetach(_) => None,
    }));
    calls.extend(shared.mail.app().filter_map(AppMessage::answers));
    calls.sort_unstable();
    if let Some(pair) = calls.windows(2).find(|pair| pair[0] == pair[1]) {
        return Some(format!("{:?} waits twice", pair[0]));
    }
    let answered = calls.iter().find(|call| !app.rpc.is_open(**call))?;
    Some(format!("{answered:?} was answered"))
}

/// A time-out of an RPC that does not wait, or an RPC that waits without one, or with two.
pub fn timeout_of_nobody(app: &App, mail: &Mail) -> Option<String> {
    let wait_for = |awaited, calls: &[(CallId, String)]| {
        let calls = calls.iter().map(|(call, _)| (awaited, *call));
        calls.collect::<Vec<_>>()
    };
    let deferred = &app.deferred;
    let mut waiting = wait_for(Awaited::Bdev, &deferred.bdevs);
    waiting.extend(wait_for(Awaited::NvmeDetach, &deferred.nvme));
    let mut timed: Vec<_> = mail.timers().filter_map(AppMessage::times_out).collect();
    waiting.sort_unstable();
    timed.sort_unstable();
    (waiting != timed).then(|| format!("{waiting:?} wait, and time runs for {timed:?}"))
}

/// A change to a target that breaks the invariant of this name.
#[cfg(test)]
pub const MUTANTS: crate::tests::Mutants = &[
    ("controllers_in_their_places", |t| t.app.entries[0] = None),
    ("numbers_are_given_once", |t| t.app.device_numbers -= 1),
    ("rpcs_that_retry_are_counted", |t| {
        t.app.deferred.unregisters.push((VdevId(0), 1));
    }),
    ("every_call_waits_once", |t| {
        let call = t
            .vdevs
            .iter()
            .flat_map(|ctl| &ctl.slots)
            .find_map(|slot| slot.on_removed);
        let waiting = (call.expect("a removal waits"), "Malloc9".to_owned());
        t.app.deferred.bdevs.push(waiting);
    }),
    ("timeouts_have_their_call", |t| t.app.deferred.bdevs.clear()),
    ("rpc_poller_keeps_its_phase", |t| t.app.rpc_at = Time(1)),
];
