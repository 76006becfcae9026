//! A fio thread as a state machine: what it issues, in which order, when it waits, how it ends.
//!
//! The loop is fio's, with libaio: a unit is taken and queued; a batch is submitted; when no unit is
//! free, completions are reaped one at a time down to the low-water mark; the backlog rule puts
//! verify reads between writes; a pass ends with the verification of what is left, and fio closes
//! and opens the device again. A trim is waited for, as every engine of fio 3.33 does.
//!
//! # Divergence from fio
//!
//! While it waits for a trim, what else completes is taken in at once; fio takes that in later.
//!
//! Knows nothing of buffers' owners, of the device and of clocks. `issue` chooses the next I/O,
//! `finish` takes in a completion.

mod finish;
mod issue;
mod tally;
mod volume;

use std::collections::VecDeque;
use std::sync::Arc;

use crate::digest_cache::DigestCache;
use crate::errno::Errno;
use crate::fingerprint::{Fingerprint, fingerprint};
use crate::job::Job;
use crate::offsets::Offsets;
use crate::payload;
use crate::random::{SeedTable, Taus88};
use crate::request::{Completion, Device, Next, Op, Request, UnitId};
use crate::result::{FirstFailure, JobResult, Origin};
use crate::strict::StrictOracle;
use crate::terms::{SetupError, Terms, Volume};
use crate::units::Units;
use crate::verify::{self, Stamp};
use crate::verify_state::{VerifyState, VerifyStateError};
use crate::write_log::WriteLog;
pub use tally::Progress;
use tally::Tally;

/// What the thread does next when it is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// Choose an I/O.
    Issue,
    /// One was queued: submit if the batch is full.
    Queued,
    /// Wait if no unit is free.
    CheckFull,
    /// Submit what is queued, then reap.
    Reap,
    /// Completions were handed in: reap on or issue.
    Reaped,
    /// A trim was submitted: nothing goes on before it has ended.
    Trimming,
    /// Nothing more is issued in this phase: wait for all.
    Drain,
    /// The device is being opened again, for this phase.
    Reopening,
    /// It is over.
    Ended,
}

/// The two halves of a pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// The job's own I/O, with the backlog's verify reads between.
    Io,
    /// Verification of what is left in the log.
    Verify,
}

/// One fio thread.
#[derive(Clone, Debug)]
pub struct FioThread {
    terms: Terms,
    file: Arc<str>,
    device_bytes: u64,
    thread_number: u32,
    seeds: SeedTable,
    offsets: Offsets,
    payload_seeds: Taus88,
    buffer_seeds: Taus88,
    log: WriteLog,
    oracle: Option<StrictOracle>,
    units: Units,
    /// Requests queued and, once handed over, the batch.
    queue: Vec<Request>,
    handed_over: bool,
    /// Requests queued or in flight.
    depth_now: u32,
    /// Completions still wanted before the thread runs on.
    awaited: u32,
    /// Whether it reaps down to the low-water mark, as no unit was free.
    reaps_down: bool,
    burst: u64,
    /// The trim that is waited for.
    trim: Option<UnitId>,
    last_op: Option<Op>,
    step: Step,
    phase: Phase,
    tally: Tally,
    loops_left: u64,
    terminated: bool,
    started_ns: Option<u64>,
    now_ns: u64,
    /// `ramp_time` is not over.
    in_ramp: bool,
    /// Writes that `experimental_verify` has drawn again.
    redrawn: u64,
    /// The end of an earlier run's writes, where this one stops to verify.
    state: Option<VerifyState>,
    /// Offsets of the last writes that completed, oldest first, if a state file will name them.
    completed: VecDeque<u64>,
    result: JobResult,
}

/// Where writes are noted until they are verified.
fn log_of(job: &Job, terms: &Terms) -> WriteLog {
    let region = terms.region;
    if job.has_map() {
        let blocks = region.size / u64::from(terms.len_min);
        let backlogged = 2 * terms.backlog + u64::from(terms.depth);
        let capacity = if terms.backlog == 0 {
            blocks
        } else {
            blocks.min(backlogged)
        };
        return WriteLog::in_issue_order(if terms.writes { capacity as usize } else { 0 });
    }
    let grain = terms.len_min.min(job.grain());
    let slots = if terms.writes {
        region.size.div_ceil(u64::from(grain))
    } else {
        0
    };
    WriteLog::in_offset_order(slots, grain, region.start, terms.len_max)
}

impl FioThread {
    /// A thread of `job`, the `thread_number`th of the run (from 1), about to begin on `device`.
    ///
    /// All memory that it needs is allocated here.
    ///
    /// # Errors
    ///
    /// [`SetupError`] where fio gives up before the first I/O, with `EINVAL`; a job with
    /// `verify_state_load` finds no file here ([`FioThread::resume`]).
    pub fn start(
        job: &Job,
        thread_number: u32,
        device: &Device,
        volume: Option<Volume>,
    ) -> Result<FioThread, SetupError> {
        FioThread::resume(job, thread_number, device, volume, None)
    }

    /// Like [`FioThread::start`], beside the file that an earlier run left: the bytes of
    /// [`VerifyState::file_name`], looked at only with `verify_state_load`.
    ///
    /// # Errors
    ///
    /// As [`FioThread::start`], and if the file is wanted and is no good.
    pub fn resume(
        job: &Job,
        thread_number: u32,
        device: &Device,
        volume: Option<Volume>,
        state_file: Option<&[u8]>,
    ) -> Result<FioThread, SetupError> {
        let state = job.verify_state_load.then(|| {
            let bytes = state_file.ok_or(VerifyStateError::Missing)?;
            VerifyState::decode(bytes)
        });
        let state = state.transpose()?;
        let terms = Terms::new(job, device.size_bytes, volume)?;
        let seeds = if job.allrandrepeat {
            SeedTable::all_repeatable(thread_number)
        } else {
            SeedTable::new(job.randseed.unwrap_or(0x89), thread_number)
        };
        let log = log_of(job, &terms);
        let region = terms.region;
        // It knows whole intervals only.
        let in_intervals = job.grain().is_multiple_of(terms.interval);
        let oracle = (job.writes_blocks() && terms.verify.is_some() && in_intervals).then(|| {
            let reach = region.size + u64::from(terms.len_max);
            StrictOracle::new(region.start, reach, terms.interval)
        });
        Ok(FioThread {
            file: Arc::from(device.name.as_str()),
            device_bytes: device.size_bytes,
            thread_number,
            offsets: Offsets::new(
                job,
                &seeds,
                &terms.files,
                terms.time_based,
                device,
                thread_number,
            ),
            payload_seeds: Taus88::new(seeds.verify()),
            buffer_seeds: Taus88::new(seeds.buffers()),
            seeds,
            log,
            oracle,
            units: Units::new(terms.depth),
            queue: Vec::with_capacity(terms.depth as usize),
            handed_over: false,
            depth_now: 0,
            awaited: 0,
            reaps_down: true,
            burst: 0,
            trim: None,
            last_op: None,
            step: Step::Issue,
            phase: Phase::Io,
            tally: Tally::default(),
            loops_left: terms.loops.saturating_sub(1),
            terminated: false,
            started_ns: None,
            now_ns: 0,
            in_ramp: terms.ramp_ns > 0,
            redrawn: 0,
            state,
            completed: VecDeque::with_capacity(terms.state_depth.unwrap_or(0) as usize),
            result: JobResult {
                block_len: terms.len_min,
                ..JobResult::new(&job.name, thread_number, &device.name)
            },
            terms,
        })
    }

    /// What the thread wants next, at `now_ns`. Only a job with a run time and no volume looks at
    /// the time.
    ///
    /// After [`Next::Reap`] it wants the same again until enough completions were handed in; after
    /// [`Next::Reopen`], until [`FioThread::reopened`] was called.
    pub fn next(&mut self, now_ns: u64) -> Next {
        self.now_ns = now_ns;
        self.started_ns.get_or_insert(now_ns);
        if self.handed_over {
            self.queue.clear();
            self.handed_over = false;
        }
        loop {
            match self.step {
                Step::Issue => self.step = self.issue(),
                Step::Queued if self.trim.is_some() => {
                    self.step = Step::Trimming;
                    return self.submit();
                }
                Step::Queued => {
                    self.step = Step::CheckFull;
                    if self.queue.len() >= self.terms.batch as usize {
                        return self.submit();
                    }
                }
                Step::Trimming => match self.trim {
                    Some(unit) if self.units.get(unit).in_flight => {
                        return Next::Reap { at_least: 1 };
                    }
                    Some(_) | None => {
                        self.trim = None;
                        self.step = match self.result.error.is_ok() {
                            true => Step::CheckFull,
                            false => Step::Drain,
                        };
                    }
                },
                Step::CheckFull if self.units.none_free() => {
                    self.reaps_down = true;
                    self.step = Step::Reap;
                }
                Step::CheckFull => self.step = Step::Issue,
                Step::Reap => {
                    if !self.queue.is_empty() {
                        return self.submit();
                    }
                    self.awaited = self.terms.batch_complete.min(self.depth_now);
                    self.step = Step::Reaped;
                }
                Step::Reaped if self.awaited > 0 => {
                    return Next::Reap {
                        at_least: self.awaited,
                    };
                }
                Step::Reaped if !self.result.error.is_ok() => self.step = Step::Drain,
                Step::Reaped if self.reaps_down && self.depth_now > self.terms.low => {
                    self.step = Step::Reap;
                }
                Step::Reaped => self.step = Step::Issue,
                Step::Drain => {
                    if !self.queue.is_empty() {
                        return self.submit();
                    }
                    if self.depth_now > 0 {
                        self.awaited = self.depth_now;
                        return Next::Reap {
                            at_least: self.awaited,
                        };
                    }
                    self.step = self.end_of_phase();
                }
                Step::Reopening => return Next::Reopen,
                Step::Ended => return Next::Ended,
            }
        }
    }

    fn submit(&mut self) -> Next {
        self.handed_over = true;
        Next::Submit
    }

    /// The requests to submit, in order. Valid after [`Next::Submit`] until the next call of
    /// [`FioThread::next`].
    pub fn batch(&self) -> &[Request] {
        if self.handed_over { &self.queue } else { &[] }
    }

    /// Puts into `buffer`, the buffer of the request's unit, what the request writes. Call it for
    /// each request of a batch; it does nothing for a read, a trim and the rest of a short write.
    ///
    /// Returns the fingerprint of what is written: with several headers in a write, that of the
    /// first interval; without a header in front, that of the content.
    pub fn prepare(
        &mut self,
        request: &Request,
        now_ns: u64,
        buffer: &mut [u8],
        digests: &mut DigestCache,
    ) -> Fingerprint {
        let unit = self.units.get_mut(request.unit);
        if unit.op != Op::Write || unit.moved > 0 {
            return unit.fingerprint;
        }
        let buffer = &mut buffer[..unit.len as usize];
        let Some(verify) = self.terms.verify else {
            payload::fill(unit.seed, buffer);
            unit.fingerprint = fingerprint(buffer);
            return unit.fingerprint;
        };
        unit.prepared_ns = now_ns;
        let stamp = Stamp {
            verify,
            interval: self.terms.interval,
            header_at: self.terms.verify_offset,
            seed: unit.seed,
            pattern: self.terms.pattern.as_ref(),
            offset: unit.offset,
            now_ns,
            thread: self.thread_number as u16,
            numberio: unit.numberio,
        };
        let header = verify::stamp(&stamp, buffer, digests);
        let is_in_front = header.magic != 0 && self.terms.verify_offset == 0;
        unit.fingerprint = if is_in_front {
            Fingerprint::of_header(&header)
        } else {
            fingerprint(buffer)
        };
        unit.fingerprint
    }

    /// Hands in how the request of `unit` ended. `buffer` is the unit's buffer: for a read, with
    /// whatever it holds now, new or old; for a write it is not looked at.
    ///
    /// Returns, of a verify read that fio is content with, the fingerprint of its first interval, if that has its
    /// header in front: the check has made sure of it.
    ///
    /// # Panics
    ///
    /// If `unit` has no request in flight.
    pub fn complete(
        &mut self,
        unit: UnitId,
        completion: Completion,
        buffer: &[u8],
        digests: &mut DigestCache,
    ) -> Option<Fingerprint> {
        assert!(
            self.units.get(unit).in_flight,
            "{unit:?} has nothing in flight"
        );
        self.depth_now -= 1;
        self.awaited = self.awaited.saturating_sub(1);
        self.finish(unit, completion, buffer, digests)
    }

    /// Answers [`Next::Reopen`]: the device was opened again, or could not be.
    pub fn reopened(&mut self, opened: Result<(), Errno>) {
        assert_eq!(self.step, Step::Reopening, "nobody asked");
        match opened {
            Ok(()) => self.step = Step::Issue,
            Err(errno) => {
                self.result
                    .fail(errno, Origin::Open, FirstFailure::Reopen { errno });
                self.step = Step::Ended;
            }
        }
    }

    /// Whether the job writes or trims.
    pub fn writes(&self) -> bool {
        (self.terms.writes && !self.terms.verify_only) || self.trims_alone()
    }

    /// Whether it trims, and writes nothing.
    fn trims_alone(&self) -> bool {
        self.terms.trims && !self.terms.writes
    }

    /// Another writes to the disk, too: from now on the strict oracle cannot know what a block holds last,
    /// and says nothing of what is read. fio's own checks stay.
    pub fn share_disk(&mut self) {
        if let Some(oracle) = &mut self.oracle {
            oracle.share();
        }
    }

    /// Ends the job early, as its run time or another job's `exitall` would: what is in flight is
    /// waited for and checked, what is logged is never verified.
    pub fn terminate(&mut self) {
        self.terminated = true;
    }

    /// Whether it has ended with an error that is to end other threads, too (`exitall_on_error`).
    pub fn exits_all_on_error(&self) -> bool {
        self.terms.exitall_on_error && !self.result.error.is_ok()
    }

    /// How far it has come, as of the last call of [`FioThread::next`].
    pub fn progress(&self) -> Progress {
        let size = self.terms.covered;
        let permille = if self.step == Step::Ended {
            1000
        } else if self.terms.runtime_ns > 0 && self.terms.time_based {
            let run = self.now_ns - self.started_ns.unwrap_or(self.now_ns);
            (u128::from(run) * 1000 / u128::from(self.terms.runtime_ns)).min(1000) as u32
        } else {
            let verifies = self.terms.writes && self.terms.verify.is_some() && self.terms.do_verify;
            let halves = 1 + u64::from(verifies);
            let trims = u64::from(self.terms.trims && self.terms.writes);
            let passes = self.terms.loops * (halves + trims);
            let whole = if self.terms.io_bytes > size {
                u128::from(self.terms.io_bytes) * u128::from(self.terms.loops)
            } else {
                u128::from(self.terms.io_bytes) * u128::from(passes)
            };
            (u128::from(self.tally.done) * 1000 / whole).min(1000) as u32
        };
        Progress {
            written: self.result.blocks_written(),
            verified: self.result.blocks_verified(),
            volume: self
                .tally
                .volume(&self.terms, self.loops_left, self.log.replaced())
                / u64::from(self.terms.len_min),
            permille,
        }
    }

    /// Requests queued or in flight.
    pub fn in_flight(&self) -> u32 {
        self.depth_now
    }

    /// I/O units of this thread: `iodepth`, scaled, and 1 for a synchronous engine.
    pub fn depth(&self) -> u32 {
        self.terms.depth
    }

    /// Bytes that each unit's buffer must hold.
    pub fn buffer_len(&self) -> u32 {
        self.terms.buffer_len
    }

    /// The bytes of the state file that fio leaves at the end, if `verify_state_save` asks for one: only a
    /// job that writes and verifies does.
    pub fn verify_state(&self) -> Option<Vec<u8>> {
        let depth = self.terms.state_depth?;
        let state = VerifyState {
            name: self.result.name.clone(),
            index: u64::from(self.thread_number) - 1,
            depth,
            numberio: self.tally.issued[Op::Write as usize],
            offset_draws: self.offsets.draws(),
            completed: self.completed.iter().rev().copied().collect(),
        };
        Some(state.encode())
    }

    /// How the job stands, and, after [`Next::Ended`], how it ended.
    pub fn result(&self) -> &JobResult {
        &self.result
    }
}
