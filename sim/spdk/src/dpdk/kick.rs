//! SET_VRING_KICK, in two halves under the controller's lock: in SPDK it (re)initialises the queue and
//! schedules the start of the session.
//!
//! Sources: `extern_vhost_post_msg_handler`, `enable_device_vq` (lib/vhost/rte_vhost_user.c).

use std::time::Duration;

use super::{Ack, Doing, DpdkThread, HALF, Handled};
use crate::handles::SessionAt;
use crate::mail::VdevMessage;
use crate::turn::TargetTurn;
use crate::vdev::session::{MANAGE_PERIOD, next_tick};
use crate::vdev::vring::{Lost, RING_SIZE_MAX};
use wire::bugs::Bug;
use wire::message::{ConnId, REQUESTQ, VringIndex};

/// A deliberate call for a ring that is live already: the driver may wait for one that was lost.
pub(super) fn spurious_call(dpdk: &mut DpdkThread<'_>, at: SessionAt, vring: VringIndex) {
    let (bugs, now) = (dpdk.shared.bugs, dpdk.cx.now);
    let Some(ctl) = dpdk.vdevs.get_mut(at.vdev) else {
        return;
    };
    let session = &mut ctl.sessions[at.index];
    // The last messages of a start come when the rings have been served for a while.
    let in_use = session.polled && now.since(session.since) > 2 * MANAGE_PERIOD;
    if let Some(ring) = session.ring(vring.0) {
        ring.deaf = bugs.has(Bug::StaleCallfd) && in_use;
        if bugs.has(Bug::NoIrqOnRestart) {
            return;
        }
        ring.calls_due = ring.calls_due.saturating_add(1);
        session.manage(now);
        ctl.poll_at = ctl.poll_at.min(now);
        dpdk.shared.mail.touch_vdev(at.vdev);
    }
}

/// The first half of SET_VRING_KICK: takes the lock, and zeroes the ring if it is live (S8).
pub(super) fn kick(
    dpdk: &mut DpdkThread<'_>,
    conn: ConnId,
    vring: VringIndex,
    ack: Ack,
    session: Option<SessionAt>,
) -> TargetTurn {
    let turn = dpdk.own.turn_of(conn, "SET_VRING_KICK", vring.0);
    let device = dpdk.own.device(conn).expect("the caller found it");
    let ready = device
        .ring(vring)
        .is_some_and(|ring| ring.mapped && ring.layout.size <= RING_SIZE_MAX);
    let (true, Some(at)) = (ready, session) else {
        dpdk.ack(conn, ack, Handled::Badly);
        return turn;
    };
    let ctl = dpdk.vdevs.get_mut(at.vdev).expect("it was just found");
    let session = &mut ctl.sessions[at.index];
    if session.polled && session.has_ring(vring.0) {
        if !dpdk.shared.bugs.has(Bug::DuplicateKick) {
            dpdk.ack(conn, ack, Handled::Well);
            return turn;
        }
        let ring = session.ring_or_new(vring.0);
        ring.lost = Some(Lost::Zeroed);
        ring.look = true;
        // The poller runs all the time; whether it comes between the halves is chance.
        let poll = Duration::from_nanos(u64::from(dpdk.cx.rng.below(1_000)));
        session.manage(dpdk.cx.now);
        if vring >= REQUESTQ {
            ctl.poll_at = ctl.poll_at.min(dpdk.cx.now + poll);
        }
    }
    ctl.locked = true;
    dpdk.shared.mail.touch_vdev(at.vdev);
    dpdk.own.doing = Doing::Kicking(conn, vring, ack);
    dpdk.own.next = dpdk.cx.now + HALF;
    turn
}

/// The second half: sets the ring up, schedules the start, lets the lock go.
pub(super) fn kicked(
    dpdk: &mut DpdkThread<'_>,
    conn: ConnId,
    vring: VringIndex,
    ack: Ack,
) -> TargetTurn {
    let turn = dpdk.own.turn_of(conn, "SET_VRING_KICK", vring.0);
    let Some(at) = dpdk.session_of(conn) else {
        return turn;
    };
    let handled = enable_ring(dpdk, conn, at, vring);
    if handled == Handled::Well {
        if let Some(device) = dpdk.own.device(conn) {
            device.running |= vring.0 == 0;
        }
        schedule_start(dpdk, at);
    }
    if let Some(ctl) = dpdk.vdevs.get_mut(at.vdev) {
        ctl.unlock(&mut dpdk.shared.mail, dpdk.cx.now);
    }
    dpdk.ack(conn, ack, handled);
    turn
}

/// `enable_device_vq`.
pub(super) fn enable_ring(
    dpdk: &mut DpdkThread<'_>,
    conn: ConnId,
    at: SessionAt,
    vring: VringIndex,
) -> Handled {
    let Some(device) = dpdk.own.device(conn) else {
        return Handled::Badly;
    };
    let memory = device.memory.clone();
    let features = device.features;
    let Some(ring) = device.ring(vring) else {
        return Handled::Badly;
    };
    ring.kicked = true;
    let mut layout = ring.layout;
    let inflight = &mut dpdk.shared.inflight;
    let again = inflight.begin_ring(conn, vring.0, &mut layout, memory.as_deref());
    let ctl = dpdk.vdevs.get_mut(at.vdev).expect("it was just found");
    let session = &mut ctl.sessions[at.index];
    if session.memory.is_none() || !session.unmapped {
        session.memory.clone_from(&memory);
    }
    session.features = features;
    let ring = session.ring_or_new(vring.0);
    let life = ring.life;
    let Ok(old) = ring.set_up(&layout) else {
        return Handled::Badly;
    };
    if let Some(memory) = &memory
        && ring.no_notify(memory).is_err()
    {
        return Handled::Badly;
    }
    ring.again = again;
    if let Some(tasks) = old {
        session.orphans.push((vring.0, life, tasks));
    }
    session.max_queues = session.max_queues.max(vring.0 + 1);
    if session.polled {
        let now = dpdk.shared.now;
        let tick = next_tick(session.since, MANAGE_PERIOD, now);
        session.manage_at = session.manage_at.min(tick);
        ctl.poll_at = ctl.poll_at.min(now);
    }
    dpdk.shared.mail.touch_vdev(at.vdev);
    Handled::Well
}

pub(super) fn schedule_start(dpdk: &mut DpdkThread<'_>, at: SessionAt) {
    let ctl = dpdk.vdevs.get_mut(at.vdev).expect("it was just found");
    let session = &mut ctl.sessions[at.index];
    if session.started || session.starting {
        return;
    }
    session.starting = true;
    let start = VdevMessage::Start(session.id);
    ctl.send(&mut dpdk.shared.mail, dpdk.cx.now, start);
}
