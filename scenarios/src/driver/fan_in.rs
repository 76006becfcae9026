//! What several guests answer becomes one answer: a fio that runs in each of them, and its clock.
//!
//! A plan sees one fio; each guest runs its own share. Knows who still has to answer, not what.

use std::collections::BTreeMap;

use crate::names::{FioId, Ticket, VmId};
use crate::observation::FioJobEnd;

/// A fio that runs in several guests at once, and what those that have ended said.
#[derive(Clone, Debug, Default)]
struct Spread {
    running: Vec<VmId>,
    exit: u8,
    jobs: Vec<FioJobEnd>,
}

/// Answers that are still to come from several guests.
#[derive(Clone, Debug, Default)]
pub struct FanIn {
    fios: BTreeMap<FioId, Spread>,
    /// Guests that still have to answer.
    tickets: BTreeMap<Ticket, usize>,
}

impl FanIn {
    /// `fio` runs in `running`.
    pub fn start(&mut self, fio: FioId, running: Vec<VmId>) {
        let spread = Spread {
            running,
            ..Spread::default()
        };
        self.fios.insert(fio, spread);
    }

    /// The guests in which `fio` runs.
    #[must_use]
    pub fn running(&self, fio: FioId) -> &[VmId] {
        self.fios.get(&fio).map_or(&[], |spread| &spread.running)
    }

    /// The fios that run.
    pub fn fios(&self) -> impl Iterator<Item = FioId> {
        self.fios.keys().copied()
    }

    /// `vm`'s share of `fio` has ended; the whole's exit status and jobs with the last one. Of a disk to which
    /// another guest's share wrote, too, no guest knows what was written last: the strict oracle says nothing.
    pub fn ended(
        &mut self,
        fio: FioId,
        vm: Option<VmId>,
        exit: u8,
        mut jobs: Vec<FioJobEnd>,
    ) -> Option<(u8, Vec<FioJobEnd>)> {
        let spread = self.fios.get_mut(&fio)?;
        // fio's exit status is the number of failed jobs, mod 256.
        spread.exit = spread.exit.wrapping_add(exit);
        spread.running.retain(|running| Some(*running) != vm);
        for job in &mut jobs {
            for other in spread.jobs.iter_mut().filter(|end| end.disk == job.disk) {
                if other.written > 0 {
                    job.strict.clear();
                }
                if job.written > 0 {
                    other.strict.clear();
                }
            }
        }
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
        self.tickets.insert(ticket, guests);
    }

    /// One of them has, or somebody else: whether that was the last answer.
    pub fn answered(&mut self, ticket: Ticket) -> bool {
        let Some(left) = self.tickets.get_mut(&ticket) else {
            return true;
        };
        *left -= 1;
        let last = *left == 0;
        if last {
            self.tickets.remove(&ticket);
        }
        last
    }
}

#[cfg(test)]
mod tests {
    use crate::names::{ControllerId, DiskId, Place, TargetId};

    use super::*;

    #[test]
    fn the_last_guest_ends_a_fio() {
        let mut fan_in = FanIn::default();
        fan_in.start(FioId(0), vec![VmId(1), VmId(2)]);
        assert_eq!(fan_in.ended(FioId(0), Some(VmId(2)), 1, Vec::new()), None);
        assert_eq!(fan_in.running(FioId(0)), [VmId(1)]);
        assert_eq!(
            fan_in.ended(FioId(0), Some(VmId(1)), 2, Vec::new()),
            Some((3, Vec::new()))
        );
        assert_eq!(fan_in.fios().next(), None);
    }

    #[test]
    fn what_was_written_last_is_not_known_where_two_guests_write() {
        let end = |disk, written| FioJobEnd {
            section: Default::default(),
            disk: DiskId(disk),
            place: Place {
                controller: ControllerId(1),
                target: TargetId(0),
            },
            error: 0,
            hung: false,
            written,
            verified: written,
            volume: 0,
            messages: Vec::new(),
            strict: vec!["an older write".to_owned()],
            no_data: Vec::new(),
        };
        let mut fan_in = FanIn::default();
        fan_in.start(FioId(0), vec![VmId(1), VmId(2)]);
        let first = vec![end(1, 4), end(2, 4), end(3, 0)];
        assert_eq!(fan_in.ended(FioId(0), Some(VmId(1)), 0, first), None);
        let second = vec![end(1, 4), end(2, 0), end(4, 4)];
        let whole = fan_in.ended(FioId(0), Some(VmId(2)), 0, second);
        let (_, jobs) = whole.expect("both have ended");
        let said = jobs.iter().map(|job| (job.disk.0, job.strict.len()));
        // The writer of disk 2 wrote alone; who only read it may have read what was older.
        let expected = [(1, 0), (1, 0), (2, 1), (2, 0), (3, 1), (4, 1)];
        assert!(said.eq(expected), "{jobs:?}");
    }

    #[test]
    fn a_clock_is_answered_by_the_slowest() {
        let mut fan_in = FanIn::default();
        fan_in.expect(Ticket(1), 2);
        assert!(!fan_in.answered(Ticket(1)));
        assert!(fan_in.answered(Ticket(1)));
        assert!(fan_in.answered(Ticket(9)), "an answer that nobody shares");
    }
}
