//! What several guests answer together: a fio that runs in each of them, and its clock.
//!
//! A plan sees one fio; each guest runs its own share. Knows who still has to answer, not what.

use std::collections::BTreeMap;

use scenarios::{FioId, FioJobEnd, Ticket, VmId};

/// A fio that runs in several guests at once, and what those that have ended said.
#[derive(Clone, Debug, Default)]
struct Spread {
    running: Vec<VmId>,
    exit: u8,
    jobs: Vec<FioJobEnd>,
}

/// Answers that are still to come from several guests.
#[derive(Clone, Debug, Default)]
pub struct Together {
    fios: BTreeMap<FioId, Spread>,
    /// Guests that still have to answer for a job's clock.
    clocks: BTreeMap<Ticket, usize>,
}

impl Together {
    /// `fio` runs in `running`.
    pub fn start(&mut self, fio: FioId, running: Vec<VmId>) {
        self.fios.insert(
            fio,
            Spread {
                running,
                ..Spread::default()
            },
        );
    }

    /// The guests in which `fio` runs.
    #[must_use]
    pub fn running(&self, fio: FioId) -> Vec<VmId> {
        self.fios
            .get(&fio)
            .map_or_else(Vec::new, |spread| spread.running.clone())
    }

    /// Whether any fio runs.
    #[must_use]
    pub fn is_running(&self) -> bool {
        !self.fios.is_empty()
    }

    /// `vm`'s share of `fio` has ended; the whole's exit status and jobs with the last one.
    pub fn ended(
        &mut self,
        fio: FioId,
        vm: Option<VmId>,
        exit: u8,
        jobs: Vec<FioJobEnd>,
    ) -> Option<(u8, Vec<FioJobEnd>)> {
        let spread = self.fios.get_mut(&fio)?;
        // fio's exit status is the number of failed jobs, mod 256.
        spread.exit = spread.exit.wrapping_add(exit);
        spread.running.retain(|running| Some(*running) != vm);
        spread.jobs.extend(jobs);
        if !spread.running.is_empty() {
            return None;
        }
        let Spread { exit, mut jobs, .. } = self.fios.remove(&fio)?;
        jobs.sort_by_key(|job| job.disk);
        Some((exit, jobs))
    }

    /// `guests` will answer for `ticket`.
    pub fn expect(&mut self, ticket: Ticket, guests: usize) {
        self.clocks.insert(ticket, guests);
    }

    /// One of them has, or somebody else: whether that was the last answer.
    pub fn answered(&mut self, ticket: Ticket) -> bool {
        let Some(left) = self.clocks.get_mut(&ticket) else {
            return true;
        };
        *left -= 1;
        let last = *left == 0;
        if last {
            self.clocks.remove(&ticket);
        }
        last
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_guest_ends_a_fio() {
        let mut together = Together::default();
        together.start(FioId(0), vec![VmId(1), VmId(2)]);
        assert_eq!(together.ended(FioId(0), Some(VmId(2)), 1, Vec::new()), None);
        assert_eq!(together.running(FioId(0)), [VmId(1)]);
        assert_eq!(
            together.ended(FioId(0), Some(VmId(1)), 2, Vec::new()),
            Some((3, Vec::new()))
        );
        assert!(!together.is_running());
    }

    #[test]
    fn a_clock_is_answered_by_the_slowest() {
        let mut together = Together::default();
        together.expect(Ticket(1), 2);
        assert!(!together.answered(Ticket(1)));
        assert!(together.answered(Ticket(1)));
        assert!(together.answered(Ticket(9)), "an answer that nobody shares");
    }
}
