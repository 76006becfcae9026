//! Where a fio thread goes next, and how far: direction, offset, length.
//!
//! Knows nothing of depth, completion and verification.

use crate::distribution::{Preference, name_hash};
use crate::job::{Generator, Job, ReadWrite, Sequencer, Step};
use crate::lfsr::Lfsr;
use crate::random::{SeedTable, Taus88};
use crate::random_map::RandomMap;
use crate::request::{Device, Op};

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
    /// Where the file ends on the device, in bytes.
    end: u64,
    lengths: [(u32, u32); 3],
    splits: [Vec<(u32, u32)>; 3],
    align: [u32; 3],
    by_order: bool,
    wraps: bool,
    places: Places,
    step: Step,
    sequencer: Sequencer,
    /// I/Os until a place is drawn, this one included.
    until_drawn: u32,
    /// Where the last I/O of each direction began.
    last_start: [Option<u64>; 3],
    position: [u64; 3],
    offset_draws: Taus88,
    length_draws: [Taus88; 3],
    mix: Mix,
}

/// What a random job draws its places of.
#[derive(Clone, Debug)]
enum Places {
    /// All of them, again and again.
    Any,
    /// Those that were not visited.
    Mapped(RandomMap),
    /// A register's, each once.
    Register(Lfsr),
    /// Some more than others.
    Preferred(Preference),
}

/// Chooses between reads and writes of a mixed job.
#[derive(Clone, Debug)]
struct Mix {
    draws: Taus88,
    read_percent: u32,
    current: Op,
    limit: u64,
}

/// Where an I/O goes, and how that was chosen.
#[derive(Clone, Copy, Debug)]
struct Chosen {
    place: u64,
    /// Its length, if that is not for the generators to say.
    len: Option<u32>,
    is_random: bool,
    /// A place that was drawn is marked in the map, one that follows another is not.
    is_marked: bool,
}

impl Offsets {
    /// The generators of `job`, thread `thread_number`, on `device`; `wraps` if a pass that has visited
    /// everything starts over.
    pub fn new(
        job: &Job,
        seeds: &SeedTable,
        region: Region,
        wraps: bool,
        device: &Device,
        thread_number: u32,
    ) -> Offsets {
        let lengths = [job.read_len, job.write_len, job.trim_len];
        let unit = u64::from(job.len_min());
        let seed = if job.repeats() {
            name_hash(&device.name).wrapping_mul(thread_number)
        } else {
            seeds.offsets() as u32
        };
        let preferred = Preference::new(job.distribution, region.size.div_ceil(unit), seed);
        let places = match (preferred, job.generator) {
            _ if !job.rw.is_random() => Places::Any,
            (Some(preference), _) => Places::Preferred(preference),
            (None, Generator::Lfsr) => {
                Places::Register(Lfsr::new(region.size / unit, seeds.offsets()))
            }
            (None, _) if job.has_map() => Places::Mapped(RandomMap::new(region.size / unit)),
            (None, _) => Places::Any,
        };
        let align = |op: usize| match job.align[op] {
            align @ 1.. if job.rw.is_random() => align,
            _ => lengths[op].0,
        };
        let mut offsets = Offsets {
            rw: job.rw,
            region,
            end: job.part.bytes(device.size_bytes).1,
            lengths,
            splits: job.splits.clone(),
            align: [align(0), align(1), align(2)],
            by_order: job.bs_is_seq_rand,
            wraps,
            places,
            step: job.step,
            sequencer: job.sequencer,
            until_drawn: 1,
            last_start: [None; 3],
            position: [region.start; 3],
            offset_draws: Taus88::new(0),
            length_draws: [Taus88::new(0); 3],
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
        let trim = match self.rw.writes() {
            true => write,
            false => seeds.lengths_trim(),
        };
        self.length_draws = [seeds.lengths_read(), write, trim].map(Taus88::new);
        self.mix.draws = Taus88::new(seeds.mix());
    }

    /// A pass begins: nothing is visited, sequential positions are at the start.
    pub fn rewind(&mut self) {
        self.position = [self.region.start; 3];
        self.last_start = [None; 3];
        self.mix.limit = 0;
        self.forget_places();
    }

    fn forget_places(&mut self) {
        match &mut self.places {
            Places::Any | Places::Preferred(_) => {}
            Places::Mapped(map) => map.reset(),
            Places::Register(register) => register.reset(),
        }
    }

    /// The direction of the next I/O, given how many of each direction were issued.
    pub fn direction(&mut self, reads: u64, writes: u64) -> Op {
        let mix = &mut self.mix;
        match self.rw {
            ReadWrite::Read | ReadWrite::RandRead => return Op::Read,
            ReadWrite::Write | ReadWrite::RandWrite => return Op::Write,
            ReadWrite::Trim | ReadWrite::RandTrim => return Op::Trim,
            ReadWrite::TrimWrite | ReadWrite::RandTrimWrite => {
                let [_, written, trimmed] = self.last_start;
                return match written == trimmed {
                    true => Op::Trim,
                    false => Op::Write,
                };
            }
            ReadWrite::Mixed | ReadWrite::RandMixed => {}
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
        let Chosen {
            place,
            len,
            is_random,
            is_marked,
        } = self.choose(op)?;
        if place >= self.region.size {
            return None;
        }
        let offset = self.region.start + place;
        let [_, written, trimmed] = &mut self.last_start;
        if (self.rw, op) == (ReadWrite::RandTrimWrite, Op::Trim) && *trimmed == Some(offset) {
            // The place that was written last, again: fio makes sure that it is not taken for written.
            *written = written.map(|written| written.wrapping_sub(1));
        }
        let by = if self.by_order {
            usize::from(is_random)
        } else {
            index
        };
        let mut len = match len {
            Some(len) => len,
            None => self.length(by, place)?,
        };
        // The last I/O may reach beyond the region, but not beyond the file.
        if offset + u64::from(len) > self.end {
            return None;
        }
        if let Places::Mapped(map) = &mut self.places
            && is_marked
        {
            // As in fio: counted and addressed in units of this direction's own smallest block.
            let unit = self.lengths[index].0;
            let marked = map.mark(place / u64::from(unit), u64::from(len.div_ceil(unit)));
            len = len.min((marked as u32).max(1) * unit);
        }
        self.last_start[index] = Some(offset);
        self.position[index] = offset + u64::from(len);
        Some(Extent { offset, len })
    }

    /// Where the next I/O goes: on from the last one, or where a draw says.
    fn choose(&mut self, op: Op) -> Option<Chosen> {
        let drawn = |place| Chosen {
            place,
            len: None,
            is_random: true,
            is_marked: true,
        };
        let in_order = |place| Chosen {
            place,
            len: None,
            is_random: false,
            is_marked: false,
        };
        if !self.rw.is_random() {
            return self.sequential(op).map(in_order);
        }
        self.until_drawn -= 1;
        let is_due = self.until_drawn == 0;
        if is_due {
            self.until_drawn = match self.step {
                Step::Random(every) => every,
                Step::Each | Step::Skip(_) => 1,
            };
        }
        if (self.rw, op) == (ReadWrite::RandTrimWrite, Op::Write) {
            // As in fio: counted from the start of the device, and the region's start is added once more.
            let place = self.last_start[Op::Trim as usize].unwrap_or(u64::MAX);
            let len = self.position[Op::Trim as usize].wrapping_sub(place);
            return Some(Chosen {
                place,
                len: Some(len as u32),
                is_random: true,
                is_marked: false,
            });
        }
        if is_due {
            return self.random(op).map(drawn);
        }
        match self.sequencer {
            Sequencer::Sequential => match self.sequential(op) {
                Some(place) => Some(in_order(place)),
                None => self.random(op).map(in_order),
            },
            Sequencer::Identical => {
                let last = self.last_start[op as usize];
                Some(in_order(last.map_or(0, |last| last - self.region.start)))
            }
        }
    }

    fn random(&mut self, op: Op) -> Option<u64> {
        let index = op as usize;
        let (unit, len) = (
            u64::from(self.align[index]),
            u64::from(self.lengths[index].0),
        );
        // The last places have room for the shortest block.
        let blocks = (self.region.size - len.saturating_sub(unit).min(self.region.size)) / unit;
        let block = match self.random_block(blocks) {
            None if self.wraps => {
                self.forget_places();
                self.position = [self.region.start; 3];
                self.last_start = [None; 3];
                self.random_block(blocks)?
            }
            block => block?,
        };
        Some(block * unit)
    }

    fn random_block(&mut self, blocks: u64) -> Option<u64> {
        match &mut self.places {
            Places::Preferred(preference) => Some(preference.next()),
            Places::Register(register) => register.next(),
            Places::Any => (blocks > 0).then(|| self.offset_draws.below(blocks)),
            Places::Mapped(map) => {
                let block = self.offset_draws.below(blocks);
                if map.is_free(block) {
                    Some(block)
                } else {
                    map.next_free(block)
                }
            }
        }
    }

    fn sequential(&mut self, op: Op) -> Option<u64> {
        let Region { start, size } = self.region;
        let position = &mut self.position[op as usize];
        if *position >= start + size && self.wraps {
            *position = start;
        }
        if *position >= self.end {
            return None;
        }
        let Step::Skip(skip) = self.step else {
            return Some(*position - start).filter(|place| *place < size);
        };
        if *position == start && start > 0 && skip < 0 {
            *position = size.min(self.end);
        }
        let place = position.wrapping_sub(start);
        if place == 0 || skip == 0 {
            return Some(place);
        }
        let place = place.wrapping_add_signed(skip);
        if place < self.end {
            return Some(place);
        }
        // fio wraps at the end of the device, not of the region.
        if skip > 0 {
            return Some(start);
        }
        Some(size.min(self.end).wrapping_add_signed(skip))
    }

    /// The length: fixed, or drawn until it fits before the end.
    fn length(&mut self, by: usize, place: u64) -> Option<u32> {
        let (min, max) = self.lengths[by];
        if min == max {
            return Some(min);
        }
        if place + u64::from(min) > self.region.size {
            return None;
        }
        if !self.splits[by].is_empty() {
            return self.split_length(by, place);
        }
        loop {
            let drawn = u64::from(min) + self.length_draws[by].below(u64::from(max));
            let len = (drawn - drawn % u64::from(min)).min(u64::from(max));
            if place + len <= self.region.size {
                return Some(len as u32);
            }
        }
    }

    /// A length of `bssplit`, drawn until it fits before the end.
    fn split_length(&mut self, by: usize, place: u64) -> Option<u32> {
        let (min, max) = self.lengths[by];
        loop {
            let drawn = u64::from(self.length_draws[by].draw());
            let (mut len, mut share) = (max, 0);
            for (this, percent) in &self.splits[by] {
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
