//! Digests of pristine payloads, remembered, because fio's seeds come again in every pass and run.
//!
//! Knows nothing of media: whoever asks has made sure that the payload is the seed's.

use crate::digest::{TRAILER_MAX, Trailer, VerifyType};

/// Bytes of a trailer that an entry has room for; longer ones are computed each time.
const CACHED: usize = 24;
/// Words of an entry: seed, what of its payload, and the trailer.
const ENTRY: usize = 5;
/// Entries of a set: where a key may stand.
const WAYS: usize = 4;
/// Entries of [`DigestCache::new`]: 65536 blocks, which are 16 disks of the default volume.
const ENTRIES_DEFAULT: usize = 1 << 16;

/// A table of digests by verify type, payload seed, place in the write, and length.
///
/// Memory is bounded and allocated with the first digest (2.5 MiB by default, touched as it fills); when a
/// set is full, its entries are replaced in turn. What it holds never changes a verdict, only its price.
#[derive(Clone, Debug)]
pub struct DigestCache {
    words: Vec<u64>,
    set_mask: usize,
    turn: usize,
}

impl Default for DigestCache {
    fn default() -> DigestCache {
        DigestCache::new()
    }
}

impl DigestCache {
    /// A cache of 65536 digests.
    pub fn new() -> DigestCache {
        DigestCache::with_entries(ENTRIES_DEFAULT)
    }

    /// A cache of at least `entries_min` digests.
    pub fn with_entries(entries_min: usize) -> DigestCache {
        let sets = entries_min.div_ceil(WAYS).next_power_of_two();
        DigestCache {
            words: Vec::new(),
            set_mask: sets - 1,
            turn: 0,
        }
    }

    /// Whether digests of this type are remembered. A CRC-32C costs less than a look at an entry that is
    /// in no cache of the CPU, and less than to regenerate what it covers.
    #[must_use]
    pub fn keeps(verify: VerifyType) -> bool {
        verify != VerifyType::Crc32c && verify.trailer_len() <= CACHED
    }

    /// The digest of the `len` bytes of the payload of `seed` that start at byte `at` of the write;
    /// `compute` is asked on a miss.
    pub fn get(
        &mut self,
        verify: VerifyType,
        seed: u64,
        at: usize,
        len: usize,
        compute: impl FnOnce() -> Trailer,
    ) -> Trailer {
        if !Self::keeps(verify) {
            return compute();
        }
        if self.words.is_empty() {
            self.words = vec![0; (self.set_mask + 1) * WAYS * ENTRY];
        }
        // Verify numbers are at least 1, so no key is that of an empty entry.
        let what = u64::from(verify.number()) << 56 | (len as u64) << 28 | at as u64;
        let hash = (seed ^ what.rotate_left(32)).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        let set = (hash as usize & self.set_mask) * WAYS * ENTRY;
        let ways = &mut self.words[set..set + WAYS * ENTRY];
        let mut free = None;
        for (way, entry) in ways.chunks_exact(ENTRY).enumerate() {
            if entry[0] == seed && entry[1] == what {
                return unpack(&entry[2..]);
            }
            if entry[1] == 0 && free.is_none() {
                free = Some(way);
            }
        }
        let way = free.unwrap_or_else(|| {
            self.turn = (self.turn + 1) % WAYS;
            self.turn
        });
        let trailer = compute();
        let entry = &mut ways[way * ENTRY..(way + 1) * ENTRY];
        entry[0] = seed;
        entry[1] = what;
        entry[2..].copy_from_slice(&pack(&trailer));
        trailer
    }
}

fn pack(trailer: &Trailer) -> [u64; 3] {
    let bytes: [u8; CACHED] = *trailer.first_chunk().expect("a trailer has room for it");
    let word = |i: usize| u64::from_le_bytes(bytes[i..i + 8].try_into().expect("eight bytes"));
    [word(0), word(8), word(16)]
}

fn unpack(words: &[u64]) -> Trailer {
    let mut trailer = [0; TRAILER_MAX];
    for (bytes, word) in trailer.chunks_exact_mut(8).zip(words) {
        bytes.copy_from_slice(&word.to_le_bytes());
    }
    trailer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_cache_replaces_and_stays_right() {
        let mut cache = DigestCache::with_entries(8);
        let mut misses = 0;
        for round in 0..3u64 {
            for seed in 0..100u64 {
                let right = VerifyType::Crc64.digest(&seed.to_le_bytes());
                let got = cache.get(VerifyType::Crc64, seed, 0, 8, || {
                    misses += 1;
                    right
                });
                assert_eq!(got, right, "round {round} seed {seed}");
            }
        }
        assert!(misses > 100, "8 entries cannot hold 100 digests");
    }

    #[test]
    fn the_same_payload_is_digested_once() {
        let mut cache = DigestCache::new();
        let first = cache.get(VerifyType::Md5, 7, 56, 4040, || {
            VerifyType::Md5.digest(b"7")
        });
        let again = cache.get(VerifyType::Md5, 7, 56, 4040, || unreachable!("a hit"));
        assert_eq!(first, again);
    }
}
