//! Where the pages of devices lie: whole, or as the little from which the rest of a page can be made.
//!
//! A page that can be made again, byte for byte, is kept as its head, a cache line: what is read back is the
//! same, and the contents of the devices stay in the processor's caches. Knows no devices, and not what can be
//! made again.

use std::marker::PhantomData;

/// Bytes in a page.
pub const PAGE: usize = 4096;

/// Bytes of a page that are kept in any case.
pub const HEAD: usize = 64;

/// What makes the rest of a page from its head.
pub trait Regenerate {
    /// Whether `rest` is what [`Regenerate::make`] makes of `head`.
    fn can_make(head: &[u8; HEAD], rest: &[u8]) -> bool;

    fn make(head: &[u8; HEAD], rest: &mut [u8]);
}

/// Pages that are allocated at once.
const SLAB: usize = 512;

/// Where the content of a page is; by default nowhere: it is a page of zeroes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Kept(u32);

/// In a [`Kept`]: the head alone.
const SHORT: u32 = 1 << 31;

impl Kept {
    /// A page of zeroes.
    pub const NOWHERE: Self = Self(0);

    /// Whether all of it is kept.
    pub const fn is_whole(self) -> bool {
        self.0 != 0 && self.0 & SHORT == 0
    }

    const fn index(self) -> usize {
        (self.0 & !SHORT) as usize - 1
    }
}

/// Pages of all devices.
#[derive(Clone, Debug)]
pub struct Pages<R> {
    whole: Pool<PAGE>,
    heads: Pool<HEAD>,
    rest: PhantomData<R>,
}

impl<R> Default for Pages<R> {
    fn default() -> Self {
        Self {
            whole: Pool::default(),
            heads: Pool::default(),
            rest: PhantomData,
        }
    }
}

impl<R: Regenerate> Pages<R> {
    pub fn in_use(&self) -> usize {
        self.whole.in_use() + self.heads.in_use()
    }

    /// Bytes that they take.
    pub fn kept_bytes(&self) -> u64 {
        (self.whole.in_use() * PAGE + self.heads.in_use() * HEAD) as u64
    }

    /// Pages that were ever used, whole or not, and those that are free, each as often as it was given back.
    #[cfg(test)]
    pub fn ever_and_free(&self) -> (usize, Vec<(bool, u32)>) {
        let free = |whole: bool, free: &[u32]| free.iter().map(|n| (whole, *n)).collect::<Vec<_>>();
        let mut all = free(true, &self.whole.free);
        all.extend(free(false, &self.heads.free));
        (self.whole.fresh.len() + self.heads.fresh.len(), all)
    }

    /// Whether a page was taken into use since [`Pages::settle`].
    pub fn is_fresh(&self, kept: Kept) -> bool {
        let fresh = if kept.is_whole() {
            &self.whole.fresh
        } else {
            &self.heads.fresh
        };
        fresh[kept.index()]
    }

    /// No page is fresh any more.
    pub fn settle(&mut self) {
        self.whole.fresh.fill(false);
        self.heads.fresh.fill(false);
    }

    /// Gives all pages back.
    pub fn give_all_back(&mut self) {
        self.whole.give_all_back();
        self.heads.give_all_back();
    }

    /// Gives a page back.
    pub fn give_back(&mut self, kept: Kept) {
        if kept.is_whole() {
            self.whole.give_back(kept.index());
        } else {
            self.heads.give_back(kept.index());
        }
    }

    /// A whole page that nobody uses, with any content.
    pub fn take_whole(&mut self) -> Kept {
        Kept(self.whole.take() + 1)
    }

    /// A page, to write, of those that are kept whole.
    pub fn whole_mut(&mut self, kept: Kept) -> &mut [u8; PAGE] {
        self.whole.get_mut(kept.index())
    }

    /// Keeps `page`, in the place of `old` if that is given and will do.
    pub fn keep(&mut self, page: &[u8; PAGE], old: Option<Kept>) -> Kept {
        let (head, rest) = page.split_first_chunk::<HEAD>().expect("a page is longer");
        if R::can_make(head, rest) {
            let old = old.filter(|old| *old != Kept::NOWHERE && !old.is_whole());
            let kept = old.unwrap_or_else(|| Kept((self.heads.take() + 1) | SHORT));
            *self.heads.get_mut(kept.index()) = *head;
            return kept;
        }
        let old = old.filter(|old| old.is_whole());
        let kept = old.unwrap_or_else(|| self.take_whole());
        *self.whole.get_mut(kept.index()) = *page;
        kept
    }

    /// A page to read, made in `scratch` if need be.
    pub fn get<'p>(&'p self, kept: Kept, scratch: &'p mut [u8; PAGE]) -> &'p [u8; PAGE] {
        if kept.is_whole() {
            return self.whole.get(kept.index());
        }
        let (head, rest) = scratch
            .split_first_chunk_mut::<HEAD>()
            .expect("a page is longer");
        *head = *self.heads.get(kept.index());
        R::make(head, rest);
        scratch
    }
}

/// Pieces of `N` bytes. Those that are given back are used again.
#[derive(Clone, Debug)]
struct Pool<const N: usize> {
    slabs: Vec<Box<[u8]>>,
    free: Vec<u32>,
    /// Of all pieces that were ever used: taken since they were last settled.
    fresh: Vec<bool>,
}

impl<const N: usize> Default for Pool<N> {
    fn default() -> Self {
        Self {
            slabs: Vec::new(),
            free: Vec::new(),
            fresh: Vec::new(),
        }
    }
}

impl<const N: usize> Pool<N> {
    fn in_use(&self) -> usize {
        self.fresh.len() - self.free.len()
    }

    fn take(&mut self) -> u32 {
        if let Some(index) = self.free.pop() {
            self.fresh[index as usize] = true;
            return index;
        }
        let index = self.fresh.len();
        if index == self.slabs.len() * SLAB {
            self.slabs.push(vec![0; SLAB * N].into_boxed_slice());
        }
        self.fresh.push(true);
        index as u32
    }

    fn give_back(&mut self, index: usize) {
        self.fresh[index] = false;
        self.free.push(index as u32);
    }

    fn give_all_back(&mut self) {
        self.fresh.fill(false);
        self.free.clear();
        self.free.extend((0..self.fresh.len() as u32).rev());
    }

    fn get(&self, index: usize) -> &[u8; N] {
        let (pieces, _) = self.slabs[index / SLAB].as_chunks();
        &pieces[index % SLAB]
    }

    fn get_mut(&mut self, index: usize) -> &mut [u8; N] {
        let (pieces, _) = self.slabs[index / SLAB].as_chunks_mut();
        &mut pieces[index % SLAB]
    }
}

#[cfg(test)]
mod tests {
    use fio_model::{HEADER_LEN, Header, VerifyType, fill};

    use super::*;
    use crate::bdev::fio_payload::FioPayload;

    /// A block as fio leaves it on the medium, roughly: a header with a seed, a checksum, payload.
    fn block(seed: u64) -> [u8; PAGE] {
        let mut page = [0; PAGE];
        fill(seed, &mut page);
        let header = Header {
            rand_seed: seed,
            offset: 4096,
            ..Header::default()
        };
        header.encode(&mut page);
        page[HEADER_LEN..VerifyType::Sha1.header_len()].fill(0xa5);
        page
    }

    #[test]
    fn what_fio_writes_is_kept_as_its_head_and_comes_back_whole() {
        let mut pages = Pages::<FioPayload>::default();
        let mut scratch = [0xff; PAGE];
        for seed in [1, 77, u64::MAX] {
            let page = block(seed);
            let kept = pages.keep(&page, None);
            assert!(!kept.is_whole());
            assert_eq!(pages.get(kept, &mut scratch), &page);
        }
        assert!(pages.whole.slabs.is_empty());
        assert_eq!(pages.in_use(), 3);
    }

    #[test]
    fn a_single_wrong_byte_is_kept() {
        let mut pages = Pages::<FioPayload>::default();
        let mut scratch = [0; PAGE];
        for at in [0, 8, 44, HEAD - 1, HEAD, 1000, PAGE - 1] {
            let mut page = block(5);
            page[at] ^= 1;
            let kept = pages.keep(&page, None);
            // Another seed, or another payload: nothing that could be made again.
            assert_eq!(kept.is_whole(), at == 8 || at >= HEAD, "{at}");
            assert_eq!(pages.get(kept, &mut scratch), &page, "{at}");
        }
    }

    #[test]
    fn a_place_is_used_again_if_it_will_do() {
        let mut pages = Pages::<FioPayload>::default();
        let (fios, other) = (block(5), [7; PAGE]);
        let head = pages.keep(&fios, None);
        assert_eq!(pages.keep(&block(6), Some(head)), head);
        let whole = pages.keep(&other, Some(head));
        assert!(whole.is_whole());
        assert_eq!(pages.keep(&[8; PAGE], Some(whole)), whole);
        assert!(pages.is_fresh(whole));
        pages.settle();
        assert!(!pages.is_fresh(whole));
        pages.give_back(whole);
        assert_eq!(pages.take_whole(), whole);
        assert_eq!(pages.in_use(), 2);
    }
}
