//! A fio thread's I/O units: what each is doing, which are free, which have a rest to go.
//!
//! Knows nothing of why an I/O is done.

use std::collections::VecDeque;

use crate::fingerprint::Fingerprint;
use crate::request::{Op, Request, UnitId};
use crate::strict::Moment;
use crate::write_log::Ticket;

/// What an I/O unit is doing.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Unit {
    pub op: Op,
    pub offset: u64,
    pub len: u32,
    /// Bytes that earlier, short completions have moved.
    pub moved: u32,
    /// A read of logged data: not counted as the job's own I/O.
    pub from_log: bool,
    /// A read that is checked.
    pub verify: bool,
    /// Payload seed of a write; expected seed of a read.
    pub seed: u64,
    pub numberio: u16,
    pub ticket: Option<Ticket>,
    /// When it was prepared, for a write; 0 before.
    pub prepared_ns: u64,
    pub fingerprint: Fingerprint,
    pub issued: Moment,
    pub in_flight: bool,
    /// It was to be issued and had to wait for an overlapping one.
    pub waited: bool,
}

impl Unit {
    const IDLE: Unit = Unit {
        op: Op::Read,
        offset: 0,
        len: 0,
        moved: 0,
        from_log: false,
        verify: false,
        seed: 0,
        numberio: 0,
        ticket: None,
        prepared_ns: 0,
        fingerprint: Fingerprint::ZEROS,
        issued: Moment::START,
        in_flight: false,
        waited: false,
    };

    /// What is left of it, as a request.
    pub fn request(&self, unit: UnitId) -> Request {
        Request {
            unit,
            op: self.op,
            offset: self.offset + u64::from(self.moved),
            len: self.len - self.moved,
            buffer_offset: self.moved,
            verify: self.verify,
        }
    }
}

/// All units of a thread. Free units are used last in, first out, as in fio.
#[derive(Clone, Debug)]
pub(crate) struct Units {
    units: Vec<Unit>,
    free: Vec<UnitId>,
    requeued: VecDeque<UnitId>,
}

impl Units {
    pub fn new(depth: u32) -> Units {
        Units {
            units: vec![Unit::IDLE; depth as usize],
            free: (0..depth as u16).map(UnitId).collect(),
            requeued: VecDeque::with_capacity(depth as usize),
        }
    }

    /// A unit with a rest to go, oldest first.
    pub fn take_requeued(&mut self) -> Option<UnitId> {
        self.requeued.pop_front()
    }

    pub fn take_free(&mut self) -> Option<UnitId> {
        let unit = self.free.pop()?;
        self.units[unit.0 as usize] = Unit::IDLE;
        Some(unit)
    }

    pub fn give_back(&mut self, unit: UnitId) {
        self.free.push(unit);
    }

    pub fn requeue(&mut self, unit: UnitId) {
        self.requeued.push_back(unit);
    }

    /// fio's "queue full".
    pub fn none_free(&self) -> bool {
        self.free.is_empty()
    }

    pub fn get(&self, unit: UnitId) -> &Unit {
        &self.units[usize::from(unit.0)]
    }

    pub fn get_mut(&mut self, unit: UnitId) -> &mut Unit {
        &mut self.units[usize::from(unit.0)]
    }

    /// Whether anything in flight touches any of `len` bytes from `offset` on.
    pub fn in_flight(&self, offset: u64, len: u32) -> bool {
        self.units.iter().any(|unit| {
            let before = unit.offset + u64::from(unit.len) <= offset;
            let after = offset + u64::from(len) <= unit.offset;
            unit.in_flight && !before && !after
        })
    }

    /// Whether a write in flight touches any of `len` bytes from `offset` on.
    pub fn writing(&self, offset: u64, len: u32) -> bool {
        self.units.iter().any(|unit| {
            let before = unit.offset + u64::from(unit.len) <= offset;
            let after = offset + u64::from(len) <= unit.offset;
            unit.in_flight && unit.op == Op::Write && !before && !after
        })
    }
}
