//! What a fio thread issues next, and what it does when a phase or pass is over.

use super::{FioThread, Phase, Step};
use crate::digest::VerifyType;
use crate::offsets::Extent;
use crate::request::{Op, UnitId};
use crate::units::Unit;
use crate::write_log::{Head, Logged, Ticket};

impl FioThread {
    /// Queues the next I/O, or finds that this phase has no more.
    pub(super) fn issue(&mut self) -> Step {
        if self.terminated || self.time_is_over() {
            return Step::Drain;
        }
        match self.phase {
            Phase::Io => self.issue_own(),
            Phase::Verify => self.issue_verify(),
        }
    }

    fn time_is_over(&mut self) -> bool {
        let started = self.started_ns.unwrap_or(self.now_ns);
        let over = self.terms.runtime_ns > 0 && self.now_ns - started >= self.terms.runtime_ns;
        self.terminated |= over;
        if self.in_ramp && self.now_ns - started >= self.terms.ramp_ns {
            // What was done before does not count.
            self.in_ramp = false;
            self.tally.issued = [0; 3];
        }
        over
    }

    /// Whether `number_ios` have been done or are under way.
    fn has_enough_ios(&self) -> bool {
        let counts = &self.result.counts;
        let done = counts.reads + counts.writes + counts.trims;
        let all = done + u64::from(self.depth_now);
        self.terms.number_ios > 0 && all >= self.terms.number_ios
    }

    fn issue_own(&mut self) -> Step {
        let limit = self.terms.io_bytes.saturating_mul(self.terms.loops);
        let is_over = self.tally.issued_bytes >= limit || self.has_enough_ios();
        if is_over && !self.terms.time_based {
            return self.leave_io();
        }
        let whole_pass = self.tally.pass_issued >= self.terms.pass_bytes;
        if whole_pass && (!self.terms.time_based || self.terms.verify.is_some()) {
            return self.leave_io();
        }
        if let Some(unit) = self.units.take_requeued() {
            // fio runs the backlog rule before it looks at what it got.
            if self.burst_is_due() {
                self.burst -= 1;
            }
            self.begin_again(unit);
            return self.queue_unit(unit);
        }
        let Some(unit) = self.units.take_free() else {
            return Step::Reap;
        };
        if self.burst_is_due()
            && let Head::Taken(logged) = self.log.take()
        {
            self.burst -= 1;
            if self.terms.verify_only {
                self.units.give_back(unit);
                return self.pass_over(logged);
            }
            return self.queue_logged(unit, logged);
        }
        let [reads, writes, _] = self.tally.issued;
        let Some((op, extent)) = self.offsets.next([reads, writes]) else {
            self.units.give_back(unit);
            self.tally.found_no_place = true;
            return self.leave_io();
        };
        let logs = op == Op::Write
            && self.terms.verify.is_some()
            && self.terms.do_verify
            && !self.terms.experimental_verify;
        let verifies = op == Op::Read && self.terms.verify.is_some() && !self.terms.writes;
        if verifies && self.should_stop(extent.offset) {
            self.units.give_back(unit);
            self.tally.own_is_over = true;
            return Step::Drain;
        }
        let seed = self.seed(op, verifies);
        let numberio = writes as u16;
        let ticket = logs.then(|| self.log.push(extent.offset, extent.len, numberio, seed));
        if self.terms.verify_only {
            self.units.give_back(unit);
            return self.pretend(op, extent, ticket);
        }
        if op != Op::Trim {
            self.tally.pass_own += u64::from(extent.len);
        }
        let slot = self.units.get_mut(unit);
        let (offset, len, verify) = (extent.offset, extent.len, verifies);
        *slot = Unit {
            op,
            offset,
            len,
            seed,
            numberio,
            ticket,
            verify,
            ..*slot
        };
        self.queue_unit(unit)
    }

    /// The seed of what a write puts there, or of what a read has to find.
    fn seed(&mut self, op: Op, verifies: bool) -> u64 {
        match (op, self.terms.verify) {
            _ if self.terms.pattern.is_some() => 0,
            (Op::Write, Some(verify)) if verify != VerifyType::Null => {
                self.payload_seeds.draw_seed()
            }
            (Op::Write, _) => self.buffer_seeds.draw_seed(),
            (Op::Read, Some(_)) if verifies => self.payload_seeds.draw_seed(),
            (Op::Read | Op::Trim, _) => 0,
        }
    }

    /// `verify_only`: an I/O counts as done without being done.
    fn pretend(&mut self, op: Op, extent: Extent, ticket: Option<Ticket>) -> Step {
        let bytes = u64::from(extent.len);
        if let Some(ticket) = ticket {
            self.log.done(ticket);
        }
        let tally = &mut self.tally;
        tally.issued[op as usize] += 1;
        if op != Op::Trim {
            tally.issued_bytes += bytes;
            tally.pass_issued += bytes;
            tally.pass_own += bytes;
        }
        tally.pass_done += bytes;
        tally.done += bytes;
        tally.own_done += bytes;
        if op == Op::Read {
            tally.only_read += bytes;
        }
        self.last_op = Some(op);
        Step::Issue
    }

    /// `verify_only` and `verify_backlog`: fio takes what is due from the log, counts it as read, and never
    /// verifies it.
    fn pass_over(&mut self, logged: Logged) -> Step {
        if self.terms.pattern.is_none() {
            self.payload_seeds.draw_seed();
        }
        self.result.counts.reads += 1;
        self.tally.issued[Op::Read as usize] += 1;
        self.tally.done += u64::from(logged.len);
        self.tally.only_read += u64::from(logged.len);
        self.last_op = Some(Op::Read);
        Step::Issue
    }

    /// A write that had to wait for one that it overlaps (`serialize_overlap`) is filled and logged anew, as
    /// fio does.
    fn begin_again(&mut self, id: UnitId) {
        let unit = self.units.get_mut(id);
        let waited = std::mem::take(&mut unit.waited);
        if !waited || unit.op != Op::Write {
            return;
        }
        let is_random = self.terms.pattern.is_none();
        if is_random
            && self
                .terms
                .verify
                .is_some_and(|verify| verify != VerifyType::Null)
        {
            unit.seed = self.payload_seeds.draw_seed();
        }
        unit.numberio = self.tally.issued[Op::Write as usize] as u16;
        if unit.ticket.is_some() {
            let ticket = self
                .log
                .push(unit.offset, unit.len, unit.numberio, unit.seed);
            unit.ticket = Some(ticket);
        }
    }

    /// The rest of short transfers goes first; then the phase is over.
    fn leave_io(&mut self) -> Step {
        self.tally.own_is_over = true;
        match self.units.take_requeued() {
            Some(unit) => self.queue_unit(unit),
            None => Step::Drain,
        }
    }

    fn issue_verify(&mut self) -> Step {
        if let Some(unit) = self.units.take_requeued() {
            return self.queue_unit(unit);
        }
        let Some(unit) = self.units.take_free() else {
            return Step::Reap;
        };
        if self.terms.experimental_verify {
            return self.draw_again(unit);
        }
        match self.log.take() {
            Head::Taken(logged) => self.queue_logged(unit, logged),
            Head::Empty | Head::InFlight => {
                self.units.give_back(unit);
                Step::Drain
            }
        }
    }

    /// `experimental_verify`: the next write of the pass, as the generators draw it once more, is read.
    fn draw_again(&mut self, unit: UnitId) -> Step {
        // fio compares what it has read in all passes with what this one wrote.
        let written = self.result.counts.write_bytes - self.tally.written_before;
        let verified = self.tally.reread;
        if verified + u64::from(self.terms.len_min) > written {
            self.units.give_back(unit);
            return Step::Drain;
        }
        loop {
            let [reads, writes, _] = self.tally.issued;
            let Some((op, Extent { offset, len })) = self.offsets.next([reads, writes]) else {
                self.units.give_back(unit);
                return Step::Drain;
            };
            self.tally.issued[op as usize] += 1;
            if op == Op::Write {
                self.tally.issued_bytes += u64::from(len);
                let numberio = self.redrawn as u16;
                self.redrawn += 1;
                let logged = Logged::new(offset, len, numberio);
                return self.queue_logged(unit, logged);
            }
        }
    }

    /// fio's backlog rule: a burst goes on, or begins when the log holds a multiple of the backlog
    /// and the last completion was not a read's.
    fn burst_is_due(&mut self) -> bool {
        if self.terms.backlog == 0 || self.log.len() == 0 {
            return false;
        }
        let full = self.log.len().is_multiple_of(self.terms.backlog);
        if self.burst == 0 && full && self.last_op != Some(Op::Read) {
            self.burst = self.terms.backlog_batch;
        }
        self.burst > 0
    }

    /// Whether a loaded state says that what follows was not written.
    fn should_stop(&self, offset: u64) -> bool {
        let reads = self.result.counts.reads;
        let state = self.state.as_ref();
        state.is_some_and(|state| state.should_stop(reads, offset))
    }

    fn queue_logged(&mut self, unit: UnitId, logged: Logged) -> Step {
        if self.should_stop(logged.offset) {
            self.units.give_back(unit);
            return Step::Drain;
        }
        let seed = match self.terms.pattern {
            Some(_) => 0,
            None => self.payload_seeds.draw_seed(),
        };
        let Logged {
            offset,
            len,
            numberio,
            ..
        } = logged;
        let slot = self.units.get_mut(unit);
        let (from_log, verify) = (true, true);
        *slot = Unit {
            op: Op::Read,
            offset,
            len,
            seed,
            numberio,
            from_log,
            verify,
            ..*slot
        };
        self.queue_unit(unit)
    }

    fn queue_unit(&mut self, id: UnitId) -> Step {
        let unit = self.units.get(id);
        if self.terms.serialize_overlap && self.units.in_flight(unit.offset, unit.len) {
            let unit = self.units.get_mut(id);
            unit.waited = true;
            if let Some(ticket) = unit.ticket.filter(|_| self.phase == Phase::Io) {
                self.log.failed(ticket);
            }
            self.units.requeue(id);
            self.reaps_down = false;
            return Step::Reap;
        }
        let issued = self.oracle.as_ref().map(|oracle| oracle.now());
        let unit = self.units.get_mut(id);
        unit.in_flight = true;
        unit.issued = issued.unwrap_or_default();
        let request = unit.request(id);
        let bytes = u64::from(request.len);
        let is_trim = request.op == Op::Trim;
        if !unit.from_log {
            self.tally.issued[request.op as usize] += 1;
            // What is trimmed to be written does not count (`io_bytes_exceeded`).
            if !is_trim || !self.terms.writes {
                self.tally.issued_bytes += bytes;
            }
        }
        // What has completed when it was queued does not count (`io_queue_event`).
        if self.phase == Phase::Io && !is_trim {
            self.tally.pass_issued += bytes;
        }
        if is_trim {
            self.trim = Some(id);
            self.doubt_blocks(request.offset, request.len);
        }
        self.queue.push(request);
        self.depth_now += 1;
        Step::Queued
    }

    /// All I/O of the phase is done: verify, another pass, or the end.
    pub(super) fn end_of_phase(&mut self) -> Step {
        let failed = !self.result.error.is_ok();
        let nothing_done = self.phase == Phase::Io && self.tally.pass_done == 0;
        // What such a job reads counts as verified, not as done: after a pass, fio finds that nothing was
        // done (`io_u_update_bytes_done`), whatever `loops`, `io_size` and `time_based` say.
        let only_reads = self.terms.reads && !self.terms.writes;
        let only_verifies = only_reads && self.terms.verify.is_some();
        if failed || self.terminated || nothing_done || only_verifies {
            if self.tally.own_is_over && self.tally.pass_own == 0 {
                // The passes before have issued all that there is: none comes any more.
                self.loops_left = 0;
            }
            return Step::Ended;
        }
        let verifies = self.terms.do_verify && self.terms.verify.is_some();
        if self.phase == Phase::Io && verifies {
            self.phase = Phase::Verify;
            self.tally.found_no_place = false;
            self.close();
            if !self.terms.repeats {
                self.payload_seeds = crate::random::Taus88::new(self.seeds.verify());
            }
            if self.log.len() > 0 || self.terms.experimental_verify {
                return Step::Reopening;
            }
        }
        self.tally.end_pass(&self.terms, self.log.replaced());
        self.log.clear();
        self.tally.written_before = self.result.counts.write_bytes;
        if !self.goes_on() {
            return Step::Ended;
        }
        self.phase = Phase::Io;
        self.tally.own_is_over = false;
        self.tally.found_no_place = false;
        self.tally.pass_issued = 0;
        self.tally.pass_done = 0;
        self.close();
        Step::Reopening
    }

    /// fio closes the device: positions and map are forgotten, repeatable generators start anew.
    fn close(&mut self) {
        self.offsets.rewind();
        if self.terms.repeats {
            self.offsets
                .reseed(&self.seeds, self.terms.verify.is_some());
            self.payload_seeds = crate::random::Taus88::new(self.seeds.verify());
            self.buffer_seeds = crate::random::Taus88::new(self.seeds.buffers());
        }
    }

    /// Whether another pass begins: time or loops are left, or a pass ended too early.
    fn goes_on(&mut self) -> bool {
        if self.tally.own_done == 0 {
            return false;
        }
        if self.terms.time_based {
            return true;
        }
        if self.terms.is_volume {
            return false;
        }
        if self.loops_left > 0 {
            self.loops_left -= 1;
            return true;
        }
        if self.has_enough_ios() || (self.tally.found_no_place && !self.terms.has_io_size) {
            return false;
        }
        let missing = self.terms.io_bytes.saturating_sub(self.tally.done);
        missing >= u64::from(self.terms.len_max).max(1)
    }
}
