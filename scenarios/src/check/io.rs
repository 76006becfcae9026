//! I2, I9, G5, G6, V2: what requests of applications move, and that they come back.
//!
//! The history of a disk is kept over every slot and controller that exposes it: for each block the
//! fingerprint of the last acknowledged write, and of writes whose fate is open (in flight, failed,
//! aborted). A read may return any of these, and what was acknowledged when it was submitted.
//!
//! Requests of one length on a disk are followed; others (a job with several block sizes) are not
//! looked at, and do not count.

use std::collections::{BTreeMap, VecDeque};

use super::CheckId;
use super::refusals::Refusals;
use super::tally::Tally;
use crate::names::{ControllerId, DiskId, VmId};
use crate::observation::{Io as Request, Observation, Seen};
use crate::time::Time;

/// A write that may or may not be on the disk.
#[derive(Clone, Copy, Debug)]
struct Open {
    wrote: u64,
    /// It has come back with an error, or its guest went away.
    closed: bool,
}

/// What was acknowledged before the last acknowledged write, for reads that were under way then.
#[derive(Clone, Copy, Debug, Default)]
struct Block {
    acked: u64,
    before: u64,
    acked_at: Time,
    /// The one write in flight that there usually is; 0: none.
    flight: u64,
}

#[derive(Debug, Default)]
struct Disk {
    /// Bytes of a block; 0: no request yet.
    unit: u32,
    blocks: Vec<Block>,
    /// Further writes whose fate is open, by block.
    open: BTreeMap<usize, Vec<Open>>,
}

/// Requests in flight of one guest, oldest first; `None`: it has come back.
#[derive(Debug, Default)]
struct Flight {
    first: u64,
    requests: VecDeque<Option<(Time, Request)>>,
    count: usize,
}

/// The history of all disks.
#[derive(Debug)]
pub struct Io {
    vms: Vec<(VmId, Vec<ControllerId>)>,
    disks: BTreeMap<DiskId, Disk>,
    refusals: Refusals,
    /// By the upper bits of the request's number, which name the guest.
    flights: BTreeMap<u64, Flight>,
    /// The target or a guest died: what is in flight may never come back.
    died: bool,
}

/// The bits of a request's number that count within its guest.
const NUMBER: u64 = (1 << 48) - 1;

impl Disk {
    /// The block that a request is about, if requests of its length are followed.
    fn block(&mut self, io: &Request) -> Option<usize> {
        if self.unit == 0 {
            self.unit = io.len;
        }
        let unit = u64::from(self.unit);
        if io.len == 0 || io.len != self.unit || !io.offset.is_multiple_of(unit) {
            return None;
        }
        let block = (io.offset / unit) as usize;
        if block >= self.blocks.len() {
            self.blocks.resize(block + 1, Block::default());
        }
        Some(block)
    }

    fn begin_write(&mut self, block: usize, wrote: u64) {
        let flight = &mut self.blocks[block].flight;
        if *flight == 0 {
            *flight = wrote;
        } else {
            self.open.entry(block).or_default().push(Open {
                wrote,
                closed: false,
            });
        }
    }

    fn end_write(&mut self, block: usize, wrote: u64, good: bool, at: Time) {
        let here = &mut self.blocks[block];
        let lone = here.flight == wrote;
        if lone {
            here.flight = 0;
        }
        let open = self.open.get_mut(&block);
        if good {
            (here.before, here.acked, here.acked_at) = (here.acked, wrote, at);
            if let Some(open) = open {
                // Writes that ended before this one are overwritten, and so is this one's own entry; one
                // still in flight may come after it.
                open.retain(|other| other.wrote != wrote && !other.closed);
                if open.is_empty() {
                    self.open.remove(&block);
                }
            }
        } else if lone {
            self.open.entry(block).or_default().push(Open {
                wrote,
                closed: true,
            });
        } else if let Some(open) = open {
            open.iter_mut()
                .filter(|other| other.wrote == wrote)
                .for_each(|o| o.closed = true);
        }
    }

    fn may_read(&self, block: usize, read: u64, submitted: Time) -> bool {
        let here = &self.blocks[block];
        read == here.acked
            || (read == here.flight && here.flight != 0)
            || (read == here.before && here.acked_at >= submitted)
            || self
                .open
                .get(&block)
                .is_some_and(|open| open.iter().any(|o| o.wrote == read))
    }
}

impl Io {
    /// No disk has been written.
    #[must_use]
    pub fn new(vms: Vec<(VmId, Vec<ControllerId>)>) -> Self {
        Self {
            vms,
            disks: BTreeMap::new(),
            refusals: Refusals::default(),
            flights: BTreeMap::new(),
            died: false,
        }
    }

    /// Takes an observation.
    pub fn see(&mut self, seen: &Seen, tally: &mut Tally) {
        match &seen.what {
            Observation::IoSubmitted(io) => self.submitted(io, seen.at),
            Observation::IoDone {
                io,
                result,
                read,
                answer,
                ..
            } => {
                tally.count(CheckId::V2);
                tally.count(CheckId::I9);
                let submitted = self.done(io, *result, *read, seen.at, tally);
                if let (Some(submitted), Err(_), Some(answer)) = (submitted, result, answer) {
                    let times = (submitted, seen.at);
                    self.refusals.failed(io, *answer, times, tally);
                }
            }
            Observation::Inside(inside) => self.refusals.inside(inside, seen.at),
            Observation::VmDown { vm } => self.vm_down(*vm, seen.at),
            Observation::Crashed { .. } => self.died = true,
            Observation::FioEnded { fio, jobs, .. } => {
                for job in jobs.iter().filter(|job| job.hung && !self.died) {
                    let hung = format!("{fio} hangs on {}", job.disk);
                    tally.violated(CheckId::V2, seen.at, "every request to come back", hung);
                }
            }
            Observation::Quiet { .. } => self.quiet(seen.at, tally),
            _ => {}
        }
    }

    fn submitted(&mut self, io: &Request, at: Time) {
        let flight = self.flights.entry(io.id & !NUMBER).or_default();
        let number = io.id & NUMBER;
        if flight.requests.is_empty() {
            flight.first = number;
        }
        let place = number.saturating_sub(flight.first) as usize;
        if place >= flight.requests.len() {
            flight.requests.resize(place + 1, None);
        }
        flight.requests[place] = Some((at, *io));
        flight.count += 1;
        let disk = self.disks.entry(io.disk).or_default();
        if let Some(block) = disk.block(io)
            && io.write
        {
            disk.begin_write(block, io.wrote);
        }
    }

    /// Takes a request out of those in flight: when it was submitted.
    fn take(&mut self, io: &Request) -> Option<Time> {
        let flight = self.flights.get_mut(&(io.id & !NUMBER))?;
        let place = (io.id & NUMBER).checked_sub(flight.first)? as usize;
        let (at, _) = flight.requests.get_mut(place)?.take()?;
        flight.count -= 1;
        while flight.requests.front().is_some_and(Option::is_none) {
            flight.requests.pop_front();
            flight.first += 1;
        }
        Some(at)
    }

    /// A request has come back; says when it was submitted.
    fn done(
        &mut self,
        io: &Request,
        result: Result<u32, u16>,
        read: u64,
        at: Time,
        tally: &mut Tally,
    ) -> Option<Time> {
        let Some(submitted) = self.take(io) else {
            let what = format!("request {} on {} came back twice", io.id, io.disk);
            tally.violated(CheckId::V2, at, "each request to come back once", what);
            return None;
        };
        let disk = self.disks.entry(io.disk).or_default();
        let Some(block) = disk.block(io) else {
            return Some(submitted);
        };
        let whole = result == Ok(io.len);
        if io.write {
            disk.end_write(block, io.wrote, whole, at);
        } else if whole {
            for check in [CheckId::I2, CheckId::G5, CheckId::G6] {
                tally.count(check);
            }
            if !disk.may_read(block, read, submitted) {
                let acked = disk.blocks[block].acked;
                self.wrong(io, block, (acked, read), at, tally);
            }
        }
        Some(submitted)
    }

    /// A read returned what it may not: another disk's data, nothing, or something older.
    fn wrong(
        &self,
        io: &Request,
        block: usize,
        (acked, read): (u64, u64),
        at: Time,
        tally: &mut Tally,
    ) {
        let foreign = self.disks.iter().find(|(id, disk)| {
            let theirs = disk.blocks.get(block);
            **id != io.disk && read != 0 && theirs.is_some_and(|theirs| theirs.acked == read)
        });
        let what = format!(
            "offset {} of {} at {} read {read:016x}",
            io.offset, io.disk, io.place
        );
        let expected = format!("the last acknowledged write {acked:016x}, or a newer one");
        match foreign {
            Some((other, _)) => {
                tally.violated(
                    CheckId::G6,
                    at,
                    expected,
                    format!("{what}, which is {other}'s"),
                );
            }
            None if read == 0 => tally.violated(CheckId::G5, at, expected, what),
            None => tally.violated(CheckId::I2, at, expected, what),
        }
    }

    /// A guest went away: its requests in flight may have been carried out or not.
    fn vm_down(&mut self, vm: VmId, at: Time) {
        let mine = self
            .vms
            .iter()
            .find(|(id, _)| *id == vm)
            .map_or(&[][..], |(_, mine)| mine);
        let mut gone = Vec::new();
        for flight in self.flights.values_mut() {
            for slot in &mut flight.requests {
                if let Some((_, io)) = slot
                    && mine.contains(&io.place.controller)
                {
                    gone.push(*io);
                    *slot = None;
                    flight.count -= 1;
                }
            }
        }
        for io in gone.iter().filter(|io| io.write) {
            let disk = self.disks.entry(io.disk).or_default();
            if let Some(block) = disk.block(io) {
                disk.end_write(block, io.wrote, false, at);
            }
        }
    }

    fn quiet(&mut self, at: Time, tally: &mut Tally) {
        tally.count(CheckId::V2);
        let left: usize = self.flights.values().map(|flight| flight.count).sum();
        if left > 0 && !self.died {
            let what = format!("{left} that will never come back");
            tally.violated(CheckId::V2, at, "every request to come back", what);
        }
    }
}
