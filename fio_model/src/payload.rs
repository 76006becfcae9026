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

/// The four lanes of the group whose first one is `lane`.
#[inline(always)]
fn group(lane: u64) -> [u64; 4] {
    let double = lane.wrapping_add(lane);
    let triple = double.wrapping_add(lane);
    [lane, double, triple, double.wrapping_add(triple)]
}

/// Stores a group, word by word: a copy of its 32 bytes is a call where the compiler does not look across
/// units of code.
#[inline(always)]
fn store(lane: u64, bytes: &mut [u8; GROUP]) {
    let (words, _) = bytes.as_chunks_mut();
    let [a, b, c, d] = group(lane);
    words[0] = a.to_le_bytes();
    words[1] = b.to_le_bytes();
    words[2] = c.to_le_bytes();
    words[3] = d.to_le_bytes();
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
    let (groups, rest) = buffer.as_chunks_mut::<GROUP>();
    let (stripes, groups) = groups.as_chunks_mut::<STRIPE>();
    for groups in stripes {
        for i in 0..STRIPE {
            store(lanes[i], &mut groups[i]);
            lanes[i] = lanes[i].wrapping_mul(POWERS[STRIPE]);
        }
    }
    let mut lane = lanes[0];
    for group in groups {
        store(lane, group);
        lane = lane.wrapping_mul(STEP);
    }
    for bytes in rest.chunks_mut(8) {
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
        let mut whole = [0; GROUP];
        store(lane, &mut whole);
        if head != &whole[at % GROUP..] {
            return false;
        }
        lane = lane.wrapping_mul(STEP);
        rest = tail;
    }
    let mut lanes = stripe(lane);
    let (groups, _) = rest.as_chunks::<GROUP>();
    let (stripes, groups) = groups.as_chunks::<STRIPE>();
    for groups in stripes {
        let mut differs = 0;
        for i in 0..STRIPE {
            differs |= difference(lanes[i], &groups[i]);
            lanes[i] = lanes[i].wrapping_mul(POWERS[STRIPE]);
        }
        if differs != 0 {
            return false;
        }
    }
    let mut lane = lanes[0];
    for bytes in groups {
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
    let [a, b, c, d] = group(lane);
    (u64::from_le_bytes(words[0]) ^ a)
        | (u64::from_le_bytes(words[1]) ^ b)
        | (u64::from_le_bytes(words[2]) ^ c)
        | (u64::from_le_bytes(words[3]) ^ d)
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
