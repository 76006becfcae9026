//! Which pages of guest memory were written: what a snapshot has to put back.
//!
//! A bitmap of pages beside each region, fed by `vm_memory` with every write through it, whoever
//! writes. Knows pages, not what is in them. One thread writes and asks: atomics are there because
//! `vm_memory` shares regions, not because anybody races.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use vm_memory::bitmap::{Bitmap, BitmapSlice, NewBitmap, WithBitmapSlice};

use crate::invariant::Invariant;

/// Bytes in a page.
pub const PAGE: usize = 4096;
/// Pages a word tells of.
const WORD: usize = 64;

/// The pages of a region that were written: since the last [`DirtyPages::take`], and ever.
#[derive(Debug, Default)]
pub struct DirtyPages {
    /// A bit a page.
    pages: Box<[AtomicU64]>,
    /// A bit a word of `pages` that is not zero.
    words: Box<[AtomicU64]>,
    /// The pages that were written before.
    before: Box<[AtomicU64]>,
    /// Pages of the region.
    count: usize,
}

impl DirtyPages {
    /// Calls `f` with the number of each page that was written, in ascending order, and forgets them.
    pub fn take(&self, mut f: impl FnMut(usize)) {
        for (n, summary) in self.words.iter().enumerate() {
            for word in bits(summary.load(Relaxed)) {
                let word = n * WORD + word;
                let pages = self.pages[word].load(Relaxed);
                self.pages[word].store(0, Relaxed);
                let before = &self.before[word];
                before.store(before.load(Relaxed) | pages, Relaxed);
                bits(pages).for_each(|page| f(word * WORD + page));
            }
            summary.store(0, Relaxed);
        }
    }

    /// The numbers of all pages that were ever written, in ascending order.
    pub fn ever(&self) -> impl Iterator<Item = usize> {
        let words = self.pages.iter().zip(&self.before).enumerate();
        words.flat_map(|(word, (since, before))| {
            let pages = since.load(Relaxed) | before.load(Relaxed);
            bits(pages).map(move |page| word * WORD + page)
        })
    }

    /// How many pages were written since they were last taken.
    #[must_use]
    pub fn dirty(&self) -> u32 {
        let words = self.pages.iter().map(|word| word.load(Relaxed));
        words.map(u64::count_ones).sum()
    }

    /// What must hold of every region's dirty pages.
    pub const INVARIANTS: &'static [Invariant<Self>] = &[
        Invariant {
            name: "the_summary_of_dirty_pages_is_exact",
            says: "A bit of the summary is set for the words that have a dirty page, and for no others.",
            broken: |dirty| {
                let words = dirty.pages.iter().enumerate();
                let mut words = words.map(|(n, word)| (n, word.load(Relaxed) != 0));
                let told = |n: usize| dirty.words[n / WORD].load(Relaxed) >> (n % WORD) & 1 != 0;
                let (wrong, _) = words.find(|(n, is_dirty)| told(*n) != *is_dirty)?;
                Some(format!("that of word {wrong} is not"))
            },
        },
        Invariant {
            name: "only_pages_of_the_region_are_dirty",
            says: "No page behind the end of a region was ever written.",
            broken: |dirty| {
                let page = dirty.ever().last().filter(|page| *page >= dirty.count)?;
                Some(format!("page {page} of {} was", dirty.count))
            },
        },
    ];

    #[cold]
    fn set(&self, page: usize) {
        let (word, bit) = (page / WORD, page % WORD);
        let Some(pages) = self.pages.get(word) else {
            return;
        };
        pages.store(pages.load(Relaxed) | 1 << bit, Relaxed);
        let summary = &self.words[word / WORD];
        summary.store(summary.load(Relaxed) | 1 << (word % WORD), Relaxed);
    }

    /// Marks the pages from `first` to `last`. On its own, as most writes lie in one that is marked.
    #[inline(never)]
    fn mark(&self, first: usize, last: usize) {
        for page in first..=last {
            if !self.has(page) {
                self.set(page);
            }
        }
    }

    #[inline]
    fn has(&self, page: usize) -> bool {
        let word = self.pages.get(page / WORD);
        word.is_some_and(|word| word.load(Relaxed) >> (page % WORD) & 1 != 0)
    }
}

/// The numbers of the bits that are set.
fn bits(mut word: u64) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        (word != 0).then(|| {
            let bit = word.trailing_zeros() as usize;
            word &= word - 1;
            bit
        })
    })
}

impl Bitmap for DirtyPages {
    #[inline]
    fn mark_dirty(&self, offset: usize, len: usize) {
        if len == 0 {
            return;
        }
        let (first, last) = (offset / PAGE, (offset + len - 1) / PAGE);
        if first < last || !self.has(first) {
            self.mark(first, last);
        }
    }

    fn dirty_at(&self, offset: usize) -> bool {
        self.has(offset / PAGE)
    }

    #[inline]
    fn slice_at(&self, offset: usize) -> Part<'_> {
        Part { of: self, offset }
    }
}

impl NewBitmap for DirtyPages {
    fn with_len(len: usize) -> Self {
        let zeroes = |count: usize| (0..count).map(|_| AtomicU64::new(0)).collect();
        let count = len.div_ceil(PAGE);
        let words = count.div_ceil(WORD);
        Self {
            count,
            pages: zeroes(words),
            words: zeroes(words.div_ceil(WORD)),
            before: zeroes(words),
        }
    }
}

impl<'a> WithBitmapSlice<'a> for DirtyPages {
    type S = Part<'a>;
}

/// The pages from an offset on.
#[derive(Clone, Copy, Debug)]
pub struct Part<'a> {
    of: &'a DirtyPages,
    offset: usize,
}

impl WithBitmapSlice<'_> for Part<'_> {
    type S = Self;
}

impl BitmapSlice for Part<'_> {}

impl Bitmap for Part<'_> {
    #[inline]
    fn mark_dirty(&self, offset: usize, len: usize) {
        self.of.mark_dirty(self.offset + offset, len);
    }

    fn dirty_at(&self, offset: usize) -> bool {
        self.of.dirty_at(self.offset + offset)
    }

    #[inline]
    fn slice_at(&self, offset: usize) -> Self {
        Self {
            of: self.of,
            offset: self.offset + offset,
        }
    }
}

#[cfg(test)]
mod tests {
    use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend};

    use super::*;
    use crate::component::GuestMemory;
    use crate::invariant::check_all;

    #[test]
    fn every_way_to_write_is_noted_once_and_a_read_is_not() {
        let at = GuestAddress(0x10_0000);
        let memory = GuestMemory::from_ranges(&[(at, 1 << 20)]).expect("a megabyte");
        let touched = memory.find_region(at).expect("it is mapped").get_mmap();
        let taken = || {
            let mut pages = Vec::new();
            touched.bitmap().take(|page| pages.push(page));
            pages
        };
        assert!(taken().is_empty());
        memory
            .write_slice(&[1; 8192], GuestAddress(at.0 + 4095))
            .expect("mapped");
        memory
            .store(7_u16, GuestAddress(at.0 + 255 * 4096), Relaxed)
            .expect("mapped");
        memory
            .write_obj(7_u32, GuestAddress(at.0 + 4096))
            .expect("mapped");
        assert_eq!(taken(), [0, 1, 2, 255]);
        memory
            .write_obj(7_u32, GuestAddress(at.0 + 3 * 4096))
            .expect("mapped");
        assert!(touched.bitmap().ever().eq([0, 1, 2, 3, 255]));
        assert_eq!(taken(), [3]);
        // One that begins in a page that is marked already.
        memory
            .write_obj(7_u32, GuestAddress(at.0 + 4 * 4096))
            .expect("mapped");
        memory
            .write_slice(&[1; 8192], GuestAddress(at.0 + 5 * 4096 - 1))
            .expect("mapped");
        assert_eq!(taken(), [4, 5, 6]);
        let _: u32 = memory.read_obj(GuestAddress(at.0 + 4096)).expect("mapped");
        assert!(taken().is_empty());
    }

    #[test]
    fn what_breaks_an_invariant_is_named() {
        let fresh = || {
            let dirty = DirtyPages::with_len(100 * PAGE);
            dirty.mark_dirty(70 * PAGE, 1);
            check_all(DirtyPages::INVARIANTS, &dirty);
            dirty
        };
        let broken = |dirty: &DirtyPages| {
            let rows = DirtyPages::INVARIANTS.iter();
            let broken = rows.filter(|row| (row.broken)(dirty).is_some());
            broken.map(|row| row.name).collect::<Vec<_>>()
        };
        let (untold, empty, beyond) = (fresh(), fresh(), fresh());
        untold.words[0].store(0, Relaxed);
        assert_eq!(broken(&untold), ["the_summary_of_dirty_pages_is_exact"]);
        empty.pages[1].store(0, Relaxed);
        assert_eq!(broken(&empty), ["the_summary_of_dirty_pages_is_exact"]);
        beyond.mark_dirty(100 * PAGE, 1);
        assert_eq!(broken(&beyond), ["only_pages_of_the_region_are_dirty"]);
    }
}
