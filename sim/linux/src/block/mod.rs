//! The block layer and `sd`'s way to the ring: requests of applications, down and up again.
//!
//! Direct I/O only. Owns the requests under way and what each submitter has not reaped. Knows bytes and
//! errnos, and by whom it was asked, but not why.

mod fate;
mod invariants;
mod io;
mod split;

use std::collections::VecDeque;

use fio_model::{Completion, Errno, Op, Request as IoRequest};
use scenarios::{DiskId, IoId, Observation, Time, VmId};
use vm_memory::GuestAddress;
use wire::access::Access as _;
use wire::component::{Cx, push_made};
use wire::message::{FromGuest, HbaId, REQUESTQ, VringIndex};

use crate::actors::Actor;
use crate::driver::command::{Command, Reply, UNMAP_BYTES, read_write_cdb, short_cdb, unmap};
use crate::driver::layout::{CPUS, QUEUE_DEPTH, THREADS_MAX};
use crate::driver::request::{Data, Direction, Owner, Request};
use crate::ids::{DiskNo, IoNo, ThreadNo};
use crate::scsi::disk::{Entry, Gate};
use crate::shared::Shared;
pub use io::{Asked, Finished, Submitter};

use fate::{AGE_MAX, Fate, REQUEUE_DELAY, RETRIES_MAX, fate};
use io::{AppIo, Share};

/// A request that was dispatched into a full ring tries again after this.
const FULL_RING_NS: u64 = 20_000;

/// What a thread has not reaped (an aio context).
#[derive(Clone, Debug, Default)]
struct Completions {
    done: VecDeque<(IoNo, Completion)>,
    /// The thread sleeps until there is one (`io_getevents`).
    awaited: bool,
}

#[derive(Clone, Debug)]
pub struct Block {
    ios: Vec<Option<AppIo>>,
    free: Vec<IoNo>,
    /// Requests that wait to be tried again, with the time.
    delayed: Vec<(Time, IoNo)>,
    /// By thread, of those that run.
    completions: Vec<Option<Completions>>,
    /// Threads that wait for room in a ring or on a disk, by device.
    room_wanted: Vec<Vec<ThreadNo>>,
    finished: Vec<Finished>,
    /// Requests of threads so far.
    count: u64,
}

/// The CPU that a request queue is of.
fn cpu_of(vring: VringIndex) -> usize {
    usize::from(vring.0 - REQUESTQ.0) % CPUS
}

impl Block {
    pub fn new(hbas: usize) -> Self {
        Self {
            ios: Vec::new(),
            free: Vec::new(),
            delayed: Vec::new(),
            completions: vec![None; THREADS_MAX],
            room_wanted: vec![Vec::new(); hbas],
            finished: Vec::new(),
            count: 0,
        }
    }

    /// The name of a thread's next request.
    pub fn next_id(&mut self, vm: VmId) -> IoId {
        let id = IoId::new(vm, self.count);
        self.count += 1;
        id
    }

    /// Whether a request has to wait for another one to end: 128 are in flight in that queue, or on that
    /// disk, or fewer, but not all its parts have a place.
    pub fn waits_for_room(
        &self,
        request: &IoRequest,
        disk: DiskNo,
        cpu: usize,
        shared: &Shared,
    ) -> bool {
        let disk = &shared.disks[disk];
        let hba = &shared.hbas[disk.hba()];
        let vring = VringIndex(REQUESTQ.0 + cpu as u16);
        let mut full = disk.in_flight() >= QUEUE_DEPTH || !hba.has_room(vring);
        if request.op != Op::Trim && request.len > disk.max_bytes() {
            // One with more parts than there are places goes when all places are free.
            let parts = request.len.div_ceil(disk.max_bytes());
            full |= disk.in_flight() > 0 && disk.in_flight() + parts > QUEUE_DEPTH;
            full |= !hba.has_room_for(vring, parts);
        }
        full && disk.enter(request.offset, request.len) == Entry::Pass
            && disk.gate() == Gate::Open
            && !hba.is_broken(vring)
    }

    /// Wakes a thread when there may be room on the device of a disk.
    pub fn await_room(&mut self, thread: ThreadNo, hba: HbaId) {
        self.room_wanted[usize::from(hba.0)].push(thread);
    }

    /// Takes a request, for whom it may be: one that does not wait for room. Its end will be reaped.
    pub fn submit(
        &mut self,
        request: &IoRequest,
        asked: Asked,
        shared: &mut Shared,
        cx: &mut Cx<'_, FromGuest>,
    ) {
        let Asked {
            submitter,
            disk: number,
            cpu,
            io,
            addr,
        } = asked;
        let disk = &mut shared.disks[number];
        let (max, trims) = (disk.max_bytes(), disk.trim_bytes() > 0);
        let entry = disk.enter(request.offset, request.len);
        disk.took(1);
        if shared.config.per_io && submitter != Submitter::Direct {
            cx.see_made(|| Observation::IoSubmitted(io));
        }
        let (unit, since) = (request.unit, cx.now);
        let n = self.place(AppIo {
            submitter,
            unit,
            disk: number,
            io,
            addr,
            vring: VringIndex(REQUESTQ.0 + cpu as u16),
            moved: 0,
            long: true,
            tries: 0,
            retries: 0,
            since,
            answer: None,
            share: Share::Own,
        });
        match (entry, request.op) {
            // As `blk_ioctl_discard` has it.
            (_, Op::Trim) if !trims => self.fail(n, Errno::EOPNOTSUPP, shared, cx.now),
            (Entry::Pass, Op::Trim) => self.dispatch(n, shared, cx),
            (_, Op::Trim) => self.fail(n, Errno::EINVAL, shared, cx.now),
            (Entry::Pass, _) if request.len > max => self.dispatch_parts(n, max, shared, cx),
            (Entry::Pass, _) => self.dispatch(n, shared, cx),
            (Entry::Unaligned, _) => self.fail(n, Errno::EINVAL, shared, cx.now),
            // A flush of a disk that is gone (`GD_DEAD`).
            (Entry::PastEnd, _) if request.len == 0 => self.fail(n, Errno::EIO, shared, cx.now),
            (Entry::PastEnd, Op::Read) => {
                self.finish(n, Completion::Done { bytes: 0 }, shared, cx.now);
            }
            (Entry::PastEnd, Op::Write) => self.fail(n, Errno::ENOSPC, shared, cx.now),
        }
    }

    fn place(&mut self, io: AppIo) -> IoNo {
        let n = self.free.pop().unwrap_or(IoNo(self.ios.len()));
        if n.0 == self.ios.len() {
            self.ios.push(None);
        }
        self.ios[n.0] = Some(io);
        n
    }

    /// Dispatches a request, for the first time or again: through the gate into the ring.
    fn dispatch(&mut self, n: IoNo, shared: &mut Shared, cx: &mut Cx<'_, FromGuest>) {
        let io = self.ios[n.0].as_mut();
        let io = io.expect("a request that is dispatched is alive");
        let disk = &shared.disks[io.disk];
        match disk.gate() {
            Gate::Open => {}
            Gate::NoDevice => return self.fail(n, Errno::ENODEV, shared, cx.now),
            Gate::Offline => return self.fail(n, Errno::EIO, shared, cx.now),
        }
        let (hba, vring) = (disk.hba(), io.vring);
        if shared.hbas[hba].is_broken(vring) {
            return self.fail(n, Errno::EIO, shared, cx.now);
        }
        let len = io.next_len(disk.trim_bytes());
        let lba = (io.io.offset + u64::from(io.moved)) / u64::from(disk.block_size());
        let blocks = len / disk.block_size();
        let direction = if io.io.write {
            Direction::Out
        } else {
            Direction::In
        };
        let short = (!disk.knows_ten_byte()).then(|| short_cdb(direction, lba, blocks));
        let mut data = Data {
            addr: io.addr + u64::from(io.moved),
            len,
            direction,
        };
        let cdb = match short.flatten() {
            _ if io.io.trim => {
                let (cdb, list) = unmap(lba, blocks);
                (data.addr, data.len) = (io.addr, UNMAP_BYTES);
                let written = shared.memory.write_at(&list, GuestAddress(io.addr));
                written.expect("buffers lie in guest memory");
                cdb
            }
            _ if io.io.len == 0 => Command::synchronize_cache(disk.target()).cdb,
            Some(short) => short,
            None => read_write_cdb(direction, lba, blocks),
        };
        io.long = matches!(cdb[0], 0x28 | 0x2a);
        let request = Request {
            vring,
            to: (disk.target(), 0),
            cdb: &cdb,
            data,
            owner: Owner::Io(n),
        };
        if shared.hbas[hba].send(&shared.memory, &request, cx).is_err() {
            return self.delay(n, Time(cx.now.0 + FULL_RING_NS), shared);
        }
        io.tries = io.tries.saturating_add(1);
        let told = |message: &FromGuest| matches!(message, FromGuest::Doorbell { hba: of, vring: ring } if (*of, *ring) == (hba, vring));
        if !cx.out.last().is_some_and(told) {
            push_made(cx.out, || FromGuest::Doorbell { hba, vring });
        }
    }

    fn delay(&mut self, n: IoNo, until: Time, shared: &mut Shared) {
        let vring = self.ios[n.0].as_ref().map_or(REQUESTQ, |io| io.vring);
        self.delayed.push((until, n));
        shared.actors.wake(Actor::Cpu(cpu_of(vring)), until);
    }

    /// Dispatches requests of a CPU whose delay is over, and remembers the next one.
    pub fn retry_delayed(&mut self, cpu: usize, shared: &mut Shared, cx: &mut Cx<'_, FromGuest>) {
        if self.delayed.is_empty() {
            return;
        }
        for (until, n) in std::mem::take(&mut self.delayed) {
            let Some(io) = &self.ios[n.0] else { continue };
            let mine = cpu_of(io.vring) == cpu;
            if mine && until <= cx.now {
                self.dispatch(n, shared, cx);
            } else {
                self.delayed.push((until, n));
                if mine {
                    shared.actors.wake(Actor::Cpu(cpu), until);
                }
            }
        }
    }

    /// What the mid-layer makes of an answer.
    pub fn answered(
        &mut self,
        n: IoNo,
        reply: Reply,
        shared: &mut Shared,
        cx: &mut Cx<'_, FromGuest>,
    ) {
        // The process that issued it may be gone.
        let Some(io) = self.ios[n.0].as_mut() else {
            return;
        };
        io.answer = Some(reply.packed());
        // `sd` takes a disk that does not know READ(10) for one that knows READ(6), for good.
        let disk = &mut shared.disks[io.disk];
        if io.long && disk.knows_ten_byte() && reply.is_unknown_opcode() {
            disk.forget_ten_byte();
            return self.dispatch(n, shared, cx);
        }
        let old = cx.now.since(io.since) >= AGE_MAX;
        match fate(&reply) {
            Fate::Done if io.io.trim => self.trimmed(n, shared, cx),
            Fate::Done => self.moved(n, reply.resid, shared, cx),
            Fate::Fails(errno) => self.fail(n, errno, shared, cx.now),
            Fate::Retry => self.retry(n, shared, cx),
            Fate::RetryForever | Fate::Requeue if old => {
                self.fail(n, Errno::EIO, shared, cx.now);
            }
            Fate::RetryForever => self.dispatch(n, shared, cx),
            Fate::Requeue => self.delay(n, cx.now + REQUEUE_DELAY, shared),
        }
    }

    /// Another try, if it is allowed (`scsi_cmd_retry_allowed`).
    fn retry(&mut self, n: IoNo, shared: &mut Shared, cx: &mut Cx<'_, FromGuest>) {
        let io = self.ios[n.0].as_mut().expect("it was just answered");
        if io.retries == RETRIES_MAX {
            return self.fail(n, Errno::EIO, shared, cx.now);
        }
        io.retries += 1;
        self.dispatch(n, shared, cx);
    }

    /// A command did what it should, but for `resid` bytes: the rest is another command.
    fn moved(&mut self, n: IoNo, resid: u32, shared: &mut Shared, cx: &mut Cx<'_, FromGuest>) {
        let io = self.ios[n.0].as_mut().expect("it was just answered");
        let block = shared.disks[io.disk].block_size();
        let asked = io.io.len - io.moved;
        // A residual that is no multiple of the block is rounded up, and one that is all or more than
        // all of the request counts as nothing moved: Linux would try that for ever.
        let missing = resid.min(asked).div_ceil(block) * block;
        io.moved += asked - missing.min(asked);
        if io.moved == io.io.len {
            let bytes = io.io.len;
            self.finish(n, Completion::Done { bytes }, shared, cx.now);
        } else if missing >= asked {
            self.retry(n, shared, cx);
        } else {
            self.dispatch(n, shared, cx);
        }
    }

    /// An UNMAP did what it should, whatever its residual (`sd_done`).
    fn trimmed(&mut self, n: IoNo, shared: &mut Shared, cx: &mut Cx<'_, FromGuest>) {
        let io = self.ios[n.0].as_mut().expect("it was just answered");
        io.moved += io.next_len(shared.disks[io.disk].trim_bytes());
        if io.moved < io.io.len {
            return self.dispatch(n, shared, cx);
        }
        let bytes = io.io.len;
        self.finish(n, Completion::Done { bytes }, shared, cx.now);
    }

    fn fail(&mut self, n: IoNo, errno: Errno, shared: &mut Shared, now: Time) {
        self.finish(n, Completion::Failed { errno }, shared, now);
    }

    /// A request is over: a removal may have waited for it.
    fn finish(&mut self, n: IoNo, completion: Completion, shared: &mut Shared, now: Time) {
        let io = self.ios[n.0].as_ref().expect("a request ends once");
        shared.disks.gave_back(io.disk);
        match io.share {
            Share::Part(of) => self.part_over(n, of, completion, shared, now),
            Share::Own | Share::Whole { .. } => self.hand_back(n, completion, shared, now),
        }
    }

    /// Tells whoever asked how a request ended: its thread will reap it.
    fn hand_back(&mut self, n: IoNo, completion: Completion, shared: &mut Shared, now: Time) {
        let io = self.ios[n.0].as_ref().expect("a request ends once");
        let hba = shared.disks[io.disk].hba();
        match io.submitter {
            Submitter::Direct => {
                let tag = io.io.id.0;
                self.finished.push(Finished { tag, completion });
                self.forget(n);
                return;
            }
            Submitter::Thread(thread) => {
                if let Some(of) = self.completions[thread.0].as_mut() {
                    of.done.push_back((n, completion));
                    if of.awaited {
                        shared.actors.wake(Actor::Fio(thread), now);
                    }
                } else {
                    // Its fio was given up as hung: nobody will reap it.
                    self.forget(n);
                }
            }
        }
        self.room(hba, shared, now);
    }

    /// There may be room on a device again: whoever waits for it looks.
    pub fn room(&mut self, hba: HbaId, shared: &mut Shared, now: Time) {
        let wanted = &mut self.room_wanted[usize::from(hba.0)];
        if !wanted.is_empty() {
            for thread in std::mem::take(wanted) {
                shared.actors.wake(Actor::Fio(thread), now);
            }
        }
    }

    /// A thread begins: what it submits will be handed back to it.
    pub fn open(&mut self, thread: ThreadNo, depth: usize) {
        let done = VecDeque::with_capacity(depth);
        self.completions[thread.0] = Some(Completions {
            done,
            awaited: false,
        });
    }

    /// A thread is gone: nobody reaps what was handed back to it, or will be.
    pub fn close(&mut self, thread: ThreadNo) {
        let left = self.completions[thread.0].take();
        for (n, _) in left.into_iter().flat_map(|left| left.done) {
            self.forget(n);
        }
    }

    /// Takes the next completion for a thread.
    pub fn reap(&mut self, thread: ThreadNo) -> Option<(AppIo, Completion)> {
        let of = self.completions[thread.0].as_mut()?;
        let (n, completion) = of.done.pop_front()?;
        let io = self.forget(n).expect("it is reaped once");
        Some((io, completion))
    }

    pub fn has_completions(&self, thread: ThreadNo) -> bool {
        let of = self.completions[thread.0].as_ref();
        of.is_some_and(|of| !of.done.is_empty())
    }

    /// Whether a thread sleeps until there is a completion.
    pub fn set_awaited(&mut self, thread: ThreadNo, awaited: bool) {
        if let Some(of) = self.completions[thread.0].as_mut() {
            of.awaited = awaited;
        }
    }

    /// What has ended of the requests of nobody's thread, in order.
    pub fn take_finished(&mut self) -> Vec<Finished> {
        std::mem::take(&mut self.finished)
    }

    /// Whether requests of a thread are under way; its memory and its place are not free until then.
    pub fn is_busy(&self, thread: ThreadNo) -> bool {
        let mut ios = self.ios.iter().flatten();
        ios.any(|io| io.submitter == Submitter::Thread(thread))
    }

    /// Whether a write to a disk of the plan is under way.
    pub fn writes_to(&self, disk: DiskId) -> bool {
        let mut ios = self.ios.iter().flatten().map(|io| &io.io);
        ios.any(|io| io.write && io.disk == disk)
    }

    pub fn count(&self) -> usize {
        self.ios.iter().flatten().count()
    }

    /// Requests on a disk that were not answered.
    pub fn unanswered(&self, is: impl Fn(DiskNo) -> bool) -> impl Iterator<Item = (IoNo, IoId)> {
        let ios = self.ios.iter().enumerate();
        ios.filter_map(move |(n, io)| {
            let io = io.as_ref()?;
            (io.answer.is_none() && is(io.disk)).then_some((IoNo(n), io.io.id))
        })
    }

    /// Whether this request is under way and was not answered.
    pub fn is_unanswered(&self, n: IoNo, id: IoId) -> bool {
        let io = self.ios[n.0].as_ref();
        io.is_some_and(|io| io.io.id == id && io.answer.is_none())
    }

    /// A request that is under way: its disk, its name, and when it was submitted.
    pub fn under_way(&self, n: IoNo) -> Option<(DiskNo, IoId, Time)> {
        let io = self.ios[n.0].as_ref()?;
        Some((io.disk, io.io.id, io.since))
    }

    /// Ends the bookkeeping of a request.
    fn forget(&mut self, n: IoNo) -> Option<AppIo> {
        let io = self.ios[n.0].take();
        if io.is_some() {
            self.free.push(n);
        }
        io
    }

    /// The applications are gone: nobody waits for their requests.
    pub fn forget_all(&mut self, shared: &mut Shared) {
        for n in 0..self.ios.len() {
            if let Some(io) = self.forget(IoNo(n)) {
                shared.disks.forgot(io.disk);
            }
        }
        self.delayed.clear();
    }
}
