//! The lock that scans and removals of one host take (`shost->scan_mutex`), and who gets it next.
//!
//! Knows flows by number only, and not what they do under it.

use std::collections::VecDeque;

use scenarios::Time;

use super::Guest;
use super::flow::{STEP_NS, Standing, WAKE_NS, Wait};
use wire::component::Cx;
use wire::message::FromGuest;

/// The mutex of one host.
#[derive(Clone, Debug, Default)]
pub struct ScanMutex {
    /// The flow that holds it.
    pub owner: Option<usize>,
    /// Flows that wait, in the order in which they came.
    pub waiters: VecDeque<usize>,
}

impl Guest {
    /// Takes the scan mutex for a flow, or puts it to sleep on it.
    pub(super) fn lock(&mut self, hba: usize, n: usize, flow: &mut Standing, now: Time) -> bool {
        let mutex = &mut self.hbas[hba].mutex;
        if mutex.owner.is_none() || mutex.owner == Some(n) {
            mutex.owner = Some(n);
            flow.wait = Wait::At(Time(now.0 + STEP_NS));
            return true;
        }
        if !mutex.waiters.contains(&n) {
            mutex.waiters.push_back(n);
        }
        flow.wait = Wait::Mutex;
        false
    }

    /// Releases the scan mutex. A waiter takes it: the first, or, where stealing is on, at times
    /// another (a newcomer that finds the owner running spins and may pass the sleepers).
    pub(super) fn unlock(&mut self, hba: usize, n: usize, cx: &mut Cx<'_, FromGuest>) {
        let mutex = &mut self.hbas[hba].mutex;
        if mutex.owner != Some(n) {
            return;
        }
        let waiters = mutex.waiters.len() as u32;
        let steal_one_in = self.config.steal_one_in;
        let steals = steal_one_in > 0 && waiters > 1 && cx.rng.chance(1, steal_one_in);
        let next = if steals {
            cx.rng.between(1, waiters - 1) as usize
        } else {
            0
        };
        mutex.owner = mutex.waiters.remove(next);
        if let Some(owner) = mutex.owner
            && let Some(flow) = self.flows[hba].get_mut(owner).and_then(Option::as_mut)
        {
            flow.standing.wait = Wait::At(Time(cx.now.0 + WAKE_NS));
        }
    }
}
