//! What a turn of the app thread or of a controller's thread is: the oldest message, or the poller that
//! is due first.
//!
//! Knows when things are due; what they do stands elsewhere.

use scenarios::Time;

use super::controller::Controller;
use super::mail::{AppMessage, VdevMessage};
use super::requestq::POLL_AFTER;
use super::session::Session;
use super::turn::TargetTurn;
use super::{Out, Target};

impl Target {
    pub(super) fn app_turn(&mut self, cx: &mut Out<'_>) -> TargetTurn {
        let timer = self.timers.iter().map(|(at, _)| *at).min();
        let timer_at = timer.unwrap_or(Time::NEVER);
        let message_at = self.inbox.first().0;
        let retry_at = self.deferred.retry_at;
        let first = message_at.min(timer_at).min(retry_at).min(self.rpc_at);
        if first == retry_at {
            // An RPC that re-queues itself has been in the inbox all the time.
            self.retry(cx)
        } else if first == message_at {
            match self.inbox.pop() {
                Some(message) => self.app_message(cx, message),
                None => TargetTurn::Idle,
            }
        } else if first == timer_at {
            let index = self.timers.iter().position(|(at, _)| *at == first);
            match index.map(|index| self.timers.remove(index)) {
                Some((_, message)) => self.app_message(cx, message),
                None => TargetTurn::Idle,
            }
        } else {
            self.rpc_poll(cx)
        }
    }

    fn app_message(&mut self, cx: &mut Out<'_>, message: AppMessage) -> TargetTurn {
        match message {
            AppMessage::ForeachDone(foreach) => self.foreach_done(cx, foreach),
            AppMessage::BdevGoes { bdev, dev } => self.bdev_goes(cx, bdev, dev),
            AppMessage::BaseGoes { base, top } => self.base_goes(cx, base, top),
            AppMessage::LunClose(dev) => self.lun_close(cx, dev),
            AppMessage::LunRemove(dev) => self.lun_poll(cx, dev),
            AppMessage::Unregister { vdev, number } => self.unregister_later(cx, vdev, number),
            AppMessage::NvmeTimeout { call } => self.nvme_timed_out(call),
            AppMessage::BdevTimeout { call } => self.bdev_timed_out(call),
            AppMessage::Resized(dev) => self.resized(cx, dev),
            AppMessage::BdevGone { bdev, call } => {
                self.rpc.answer(call, Ok(serde_json::Value::Bool(true)));
                TargetTurn::BdevEvent { bdev }
            }
        }
    }

    pub(super) fn vdev_turn(&mut self, cx: &mut Out<'_>, vdev: usize) -> TargetTurn {
        let Some(ctl) = self.ctl[vdev].as_mut() else {
            return TargetTurn::Idle;
        };
        let message_at = ctl.inbox.first().0;
        let rest = ctl.due();
        if message_at != Time::NEVER && message_at <= rest {
            let message = ctl.inbox.pop();
            return match message {
                Some(VdevMessage::Foreach(foreach)) => self.foreach_visit(cx, foreach),
                Some(VdevMessage::Start { session }) => self.start_session(cx, vdev, session),
                Some(VdevMessage::Stop { session }) => self.stop_session(cx, vdev, session),
                Some(VdevMessage::LunRemove(dev)) => self.lun_remove_began(cx, dev),
                None => TargetTurn::Idle,
            };
        }
        if ctl.poll_at <= rest {
            return self.poll(cx, vdev);
        }
        if let Some(index) = ctl.lun_polls.iter().position(|(at, _)| *at <= rest) {
            let (_, dev) = ctl.lun_polls.remove(index);
            return self.lun_poll(cx, dev);
        }
        let Some(index) = ctl
            .sessions
            .iter()
            .position(|session| session.due() <= rest)
        else {
            return TargetTurn::Idle;
        };
        if ctl.sessions[index].manage_at <= rest {
            self.manage(cx, vdev, index)
        } else {
            self.stop_tick(cx, vdev, index)
        }
    }
}

impl Controller {
    /// A hint that a ring has more.
    pub(super) fn look(&mut self, now: Time, index: usize, vring: wire::message::VringIndex) {
        let session = &mut self.sessions[index];
        let polled = session.polled;
        let Some(ring) = session.ring(vring.0) else {
            return;
        };
        ring.look = true;
        if vring.0 >= wire::message::REQUESTQ.0 {
            if polled {
                self.poll_at = self.poll_at.min(now + POLL_AFTER);
            }
        } else if vring == wire::message::CONTROLQ || session.events_missed || ring_calls(session) {
            session.manage(now);
        }
    }
}

/// Whether a call for an event is due: it may have been suppressed, and be allowed now.
fn ring_calls(session: &mut Session) -> bool {
    session
        .ring(wire::message::EVENTQ.0)
        .is_some_and(|ring| ring.calls_due > 0)
}
