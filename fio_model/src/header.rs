//! The verify header that fio 3.3 to 3.40 writes at the start of each interval: 40 bytes, little
//! endian.
//!
//! | bytes | field |
//! |---|---|
//! | 0..2, 2..4, 4..8 | magic `0xacca`, verify type, length of the interval |
//! | 8..16, 16..24 | payload seed of the whole write, offset of the interval on the device |
//! | 24..28, 28..32 | seconds and nanoseconds of the preparation; never checked |
//! | 32..34, 34..36 | thread number (never checked), low 16 bits of the count of writes |
//! | 36..40 | CRC-32C of bytes 0..36 |
//!
//! Knows nothing of what a right header would be: that is `verify`.

use crate::sums::crc32c;

/// Bytes of a header.
pub const HEADER_LEN: usize = 40;
/// The first two bytes of a header, as a number.
pub const MAGIC: u16 = 0xacca;

/// A verify header as it stands on the medium.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// [`MAGIC`] in a header that fio wrote.
    pub magic: u16,
    /// [`VerifyType::number`](crate::VerifyType::number).
    pub verify_type: u16,
    /// Length of the interval, header included.
    pub len: u32,
    /// Payload seed of the whole write.
    pub rand_seed: u64,
    /// Offset of the interval in the file or device, in bytes.
    pub offset: u64,
    /// Seconds of fio's clock at preparation.
    pub seconds: u32,
    /// Nanoseconds within the second.
    pub nanoseconds: u32,
    /// Number of the fio thread that wrote, from 1.
    pub thread: u16,
    /// Low 16 bits of the job's count of writes.
    pub numberio: u16,
    /// CRC of all that stands before it.
    pub crc: u32,
}

impl Header {
    /// Writes the header, with the CRC that belongs to it, to the first 40 bytes of `bytes`.
    /// Returns that CRC.
    pub fn encode(&self, bytes: &mut [u8]) -> u32 {
        bytes[0..2].copy_from_slice(&self.magic.to_le_bytes());
        bytes[2..4].copy_from_slice(&self.verify_type.to_le_bytes());
        bytes[4..8].copy_from_slice(&self.len.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.rand_seed.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.offset.to_le_bytes());
        bytes[24..28].copy_from_slice(&self.seconds.to_le_bytes());
        bytes[28..32].copy_from_slice(&self.nanoseconds.to_le_bytes());
        bytes[32..34].copy_from_slice(&self.thread.to_le_bytes());
        bytes[34..36].copy_from_slice(&self.numberio.to_le_bytes());
        let crc = crc32c(&bytes[..36]);
        bytes[36..40].copy_from_slice(&crc.to_le_bytes());
        crc
    }

    /// Reads the first 40 bytes of `bytes`, whatever they are.
    pub fn decode(bytes: &[u8]) -> Header {
        let bytes: &[u8; HEADER_LEN] = bytes.first_chunk().expect("an interval holds a header");
        let u16_at = |at: usize| u16::from_le_bytes([bytes[at], bytes[at + 1]]);
        let u32_at = |at: usize| u32::from(u16_at(at)) | u32::from(u16_at(at + 2)) << 16;
        let u64_at = |at: usize| u64::from(u32_at(at)) | u64::from(u32_at(at + 4)) << 32;
        Header {
            magic: u16_at(0),
            verify_type: u16_at(2),
            len: u32_at(4),
            rand_seed: u64_at(8),
            offset: u64_at(16),
            seconds: u32_at(24),
            nanoseconds: u32_at(28),
            thread: u16_at(32),
            numberio: u16_at(34),
            crc: u32_at(36),
        }
    }
}
