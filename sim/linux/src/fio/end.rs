//! How fios end in the guest. Knows results; what a thread does until then stands in `fio`.

use std::collections::VecDeque;
use std::time::Duration;

use fio_model::{Errno, JobResult, Placed, StrictKind, exit_status};
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
    /// Whether the end of any thread ends those of its group (`exitall`).
    pub exits_all: bool,
    /// Threads that have not begun, with their disks, in the order in which they do.
    waiting: VecDeque<((DiskId, Place), Placed)>,
    /// fio's number of each thread, and its section.
    sections: Vec<(u32, u16)>,
    /// Those that run wait for the end of others (`Placed::after`) so often.
    wave: u32,
    results: Vec<JobResult>,
    ends: Vec<FioJobEnd>,
}

impl FioRun {
    /// A fio that starts; its jobs have this run time, and these threads.
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
            sections: waiting
                .iter()
                .map(|(_, placed)| (placed.thread_number, placed.section))
                .collect(),
            waiting,
            wave: 0,
            results: Vec::new(),
            ends: Vec::new(),
        }
    }

    fn section_of(&self, thread_number: u32) -> u16 {
        let mut sections = self.sections.iter();
        let row = sections.find(|(number, _)| *number == thread_number);
        row.expect("only its own threads end").1
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

impl Fio {
    /// A thread that ran has ended.
    pub(super) fn thread_stopped(&mut self, thread: &Thread, result: JobResult) {
        if let Some(run) = self.runs.iter_mut().find(|run| run.fio == thread.fio) {
            run.running -= 1;
        }
        let volume = match thread.cut_short {
            true => 0,
            false => thread.file.progress().volume,
        };
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
            section: run.section_of(result.thread_number),
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

    /// `exitall`: the end of a thread ends those of its group.
    pub(super) fn end_others(&mut self, ended: &Thread) {
        let run = self.runs.iter().find(|run| run.fio == ended.fio);
        if !run.is_some_and(|run| run.exits_all) && !ended.file.exits_all_on_error() {
            return;
        }
        let others = self.threads.iter_mut().flatten();
        for other in others.filter(|other| (other.fio, other.group) == (ended.fio, ended.group)) {
            other.file.terminate();
            other.cut_short = true;
        }
    }

    pub(super) fn end_if_over(&mut self, fio: FioId, cx: &mut Cx<'_, FromGuest>) {
        let over = self
            .runs
            .iter()
            .position(|run| run.fio == fio && run.running == 0 && run.waiting.is_empty());
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
        for run in &mut self.runs {
            run.waiting.clear();
        }
        for fio in self.runs.iter().map(|run| run.fio).collect::<Vec<_>>() {
            self.end_if_over(fio, cx);
        }
    }
}
