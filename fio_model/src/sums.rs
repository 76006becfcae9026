//! The small checksums that no dependency gives in fio's variant.
//!
//! Table-driven or straight from the standard: they run once a payload, `DigestCache` does the
//! rest. Knows nothing of fio's formats.

/// One step of a reflected CRC for each byte value.
const fn reflected(poly: u64) -> [u64; 256] {
    let mut table = [0; 256];
    let mut i = 0;
    while i < 256 {
        let mut crc = i as u64;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 {
                (crc >> 1) ^ poly
            } else {
                crc >> 1
            };
            bit += 1;
        }
        table[i] = crc;
        i += 1;
    }
    table
}

/// One step of a 32-bit CRC that takes the most significant bit first.
const fn forward(poly: u32) -> [u32; 256] {
    let mut table = [0; 256];
    let mut i = 0;
    while i < 256 {
        let mut crc = (i as u32) << 24;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc >> 31 == 1 {
                (crc << 1) ^ poly
            } else {
                crc << 1
            };
            bit += 1;
        }
        table[i] = crc;
        i += 1;
    }
    table
}

static CRC64: [u64; 256] = reflected(0x95ac_9329_ac4b_c9b5);
static CRC16: [u64; 256] = reflected(0xa001);
static CRC32: [u32; 256] = forward(0x04c1_1db7);
/// Polynomial 0x09, kept in the top seven bits of a byte.
static CRC7: [u32; 256] = forward(0x12 << 24);

/// CRC-64 with the reflected Jones polynomial, start 0.
pub fn crc64(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |crc, byte| {
        CRC64[usize::from(crc as u8 ^ byte)] ^ (crc >> 8)
    })
}

/// CRC-16/ARC, start 0.
pub fn crc16(bytes: &[u8]) -> u16 {
    let crc = bytes.iter().fold(0, |crc, byte| {
        CRC16[usize::from(crc as u8 ^ byte)] ^ (crc >> 8)
    });
    crc as u16
}

/// CRC-32 with polynomial 04C11DB7, most significant bit first, start 0, not inverted.
pub fn crc32(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0, |crc, byte| {
        CRC32[usize::from((crc >> 24) as u8 ^ byte)] ^ (crc << 8)
    })
}

/// CRC-7/MMC, start 0.
pub fn crc7(bytes: &[u8]) -> u8 {
    let top = bytes
        .iter()
        .fold(0u8, |crc, byte| (CRC7[usize::from(crc ^ byte)] >> 24) as u8);
    top >> 1
}

const XXH: [u32; 5] = [
    0x9e37_79b1,
    0x85eb_ca77,
    0xc2b2_ae3d,
    0x27d4_eb2f,
    0x1656_67b1,
];

fn word(bytes: &[u8]) -> u32 {
    u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
}

/// XXH32, from its specification.
pub fn xxh32(bytes: &[u8], seed: u32) -> u32 {
    let round = |acc: u32, input: u32| {
        acc.wrapping_add(input.wrapping_mul(XXH[1]))
            .rotate_left(13)
            .wrapping_mul(XXH[0])
    };
    let mut stripes = bytes.chunks_exact(16);
    let mut acc = if bytes.len() < 16 {
        seed.wrapping_add(XXH[4])
    } else {
        let mut lanes = [
            seed.wrapping_add(XXH[0]).wrapping_add(XXH[1]),
            seed.wrapping_add(XXH[1]),
            seed,
            seed.wrapping_sub(XXH[0]),
        ];
        for stripe in &mut stripes {
            for (lane, input) in lanes.iter_mut().zip(stripe.chunks_exact(4)) {
                *lane = round(*lane, word(input));
            }
        }
        let [a, b, c, d] = lanes;
        a.rotate_left(1)
            .wrapping_add(b.rotate_left(7))
            .wrapping_add(c.rotate_left(12))
            .wrapping_add(d.rotate_left(18))
    };
    acc = acc.wrapping_add(bytes.len() as u32);
    let mut words = stripes.remainder().chunks_exact(4);
    for input in &mut words {
        acc = acc.wrapping_add(word(input).wrapping_mul(XXH[2]));
        acc = acc.rotate_left(17).wrapping_mul(XXH[3]);
    }
    for byte in words.remainder() {
        acc = acc.wrapping_add(u32::from(*byte).wrapping_mul(XXH[4]));
        acc = acc.rotate_left(11).wrapping_mul(XXH[0]);
    }
    acc = (acc ^ (acc >> 15)).wrapping_mul(XXH[1]);
    acc = (acc ^ (acc >> 13)).wrapping_mul(XXH[2]);
    acc ^ (acc >> 16)
}

/// SHA-1's five words, from FIPS 180-4.
pub fn sha1(bytes: &[u8]) -> [u32; 5] {
    let mut state = [
        0x6745_2301,
        0xefcd_ab89,
        0x98ba_dcfe,
        0x1032_5476,
        0xc3d2_e1f0,
    ];
    let mut blocks = bytes.chunks_exact(64);
    for block in &mut blocks {
        sha1_block(&mut state, block);
    }
    let rest = blocks.remainder();
    let mut last = [0; 128];
    last[..rest.len()].copy_from_slice(rest);
    last[rest.len()] = 0x80;
    let end = if rest.len() < 56 { 64 } else { 128 };
    last[end - 8..end].copy_from_slice(&(bytes.len() as u64 * 8).to_be_bytes());
    for block in last[..end].chunks_exact(64) {
        sha1_block(&mut state, block);
    }
    state
}

fn sha1_block(state: &mut [u32; 5], block: &[u8]) {
    let mut w = [0u32; 80];
    for (word, bytes) in w.iter_mut().zip(block.chunks_exact(4)) {
        *word = u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
    }
    for i in 16..80 {
        w[i] = (w[i - 3] ^ w[i - 8] ^ w[i - 14] ^ w[i - 16]).rotate_left(1);
    }
    let [mut a, mut b, mut c, mut d, mut e] = *state;
    for (i, word) in w.iter().enumerate() {
        let (mix, constant) = match i / 20 {
            0 => ((b & c) | (!b & d), 0x5a82_7999u32),
            1 => (b ^ c ^ d, 0x6ed9_eba1),
            2 => ((b & c) | (b & d) | (c & d), 0x8f1b_bcdc),
            _ => (b ^ c ^ d, 0xca62_c1d6),
        };
        let next = a.rotate_left(5).wrapping_add(mix).wrapping_add(e);
        (e, d, c, b) = (d, c, b.rotate_left(30), a);
        a = next.wrapping_add(constant).wrapping_add(*word);
    }
    for (sum, word) in state.iter_mut().zip([a, b, c, d, e]) {
        *sum = sum.wrapping_add(word);
    }
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
