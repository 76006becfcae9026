//! How much a fio thread has to verify, counted pass by pass from what it issues.

use super::Tally;
use crate::terms::Terms;

impl Tally {
    /// Bytes that are to be verified of all passes, with so many more to come: see [`Progress::volume`].
    /// `replaced` are the bytes of this pass that later writes cover.
    ///
    /// [`Progress::volume`]: super::Progress::volume
    pub(super) fn volume(&self, terms: &Terms, loops_left: u64, replaced: u64) -> u64 {
        let &Terms {
            writes, do_verify, ..
        } = terms;
        let trims_alone = terms.trims && !writes;
        if terms.verify.is_none() || (writes && !do_verify) || trims_alone {
            return 0;
        }
        let before = self.passes_before;
        let of_pass = self.of_pass(terms, replaced);
        if terms.runtime_ns > 0 {
            return if before > 0 { before } else { of_pass };
        }
        // A job that only reads makes one pass.
        let to_come = if writes { loops_left } else { 0 };
        before + of_pass + to_come * terms.pass_of_own()
    }

    /// A pass is over.
    pub(super) fn end_pass(&mut self, terms: &Terms, replaced: u64) {
        self.passes_before += self.of_pass(terms, replaced);
        (self.pass_own, self.only_read) = (0, 0);
    }

    /// Bytes that are to be verified of this pass.
    fn of_pass(&self, terms: &Terms, replaced: u64) -> u64 {
        let own = if self.own_is_over {
            self.pass_own
        } else {
            // Its last write may reach beyond.
            terms.pass_of_own().max(self.pass_own)
        };
        own.saturating_sub(self.only_read + replaced)
    }
}
