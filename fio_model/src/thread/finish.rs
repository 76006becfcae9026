//! What a fio thread does with a completion: counts, checks, errors.

use super::{FioThread, Phase};
use crate::digest_cache::DigestCache;
use crate::errno::Errno;
use crate::fingerprint::{Fingerprint, fingerprint};
use crate::request::{Completion, Op, UnitId};
use crate::result::{FirstFailure, Origin};
use crate::units::Unit;
use crate::verify::{self, Expected};

/// fio's flag of a unit that counts for the current depth.
const FLAG_IN_DEPTH: u32 = 0x08;
/// fio's flag of a unit that a thread of `verify_async` checks: it counts for the depth no more.
const FLAG_NO_FILE_PUT: u32 = 0x04;
/// fio's flag of a read that came from the log.
const FLAG_FROM_LOG: u32 = 0x80;

impl FioThread {
    /// Takes in the completion of `id`; says what a verify read holds, if its header is right.
    pub(super) fn finish(
        &mut self,
        id: UnitId,
        completion: Completion,
        buffer: &[u8],
        digests: &mut DigestCache,
    ) -> Option<Fingerprint> {
        let slot = self.units.get_mut(id);
        slot.in_flight = false;
        let unit = *slot;
        self.last_op = Some(unit.op);
        let bytes = match completion {
            Completion::Failed { errno } => {
                self.fail_request(id, &unit, errno);
                return None;
            }
            Completion::Done { bytes } => bytes.min(unit.len - unit.moved),
        };
        let rest = unit.len - unit.moved - bytes;
        let beyond = unit.offset + u64::from(unit.moved + bytes) >= self.device_bytes;
        if rest > 0 && bytes > 0 && !beyond {
            self.result.counts.short += 1;
            self.units.get_mut(id).moved += bytes;
            self.units.requeue(id);
            return None;
        }
        self.units.give_back(id);
        if bytes == 0 && self.terms.is_sync {
            self.forget_write(&unit);
            let failure = FirstFailure::NoData {
                offset: unit.offset,
            };
            self.result.fail(Errno::EIO, Origin::FullResid, failure);
            return None;
        }
        self.count(&unit, bytes);
        match unit.op {
            Op::Read if unit.verify => {
                self.finish_verify(&unit, bytes, &buffer[..unit.len as usize], digests)
            }
            Op::Read | Op::Trim => None,
            Op::Write => {
                self.finish_write(&unit);
                None
            }
        }
    }

    fn count(&mut self, unit: &Unit, bytes: u32) {
        let moved = u64::from(unit.moved + bytes);
        let counts = &mut self.result.counts;
        match unit.op {
            Op::Write => {
                counts.writes += 1;
                counts.write_bytes += moved;
            }
            Op::Read => {
                counts.reads += 1;
                counts.read_bytes += moved;
                counts.no_data += u64::from(moved == 0);
            }
            Op::Trim => {
                counts.trims += 1;
                counts.trim_bytes += moved;
            }
        }
        self.tally.pass_done += moved;
        self.tally.done += moved;
        if !unit.from_log {
            self.tally.own_done += moved;
        } else if self.phase == Phase::Verify {
            self.tally.reread += moved;
        }
        if unit.op == Op::Read && !unit.verify {
            self.tally.only_read += moved;
        }
    }

    fn fail_request(&mut self, id: UnitId, unit: &Unit, errno: Errno) {
        self.units.give_back(id);
        self.result.counts.failed += 1;
        let op = unit.op;
        if self.terms.continue_on_error.covers(op, errno) {
            // Of a synchronous engine, a write that failed stays in the log as if it were in flight
            // (`io_queue_event`, `clear_io_u`): fio verifies nothing that stands behind it.
            match self.terms.is_sync {
                true if op == Op::Write => self.doubt_blocks(unit.offset, unit.len),
                true => {}
                false => self.forget_write(unit),
            }
            self.result.go_on_after(errno);
            return;
        }
        self.forget_write(unit);
        let (offset, len) = (unit.offset + u64::from(unit.moved), unit.len - unit.moved);
        let file = &self.file;
        // Of a trim, fio says no more than that its job has ended.
        if op != Op::Trim {
            self.result.say(|| {
                let op = op.name();
                format!(
                    "fio: io_u error on file {file}: {errno}: {op} offset={offset}, buflen={len}"
                )
            });
        }
        if errno == Errno::ENOSPC && self.terms.fill_device {
            self.terminated = true;
            return;
        }
        let origin = match op {
            Op::Trim => Origin::Queue,
            Op::Read | Op::Write => Origin::IoUnit,
        };
        self.result.fail(
            errno,
            origin,
            FirstFailure::Io {
                op,
                offset,
                len,
                errno,
            },
        );
    }

    /// A write that failed is not verified.
    fn forget_write(&mut self, unit: &Unit) {
        if let Some(ticket) = unit.ticket {
            self.log.failed(ticket);
        }
        if unit.op == Op::Write {
            self.doubt_blocks(unit.offset, unit.len);
        }
    }

    /// Nobody knows any more what these blocks hold: they are trimmed, or a write to them has failed.
    pub(super) fn doubt_blocks(&mut self, offset: u64, len: u32) {
        let Some(oracle) = self.oracle.as_mut() else {
            return;
        };
        for at in (0..len).step_by(self.terms.interval as usize) {
            oracle.unknown(offset + u64::from(at));
        }
    }

    fn finish_write(&mut self, unit: &Unit) {
        if let Some(depth) = self.terms.state_depth {
            if self.completed.len() == depth as usize {
                self.completed.pop_front();
            }
            self.completed
                .push_back(unit.offset + u64::from(unit.moved));
        }
        if let Some(ticket) = unit.ticket {
            self.log.done(ticket);
        }
        let (Some(oracle), Some(verify)) = (&mut self.oracle, self.terms.verify) else {
            return;
        };
        let interval = self.terms.interval;
        if !verify.has_header() {
            // What a pattern puts there, interval by interval; nothing is known of `verify=null`.
            let Some(pattern) = &self.terms.pattern else {
                return;
            };
            let mut content = vec![0; unit.len as usize];
            pattern.fill(unit.offset, &mut content);
            let blocks = content.chunks(interval as usize);
            for (at, block) in (0u64..).step_by(interval as usize).zip(blocks) {
                oracle.written(unit.offset + at, fingerprint(block));
            }
            return;
        }
        let stamp = verify::Stamp {
            verify,
            interval,
            header_at: self.terms.verify_offset,
            seed: unit.seed,
            pattern: None,
            offset: unit.offset,
            now_ns: unit.prepared_ns,
            thread: self.thread_number as u16,
            numberio: unit.numberio,
        };
        for at in (0..unit.len).step_by(interval as usize) {
            if at == 0 && self.terms.verify_offset == 0 {
                oracle.written(unit.offset, unit.fingerprint);
                continue;
            }
            oracle.written(unit.offset + u64::from(at), stamp.fingerprint(at));
        }
    }

    fn finish_verify(
        &mut self,
        unit: &Unit,
        bytes: u32,
        buffer: &[u8],
        digests: &mut DigestCache,
    ) -> Option<Fingerprint> {
        let verify = self.terms.verify?;
        let mut straight = Vec::new();
        let buffer = if self.terms.verify_offset > 0 {
            straight.extend_from_slice(buffer);
            verify::swap_headers(
                verify,
                self.terms.interval,
                self.terms.verify_offset,
                &mut straight,
            );
            &straight[..]
        } else {
            buffer
        };
        let flags = if self.terms.verify_async {
            FLAG_NO_FILE_PUT
        } else {
            FLAG_IN_DEPTH
        };
        let is_from_log = unit.from_log && !self.terms.experimental_verify;
        let flags = flags | if is_from_log { FLAG_FROM_LOG } else { 0 };
        let expected = Expected {
            verify,
            interval: self.terms.interval.min(unit.len),
            offset: unit.offset,
            seed: self.terms.checks_seed.then_some(unit.seed),
            pattern: self.terms.pattern.as_ref(),
            numberio: self.terms.checks_numberio.then_some(unit.numberio),
            fatal: self.terms.verify_fatal,
            dump: self.terms.verify_dump,
            flags,
        };
        let mut first = None;
        let (result, file) = (&mut self.result, &self.file);
        let good = verify::check(&expected, buffer, digests, |failure| {
            result.say(|| failure.in_file(file).to_string());
            first.get_or_insert(failure);
        });
        // fio goes on only with headers that are right: their CRC need not be computed again.
        let is_checked = good && verify.has_header();
        match first {
            Some(failure) if !good => {
                self.result.counts.verify_failures += 1;
                self.terminated |= self.terms.verify_fatal;
                let on = &self.terms.continue_on_error;
                let goes_on = on.covers(Op::Read, Errno::EILSEQ);
                let origin = if self.terms.is_sync {
                    Origin::SyncComplete
                } else {
                    Origin::QueuedComplete
                };
                if goes_on {
                    self.result.go_on_after(Errno::EILSEQ);
                } else {
                    let failure = FirstFailure::Verify(failure);
                    self.result.fail(Errno::EILSEQ, origin, failure);
                }
                // A read of nothing, past the end of a disk that went, leaves the buffer as it was. One
                // that moved data must have moved the right data, whatever fio makes of them.
                if unit.moved + bytes > 0 {
                    self.check_strictly(unit, bytes, buffer, false);
                }
            }
            _ => {
                self.result.counts.verified += 1;
                self.result.counts.verified_bytes += u64::from(unit.len);
                self.check_strictly(unit, bytes, buffer, is_checked);
            }
        }
        let is_in_front = self.terms.verify_offset == 0;
        (is_checked && is_in_front).then(|| Fingerprint::of_checked(buffer))
    }

    /// fio is content: is the strict oracle? `is_checked`: each block has a right header.
    fn check_strictly(&mut self, unit: &Unit, bytes: u32, buffer: &[u8], is_checked: bool) {
        let Some(oracle) = &self.oracle else { return };
        let interval = self.terms.interval;
        for (at, block) in (0u32..)
            .step_by(interval as usize)
            .zip(buffer.chunks(interval as usize))
        {
            let offset = unit.offset + u64::from(at);
            let violation = if unit.moved + bytes == 0 {
                oracle.no_data(offset, unit.issued)
            } else {
                let got = match is_checked {
                    true => Fingerprint::of_checked(block),
                    false => fingerprint(block),
                };
                oracle.check(offset, unit.issued, got, block)
            };
            // A write in flight to the same place may have arrived already.
            if let Some(violation) = violation
                && !self.units.writing(offset, interval)
            {
                self.result.violate(violation);
            }
        }
    }
}
