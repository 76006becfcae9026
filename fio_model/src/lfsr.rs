//! `random_generator=lfsr`: a shift register that visits every block once, in an order that looks random.
//!
//! Knows nothing of maps. As fio 3.33's `lib/lfsr.c`: XNOR feedback, so that all ones is the state that
//! never comes.

/// Taps of registers of maximal length, from three bits on.
#[rustfmt::skip]
const TAPS: [&[u32]; 31] = [
    &[3, 2], &[4, 3], &[5, 3], &[6, 5], &[7, 6], &[8, 6, 5, 4], &[9, 5], &[10, 7], &[11, 9],
    &[12, 6, 4, 1], &[13, 4, 3, 1], &[14, 5, 3, 1], &[15, 14], &[16, 15, 13, 4], &[17, 14],
    &[18, 11], &[19, 6, 2, 1], &[20, 17], &[21, 19], &[22, 21], &[23, 18], &[24, 23, 22, 17],
    &[25, 22], &[26, 6, 2, 1], &[27, 5, 2, 1], &[28, 25], &[29, 27], &[30, 6, 4, 1], &[31, 28],
    &[32, 31, 29, 1], &[33, 20],
];

/// The register.
#[derive(Clone, Debug)]
pub(crate) struct Lfsr {
    blocks: u64,
    top: u64,
    feedback: u64,
    value: u64,
    seed: u64,
    drawn: u64,
    /// fio takes two steps for the first value of all.
    is_fresh: bool,
}

impl Lfsr {
    /// A register over `blocks` blocks, up to what 33 bits count.
    pub fn new(blocks: u64, seed: u64) -> Lfsr {
        let taps = TAPS.iter().find(|taps| 1 << taps[0] > blocks);
        let taps = taps.unwrap_or(&TAPS[TAPS.len() - 1]);
        let top = 1 << (taps[0] - 1);
        let mut lfsr = Lfsr {
            blocks,
            top,
            feedback: taps.iter().fold(0, |mask, tap| mask | 1 << (tap - 1)),
            value: 0,
            seed: seed & (2 * top - 1),
            drawn: 0,
            is_fresh: true,
        };
        lfsr.reset();
        lfsr
    }

    /// Begins anew.
    pub fn reset(&mut self) {
        (self.value, self.drawn) = (self.seed, 0);
    }

    fn step(&mut self) {
        let feedback = if self.value & 1 == 0 {
            self.feedback
        } else {
            0
        };
        self.value = ((self.value >> 1) | self.top) ^ feedback;
    }

    /// The next block; `None` when all have come.
    pub fn next(&mut self) -> Option<u64> {
        if self.drawn == self.blocks {
            return None;
        }
        self.drawn += 1;
        loop {
            if std::mem::take(&mut self.is_fresh) {
                self.step();
            }
            self.step();
            if self.value < self.blocks {
                return Some(self.value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_block_comes_once() {
        for blocks in [1, 2, 7, 8, 100, 1024, 5000] {
            let mut lfsr = Lfsr::new(blocks, 0xb189_9bed);
            for round in 0..2 {
                let mut seen = vec![false; blocks as usize];
                while let Some(block) = lfsr.next() {
                    assert!(!std::mem::replace(&mut seen[block as usize], true));
                }
                assert!(
                    seen.iter().all(|seen| *seen),
                    "{blocks} blocks, round {round}"
                );
                lfsr.reset();
            }
        }
    }
}
