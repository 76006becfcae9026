//! The lock that scans and removals of one host take (`shost->scan_mutex`), and who gets it next.
//!
//! Knows flows by number only, and not what they do under it.

use std::collections::VecDeque;

use wire::Rng;

use crate::ids::FlowNo;

#[derive(Clone, Debug, Default)]
pub struct ScanMutex {
    owner: Option<FlowNo>,
    /// Flows that wait, in the order in which they came.
    waiters: VecDeque<FlowNo>,
}

impl ScanMutex {
    pub fn owner(&self) -> Option<FlowNo> {
        self.owner
    }

    pub fn waiters(&self) -> &VecDeque<FlowNo> {
        &self.waiters
    }

    /// Takes it, or waits for it.
    pub fn lock(&mut self, flow: FlowNo) -> bool {
        if self.owner.is_none() || self.owner == Some(flow) {
            self.owner = Some(flow);
            return true;
        }
        if !self.waiters.contains(&flow) {
            self.waiters.push_back(flow);
        }
        false
    }

    /// Releases it, if this flow holds it. A waiter takes it: the first, or, one in `steal_one_in` times,
    /// another (a newcomer that finds the owner running spins and may pass the sleepers); 0: never.
    pub fn unlock(&mut self, flow: FlowNo, steal_one_in: u32, rng: &mut Rng) -> Option<FlowNo> {
        if self.owner != Some(flow) {
            return None;
        }
        let waiters = self.waiters.len() as u32;
        let steals = steal_one_in > 0 && waiters > 1 && rng.chance(1, steal_one_in);
        let next = if steals {
            rng.between(1, waiters - 1) as usize
        } else {
            0
        };
        self.owner = self.waiters.remove(next);
        self.owner
    }
}
