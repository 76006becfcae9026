//! How much a fio thread has to verify, counted pass by pass from what it issues.

use super::FioThread;
use crate::terms::Terms;

impl FioThread {
    /// Bytes that are to be verified: see [`Progress::volume`].
    pub(super) fn to_verify(&self) -> u64 {
        let Terms {
            writes, do_verify, ..
        } = self.terms;
        if self.terms.verify.is_none() || (writes && !do_verify) || self.trims_alone() {
            return 0;
        }
        let before = self.tally.passes_before;
        if self.terms.runtime_ns > 0 {
            return if before > 0 { before } else { self.of_pass() };
        }
        // A job that only reads makes one pass.
        let to_come = if writes { self.loops_left } else { 0 };
        before + self.of_pass() + to_come * self.terms.pass_of_own()
    }

    /// Bytes that are to be verified of this pass.
    pub(super) fn of_pass(&self) -> u64 {
        let tally = &self.tally;
        let own = if tally.own_is_over {
            tally.pass_own
        } else {
            // Its last write may reach beyond.
            self.terms.pass_of_own().max(tally.pass_own)
        };
        own.saturating_sub(tally.only_read + self.log.replaced())
    }
}
