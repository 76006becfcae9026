//! Requests of applications: through the block layer, the mid-layer and the driver, and back.
//!
//! Direct I/O only. Knows bytes and errnos; which fio they belong to stands in `fio`.

use fio_model::{Completion, Errno, Op, Request, UnitId};
use scenarios::{CheckId, Io, Observation, Time};

use super::answer::Returned;
use super::command::{Command, Reply, read_write_cdb, short_cdb};
use super::direct::Finished;
use super::disk::{Entry, Gate};
use super::hba::{Data, Owner};
use super::layout::QUEUE_DEPTH;
use super::midlayer::{AGE_MAX, Fate, REQUEUE_DELAY, RETRIES_MAX, fate};
use super::split::Share;
use super::{CPU, CPUS, Guest};
use wire::component::{Cx, push_made};
use wire::message::{FromGuest, HbaId, REQUESTQ, VringIndex};

/// A request that was dispatched into a full ring tries again after this.
const FULL_RING_NS: u64 = 20_000;

/// The thread of a request that no fio waits for.
pub const DIRECT: usize = usize::MAX;

/// Who asks for what, beside the request itself.
#[derive(Clone, Copy, Debug)]
pub struct Asked {
    /// The fio thread, or [`DIRECT`].
    pub thread: usize,
    /// The disk.
    pub disk: usize,
    /// The CPU that it is submitted on.
    pub cpu: usize,
    /// What an observer sees of it.
    pub io: Io,
    /// Where its data lie.
    pub addr: u64,
}

/// A request of an application.
#[derive(Clone, Debug)]
pub struct AppIo {
    /// The fio thread that waits for it.
    pub thread: usize,
    /// Its unit there.
    pub unit: UnitId,
    /// The disk.
    pub disk: usize,
    /// What an observer sees of it.
    pub io: Io,
    /// Where its data lie.
    pub addr: u64,
    /// The queue that it goes through.
    vring: VringIndex,
    /// Bytes moved by earlier commands of this request.
    moved: u32,
    /// The last command was in the (10) form.
    long: bool,
    /// Commands sent.
    pub tries: u8,
    /// Of those, the ones that failed in a way that is counted (`scsi_cmnd.retries`).
    retries: u8,
    /// When it was submitted.
    pub since: Time,
    /// The answer that decided.
    pub answer: Option<(u8, u8, u32)>,
    /// Whether it is a part, or has parts.
    pub share: Share,
}

impl Guest {
    /// Whether a request has to wait for another one to end: 128 are in flight in that queue, or on that
    /// disk, or fewer, but not all its parts have a place.
    pub(super) fn waits_for_room(&self, request: &Request, disk: usize, cpu: usize) -> bool {
        let disk = &self.disks[disk];
        let hba = &self.hbas[usize::from(disk.hba)];
        let vring = VringIndex(REQUESTQ.0 + cpu as u16);
        let mut full = disk.in_flight >= QUEUE_DEPTH || !hba.has_room(vring);
        if request.len > disk.max_bytes {
            // One with more parts than there are places goes when all places are free.
            let parts = request.len.div_ceil(disk.max_bytes);
            full |= disk.in_flight > 0 && disk.in_flight + parts > QUEUE_DEPTH;
            full |= !hba.has_room_for(vring, parts);
        }
        full && disk.enter(request.offset, request.len) == Entry::Pass
            && disk.gate() == Gate::Open
            && !hba.is_broken(vring)
    }

    /// Hands a request to the block layer, for whom it may be: one that does not wait for room. Its end will
    /// be reaped.
    pub(super) fn submit(&mut self, request: &Request, asked: Asked, cx: &mut Cx<'_, FromGuest>) {
        let Asked {
            thread,
            disk,
            cpu,
            io,
            addr,
        } = asked;
        let vring = VringIndex(REQUESTQ.0 + cpu as u16);
        let max = self.disks[disk].max_bytes;
        let entry = self.disks[disk].enter(request.offset, request.len);
        if self.config.per_io && thread != DIRECT {
            cx.see_made(|| Observation::IoSubmitted(io));
        }
        let (unit, since) = (request.unit, cx.now);
        let io = AppIo {
            thread,
            unit,
            disk,
            io,
            addr,
            vring,
            moved: 0,
            long: true,
            tries: 0,
            retries: 0,
            since,
            answer: None,
            share: Share::Own,
        };
        let n = self.place_io(io);
        self.disks[disk].in_flight += 1;
        match (entry, request.op) {
            (Entry::Pass, _) if request.len > max => self.dispatch_parts(n, max, cx),
            (Entry::Pass, _) => self.dispatch(n, cx),
            (Entry::Unaligned, _) => self.fail_io(n, Errno::EINVAL, cx.now),
            // A flush of a disk that is gone (`GD_DEAD`).
            (Entry::PastEnd, _) if request.len == 0 => self.fail_io(n, Errno::EIO, cx.now),
            (Entry::PastEnd, Op::Read) => self.finish_io(n, Completion::Done { bytes: 0 }, cx.now),
            (Entry::PastEnd, Op::Write) => self.fail_io(n, Errno::ENOSPC, cx.now),
        }
    }

    /// Gives a request its number.
    pub(super) fn place_io(&mut self, io: AppIo) -> usize {
        let n = self.free_ios.pop().unwrap_or(self.ios.len());
        if n == self.ios.len() {
            self.ios.push(None);
        }
        self.ios[n] = Some(io);
        n
    }

    /// Dispatches a request, for the first time or again: through the gate into the ring.
    pub(super) fn dispatch(&mut self, n: usize, cx: &mut Cx<'_, FromGuest>) {
        let io = self.ios[n]
            .as_mut()
            .expect("a request that is dispatched is alive");
        let disk = &self.disks[io.disk];
        match disk.gate() {
            Gate::Open => {}
            Gate::NoDevice => return self.fail_io(n, Errno::ENODEV, cx.now),
            Gate::Offline => return self.fail_io(n, Errno::EIO, cx.now),
        }
        let hba = usize::from(disk.hba);
        let vring = io.vring;
        if self.hbas[hba].is_broken(vring) {
            return self.fail_io(n, Errno::EIO, cx.now);
        }
        let len = io.io.len - io.moved;
        let block = u64::from(disk.block_size);
        let lba = (io.io.offset + u64::from(io.moved)) / block;
        let blocks = len / disk.block_size;
        let short = (!disk.ten_byte).then(|| short_cdb(io.io.write, lba, blocks));
        let cdb = match short.flatten() {
            _ if io.io.len == 0 => Command::synchronize_cache(disk.target).cdb,
            Some(short) => short,
            None => read_write_cdb(io.io.write, lba, blocks),
        };
        io.long = matches!(cdb[0], 0x28 | 0x2a);
        let data = Data {
            addr: io.addr + u64::from(io.moved),
            len,
            out: io.io.write,
        };
        let to = (disk.target, 0);
        let sent = self.hbas[hba].send(&self.memory, vring, to, &cdb, data, Owner::Io(n));
        if let Some(head) = sent.spoiled {
            self.spoiled(self.hbas[hba].controller, vring, head, cx);
        }
        if !sent.sent {
            return self.delay(n, Time(cx.now.0 + FULL_RING_NS));
        }
        let io = self.ios[n].as_mut().expect("it was just there");
        io.tries = io.tries.saturating_add(1);
        let hba = HbaId(hba as u8);
        let told = |message: &FromGuest| matches!(message, FromGuest::Doorbell { hba: of, vring: ring } if (*of, *ring) == (hba, vring));
        if !cx.out.last().is_some_and(told) {
            push_made(cx.out, || FromGuest::Doorbell { hba, vring });
        }
    }

    fn delay(&mut self, n: usize, until: Time) {
        let vring = self.ios[n].as_ref().map_or(REQUESTQ, |io| io.vring);
        self.delayed.push((until, n));
        self.wake(CPU + usize::from(vring.0 - REQUESTQ.0) % CPUS, until);
    }

    /// Dispatches requests of a CPU whose delay is over, and remembers the next one.
    pub(super) fn retry_delayed(&mut self, cpu: usize, cx: &mut Cx<'_, FromGuest>) {
        if self.delayed.is_empty() {
            return;
        }
        let delayed = std::mem::take(&mut self.delayed);
        for (until, n) in delayed {
            let Some(io) = &self.ios[n] else { continue };
            let mine = usize::from(io.vring.0 - REQUESTQ.0) % CPUS == cpu;
            if mine && until <= cx.now {
                self.dispatch(n, cx);
            } else {
                self.delayed.push((until, n));
                if mine {
                    self.wake(CPU + cpu, until);
                }
            }
        }
    }

    /// Takes all that came back on a request queue. Returns how many.
    pub(super) fn pop_requests(
        &mut self,
        hba: usize,
        vring: VringIndex,
        cx: &mut Cx<'_, FromGuest>,
    ) -> u32 {
        let mut done = 0;
        loop {
            match self.hbas[hba].receive(&self.memory, vring) {
                Ok(Some(returned)) => {
                    done += 1;
                    self.returned(hba, vring, returned, cx);
                }
                Ok(None) => break,
                Err(broken) => {
                    self.not_a_head(hba, vring, broken.id, cx);
                    break;
                }
            }
        }
        if done > 0 && !self.hbas[hba].room_wanted.is_empty() {
            self.wake_room_wanted(hba, cx.now);
        }
        done
    }

    fn returned(
        &mut self,
        hba: usize,
        vring: VringIndex,
        returned: Returned,
        cx: &mut Cx<'_, FromGuest>,
    ) {
        if returned.unanswered || returned.miscounted {
            self.misanswered(hba, vring, &returned, cx);
        }
        match returned.owner {
            Owner::Script(n) => self.script_returned(hba, n, returned.used_len, cx),
            Owner::Flow(n) => self.flow_answered(hba, n, returned.reply, cx.now),
            Owner::Io(n) => self.io_answered(n, returned.reply, cx),
        }
    }

    /// Notes an answer that no driver can take.
    pub(super) fn misanswered(
        &self,
        hba: usize,
        vring: VringIndex,
        returned: &Returned,
        cx: &mut Cx<'_, FromGuest>,
    ) {
        let place = format!("{}, vring {}", self.hbas[hba].controller, vring.0);
        if returned.unanswered {
            let text = format!("{place}: a request came back without a whole response");
            cx.broken(CheckId::G2, text);
        }
        if returned.miscounted {
            let (len, resid) = (returned.used_len, returned.reply.resid);
            let text = format!("{place}: used length {len}, residual {resid}");
            cx.broken(CheckId::I17, text);
        }
    }

    /// What the mid-layer makes of an answer.
    fn io_answered(&mut self, n: usize, reply: Reply, cx: &mut Cx<'_, FromGuest>) {
        // The process that issued it may be gone.
        let Some(io) = self.ios[n].as_mut() else {
            return;
        };
        io.answer = Some(reply.packed());
        if self.resets_sent > 0 {
            self.overtakes_reset(n, cx);
        }
        let Some(io) = self.ios[n].as_mut() else {
            return;
        };
        // `sd` takes a disk that does not know READ(10) for one that knows READ(6), for good.
        let disk = &mut self.disks[io.disk];
        if io.long && disk.ten_byte && reply.is_unknown_opcode() {
            disk.ten_byte = false;
            return self.dispatch(n, cx);
        }
        let old = cx.now.since(io.since) >= AGE_MAX;
        match fate(&reply) {
            Fate::Done => self.io_done(n, reply.resid, cx),
            Fate::Fails(errno) => self.fail_io(n, errno, cx.now),
            Fate::Retry => self.retry(n, cx),
            Fate::RetryForever | Fate::Requeue if old => self.fail_io(n, Errno::EIO, cx.now),
            Fate::RetryForever => self.dispatch(n, cx),
            Fate::Requeue => self.delay(n, cx.now + REQUEUE_DELAY),
        }
    }

    /// Another try, if it is allowed (`scsi_cmd_retry_allowed`).
    fn retry(&mut self, n: usize, cx: &mut Cx<'_, FromGuest>) {
        let io = self.ios[n].as_mut().expect("it was just answered");
        if io.retries == RETRIES_MAX {
            return self.fail_io(n, Errno::EIO, cx.now);
        }
        io.retries += 1;
        self.dispatch(n, cx);
    }

    /// A command did what it should, but for `resid` bytes: the rest is another command.
    fn io_done(&mut self, n: usize, resid: u32, cx: &mut Cx<'_, FromGuest>) {
        let io = self.ios[n].as_mut().expect("it was just answered");
        let block = self.disks[io.disk].block_size;
        let asked = io.io.len - io.moved;
        // A residual that is no multiple of the block is rounded up, and one that is all or more than
        // all of the request counts as nothing moved: Linux would try that for ever.
        let missing = resid.min(asked).div_ceil(block) * block;
        io.moved += asked - missing.min(asked);
        if io.moved == io.io.len {
            let bytes = io.io.len;
            self.finish_io(n, Completion::Done { bytes }, cx.now);
        } else if missing >= asked {
            self.retry(n, cx);
        } else {
            self.dispatch(n, cx);
        }
    }

    fn fail_io(&mut self, n: usize, errno: Errno, now: Time) {
        self.finish_io(n, Completion::Failed { errno }, now);
    }

    /// A request is over: a removal may have waited for it.
    fn finish_io(&mut self, n: usize, completion: Completion, now: Time) {
        let io = self.ios[n].as_ref().expect("a request ends once");
        let (disk, share) = (io.disk, io.share);
        self.disks[disk].in_flight -= 1;
        if self.disks[disk].in_flight == 0 {
            self.drained(usize::from(self.disks[disk].hba), disk, now);
        }
        match share {
            Share::Part(of) => self.part_over(n, of, completion, now),
            Share::Own | Share::Whole { .. } => self.hand_back(n, completion, now),
        }
    }

    /// Tells whoever asked how a request ended: its thread will reap it.
    pub(super) fn hand_back(&mut self, n: usize, completion: Completion, now: Time) {
        let io = self.ios[n].as_ref().expect("a request ends once");
        let (thread, tag) = (io.thread, io.io.id.0);
        let hba = usize::from(self.disks[io.disk].hba);
        if thread == DIRECT {
            self.direct.finished.push(Finished { tag, completion });
            self.forget_io(n);
            return;
        }
        let actor = self.fio_actor(thread);
        if let Some(owner) = self.threads[thread].as_mut() {
            owner.inbox.push_back((n, completion));
            if owner.wants_completions() {
                self.wake(actor, now);
            }
        } else {
            // Its fio was given up as hung: nobody will reap it.
            self.forget_io(n);
        }
        if !self.hbas[hba].room_wanted.is_empty() {
            self.wake_room_wanted(hba, now);
        }
    }

    /// There may be room again: whoever waits for it looks.
    fn wake_room_wanted(&mut self, hba: usize, now: Time) {
        for thread in std::mem::take(&mut self.hbas[hba].room_wanted) {
            self.wake(self.fio_actor(thread), now);
        }
    }

    /// Whether requests of a thread are under way; its memory and its place are not free until then.
    pub(super) fn has_ios(&self, thread: usize) -> bool {
        self.ios.iter().flatten().any(|io| io.thread == thread)
    }

    /// Ends the bookkeeping of a request that its thread has reaped.
    pub(super) fn forget_io(&mut self, n: usize) -> Option<AppIo> {
        let io = self.ios[n].take();
        if io.is_some() {
            self.free_ios.push(n);
        }
        io
    }

    /// The applications are gone: nobody waits for their requests.
    pub(super) fn forget_all_ios(&mut self) {
        for n in 0..self.ios.len() {
            if let Some(io) = self.forget_io(n)
                && let Some(disk) = self.disks.get_mut(io.disk)
            {
                disk.in_flight = disk.in_flight.saturating_sub(1);
            }
        }
        self.delayed.clear();
    }
}
