//! Where a fio thread goes next, and how far: direction, offset, length.
//!
//! Knows nothing of depth, completion and verification.

use crate::job::{Job, ReadWrite};
use crate::random::{SeedTable, Taus88};
use crate::random_map::RandomMap;
use crate::request::Op;

/// The part of the device that a job uses, after sizes were resolved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Region {
    /// Where it starts, in bytes.
    pub start: u64,
    /// How long it is.
    pub size: u64,
}

/// An I/O that the generators chose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// Where it starts, in bytes on the device.
    pub offset: u64,
    /// How long it is.
    pub len: u32,
}

/// The generators of offsets, lengths and directions of one thread.
#[derive(Clone, Debug)]
pub struct Offsets {
    rw: ReadWrite,
    region: Region,
    lengths: [(u32, u32); 2],
    splits: [Vec<(u32, u32)>; 2],
    wraps: bool,
    map: Option<RandomMap>,
    position: [u64; 2],
    offset_draws: Taus88,
    length_draws: [Taus88; 2],
    mix: Mix,
}

/// Chooses between reads and writes of a mixed job.
#[derive(Clone, Debug)]
struct Mix {
    draws: Taus88,
    read_percent: u32,
    current: Op,
    limit: u64,
}

impl Offsets {
    /// The generators of `job`; `wraps` if a pass that has visited everything starts over.
    pub fn new(job: &Job, seeds: &SeedTable, region: Region, wraps: bool) -> Offsets {
        let lengths = [job.read_len, job.write_len];
        let unit = u64::from(lengths[0].0.min(lengths[1].0));
        let mapped = job.rw.is_random() && !job.norandommap;
        let mut offsets = Offsets {
            rw: job.rw,
            region,
            lengths,
            splits: job.splits.clone(),
            wraps,
            map: mapped.then(|| RandomMap::new(region.size / unit)),
            position: [region.start; 2],
            offset_draws: Taus88::new(0),
            length_draws: [Taus88::new(0); 2],
            mix: Mix {
                draws: Taus88::new(0),
                read_percent: job.rwmixread,
                current: Op::Read,
                limit: 0,
            },
        };
        offsets.reseed(seeds, job.verify.is_some());
        offsets
    }

    /// The generator of offsets, as it stands; a sequential job never seeds it.
    pub fn draws(&self) -> Taus88 {
        if self.rw.is_random() {
            self.offset_draws
        } else {
            Taus88::from_words([0; 3])
        }
    }

    /// Starts the generators anew.
    pub fn reseed(&mut self, seeds: &SeedTable, verifies: bool) {
        self.offset_draws = Taus88::new(seeds.offsets());
        let write = if verifies {
            seeds.lengths_read()
        } else {
            seeds.lengths_write()
        };
        self.length_draws = [Taus88::new(seeds.lengths_read()), Taus88::new(write)];
        self.mix.draws = Taus88::new(seeds.mix());
    }

    /// A pass begins: nothing is visited, sequential positions are at the start.
    pub fn rewind(&mut self) {
        self.position = [self.region.start; 2];
        self.mix.limit = 0;
        if let Some(map) = &mut self.map {
            map.reset();
        }
    }

    /// The direction of the next I/O, given how many of each direction were issued.
    pub fn direction(&mut self, reads: u64, writes: u64) -> Op {
        let mix = &mut self.mix;
        if !self.rw.is_mixed() {
            return if self.rw.reads() { Op::Read } else { Op::Write };
        }
        let issued = if mix.current == Op::Read {
            reads
        } else {
            writes
        };
        if issued >= mix.limit {
            let percent = 1 + (100.0 * (f64::from(mix.draws.draw()) / 4_294_967_296.0)) as u32;
            let next = if percent <= mix.read_percent {
                Op::Read
            } else {
                Op::Write
            };
            if next != mix.current {
                let share = if next == Op::Read {
                    mix.read_percent
                } else {
                    100 - mix.read_percent
                };
                mix.limit = issued * u64::from(share) / 100;
            }
            mix.current = next;
        }
        mix.current
    }

    /// The next I/O in direction `op`; `None` when the pass has no place left for it.
    pub fn next(&mut self, op: Op) -> Option<Extent> {
        let index = op as usize;
        let place = if self.rw.is_random() {
            self.random(op)?
        } else {
            self.sequential(op)?
        };
        if place >= self.region.size {
            return None;
        }
        let offset = self.region.start + place;
        let mut len = self.length(op, place)?;
        if place + u64::from(len) > self.region.size {
            return None;
        }
        if let Some(map) = &mut self.map {
            // As in fio: counted and addressed in units of this direction's own smallest block.
            let unit = self.lengths[index].0;
            let marked = map.mark(place / u64::from(unit), u64::from(len.div_ceil(unit)));
            len = len.min((marked as u32).max(1) * unit);
        }
        self.position[index] = offset + u64::from(len);
        Some(Extent { offset, len })
    }

    fn random(&mut self, op: Op) -> Option<u64> {
        let unit = u64::from(self.lengths[op as usize].0);
        let block = match self.random_block(unit) {
            None if self.wraps => {
                if let Some(map) = &mut self.map {
                    map.reset();
                }
                self.random_block(unit)?
            }
            block => block?,
        };
        Some(block * unit)
    }

    fn random_block(&mut self, unit: u64) -> Option<u64> {
        let block = self.offset_draws.below(self.region.size / unit);
        match &self.map {
            Some(map) if !map.is_free(block) => map.next_free(block),
            _ => Some(block),
        }
    }

    fn sequential(&mut self, op: Op) -> Option<u64> {
        let position = &mut self.position[op as usize];
        let end = self.region.start + self.region.size;
        if *position >= end {
            if !self.wraps {
                return None;
            }
            *position = self.region.start;
        }
        Some(*position - self.region.start)
    }

    /// The length: fixed, or drawn until it fits before the end.
    fn length(&mut self, op: Op, place: u64) -> Option<u32> {
        let (min, max) = self.lengths[op as usize];
        if min == max {
            return Some(min);
        }
        if place + u64::from(min) > self.region.size {
            return None;
        }
        if !self.splits[op as usize].is_empty() {
            return self.split_length(op, place);
        }
        loop {
            let drawn = u64::from(min) + self.length_draws[op as usize].below(u64::from(max));
            let len = (drawn - drawn % u64::from(min)).min(u64::from(max));
            if place + len <= self.region.size {
                return Some(len as u32);
            }
        }
    }

    /// A length of `bssplit`, drawn until it fits before the end.
    fn split_length(&mut self, op: Op, place: u64) -> Option<u32> {
        let (min, max) = self.lengths[op as usize];
        loop {
            let drawn = u64::from(self.length_draws[op as usize].draw());
            let (mut len, mut share) = (max, 0);
            for (this, percent) in &self.splits[op as usize] {
                if *percent == 0 {
                    continue;
                }
                (len, share) = (*this, share + u64::from(*percent));
                let fits = place + u64::from(len) <= self.region.size;
                if drawn / share <= u64::from(u32::MAX) / 100 && fits {
                    break;
                }
            }
            let len = len - len % min;
            if place + u64::from(len) <= self.region.size {
                return Some(len);
            }
        }
    }
}
