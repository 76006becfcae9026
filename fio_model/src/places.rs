//! The places of a job's file, and which of them were visited.
//!
//! Knows nothing of directions and lengths.

use crate::distribution::Preference;
use crate::job::{Generator, Job};
use crate::lfsr::Lfsr;
use crate::random::{SeedTable, Taus88};
use crate::random_map::RandomMap;
use crate::span::Region;

/// A file, and how far the job has come in it.
#[derive(Clone, Debug)]
pub(crate) struct File {
    pub region: Region,
    /// Where it ends on the device, in bytes.
    pub end: u64,
    pub places: Places,
    /// Where the last I/O of each direction began.
    pub last_start: [Option<u64>; 3],
    pub position: [u64; 3],
    /// There is no place left in it.
    pub is_done: bool,
}

impl File {
    /// A file that nothing was done in, in which a job uses `region`; `seed` is that of a preference.
    pub fn new(job: &Job, (region, end): (Region, u64), seeds: &SeedTable, seed: u32) -> File {
        File {
            region,
            end,
            places: Places::new(job, region, seeds, seed),
            last_start: [None; 3],
            position: [region.start; 3],
            is_done: false,
        }
    }

    /// It is closed: nothing is visited, sequential positions are at the start.
    pub fn rewind(&mut self) {
        self.position = [self.region.start; 3];
        self.last_start = [None; 3];
        match &mut self.places {
            Places::Any | Places::Preferred(_) => {}
            Places::Mapped(map) => map.reset(),
            Places::Register(register) => register.reset(),
        }
    }
}

/// What a random job draws its places of.
#[derive(Clone, Debug)]
pub(crate) enum Places {
    /// All of them, again and again.
    Any,
    /// Those that were not visited.
    Mapped(RandomMap),
    /// A register's, each once.
    Register(Lfsr),
    /// Some more than others.
    Preferred(Preference),
}

impl Places {
    fn new(job: &Job, region: Region, seeds: &SeedTable, seed: u32) -> Places {
        let unit = u64::from(job.len_min());
        let preferred = Preference::new(job.distribution, region.size.div_ceil(unit), seed);
        match (preferred, job.generator) {
            _ if !job.rw.is_random() => Places::Any,
            (Some(preference), _) => Places::Preferred(preference),
            (None, Generator::Lfsr) => {
                Places::Register(Lfsr::new(region.size / unit, seeds.offsets()))
            }
            (None, _) if job.has_map() => Places::Mapped(RandomMap::new(region.size / unit)),
            (None, _) => Places::Any,
        }
    }

    /// The next of `blocks` places; `None` when all are visited.
    pub fn next(&mut self, blocks: u64, draws: &mut Taus88) -> Option<u64> {
        match self {
            Places::Preferred(preference) => Some(preference.next()),
            Places::Register(register) => register.next(),
            Places::Any => (blocks > 0).then(|| draws.below(blocks)),
            Places::Mapped(map) => {
                let block = draws.below(blocks);
                if map.is_free(block) {
                    Some(block)
                } else {
                    map.next_free(block)
                }
            }
        }
    }
}
