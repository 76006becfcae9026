//! The stimulus's stream of chance: ChaCha8 under the run's seed, on a stream that is its own.

use std::time::Duration;

use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};

use super::{AFTER_EXTRA_MAX, AFTER_EXTRA_STEP};

/// The number of the stream; a testbed's own accidents use others.
const STREAM: u64 = u64::from_be_bytes(*b"stimulus");

/// Draws for the stimulus.
pub(super) struct Dice(ChaCha8Rng);

impl Dice {
    pub(super) fn new(seed: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(STREAM);
        Self(rng)
    }

    /// A number below `bound`, each as likely to within 2⁻³² (Lemire's multiplication).
    fn below(&mut self, bound: u32) -> u32 {
        let product = u64::from(self.0.next_u32()) * u64::from(bound);
        u32::try_from(product >> 32).unwrap_or(u32::MAX)
    }

    /// Heads or tails.
    pub(super) fn coin(&mut self) -> bool {
        self.below(2) == 1
    }

    /// What is added to an `after`.
    pub(super) fn extra(&mut self) -> Duration {
        let steps = AFTER_EXTRA_MAX.as_millis() / AFTER_EXTRA_STEP.as_millis();
        let steps = u32::try_from(steps).unwrap_or(u32::MAX - 1);
        AFTER_EXTRA_STEP * self.below(steps + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_means_the_same_delays_for_ever() {
        let mut dice = Dice::new(7);
        let drawn: Vec<u128> = (0..4).map(|_| dice.extra().as_millis()).collect();
        assert_eq!(drawn, [430, 1660, 1520, 750]);
    }

    #[test]
    fn delays_fill_their_range() {
        let mut dice = Dice::new(0);
        let drawn: Vec<Duration> = (0..10_000).map(|_| dice.extra()).collect();
        assert_eq!(drawn.iter().max(), Some(&AFTER_EXTRA_MAX));
        assert_eq!(drawn.iter().min(), Some(&Duration::ZERO));
    }
}
