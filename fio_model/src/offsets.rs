//! Where a fio thread goes next, and how far: direction, offset, length.
//!
//! Knows nothing of depth, completion and verification.

use crate::distribution::name_hash;
use crate::job::{FileOrder, Job, ReadWrite, Sequencer, Step};
use crate::places::{File, Places};
use crate::random::{SeedTable, Taus88};
use crate::request::{Device, Op};
use crate::span::Region;

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
    files: Vec<File>,
    order: FileOrder,
    /// The file whose turn it is, and for how many I/Os more.
    turn: Option<(usize, u32)>,
    /// The file that is looked at first when the next one is chosen.
    next_file: usize,
    file_draws: Taus88,
    lengths: [(u32, u32); 3],
    splits: [Vec<(u32, u32)>; 3],
    align: [u32; 3],
    by_order: bool,
    wraps: bool,
    step: Step,
    sequencer: Sequencer,
    /// I/Os until a place is drawn, this one included.
    until_drawn: u32,
    offset_draws: Taus88,
    length_draws: [Taus88; 3],
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
    /// The generators of `job`, thread `thread_number`, in these parts of `device`, each with the end of its
    /// file; `wraps` if a pass that has visited everything starts over.
    pub fn new(
        job: &Job,
        seeds: &SeedTable,
        regions: &[(Region, u64)],
        wraps: bool,
        device: &Device,
        thread_number: u32,
    ) -> Offsets {
        let lengths = [job.read_len, job.write_len, job.trim_len];
        let seed = if job.repeats() {
            name_hash(&device.name).wrapping_mul(thread_number)
        } else {
            seeds.offsets() as u32
        };
        let file = |&(region, end): &(Region, u64)| File::new(job, (region, end), seeds, seed);
        let align = |op: usize| match job.align[op] {
            align @ 1.. if job.rw.is_random() => align,
            _ => lengths[op].0,
        };
        let mut offsets = Offsets {
            rw: job.rw,
            files: regions.iter().map(file).collect(),
            order: job.file_order,
            turn: None,
            next_file: 0,
            file_draws: Taus88::new(0),
            lengths,
            splits: job.splits.clone(),
            align: [align(0), align(1), align(2)],
            by_order: job.bs_is_seq_rand,
            wraps,
            step: job.step,
            sequencer: job.sequencer,
            until_drawn: 1,
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
        self.file_draws = Taus88::new(seeds.files());
    }

    /// A pass begins.
    pub fn rewind(&mut self) {
        self.mix.limit = 0;
        self.turn = None;
        for file in &mut self.files {
            file.rewind();
            file.is_done = false;
        }
    }

    /// The file of the next I/O; `None` when all are done.
    fn choose_file(&mut self) -> Option<usize> {
        if self.files.iter().all(|file| file.is_done) {
            return None;
        }
        if let Some((file, left)) = self.turn.filter(|(file, _)| !self.files[*file].is_done) {
            if self.order == FileOrder::Sequential {
                return Some(file);
            }
            if left > 0 {
                self.turn = Some((file, left - 1));
                return Some(file);
            }
        }
        let count = self.files.len();
        let (file, number) = match self.order {
            FileOrder::Random(number) => loop {
                let file = self.file_draws.below(count as u64) as usize;
                if !self.files[file].is_done {
                    break (file, number);
                }
            },
            FileOrder::RoundRobin(number) => (self.next_in_turn(), number),
            FileOrder::Sequential => (self.next_in_turn(), 1),
        };
        self.turn = Some((file, number - 1));
        Some(file)
    }

    /// The next file that is not done; there is one.
    fn next_in_turn(&mut self) -> usize {
        loop {
            let file = self.next_file;
            self.next_file = (file + 1) % self.files.len();
            if !self.files[file].is_done {
                return file;
            }
        }
    }

    /// The next I/O and its direction, given how many of each direction were issued; `None` when the pass has no
    /// place left.
    pub fn next(&mut self, [reads, writes]: [u64; 2]) -> Option<(Op, Extent)> {
        loop {
            let file = self.choose_file()?;
            let op = self.direction(file, reads, writes);
            if let Some(extent) = self.next_in(file, op) {
                return Some((op, extent));
            }
            self.files[file].is_done = true;
        }
    }

    fn direction(&mut self, file: usize, reads: u64, writes: u64) -> Op {
        let mix = &mut self.mix;
        match self.rw {
            ReadWrite::Read | ReadWrite::RandRead => return Op::Read,
            ReadWrite::Write | ReadWrite::RandWrite => return Op::Write,
            ReadWrite::Trim | ReadWrite::RandTrim => return Op::Trim,
            ReadWrite::TrimWrite | ReadWrite::RandTrimWrite => {
                let [_, written, trimmed] = self.files[file].last_start;
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

    /// The next I/O of a file in direction `op`; `None` when it has no place left for it.
    fn next_in(&mut self, file: usize, op: Op) -> Option<Extent> {
        let index = op as usize;
        let Chosen {
            place,
            len,
            is_random,
            is_marked,
        } = self.choose(file, op)?;
        let region = self.files[file].region;
        if place >= region.size {
            return None;
        }
        let offset = region.start + place;
        let [_, written, trimmed] = &mut self.files[file].last_start;
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
            None => self.length(by, place, region.size)?,
        };
        // The last I/O may reach beyond the region, but not beyond the file.
        let file = &mut self.files[file];
        if offset + u64::from(len) > file.end {
            return None;
        }
        if let Places::Mapped(map) = &mut file.places
            && is_marked
        {
            // As in fio: counted and addressed in units of this direction's own smallest block.
            let unit = self.lengths[index].0;
            let marked = map.mark(place / u64::from(unit), u64::from(len.div_ceil(unit)));
            len = len.min((marked as u32).max(1) * unit);
        }
        file.last_start[index] = Some(offset);
        file.position[index] = offset + u64::from(len);
        Some(Extent { offset, len })
    }

    /// Where the next I/O goes: on from the last one, or where a draw says.
    fn choose(&mut self, file: usize, op: Op) -> Option<Chosen> {
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
            return self.sequential(file, op).map(in_order);
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
            let place = self.files[file].last_start[Op::Trim as usize].unwrap_or(u64::MAX);
            let len = self.files[file].position[Op::Trim as usize].wrapping_sub(place);
            return Some(Chosen {
                place,
                len: Some(len as u32),
                is_random: true,
                is_marked: false,
            });
        }
        if is_due {
            return self.random(file, op).map(drawn);
        }
        match self.sequencer {
            Sequencer::Sequential => match self.sequential(file, op) {
                Some(place) => Some(in_order(place)),
                None => self.random(file, op).map(in_order),
            },
            Sequencer::Identical => {
                let file = &self.files[file];
                let last = file.last_start[op as usize];
                Some(in_order(last.map_or(0, |last| last - file.region.start)))
            }
        }
    }

    fn random(&mut self, file: usize, op: Op) -> Option<u64> {
        let index = op as usize;
        let (unit, len) = (
            u64::from(self.align[index]),
            u64::from(self.lengths[index].0),
        );
        let file = &mut self.files[file];
        // The last places have room for the shortest block.
        let size = file.region.size;
        let blocks = (size - len.saturating_sub(unit).min(size)) / unit;
        let draws = &mut self.offset_draws;
        let block = match file.places.next(blocks, draws) {
            None if self.wraps => {
                file.rewind();
                file.places.next(blocks, draws)?
            }
            block => block?,
        };
        Some(block * unit)
    }

    fn sequential(&mut self, file: usize, op: Op) -> Option<u64> {
        let File {
            region: Region { start, size },
            end,
            position,
            ..
        } = &mut self.files[file];
        let (start, size, end) = (*start, *size, *end);
        let position = &mut position[op as usize];
        if *position >= start + size && self.wraps {
            *position = start;
        }
        if *position >= end {
            return None;
        }
        let Step::Skip(skip) = self.step else {
            return Some(*position - start).filter(|place| *place < size);
        };
        if *position == start && start > 0 && skip < 0 {
            *position = size.min(end);
        }
        let place = position.wrapping_sub(start);
        if place == 0 || skip == 0 {
            return Some(place);
        }
        let place = place.wrapping_add_signed(skip);
        if place < end {
            return Some(place);
        }
        // fio wraps at the end of the device, not of the region.
        if skip > 0 {
            return Some(start);
        }
        Some(size.min(end).wrapping_add_signed(skip))
    }

    /// The length: fixed, or drawn until it fits before the end.
    fn length(&mut self, by: usize, place: u64, size: u64) -> Option<u32> {
        let (min, max) = self.lengths[by];
        if min == max {
            return Some(min);
        }
        if place + u64::from(min) > size {
            return None;
        }
        if !self.splits[by].is_empty() {
            return self.split_length(by, place, size);
        }
        loop {
            let drawn = u64::from(min) + self.length_draws[by].below(u64::from(max));
            let len = (drawn - drawn % u64::from(min)).min(u64::from(max));
            if place + len <= size {
                return Some(len as u32);
            }
        }
    }

    /// A length of `bssplit`, drawn until it fits before the end.
    fn split_length(&mut self, by: usize, place: u64, size: u64) -> Option<u32> {
        let (min, max) = self.lengths[by];
        loop {
            let drawn = u64::from(self.length_draws[by].draw());
            let (mut len, mut share) = (max, 0);
            for (this, percent) in &self.splits[by] {
                if *percent == 0 {
                    continue;
                }
                (len, share) = (*this, share + u64::from(*percent));
                let fits = place + u64::from(len) <= size;
                if drawn / share <= u64::from(u32::MAX) / 100 && fits {
                    break;
                }
            }
            let len = len - len % min;
            if place + u64::from(len) <= size {
                return Some(len);
            }
        }
    }
}
