//! The two hashes of a run.
//!
//! The *trace hash* folds in every turn; equal hashes mean equal runs. The *order hash* folds in only
//! the order of hot-plug turns, without times and data: it counts how many different interleavings
//! were tried. Not cryptographic: a multiply and a rotate a word.

/// A running 64-bit hash of words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RunHash(u64);

/// 2⁶⁴ divided by the golden ratio, odd: the multiplier of Fibonacci hashing (Knuth, TAOCP 6.4).
const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;

impl Default for RunHash {
    fn default() -> Self {
        Self(GOLDEN)
    }
}

impl RunHash {
    /// Folds in `word`; order matters.
    #[inline]
    pub fn fold(&mut self, word: u64) {
        self.0 = (self.0 ^ word).wrapping_mul(GOLDEN).rotate_left(29);
    }

    /// The hash so far.
    #[must_use]
    pub fn value(self) -> u64 {
        (self.0 ^ self.0 >> 32).wrapping_mul(GOLDEN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(words: &[u64]) -> u64 {
        let mut hash = RunHash::default();
        words.iter().for_each(|word| hash.fold(*word));
        hash.value()
    }

    #[test]
    fn order_and_every_word_count() {
        assert_ne!(hash(&[1, 2]), hash(&[2, 1]));
        assert_ne!(hash(&[1, 2]), hash(&[1, 3]));
        assert_ne!(hash(&[]), hash(&[0]));
        assert_eq!(hash(&[1, 2]), hash(&[1, 2]));
    }
}
