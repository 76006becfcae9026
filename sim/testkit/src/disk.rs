//! A disk that keeps blocks in a map, and the SCSI commands that a driver needs to use it.
//!
//! SPC and SBC as far as Linux's `sd` asks; knows no ring.

use std::collections::BTreeMap;

use wire::scsi::{RESPONSE_SIZE, status};

/// Bytes of a block.
pub const BLOCK_BYTES: usize = 512;
/// ILLEGAL REQUEST, INVALID COMMAND OPERATION CODE.
const INVALID_OPCODE: (u8, u8) = (5, 0x20);
/// ILLEGAL REQUEST, LOGICAL BLOCK ADDRESS OUT OF RANGE.
const OUT_OF_RANGE: (u8, u8) = (5, 0x21);

/// A disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disk {
    /// Its serial number.
    pub name: String,
    blocks: u64,
    kept: BTreeMap<u64, [u8; BLOCK_BYTES]>,
}

/// What a command comes to: data for the initiator, or sense key and ASC.
pub type Outcome = Result<Vec<u8>, (u8, u8)>;

impl Disk {
    /// A disk of zeroes.
    #[must_use]
    pub fn new(name: &str, blocks: u64) -> Self {
        Self {
            name: name.to_owned(),
            blocks,
            kept: BTreeMap::new(),
        }
    }

    /// Bytes that were ever written.
    #[must_use]
    pub fn stored_bytes(&self) -> u64 {
        (self.kept.len() * BLOCK_BYTES) as u64
    }

    /// Whether it keeps nothing beyond its end.
    #[must_use]
    pub fn keeps_only_its_blocks(&self) -> bool {
        let last = self.kept.last_key_value();
        last.is_none_or(|(lba, _)| *lba < self.blocks)
    }

    /// Carries out a command; `out` are the data that came with it.
    ///
    /// # Errors
    ///
    /// Sense key and ASC of a CHECK CONDITION.
    pub fn execute(&mut self, cdb: &[u8], out: &[u8]) -> Outcome {
        let be = |at: usize, len: usize| {
            let bytes = cdb[at..at + len].iter();
            bytes.fold(0, |n: u64, byte| n << 8 | u64::from(*byte))
        };
        let last = self.blocks - 1;
        let padded = |head: &[u8], len: usize| {
            let mut data = head.to_vec();
            data.resize(len, 0);
            Ok(data)
        };
        match (cdb[0], cdb[1], cdb[2]) {
            // TEST UNIT READY, SYNCHRONIZE CACHE(10): nothing to be done.
            (0x00 | 0x35, ..) => Ok(Vec::new()),
            // INQUIRY: a disk, SPC-3; then the vital product data.
            (0x12, 0, _) => padded(&[0, 0, 5, 2, 31], 36),
            (0x12, 1, 0x00) => Ok(vec![0, 0, 0, 2, 0, 0x80]),
            (0x12, 1, 0x80) => {
                let head = [0, 0x80, 0, self.name.len() as u8];
                Ok([&head[..], self.name.as_bytes()].concat())
            }
            // REPORT LUNS: LUN 0 alone.
            (0xa0, ..) => padded(&[0, 0, 0, 8], 16),
            // READ CAPACITY(10) and (16).
            (0x25, ..) => {
                let last = u32::try_from(last).unwrap_or(u32::MAX);
                Ok([last.to_be_bytes(), (BLOCK_BYTES as u32).to_be_bytes()].concat())
            }
            (0x9e, 0x10, _) => {
                let size = (BLOCK_BYTES as u32).to_be_bytes();
                padded(&[&last.to_be_bytes()[..], &size].concat(), 32)
            }
            // MODE SENSE(6): no pages.
            (0x1a, ..) => Ok(vec![3, 0, 0, 0]),
            // READ and WRITE, (10) and (16).
            (0x28, ..) => self.read(be(2, 4), be(7, 2)),
            (0x88, ..) => self.read(be(2, 8), be(10, 4)),
            (0x2a, ..) => self.write(be(2, 4), be(7, 2), out),
            (0x8a, ..) => self.write(be(2, 8), be(10, 4), out),
            _ => Err(INVALID_OPCODE),
        }
    }

    fn range(&self, lba: u64, blocks: u64) -> Result<std::ops::Range<u64>, (u8, u8)> {
        let end = lba.checked_add(blocks).filter(|end| *end <= self.blocks);
        end.map(|end| lba..end).ok_or(OUT_OF_RANGE)
    }

    fn read(&self, lba: u64, blocks: u64) -> Outcome {
        let range = self.range(lba, blocks)?;
        let block = |lba| self.kept.get(&lba).copied().unwrap_or([0; BLOCK_BYTES]);
        Ok(range.flat_map(block).collect())
    }

    fn write(&mut self, lba: u64, blocks: u64, out: &[u8]) -> Outcome {
        let range = self.range(lba, blocks)?;
        let (given, _) = out.as_chunks::<BLOCK_BYTES>();
        self.kept.extend(range.zip(given.iter().copied()));
        Ok(Vec::new())
    }
}

/// The response that says what came of a command, and that `resid` bytes were not moved.
#[must_use]
pub fn response(sense: Option<(u8, u8)>, resid: u32) -> [u8; RESPONSE_SIZE as usize] {
    let mut bytes = [0; RESPONSE_SIZE as usize];
    bytes[4..8].copy_from_slice(&resid.to_le_bytes());
    if let Some((key, asc)) = sense {
        // Fixed format, 18 bytes.
        bytes[0] = 18;
        bytes[10] = status::CHECK_CONDITION;
        (bytes[12], bytes[14], bytes[19], bytes[24]) = (0x70, key, 10, asc);
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read_and_the_end_is_the_end() {
        let mut disk = Disk::new("a", 8);
        let mut write = [0; 16];
        (write[0], write[5], write[8]) = (0x2a, 6, 2);
        let data = [[1; BLOCK_BYTES], [2; BLOCK_BYTES]].concat();
        assert_eq!(disk.execute(&write, &data), Ok(Vec::new()));
        let mut read = write;
        read[0] = 0x28;
        assert_eq!(disk.execute(&read, &[]), Ok(data));
        read[5] = 7;
        assert_eq!(disk.execute(&read, &[]), Err(OUT_OF_RANGE));
        read[0] = 0xff;
        assert_eq!(disk.execute(&read, &[]), Err(INVALID_OPCODE));
        assert_eq!(disk.stored_bytes(), 1024);
        assert!(disk.keeps_only_its_blocks());
    }
}
