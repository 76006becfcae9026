//! fio in the guest: one `FioThread` a job and disk, its buffers, the job's clock, its end.
//!
//! Knows what fio asks of the kernel; what the kernel does with it stands in `block`.

mod clock;
mod end;
mod start;
mod state_files;

use std::sync::{MutexGuard, PoisonError};
use std::time::Duration;

use fio_model::{
    Completion, DigestCache, Errno, FioThread, Next, Op, Request, UnitId, fingerprint,
};
use scenarios::{DiskId, FioId, Io, Observation, Place, Ticket, Time};
use vm_memory::GuestAddress;
use wire::access::Access as _;
use wire::component::Cx;
use wire::message::FromGuest;

use crate::actors::Actor;
use crate::block::{Asked, Block, Submitter};
use crate::config::Digests;
use crate::driver::layout::THREADS_MAX;
use crate::ids::{DiskNo, ThreadNo};
use crate::shared::Shared;
use crate::turn::{GuestTurn, fold_request};
use clock::{CLOCK_DEFAULT, ClockWaits};
use end::FioRun;
use state_files::StateFiles;

/// Requests that a thread hands over, or completions that it takes, in one turn: in between, others
/// run.
const BATCH_MAX: usize = 32;
/// CPU time of a request on its way down, and of a completion: about 2 µs each with verification.
const REQUEST_NS: u64 = 2_000;

/// What a thread sleeps on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sleep {
    No,
    /// `io_getevents`.
    Reap,
    /// `io_submit`, as no request can be had.
    Room,
}

/// A fio thread on its disk.
#[derive(Clone)]
struct Thread {
    slot: ThreadNo,
    fio: FioId,
    /// Threads that end together (`exitall`).
    group: u32,
    /// The disk that was opened.
    disk: DiskNo,
    cpu: usize,
    /// Which disk it takes that for, and where.
    on: (DiskId, Place),
    file: FioThread,
    buffers: u64,
    batch: Vec<Request>,
    submitted: usize,
    seen_io: bool,
    /// Another job's end has ended it (`exitall`): nobody can tell how much it had to verify.
    cut_short: bool,
}

/// What a turn of a thread came to.
struct Worked {
    submitted: usize,
    reaped: usize,
    /// A hash of what was submitted.
    requests: u64,
    sleep: Sleep,
    over: bool,
}

/// The fios of a guest.
#[derive(Clone)]
pub struct Fio {
    threads: Vec<Option<Thread>>,
    runs: Vec<FioRun>,
    state_files: StateFiles,
    clocks: ClockWaits,
    digests: Digests,
}

impl Fio {
    pub fn new(digests: Digests) -> Self {
        Self {
            threads: (0..THREADS_MAX).map(|_| None).collect(),
            runs: Vec::new(),
            state_files: StateFiles::default(),
            clocks: ClockWaits::default(),
            digests,
        }
    }

    pub fn count(&self) -> usize {
        self.threads.iter().flatten().count()
    }

    pub fn runs(&self, slot: ThreadNo) -> bool {
        self.threads[slot.0].is_some()
    }

    pub fn threads_on(&self, disk: DiskNo) -> u32 {
        let threads = self.threads.iter().flatten();
        threads.filter(|thread| thread.disk == disk).count() as u32
    }

    /// The fios that run: threads that they say they have, and those that they have.
    pub fn running(&self) -> impl Iterator<Item = (FioId, usize, usize)> {
        self.runs.iter().map(|run| {
            let threads = self.threads.iter().flatten();
            let mine = threads.filter(|thread| thread.fio == run.fio);
            (run.fio, run.running, mine.count())
        })
    }

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
        self.clocks.wait((ticket, fio), at, whole);
        self.answer_clocks(cx);
    }

    fn answer_clocks(&mut self, cx: &mut Cx<'_, FromGuest>) {
        self.clocks.answer(&self.threads, cx);
    }

    #[cfg(test)]
    pub fn spoil_runs(&mut self) {
        self.runs[0].running += 1;
    }

    /// A fio thread runs until it sleeps or has done a batch of work.
    pub fn turn(
        &mut self,
        slot: ThreadNo,
        block: &mut Block,
        shared: &mut Shared,
        cx: &mut Cx<'_, FromGuest>,
    ) -> GuestTurn {
        shared.actors.block(Actor::Fio(slot));
        let Some(thread) = self.threads[slot.0].as_mut() else {
            return GuestTurn::Idle;
        };
        block.set_awaited(slot, false);
        // Once a turn: each time waits for the processor's other accesses.
        let mut digests = lock(&self.digests);
        let reaped = thread.reap(&mut digests, block, shared, cx);
        let work = thread.work(reaped, &mut digests, block, shared, cx);
        drop(digests);
        self.after_turn(slot, &work, block, shared, cx);
        let (submitted, reaped) = (work.submitted as u32, work.reaped as u32);
        GuestTurn::Fio(slot.0 as u8, submitted, reaped, work.requests)
    }

    fn after_turn(
        &mut self,
        slot: ThreadNo,
        work: &Worked,
        block: &mut Block,
        shared: &mut Shared,
        cx: &mut Cx<'_, FromGuest>,
    ) {
        if work.over {
            let thread = self.threads[slot.0].take().expect("it ran");
            block.close(slot);
            shared.disks.closed(thread.disk);
            self.state_files.keep(&thread.file);
            let result = thread.file.result().clone();
            self.end_others(&thread);
            self.thread_stopped(&thread, result);
            self.start_ready(thread.fio, block, shared, cx.now);
            self.end_if_over(thread.fio, cx);
        } else if work.sleep == Sleep::No {
            let done = (work.submitted + work.reaped).max(1) as u64;
            let at = Time(cx.now.0 + done * REQUEST_NS);
            shared.actors.wake(Actor::Fio(slot), at);
        }
        if !self.clocks.is_empty() {
            self.answer_clocks(cx);
        }
    }
}

impl Thread {
    /// Submits what it has to, up to a batch.
    fn work(
        &mut self,
        reaped: usize,
        digests: &mut DigestCache,
        block: &mut Block,
        shared: &mut Shared,
        cx: &mut Cx<'_, FromGuest>,
    ) -> Worked {
        let mut work = Worked {
            submitted: 0,
            reaped,
            requests: 0,
            sleep: Sleep::No,
            over: false,
        };
        while work.submitted < BATCH_MAX && reaped < BATCH_MAX {
            if let Some(request) = self.batch.get(self.submitted).copied() {
                if block.waits_for_room(&request, self.disk, self.cpu, shared) {
                    block.await_room(self.slot, shared.disks[self.disk].hba());
                    work.sleep = Sleep::Room;
                    break;
                }
                work.requests = fold_request(work.requests, &request);
                work.submitted += 1;
                self.submit(&request, digests, block, shared, cx);
                continue;
            }
            match self.file.next(cx.now.0) {
                Next::Submit => {
                    self.batch.clear();
                    self.batch.extend_from_slice(self.file.batch());
                    self.submitted = 0;
                }
                Next::Reap { .. } => {
                    if !block.has_completions(self.slot) {
                        block.set_awaited(self.slot, true);
                        work.sleep = Sleep::Reap;
                    }
                    break;
                }
                Next::Reopen => {
                    let opened = if shared.disks[self.disk].is_dead() {
                        Err(Errno::ENOENT)
                    } else {
                        Ok(())
                    };
                    self.file.reopened(opened);
                }
                Next::Ended => {
                    work.over = true;
                    break;
                }
            }
        }
        work
    }

    /// The buffer of a unit.
    fn buffer(&self, unit: UnitId) -> u64 {
        self.buffers + u64::from(unit.0) * u64::from(self.file.buffer_len())
    }

    /// Hands a request over, its buffer filled.
    fn submit(
        &mut self,
        request: &Request,
        digests: &mut DigestCache,
        block: &mut Block,
        shared: &mut Shared,
        cx: &mut Cx<'_, FromGuest>,
    ) {
        let start = self.buffer(request.unit);
        let mut wrote = 0;
        if request.op == Op::Write {
            shared.scratch.resize(self.file.buffer_len() as usize, 0);
            let buffer = &mut shared.scratch[..];
            wrote = self.file.prepare(request, cx.now.0, buffer, digests).0;
            // The rest of a short write is in the buffer already.
            if request.buffer_offset == 0 {
                let bytes = &shared.scratch[..request.len as usize];
                shared
                    .memory
                    .write_at(bytes, GuestAddress(start))
                    .expect("buffers lie in guest memory");
            }
        }
        self.submitted += 1;
        let io = Io {
            id: block.next_id(shared.config.vm),
            fio: self.fio,
            disk: self.on.0,
            place: self.on.1,
            write: request.op != Op::Read,
            trim: request.op == Op::Trim,
            offset: request.offset,
            len: request.len,
            wrote,
        };
        let asked = Asked {
            submitter: Submitter::Thread(self.slot),
            disk: self.disk,
            cpu: self.cpu,
            io,
            addr: start + u64::from(request.buffer_offset),
        };
        block.submit(request, asked, shared, cx);
    }

    /// Takes completions; returns how many.
    fn reap(
        &mut self,
        digests: &mut DigestCache,
        block: &mut Block,
        shared: &mut Shared,
        cx: &mut Cx<'_, FromGuest>,
    ) -> usize {
        let mut reaped = 0;
        while reaped < BATCH_MAX {
            let Some((io, completion)) = block.reap(self.slot) else {
                break;
            };
            reaped += 1;
            let mut from = 0;
            if !io.io.write {
                // The unit's buffer from its beginning: what is read may be the rest of a short read.
                let start = self.buffer(io.unit);
                from = (io.addr - start) as usize;
                shared.scratch.resize(from + io.io.len as usize, 0);
                shared
                    .memory
                    .read_at(&mut shared.scratch, GuestAddress(start))
                    .expect("buffers lie in guest memory");
            }
            let result = match completion {
                Completion::Done { bytes } => Ok(bytes),
                Completion::Failed { errno } => Err(errno.0),
            };
            self.seen_io |= result.is_ok();
            let buffer = &shared.scratch[..];
            let checked = self.file.complete(io.unit, completion, buffer, digests);
            if shared.config.per_io {
                let (tries, answer, io) = (io.tries, io.answer, io.io);
                let read = match checked.filter(|_| from == 0) {
                    Some(checked) => checked.0,
                    None if io.write => 0,
                    None => fingerprint(&buffer[from..]).0,
                };
                cx.see_made(|| Observation::IoDone {
                    io,
                    result,
                    read,
                    tries,
                    answer,
                });
            }
        }
        reaped
    }
}

/// The digests, for one turn. A cache that a panic left behind is as good as any.
fn lock(digests: &Digests) -> MutexGuard<'_, DigestCache> {
    digests.lock().unwrap_or_else(PoisonError::into_inner)
}
