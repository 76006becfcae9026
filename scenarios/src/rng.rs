//! Chance as an argument: seeded streams of ChaCha8, a portable, named algorithm.
//!
//! One seed feeds several streams, so that a draw more in one of them does not change the others. All of them
//! are listed in [`Stream`]. Knows nothing of what is decided with a draw.

use rand_chacha::ChaCha8Rng;
use rand_core::{Rng as _, SeedableRng};

/// Who draws. The numbers are part of what a seed means: never reuse one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Directed tests and recordings, which no user's seed feeds.
    Directed,
    /// What a directed test asks for, beside the accidents of its world.
    Test,
    /// The simulator's accidents: latencies, orders that the hardware does not fix.
    Accidents,
    /// Who goes next.
    Schedule,
    /// A generated scenario.
    Scenario,
    /// Malformed rings and messages.
    Malformed,
    /// Model guests on the sockets of a target that runs.
    SocketGuests,
    /// What a plan leaves to chance.
    Stimulus,
    /// At which moments a campaign lets the steps of a plan come.
    Moments,
}

impl Stream {
    /// ChaCha's stream number.
    const fn number(self) -> u64 {
        match self {
            Self::Directed => 0,
            Self::Accidents => 1,
            Self::Test => 2,
            Self::Schedule => 3,
            Self::Scenario => 4,
            Self::Malformed => 5,
            Self::SocketGuests => 7,
            Self::Moments => 8,
            Self::Stimulus => u64::from_be_bytes(*b"stimulus"),
        }
    }
}

/// A stream of draws.
#[derive(Clone, Debug)]
pub struct Rng(ChaCha8Rng);

impl Rng {
    /// The stream of `seed` that is `stream`'s.
    #[must_use]
    pub fn new(seed: u64, stream: Stream) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(stream.number());
        Self(rng)
    }

    /// What is drawn next, and will be all the same.
    #[must_use]
    pub fn peek(&self) -> u64 {
        self.0.clone().next_u64()
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
        let mut rng = Rng::new(7, Stream::Directed);
        let drawn: Vec<u32> = (0..4).map(|_| rng.below(1000)).collect();
        assert_eq!(drawn, [140, 157, 182, 167]);
        let sum: u32 = (0..10_000).map(|_| rng.below(1000)).sum();
        assert!(
            (4_900_000..5_100_000).contains(&sum),
            "the mean is 500: {sum}"
        );
    }

    /// The stream listed behind this one: a new one cannot be forgotten here.
    const fn behind(stream: Stream) -> Option<Stream> {
        match stream {
            Stream::Directed => Some(Stream::Test),
            Stream::Test => Some(Stream::Accidents),
            Stream::Accidents => Some(Stream::Schedule),
            Stream::Schedule => Some(Stream::Scenario),
            Stream::Scenario => Some(Stream::Malformed),
            Stream::Malformed => Some(Stream::SocketGuests),
            Stream::SocketGuests => Some(Stream::Stimulus),
            Stream::Stimulus => Some(Stream::Moments),
            Stream::Moments => None,
        }
    }

    #[test]
    fn streams_differ() {
        let all = std::iter::successors(Some(Stream::Directed), |stream| behind(*stream));
        let first: Vec<(Stream, u64)> = all
            .map(|stream| (stream, Rng::new(7, stream).bits()))
            .collect();
        assert_eq!(first.len(), 9);
        for (n, (stream, bits)) in first.iter().enumerate() {
            let same = first[..n].iter().find(|(_, other)| other == bits);
            assert_eq!(same, None, "{stream:?} draws the same");
        }
    }
}
