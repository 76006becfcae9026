//! The checksums of fio's verify types, as fio 3.33 computes them; several are not the textbook's.
//!
//! Knows nothing of headers: bytes in, the trailer's bytes out.

use md5::Digest as _;
use xxhash_rust::xxh32::xxh32;

use crate::header::HEADER_LEN;
use crate::sums;

/// What `verify=` asks for: how the payload of each interval is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum VerifyType {
    /// A header, no checksum.
    Meta,
    /// RFC 1321.
    Md5,
    /// Jones polynomial, reflected, start 0.
    Crc64,
    /// Polynomial 04C11DB7, most significant bit first, start 0, no final inversion.
    Crc32,
    /// Castagnoli without the final inversion; `crc32c-intel` is the same on the medium.
    Crc32c,
    /// CRC-16/ARC.
    Crc16,
    /// CRC-7/MMC.
    Crc7,
    /// XXH32 with seed 1.
    Xxhash,
    /// SHA-1, its words stored little-endian.
    Sha1,
    /// SHA-256's compression, and little more of it.
    Sha256,
    /// The working buffer of SHA-512: no hash at all.
    Sha512,
    /// FIPS 202.
    Sha3_224,
    /// FIPS 202.
    Sha3_256,
    /// FIPS 202.
    Sha3_384,
    /// FIPS 202.
    Sha3_512,
    /// A header, and the bytes of `verify_pattern` behind it: what that option alone asks for.
    Pattern,
    /// The bytes of `verify_pattern` and nothing else: `verify=pattern`.
    PatternNoHeader,
    /// Nothing is written and nothing is checked.
    Null,
}

/// Bytes of the longest trailer modelled.
pub const TRAILER_MAX: usize = 128;

/// A trailer's bytes; those beyond the type's own length are zero.
pub type Trailer = [u8; TRAILER_MAX];

impl VerifyType {
    /// All types that `verify=` can name, with fio's name and the number that stands in the header.
    pub const ALL: [(VerifyType, &'static str, u16); 17] = [
        (VerifyType::Meta, "meta", 1),
        (VerifyType::Md5, "md5", 2),
        (VerifyType::Crc64, "crc64", 3),
        (VerifyType::Crc32, "crc32", 4),
        (VerifyType::Crc32c, "crc32c", 5),
        (VerifyType::Crc16, "crc16", 7),
        (VerifyType::Crc7, "crc7", 8),
        (VerifyType::Sha256, "sha256", 9),
        (VerifyType::Sha512, "sha512", 10),
        (VerifyType::Sha3_224, "sha3-224", 11),
        (VerifyType::Sha3_256, "sha3-256", 12),
        (VerifyType::Sha3_384, "sha3-384", 13),
        (VerifyType::Sha3_512, "sha3-512", 14),
        (VerifyType::Xxhash, "xxhash", 15),
        (VerifyType::Sha1, "sha1", 16),
        (VerifyType::PatternNoHeader, "pattern", 18),
        (VerifyType::Null, "null", 19),
    ];

    /// The type that a job file calls `name`, if it is modelled.
    pub fn named(name: &str) -> Option<VerifyType> {
        let name = if name == "crc32c-intel" {
            "crc32c"
        } else {
            name
        };
        VerifyType::ALL
            .iter()
            .find(|row| row.1 == name)
            .map(|row| row.0)
    }

    /// fio's name for it.
    pub fn name(self) -> &'static str {
        VerifyType::ALL
            .iter()
            .find(|row| row.0 == self)
            .map_or("pattern", |row| row.1)
    }

    /// The number that stands in the header on the medium.
    pub fn number(self) -> u16 {
        VerifyType::ALL
            .iter()
            .find(|row| row.0 == self)
            .map_or(17, |row| row.2)
    }

    /// Whether each interval begins with a header.
    pub fn has_header(self) -> bool {
        !matches!(self, VerifyType::PatternNoHeader | VerifyType::Null)
    }

    /// Bytes of the header and the checksum behind it.
    pub fn header_len(self) -> usize {
        if self.has_header() {
            HEADER_LEN + self.trailer_len()
        } else {
            0
        }
    }

    /// Whether the payload itself is compared with the pattern, if the job has one.
    pub fn compares_pattern(self) -> bool {
        use VerifyType::{Meta, Pattern, PatternNoHeader};
        matches!(self, Meta | Pattern | PatternNoHeader)
    }

    /// Bytes of the checksum between header and payload.
    pub fn trailer_len(self) -> usize {
        match self {
            VerifyType::Meta | VerifyType::Pattern => 0,
            VerifyType::PatternNoHeader | VerifyType::Null => 0,
            VerifyType::Crc7 => 1,
            VerifyType::Crc16 => 2,
            VerifyType::Crc32 | VerifyType::Crc32c | VerifyType::Xxhash => 4,
            VerifyType::Crc64 => 8,
            VerifyType::Md5 => 16,
            VerifyType::Sha1 => 20,
            VerifyType::Sha3_224 => 28,
            VerifyType::Sha3_256 => 32,
            VerifyType::Sha3_384 => 48,
            VerifyType::Sha256 | VerifyType::Sha3_512 => 64,
            VerifyType::Sha512 => 128,
        }
    }

    /// Whether a checksum costs more than to regenerate and compare what it covers.
    pub fn is_costly(self) -> bool {
        self.trailer_len() > 0
    }

    /// The trailer of `payload`.
    pub fn digest(self, payload: &[u8]) -> Trailer {
        let mut trailer = [0; TRAILER_MAX];
        match self {
            VerifyType::Meta | VerifyType::Pattern => {}
            VerifyType::PatternNoHeader | VerifyType::Null => {}
            VerifyType::Md5 => put(&mut trailer, &md5::Md5::digest(payload)),
            VerifyType::Crc64 => put(&mut trailer, &sums::CRC64.checksum(payload).to_le_bytes()),
            VerifyType::Crc32 => put(&mut trailer, &sums::crc32(payload).to_le_bytes()),
            VerifyType::Crc32c => put(&mut trailer, &sums::crc32c(payload).to_le_bytes()),
            VerifyType::Crc16 => put(&mut trailer, &sums::CRC16.checksum(payload).to_le_bytes()),
            VerifyType::Crc7 => trailer[0] = sums::CRC7.checksum(payload),
            VerifyType::Xxhash => put(&mut trailer, &xxh32(payload, 1).to_le_bytes()),
            VerifyType::Sha1 => put(&mut trailer, &sums::sha1(payload)),
            VerifyType::Sha256 => put(&mut trailer, &sums::sha256(payload)),
            VerifyType::Sha512 => trailer = sums::sha512(payload),
            VerifyType::Sha3_224 => put(&mut trailer, &sha3::Sha3_224::digest(payload)),
            VerifyType::Sha3_256 => put(&mut trailer, &sha3::Sha3_256::digest(payload)),
            VerifyType::Sha3_384 => put(&mut trailer, &sha3::Sha3_384::digest(payload)),
            VerifyType::Sha3_512 => put(&mut trailer, &sha3::Sha3_512::digest(payload)),
        }
        trailer
    }
}

fn put(trailer: &mut Trailer, digest: &[u8]) {
    trailer[..digest.len()].copy_from_slice(digest);
}
