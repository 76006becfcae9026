//! How fios end in the guest. Knows results; what a thread does until then stands in `fio`.

use std::collections::VecDeque;
use std::time::Duration;

use fio_model::{Errno, JobResult, Placed, StrictKind, exit_status};
use scenarios::{DiskId, FioId, FioJobEnd, Observation, Place};

use super::clock::CLOCK_DEFAULT;
use crate::Guest;
use wire::component::{Cx, When};
use wire::message::FromGuest;

/// Messages of a job that are kept for the report.
const MESSAGES_MAX: usize = 3;

/// A fio that runs, with the threads that have ended.
#[derive(Clone, Debug)]
pub struct FioRun {
    /// Which one.
    pub fio: FioId,
    /// The whole of its job's clock.
    pub whole: Duration,
    /// Threads that have not ended.
    pub running: usize,
    /// Whether the end of any thread ends those of its group (`exitall`).
    pub exits_all: bool,
    /// Threads that have not begun, with their disks, in the order in which they do.
    waiting: VecDeque<((DiskId, Place), Placed)>,
    /// Those that run wait for the end of others (`Placed::after`) so often.
    wave: u32,
    results: Vec<JobResult>,
    ends: Vec<FioJobEnd>,
}

impl FioRun {
    /// A fio that starts; its jobs have this run time, and these threads.
    #[must_use]
    pub fn new(
        fio: FioId,
        runtime: Duration,
        waiting: VecDeque<((DiskId, Place), Placed)>,
    ) -> Self {
        let whole = if runtime.is_zero() {
            CLOCK_DEFAULT
        } else {
            runtime
        };
        Self {
            fio,
            whole,
            running: 0,
            exits_all: waiting.iter().any(|(_, placed)| placed.job.exitall),
            waiting,
            wave: 0,
            results: Vec::new(),
            ends: Vec::new(),
        }
    }

    /// The next thread that waits for nobody; `has_room` for it, or, if none runs that could make some, for
    /// none.
    pub(super) fn next_ready(&mut self, has_room: bool) -> Option<((DiskId, Place), Placed)> {
        let after = self.waiting.front()?.1.after;
        let waits = self.running > 0 && (after > self.wave || !has_room);
        if waits {
            return None;
        }
        self.wave = after;
        self.waiting.pop_front()
    }
}

impl Guest {
    pub(super) fn thread_stopped(
        &mut self,
        fio: FioId,
        at: (DiskId, Place),
        volume: u64,
        result: JobResult,
    ) {
        if let Some(run) = self.fios.iter_mut().find(|run| run.fio == fio) {
            run.running -= 1;
        }
        self.thread_ended(fio, at, volume, result);
    }

    pub(super) fn thread_ended(
        &mut self,
        fio: FioId,
        (disk, place): (DiskId, Place),
        volume: u64,
        result: JobResult,
    ) {
        let Some(run) = self.fios.iter_mut().find(|run| run.fio == fio) else {
            return;
        };
        let messages = result.messages.iter().take(MESSAGES_MAX).cloned();
        let messages = messages.chain(result.continued_line()).collect();
        let found = |no_data: bool| {
            let found = result.strict_violations.iter();
            let such = found.filter(|found| (found.kind == StrictKind::NoData) == no_data);
            such.take(MESSAGES_MAX).map(ToString::to_string).collect()
        };
        run.ends.push(FioJobEnd {
            disk,
            place,
            error: result.error.0,
            hung: result.is_hung,
            written: result.blocks_written(),
            verified: result.blocks_verified(),
            volume,
            messages,
            strict: found(false),
            no_data: found(true),
        });
        run.results.push(result);
    }

    pub(super) fn end_fio_if_over(&mut self, fio: FioId, cx: &mut Cx<'_, FromGuest>) {
        let over = self
            .fios
            .iter()
            .position(|run| run.fio == fio && run.running == 0 && run.waiting.is_empty());
        let Some(over) = over else { return };
        let mut run = self.fios.remove(over);
        run.ends.sort_by_key(|end| end.disk);
        let exit = exit_status(&run.results).unwrap_or(u8::MAX);
        cx.see(Observation::FioEnded {
            fio,
            exit,
            jobs: run.ends,
        });
        self.answer_clocks(cx);
    }

    /// All fio threads end with `errno`: their guest goes away under them.
    pub(crate) fn end_applications(&mut self, errno: Errno, cx: &mut Cx<'_, FromGuest>) {
        self.stop_threads(cx, |mut result| {
            result.error = errno;
            result
        });
        self.forget_all_ios();
        self.end_managing(cx);
    }

    /// Nothing will ever come back: the threads that wait have hung.
    pub(crate) fn give_up(&mut self, cx: &mut Cx<'_, FromGuest>) {
        self.stop_threads(cx, |result| result.hung());
    }

    fn stop_threads(&mut self, cx: &mut Cx<'_, FromGuest>, end: impl Fn(JobResult) -> JobResult) {
        for slot in 0..self.threads.len() {
            self.set(self.fio_actor(slot), When::Blocked);
            let Some(thread) = self.threads[slot].take() else {
                continue;
            };
            for (n, _) in &thread.inbox {
                self.forget_io(*n);
            }
            let volume = thread.file.progress().volume;
            let result = end(thread.file.result().clone());
            self.thread_stopped(thread.fio, (thread.id, thread.place), volume, result);
        }
        for run in &mut self.fios {
            run.waiting.clear();
        }
        for fio in self.fios.iter().map(|run| run.fio).collect::<Vec<_>>() {
            self.end_fio_if_over(fio, cx);
        }
    }
}
