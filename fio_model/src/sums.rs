//! The checksums of fio's verify types, where fio's variant is not the textbook's.
//!
//! Knows nothing of fio's formats: bytes in, a sum out.

use crc::{CRC_7_MMC, CRC_16_ARC, CRC_32_CKSUM, CRC_64_REDIS, Crc, Table};
use sha1::Digest as _;

/// Jones polynomial, reflected, start 0.
pub static CRC64: Crc<u64, Table<16>> = Crc::<u64, Table<16>>::new(&CRC_64_REDIS);
/// CRC-16/ARC, start 0.
pub static CRC16: Crc<u16, Table<16>> = Crc::<u16, Table<16>>::new(&CRC_16_ARC);
/// CRC-7/MMC, start 0.
pub static CRC7: Crc<u8, Table<16>> = Crc::<u8, Table<16>>::new(&CRC_7_MMC);
static CKSUM: Crc<u32, Table<16>> = Crc::<u32, Table<16>>::new(&CRC_32_CKSUM);

/// fio's CRC-32C: started with all ones and not inverted at the end.
pub fn crc32c(bytes: &[u8]) -> u32 {
    !crc32c::crc32c(bytes)
}

/// CRC-32 with polynomial 04C11DB7, most significant bit first, start 0: `cksum`'s without its final
/// inversion.
pub fn crc32(bytes: &[u8]) -> u32 {
    !CKSUM.checksum(bytes)
}

/// SHA-1 as fio stores it: each word of the digest little-endian.
pub fn sha1(bytes: &[u8]) -> [u8; 20] {
    let mut digest: [u8; 20] = sha1::Sha1::digest(bytes).into();
    for word in digest.as_chunks_mut::<4>().0 {
        word.reverse();
    }
    digest
}

/// fio 3.33's `sha256`: of each of the eight words of state it keeps the lowest byte, behind which lies
/// what its buffer held last. The length is appended as fio has it: in bytes, little-endian.
pub fn sha256(bytes: &[u8]) -> [u8; 64] {
    let mut state = [
        0x6a09_e667,
        0xbb67_ae85,
        0x3c6e_f372,
        0xa54f_f53a,
        0x510e_527f,
        0x9b05_688c,
        0x1f83_d9ab,
        0x5be0_cd19,
    ];
    let (blocks, tail) = bytes.as_chunks::<64>();
    sha2::block_api::compress256(&mut state, blocks);
    let mut last = [0; 64];
    last[..tail.len()].copy_from_slice(tail);
    last[tail.len()] = 0x80;
    if tail.len() >= 56 {
        sha2::block_api::compress256(&mut state, &[last]);
        last = [0; 64];
    }
    last[56..].copy_from_slice(&(bytes.len() as u64 * 8).to_le_bytes());
    sha2::block_api::compress256(&mut state, &[last]);
    for (byte, word) in last.iter_mut().zip(state) {
        *byte = word as u8;
    }
    last
}

/// fio 3.33's `sha512`: its buffer, which holds the first 128 bytes, with those behind the last whole
/// block over them.
pub fn sha512(bytes: &[u8]) -> [u8; 128] {
    let (blocks, tail) = bytes.as_chunks::<128>();
    let mut buffer = blocks.first().copied().unwrap_or([0; 128]);
    buffer[..tail.len()].copy_from_slice(tail);
    buffer
}
