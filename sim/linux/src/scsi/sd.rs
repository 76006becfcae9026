//! What `sd` asks a disk: `sd_revalidate_disk` (drivers/scsi/sd.c), Linux 6.1, as recorded.
//!
//! A script: answers in, the next command out. Knows no queue, lock or time.

use wire::scsi::status;

use super::scan::{Answer, VpdWalk};
use crate::driver::command::{Command, Reply};

/// TEST UNIT READY and READ CAPACITY are sent so often while they fail (`sd_spinup_disk`,
/// `READ_CAPACITY_RETRIES_ON_RESET` aside).
const TRIES_MAX: u8 = 3;
/// Bytes of the partition table that is read after the probe: one page.
const PARTITION_BYTES: u32 = 4096;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ask {
    Ready,
    Capacity,
    SmallCapacity,
    Cache,
    ModePages,
    CacheHeader,
    Opcodes,
    PageList,
    Partitions,
}

/// The probe, then the same once more when the new disk is opened to read its partitions.
const PROBE: [Ask; 13] = [
    Ask::Ready,
    Ask::Capacity,
    Ask::ModePages,
    Ask::CacheHeader,
    Ask::Cache,
    Ask::Opcodes,
    Ask::Ready,
    Ask::Capacity,
    Ask::PageList,
    Ask::ModePages,
    Ask::CacheHeader,
    Ask::Cache,
    Ask::Partitions,
];

/// What is asked when the capacity may have changed, after the VPD pages.
const REVALIDATE: [Ask; 6] = [
    Ask::Ready,
    Ask::Capacity,
    Ask::PageList,
    Ask::ModePages,
    Ask::CacheHeader,
    Ask::Cache,
];

/// What was learned of a disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Geometry {
    /// Logical blocks; 0 if the disk would not say.
    pub blocks: u64,
    /// Bytes of a logical block.
    pub block_size: u32,
    /// The write cache is on (caching mode page, WCE).
    pub write_cache: bool,
}

impl Geometry {
    /// With this size; `sd` takes a block size of 0 for 512, and a disk with a block size that it
    /// does not know for empty.
    fn with_size(self, blocks: u64, block_size: u32) -> Self {
        let (blocks, block_size) = match block_size {
            0 => (blocks, 512),
            512 | 1024 | 2048 | 4096 => (blocks, block_size),
            _ => (0, 512),
        };
        Self {
            blocks,
            block_size,
            ..self
        }
    }

    /// Bytes of the disk.
    pub fn bytes(&self) -> u64 {
        self.blocks.saturating_mul(u64::from(self.block_size))
    }
}

/// The conversation of `sd` with a disk.
#[derive(Clone, Debug)]
pub struct SdScript {
    target: u8,
    vpd: Option<VpdWalk>,
    asks: &'static [Ask],
    asked: Option<Ask>,
    /// Times that this was asked.
    tries: u8,
    mode_bytes: u8,
    /// What was learned so far.
    pub geometry: Geometry,
}

impl SdScript {
    /// The probe of a new disk.
    pub fn probe(target: u8) -> Self {
        Self::new(target, None, &PROBE)
    }

    /// A look at a disk whose capacity may have changed (`scsi_rescan_device`).
    pub fn revalidate(target: u8) -> Self {
        Self::new(target, Some(VpdWalk::default()), &REVALIDATE)
    }

    fn new(target: u8, vpd: Option<VpdWalk>, asks: &'static [Ask]) -> Self {
        let geometry = Geometry {
            block_size: 512,
            ..Geometry::default()
        };
        Self {
            target,
            vpd,
            asks,
            asked: None,
            tries: 0,
            mode_bytes: 4,
            geometry,
        }
    }

    /// The next command, or `None` when all is known.
    pub fn next(&mut self, answer: Option<Answer<'_>>) -> Option<Command> {
        if let Some(vpd) = &mut self.vpd {
            let next = vpd.next(self.target, answer);
            if next.is_some() {
                return next;
            }
            self.vpd = None;
        } else if let Some(answer) = answer {
            self.learn(answer);
            if let Some(again) = self.again(answer.0) {
                return self.command(again);
            }
        }
        loop {
            let (ask, rest) = self.asks.split_first()?;
            self.asks = rest;
            self.asked = Some(*ask);
            self.tries = 1;
            if let Some(command) = self.command(*ask) {
                return Some(command);
            }
        }
    }

    /// What is asked once more, or instead, after a failure.
    fn again(&mut self, reply: &Reply) -> Option<Ask> {
        let asked = self.asked?;
        let failed = match asked {
            // A target that does not exist is not asked again: there is no status that is bad.
            Ask::Ready => reply.status != status::GOOD,
            Ask::Capacity | Ask::SmallCapacity => !reply.is_good(),
            Ask::ModePages
            | Ask::CacheHeader
            | Ask::Cache
            | Ask::Opcodes
            | Ask::PageList
            | Ask::Partitions => false,
        };
        if !failed {
            return None;
        }
        let too_old = matches!(reply.sense, Some((5, 0x20 | 0x24, 0)));
        let over = self.tries == TRIES_MAX || asked == Ask::Capacity && too_old;
        let next = if !over {
            asked
        } else if asked == Ask::Capacity {
            Ask::SmallCapacity
        } else {
            return None;
        };
        self.tries = if next == asked { self.tries + 1 } else { 1 };
        self.asked = Some(next);
        Some(next)
    }

    fn command(&self, ask: Ask) -> Option<Command> {
        let target = self.target;
        let command = match ask {
            Ask::Ready => Command::test_unit_ready(target),
            Ask::Capacity => Command::read_capacity_16(target),
            Ask::SmallCapacity => Command::read_capacity_10(target),
            Ask::ModePages => Command::mode_sense(target, 0x3f, 4),
            Ask::CacheHeader => Command::mode_sense(target, 0x08, 4),
            Ask::Cache => Command::mode_sense(target, 0x08, self.mode_bytes),
            Ask::Opcodes => Command::report_opcodes(target),
            Ask::PageList => Command::vpd(target, 0, 36),
            // Nothing can be read of a disk without a size.
            Ask::Partitions if self.geometry.blocks == 0 => return None,
            Ask::Partitions => {
                let blocks = PARTITION_BYTES / self.geometry.block_size.max(512);
                Command::read_start(target, blocks.max(1) as u8, PARTITION_BYTES)
            }
        };
        Some(command)
    }

    fn learn(&mut self, (reply, data): Answer<'_>) {
        let good = reply.is_good();
        match self.asked {
            Some(Ask::Capacity) => {
                let last = data
                    .first_chunk()
                    .filter(|_| good)
                    .map(|b| u64::from_be_bytes(*b));
                let last = last.map_or(0, |last| last.saturating_add(1));
                let size = data.get(8..12).and_then(<[u8]>::first_chunk);
                let size = size.map_or(0, |b| u32::from_be_bytes(*b));
                self.geometry = self.geometry.with_size(last, size);
            }
            Some(Ask::SmallCapacity) => {
                let words = data.first_chunk().filter(|_| good);
                let [last, size] = words.map_or([0; 2], |b: &[u8; 8]| {
                    [0, 4].map(|at| u32::from_be_bytes([b[at], b[at + 1], b[at + 2], b[at + 3]]))
                });
                let blocks = words.map_or(0, |_| u64::from(last) + 1);
                self.geometry = self.geometry.with_size(blocks, size);
            }
            Some(Ask::CacheHeader) if good && !data.is_empty() => {
                self.mode_bytes = data[0].saturating_add(1).max(4);
            }
            Some(Ask::Cache) if good && data.len() >= 4 => {
                let page = 4 + usize::from(data[3]);
                let wce = data.get(page + 2).is_some_and(|flags| flags & 4 != 0);
                self.geometry.write_cache = wce;
            }
            Some(
                Ask::Ready
                | Ask::ModePages
                | Ask::CacheHeader
                | Ask::Cache
                | Ask::Opcodes
                | Ask::PageList
                | Ask::Partitions,
            )
            | None => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good_disk(command: &Command) -> (Reply, Vec<u8>) {
        let mut data = vec![0; command.data_in as usize];
        match (command.cdb[0], command.cdb[2]) {
            (0x9e, _) => data[..12].copy_from_slice(&[0, 0, 0, 0, 0, 0, 31, 255, 0, 0, 2, 0]),
            (0x1a, 8) => {
                data[0] = 23;
                if let Some(flags) = data.get_mut(6) {
                    *flags = 4;
                }
            }
            _ => {}
        }
        (Reply::default(), data)
    }

    fn run(
        mut script: SdScript,
        answer: impl Fn(&Command) -> (Reply, Vec<u8>),
    ) -> (Vec<u8>, Geometry) {
        let mut sent = Vec::new();
        let mut next = script.next(None);
        while let Some(command) = next {
            sent.push(command.cdb[0]);
            let (reply, data) = answer(&command);
            next = script.next(Some((&reply, &data)));
        }
        (sent, script.geometry)
    }

    #[test]
    fn a_probe_asks_what_a_real_guest_asks() {
        let (sent, geometry) = run(SdScript::probe(0), good_disk);
        let expected = [
            0x00, 0x9e, 0x1a, 0x1a, 0x1a, 0xa3, 0x00, 0x9e, 0x12, 0x1a, 0x1a, 0x1a, 0x28,
        ];
        assert_eq!(sent, expected);
        assert_eq!(
            geometry,
            Geometry {
                blocks: 8192,
                block_size: 512,
                write_cache: true
            }
        );
    }

    #[test]
    fn a_disk_that_went_has_no_blocks_and_is_not_read() {
        let gone = Reply {
            status: 2,
            sense: Some((5, 0x25, 0)),
            ..Reply::default()
        };
        let (sent, geometry) = run(SdScript::probe(0), |_| (gone, Vec::new()));
        assert_eq!(geometry.blocks, 0);
        assert_eq!(sent[..3], [0x00; 3]);
        assert_eq!(sent[3..9], [0x9e, 0x9e, 0x9e, 0x25, 0x25, 0x25]);
        assert!(!sent.contains(&0x28));
    }
}
