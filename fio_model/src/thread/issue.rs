//! What a fio thread issues next, and what it does when a phase or pass is over.

use super::{FioThread, Phase, Step};
use crate::digest::VerifyType;
use crate::request::{Op, UnitId};
use crate::units::Unit;
use crate::write_log::{Head, Logged};

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
        over
    }

    fn issue_own(&mut self) -> Step {
        let limit = self.terms.io_bytes * self.terms.loops;
        if self.tally.issued_bytes >= limit && !self.terms.time_based {
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
            return self.queue_unit(unit);
        }
        let Some(unit) = self.units.take_free() else {
            return Step::Reap;
        };
        if self.burst_is_due()
            && let Head::Taken(logged) = self.log.take()
        {
            self.burst -= 1;
            return self.queue_logged(unit, logged);
        }
        let [reads, writes] = self.tally.issued;
        let op = self.offsets.direction(reads, writes);
        let Some(extent) = self.offsets.next(op) else {
            self.units.give_back(unit);
            return self.leave_io();
        };
        let logs = op == Op::Write && self.terms.verify.is_some() && self.terms.do_verify;
        let verifies = op == Op::Read && self.terms.verify.is_some() && !self.terms.writes;
        if verifies && self.should_stop(extent.offset) {
            self.units.give_back(unit);
            self.tally.own_is_over = true;
            return Step::Drain;
        }
        let seed = match (op, self.terms.verify) {
            _ if self.terms.pattern.is_some() => 0,
            (Op::Write, Some(verify)) if verify != VerifyType::Null => {
                self.payload_seeds.draw_seed()
            }
            (Op::Write, _) => self.buffer_seeds.draw_seed(),
            (Op::Read, Some(_)) if verifies => self.payload_seeds.draw_seed(),
            (Op::Read, _) => 0,
        };
        let numberio = writes as u16;
        let ticket = logs.then(|| self.log.push(extent.offset, extent.len, numberio, seed));
        self.tally.pass_own += u64::from(extent.len);
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
        match self.log.take() {
            Head::Taken(logged) => self.queue_logged(unit, logged),
            Head::Empty | Head::InFlight => {
                self.units.give_back(unit);
                Step::Drain
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
        let issued = self.oracle.as_ref().map(|oracle| oracle.now());
        let unit = self.units.get_mut(id);
        unit.in_flight = true;
        unit.issued = issued.unwrap_or_default();
        let request = unit.request(id);
        if !unit.from_log {
            self.tally.issued[request.op as usize] += 1;
            self.tally.issued_bytes += u64::from(request.len);
        }
        if self.phase == Phase::Io {
            self.tally.pass_issued += u64::from(request.len);
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
        let only_verifies = !self.terms.writes && self.terms.verify.is_some();
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
            self.close();
            if !self.terms.repeats {
                self.payload_seeds = crate::random::Taus88::new(self.seeds.verify());
            }
            if self.log.len() > 0 {
                return Step::Reopening;
            }
        }
        self.tally.end_pass(&self.terms, self.log.replaced());
        self.log.clear();
        if !self.goes_on() {
            return Step::Ended;
        }
        self.phase = Phase::Io;
        self.tally.own_is_over = false;
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
        let missing = self.terms.io_bytes.saturating_sub(self.tally.done);
        missing >= u64::from(self.terms.len_max).max(1)
    }
}
