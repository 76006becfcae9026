//! The bytes that fio writes: a function of a 64-bit seed.
//!
//! Four lanes start at seed times 1, 2, 3 and 5; each 32-byte group stores the lanes, then every
//! lane is multiplied by a constant. As multiplication is linear, the lanes stay multiples of the
//! first one, so one multiplication a group is enough. Knows nothing of headers.

/// What a lane is multiplied by from one group to the next.
const STEP: u64 = 0x61c8_8646_80b5_83eb;
/// Bytes of a group: four lanes of eight bytes.
pub const GROUP: usize = 32;
/// Groups of a stripe: independent chains, so that multiplications overlap.
const STRIPE: usize = 4;
/// `STEP` to the powers 0..=4.
const POWERS: [u64; STRIPE + 1] = {
    let mut powers = [1u64; STRIPE + 1];
    let mut i = 1;
    while i <= STRIPE {
        powers[i] = powers[i - 1].wrapping_mul(STEP);
        i += 1;
    }
    powers
};

/// The 32 bytes of the group whose first lane is `lane`.
#[inline(always)]
fn group(lane: u64) -> [u8; GROUP] {
    let double = lane.wrapping_add(lane);
    let triple = double.wrapping_add(lane);
    let fivefold = double.wrapping_add(triple);
    let mut bytes = [0; GROUP];
    bytes[0..8].copy_from_slice(&lane.to_le_bytes());
    bytes[8..16].copy_from_slice(&double.to_le_bytes());
    bytes[16..24].copy_from_slice(&triple.to_le_bytes());
    bytes[24..32].copy_from_slice(&fivefold.to_le_bytes());
    bytes
}

/// The first lanes of a stripe that starts with `lane`.
#[inline(always)]
fn stripe(lane: u64) -> [u64; STRIPE] {
    std::array::from_fn(|i| lane.wrapping_mul(POWERS[i]))
}

/// Fills `buffer` with the payload of `seed`.
///
/// What is left over after whole groups is lane 0 alone, eight bytes at a time, the last truncated.
pub fn fill(seed: u64, buffer: &mut [u8]) {
    let mut lanes = stripe(seed);
    let mut stripes = buffer.chunks_exact_mut(GROUP * STRIPE);
    for chunk in &mut stripes {
        for (lane, bytes) in lanes.iter_mut().zip(chunk.chunks_exact_mut(GROUP)) {
            bytes.copy_from_slice(&group(*lane));
            *lane = lane.wrapping_mul(POWERS[STRIPE]);
        }
    }
    let mut lane = lanes[0];
    let mut groups = stripes.into_remainder().chunks_exact_mut(GROUP);
    for bytes in &mut groups {
        bytes.copy_from_slice(&group(lane));
        lane = lane.wrapping_mul(STEP);
    }
    for bytes in groups.into_remainder().chunks_mut(8) {
        bytes.copy_from_slice(&lane.to_le_bytes()[..bytes.len()]);
        lane = lane.wrapping_mul(STEP);
    }
}

/// Fills `buffer` with what stands from byte `at` on in the payload of `seed`.
///
/// # Panics
///
/// If `at` is no multiple of 32.
pub fn fill_from(seed: u64, at: usize, buffer: &mut [u8]) {
    assert!(at.is_multiple_of(GROUP), "{at} is inside a group");
    let skipped = STEP.wrapping_pow((at / GROUP) as u32);
    fill(seed.wrapping_mul(skipped), buffer);
}

/// Whether `bytes` are the payload of `seed` from byte `at` of an I/O on.
///
/// Says no, too, where it would have to know the length of the whole I/O: when `bytes` does not
/// end on a group. So a "no" is not yet a verdict, a "yes" is.
pub fn is_pristine(seed: u64, at: usize, bytes: &[u8]) -> bool {
    if !(at + bytes.len()).is_multiple_of(GROUP) {
        return false;
    }
    let mut lane = seed.wrapping_mul(STEP.wrapping_pow((at / GROUP) as u32));
    let mut rest = bytes;
    if !at.is_multiple_of(GROUP) {
        let (head, tail) = bytes.split_at(GROUP - at % GROUP);
        if head != &group(lane)[at % GROUP..] {
            return false;
        }
        lane = lane.wrapping_mul(STEP);
        rest = tail;
    }
    let mut lanes = stripe(lane);
    let mut stripes = rest.chunks_exact(GROUP * STRIPE);
    for chunk in &mut stripes {
        let mut differs = 0;
        for (lane, bytes) in lanes.iter_mut().zip(chunk.as_chunks::<GROUP>().0) {
            differs |= difference(*lane, bytes);
            *lane = lane.wrapping_mul(POWERS[STRIPE]);
        }
        if differs != 0 {
            return false;
        }
    }
    let mut lane = lanes[0];
    for bytes in stripes.remainder().as_chunks::<GROUP>().0 {
        if difference(lane, bytes) != 0 {
            return false;
        }
        lane = lane.wrapping_mul(STEP);
    }
    true
}

/// 0 if `bytes` are the group whose first lane is `lane`. Word by word, in registers: an array in
/// memory that is written in words and compared in vectors costs five times as much.
#[inline(always)]
fn difference(lane: u64, bytes: &[u8; GROUP]) -> u64 {
    let (words, _) = bytes.as_chunks();
    let double = lane.wrapping_add(lane);
    let fivefold = double.wrapping_add(double).wrapping_add(lane);
    (u64::from_le_bytes(words[0]) ^ lane)
        | (u64::from_le_bytes(words[1]) ^ double)
        | (u64::from_le_bytes(words[2]) ^ double.wrapping_add(lane))
        | (u64::from_le_bytes(words[3]) ^ fivefold)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_piece_of_a_payload_is_pristine_and_no_flip_is() {
        let seed = 0x0123_4567_89ab_cdef;
        for len in [64, 512, 4096, 4096 + 96] {
            let mut buffer = vec![0; len];
            fill(seed, &mut buffer);
            for at in [0, 8, 40, 44, 56, 63] {
                assert!(is_pristine(seed, at, &buffer[at..]), "len {len} at {at}");
            }
            for flip in [0, 33, len / 2, len - 1] {
                buffer[flip] ^= 0x10;
                assert!(!is_pristine(seed, 0, &buffer), "len {len} flip {flip}");
                buffer[flip] ^= 0x10;
            }
        }
    }
}
