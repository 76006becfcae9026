//! Request queues: taking requests, SPDK's order of checks, answers.
//!
//! Sources: `process_vq`, `process_scsi_task`, `task_data_setup`, `vhost_scsi_task_init_target`,
//! `vhost_scsi_task_cpl` (lib/vhost/vhost_scsi.c); fact sheet §3.3, §3.6, §3.7. What a command does
//! is in `execute`; moving data is in `datapath`.

use std::time::Duration;

use scenarios::{SlotState, Time};
use vm_memory::GuestAddress;

use super::chain::Malformed;
use super::controller::Controller;
use super::lun::DevHandle;
use super::parse::{find_response, loops, parse, spins};
use super::scsi::sense_bytes;
use super::session::{SLOTS, Session};
use super::task::TaskRef;
use super::turn::TargetTurn;
use super::vring::{Lost, POLL_MAX};
use super::{Out, Target};
use wire::access::Access as _;
use wire::bugs::{Bug, Bugs};
use wire::component::{Memory, push_made};
use wire::message::{FromTarget, REQUESTQ, VringIndex};
use wire::scsi::{
    RESPONSE_RESID, RESPONSE_RESPONSE, RESPONSE_SENSE, RESPONSE_SIZE, RESPONSE_STATUS, feature,
    response, status,
};

/// The request queues are polled every reactor turn: so long after something is there.
pub const POLL_AFTER: Duration = Duration::from_micros(1);

/// What a LUN address means to a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Addressed {
    /// Malformed, or no such slot.
    Nowhere,
    /// A slot that is EMPTY.
    Empty,
    /// There is, or was, a device, but no such LUN: the null-LUN answers.
    NullLun(Option<DevHandle>),
    /// A LUN.
    Lun(DevHandle),
}

impl Controller {
    /// What was used during a poll was signalled at its end, so that it wants no poll of its own: only
    /// what the driver did not want to be called for then is looked at once more.
    fn polled(&mut self, now: Time) {
        let sessions = self.sessions.iter().filter(|session| session.polled);
        let rings = sessions.flat_map(|session| session.vrings.iter().skip(REQUESTQ.0.into()));
        let mut next = Time::NEVER;
        for ring in rings {
            if ring.calls_due > 0 {
                return;
            }
            if ring.look && ring.live {
                next = now + POLL_AFTER;
            }
        }
        self.poll_at = next;
    }
}

impl Target {
    /// A poll of a controller's request queues.
    pub fn poll(&mut self, cx: &mut Out<'_>, vdev: usize) -> TargetTurn {
        let mut requests = 0;
        let ctl = self.ctl[vdev]
            .as_mut()
            .expect("a thread has its controller");
        let controller = ctl.number;
        ctl.poll_at = Time::NEVER;
        for session in 0..ctl.sessions.len() {
            if !self.dead {
                requests += self.poll_session(cx, vdev, session);
            }
        }
        if let Some(ctl) = self.ctl[vdev].as_mut() {
            ctl.polled(cx.now);
        }
        TargetTurn::Poll {
            controller,
            requests,
        }
    }

    /// Calls the drivers of a controller's sessions for what was used in their request queues. Says whether a
    /// call stays due.
    pub fn signal_all(&mut self, cx: &mut Out<'_>, vdev: usize) -> bool {
        let mut is_due = false;
        let sessions = self.ctl[vdev].as_ref().map_or(0, |ctl| ctl.sessions.len());
        for index in 0..sessions {
            let ctl = self.ctl[vdev].as_ref().expect("it has sessions");
            let session = &ctl.sessions[index];
            // A session that has stopped is signalled when it is over.
            let vrings = if session.polled {
                session.max_queues
            } else {
                0
            };
            for vring in REQUESTQ.0..vrings {
                is_due |= self.signal(cx, vdev, index, vring, true);
            }
        }
        is_due
    }

    fn poll_session(&mut self, cx: &mut Out<'_>, vdev: usize, index: usize) -> u16 {
        let ctl = self.ctl[vdev]
            .as_mut()
            .expect("a thread has its controller");
        let session = &mut ctl.sessions[index];
        if !session.polled {
            return 0;
        }
        let mut requests = 0;
        for vring in REQUESTQ.0..session.max_queues {
            let ctl = self.ctl[vdev]
                .as_mut()
                .expect("a thread has its controller");
            let Some(ring) = ctl.sessions[index].vrings.get_mut(usize::from(vring)) else {
                continue;
            };
            if !ring.look && ring.calls_due == 0 {
                continue;
            }
            if let Some(lost) = ring.lost {
                self.ring_lost(cx, lost);
                return requests;
            }
            if !ring.live {
                continue;
            }
            ring.look = false;
            requests += self.poll_ring(cx, vdev, index, vring);
            if self.dead {
                return requests;
            }
            self.signal(cx, vdev, index, vring, true);
        }
        requests
    }

    /// The poller uses a ring that is not there any more.
    pub fn ring_lost(&mut self, cx: &mut Out<'_>, lost: Lost) {
        match lost {
            Lost::Zeroed => self.die(
                cx,
                "SIGSEGV",
                "vhost_vq_avail_ring_get: the ring was zeroed under the poller (S8)",
            ),
            Lost::Unmapped => self.memory_gone(
                cx,
                "vhost_vq_avail_ring_get: the ring's memory was unmapped under the poller (B33)",
            ),
        }
    }

    /// Takes up to 32 requests from a ring.
    fn poll_ring(&mut self, cx: &mut Out<'_>, vdev: usize, index: usize, vring: u16) -> u16 {
        let full_is_empty = self.dev.has(Bug::FullRingIsEmpty);
        let ctl = self.ctl[vdev]
            .as_mut()
            .expect("a thread has its controller");
        let session = &mut ctl.sessions[index];
        let Some(memory) = session.memory.clone() else {
            return 0;
        };
        let Some(ring) = session.ring(vring) else {
            return 0;
        };
        let mut heads = [0; POLL_MAX];
        let (count, more) = ring.fetch(&memory, full_is_empty, &mut heads);
        if more {
            ring.look = true;
            ctl.poll_at = ctl.poll_at.min(cx.now + POLL_AFTER);
        }
        let again = std::mem::take(&mut ring.again);
        for head in again.iter().chain(&heads[..count]) {
            self.serve(cx, &memory, (vdev, index, vring), *head);
            if self.dead {
                break;
            }
        }
        (count + again.len()) as u16
    }

    /// `process_scsi_task`: one request.
    fn serve(&mut self, cx: &mut Out<'_>, memory: &Memory, at: (usize, usize, u16), head: u16) {
        let (vdev, index, vring) = at;
        let dev = self.dev;
        let ctl = self.ctl[vdev]
            .as_mut()
            .expect("a thread has its controller");
        let session = &mut ctl.sessions[index];
        let id = session.id;
        self.inflight.fetched(session.conn, vring, head);
        let ring = &mut session.vrings[usize::from(vring)];
        let (table, size, life) = (ring.table(), ring.size(), ring.life);
        let free = ring.task(head).filter(|task| !task.in_flight);
        let Some(task) = free else {
            let text = if head < size {
                format!(
                    "{}s{}: request with idx '{head}' is already pending.",
                    ctl.name, session.vid
                )
            } else {
                format!(
                    "{}s{}: request idx '{head}' exceeds virtqueue size ({size}).",
                    ctl.name, session.vid
                )
            };
            self.log(cx, text);
            self.used(cx, memory, at, head, 0);
            return;
        };
        task.begin();
        session.task_cnt += 1;
        let parsed = parse(memory, table, size, head, task);
        let of = TaskRef {
            vdev: vdev as u8,
            vring,
            head,
            session: id,
            life,
        };
        let lun = match parsed {
            Ok(lun) => lun,
            Err(malformed) => {
                self.reject(cx, memory, of, malformed);
                return;
            }
        };
        let addressed = address(session, lun, dev, &self.devs);
        let task = &mut session.vrings[usize::from(vring)].tasks[usize::from(head)];
        match addressed {
            Addressed::Nowhere | Addressed::Empty => {
                let byte = GuestAddress(task.response + RESPONSE_RESPONSE);
                let wrote = memory.write_at(&[response::BAD_TARGET], byte).is_ok();
                debug_assert!(wrote, "the response was checked to be in memory");
                self.put(cx, memory, of);
            }
            Addressed::NullLun(_) => self.null_lun(cx, memory, of),
            Addressed::Lun(dev) => {
                task.dev = Some(dev);
                self.queue_task(cx, memory, of, dev);
            }
        }
    }

    /// A malformed request: returned with length 0, its response untouched (S7); or answered FAILURE
    /// where a response can be found.
    fn reject(&mut self, cx: &mut Out<'_>, memory: &Memory, of: TaskRef, why: Malformed) {
        let untouched = self.dev.has(Bug::RejectUntouched);
        let counts_none = self.dev.has(Bug::ZeroLenNotCounted);
        let leaks = self.dev.has(Bug::LeakTaskOnReject);
        let Some(session) = self.session(of) else {
            return;
        };
        let ring = &session.vrings[usize::from(of.vring)];
        if counts_none && spins(memory, ring.table(), ring.size(), of.head) {
            let place = "task_data_setup: a circular chain of empty descriptors (B46)";
            self.die(cx, "hang", place);
            return;
        }
        let found = if untouched {
            None
        } else {
            find_response(memory, ring.table(), ring.size(), of.head)
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
            self.unanswerable += 1;
        }
        self.log(
            cx,
            format!("invalid request at index {}: {}", of.head, why.0),
        );
        self.put(cx, memory, of);
        if leaks && let Some(session) = self.session(of) {
            session.task_cnt += 1;
        }
    }

    /// Writes the response of a finished command, and returns its head (`vhost_scsi_task_cpl`).
    pub fn answer(&mut self, cx: &mut Out<'_>, memory: &Memory, of: TaskRef) {
        let Some(task) = self.session(of).and_then(|session| session.task(of)) else {
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
            self.memory_gone(
                cx,
                "vhost_scsi_task_cpl: the response is not in guest memory",
            );
            return;
        }
        self.put(cx, memory, of);
    }

    /// Returns the head of a task, and the task to its array.
    pub fn put(&mut self, cx: &mut Out<'_>, memory: &Memory, of: TaskRef) {
        let short = self.dev.has(Bug::UsedLenZeroOnRead);
        let Some(index) = self.session_index(of) else {
            return;
        };
        let vdev = usize::from(of.vdev);
        let ctl = self.ctl[vdev].as_mut().expect("it has the session");
        let session = &mut ctl.sessions[index];
        let Some(task) = session.task(of) else {
            return;
        };
        let mut len = task.used_len;
        if len > RESPONSE_SIZE && short {
            len = 0;
        }
        task.in_flight = false;
        let draining = session.draining;
        let ring = &session.vrings[usize::from(of.vring)];
        let old_life = ring.life != of.life;
        let live = ring.live;
        // An old completion lands in the new ring, if there is one (N2).
        if live && !draining && (!old_life || self.dev.has(Bug::StaleCompletion)) {
            self.used(cx, memory, (vdev, index, of.vring), of.head, len);
        }
        self.task_gone(cx, of);
    }

    /// A task has ended: counts it down and wakes who waited for that.
    pub fn task_gone(&mut self, cx: &mut Out<'_>, of: TaskRef) {
        let Some(session) = self.session(of) else {
            return;
        };
        if session.task_cnt == 0 {
            let text = format!("session {}: a task too many was put", session.id);
            cx.broken(scenarios::CheckId::I14, text);
        }
        session.task_cnt = session.task_cnt.saturating_sub(1);
        if session.task_cnt == 0 {
            session.drop_orphans();
            session.stop_soon(cx.now);
            if session.draining {
                self.drained_at_last(cx, of);
            }
        }
    }

    /// Writes a used element.
    pub fn used(
        &mut self,
        cx: &mut Out<'_>,
        memory: &Memory,
        at: (usize, usize, u16),
        head: u16,
        len: u32,
    ) {
        let (vdev, index, vring) = at;
        let ctl = self.ctl[vdev]
            .as_mut()
            .expect("a thread has its controller");
        let session = &mut ctl.sessions[index];
        let logs = session.has(feature::LOG_ALL);
        let conn = session.conn;
        let ring = &mut session.vrings[usize::from(vring)];
        if logs && loops(memory, ring.table(), ring.size(), head) && self.dev.has(Bug::LogLoop) {
            self.die(
                cx,
                "hang",
                "vhost_log_req_desc: a self-looping chain is logged for ever (S12)",
            );
            return;
        }
        if !ring.put_used(memory, head, len) {
            self.memory_gone(
                cx,
                "vhost_vq_used_ring_enqueue: the used ring is not in guest memory",
            );
            return;
        }
        let used_index = ring.last_used();
        if !session.polled {
            // Signalled when the session stops.
        } else if vring >= REQUESTQ.0 {
            ctl.poll_at = ctl.poll_at.min(cx.now);
        } else {
            session.manage(cx.now);
        }
        self.inflight.returned(conn, vring, head, used_index);
    }

    /// Calls the driver for what was used, unless it wants no calls (`vhost_vq_used_signal`).
    ///
    /// Of a request queue, a suppressed call stays due; of the control and event queues it is lost
    /// (N4). Says whether it stays due.
    pub fn signal(
        &mut self,
        cx: &mut Out<'_>,
        vdev: usize,
        index: usize,
        vring: u16,
        keep: bool,
    ) -> bool {
        let keep = keep && !self.dev.has(Bug::SuppressedIrqForgotten);
        let ctl = self.ctl[vdev]
            .as_mut()
            .expect("a thread has its controller");
        let session = &mut ctl.sessions[index];
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
        let suppressed = ring.calls_suppressed(memory);
        if suppressed && keep {
            return true;
        }
        ring.calls_due = 0;
        if !suppressed && !ring.deaf {
            push_made(cx.out, || FromTarget::Call {
                conn,
                vring: VringIndex(vring),
            });
        }
        false
    }
}

/// `vhost_scsi_task_init_target`: what a LUN address means to this session.
#[must_use]
pub fn address(
    session: &Session,
    lun: [u8; 8],
    dev: Bugs,
    devs: &super::lun::Devices,
) -> Addressed {
    let target = usize::from(lun[1]);
    if lun[0] != 1 || target >= SLOTS {
        return Addressed::Nowhere;
    }
    let slot = &session.slots[target];
    let serves = match slot.state {
        SlotState::Empty | SlotState::Adding => return Addressed::Empty,
        SlotState::Removed => return Addressed::NullLun(None),
        SlotState::Removing => dev.has(Bug::RemovingAcceptsIo),
        SlotState::Present => true,
    };
    let number = u16::from_be_bytes([lun[2], lun[3]]) & 0x3fff;
    let found = slot.dev.filter(|dev| {
        let lun = devs.get(*dev).and_then(|dev| dev.lun.as_ref());
        number == 0 && lun.is_some_and(|lun| !lun.removed)
    });
    match found {
        Some(dev) if serves => Addressed::Lun(dev),
        _ => Addressed::NullLun(slot.dev),
    }
}
