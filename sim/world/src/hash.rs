//! The two hashes of a run.
//!
//! The *trace hash* folds in every turn; equal hashes mean equal runs. The *order hash* folds in only
//! the order of hot-plug turns, without times and data: it counts how many different interleavings
//! were tried. Not cryptographic: a few multiplications a turn.

/// A running 64-bit hash of words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RunHash {
    hash: u64,
    folds: u64,
}

/// 2⁶⁴ divided by the golden ratio, odd: the multiplier of Fibonacci hashing (Knuth, TAOCP 6.4).
const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;

/// Odd numbers without a pattern, one for each word of a turn (SplitMix64's multipliers, and MurmurHash3's).
const ODD: [u64; 3] = [
    0xBF58_476D_1CE4_E5B9,
    0x94D0_49BB_1331_11EB,
    0xFF51_AFD7_ED55_8CCD,
];

/// Both halves of a product in one: each bit of either factor moves about half of it.
#[inline]
fn mixed(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    product as u64 ^ (product >> 64) as u64
}

impl Default for RunHash {
    fn default() -> Self {
        Self {
            hash: GOLDEN,
            folds: 0,
        }
    }
}

impl RunHash {
    /// Folds in `word`; order matters.
    #[inline]
    pub fn fold(&mut self, word: u64) {
        self.hash = (self.hash ^ word).wrapping_mul(GOLDEN).rotate_left(29);
        self.folds += 1;
    }

    /// Folds in a turn: who took it when, and its words. One step of the chain that each fold has to wait
    /// for, in place of four.
    #[inline]
    pub fn fold_turn(&mut self, who_when: u64, words: [u64; 3]) {
        let [first, second, third] = words;
        let what = mixed(first ^ ODD[0], second ^ ODD[1]);
        self.fold(what ^ mixed(third ^ ODD[2], who_when ^ GOLDEN));
    }

    /// The hash so far.
    #[must_use]
    pub fn value(self) -> u64 {
        (self.hash ^ self.hash >> 32).wrapping_mul(GOLDEN)
    }

    /// How often something was folded in.
    #[must_use]
    pub fn folds(self) -> u64 {
        self.folds
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

    #[test]
    fn each_word_of_a_turn_counts_in_its_place() {
        let hash = |turn: [u64; 4]| {
            let mut hash = RunHash::default();
            hash.fold_turn(turn[0], [turn[1], turn[2], turn[3]]);
            hash.value()
        };
        let mut seen = std::collections::BTreeSet::new();
        for at in 0..4 {
            for bit in 0..64 {
                let mut turn = [1, 2, 3, 4];
                turn[at] ^= 1 << bit;
                assert!(seen.insert(hash(turn)), "word {at}, bit {bit}");
            }
        }
        assert!(seen.insert(hash([1, 2, 3, 4])));
        assert!(seen.insert(hash([1, 3, 2, 4])) && seen.insert(hash([2, 1, 3, 4])));
    }
}
