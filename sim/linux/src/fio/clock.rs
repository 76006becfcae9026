//! The clocks of the guest's fios, and who waits for them.

use std::time::Duration;

use scenarios::{FioId, Observation, Ticket};
use wire::component::Cx;
use wire::message::FromGuest;

use super::Thread;

/// The whole of a job's clock when the job itself has no run time.
pub const CLOCK_DEFAULT: Duration = Duration::from_secs(10);

/// Those who wait for a job's clock.
#[derive(Clone, Debug, Default)]
pub struct ClockWaits(Vec<ClockWait>);

#[derive(Clone, Copy, Debug)]
struct ClockWait {
    ticket: Ticket,
    fio: FioId,
    permille: u32,
}

impl ClockWaits {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// `ticket` waits for the clock of `fio`, which says `whole` in the end, to say `at`.
    pub fn wait(&mut self, (ticket, fio): (Ticket, FioId), at: Duration, whole: Duration) {
        let permille = at.as_nanos().saturating_mul(1000) / whole.as_nanos().max(1);
        self.0.push(ClockWait {
            ticket,
            fio,
            permille: permille.min(1000) as u32,
        });
    }

    /// Answers those whose time has come. The clock of a fio is that of its slowest thread, once each has seen
    /// I/O.
    pub fn answer(&mut self, threads: &[Option<Thread>], cx: &mut Cx<'_, FromGuest>) {
        self.0.retain(|wait| {
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
