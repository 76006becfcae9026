//! Digests of pristine payloads, remembered, because fio's seeds come again in every pass and run.
//!
//! Knows nothing of media: whoever asks has made sure that the payload is the seed's.

use crate::digest::{TRAILER_MAX, Trailer, VerifyType};
use crate::payload::GROUP;

/// Bytes of a trailer that a long entry has room for; longer ones are computed each time.
const CACHED: usize = 24;
/// Words of a long entry: its key, and the trailer.
const LONG: usize = 5;
/// Words of a short entry: its key, with a trailer of four bytes in the upper half of the second word.
const SHORT: usize = 2;
/// The half of that word that tells what of its payload an entry is.
const WHAT: u64 = u32::MAX as u64;
/// Entries of a set: where a key may stand. Short ones of a set take as much as a cache line.
const WAYS: usize = 4;
/// Entries of either length in [`DigestCache::new`]: twice the 65536 blocks of 16 disks of the default volume,
/// as sets do not fill evenly.
const ENTRIES_DEFAULT: usize = 1 << 17;

/// A table of digests by verify type, payload seed, place in the write, and length.
///
/// Memory is bounded and allocated with the first digest (2 MiB by default for checksums of up to four
/// bytes, 5 MiB for longer ones, touched as it fills); when a set is full, its entries are replaced in turn.
/// What it holds never changes a verdict, only its price.
#[derive(Clone, Debug)]
pub struct DigestCache {
    short: Table<SHORT>,
    long: Table<LONG>,
}

impl Default for DigestCache {
    fn default() -> DigestCache {
        DigestCache::new()
    }
}

impl DigestCache {
    /// A cache of 131072 digests of either length.
    pub fn new() -> DigestCache {
        DigestCache::with_entries(ENTRIES_DEFAULT)
    }

    /// A cache of at least `entries_min` digests of either length.
    pub fn with_entries(entries_min: usize) -> DigestCache {
        DigestCache {
            short: Table::new(entries_min),
            long: Table::new(entries_min),
        }
    }

    /// Whether digests of this type, of `len` bytes from byte `at` of a write on, are remembered.
    ///
    /// Those of CRC-32C only in short entries: it costs less than a look at a long one that is in no
    /// cache of the CPU.
    #[must_use]
    pub fn keeps(verify: VerifyType, at: usize, len: usize) -> bool {
        ends_on_group(at, len) && (has_long(verify) || short_key(verify, at, len).is_some())
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
        if !ends_on_group(at, len) {
            return compute();
        }
        if let Some(what) = short_key(verify, at, len) {
            let (is_known, [of, word]) = self.short.find(seed, what, WHAT);
            if !is_known {
                let bytes = *compute().first_chunk().expect("a trailer has room for it");
                (*of, *word) = (seed, what | u64::from(u32::from_le_bytes(bytes)) << 32);
            }
            return unpack(&[*word >> 32]);
        }
        if !has_long(verify) {
            return compute();
        }
        let what = u64::from(verify.number()) << 56 | (len as u64) << 28 | at as u64;
        let (is_known, [of, word, trailer @ ..]) = self.long.find(seed, what, u64::MAX);
        if !is_known {
            (*of, *word, *trailer) = (seed, what, pack(&compute()));
        }
        unpack(trailer)
    }
}

/// Whether what is digested ends where a group of the payload does. If not, its last bytes are not the seed's
/// alone, but the length's of the whole write, too.
fn ends_on_group(at: usize, len: usize) -> bool {
    (at + len).is_multiple_of(GROUP)
}

/// Whether digests of this type have long entries.
fn has_long(verify: VerifyType) -> bool {
    verify != VerifyType::Crc32c && verify.trailer_len() <= CACHED
}

/// What of its payload a digest is, in 32 bits, if it is one of a write's first interval with a trailer of up to
/// four bytes. Never 0, as verify numbers are at least 1.
fn short_key(verify: VerifyType, at: usize, len: usize) -> Option<u64> {
    let fits = matches!(verify.trailer_len(), 1..=4) && at < 1 << 6 && len < 1 << 20;
    fits.then(|| u64::from(verify.number()) << 26 | (len as u64) << 6 | at as u64)
}

/// A table of entries of `N` words, which begin with a seed and, under a mask, what of its payload.
#[derive(Clone, Debug)]
struct Table<const N: usize> {
    words: Vec<u64>,
    sets: usize,
    turn: usize,
}

impl<const N: usize> Table<N> {
    fn new(entries_min: usize) -> Self {
        let sets = entries_min.div_ceil(WAYS).next_power_of_two();
        Self {
            words: Vec::new(),
            sets,
            turn: 0,
        }
    }

    /// Whether there is such an entry, and it or the one that has to make room for it. `what` is not 0: that is
    /// an entry that was never written.
    fn find(&mut self, seed: u64, what: u64, mask: u64) -> (bool, &mut [u64; N]) {
        if self.words.is_empty() {
            self.words = vec![0; self.sets * WAYS * N];
        }
        // The top bits of the product depend on all bits of the key.
        let hash = (seed ^ what.rotate_left(32)).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        let set = ((hash * self.sets as u64) >> 32) as usize * WAYS;
        let (entries, _) = self.words.as_chunks_mut();
        let ways: &mut [[u64; N]] = &mut entries[set..set + WAYS];
        let is_it = |entry: &[u64; N]| entry[0] == seed && entry[1] & mask == what;
        if let Some(way) = ways.iter().position(is_it) {
            return (true, &mut ways[way]);
        }
        let free = ways.iter().position(|entry| entry[1] == 0);
        let way = free.unwrap_or_else(|| {
            self.turn = (self.turn + 1) % WAYS;
            self.turn
        });
        (false, &mut ways[way])
    }
}

fn pack(trailer: &Trailer) -> [u64; LONG - 2] {
    let (words, _) = trailer.as_chunks();
    std::array::from_fn(|n| u64::from_le_bytes(words[n]))
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
        // A long entry, a short one, and the same one for another length.
        for (verify, len) in [
            (VerifyType::Crc64, 8),
            (VerifyType::Crc32c, 8),
            (VerifyType::Crc32c, 4),
        ] {
            let at = GROUP - len;
            assert!(DigestCache::keeps(verify, at, len));
            let mut cache = DigestCache::with_entries(8);
            let mut misses = 0;
            for round in 0..3u64 {
                for seed in 0..100u64 {
                    let right = verify.digest(&seed.to_le_bytes()[..len]);
                    let got = cache.get(verify, seed, at, len, || {
                        misses += 1;
                        right
                    });
                    assert_eq!(got, right, "round {round} seed {seed}");
                }
            }
            assert!(misses > 100, "8 entries cannot hold 100 digests");
        }
    }

    #[test]
    fn no_two_digests_are_taken_for_each_other() {
        let mut cache = DigestCache::new();
        let types = [
            VerifyType::Crc7,
            VerifyType::Crc16,
            VerifyType::Crc32c,
            VerifyType::Crc64,
        ];
        let mut asked = 0u64;
        for round in 0..2 {
            let mut number = 0u64;
            for verify in types {
                for seed in [1, 2, 1 << 32] {
                    for at in [0, 44, 63, 64, 4096 + 44] {
                        for groups in [2, 15, 127, 32_767, 32_768] {
                            let len = groups * GROUP - at % GROUP;
                            number += 1;
                            let mut trailer = [0; TRAILER_MAX];
                            trailer[..4].copy_from_slice(&(number as u32).to_le_bytes());
                            let got = cache.get(verify, seed, at, len, || {
                                asked += 1;
                                trailer
                            });
                            assert_eq!(got, trailer, "round {round} {verify:?} {seed} {at} {len}");
                        }
                    }
                }
            }
        }
        // Of CRC-32C, those that have no short entry: two places, and the longest.
        let long = 3 * (2 * 5 + 1);
        assert_eq!(asked, 4 * 3 * 25 + long);
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
