//! SET_VRING_KICK, in two halves under the controller's lock: in SPDK it (re)initialises the queue and
//! schedules the start of the session.
//!
//! Sources: `extern_vhost_post_msg_handler`, `enable_device_vq` (lib/vhost/rte_vhost_user.c).

use std::time::Duration;

use scenarios::Time;

use super::{Doing, HALF};
use crate::controller::Waiting;
use crate::mail::VdevMessage;
use crate::session::{MANAGE_PERIOD, next_tick};
use crate::turn::TargetTurn;
use crate::vring::{Lost, RING_SIZE_MAX};
use crate::{Out, Target};
use wire::bugs::Bug;
use wire::message::{ConnId, VringIndex};

impl Target {
    /// A deliberate call for a ring that is live already: the driver may wait for one that was lost.
    pub(super) fn spurious_call(&mut self, now: Time, vdev: usize, index: usize, vring: u16) {
        let (none, stale) = (
            self.dev.has(Bug::NoIrqOnRestart),
            self.dev.has(Bug::StaleCallfd),
        );
        let Some(ctl) = self.ctl[vdev].as_mut() else {
            return;
        };
        let session = &mut ctl.sessions[index];
        // The last messages of a start come when the rings have been served for a while.
        let in_use = session.polled && now.since(session.since) > 2 * MANAGE_PERIOD;
        if let Some(ring) = session.ring(vring) {
            ring.deaf = stale && in_use;
            if none {
                return;
            }
            ring.calls_due = ring.calls_due.saturating_add(1);
            session.manage(now);
            ctl.poll_at = ctl.poll_at.min(now);
            self.touch_vdev(vdev);
        }
    }

    /// The first half of SET_VRING_KICK: takes the lock, and zeroes the ring if it is live (S8).
    pub(super) fn kick(
        &mut self,
        cx: &mut Out<'_>,
        conn: ConnId,
        vring: VringIndex,
        ack: bool,
        session: Option<(usize, usize)>,
    ) -> TargetTurn {
        let turn = self.turn_of(conn, "SET_VRING_KICK", vring.0);
        let device = self.dpdk.device(conn).expect("the caller found it");
        let ready = device
            .ring(vring)
            .is_some_and(|ring| ring.mapped && ring.layout.size <= RING_SIZE_MAX);
        let (true, Some((vdev, index))) = (ready, session) else {
            self.ack(cx, conn, ack, false);
            return turn;
        };
        let ctl = self.ctl[vdev].as_mut().expect("found above");
        let session = &mut ctl.sessions[index];
        let live = session.polled && session.has_ring(vring.0);
        if live && !self.dev.has(Bug::DuplicateKick) {
            self.ack(cx, conn, ack, true);
            return turn;
        }
        if live {
            let ring = session.ring_or_new(vring.0);
            ring.lost = Some(Lost::Zeroed);
            ring.look = true;
            // The poller runs all the time; whether it comes between the halves is chance.
            let poll = Duration::from_nanos(u64::from(cx.rng.below(1_000)));
            session.manage(cx.now);
            if vring.0 >= 2 {
                ctl.poll_at = ctl.poll_at.min(cx.now + poll);
            }
        }
        ctl.locked = true;
        self.touch_vdev(vdev);
        self.dpdk.doing = Doing::Kicking(conn, vring, ack);
        self.dpdk.next = cx.now + HALF;
        turn
    }

    /// The second half: sets the ring up, schedules the start, lets the lock go.
    pub(super) fn kicked(
        &mut self,
        cx: &mut Out<'_>,
        conn: ConnId,
        vring: VringIndex,
        ack: bool,
    ) -> TargetTurn {
        let turn = self.turn_of(conn, "SET_VRING_KICK", vring.0);
        let session = self.session_of(conn);
        let Some((vdev, index)) = session else {
            return turn;
        };
        let ok = self.enable_ring(conn, vdev, index, vring);
        if ok {
            if let Some(device) = self.dpdk.device(conn) {
                device.running |= vring.0 == 0;
            }
            self.schedule_start(cx.now, vdev, index);
        }
        self.unlock(cx.now, vdev);
        self.ack(cx, conn, ack, ok);
        turn
    }

    /// `enable_device_vq`.
    pub(super) fn enable_ring(
        &mut self,
        conn: ConnId,
        vdev: usize,
        index: usize,
        vring: VringIndex,
    ) -> bool {
        let Some(device) = self.dpdk.device(conn) else {
            return false;
        };
        let memory = device.memory.clone();
        let features = device.features;
        let Some(ring) = device.ring(vring) else {
            return false;
        };
        ring.kicked = true;
        let mut layout = ring.layout;
        let again = self
            .inflight
            .begin_ring(conn, vring.0, &mut layout, memory.as_deref());
        let ctl = self.ctl[vdev].as_mut().expect("found above");
        let session = &mut ctl.sessions[index];
        if session.memory.is_none() || !session.unmapped {
            session.memory.clone_from(&memory);
        }
        session.features = features;
        let ring = session.ring_or_new(vring.0);
        let life = ring.life;
        let Ok(old) = ring.set_up(&layout) else {
            return false;
        };
        if let Some(memory) = &memory
            && ring.no_notify(memory).is_err()
        {
            return false;
        }
        ring.again = again;
        if let Some(tasks) = old {
            session.orphans.push((vring.0, life, tasks));
        }
        session.max_queues = session.max_queues.max(vring.0 + 1);
        if session.polled {
            session.manage_at =
                session
                    .manage_at
                    .min(next_tick(session.since, MANAGE_PERIOD, self.now));
            ctl.poll_at = ctl.poll_at.min(self.now);
        }
        self.touch_vdev(vdev);
        true
    }

    pub(super) fn schedule_start(&mut self, now: Time, vdev: usize, index: usize) {
        let ctl = self.ctl[vdev].as_mut().expect("found above");
        let session = &mut ctl.sessions[index];
        if session.started || session.starting {
            return;
        }
        session.starting = true;
        let message = VdevMessage::Start {
            session: session.id,
        };
        self.send_vdev(now, vdev, message);
    }

    /// Lets the lock go: what waited for it is sent again.
    fn unlock(&mut self, now: Time, vdev: usize) {
        let Some(ctl) = self.ctl[vdev].as_mut() else {
            return;
        };
        ctl.locked = false;
        let waiting = std::mem::take(&mut ctl.waiting);
        for waiting in waiting {
            match waiting {
                Waiting::Vdev(message) => self.send_vdev(now, vdev, message),
                Waiting::App(message) => self.send_app(now, message),
            }
        }
        self.retry_soon(now);
    }
}
