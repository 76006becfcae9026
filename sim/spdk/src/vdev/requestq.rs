//! Request queues: taking requests, in SPDK's order of checks.
//!
//! Sources: `process_vq`, `process_scsi_task`, `task_data_setup` (lib/vhost/vhost_scsi.c); fact sheet
//! §3.3, §3.6, §3.7. What a command does is in `execute`; moving data is in `datapath`.

use scenarios::Time;
use vm_memory::GuestAddress;

use super::address::{Addressed, address};
use super::answer::put;
use super::chain::Malformed;
use super::controller::POLL_AFTER;
use super::execute::{null_lun, queue_task};
use super::parse::{find_response, parse, spins};
use super::thread::VdevThread;
use super::used::{Suppressed, signal, used};
use super::vring::{FullRing, Lost, POLL_MAX};
use crate::handles::{RingAt, TaskRef};
use crate::turn::TargetTurn;
use wire::access::Access as _;
use wire::bugs::Bug;
use wire::component::Memory;
use wire::message::{LogLevel, REQUESTQ, VringIndex};
use wire::scsi::{RESPONSE_RESPONSE, RESPONSE_SIZE, response};

/// A poll of a controller's request queues.
pub fn poll(vdev: &mut VdevThread<'_>) -> TargetTurn {
    let mut requests = 0;
    vdev.own.poll_at = Time::NEVER;
    for index in 0..vdev.own.sessions.len() {
        if !vdev.shared.is_dead {
            requests += poll_session(vdev, index);
        }
    }
    vdev.own.polled(vdev.cx.now);
    TargetTurn::Poll {
        controller: vdev.own.number,
        requests,
    }
}

fn poll_session(vdev: &mut VdevThread<'_>, index: usize) -> u16 {
    let session = &vdev.own.sessions[index];
    if !session.polled {
        return 0;
    }
    let mut requests = 0;
    for vring in REQUESTQ.0..session.max_queues {
        let vrings = &mut vdev.own.sessions[index].vrings;
        let Some(ring) = vrings.get_mut(usize::from(vring)) else {
            continue;
        };
        if !ring.look && ring.calls_due == 0 {
            continue;
        }
        if let Some(lost) = ring.lost {
            ring_lost(vdev, lost);
            return requests;
        }
        if !ring.live {
            continue;
        }
        ring.look = false;
        requests += poll_ring(vdev, index, vring);
        if vdev.shared.is_dead {
            return requests;
        }
        signal(vdev, index, vring, Suppressed::StaysDue);
    }
    requests
}

/// The poller uses a ring that is not there any more.
pub fn ring_lost(vdev: &mut VdevThread<'_>, lost: Lost) {
    match lost {
        Lost::Zeroed => {
            let place = "vhost_vq_avail_ring_get: the ring was zeroed under the poller (S8)";
            vdev.die("SIGSEGV", place);
        }
        Lost::Unmapped => vdev.memory_gone(
            "vhost_vq_avail_ring_get: the ring's memory was unmapped under the poller (B33)",
        ),
    }
}

/// Takes up to 32 requests from a ring.
fn poll_ring(vdev: &mut VdevThread<'_>, index: usize, vring: u16) -> u16 {
    let full = FullRing::with(vdev.shared.bugs);
    let ctl = &mut *vdev.own;
    let session = &mut ctl.sessions[index];
    let Some(memory) = session.memory.clone() else {
        return 0;
    };
    let Some(ring) = session.ring(vring) else {
        return 0;
    };
    let mut heads = [0; POLL_MAX];
    let (count, more) = ring.fetch(&memory, full, &mut heads);
    if more {
        ring.look = true;
        ctl.poll_at = ctl.poll_at.min(vdev.cx.now + POLL_AFTER);
    }
    let again = std::mem::take(&mut ring.again);
    let at = RingAt {
        session: index,
        vring: VringIndex(vring),
    };
    for head in again.iter().chain(&heads[..count]) {
        serve(vdev, &memory, at, *head);
        if vdev.shared.is_dead {
            break;
        }
    }
    (count + again.len()) as u16
}

/// `process_scsi_task`: one request.
fn serve(vdev: &mut VdevThread<'_>, memory: &Memory, at: RingAt, head: u16) {
    let ctl = &mut *vdev.own;
    let session = &mut ctl.sessions[at.session];
    let vring = at.vring.0;
    let inflight = &mut vdev.shared.inflight;
    inflight.fetched(session.conn, vring, head);
    let ring = &mut session.vrings[usize::from(vring)];
    let (table, size, life) = (ring.table(), ring.size(), ring.life);
    let free = ring.task(head).filter(|task| !task.in_flight);
    let Some(task) = free else {
        let name = ctl.session_name(at.session);
        vdev.log(
            LogLevel::Error,
            if head < size {
                format!("{name}: request with idx '{head}' is already pending.")
            } else {
                format!("{name}: request idx '{head}' exceeds virtqueue size ({size}).")
            },
        );
        used(vdev, memory, at, head, 0);
        return;
    };
    task.begin();
    session.task_cnt += 1;
    let parsed = parse(memory, table, size, head, task);
    let of = TaskRef {
        vdev: ctl.vdev,
        vring,
        head,
        session: session.id,
        life,
    };
    let lun = match parsed {
        Ok(lun) => lun,
        Err(malformed) => {
            reject(vdev, memory, of, malformed);
            return;
        }
    };
    let addressed = address(session, lun, vdev.shared.bugs, &vdev.shared.devs);
    let task = &mut session.vrings[usize::from(vring)].tasks[usize::from(head)];
    match addressed {
        Addressed::Nowhere | Addressed::Empty => {
            let byte = GuestAddress(task.response + RESPONSE_RESPONSE);
            let wrote = memory.write_at(&[response::BAD_TARGET], byte).is_ok();
            assert!(wrote, "the response was checked to be in memory");
            put(vdev, memory, of);
        }
        Addressed::NullLun => null_lun(vdev, memory, of),
        Addressed::Lun(dev) => {
            task.dev = Some(dev);
            queue_task(vdev, memory, of, dev);
        }
    }
}

/// A malformed request: returned with length 0, its response untouched (S7); or answered FAILURE
/// where a response can be found.
fn reject(vdev: &mut VdevThread<'_>, memory: &Memory, of: TaskRef, why: Malformed) {
    let bugs = vdev.shared.bugs;
    let untouched = bugs.has(Bug::RejectUntouched);
    let Some(session) = vdev.own.session(of.session) else {
        return;
    };
    let ring = &session.vrings[usize::from(of.vring)];
    let (table, size) = (ring.table(), ring.size());
    if bugs.has(Bug::ZeroLenNotCounted) && spins(memory, table, size, of.head) {
        let place = "task_data_setup: a circular chain of empty descriptors (B46)";
        vdev.die("hang", place);
        return;
    }
    let found = if untouched {
        None
    } else {
        find_response(memory, table, size, of.head)
    };
    let Some(task) = session.task(of) else {
        return;
    };
    task.used_len = 0;
    if let Some(at) = found {
        let byte = GuestAddress(at + RESPONSE_RESPONSE);
        if memory.write_at(&[response::FAILURE], byte).is_ok() {
            task.used_len = RESPONSE_SIZE;
        }
    } else if !untouched {
        vdev.shared.unanswerable += 1;
    }
    vdev.log(
        LogLevel::Warn,
        format!("invalid request at index {}: {}", of.head, why.0),
    );
    put(vdev, memory, of);
    if bugs.has(Bug::LeakTaskOnReject)
        && let Some(session) = vdev.own.session(of.session)
    {
        session.task_cnt += 1;
    }
}
