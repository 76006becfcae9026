//! fio in the guest: one `FioThread` a job and disk, its buffers, the job's clock, its end.
//!
//! Knows what fio asks of the kernel; what the kernel does with it stands in `io`.

mod clock;
mod end;

use std::collections::VecDeque;
use std::sync::{MutexGuard, PoisonError};
use std::time::Duration;

use fio_model::{
    Completion, Device, DigestCache, Errno, FioThread, GivenDisk, Job, JobFile, JobResult, Next,
    Op, Placed, Request, fingerprint,
};
use scenarios::{DiskId, FioId, Io, IoId, Observation, Place, Time};
use vm_memory::GuestAddress;

pub use clock::ClockWait;
pub use end::FioRun;

use super::disk::Disk;
use super::io::Asked;
use super::layout::{THREAD_BYTES, thread_buffers};
use super::turn::fold_request;
use super::{CPUS, Digests, Guest, GuestTurn, Power};
use wire::access::Access as _;
use wire::component::{Cx, When};
use wire::message::FromGuest;

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
pub struct Thread {
    fio: FioId,
    /// Threads that end together (`exitall`).
    group: u32,
    /// The disk that was opened.
    pub disk: usize,
    /// The CPU that it runs on.
    pub cpu: usize,
    id: DiskId,
    place: Place,
    file: FioThread,
    buffers: u64,
    batch: Vec<Request>,
    submitted: usize,
    /// Completions that it has not reaped.
    pub inbox: VecDeque<(usize, Completion)>,
    sleep: Sleep,
    seen_io: bool,
}

impl Thread {
    /// Whether a completion wakes it.
    #[must_use]
    pub fn wants_completions(&self) -> bool {
        self.sleep == Sleep::Reap
    }
}

impl Guest {
    /// Starts a fio: the threads that its job file has on these disks, those of a `stonewall` as the ones
    /// before have ended.
    pub(super) fn start_fio(
        &mut self,
        fio: FioId,
        file: &JobFile,
        on: &[(DiskId, Place)],
        cx: &mut Cx<'_, FromGuest>,
    ) {
        let disks: Vec<GivenDisk> = on
            .iter()
            .map(|(id, place)| GivenDisk {
                label: format!("disk{}", id.0),
                node: self.node(self.usable_disk(*id, *place)),
            })
            .collect();
        let runtime = Duration::from_nanos(file.runtime_ns());
        let placed = file.place(&disks).into_iter();
        let placed = placed.map(|placed| (on[placed.disk], placed)).collect();
        self.fios.push(FioRun::new(fio, runtime, placed));
        self.start_ready(fio, cx.now);
        self.end_fio_if_over(fio, cx);
    }

    /// Starts those threads of a fio that wait for no other one, as far as there is room for them.
    ///
    /// # Divergence from fio
    ///
    /// At most `THREADS_MAX` threads of a guest run at once; more begin as others end. A thread has at most as
    /// many requests in flight as `THREAD_BYTES` hold.
    pub(super) fn start_ready(&mut self, fio: FioId, now: Time) {
        loop {
            let has_room = self.free_slot().is_some();
            let run = self.fios.iter_mut().find(|run| run.fio == fio);
            let Some((at, placed)) = run.and_then(|run| run.next_ready(has_room)) else {
                return;
            };
            self.start_thread(fio, placed, at, now);
        }
    }

    /// The disk with this serial number, if it is there: node names move.
    fn usable_disk(&self, id: DiskId, place: Place) -> Option<usize> {
        let mut hbas = self.hbas.iter();
        let hba = hbas.position(|hba| hba.controller == place.controller)?;
        let disk = self.disk_at(hba, place.target.0)?;
        let usable = |disk: &Disk| disk.visible && !disk.dead && disk.id == Some(id);
        let runs = self.power == Power::Running;
        (runs && usable(&self.disks[disk])).then_some(disk)
    }

    fn node(&self, disk: Option<usize>) -> String {
        disk.map_or("/dev/none".to_owned(), |disk| self.disks[disk].node())
    }

    fn free_slot(&self) -> Option<usize> {
        let mut slots = 0..self.threads.len();
        slots.find(|slot| self.threads[*slot].is_none() && !self.has_ios(*slot))
    }

    fn start_thread(
        &mut self,
        fio: FioId,
        placed: Placed,
        (id, place): (DiskId, Place),
        now: Time,
    ) {
        let disk = self.usable_disk(id, place);
        let node = self.node(disk);
        let (mut job, number, group) = (placed.job, placed.thread_number, placed.group);
        job.filename = Some(node.clone());
        let fails = |guest: &mut Self, errno: Errno, text: String| {
            let mut result = JobResult::new(&job.name, number, &node);
            result.error = errno;
            result.messages.push(text);
            guest.thread_ended(fio, (id, place), 0, result);
        };
        // The node is looked at before fio is started: fio itself would create a regular file.
        let Some(disk) = disk else {
            return fails(self, Errno::ENOENT, format!("{id} is not at {place}"));
        };
        let device = Device {
            name: node.clone(),
            size_bytes: self.disks[disk].capacity,
        };
        let (volume, state) = (self.config.volume, self.state_file(&job.name, number));
        // As many requests in flight as there is room for their buffers.
        let most = (THREAD_BYTES / u64::from(job.len_max().max(1))).max(1);
        let begin = |job: &Job| FioThread::resume(job, number, &device, volume, state);
        let file = match begin(&job) {
            Ok(file) if u64::from(file.depth()) > most => {
                job.iodepth = most as u32;
                begin(&job)
            }
            file => file,
        };
        let mut file = match file {
            Ok(file) => file,
            Err(error) => return fails(self, Errno::EINVAL, error.to_string()),
        };
        let bytes = u64::from(file.depth()) * u64::from(file.buffer_len());
        let slot = self.free_slot().filter(|_| bytes <= THREAD_BYTES);
        let Some(slot) = slot else {
            return fails(
                self,
                Errno(12),
                format!("no room for {bytes} bytes of buffers"),
            );
        };
        self.note_sharing(id, &mut file);
        let depth = file.depth() as usize;
        let batch = Vec::with_capacity(depth);
        let inbox = VecDeque::with_capacity(depth);
        let buffers = thread_buffers(self.hbas.len(), slot);
        let (cpu, sleep) = (slot % CPUS, Sleep::No);
        self.threads[slot] = Some(Thread {
            fio,
            group,
            disk,
            cpu,
            id,
            place,
            file,
            buffers,
            batch,
            submitted: 0,
            inbox,
            sleep,
            seen_io: false,
        });
        if let Some(run) = self.fios.iter_mut().find(|run| run.fio == fio) {
            run.running += 1;
        }
        self.wake(self.fio_actor(slot), Time(now.0 + REQUEST_NS));
    }

    /// Tells a thread that is about to begin, and those that run, of others that write to their disk.
    fn note_sharing(&mut self, id: DiskId, file: &mut FioThread) {
        let threads = self.threads.iter_mut().flatten();
        for other in threads.filter(|other| other.id == id) {
            if file.writes() {
                other.file.share_disk();
            }
            if other.file.writes() {
                file.share_disk();
            }
        }
        // Those of a fio that was given up may come yet.
        let mut under_way = self.ios.iter().flatten().map(|io| &io.io);
        if under_way.any(|io| io.write && io.disk == id) {
            file.share_disk();
        }
    }

    /// A fio thread runs until it sleeps or has done a batch of work.
    pub(super) fn fio_turn(&mut self, slot: usize, cx: &mut Cx<'_, FromGuest>) -> GuestTurn {
        let actor = self.fio_actor(slot);
        self.set(actor, When::Blocked);
        if self.threads[slot].is_none() {
            return GuestTurn::Idle;
        }
        // Once a turn: each time waits for the processor's other accesses.
        let digests = self.digests.clone();
        let digests = &mut lock(&digests);
        let reaped = self.reap(slot, digests, cx);
        let (mut submitted, mut requests) = (0, 0);
        let mut over = false;
        while submitted < BATCH_MAX && reaped < BATCH_MAX {
            let thread = self.threads[slot].as_mut().expect("it runs");
            if thread.submitted < thread.batch.len() {
                let folded = fold_request(requests, &thread.batch[thread.submitted]);
                if !self.submit_next(slot, digests, cx) {
                    break;
                }
                (submitted, requests) = (submitted + 1, folded);
                continue;
            }
            match thread.file.next(cx.now.0) {
                Next::Submit => {
                    thread.batch.clear();
                    thread.batch.extend_from_slice(thread.file.batch());
                    thread.submitted = 0;
                }
                Next::Reap { .. } if !thread.inbox.is_empty() => break,
                Next::Reap { .. } => {
                    thread.sleep = Sleep::Reap;
                    break;
                }
                Next::Reopen => {
                    let disk = &self.disks[thread.disk];
                    let opened = if disk.dead {
                        Err(Errno::ENOENT)
                    } else {
                        Ok(())
                    };
                    thread.file.reopened(opened);
                }
                Next::Ended => {
                    over = true;
                    break;
                }
            }
        }
        self.after_turn(slot, submitted, reaped, over, cx);
        GuestTurn::Fio(slot as u8, submitted as u32, reaped as u32, requests)
    }

    fn after_turn(
        &mut self,
        slot: usize,
        submitted: usize,
        reaped: usize,
        over: bool,
        cx: &mut Cx<'_, FromGuest>,
    ) {
        if over {
            let thread = self.threads[slot].take().expect("it ran");
            let (fio, volume) = (thread.fio, thread.file.progress().volume);
            let result = thread.file.result().clone();
            self.keep_state(&thread.file);
            self.end_others(&thread);
            self.thread_stopped(fio, (thread.id, thread.place), volume, result);
            self.start_ready(fio, cx.now);
            self.end_fio_if_over(fio, cx);
        } else if self.threads[slot]
            .as_ref()
            .is_some_and(|thread| thread.sleep == Sleep::No)
        {
            let work = (submitted + reaped).max(1) as u64;
            self.wake(self.fio_actor(slot), Time(cx.now.0 + work * REQUEST_NS));
        }
        if !self.waits.is_empty() {
            self.answer_clocks(cx);
        }
    }

    /// `exitall`: the end of a thread ends those of its group.
    fn end_others(&mut self, ended: &Thread) {
        let any = self.fios.iter().find(|run| run.fio == ended.fio);
        if !any.is_some_and(|run| run.exits_all) && !ended.file.exits_all_on_error() {
            return;
        }
        let others = self.threads.iter_mut().flatten();
        for other in others.filter(|other| (other.fio, other.group) == (ended.fio, ended.group)) {
            other.file.terminate();
        }
    }

    /// Hands the next request of the batch over; `false` if it has to wait for another one to end.
    fn submit_next(
        &mut self,
        slot: usize,
        digests: &mut DigestCache,
        cx: &mut Cx<'_, FromGuest>,
    ) -> bool {
        let thread = self.threads[slot].as_ref().expect("it runs");
        let request = thread.batch[thread.submitted];
        let (disk, cpu) = (thread.disk, thread.cpu);
        if self.waits_for_room(&request, disk, cpu) {
            let hba = usize::from(self.disks[disk].hba);
            self.hbas[hba].room_wanted.push(slot);
            let thread = self.threads[slot].as_mut().expect("it runs");
            thread.sleep = Sleep::Room;
            return false;
        }
        let thread = self.threads[slot].as_mut().expect("it runs");
        let size = u64::from(thread.file.buffer_len());
        let start = thread.buffers + u64::from(request.unit.0) * size;
        let addr = start + u64::from(request.buffer_offset);
        let mut wrote = 0;
        if request.op == Op::Write {
            self.scratch.resize(size as usize, 0);
            let buffer = &mut self.scratch[..];
            wrote = thread.file.prepare(&request, cx.now.0, buffer, digests).0;
            // The rest of a short write is in the buffer already.
            if request.buffer_offset == 0 {
                self.memory
                    .write_at(&self.scratch[..request.len as usize], GuestAddress(start))
                    .expect("buffers lie in guest memory");
            }
        }
        let id = IoId::new(self.config.vm, self.io_count);
        let io = Io {
            id,
            fio: thread.fio,
            disk: thread.id,
            place: thread.place,
            write: request.op == Op::Write,
            offset: request.offset,
            len: request.len,
            wrote,
        };
        thread.submitted += 1;
        thread.sleep = Sleep::No;
        self.io_count += 1;
        let thread = slot;
        let asked = Asked {
            thread,
            disk,
            cpu,
            io,
            addr,
        };
        self.submit(&request, asked, cx);
        true
    }

    /// Takes completions; returns how many.
    fn reap(
        &mut self,
        slot: usize,
        digests: &mut DigestCache,
        cx: &mut Cx<'_, FromGuest>,
    ) -> usize {
        let mut reaped = 0;
        while reaped < BATCH_MAX {
            let thread = self.threads[slot].as_mut().expect("it runs");
            let Some((n, completion)) = thread.inbox.pop_front() else {
                break;
            };
            thread.sleep = Sleep::No;
            reaped += 1;
            let Some(io) = self.forget_io(n) else {
                continue;
            };
            let thread = self.threads[slot].as_mut().expect("it runs");
            let mut from = 0;
            if !io.io.write {
                // The unit's buffer from its beginning: what is read may be the rest of a short read.
                let size = u64::from(thread.file.buffer_len());
                let start = thread.buffers + u64::from(io.unit.0) * size;
                from = (io.addr - start) as usize;
                self.scratch.resize(from + io.io.len as usize, 0);
                self.memory
                    .read_at(&mut self.scratch, GuestAddress(start))
                    .expect("buffers lie in guest memory");
            }
            let result = match completion {
                Completion::Done { bytes } => Ok(bytes),
                Completion::Failed { errno } => Err(errno.0),
            };
            thread.seen_io |= result.is_ok();
            let buffer = &self.scratch[..];
            let checked = thread.file.complete(io.unit, completion, buffer, digests);
            if self.config.per_io {
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
