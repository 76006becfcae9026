//! The control queue and the management poller.
//!
//! Sources: `process_ctrl_request`, `vdev_mgmt_worker`, `process_removed_devs`
//! (lib/vhost/vhost_scsi.c); fact sheet §3.5. ABORT TASK and its like are not carried out.

use scenarios::SlotState;
use vm_memory::GuestAddress;

use super::bdev::io::{IoKind, Request};
use super::chain::Walk;
use super::lun::DevHandle;
use super::requestq::{Addressed, address};
use super::slot::Cause;
use super::task::{Task, TaskRef};
use super::turn::{ForeachOp, TargetTurn};
use super::vring::POLL_MAX;
use super::{Out, Target};
use wire::access::Access as _;
use wire::bugs::Bug;
use wire::component::Memory;
use wire::message::{CONTROLQ, EVENTQ};
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

impl Target {
    /// A run of the management poller of a session.
    pub fn manage(&mut self, cx: &mut Out<'_>, vdev: usize, index: usize) -> TargetTurn {
        let ctl = self.ctl[vdev]
            .as_mut()
            .expect("a thread has its controller");
        let controller = ctl.number;
        let session = &mut ctl.sessions[index];
        session.manage_at = scenarios::Time::NEVER;
        let id = session.id;
        let both = session.has_ring(CONTROLQ.0) && session.has_ring(EVENTQ.0);
        let mut turn = TargetTurn::Manage {
            controller,
            session: id,
            control: 0,
            drained: 0,
        };
        if self.dev.has(Bug::MgmtNeedsCtrlq) && !both {
            return turn;
        }
        let drained_now = self.drain(cx, vdev, index);
        let requests = self.poll_controlq(cx, vdev, index);
        if let TargetTurn::Manage {
            control, drained, ..
        } = &mut turn
        {
            (*control, *drained) = (requests, drained_now);
        }
        if self.dead {
            return turn;
        }
        self.confess_missed(cx, vdev, index);
        let keep = !self.dev.has(Bug::MgmtCallLost);
        self.signal(cx, vdev, index, CONTROLQ.0, keep);
        self.signal(cx, vdev, index, EVENTQ.0, keep);
        turn
    }

    /// `process_removed_devs`: lets go of REMOVING devices whose LUN is idle.
    fn drain(&mut self, cx: &mut Out<'_>, vdev: usize, index: usize) -> u8 {
        let mut drained = 0;
        for slot in 0..super::session::SLOTS {
            let ctl = self.ctl[vdev]
                .as_mut()
                .expect("a thread has its controller");
            let here = ctl.sessions[index].slots[slot];
            let Some(dev) = here.dev else {
                continue;
            };
            if here.state != SlotState::Removing || !self.devs.idle(dev) {
                continue;
            }
            drained |= 1 << slot;
            ctl.move_session_slot(cx, index, slot, Cause::Drained);
            ctl.sessions[index].slots[slot].dev = None;
            self.free_channel(cx, dev);
            self.foreach(cx.now, vdev, ForeachOp::ProcessRemoved, slot);
        }
        drained
    }

    fn poll_controlq(&mut self, cx: &mut Out<'_>, vdev: usize, index: usize) -> u16 {
        let full_is_empty = self.dev.has(Bug::FullRingIsEmpty);
        let ctl = self.ctl[vdev]
            .as_mut()
            .expect("a thread has its controller");
        let session = &mut ctl.sessions[index];
        let Some(memory) = session.memory.clone() else {
            return 0;
        };
        if let Some(lost) = session.vrings.first().and_then(|ring| ring.lost) {
            self.ring_lost(cx, lost);
            return 0;
        }
        let Some(ring) = session.ring(CONTROLQ.0) else {
            return 0;
        };
        ring.look = false;
        let mut heads = [0; POLL_MAX];
        let (count, more) = ring.fetch(&memory, full_is_empty, &mut heads);
        if more {
            session.manage(cx.now);
        }
        for head in &heads[..count] {
            self.control_request(cx, &memory, (vdev, index), *head);
            if self.dead {
                break;
            }
        }
        count as u16
    }

    /// `process_ctrl_request`.
    fn control_request(
        &mut self,
        cx: &mut Out<'_>,
        memory: &Memory,
        at: (usize, usize),
        head: u16,
    ) {
        let (vdev, index) = at;
        let ctl = self.ctl[vdev]
            .as_mut()
            .expect("a thread has its controller");
        let session = &mut ctl.sessions[index];
        self.inflight.fetched(session.conn, CONTROLQ.0, head);
        let ring = &mut session.vrings[usize::from(CONTROLQ.0)];
        let (size, life) = (ring.size(), ring.life);
        let busy = ring.task(head).is_none_or(|task| task.in_flight);
        if busy {
            let name = format!("{}s{}", ctl.name, session.vid);
            self.log(
                cx,
                format!("{name}: request with idx '{head}' is already pending."),
            );
            self.used(cx, memory, (vdev, index, CONTROLQ.0), head, 0);
            return;
        }
        let of = TaskRef {
            vdev: vdev as u8,
            vring: CONTROLQ.0,
            head,
            session: session.id,
            life,
        };
        ring.tasks[usize::from(head)].begin();
        session.task_cnt += 1;
        let table = session.vrings[usize::from(CONTROLQ.0)].table();
        let walk = Walk::begin(memory, table, size, head);
        let verdict = walk.map_or(Verdict::Return(0), |walk| {
            self.judge(memory, (vdev, index), head, walk)
        });
        let len = match verdict {
            Verdict::Return(used_len) => used_len,
            Verdict::Respond(byte, value) => {
                let wrote = memory.write_at(&[value], GuestAddress(byte)).is_ok();
                debug_assert!(wrote, "the response was checked to be in memory");
                TMF_RESPONSE_SIZE
            }
            Verdict::Reset(dev, byte) => {
                let wrote = memory.write_at(&[response::OK], GuestAddress(byte)).is_ok();
                debug_assert!(wrote, "the response was checked to be in memory");
                self.queue_reset(cx, of, dev);
                return;
            }
            Verdict::Die => {
                self.die(cx, "SIGSEGV", "scsi_lun_append_mgmt_task: lun is NULL (S2)");
                return;
            }
        };
        if let Some(task) = self.session(of).and_then(|session| session.task(of)) {
            task.used_len = len;
        }
        self.put(cx, memory, of);
    }

    fn judge(
        &mut self,
        memory: &Memory,
        at: (usize, usize),
        head: u16,
        mut walk: Walk<'_>,
    ) -> Verdict {
        let mut request = [0; TMF_SIZE as usize];
        let readable = walk.holds(TMF_SIZE)
            && memory
                .read_at(&mut request, GuestAddress(walk.desc.addr))
                .is_ok();
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
        let ctl = self.ctl[at.0]
            .as_mut()
            .expect("a thread has its controller");
        let session = &mut ctl.sessions[at.1];
        let addressed = address(session, lun, self.dev, &self.devs);
        let (slot_dev, present) = match addressed {
            Addressed::NullLun(_) | Addressed::Lun(_) => {
                let slot = session.slots[usize::from(lun[1])];
                (slot.dev, slot.state == SlotState::Present)
            }
            Addressed::Nowhere | Addressed::Empty => (None, false),
        };
        let other_lun = u16::from_be_bytes([lun[2], lun[3]]) & 0x3fff != 0;
        let task = &mut session.vrings[usize::from(CONTROLQ.0)].tasks[usize::from(head)];
        // A badly addressed request leaves the head's previous device in place (S3).
        let stale = addressed == Addressed::Nowhere && self.dev.has(Bug::TmfStaleDev);
        if !stale {
            task.dev = slot_dev;
        }
        let dev = task.dev;
        if !matches!(walk.next(), Ok(true)) {
            return Verdict::Return(0);
        }
        let (byte, desc_len) = (walk.desc.addr, walk.desc.len);
        match word(0) {
            tmf::TYPE => {
                if desc_len < TMF_RESPONSE_SIZE || !walk.holds(TMF_RESPONSE_SIZE) {
                    return Verdict::Return(0);
                }
                let Some(_) = dev else {
                    return Verdict::Respond(byte, response::BAD_TARGET);
                };
                if word(4) == tmf::LOGICAL_UNIT_RESET {
                    self.judge_reset(addressed, present && other_lun, byte)
                } else {
                    Verdict::Respond(byte, response::ABORTED)
                }
            }
            T_AN_QUERY | T_AN_SUBSCRIBE => {
                if desc_len < AN_RESPONSE_SIZE || !walk.holds(AN_RESPONSE_SIZE) {
                    return Verdict::Return(0);
                }
                Verdict::Respond(byte + 4, response::ABORTED)
            }
            _ => Verdict::Return(TMF_RESPONSE_SIZE),
        }
    }

    fn judge_reset(&self, addressed: Addressed, other_lun: bool, byte: u64) -> Verdict {
        if let Addressed::Lun(dev) = addressed {
            return Verdict::Reset(dev, byte);
        }
        if self.dev.has(Bug::TmfNullLun) {
            return Verdict::Die;
        }
        if other_lun {
            Verdict::Respond(byte, response::INCORRECT_LUN)
        } else {
            Verdict::Respond(byte, response::BAD_TARGET)
        }
    }

    /// `scsi_lun_append_mgmt_task`: resets of a LUN come one after the other.
    fn queue_reset(&mut self, cx: &mut Out<'_>, of: TaskRef, dev: DevHandle) {
        let Some(lun) = self.devs.lun(dev) else {
            return;
        };
        if lun.reset.is_some() {
            lun.resets.push_back(of);
        } else {
            self.begin_reset(cx, of, dev);
        }
    }

    fn begin_reset(&mut self, cx: &mut Out<'_>, of: TaskRef, dev: DevHandle) {
        let Some(lun) = self.devs.lun(dev) else {
            return;
        };
        lun.reset = Some(of);
        lun.reset_done = false;
        if lun.removed {
            // Ends as INVALID_LUN inside; the guest still sees OK.
            self.reset_answered(cx, dev);
            return;
        }
        let request = Request {
            task: of,
            bdev: lun.bdev,
            kind: IoKind::Reset,
        };
        if self.dev.has(Bug::ResetCompletesInflight) {
            lun.outstanding = 0;
            self.complete_all(cx, dev);
        }
        self.log(cx, "Bdev scsi reset on lun reset".to_owned());
        self.bdevs.submit(cx.now, request, cx.rng);
    }

    /// Ends what the bdev has of a device, which will end it again (B64).
    fn complete_all(&mut self, cx: &mut Out<'_>, dev: DevHandle) {
        let mut all = Vec::new();
        for (vdev, ctl) in self.ctl.iter().enumerate() {
            for session in ctl.iter().flat_map(|ctl| &ctl.sessions) {
                for (vring, ring) in session.vrings.iter().enumerate() {
                    let mine =
                        |task: &&Task| task.in_flight && task.dev == Some(dev) && task.io.is_some();
                    let tasks = ring.tasks.iter().enumerate();
                    all.extend(
                        tasks
                            .filter(|(_, task)| mine(task))
                            .map(|(head, _)| TaskRef {
                                vdev: vdev as u8,
                                vring: vring as u16,
                                head: head as u16,
                                session: session.id,
                                life: ring.life,
                            }),
                    );
                }
            }
        }
        for of in all {
            self.abort(cx, of);
        }
    }

    /// The bdev has done a reset: it ends when nothing is outstanding on the LUN any more.
    pub fn bdev_reset_done(&mut self, cx: &mut Out<'_>, of: TaskRef) {
        let dev = self
            .session(of)
            .and_then(|session| session.task(of))
            .and_then(|task| task.dev);
        let Some(dev) = dev else {
            return;
        };
        let Some(lun) = self.devs.lun(dev) else {
            return;
        };
        lun.reset_done = true;
        let outstanding = lun.outstanding > 0;
        if outstanding && self.dev.has(Bug::ResetPartial) {
            self.reset_answered(cx, dev);
        } else if !outstanding {
            self.lun_poll_soon(cx.now, dev);
        }
    }

    /// A reset is over: it is answered, and the next one or what waited begins.
    pub fn reset_answered(&mut self, cx: &mut Out<'_>, dev: DevHandle) {
        let Some(lun) = self.devs.lun(dev) else {
            return;
        };
        lun.reset_done = false;
        let (of, next) = (lun.reset.take(), lun.resets.pop_front());
        if let Some(of) = of {
            let memory = self.session(of).and_then(|session| session.memory.clone());
            if let Some(memory) = memory {
                self.put(cx, &memory, of);
            }
        }
        match next {
            Some(of) => self.begin_reset(cx, of, dev),
            None => self.run_pending(cx, dev),
        }
    }
}
