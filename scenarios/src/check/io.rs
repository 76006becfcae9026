//! I2, I9, G5, G6, V2: what requests of applications move, and that they come back.
//!
//! The history of a disk ([`History`]) is kept over every slot and controller that exposes it.
//!
//! A guest that was not told of an exchange of disks, or not yet, goes on with the old one's name: what
//! it writes then may be on either, and a read of the new one's data is waived, not violated.
//!
//! What a disk that keeps no data returns says nothing, and does not count.
//!
//! Requests of one length on a disk are followed; from the first write of another length on (a job with
//! several block sizes), or the first trim, none are looked at, and they do not count: fio and its strict
//! oracle do.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::CheckId;
use super::history::History;
use super::refusals::Refusals;
use super::tally::Tally;
use crate::names::{DiskId, Place, VmId};
use crate::observation::{Io as Request, Observation, Seen};
use crate::time::Time;

/// When the requests in flight of one guest were submitted, oldest first; `None`: it has come back.
#[derive(Clone, Debug, Default)]
struct Flight {
    first: u64,
    requests: VecDeque<Option<Time>>,
    count: usize,
}

/// The history of all disks.
#[derive(Clone, Debug, Default)]
pub struct Io {
    /// By number of the disk.
    disks: Vec<History>,
    refusals: Refusals,
    /// The disk in each slot, if it keeps data, and the slots that have had several.
    places: BTreeMap<Place, Option<DiskId>>,
    exchanged: BTreeSet<Place>,
    /// Requests in flight, by guest; a few.
    flights: Vec<(VmId, Flight)>,
    /// The target or a guest died: what is in flight may never come back.
    died: bool,
}

impl Io {
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
            Observation::Attached { place, disk, .. } => {
                let before = self.places.insert(*place, *disk);
                self.exchanged
                    .extend(before.filter(|old| old != disk).map(|_| *place));
            }
            Observation::VmDown { vm } => self.vm_down(*vm),
            Observation::Crashed { .. } => self.died = true,
            Observation::FioEnded { fio, jobs, .. } => {
                for job in jobs.iter().filter(|job| job.hung && !self.died) {
                    let hung = format!("{fio} hangs on {}", job.disk);
                    tally.violated(CheckId::V2, seen.at, "every request to come back", hung);
                }
            }
            Observation::Quiet { .. } => self.quiet(seen.at, tally),
            Observation::Answered { .. }
            | Observation::VmReady { .. }
            | Observation::Connected { .. }
            | Observation::Alive { .. }
            | Observation::DiskAppeared(_)
            | Observation::DiskVanished(_)
            | Observation::StaleDisk(_)
            | Observation::DisksListed { .. }
            | Observation::Broken { .. } => {}
        }
    }

    fn submitted(&mut self, io: &Request, at: Time) {
        let guest = io.id.vm();
        let known = self.flights.iter().position(|(of, _)| *of == guest);
        let known = known.unwrap_or_else(|| {
            self.flights.push((guest, Flight::default()));
            self.flights.len() - 1
        });
        let flight = &mut self.flights[known].1;
        let number = io.id.number();
        if flight.requests.is_empty() {
            flight.first = number;
        }
        let place = number.saturating_sub(flight.first) as usize;
        while flight.requests.len() <= place {
            flight.requests.push_back(None);
        }
        flight.requests[place] = Some(at);
        flight.count += 1;
        let disk = history(&mut self.disks, io.disk);
        if io.trim {
            disk.forget();
            if let Some(there) = self.places.get(&io.place).copied().flatten() {
                history(&mut self.disks, there).forget();
            }
            return;
        }
        if let Some(block) = disk.block(io.offset, io.len, io.write)
            && io.write
        {
            disk.begin(block, io.wrote, at);
        }
        if io.write && self.exchanged.contains(&io.place) {
            self.write_elsewhere(io, at, None);
        }
    }

    /// The disk that a request really goes to, if that is not the one its guest believes in.
    fn elsewhere(&mut self, io: &Request) -> Option<(&mut History, usize)> {
        let there = (*self.places.get(&io.place)?)?;
        if there == io.disk {
            return None;
        }
        let disk = history(&mut self.disks, there);
        let block = disk.block(io.offset, io.len, io.write)?;
        Some((disk, block))
    }

    /// A write that the disk in the slot may have got: it begins, or ends and may have landed.
    fn write_elsewhere(&mut self, io: &Request, at: Time, oldest: Option<Time>) {
        if let Some((disk, block)) = self.elsewhere(io) {
            match oldest {
                None => disk.begin(block, io.wrote, at),
                Some(oldest) => disk.end(block, io.wrote, false, at, oldest),
            }
        }
    }

    /// When the oldest request in flight was submitted.
    fn oldest(&self, now: Time) -> Time {
        let first = |flight: &Flight| flight.requests.front().copied().flatten();
        let flights = self.flights.iter().map(|(_, flight)| flight);
        flights.filter_map(first).min().unwrap_or(now)
    }

    /// Takes a request out of those in flight: when it was submitted.
    fn take(&mut self, io: &Request) -> Option<Time> {
        let guest = io.id.vm();
        let (_, flight) = self.flights.iter_mut().find(|(of, _)| *of == guest)?;
        let place = io.id.number().checked_sub(flight.first)? as usize;
        let at = flight.requests.get_mut(place)?.take()?;
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
        let disk = history(&mut self.disks, io.disk);
        let Some(block) = disk.block(io.offset, io.len, io.write) else {
            return Some(submitted);
        };
        let whole = result == Ok(io.len);
        let exchanged = self.exchanged.contains(&io.place);
        if io.write {
            // It may have gone to the disk that was there meanwhile.
            let sure = whole && !exchanged;
            let oldest = self.oldest(at);
            let disk = history(&mut self.disks, io.disk);
            disk.end(block, io.wrote, sure, at, oldest);
            if exchanged {
                self.write_elsewhere(io, at, Some(oldest));
            }
        } else if whole && (exchanged || self.places.get(&io.place) != Some(&None)) {
            for check in [CheckId::I2, CheckId::G5, CheckId::G6] {
                tally.count(check);
            }
            if !disk.may_read(block, read, submitted) {
                let acked = disk.acked(block);
                let keeps_none = exchanged && self.places.get(&io.place) == Some(&None);
                let there = self.elsewhere(io);
                if keeps_none
                    || there.is_some_and(|(disk, block)| disk.may_read(block, read, submitted))
                {
                    tally.waived(CheckId::I2, "stale_identity");
                    return Some(submitted);
                }
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
        let disks = (0..=u8::MAX).map(DiskId).zip(&self.disks);
        let foreign = disks
            .filter(|(id, _)| *id != io.disk && read != 0)
            .find(|(_, disk)| disk.acked(block) == read);
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

    /// A guest went away: nobody waits for its requests, and its writes in flight may land at any time,
    /// since the target may be a while with what it has fetched.
    fn vm_down(&mut self, vm: VmId) {
        self.flights.retain(|(of, _)| *of != vm);
    }

    fn quiet(&mut self, at: Time, tally: &mut Tally) {
        tally.count(CheckId::V2);
        let left: usize = self.flights.iter().map(|(_, flight)| flight.count).sum();
        if left > 0 && !self.died {
            let what = format!("{left} that will never come back");
            tally.violated(CheckId::V2, at, "every request to come back", what);
        }
    }
}

/// The history of a disk, begun if need be.
fn history(disks: &mut Vec<History>, disk: DiskId) -> &mut History {
    let number = usize::from(disk.0);
    if disks.len() <= number {
        disks.resize_with(number + 1, History::default);
    }
    &mut disks[number]
}
