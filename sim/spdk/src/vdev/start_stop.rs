//! Starting and stopping a session, on the controller's thread.
//!
//! Sources: `vhost_scsi_start_cb`, `vhost_scsi_stop_cb`, `destroy_session_poller_cb`
//! (lib/vhost/vhost_scsi.c); fact sheet §1.7, recordings §2a.

use scenarios::{Inside, Observation, SlotState, Time};

use super::controller::POLL_AFTER;
use super::release::release_slots;
use super::session::{STOP_PERIOD, STOP_TIMEOUT, SessionSlot, Stopping};
use super::slot::Cause;
use super::thread::VdevThread;
use super::used::signal;
use crate::handles::{SessionId, SlotId};
use crate::mail::{StopResult, VdevMessage, Waiting};
use crate::turn::TargetTurn;
use wire::bugs::Bug;
use wire::message::{EVENTQ, LogLevel, REQUESTQ};
use wire::scsi::feature;

/// `vhost_scsi_start`: takes over the controller's targets, and begins to poll.
pub fn start(vdev: &mut VdevThread<'_>, id: SessionId) -> TargetTurn {
    let ctl = &mut *vdev.own;
    if ctl.locked {
        ctl.waiting.push_back(Waiting::Vdev(VdevMessage::Start(id)));
        return TargetTurn::Idle;
    }
    let Some(index) = ctl.session_index(id) else {
        return TargetTurn::Idle;
    };
    let turn = |started| TargetTurn::Start {
        controller: ctl.number,
        session: id.0,
        started,
    };
    let (refused, taken) = (turn(false), turn(true));
    let name = ctl.session_name(index);
    let session = &mut ctl.sessions[index];
    if session.draining {
        // Goes on once its old I/O has returned; `starting` stays.
        return refused;
    }
    session.starting = false;
    let hole = (REQUESTQ.0..session.max_queues).find(|ring| !session.has_ring(*ring));
    let why = if session.polled || session.gone {
        Some((LogLevel::Info, "start in progress".to_owned()))
    } else if session.max_queues <= REQUESTQ.0 {
        Some((
            LogLevel::Info,
            format!("max_queues {}, no I/O queues", session.max_queues),
        ))
    } else {
        hole.map(|ring| (LogLevel::Error, format!("queue {ring} is empty")))
    };
    if let Some((level, why)) = why {
        vdev.log(level, format!("{name}: {why}"));
        return refused;
    }
    for slot in SlotId::all() {
        pick_up(vdev, index, slot);
    }
    let ctl = &mut *vdev.own;
    ctl.poll_at = ctl.poll_at.min(vdev.cx.now + POLL_AFTER);
    let session = &mut ctl.sessions[index];
    session.started = true;
    session.polled = true;
    session.since = vdev.cx.now;
    session.manage_at = Time::NEVER;
    session.manage(vdev.cx.now);
    session.vrings.iter_mut().for_each(|ring| ring.look = true);
    let (conn, hotplug) = (session.conn.0, session.has(feature::HOTPLUG));
    let eventq = session.has_ring(EVENTQ.0);
    vdev.cx.see(Observation::Inside(Inside::SessionStarted {
        controller: ctl.id(),
        session: id.0,
        conn,
        hotplug,
        eventq,
    }));
    vdev.log(LogLevel::Info, format!("{name}: started poller on lcore 1"));
    taken
}

/// A starting session takes a target that is not being removed; no event is sent.
fn pick_up(vdev: &mut VdevThread<'_>, index: usize, slot: SlotId) {
    let bugs = vdev.shared.bugs;
    let ctl = &mut *vdev.own;
    let here = ctl.slots[slot.index()];
    let Some(dev) = here.dev else {
        return;
    };
    if here.state == SlotState::Removing && !bugs.has(Bug::StartTakesRemoving) {
        return;
    }
    let own = &mut ctl.sessions[index].slots[slot.index()];
    own.device = here.device;
    if vdev.shared.devs.take_channel(dev, ctl.vdev) {
        own.dev = Some(dev);
        let cause = if here.state == SlotState::Adding && bugs.has(Bug::InheritAdding) {
            Cause::Copied
        } else {
            Cause::PickedUp
        };
        ctl.move_session_slot(&mut vdev.cx, index, slot, cause);
    }
}

/// `vhost_scsi_stop`: the pollers go; a poller of 1 ms waits for the I/O.
pub fn stop(vdev: &mut VdevThread<'_>, id: SessionId) -> TargetTurn {
    let now = vdev.cx.now;
    let controller = vdev.own.number;
    let Some(session) = vdev.own.session(id) else {
        return TargetTurn::Idle;
    };
    if session.draining {
        // Nothing runs: the start that waits for the old I/O is taken back.
        session.starting = false;
        vdev.shared.mail.post_stop(now, StopResult::Stopped);
        return TargetTurn::StopEnded {
            controller,
            session: id.0,
            clean: false,
        };
    }
    session.polled = false;
    session.manage_at = Time::NEVER;
    let deadline = if vdev.shared.bugs.has(Bug::StopNeverTimesOut) {
        Time::NEVER
    } else {
        now + STOP_TIMEOUT
    };
    session.stopping = Some(Stopping {
        began: now,
        next: if session.task_cnt == 0 {
            now + STOP_PERIOD
        } else {
            deadline
        },
        deadline,
    });
    TargetTurn::StopBegan {
        controller,
        session: id.0,
    }
}

/// A run of the stop poller that can end it.
pub fn stop_tick(vdev: &mut VdevThread<'_>, index: usize) -> TargetTurn {
    let bugs = vdev.shared.bugs;
    let now = vdev.cx.now;
    let ctl = &mut *vdev.own;
    let controller = ctl.number;
    let session = &mut ctl.sessions[index];
    let Some(stop) = &mut session.stopping else {
        return TargetTurn::Idle;
    };
    if now < stop.deadline && (ctl.locked || session.task_cnt > 0) {
        // A try-lock that fails costs a run of the poller; so does I/O in flight.
        stop.next = if ctl.locked {
            (now + STOP_PERIOD).min(stop.deadline)
        } else {
            stop.deadline
        };
        return TargetTurn::Idle;
    }
    let clean = session.task_cnt == 0;
    let removing = |slot: &SessionSlot| slot.state == SlotState::Removing;
    if clean && bugs.has(Bug::ForeachUnderLock) && session.slots.iter().any(removing) {
        // The poller holds the lock, and waits in foreach for itself to let it go.
        stop.next = Time::NEVER;
        ctl.locked = true;
        return TargetTurn::Idle;
    }
    let (id, tasks) = (session.id.0, session.task_cnt);
    session.stopping = None;
    let mut result = StopResult::Stopped;
    if clean {
        stopped(vdev, index);
    } else {
        if bugs.has(Bug::StopTimeoutZombie) {
            result = StopResult::TimedOut;
        } else {
            session.started = false;
            session.draining = true;
        }
        let name = ctl.session_name(index);
        vdev.log(
            LogLevel::Error,
            format!("{name}: Timedout when destroy session (task_cnt {tasks})"),
        );
    }
    vdev.shared.mail.post_stop(now, result);
    TargetTurn::StopEnded {
        controller,
        session: id,
        clean,
    }
}

/// A session has no I/O left: it lets go of its targets.
fn stopped(vdev: &mut VdevThread<'_>, index: usize) {
    let suppressed = vdev.suppressed_event_calls();
    for vring in 0..vdev.own.sessions[index].vrings.len() {
        signal(vdev, index, vring as u16, suppressed);
    }
    release_slots(vdev, index);
    let name = vdev.own.session_name(index);
    let session = &mut vdev.own.sessions[index];
    session.started = false;
    session.orphans.clear();
    let session = session.id.0;
    vdev.cx.see(Observation::Inside(Inside::SessionStopped {
        controller: vdev.own.id(),
        session,
    }));
    vdev.log(
        LogLevel::Info,
        format!("{name}: stopping poller on lcore 1"),
    );
}
