//! Starting and stopping a session, on the controller's thread.
//!
//! Sources: `vhost_scsi_start_cb`, `vhost_scsi_stop_cb`, `destroy_session_poller_cb`
//! (lib/vhost/vhost_scsi.c); fact sheet §1.7, recordings §2a.

use scenarios::{Inside, Observation, SlotState, Time};

use super::controller::Waiting;
use super::mail::VdevMessage;
use super::requestq::POLL_AFTER;
use super::session::{SLOTS, STOP_PERIOD, STOP_TIMEOUT, SessionSlot, Stopping};
use super::slot::Cause;
use super::task::TaskRef;
use super::turn::{ForeachOp, TargetTurn};
use super::{Out, Target};
use wire::bugs::Bug;
use wire::message::{EVENTQ, REQUESTQ};
use wire::scsi::feature;

impl Target {
    /// `vhost_scsi_start`: takes over the controller's targets, and begins to poll.
    pub fn start_session(&mut self, cx: &mut Out<'_>, vdev: usize, id: u32) -> TargetTurn {
        let Some(ctl) = self.ctl[vdev].as_mut() else {
            return TargetTurn::Idle;
        };
        if ctl.locked {
            let message = VdevMessage::Start { session: id };
            ctl.waiting.push_back(Waiting::Vdev(message));
            return TargetTurn::Idle;
        }
        let controller = ctl.number;
        let Some(index) = ctl.sessions.iter().position(|session| session.id == id) else {
            return TargetTurn::Idle;
        };
        let name = format!("{}s{}", ctl.name, ctl.sessions[index].vid);
        let session = &mut ctl.sessions[index];
        let refused = TargetTurn::Start {
            controller,
            session: id,
            started: false,
        };
        if session.draining {
            // Goes on once its old I/O has returned; `starting` stays.
            return refused;
        }
        session.starting = false;
        let hole = (REQUESTQ.0..session.max_queues).find(|ring| !session.has_ring(*ring));
        let why = if session.polled || session.gone {
            Some("start in progress".to_owned())
        } else if session.max_queues <= REQUESTQ.0 {
            Some(format!("max_queues {}, no I/O queues", session.max_queues))
        } else {
            hole.map(|ring| format!("queue {ring} is empty"))
        };
        if let Some(why) = why {
            self.log(cx, format!("{name}: {why}"));
            return refused;
        }
        for slot in 0..SLOTS {
            self.pick_up(cx, vdev, index, slot);
        }
        let ctl = self.ctl[vdev]
            .as_mut()
            .expect("a thread has its controller");
        ctl.poll_at = ctl.poll_at.min(cx.now + POLL_AFTER);
        let session = &mut ctl.sessions[index];
        session.started = true;
        session.polled = true;
        session.since = cx.now;
        session.manage_at = Time::NEVER;
        session.manage(cx.now);
        session.vrings.iter_mut().for_each(|ring| ring.look = true);
        cx.see(Observation::Inside(Inside::SessionStarted {
            controller: ctl.id(),
            session: id,
            conn: ctl.sessions[index].conn.0,
            hotplug: ctl.sessions[index].has(feature::HOTPLUG),
            eventq: ctl.sessions[index].has_ring(EVENTQ.0),
        }));
        self.log(cx, format!("{name}: started poller on lcore 1"));
        TargetTurn::Start {
            controller,
            session: id,
            started: true,
        }
    }

    /// A starting session takes a target that is not being removed; no event is sent.
    fn pick_up(&mut self, cx: &mut Out<'_>, vdev: usize, index: usize, slot: usize) {
        let takes_removing = self.dev.has(Bug::StartTakesRemoving);
        let inherits = self.dev.has(Bug::InheritAdding);
        let Self { ctl, devs, .. } = self;
        let ctl = ctl[vdev].as_mut().expect("a thread has its controller");
        let here = ctl.slots[slot];
        let Some(dev) = here.dev else {
            return;
        };
        if here.state == SlotState::Removing && !takes_removing {
            return;
        }
        ctl.sessions[index].slots[slot].device = here.device;
        if devs.take_channel(dev, vdev as u8) {
            ctl.sessions[index].slots[slot].dev = Some(dev);
            let cause = if here.state == SlotState::Adding && inherits {
                Cause::Copied
            } else {
                Cause::PickedUp
            };
            ctl.move_session_slot(cx, index, slot, cause);
        }
    }

    /// `vhost_scsi_stop`: the pollers go; a poller of 1 ms waits for the I/O.
    pub fn stop_session(&mut self, cx: &mut Out<'_>, vdev: usize, id: u32) -> TargetTurn {
        let never = self.dev.has(Bug::StopNeverTimesOut);
        let Some(ctl) = self.ctl[vdev].as_mut() else {
            return TargetTurn::Idle;
        };
        let controller = ctl.number;
        let Some(session) = ctl.session(id) else {
            return TargetTurn::Idle;
        };
        if session.draining {
            // Nothing runs: the start that waits for the old I/O is taken back.
            session.starting = false;
            self.dpdk.stop_ended(cx.now, true);
            return TargetTurn::StopEnded {
                controller,
                session: id,
                clean: false,
            };
        }
        session.polled = false;
        session.manage_at = Time::NEVER;
        let deadline = if never {
            Time::NEVER
        } else {
            cx.now + STOP_TIMEOUT
        };
        session.stopping = Some(Stopping {
            began: cx.now,
            next: if session.task_cnt == 0 {
                cx.now + STOP_PERIOD
            } else {
                deadline
            },
            deadline,
        });
        TargetTurn::StopBegan {
            controller,
            session: id,
        }
    }

    /// A run of the stop poller that can end it.
    pub fn stop_tick(&mut self, cx: &mut Out<'_>, vdev: usize, index: usize) -> TargetTurn {
        let ctl = self.ctl[vdev]
            .as_mut()
            .expect("a thread has its controller");
        let controller = ctl.number;
        let locked = ctl.locked;
        let session = &mut ctl.sessions[index];
        let Some(stop) = &mut session.stopping else {
            return TargetTurn::Idle;
        };
        let timed_out = cx.now >= stop.deadline;
        if !timed_out && (locked || session.task_cnt > 0) {
            // A try-lock that fails costs a run of the poller; so does I/O in flight.
            stop.next = if locked {
                (cx.now + STOP_PERIOD).min(stop.deadline)
            } else {
                stop.deadline
            };
            return TargetTurn::Idle;
        }
        let clean = session.task_cnt == 0;
        let removing = |slot: &SessionSlot| slot.state == SlotState::Removing;
        if clean && self.dev.has(Bug::ForeachUnderLock) && session.slots.iter().any(removing) {
            // The poller holds the lock, and waits in foreach for itself to let it go.
            stop.next = Time::NEVER;
            ctl.locked = true;
            return TargetTurn::Idle;
        }
        let (id, vid, tasks) = (session.id, session.vid, session.task_cnt);
        session.stopping = None;
        if clean {
            self.stopped(cx, vdev, index);
            self.dpdk.stop_ended(cx.now, true);
        } else {
            let zombie = self.dev.has(Bug::StopTimeoutZombie);
            let name = format!("{}s{vid}", ctl.name);
            if !zombie {
                let session = &mut ctl.sessions[index];
                session.started = false;
                session.draining = true;
            }
            self.log(
                cx,
                format!("{name}: Timedout when destroy session (task_cnt {tasks})"),
            );
            self.dpdk.stop_ended(cx.now, !zombie);
        }
        TargetTurn::StopEnded {
            controller,
            session: id,
            clean,
        }
    }

    /// A session has no I/O left: it lets go of its targets.
    fn stopped(&mut self, cx: &mut Out<'_>, vdev: usize, index: usize) {
        let ctl = self.ctl[vdev]
            .as_mut()
            .expect("a thread has its controller");
        let rings = ctl.sessions[index].vrings.len();
        let keep = !self.dev.has(Bug::MgmtCallLost);
        for vring in 0..rings {
            self.signal(cx, vdev, index, vring as u16, keep);
        }
        self.release_slots(cx, vdev, index);
        let ctl = self.ctl[vdev]
            .as_mut()
            .expect("a thread has its controller");
        let controller = ctl.id();
        let session = &mut ctl.sessions[index];
        session.started = false;
        session.orphans.clear();
        let name = format!("{}s{}", ctl.name, session.vid);
        cx.see(Observation::Inside(Inside::SessionStopped {
            controller,
            session: session.id,
        }));
        self.log(cx, format!("{name}: stopping poller on lcore 1"));
    }

    fn release_slots(&mut self, cx: &mut Out<'_>, vdev: usize, index: usize) {
        for slot in 0..SLOTS {
            let ctl = self.ctl[vdev]
                .as_mut()
                .expect("a thread has its controller");
            let here = ctl.sessions[index].slots[slot];
            if here.state == SlotState::Removed && self.dev.has(Bug::KeepTombstoneOnStop) {
                continue;
            }
            ctl.move_session_slot(cx, index, slot, Cause::Stopped);
            let Some(dev) = ctl.sessions[index].slots[slot].dev.take() else {
                continue;
            };
            self.free_channel(cx, dev);
            let forgets = self.dev.has(Bug::StopForgetsRemoving);
            if here.state == SlotState::Removing && !forgets {
                self.foreach(cx.now, vdev, ForeachOp::ProcessRemoved, slot);
            }
        }
    }

    /// The last I/O of a session whose stop had timed out has returned (S13 off).
    pub fn drained_at_last(&mut self, cx: &mut Out<'_>, of: TaskRef) {
        let vdev = usize::from(of.vdev);
        let Some(index) = self.session_index(of) else {
            return;
        };
        self.release_slots(cx, vdev, index);
        let ctl = self.ctl[vdev]
            .as_mut()
            .expect("a thread has its controller");
        let controller = ctl.id();
        let session = &mut ctl.sessions[index];
        session.draining = false;
        cx.see(Observation::Inside(Inside::SessionStopped {
            controller,
            session: session.id,
        }));
        if session.gone {
            self.close_session(cx, vdev, index);
        } else if session.starting {
            let message = VdevMessage::Start {
                session: of.session,
            };
            self.send_vdev(cx.now, vdev, message);
        }
    }

    /// A session is taken off its controller's list.
    pub fn close_session(&mut self, cx: &mut Out<'_>, vdev: usize, index: usize) {
        let ctl = self.ctl[vdev].as_mut().expect("the caller found it");
        let controller = ctl.id();
        let session = ctl.sessions.remove(index);
        cx.see(Observation::Inside(Inside::SessionClosed {
            controller,
            session: session.id,
        }));
        let pollers_left = session
            .slots
            .iter()
            .filter(|slot| slot.dev.is_some())
            .count();
        if pollers_left > 0 {
            let text = format!("session {} closed with {pollers_left} targets", session.id);
            cx.broken(scenarios::CheckId::I10, text);
        }
        self.retry_soon(cx.now);
    }
}
