//! The control queue and the management poller.
//!
//! Sources: `process_ctrl_request`, `vdev_mgmt_worker`, `process_removed_devs`
//! (lib/vhost/vhost_scsi.c); fact sheet §3.5. ABORT TASK and its like are not carried out.

use scenarios::{SlotState, Time};
use vm_memory::GuestAddress;

use super::address::{Addressed, address, lun_number};
use super::answer::put;
use super::chain::Walk;
use super::eventq::confess_missed;
use super::release::free_channel;
use super::requestq::ring_lost;
use super::reset::queue_reset;
use super::slot::Cause;
use super::thread::VdevThread;
use super::used::{signal, used};
use super::vring::{FullRing, POLL_MAX};
use crate::handles::{DevHandle, RingAt, SlotId, TaskRef};
use crate::turn::{ForeachOp, TargetTurn};
use wire::access::Access as _;
use wire::bugs::Bug;
use wire::component::Memory;
use wire::message::{CONTROLQ, EVENTQ, LogLevel};
use wire::scsi::{TMF_SIZE, response, tmf};

const T_AN_QUERY: u32 = 1;
const T_AN_SUBSCRIBE: u32 = 2;
/// Bytes of a task management response; also what SPDK says for any other control request.
const TMF_RESPONSE_SIZE: u32 = 1;
/// Bytes of an asynchronous notification response: le32 event_actual, response.
const AN_RESPONSE_SIZE: u32 = 5;

/// What to do with a control request.
enum Verdict {
    /// Return it with this length.
    Return(u32),
    /// Write this byte there, and return it with length 1.
    Respond(u64, u8),
    /// Reset the LUN; the response byte is there.
    Reset(DevHandle, u64),
    /// What SPDK does is to die.
    Die,
}

/// A run of the management poller of a session.
pub fn manage(vdev: &mut VdevThread<'_>, index: usize) -> TargetTurn {
    let controller = vdev.own.number;
    let own = &mut vdev.own.sessions[index];
    own.manage_at = Time::NEVER;
    let session = own.id;
    let both = own.has_ring(CONTROLQ.0) && own.has_ring(EVENTQ.0);
    let (mut control, mut drained) = (0, 0);
    if both || !vdev.shared.bugs.has(Bug::MgmtNeedsCtrlq) {
        drained = drain(vdev, index);
        control = poll_controlq(vdev, index);
        if !vdev.shared.is_dead {
            confess_missed(vdev, index);
            let suppressed = vdev.suppressed_event_calls();
            signal(vdev, index, CONTROLQ.0, suppressed);
            signal(vdev, index, EVENTQ.0, suppressed);
        }
    }
    TargetTurn::Manage {
        controller,
        session: session.0,
        control,
        drained,
    }
}

/// `process_removed_devs`: lets go of REMOVING devices whose LUN is idle. Says which slots, as a bit set.
fn drain(vdev: &mut VdevThread<'_>, index: usize) -> u8 {
    let mut drained = 0;
    for slot in SlotId::all() {
        let here = vdev.own.sessions[index].slots[slot.index()];
        let Some(dev) = here.dev else {
            continue;
        };
        if here.state != SlotState::Removing || !vdev.shared.devs.idle(dev) {
            continue;
        }
        drained |= 1 << slot.0;
        let ctl = &mut *vdev.own;
        ctl.move_session_slot(&mut vdev.cx, index, slot, Cause::Drained);
        ctl.sessions[index].slots[slot.index()].dev = None;
        free_channel(vdev, dev);
        let mail = &mut vdev.shared.mail;
        vdev.own
            .foreach(mail, vdev.cx.now, ForeachOp::ProcessRemoved, slot);
    }
    drained
}

fn poll_controlq(vdev: &mut VdevThread<'_>, index: usize) -> u16 {
    let full = FullRing::with(vdev.shared.bugs);
    let session = &mut vdev.own.sessions[index];
    let Some(memory) = session.memory.clone() else {
        return 0;
    };
    if let Some(lost) = session.vrings.first().and_then(|ring| ring.lost) {
        ring_lost(vdev, lost);
        return 0;
    }
    let Some(ring) = session.ring(CONTROLQ.0) else {
        return 0;
    };
    ring.look = false;
    let mut heads = [0; POLL_MAX];
    let (count, more) = ring.fetch(&memory, full, &mut heads);
    if more {
        session.manage(vdev.cx.now);
    }
    for head in &heads[..count] {
        control_request(vdev, &memory, index, *head);
        if vdev.shared.is_dead {
            break;
        }
    }
    count as u16
}

/// `process_ctrl_request`.
fn control_request(vdev: &mut VdevThread<'_>, memory: &Memory, index: usize, head: u16) {
    let ctl = &mut *vdev.own;
    let session = &mut ctl.sessions[index];
    let inflight = &mut vdev.shared.inflight;
    inflight.fetched(session.conn, CONTROLQ.0, head);
    let ring = &mut session.vrings[usize::from(CONTROLQ.0)];
    let (table, size, life) = (ring.table(), ring.size(), ring.life);
    let busy = ring.task(head).is_none_or(|task| task.in_flight);
    if busy {
        let name = ctl.session_name(index);
        vdev.log(
            LogLevel::Error,
            format!("{name}: request with idx '{head}' is already pending."),
        );
        let at = RingAt {
            session: index,
            vring: CONTROLQ,
        };
        used(vdev, memory, at, head, 0);
        return;
    }
    let of = TaskRef {
        vdev: ctl.vdev,
        vring: CONTROLQ.0,
        head,
        session: session.id,
        life,
    };
    ring.tasks[usize::from(head)].begin();
    session.task_cnt += 1;
    let walk = Walk::begin(memory, table, size, head);
    let verdict = walk.map_or(Verdict::Return(0), |walk| {
        judge(vdev, memory, index, head, walk)
    });
    let len = match verdict {
        Verdict::Return(used_len) => used_len,
        Verdict::Respond(byte, value) => {
            let wrote = memory.write_at(&[value], GuestAddress(byte)).is_ok();
            assert!(wrote, "the response was checked to be in memory");
            TMF_RESPONSE_SIZE
        }
        Verdict::Reset(dev, byte) => {
            let wrote = memory.write_at(&[response::OK], GuestAddress(byte)).is_ok();
            assert!(wrote, "the response was checked to be in memory");
            queue_reset(vdev, of, dev);
            return;
        }
        Verdict::Die => {
            vdev.die("SIGSEGV", "scsi_lun_append_mgmt_task: lun is NULL (S2)");
            return;
        }
    };
    if let Some(task) = vdev.task(of) {
        task.used_len = len;
    }
    put(vdev, memory, of);
}

fn judge(
    vdev: &mut VdevThread<'_>,
    memory: &Memory,
    index: usize,
    head: u16,
    mut walk: Walk<'_>,
) -> Verdict {
    let mut request = [0; TMF_SIZE as usize];
    let from = GuestAddress(walk.desc.addr);
    let readable = walk.holds(TMF_SIZE) && memory.read_at(&mut request, from).is_ok();
    if !readable {
        return Verdict::Return(0);
    }
    let word = |at: usize| {
        u32::from_le_bytes([
            request[at],
            request[at + 1],
            request[at + 2],
            request[at + 3],
        ])
    };
    let mut lun = [0; 8];
    lun.copy_from_slice(&request[8..16]);
    let bugs = vdev.shared.bugs;
    let session = &mut vdev.own.sessions[index];
    let addressed = address(session, lun, bugs, &vdev.shared.devs);
    let (slot_dev, present) = match addressed {
        Addressed::NullLun | Addressed::Lun(_) => {
            let slot = session.slots[usize::from(lun[1])];
            (slot.dev, slot.state == SlotState::Present)
        }
        Addressed::Nowhere | Addressed::Empty => (None, false),
    };
    let task = &mut session.vrings[usize::from(CONTROLQ.0)].tasks[usize::from(head)];
    // A badly addressed request leaves the head's previous device in place (S3).
    let stale = addressed == Addressed::Nowhere && bugs.has(Bug::TmfStaleDev);
    if !stale {
        task.dev = slot_dev;
    }
    let dev = task.dev;
    if !matches!(walk.next(), Ok(true)) {
        return Verdict::Return(0);
    }
    let (byte, len) = (walk.desc.addr, walk.desc.len);
    let holds = |size| len >= size && walk.holds(size);
    match word(0) {
        tmf::TYPE if !holds(TMF_RESPONSE_SIZE) => Verdict::Return(0),
        tmf::TYPE if dev.is_none() => Verdict::Respond(byte, response::BAD_TARGET),
        tmf::TYPE if word(4) == tmf::LOGICAL_UNIT_RESET => match addressed {
            Addressed::Lun(dev) => Verdict::Reset(dev, byte),
            Addressed::Nowhere | Addressed::Empty | Addressed::NullLun => {
                if bugs.has(Bug::TmfNullLun) {
                    Verdict::Die
                } else if present && lun_number(lun) != 0 {
                    Verdict::Respond(byte, response::INCORRECT_LUN)
                } else {
                    Verdict::Respond(byte, response::BAD_TARGET)
                }
            }
        },
        tmf::TYPE => Verdict::Respond(byte, response::ABORTED),
        T_AN_QUERY | T_AN_SUBSCRIBE if !holds(AN_RESPONSE_SIZE) => Verdict::Return(0),
        T_AN_QUERY | T_AN_SUBSCRIBE => Verdict::Respond(byte + 4, response::ABORTED),
        _ => Verdict::Return(TMF_RESPONSE_SIZE),
    }
}
