//! A session: one front-end's connection to a controller, as SPDK's vhost-scsi sees it.
//!
//! Holds state; starting and stopping is in `start_stop`, requests in `requestq` and `controlq`.
//! A connection as DPDK sees it is in `dpdk`.

use std::time::Duration;

use scenarios::{SlotState, Time};

use super::task::Task;
use super::vring::Vring;
use crate::handles::{DevHandle, SessionId, SlotId, TaskRef};
use wire::component::Memory;
use wire::message::ConnId;

/// `MGMT_POLL_PERIOD_US`: control queue, event calls and drain are looked at this often.
pub const MANAGE_PERIOD: Duration = Duration::from_millis(5);
/// The stop poller's period (`SPDK_VHOST_SESSION_STOP_RETRY_PERIOD_IN_US`).
pub const STOP_PERIOD: Duration = Duration::from_millis(1);
/// `SPDK_VHOST_SESSION_STOP_RETRY_TIMEOUT_IN_SEC`: 4000 runs of the stop poller.
pub const STOP_TIMEOUT: Duration = Duration::from_secs(4);

/// A slot in a session's view.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionSlot {
    pub state: SlotState,
    /// The device, with an io-channel reference.
    pub dev: Option<DevHandle>,
    /// Which device is or was in it.
    pub device: u32,
}

/// A stop that waits for I/O.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stopping {
    /// The poller's next run that can end it.
    pub next: Time,
    /// When it gives up.
    pub deadline: Time,
    /// When it began: its ticks are whole periods later.
    pub began: Time,
}

#[derive(Clone, Debug)]
pub struct Session {
    /// SPDK's id: rises on a controller.
    pub id: SessionId,
    /// DPDK's id of the connection: reused.
    pub vid: u32,
    pub conn: ConnId,
    /// The pollers run, or a stop of theirs has not succeeded.
    pub started: bool,
    /// A start was sent to the controller's thread.
    pub starting: bool,
    pub polled: bool,
    /// To be started again after a new memory table.
    pub needs_restart: bool,
    /// A stop timed out, and the session lets go when its I/O has returned (S13 off).
    pub draining: bool,
    /// The connection is gone (N1): nobody refers to it but its I/O.
    pub gone: bool,
    /// The connection is gone and guest memory is unmapped (N1).
    pub unmapped: bool,
    /// Tasks in flight, of all queues.
    pub task_cnt: u32,
    /// Highest ring with addresses, plus one.
    pub max_queues: u16,
    pub features: u64,
    pub memory: Option<Memory>,
    pub vrings: Vec<Vring>,
    /// Tasks of earlier lives of a ring: ring, life, tasks.
    pub orphans: Vec<(u16, u32, Vec<Task>)>,
    /// Its view of the slots.
    pub slots: [SessionSlot; SlotId::COUNT],
    /// A stop is under way.
    pub stopping: Option<Stopping>,
    /// When it started: the phase of its management poller.
    pub since: Time,
    /// The management poller's next run with work.
    pub manage_at: Time,
    /// Events were dropped since the last one that was sent (EV off).
    pub events_missed: bool,
}

impl Session {
    /// A session that was just connected.
    pub fn new(id: SessionId, vid: u32, conn: ConnId) -> Self {
        let slot = SessionSlot {
            state: SlotState::Empty,
            dev: None,
            device: 0,
        };
        Self {
            id,
            vid,
            conn,
            started: false,
            starting: false,
            polled: false,
            needs_restart: false,
            draining: false,
            gone: false,
            unmapped: false,
            task_cnt: 0,
            max_queues: 0,
            features: 0,
            memory: None,
            vrings: Vec::new(),
            orphans: Vec::new(),
            slots: [slot; SlotId::COUNT],
            stopping: None,
            since: Time::ZERO,
            manage_at: Time::NEVER,
            events_missed: false,
        }
    }

    /// Whether all of `bits` were negotiated.
    pub const fn has(&self, bits: u64) -> bool {
        self.features & bits == bits
    }

    /// The ring, if it has addresses.
    pub fn ring(&mut self, vring: u16) -> Option<&mut Vring> {
        self.vrings
            .get_mut(usize::from(vring))
            .filter(|ring| ring.live)
    }

    /// Whether a ring has addresses.
    pub fn has_ring(&self, vring: u16) -> bool {
        self.vrings
            .get(usize::from(vring))
            .is_some_and(|ring| ring.live)
    }

    /// The ring, made if need be.
    pub fn ring_or_new(&mut self, vring: u16) -> &mut Vring {
        let index = usize::from(vring);
        if self.vrings.len() <= index {
            self.vrings.resize_with(index + 1, Vring::new);
        }
        &mut self.vrings[index]
    }

    /// A task in flight, of the ring's present life or of an earlier one.
    pub fn task(&mut self, of: TaskRef) -> Option<&mut Task> {
        self.task_and_memory(of).map(|(task, _)| task)
    }

    /// The same, and the memory of the session, if it has any.
    pub fn task_and_memory(&mut self, of: TaskRef) -> Option<(&mut Task, Option<&Memory>)> {
        let ring = self.vrings.get_mut(usize::from(of.vring))?;
        let tasks = if ring.life == of.life {
            &mut ring.tasks
        } else {
            let old = self
                .orphans
                .iter_mut()
                .find(|(vring, life, _)| (*vring, *life) == (of.vring, of.life));
            &mut old?.2
        };
        let task = tasks.get_mut(usize::from(of.head))?;
        task.in_flight.then_some((task, self.memory.as_ref()))
    }

    /// The management poller has work: it runs at its next tick.
    pub fn manage(&mut self, now: Time) {
        if self.polled && self.manage_at == Time::NEVER {
            self.manage_at = next_tick(self.since, MANAGE_PERIOD, now);
        }
    }

    /// The stop poller has a reason to look again.
    pub fn stop_soon(&mut self, now: Time) {
        if let Some(stop) = &mut self.stopping {
            stop.next = next_tick(stop.began, STOP_PERIOD, now).min(stop.deadline);
        }
    }

    /// When its own pollers are next due: management, stop.
    pub fn due(&self) -> Time {
        let stop = self.stopping.map_or(Time::NEVER, |stop| stop.next);
        self.manage_at.min(stop)
    }

    /// Forgets tasks of earlier lives that have ended.
    pub fn drop_orphans(&mut self) {
        self.orphans
            .retain(|(_, _, tasks)| tasks.iter().any(|task| task.in_flight));
    }
}

/// The first whole `period` after `since` that lies after `now`.
pub fn next_tick(since: Time, period: Duration, now: Time) -> Time {
    let period = period.as_nanos() as u64;
    let past = now.0.saturating_sub(since.0) / period;
    Time(since.0.saturating_add((past + 1).saturating_mul(period)))
}
