//! The identity of a block in 64 bits, cheap enough to be taken of every block moved.
//!
//! A block with a valid verify header is identified by the header alone: its CRC vouches for seed,
//! offset, time, thread and count, and the payload is a function of the seed. Knows nothing of who
//! wrote what when.

use std::fmt;

use crate::header::{HEADER_LEN, Header, MAGIC};
use crate::sums::crc32c;

/// A block's identity. Equal blocks have equal fingerprints.
///
/// 0 is a block of zeros. With the top bit set it is a content checksum of a block that has no
/// valid header; with the top bit clear, a mix of a valid header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint(pub u64);

/// Marks a fingerprint made of the content.
const CONTENT: u64 = 1 << 63;

impl Fingerprint {
    /// A block of zeros, such as one never written.
    pub const ZEROS: Fingerprint = Fingerprint(0);

    /// The fingerprint of a block that starts with `header`, whose CRC is right.
    pub fn of_header(header: &Header) -> Fingerprint {
        let mut mix = header.rand_seed ^ header.offset.rotate_left(20);
        mix = mix.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        mix ^= u64::from(header.seconds) << 32 | u64::from(header.nanoseconds);
        mix = (mix ^ (mix >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mix ^= u64::from(header.thread) << 48 | u64::from(header.numberio) << 32;
        mix ^= u64::from(header.crc);
        mix = (mix ^ (mix >> 32)).wrapping_mul(0x94d0_49bb_1331_11eb);
        // Never the value of a block of zeros.
        Fingerprint(((mix ^ (mix >> 31)) & !CONTENT).max(1))
    }

    /// The fingerprint of a block that begins with a header that was found right.
    pub fn of_checked(block: &[u8]) -> Fingerprint {
        Fingerprint::of_header(&Header::decode(block))
    }

    /// Whether the block had no valid header and was not all zeros.
    pub fn is_content(self) -> bool {
        self.0 & CONTENT != 0
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// The fingerprint of `block`: tens of nanoseconds with a valid header, a checksum of everything
/// without.
pub fn fingerprint(block: &[u8]) -> Fingerprint {
    if block.len() >= HEADER_LEN {
        let header = Header::decode(block);
        if header.magic == MAGIC && header.crc == crc32c(&block[..36]) {
            return Fingerprint::of_header(&header);
        }
    }
    if block.iter().all(|byte| *byte == 0) {
        return Fingerprint::ZEROS;
    }
    Fingerprint(CONTENT | u64::from(crc32c(block)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_content_and_zeros_are_told_apart() {
        let mut block = [0; 4096];
        assert_eq!(fingerprint(&block), Fingerprint::ZEROS);
        block[4095] = 1;
        let content = fingerprint(&block);
        assert!(content.is_content());
        let mut header = Header {
            magic: MAGIC,
            numberio: 7,
            offset: 4096,
            ..Header::default()
        };
        header.crc = header.encode(&mut block);
        let stamped = fingerprint(&block);
        assert_eq!(stamped, Fingerprint::of_header(&header));
        assert!(!stamped.is_content() && stamped != Fingerprint::ZEROS);
        block[4095] = 2;
        assert_eq!(
            fingerprint(&block),
            stamped,
            "the header speaks for the payload"
        );
        block[20] ^= 1;
        assert!(fingerprint(&block).is_content(), "a broken header does not");
    }
}
