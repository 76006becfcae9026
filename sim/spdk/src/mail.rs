//! What one thread of the target tells another: messages, timers, the semaphore of a stop.
//!
//! Knows no message's meaning. A thread's inbox is first in, first out, as `spdk_thread`'s ring is.

use std::collections::VecDeque;
use std::time::Duration;

use scenarios::Time;

use crate::handles::{APP, BdevHandle, DPDK, DevHandle, Foreach, SessionId, VDEV, VdevId};
use crate::rpc::CallId;

/// What a message between two threads of one process costs: a reactor's round.
pub const HOP: Duration = Duration::from_nanos(500);

/// To the app thread.
#[derive(Clone, Copy, Debug)]
pub enum AppMessage {
    /// Every session was visited.
    ForeachDone(Foreach),
    /// A bdev tells a user of a LUN that it goes.
    BdevGoes { bdev: BdevHandle, dev: DevHandle },
    /// A bdev tells the vbdevs on top of it that it goes.
    BaseGoes { base: BdevHandle, top: BdevHandle },
    /// The LUN has no io channel any more: close it.
    LunClose(DevHandle),
    /// Go on with a hot-remove whose io channel is gone, or never was.
    LunRemove(DevHandle),
    /// A bdev did not appear in time for the call that waits for it.
    BdevTimeout { call: CallId },
    /// A bdev that was to go is gone (`spdk_bdev_unregister`'s callback is a message later).
    BdevGone { bdev: BdevHandle, call: CallId },
    /// A bdev tells a LUN that it has another size.
    Resized(DevHandle),
    /// An NVMe controller does not go away.
    NvmeTimeout { call: CallId },
    /// The last target of a deleted controller is gone.
    Unregister { vdev: VdevId, number: u8 },
}

/// What an RPC waits for that is told when it took too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Awaited {
    Bdev,
    NvmeDetach,
}

impl AppMessage {
    /// The RPC that this is the time-out of, and what that waits for.
    pub const fn times_out(&self) -> Option<(Awaited, CallId)> {
        match self {
            Self::BdevTimeout { call } => Some((Awaited::Bdev, *call)),
            Self::NvmeTimeout { call } => Some((Awaited::NvmeDetach, *call)),
            Self::ForeachDone(_)
            | Self::BdevGoes { .. }
            | Self::BaseGoes { .. }
            | Self::LunClose(_)
            | Self::LunRemove(_)
            | Self::BdevGone { .. }
            | Self::Resized(_)
            | Self::Unregister { .. } => None,
        }
    }

    /// The RPC that this answers.
    pub const fn answers(&self) -> Option<CallId> {
        match self {
            Self::BdevGone { call, .. } => Some(*call),
            Self::ForeachDone(_)
            | Self::BdevGoes { .. }
            | Self::BaseGoes { .. }
            | Self::LunClose(_)
            | Self::LunRemove(_)
            | Self::BdevTimeout { .. }
            | Self::NvmeTimeout { .. }
            | Self::Resized(_)
            | Self::Unregister { .. } => None,
        }
    }

    /// The foreach operation that has ended.
    pub const fn foreach(&self) -> Option<&Foreach> {
        match self {
            Self::ForeachDone(foreach) => Some(foreach),
            Self::BdevGoes { .. }
            | Self::BaseGoes { .. }
            | Self::LunClose(_)
            | Self::LunRemove(_)
            | Self::BdevTimeout { .. }
            | Self::BdevGone { .. }
            | Self::NvmeTimeout { .. }
            | Self::Resized(_)
            | Self::Unregister { .. } => None,
        }
    }
}

/// To a controller's thread.
#[derive(Clone, Copy, Debug)]
pub enum VdevMessage {
    Foreach(Foreach),
    Start(SessionId),
    Stop(SessionId),
    /// A LUN of the controller is being hot-removed.
    LunRemove(DevHandle),
}

/// What may be waiting for a controller's lock, and on which thread.
#[derive(Clone, Copy, Debug)]
pub enum Waiting {
    Vdev(VdevMessage),
    App(AppMessage),
}

/// When a message is due, and its number among all messages: their order on one reactor.
pub type Stamp = (Time, u64);

pub const NO_MESSAGE: Stamp = (Time::NEVER, u64::MAX);

#[derive(Clone, Debug)]
pub struct Inbox<M> {
    queue: VecDeque<(Stamp, M)>,
}

impl<M> Default for Inbox<M> {
    fn default() -> Self {
        Self {
            queue: VecDeque::new(),
        }
    }
}

impl<M> Inbox<M> {
    pub fn push(&mut self, stamp: Stamp, message: M) {
        self.queue.push_back((stamp, message));
    }

    pub fn first(&self) -> Stamp {
        self.queue.front().map_or(NO_MESSAGE, |(stamp, _)| *stamp)
    }

    pub fn pop(&mut self) -> Option<M> {
        self.queue.pop_front().map(|(_, message)| message)
    }

    pub fn all(&self) -> impl Iterator<Item = &M> {
        self.queue.iter().map(|(_, message)| message)
    }
}

/// How a stop of a session ended, as the thread that waits for it is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopResult {
    Stopped,
    TimedOut,
}

/// The semaphore on which DPDK's thread waits while a session stops.
#[derive(Clone, Copy, Debug, Default)]
struct Semaphore {
    is_awaited: bool,
    posted: Option<(Time, StopResult)>,
}

/// RPCs that try again once something has changed. They are the app thread's; others only wake them.
#[derive(Clone, Copy, Debug)]
struct Retries {
    /// How many wait: nobody is woken for none.
    waiting: usize,
    at: Time,
}

/// The mail of all threads, but for the inboxes of the controllers' threads, which stand with them.
#[derive(Clone, Debug)]
pub struct Mail {
    sent: u64,
    touched: u64,
    app: Inbox<AppMessage>,
    timers: Vec<(Time, AppMessage)>,
    retries: Retries,
    stop: Semaphore,
    /// Until when the app thread's reactor stands still.
    stall: Option<Time>,
    /// NVMe controllers one of whose bdevs is gone, for the app thread to look at before it does anything else.
    nvme_gone: Vec<String>,
}

impl Default for Mail {
    fn default() -> Self {
        Self {
            sent: 0,
            touched: 0,
            app: Inbox::default(),
            timers: Vec::new(),
            retries: Retries {
                waiting: 0,
                at: Time::NEVER,
            },
            stop: Semaphore::default(),
            stall: None,
            nvme_gone: Vec::new(),
        }
    }
}

impl Mail {
    /// The stamp of a message that is sent at `now`.
    pub fn stamp(&mut self, now: Time) -> Stamp {
        self.sent += 1;
        (now + HOP, self.sent)
    }

    pub fn send_app(&mut self, now: Time, message: AppMessage) {
        let stamp = self.stamp(now);
        self.app.push(stamp, message);
        self.touch(APP);
    }

    /// A message of the app thread to itself, at a poller's tick.
    pub fn app_later(&mut self, at: Time, message: AppMessage) {
        self.timers.push((at, message));
        self.touch(APP);
    }

    /// Takes back what [`Mail::app_later`] was told, where it `is` that.
    pub fn cancel(&mut self, is: impl Fn(&AppMessage) -> bool) {
        self.timers.retain(|(_, timer)| !is(timer));
    }

    /// When the app thread's first message, its first timer and its waiting RPCs are due.
    pub fn app_due(&self) -> (Stamp, Time, Time) {
        let timers = self.timers.iter().map(|(at, _)| *at);
        let timer = timers.min().unwrap_or(Time::NEVER);
        (self.app.first(), timer, self.retries.at)
    }

    pub fn take_app(&mut self) -> Option<AppMessage> {
        self.app.pop()
    }

    /// Takes the first timer that is due `at` this time.
    pub fn take_timer(&mut self, at: Time) -> Option<AppMessage> {
        let index = self.timers.iter().position(|(due, _)| *due == at)?;
        Some(self.timers.remove(index).1)
    }

    /// Something changed that RPCs may wait for: they try again soon.
    pub fn wake_rpcs(&mut self, now: Time) {
        if self.retries.waiting > 0 {
            self.retries.at = self.retries.at.min(now + HOP);
            self.touch(APP);
        }
    }

    /// How many RPCs wait for [`Mail::wake_rpcs`].
    pub fn rpcs_wait(&mut self, waiting: usize) {
        self.retries.waiting = waiting;
    }

    /// The RPCs that wait try again now.
    pub fn rpcs_retry(&mut self) {
        self.retries.at = Time::NEVER;
        self.retries.waiting = 0;
    }

    /// DPDK's thread waits for a stop from now on.
    pub fn await_stop(&mut self) {
        self.stop = Semaphore {
            is_awaited: true,
            posted: None,
        };
    }

    /// The stop that DPDK's thread waits for has ended.
    pub fn post_stop(&mut self, now: Time, result: StopResult) {
        if self.stop.is_awaited {
            self.stop.posted = Some((now, result));
            self.touch(DPDK);
        }
    }

    /// When the semaphore was posted, if it was.
    pub fn stop_posted(&self) -> Option<Time> {
        self.stop.posted.map(|(at, _)| at)
    }

    pub fn take_stop(&mut self) -> Option<StopResult> {
        let (_, result) = self.stop.posted.take()?;
        self.stop.is_awaited = false;
        Some(result)
    }

    /// The reactor of the app thread stands still until `until`.
    pub fn stall(&mut self, until: Time) {
        self.stall = Some(until);
        self.touch(APP);
    }

    pub fn take_stall(&mut self) -> Option<Time> {
        self.stall.take()
    }

    /// A bdev of this NVMe controller is gone.
    pub fn nvme_gone(&mut self, controller: String) {
        self.nvme_gone.push(controller);
    }

    pub fn take_nvme_gone(&mut self) -> Vec<String> {
        std::mem::take(&mut self.nvme_gone)
    }

    pub fn has_nvme_gone(&self) -> bool {
        !self.nvme_gone.is_empty()
    }

    /// The state of an actor has changed: when it is due is asked for anew.
    pub fn touch(&mut self, actor: usize) {
        self.touched |= 1 << actor;
    }

    pub fn touch_vdev(&mut self, vdev: VdevId) {
        self.touch(VDEV + vdev.index());
    }

    pub fn take_touched(&mut self) -> u64 {
        std::mem::take(&mut self.touched)
    }
}

impl Mail {
    pub fn app(&self) -> impl Iterator<Item = &AppMessage> {
        self.app.all()
    }

    pub fn timers(&self) -> impl Iterator<Item = &AppMessage> {
        self.timers.iter().map(|(_, message)| message)
    }

    /// Whether the semaphore of a stop is awaited, and whether it was posted.
    pub fn semaphore(&self) -> (bool, bool) {
        (self.stop.is_awaited, self.stop.posted.is_some())
    }

    /// How many RPCs are said to wait for a change, and when they try again.
    pub fn retries(&self) -> (usize, Time) {
        (self.retries.waiting, self.retries.at)
    }

    pub fn unheeded(&self) -> Option<String> {
        let left = self.touched != 0 || self.stall.is_some() || self.has_nvme_gone();
        left.then(|| {
            format!(
                "{:#x}, {:?}, {:?}",
                self.touched, self.stall, self.nvme_gone
            )
        })
    }

    pub fn app_disorder(&self) -> Option<String> {
        self.disorder(&self.app)
    }

    pub fn disorder<M>(&self, inbox: &Inbox<M>) -> Option<String> {
        let stamps = || inbox.queue.iter().map(|(stamp, _)| *stamp);
        let mut pairs = stamps().zip(stamps().skip(1));
        if let Some((a, b)) = pairs.find(|(a, b)| a.0 > b.0 || a.1 >= b.1) {
            return Some(format!("{a:?} stands before {b:?}"));
        }
        let last = stamps().next_back().filter(|stamp| stamp.1 > self.sent);
        last.map(|stamp| format!("{stamp:?} was not sent, of {}", self.sent))
    }
}

/// A change to a target that breaks the invariant of this name.
#[cfg(test)]
pub const MUTANTS: crate::tests::Mutants = &[
    ("time_of_the_app_thread", |t| {
        t.shared.mail.retries.at = Time(1);
    }),
    ("nothing_overlooked", |t| t.shared.mail.touch(APP)),
    ("mail_in_order", |t| t.shared.mail.sent = 0),
    ("semaphore_has_its_waiter", |t| {
        t.shared.mail.stop.is_awaited = false
    }),
    ("timeouts_have_their_call", |t| {
        t.shared.mail.timers.clear();
    }),
];
