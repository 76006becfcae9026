//! What stops a session: GET_VRING_BASE, SET_MEM_TABLE, a closed connection.
//!
//! A session that does not stop is stopped twice: by SPDK's hook before the message, and by DPDK's own
//! handler of it (recordings §2a). The thread waits for both.

use super::device::mapped;
use super::kick::{enable_ring, schedule_start, spurious_call};
use super::{Doing, DpdkThread, Handled, STOP_WARNING, StoppedBy, Then};
use crate::handles::SessionAt;
use crate::mail::{StopResult, VdevMessage};
use crate::turn::TargetTurn;
use crate::vdev::vring::Lost;
use wire::bugs::Bug;
use wire::component::Memory;
use wire::message::{ConnId, LogLevel, VhostUserReply, VringIndex};

/// Sends a stop if the session runs or is about to; whether there is one to wait for.
fn begin_stop(dpdk: &mut DpdkThread<'_>, session: Option<SessionAt>) -> bool {
    let Some(at) = session else {
        return false;
    };
    let now = dpdk.cx.now;
    let ctl = dpdk.vdevs.get_mut(at.vdev).expect("it was just found");
    let session = &ctl.sessions[at.index];
    if !session.started && !session.starting {
        return false;
    }
    let stop = VdevMessage::Stop(session.id);
    ctl.send(&mut dpdk.shared.mail, now, stop);
    dpdk.shared.mail.await_stop();
    dpdk.own.warn_at = now + STOP_WARNING;
    true
}

pub(super) fn get_vring_base(
    dpdk: &mut DpdkThread<'_>,
    conn: ConnId,
    vring: VringIndex,
    session: Option<SessionAt>,
) -> TargetTurn {
    let turn = dpdk.own.turn_of(conn, "GET_VRING_BASE", vring.0);
    let then = Then::VringBase(conn, vring);
    if begin_stop(dpdk, session) {
        dpdk.own.doing = Doing::Stopping(then, StoppedBy::Hook);
    } else {
        dpdk_stops(dpdk, then);
    }
    turn
}

pub(super) fn set_mem_table(
    dpdk: &mut DpdkThread<'_>,
    then: Then,
    session: Option<SessionAt>,
) -> TargetTurn {
    let turn = dpdk.own.turn_of(then.conn(), "SET_MEM_TABLE", 0);
    if dpdk.shared.bugs.has(Bug::MemtableNoStop) {
        unmap_rings(dpdk, session);
        over(dpdk, then, 0);
    } else if begin_stop(dpdk, session) {
        let at = session.expect("a stop has a session");
        dpdk.session(at).needs_restart = true;
        dpdk.own.doing = Doing::Stopping(then, StoppedBy::Hook);
    } else {
        over(dpdk, then, 0);
    }
    turn
}

/// The memory of a session's rings goes under its pollers (B33).
fn unmap_rings(dpdk: &mut DpdkThread<'_>, session: Option<SessionAt>) {
    let Some(at) = session else {
        return;
    };
    let ctl = dpdk.vdevs.get_mut(at.vdev).expect("it was just found");
    let session = &mut ctl.sessions[at.index];
    if !session.polled {
        return;
    }
    for ring in session.vrings.iter_mut().filter(|ring| ring.live) {
        (ring.lost, ring.look) = (Some(Lost::Unmapped), true);
    }
    ctl.poll_at = ctl.poll_at.min(dpdk.cx.now);
    dpdk.shared.mail.touch_vdev(at.vdev);
}

pub(super) fn connection_closed(dpdk: &mut DpdkThread<'_>, conn: ConnId) -> TargetTurn {
    let turn = dpdk.own.turn_of(conn, "DISCONNECT", 0);
    let Some(device) = dpdk.own.device(conn) else {
        return turn;
    };
    // `vhost_destroy_device_notify` first, if DPDK thinks that the device runs.
    let running = std::mem::take(&mut device.running);
    let session = dpdk.session_of(conn);
    let then = Then::Closed(conn);
    if running && begin_stop(dpdk, session) {
        dpdk.own.doing = Doing::Stopping(then, StoppedBy::Hook);
    } else {
        dpdk_stops(dpdk, then);
    }
    turn
}

pub(super) fn stop_returned(
    dpdk: &mut DpdkThread<'_>,
    then: Then,
    by: StoppedBy,
    result: StopResult,
) -> TargetTurn {
    let conn = then.conn();
    let turn = dpdk.own.turn_of(conn, "STOPPED", 0);
    let rings = match result {
        StopResult::Stopped => save_bases(dpdk, conn),
        StopResult::TimedOut => {
            let vid = dpdk.own.device(conn).map_or(0, |device| device.vid);
            dpdk.log(
                LogLevel::Error,
                format!("Couldn't stop device with vid {vid}."),
            );
            0
        }
    };
    match (&then, by) {
        (Then::Memory(..), _) | (_, StoppedBy::Handler) => over(dpdk, then, rings),
        (Then::VringBase(..) | Then::Closed(_), StoppedBy::Hook) => dpdk_stops(dpdk, then),
    }
    turn
}

/// `_stop_session`, once the session has stopped: where each ring goes on is DPDK's to know.
/// Says how many rings there were.
fn save_bases(dpdk: &mut DpdkThread<'_>, conn: ConnId) -> u16 {
    let Some(at) = dpdk.session_of(conn) else {
        return 0;
    };
    let Some(device) = dpdk.own.device(conn) else {
        return 0;
    };
    let ctl = dpdk.vdevs.get_mut(at.vdev).expect("it was just found");
    let session = &mut ctl.sessions[at.index];
    for (n, ring) in session.vrings.iter_mut().enumerate() {
        if !ring.live {
            continue;
        }
        ring.live = false;
        if let Some(saved) = device.ring(VringIndex(n as u16)) {
            saved.layout.last_avail = ring.last_avail();
            saved.layout.last_used = ring.last_used();
        }
    }
    std::mem::take(&mut session.max_queues)
}

/// DPDK's own part: `destroy_device` stops a session that is started still, once more.
fn dpdk_stops(dpdk: &mut DpdkThread<'_>, then: Then) {
    let conn = then.conn();
    let again = match then {
        // Only a device that DPDK thinks is running is destroyed; then it is not any more.
        Then::VringBase(..) | Then::Memory(..) => dpdk
            .own
            .device(conn)
            .is_some_and(|device| std::mem::take(&mut device.running)),
        // `destroy_connection` stops what is started still.
        Then::Closed(..) => true,
    };
    let session = dpdk.session_of(conn);
    if again && begin_stop(dpdk, session) {
        dpdk.own.doing = Doing::Stopping(then, StoppedBy::Handler);
    } else {
        over(dpdk, then, 0);
    }
}

/// What was waited for: `rings` were saved before a new memory table.
fn over(dpdk: &mut DpdkThread<'_>, then: Then, rings: u16) {
    match then {
        Then::VringBase(conn, vring) => {
            let Some(device) = dpdk.own.device(conn) else {
                return;
            };
            let base = device.ring(vring).map_or(0, |ring| {
                (ring.mapped, ring.kicked) = (false, false);
                ring.layout.last_avail
            });
            dpdk.answer(conn, VhostUserReply::VringBase { vring, base });
        }
        Then::Memory(conn, memory, ack) => {
            new_memory(dpdk, conn, memory, rings);
            dpdk.ack(conn, ack, Handled::Well);
        }
        Then::Closed(conn) => forget_connection(dpdk, conn),
    }
}

/// The memory table is replaced; a session that ran is set up and started again.
fn new_memory(dpdk: &mut DpdkThread<'_>, conn: ConnId, memory: Memory, rings: u16) {
    if let Some(device) = dpdk.own.device(conn) {
        for ring in &mut device.rings {
            ring.mapped = ring.kicked && mapped(&memory, &ring.layout);
        }
        device.memory = Some(memory.clone());
    }
    let Some(at) = dpdk.session_of(conn) else {
        return;
    };
    let session = dpdk.session(at);
    if session.task_cnt == 0 {
        session.memory = Some(memory);
    }
    if !std::mem::take(&mut session.needs_restart) || session.started {
        return;
    }
    for vring in (0..rings).map(VringIndex) {
        let device = dpdk.own.device(conn);
        let ring = device.and_then(|device| device.ring(vring));
        let kicked = ring.is_some_and(|ring| ring.mapped);
        if kicked && enable_ring(dpdk, conn, at, vring) == Handled::Well {
            spurious_call(dpdk, at, vring);
        }
    }
    schedule_start(dpdk, at);
}

/// `destroy_connection`: the session goes, unless it could not be stopped.
fn forget_connection(dpdk: &mut DpdkThread<'_>, conn: ConnId) {
    let session = dpdk.session_of(conn);
    dpdk.own.devices.retain(|device| device.conn != conn);
    dpdk.shared.inflight.forget(conn);
    let Some(at) = session else {
        return;
    };
    let leaks = dpdk.shared.bugs.has(Bug::LeakedSession);
    let session = dpdk.session(at);
    if session.conn != conn {
        // The session of a dead namesake was found: its connection is gone already (N1).
        return;
    }
    if !session.started && !session.draining {
        let ctl = dpdk.vdevs.get_mut(at.vdev).expect("it was just found");
        ctl.close_session(&mut dpdk.cx, &mut dpdk.shared.mail, at.index);
    } else if leaks {
        session.unmapped = true;
        dpdk.log(
            LogLevel::Error,
            "failed to stop session on disconnect: it leaks".to_owned(),
        );
    } else {
        session.started = false;
        session.draining = true;
        session.gone = true;
    }
}
