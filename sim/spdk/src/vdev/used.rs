//! Returning heads, and calling the driver for them.
//!
//! Sources: `vhost_vq_used_ring_enqueue`, `vhost_vq_used_signal` (lib/vhost/rte_vhost_user.c).

use super::parse::loops;
use super::thread::VdevThread;
use crate::handles::RingAt;
use wire::bugs::Bug;
use wire::component::{Memory, push_made};
use wire::message::{FromTarget, REQUESTQ, VringIndex};
use wire::scsi::feature;

/// What becomes of a call that the driver does not want now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Suppressed {
    /// It is made once the driver wants it: request queues.
    StaysDue,
    /// It is never made: control and event queues (N4).
    IsLost,
}

impl VdevThread<'_> {
    /// What becomes of suppressed calls of the control and event queues.
    pub fn suppressed_event_calls(&self) -> Suppressed {
        if self.shared.bugs.has(Bug::MgmtCallLost) {
            Suppressed::IsLost
        } else {
            Suppressed::StaysDue
        }
    }
}

/// Writes a used element.
pub fn used(vdev: &mut VdevThread<'_>, memory: &Memory, at: RingAt, head: u16, len: u32) {
    let ctl = &mut *vdev.own;
    let session = &mut ctl.sessions[at.session];
    let logs = session.has(feature::LOG_ALL);
    let conn = session.conn;
    let ring = &mut session.vrings[usize::from(at.vring.0)];
    if logs && loops(memory, ring.table(), ring.size(), head) && vdev.shared.bugs.has(Bug::LogLoop)
    {
        let place = "vhost_log_req_desc: a self-looping chain is logged for ever (S12)";
        vdev.die("hang", place);
        return;
    }
    if !ring.put_used(memory, head, len) {
        vdev.memory_gone("vhost_vq_used_ring_enqueue: the used ring is not in guest memory");
        return;
    }
    let used_index = ring.last_used();
    if !session.polled {
        // Signalled when the session stops.
    } else if at.vring >= REQUESTQ {
        ctl.poll_at = ctl.poll_at.min(vdev.cx.now);
    } else {
        session.manage(vdev.cx.now);
    }
    let inflight = &mut vdev.shared.inflight;
    inflight.returned(conn, at.vring.0, head, used_index);
}

/// Calls the driver for what was used, unless it wants no calls. Says whether the call stays due.
pub fn signal(vdev: &mut VdevThread<'_>, index: usize, vring: u16, suppressed: Suppressed) -> bool {
    let keep =
        suppressed == Suppressed::StaysDue && !vdev.shared.bugs.has(Bug::SuppressedIrqForgotten);
    let session = &mut vdev.own.sessions[index];
    let conn = session.conn;
    let Some(memory) = session.memory.as_ref() else {
        return false;
    };
    let Some(ring) = session.vrings.get_mut(usize::from(vring)) else {
        return false;
    };
    if !ring.live || ring.calls_due == 0 {
        return false;
    }
    let wants_none = ring.calls_suppressed(memory);
    if wants_none && keep {
        return true;
    }
    ring.calls_due = 0;
    if !wants_none && !ring.deaf {
        push_made(vdev.cx.out, || FromTarget::Call {
            conn,
            vring: VringIndex(vring),
        });
    }
    false
}

/// Calls the drivers of a controller's sessions for what was used in their request queues. Says whether a
/// call stays due.
pub fn signal_all(vdev: &mut VdevThread<'_>) -> bool {
    let mut is_due = false;
    for index in 0..vdev.own.sessions.len() {
        let session = &vdev.own.sessions[index];
        // A session that has stopped is signalled when it is over.
        let vrings = if session.polled {
            session.max_queues
        } else {
            0
        };
        for vring in REQUESTQ.0..vrings {
            is_due |= signal(vdev, index, vring, Suppressed::StaysDue);
        }
    }
    is_due
}
