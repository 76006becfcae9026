//! Chance as an argument: seeded streams of ChaCha8, a portable, named algorithm.
//!
//! Knows nothing of what is decided with it. One seed feeds several streams (stimulus, the world's
//! accidents), so that a draw more in one of them does not change the others.

use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};

/// A stream of draws.
#[derive(Clone, Debug)]
pub struct Dice(ChaCha8Rng);

impl Dice {
    /// The stream `stream` of `seed`.
    #[must_use]
    pub fn new(seed: u64, stream: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(stream);
        Self(rng)
    }

    /// 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// A number below `bound`, each equally likely to within 2⁻³² (Lemire's multiplication).
    ///
    /// # Panics
    ///
    /// If `bound` is zero.
    pub fn below(&mut self, bound: u32) -> u32 {
        assert!(bound > 0, "a draw needs at least one outcome");
        let product = u64::from(self.0.next_u32()) * u64::from(bound);
        (product >> 32) as u32
    }

    /// A number in `low..=high`.
    ///
    /// # Panics
    ///
    /// If `low` is above `high`.
    pub fn between(&mut self, low: u32, high: u32) -> u32 {
        assert!(low <= high, "{low}..={high} is empty");
        low + self.below(high - low + 1)
    }

    /// True `times` times out of `of`.
    pub fn chance(&mut self, times: u32, of: u32) -> bool {
        self.below(of) < times
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_means_the_same_draws_for_ever() {
        let mut dice = Dice::new(7, 0);
        let drawn: Vec<u32> = (0..4).map(|_| dice.below(1000)).collect();
        assert_eq!(drawn, [140, 157, 182, 167]);
        let sum: u32 = (0..10_000).map(|_| dice.below(1000)).sum();
        assert!(
            (4_900_000..5_100_000).contains(&sum),
            "the mean is 500: {sum}"
        );
    }

    #[test]
    fn streams_differ() {
        assert_ne!(Dice::new(7, 0).bits(), Dice::new(7, 1).bits());
    }
}
