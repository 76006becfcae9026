//! What stops a session: GET_VRING_BASE, SET_MEM_TABLE, a closed connection.
//!
//! A session that does not stop is stopped twice: by SPDK's hook before the message, and by DPDK's own
//! handler of it (recordings §2a). The thread waits for both.

use scenarios::Time;

use super::{Doing, STOP_WARNING, Then, mapped};
use crate::mail::VdevMessage;
use crate::turn::TargetTurn;
use crate::vring::Lost;
use crate::{Out, Target};
use wire::bugs::Bug;
use wire::component::Memory;
use wire::message::{ConnId, FromTarget, VhostUserReply, VringIndex};

impl Target {
    /// Sends a stop if the session runs or is about to; whether there is one to wait for.
    fn begin_stop(&mut self, now: Time, session: Option<(usize, usize)>) -> bool {
        let Some((vdev, index)) = session else {
            return false;
        };
        let ctl = self.ctl[vdev].as_mut().expect("found above");
        let session = &ctl.sessions[index];
        if !session.started && !session.starting {
            return false;
        }
        let message = VdevMessage::Stop {
            session: session.id,
        };
        self.send_vdev(now, vdev, message);
        self.dpdk.result = None;
        self.dpdk.warn_at = now + STOP_WARNING;
        true
    }

    pub(super) fn get_vring_base(
        &mut self,
        cx: &mut Out<'_>,
        conn: ConnId,
        vring: VringIndex,
        session: Option<(usize, usize)>,
    ) -> TargetTurn {
        let turn = self.turn_of(conn, "GET_VRING_BASE", vring.0);
        let then = Then::VringBase(conn, vring);
        if self.begin_stop(cx.now, session) {
            self.dpdk.doing = Doing::Stopping {
                then,
                second: false,
            };
        } else {
            self.dpdk_stops(cx, then);
        }
        turn
    }

    pub(super) fn set_mem_table(
        &mut self,
        cx: &mut Out<'_>,
        conn: ConnId,
        memory: Memory,
        ack: bool,
        session: Option<(usize, usize)>,
    ) -> TargetTurn {
        let turn = self.turn_of(conn, "SET_MEM_TABLE", 0);
        if self.dev.has(Bug::MemtableNoStop) {
            self.unmap_rings(cx.now, session);
            self.new_memory(cx, conn, memory, ack, 0);
        } else if self.begin_stop(cx.now, session) {
            let (vdev, index) = session.expect("a stop has a session");
            let ctl = self.ctl[vdev].as_mut().expect("found above");
            ctl.sessions[index].needs_restart = true;
            let then = Then::Memory(conn, memory, ack);
            self.dpdk.doing = Doing::Stopping {
                then,
                second: false,
            };
        } else {
            self.new_memory(cx, conn, memory, ack, 0);
        }
        turn
    }

    /// The memory of a session's rings goes under its pollers (B33).
    fn unmap_rings(&mut self, now: Time, session: Option<(usize, usize)>) {
        let Some((vdev, index)) = session else {
            return;
        };
        let ctl = self.ctl[vdev].as_mut().expect("found above");
        let session = &mut ctl.sessions[index];
        if !session.polled {
            return;
        }
        for ring in session.vrings.iter_mut().filter(|ring| ring.live) {
            (ring.lost, ring.look) = (Some(Lost::Unmapped), true);
        }
        ctl.poll_at = ctl.poll_at.min(now);
        self.touch_vdev(vdev);
    }

    pub(super) fn connection_closed(&mut self, cx: &mut Out<'_>, conn: ConnId) -> TargetTurn {
        let turn = self.turn_of(conn, "DISCONNECT", 0);
        let Some(device) = self.dpdk.device(conn) else {
            return turn;
        };
        // `vhost_destroy_device_notify` first, if DPDK thinks that the device runs.
        let running = std::mem::take(&mut device.running);
        let session = self.session_of(conn);
        let then = Then::Closed(conn);
        if running && self.begin_stop(cx.now, session) {
            self.dpdk.doing = Doing::Stopping {
                then,
                second: false,
            };
        } else {
            self.dpdk_stops(cx, then);
        }
        turn
    }

    pub(super) fn stop_returned(
        &mut self,
        cx: &mut Out<'_>,
        then: Then,
        second: bool,
        ok: bool,
    ) -> TargetTurn {
        let conn = match &then {
            Then::VringBase(conn, _) | Then::Memory(conn, ..) | Then::Closed(conn) => *conn,
        };
        let turn = self.turn_of(conn, "STOPPED", 0);
        let mut max_queues = 0;
        if ok {
            max_queues = self.save_bases(conn);
        } else {
            let vid = self.dpdk.device(conn).map_or(0, |device| device.vid);
            self.log(cx, format!("Couldn't stop device with vid {vid}."));
        }
        if let Then::Memory(conn, memory, ack) = then {
            self.new_memory(cx, conn, memory, ack, max_queues);
        } else if second {
            self.stops_over(cx, then);
        } else {
            self.dpdk_stops(cx, then);
        }
        turn
    }

    /// `_stop_session`, once the session has stopped: where each ring goes on is DPDK's to know.
    /// Says how many rings there were.
    fn save_bases(&mut self, conn: ConnId) -> u16 {
        let Some((vdev, index)) = self.session_of(conn) else {
            return 0;
        };
        let Some(device) = self
            .dpdk
            .devices
            .iter_mut()
            .find(|device| device.conn == conn)
        else {
            return 0;
        };
        let ctl = self.ctl[vdev].as_mut().expect("found above");
        let session = &mut ctl.sessions[index];
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
    fn dpdk_stops(&mut self, cx: &mut Out<'_>, then: Then) {
        let conn = match &then {
            Then::VringBase(conn, _) | Then::Memory(conn, ..) | Then::Closed(conn) => *conn,
        };
        let again = match then {
            // Only a device that DPDK thinks is running is destroyed; then it is not any more.
            Then::VringBase(..) | Then::Memory(..) => self
                .dpdk
                .device(conn)
                .is_some_and(|device| std::mem::take(&mut device.running)),
            // `destroy_connection` stops what is started still.
            Then::Closed(..) => true,
        };
        let session = self.session_of(conn);
        if again && self.begin_stop(cx.now, session) {
            self.dpdk.doing = Doing::Stopping { then, second: true };
        } else {
            self.stops_over(cx, then);
        }
    }

    fn stops_over(&mut self, cx: &mut Out<'_>, then: Then) {
        match then {
            Then::VringBase(conn, vring) => {
                let Some(device) = self.dpdk.device(conn) else {
                    return;
                };
                let base = device.ring(vring).map_or(0, |ring| {
                    (ring.mapped, ring.kicked) = (false, false);
                    ring.layout.last_avail
                });
                let reply = VhostUserReply::VringBase { vring, base };
                cx.out.push(FromTarget::Answer { conn, reply });
            }
            Then::Memory(conn, memory, ack) => self.new_memory(cx, conn, memory, ack, 0),
            Then::Closed(conn) => self.forget_connection(cx, conn),
        }
    }

    /// The memory table is replaced; a session that ran is set up and started again.
    fn new_memory(
        &mut self,
        cx: &mut Out<'_>,
        conn: ConnId,
        memory: Memory,
        ack: bool,
        rings: u16,
    ) {
        if let Some(device) = self.dpdk.device(conn) {
            for ring in &mut device.rings {
                ring.mapped = ring.kicked && mapped(&memory, &ring.layout);
            }
            device.memory = Some(memory.clone());
        }
        if let Some((vdev, index)) = self.session_of(conn) {
            let ctl = self.ctl[vdev].as_mut().expect("found above");
            let session = &mut ctl.sessions[index];
            if session.task_cnt == 0 {
                session.memory = Some(memory);
            }
            if std::mem::take(&mut session.needs_restart) && !session.started {
                for vring in (0..rings).map(VringIndex) {
                    let kicked = self
                        .dpdk
                        .device(conn)
                        .and_then(|device| device.ring(vring))
                        .is_some_and(|ring| ring.mapped);
                    if kicked && self.enable_ring(conn, vdev, index, vring) {
                        self.spurious_call(cx.now, vdev, index, vring.0);
                    }
                }
                self.schedule_start(cx.now, vdev, index);
            }
        }
        self.ack(cx, conn, ack, true);
    }

    /// `destroy_connection`: the session goes, unless it could not be stopped.
    fn forget_connection(&mut self, cx: &mut Out<'_>, conn: ConnId) {
        let session = self.session_of(conn);
        self.dpdk.devices.retain(|device| device.conn != conn);
        self.inflight.forget(conn);
        let Some((vdev, index)) = session else {
            return;
        };
        let leaks = self.dev.has(Bug::LeakedSession);
        let ctl = self.ctl[vdev].as_mut().expect("found above");
        let session = &mut ctl.sessions[index];
        if session.conn != conn {
            // The session of a dead namesake was found: its connection is gone already (N1).
            return;
        }
        if session.started || session.draining {
            if leaks {
                session.unmapped = true;
                self.log(
                    cx,
                    "failed to stop session on disconnect: it leaks".to_owned(),
                );
            } else {
                session.started = false;
                session.draining = true;
                session.gone = true;
            }
        } else {
            self.close_session(cx, vdev, index);
        }
    }
}
