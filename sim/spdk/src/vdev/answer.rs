//! Answers to requests: the response of a finished command, and what the end of a task sets free.
//!
//! Sources: `vhost_scsi_task_cpl`, `vhost_scsi_task_put` (lib/vhost/vhost_scsi.c); fact sheet §3.6.

use vm_memory::GuestAddress;

use super::release::drained_at_last;
use super::thread::VdevThread;
use super::used::used;
use crate::handles::{RingAt, TaskRef};
use crate::scsi::sense_bytes;
use wire::access::Access as _;
use wire::bugs::Bug;
use wire::component::Memory;
use wire::message::VringIndex;
use wire::scsi::{
    RESPONSE_RESID, RESPONSE_SENSE, RESPONSE_SIZE, RESPONSE_STATUS, response, status,
};

/// Writes the response of a finished command, and returns its head (`vhost_scsi_task_cpl`).
pub fn answer(vdev: &mut VdevThread<'_>, memory: &Memory, of: TaskRef) {
    let Some(task) = vdev.task(of) else {
        return;
    };
    let resid = task.length.wrapping_sub(task.transferred);
    let response = task.response;
    let at = |offset: u64| GuestAddress(response + offset);
    let mut wrote = memory.write_few(resid.to_le_bytes(), at(RESPONSE_RESID));
    if wrote.is_ok() {
        wrote = memory.write_few([task.status, response::OK], at(RESPONSE_STATUS));
    }
    if wrote.is_ok() && task.status != status::GOOD {
        let sense = task.sense.map(sense_bytes);
        let len = sense.map_or(0, |sense| sense.len() as u32);
        wrote = memory.write_at(&len.to_le_bytes(), at(0));
        if let Some(sense) = sense
            && wrote.is_ok()
        {
            wrote = memory.write_at(&sense, at(RESPONSE_SENSE));
        }
    }
    if wrote.is_err() {
        vdev.memory_gone("vhost_scsi_task_cpl: the response is not in guest memory");
        return;
    }
    put(vdev, memory, of);
}

/// Returns the head of a task, and the task to its array.
pub fn put(vdev: &mut VdevThread<'_>, memory: &Memory, of: TaskRef) {
    let bugs = vdev.shared.bugs;
    let Some(index) = vdev.own.session_index(of.session) else {
        return;
    };
    let session = &mut vdev.own.sessions[index];
    let Some(task) = session.task(of) else {
        return;
    };
    let mut len = task.used_len;
    if len > RESPONSE_SIZE && bugs.has(Bug::UsedLenZeroOnRead) {
        len = 0;
    }
    task.in_flight = false;
    let draining = session.draining;
    let ring = &session.vrings[usize::from(of.vring)];
    let old_life = ring.life != of.life;
    let live = ring.live;
    // An old completion lands in the new ring, if there is one (N2).
    if live && !draining && (!old_life || bugs.has(Bug::StaleCompletion)) {
        let at = RingAt {
            session: index,
            vring: VringIndex(of.vring),
        };
        used(vdev, memory, at, of.head, len);
    }
    task_gone(vdev, of);
}

/// A task has ended: counts it down and wakes who waited for that.
pub fn task_gone(vdev: &mut VdevThread<'_>, of: TaskRef) {
    let Some(session) = vdev.own.session(of.session) else {
        return;
    };
    if session.task_cnt == 0 {
        let text = format!("session {}: a task too many was put", session.id.0);
        vdev.cx.broken(scenarios::CheckId::I14, text);
    }
    session.task_cnt = session.task_cnt.saturating_sub(1);
    if session.task_cnt == 0 {
        session.drop_orphans();
        session.stop_soon(vdev.cx.now);
        if session.draining {
            drained_at_last(vdev, of.session);
        }
    }
}
