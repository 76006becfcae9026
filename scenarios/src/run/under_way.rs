//! A step under way: what was asked for it, and until when it may take.
//!
//! Knows no step.

use std::time::Duration;

use crate::names::{Ticket, VmId};
use crate::time::Time;

/// A step that has begun, or is about to.
pub(super) struct UnderWay {
    pub(super) began: Time,
    pub(super) limit: Duration,
    pub(super) deadline: Time,
    /// When to look again even if nothing is seen.
    pub(super) wake: Time,
    pub(super) tickets: Option<Vec<Ticket>>,
    /// Boots, lists or signs of life that there were before asking.
    pub(super) before: Vec<(VmId, u32)>,
    pub(super) mark: u32,
    /// When the guests' disks are looked at again, once they were asked for.
    pub(super) next_look: Option<Time>,
    /// Guests may not hear it, and are asked again then.
    pub(super) asks_again: bool,
}

impl UnderWay {
    /// One that begins `after` now.
    pub(super) fn new(now: Time, after: Duration) -> Self {
        let began = now + after;
        Self {
            began,
            limit: Duration::ZERO,
            deadline: Time::NEVER,
            wake: began,
            tickets: None,
            before: Vec::new(),
            mark: 0,
            next_look: None,
            asks_again: false,
        }
    }

    pub(super) fn has_begun(&self) -> bool {
        self.tickets.is_some() || self.next_look.is_some()
    }

    /// From now on it may take `limit`.
    pub(super) fn within(&mut self, now: Time, limit: Duration) {
        self.limit = limit;
        self.deadline = now + limit;
        self.wake = self.deadline;
    }
}
