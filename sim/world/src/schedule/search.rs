//! What a schedule searches with: the least of some times, and a set of small numbers in words.
//!
//! Asked at every turn of every world, so both avoid branches that cannot be foretold.

use std::hint::select_unpredictable;

use scenarios::Time;

/// Numbers a word tells of.
const WORD: usize = 64;

/// The least of some times; `Time::NEVER.0` if there is none.
///
/// Each comparison waits for no other but those of its own half, and none is a branch.
#[inline]
pub fn least(times: &[u64]) -> u64 {
    let (pairs, rest) = times.as_chunks::<2>();
    let mut least = [
        rest.first().copied().unwrap_or(Time::NEVER.0),
        Time::NEVER.0,
    ];
    for pair in pairs {
        least[0] = select_unpredictable(pair[0] < least[0], pair[0], least[0]);
        least[1] = select_unpredictable(pair[1] < least[1], pair[1], least[1]);
    }
    select_unpredictable(least[0] < least[1], least[0], least[1])
}

/// A set of numbers below a bound that can grow.
#[derive(Debug, Default)]
pub struct Bits {
    words: Vec<u64>,
}

impl Bits {
    /// Makes room for numbers below `bound`.
    pub fn grow(&mut self, bound: usize) {
        self.words.resize(bound.div_ceil(WORD), 0);
    }

    #[inline]
    pub fn has(&self, n: usize) -> bool {
        self.words[n / WORD] >> (n % WORD) & 1 != 0
    }

    #[inline]
    pub fn insert(&mut self, n: usize) {
        self.words[n / WORD] |= 1 << (n % WORD);
    }

    #[inline]
    pub fn remove(&mut self, n: usize) {
        self.words[n / WORD] &= !(1 << (n % WORD));
    }

    /// Inserts or removes a number; whether it was there.
    #[inline]
    pub fn put(&mut self, n: usize, is_in: bool) -> bool {
        let (word, bit) = (&mut self.words[n / WORD], n % WORD);
        let before = *word >> bit & 1;
        *word ^= (before ^ u64::from(is_in)) << bit;
        before != 0
    }

    /// Calls `f` with each number, and empties the set.
    #[inline]
    pub fn take_each(&mut self, mut f: impl FnMut(usize)) {
        for (n, word) in self.words.iter_mut().enumerate() {
            while *word != 0 {
                f(n * WORD + word.trailing_zeros() as usize);
                *word &= *word - 1;
            }
        }
    }

    /// Becomes the set of these bits, eight numbers a byte.
    #[inline]
    pub fn fill_bytes(&mut self, mut bytes: impl Iterator<Item = u8>) {
        for word in &mut self.words {
            let eight = bytes.by_ref().take(size_of::<u64>());
            *word = eight.enumerate().fold(0, |word, (n, byte)| {
                word | u64::from(byte) << (n * u8::BITS as usize)
            });
        }
    }

    /// Numbers in the set.
    pub fn count(&self) -> u32 {
        self.words.iter().map(|word| word.count_ones()).sum()
    }

    /// The nth number, from 0 on, of a set that has so many.
    #[inline]
    pub fn nth(&self, mut n: u32) -> usize {
        let mut first = 0;
        loop {
            let bits = usize::from((self.words[first / WORD] >> (first % WORD)) as u8);
            let here = u32::from(COUNT[bits]);
            if n < here {
                return first + usize::from(SELECT[bits][n as usize]);
            }
            n -= here;
            first += u8::BITS as usize;
        }
    }
}

impl Clone for Bits {
    fn clone(&self) -> Self {
        let words = self.words.clone();
        Self { words }
    }

    fn clone_from(&mut self, of: &Self) {
        self.words.clone_from(&of.words);
    }
}

/// Values of a byte.
const BYTES: usize = 1 << u8::BITS;

/// The number of the nth bit that is set, by bits and n: looked up, as a loop over random bits is mispredicted
/// at every turn.
static SELECT: [[u8; u8::BITS as usize]; BYTES] = {
    let mut select = [[0; u8::BITS as usize]; BYTES];
    let mut bits = 0;
    while bits < BYTES {
        let (mut bit, mut nth) = (0, 0);
        while bit < u8::BITS as usize {
            if bits >> bit & 1 != 0 {
                select[bits][nth] = bit as u8;
                nth += 1;
            }
            bit += 1;
        }
        bits += 1;
    }
    select
};

/// How many bits are set: without an instruction for it, looking it up is the shortest way to who goes next.
static COUNT: [u8; BYTES] = {
    let mut count = [0; BYTES];
    let mut bits = 0;
    while bits < BYTES {
        count[bits] = bits.count_ones() as u8;
        bits += 1;
    }
    count
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nth_is_the_nth_of_a_plain_list() {
        let mut bits = Bits::default();
        bits.grow(300);
        let all = [0, 1, 63, 64, 130, 131, 255, 299];
        all.iter().for_each(|n| bits.insert(*n));
        assert_eq!(bits.count() as usize, all.len());
        for (n, number) in all.iter().enumerate() {
            assert_eq!(bits.nth(n as u32), *number);
        }
        assert!(bits.put(63, false) && !bits.put(62, true) && bits.has(62) && !bits.has(63));
        let mut taken = Vec::new();
        bits.take_each(|n| taken.push(n));
        assert_eq!(taken, [0, 1, 62, 64, 130, 131, 255, 299]);
        assert_eq!(bits.count(), 0);
    }

    #[test]
    fn the_least_of_none_is_never() {
        assert_eq!(least(&[]), Time::NEVER.0);
        assert_eq!(least(&[7, 3, 9]), 3);
    }
}
