//! The clocks of the guest's fios, and who waits for them.

use std::time::Duration;

use scenarios::{FioId, Observation, Ticket};
use wire::component::Cx;
use wire::message::FromGuest;

use super::Fio;

/// The whole of a job's clock when the job itself has no run time.
pub(super) const CLOCK_DEFAULT: Duration = Duration::from_secs(10);

/// Somebody waits for a job's clock.
#[derive(Clone, Copy, Debug)]
pub struct ClockWait {
    ticket: Ticket,
    fio: FioId,
    permille: u32,
}

impl Fio {
    /// Answers `ticket` when the clock of `fio` says `at`.
    pub fn wait_clock(
        &mut self,
        ticket: Ticket,
        fio: FioId,
        at: Duration,
        cx: &mut Cx<'_, FromGuest>,
    ) {
        let run = self.runs.iter().find(|run| run.fio == fio);
        let whole = run.map_or(CLOCK_DEFAULT, |run| run.whole);
        let permille = at.as_nanos().saturating_mul(1000) / whole.as_nanos().max(1);
        self.waits.push(ClockWait {
            ticket,
            fio,
            permille: permille.min(1000) as u32,
        });
        self.answer_clocks(cx);
    }

    /// The clock of a fio is that of its slowest thread, once each has seen I/O.
    pub(super) fn answer_clocks(&mut self, cx: &mut Cx<'_, FromGuest>) {
        let threads = &self.threads;
        self.waits.retain(|wait| {
            let mut mine = threads
                .iter()
                .flatten()
                .filter(|thread| thread.fio == wait.fio);
            let over = mine
                .all(|thread| thread.seen_io && thread.file.progress().permille >= wait.permille);
            if over {
                let (ticket, result) = (wait.ticket, Ok(0));
                cx.see(Observation::Answered { ticket, result });
            }
            !over
        });
    }
}
