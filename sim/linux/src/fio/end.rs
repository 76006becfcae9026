//! How fios end in the guest. Knows results; what a thread does until then stands in `fio`.

use std::time::Duration;

use fio_model::{Errno, JobResult, StrictKind, exit_status};
use scenarios::{DiskId, FioId, FioJobEnd, Observation, Place};
use wire::component::Cx;
use wire::message::FromGuest;

use super::clock::CLOCK_DEFAULT;
use super::{Fio, Thread};
use crate::actors::Actor;
use crate::block::Block;
use crate::ids::ThreadNo;
use crate::shared::Shared;

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
    results: Vec<JobResult>,
    ends: Vec<FioJobEnd>,
}

impl FioRun {
    /// A fio that starts; its job has this run time.
    #[must_use]
    pub fn new(fio: FioId, runtime: Duration) -> Self {
        let whole = if runtime.is_zero() {
            CLOCK_DEFAULT
        } else {
            runtime
        };
        Self {
            fio,
            whole,
            running: 0,
            results: Vec::new(),
            ends: Vec::new(),
        }
    }
}

impl Fio {
    /// A thread that ran has ended.
    pub(super) fn thread_stopped(&mut self, thread: &Thread, result: JobResult) {
        if let Some(run) = self.runs.iter_mut().find(|run| run.fio == thread.fio) {
            run.running -= 1;
        }
        let volume = thread.file.progress().volume;
        self.thread_ended(thread.fio, thread.on, volume, result);
    }

    /// A thread has ended, or could not begin.
    pub(super) fn thread_ended(
        &mut self,
        fio: FioId,
        (disk, place): (DiskId, Place),
        volume: u64,
        result: JobResult,
    ) {
        let Some(run) = self.runs.iter_mut().find(|run| run.fio == fio) else {
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

    pub(super) fn end_if_over(&mut self, fio: FioId, cx: &mut Cx<'_, FromGuest>) {
        let over = self
            .runs
            .iter()
            .position(|run| run.fio == fio && run.running == 0);
        let Some(over) = over else { return };
        let mut run = self.runs.remove(over);
        run.ends.sort_by_key(|end| end.disk);
        let exit = exit_status(&run.results).unwrap_or(u8::MAX);
        cx.see(Observation::FioEnded {
            fio,
            exit,
            jobs: run.ends,
        });
        self.answer_clocks(cx);
    }

    /// All threads end: their guest goes away under them (`error`), or they have hung.
    pub fn stop(
        &mut self,
        error: Option<Errno>,
        block: &mut Block,
        shared: &mut Shared,
        cx: &mut Cx<'_, FromGuest>,
    ) {
        for slot in (0..self.threads.len()).map(ThreadNo) {
            shared.actors.block(Actor::Fio(slot));
            let Some(thread) = self.threads[slot.0].take() else {
                continue;
            };
            block.close(slot);
            shared.disks.closed(thread.disk);
            let mut result = thread.file.result().clone();
            match error {
                Some(errno) => result.error = errno,
                None => result = result.hung(),
            }
            self.thread_stopped(&thread, result);
        }
        for fio in self.runs.iter().map(|run| run.fio).collect::<Vec<_>>() {
            self.end_if_over(fio, cx);
        }
    }
}
