//! Which blocks a random job has visited: fio's random map.
//!
//! fio's is a tree of bit sets (`axmap`); its answers are those of one bit set, which this is, with
//! a second level that says which words are full. Knows nothing of bytes.

/// A set of visited blocks that can say which is the next one free.
#[derive(Clone, Debug)]
pub struct RandomMap {
    blocks: u64,
    words: Vec<u64>,
    full: Vec<u64>,
}

impl RandomMap {
    /// A map of `blocks` blocks, all free.
    pub fn new(blocks: u64) -> RandomMap {
        let words = blocks.div_ceil(64) as usize;
        let mut map = RandomMap {
            blocks,
            words: vec![0; words],
            full: vec![0; words.div_ceil(64)],
        };
        map.reset();
        map
    }

    /// Frees all blocks.
    pub fn reset(&mut self) {
        self.words.fill(0);
        self.full.fill(0);
        // What lies beyond the end is never free.
        if let (Some(last), tail @ 1..) = (self.words.last_mut(), self.blocks % 64) {
            *last = u64::MAX << tail;
        }
        if let (Some(last), tail @ 1..) = (self.full.last_mut(), self.words.len() % 64) {
            *last = u64::MAX << tail;
        }
    }

    /// Whether `block` has not been visited; a block beyond the end has.
    pub fn is_free(&self, block: u64) -> bool {
        block < self.blocks && self.words[(block / 64) as usize] >> (block % 64) & 1 == 0
    }

    /// The first free block from `block` on, wrapping at the end; `None` when all are visited.
    pub fn next_free(&self, block: u64) -> Option<u64> {
        if block < self.blocks {
            let word = (block / 64) as usize;
            let free = !self.words[word] & (u64::MAX << (block % 64));
            if free != 0 {
                return Some(word as u64 * 64 + u64::from(free.trailing_zeros()));
            }
            if let Some(block) = self.first_free(word + 1) {
                return Some(block);
            }
        }
        self.first_free(0)
    }

    /// The first free block from word `from` on.
    fn first_free(&self, from: usize) -> Option<u64> {
        let mut summary = from / 64;
        let mut mask = u64::MAX << (from % 64);
        while summary < self.full.len() {
            let candidates = !self.full[summary] & mask;
            if candidates != 0 {
                let word = summary * 64 + candidates.trailing_zeros() as usize;
                let bit = (!self.words[word]).trailing_zeros();
                return Some(word as u64 * 64 + u64::from(bit));
            }
            summary += 1;
            mask = u64::MAX;
        }
        None
    }

    /// Marks up to `count` blocks from `block` on, stopping before the first one already visited or
    /// at the end. Returns how many it marked.
    pub fn mark(&mut self, block: u64, count: u64) -> u64 {
        let mut marked = 0;
        while marked < count && self.is_free(block + marked) {
            let word = ((block + marked) / 64) as usize;
            self.words[word] |= 1 << ((block + marked) % 64);
            if self.words[word] == u64::MAX {
                self.full[word / 64] |= 1 << (word % 64);
            }
            marked += 1;
        }
        marked
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn next_free_is_above_then_wraps_then_none() {
        for blocks in [1, 63, 64, 65, 4096, 5000] {
            let mut map = RandomMap::new(blocks);
            let start = blocks / 2;
            for step in 0..blocks {
                let free = map.next_free(start);
                assert_eq!(
                    free,
                    Some((start + step) % blocks),
                    "{blocks} blocks, step {step}"
                );
                assert_eq!(map.mark((start + step) % blocks, 1), 1);
            }
            assert_eq!(map.next_free(start), None);
            map.reset();
            assert_eq!(map.next_free(0), Some(0));
        }
    }

    #[test]
    fn mark_stops_before_a_visited_block_and_at_the_end() {
        let mut map = RandomMap::new(100);
        assert_eq!(map.mark(70, 5), 5);
        assert_eq!(map.mark(60, 30), 10);
        assert_eq!(map.mark(95, 30), 5);
        assert!(!map.is_free(100));
    }
}
