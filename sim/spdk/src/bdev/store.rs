//! What is written on the devices: 4 KiB pages, only those that were ever written.
//!
//! Knows bytes and offsets, no blocks, no bdevs; how pages are kept stands in `pages`. They are kept when
//! a store goes, and used again.

use super::fio_payload::FioPayload;
pub use super::pages::PAGE;
use super::pages::{Kept, Pages};

/// Pages a chunk of the directory covers.
const CHUNK: usize = 512;
/// Largest device: beyond it, the directory would outgrow what it points to.
pub const STORE_MAX: u64 = 1 << 44;

static ZEROES: [u8; PAGE] = [0; PAGE];

/// Names a device's content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoreId(u32);

/// The contents of all devices.
#[derive(Clone, Debug, Default)]
pub struct Stores {
    stores: Vec<Directory>,
    free_stores: Vec<u32>,
    /// Stores in use or free; more may lie behind them, empty.
    made: u32,
    pages: Pages<FioPayload>,
    mark: Option<Mark>,
    /// Room for a page on its way.
    scratch: Vec<u8>,
}

/// Where the pages are, two levels deep.
#[derive(Clone, Debug, Default)]
struct Directory {
    chunks: Vec<Option<Box<[Kept; CHUNK]>>>,
}

/// What to put back to have all contents as they were when it was set.
///
/// Pages that were used then are not written: their content goes on in another page.
#[derive(Clone, Debug, Default)]
struct Mark {
    free_stores: Vec<u32>,
    made: u32,
    /// Entries of directories that have changed: store, page number, and what stood there.
    changed: Vec<(u32, u64, Kept)>,
}

impl Stores {
    /// A device full of zeroes.
    pub fn create(&mut self) -> StoreId {
        if let Some(index) = self.free_stores.pop() {
            return StoreId(index);
        }
        let index = self.made;
        self.made += 1;
        if self.stores.len() < self.made as usize {
            self.stores.push(Directory::default());
        }
        StoreId(index)
    }

    /// Forgets a device's content.
    pub fn delete(&mut self, id: StoreId) {
        self.clear(id);
        self.free_stores.push(id.0);
    }

    /// Fills a device with zeroes.
    pub fn clear(&mut self, id: StoreId) {
        for chunk in 0..self.stores[id.0 as usize].chunks.len() {
            if self.stores[id.0 as usize].chunks[chunk].is_some() {
                for place in 0..CHUNK {
                    self.set(id, (chunk, place), Kept::NOWHERE);
                }
            }
        }
    }

    /// Forgets all devices, and the mark.
    pub fn delete_all(&mut self) {
        self.mark = None;
        let chunks = self.stores.iter_mut().flat_map(|store| &mut store.chunks);
        chunks.flatten().for_each(|chunk| chunk.fill(Kept::NOWHERE));
        self.pages.give_all_back();
        self.made = 0;
        self.free_stores.clear();
    }

    /// Remembers all contents as they are now, in place of what was remembered before.
    pub fn mark(&mut self) {
        let mark = self.mark.get_or_insert_default();
        mark.free_stores.clone_from(&self.free_stores);
        mark.made = self.made;
        for (id, number, old) in mark.changed.drain(..) {
            // What only the mark before this one has kept.
            let (chunk, place) = split(number);
            let now = self.stores[id as usize].chunks[chunk].as_ref();
            let kept = now.is_some_and(|chunk| chunk[place] == old);
            if old != Kept::NOWHERE && !kept {
                self.pages.give_back(old);
            }
        }
        self.pages.settle();
    }

    /// Puts all contents back as they were at the last [`Stores::mark`], which stays.
    ///
    /// # Panics
    ///
    /// If there was none.
    pub fn rewind(&mut self) {
        let mut mark = self.mark.take().expect("contents were marked");
        while let Some((id, number, old)) = mark.changed.pop() {
            let (chunk, place) = split(number);
            let chunk = self.stores[id as usize].chunks[chunk].as_mut();
            let entry = &mut chunk.expect("an entry that was changed is there")[place];
            let now = std::mem::replace(entry, old);
            if now != Kept::NOWHERE && self.pages.is_fresh(now) {
                self.pages.give_back(now);
            }
        }
        self.free_stores.clone_from(&mark.free_stores);
        self.made = mark.made;
        self.mark = Some(mark);
    }

    /// Bytes that the pages in use take.
    pub fn kept_bytes(&self) -> u64 {
        self.pages.kept_bytes()
    }

    /// Bytes of the pages in use, however they are kept.
    pub fn bytes(&self) -> u64 {
        (self.pages.in_use() * PAGE) as u64
    }

    /// Changes the entry of a directory, and gives back the page that stood there, unless the mark needs it.
    fn set(&mut self, id: StoreId, (chunk, place): (usize, usize), to: Kept) {
        let entries = self.stores[id.0 as usize].chunks[chunk].as_mut();
        let entry = &mut entries.expect("an entry that is set is there")[place];
        let old = std::mem::replace(entry, to);
        if old == to {
            return;
        }
        if old != Kept::NOWHERE && self.pages.is_fresh(old) {
            // It stood there since the mark: how it came there has been noted.
            self.pages.give_back(old);
        } else if let Some(mark) = &mut self.mark {
            let number = (chunk * CHUNK + place) as u64;
            mark.changed.push((id.0, number, old));
        }
    }

    /// Where the page `number` of a device is; its place in the directory is made.
    fn entry(&mut self, id: StoreId, number: u64) -> Kept {
        let (chunk, place) = split(number);
        let chunks = &mut self.stores[id.0 as usize].chunks;
        if chunks.len() <= chunk {
            chunks.resize_with(chunk + 1, || None);
        }
        chunks[chunk].get_or_insert_with(|| Box::new([Kept::NOWHERE; CHUNK]))[place]
    }

    /// The page `number` of a device, to read.
    pub fn page(&mut self, id: StoreId, number: u64) -> &[u8; PAGE] {
        let (chunk, place) = split(number);
        let found = self.stores[id.0 as usize].chunks.get(chunk);
        match found.and_then(Option::as_ref).map(|chunk| chunk[place]) {
            None | Some(Kept::NOWHERE) => &ZEROES,
            Some(kept) => self.pages.get(kept, room(&mut self.scratch)),
        }
    }

    /// The page `number` of a device, to write a part of.
    pub fn page_mut(&mut self, id: StoreId, number: u64) -> &mut [u8; PAGE] {
        let entry = self.entry(id, number);
        let mut kept = entry;
        if !entry.is_whole() || !self.pages.is_fresh(entry) {
            let old = *self.page(id, number);
            kept = self.pages.take_whole();
            *self.pages.whole_mut(kept) = old;
            self.set(id, split(number), kept);
        }
        self.pages.whole_mut(kept)
    }

    /// Writes all of the page `number` of a device: what `fill` makes of a page of anything.
    ///
    /// # Errors
    ///
    /// Those of `fill`; nothing is written then.
    pub fn put<E>(
        &mut self,
        id: StoreId,
        number: u64,
        fill: impl FnOnce(&mut [u8; PAGE]) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut scratch = std::mem::take(&mut self.scratch);
        let page = room(&mut scratch);
        let filled = fill(page);
        if filled.is_ok() {
            self.keep(id, number, page);
        }
        self.scratch = scratch;
        filled
    }

    fn keep(&mut self, id: StoreId, number: u64, page: &[u8; PAGE]) {
        let entry = self.entry(id, number);
        let old = (entry != Kept::NOWHERE && self.pages.is_fresh(entry)).then_some(entry);
        let kept = self.pages.keep(page, old);
        self.set(id, split(number), kept);
    }

    /// Zeroes a range; whole pages are given back.
    pub fn zero(&mut self, id: StoreId, mut at: u64, mut len: u64) {
        while len > 0 {
            let (number, offset) = (at / PAGE as u64, (at % PAGE as u64) as usize);
            let here = len.min((PAGE - offset) as u64);
            let (chunk, place) = split(number);
            let chunks = &self.stores[id.0 as usize].chunks;
            if let Some(Some(entries)) = chunks.get(chunk)
                && entries[place] != Kept::NOWHERE
            {
                if here == PAGE as u64 {
                    self.set(id, (chunk, place), Kept::NOWHERE);
                } else {
                    self.page_mut(id, number)[offset..offset + here as usize].fill(0);
                }
            } else if chunks.get(chunk).is_none_or(Option::is_none) {
                let next = (chunk as u64 + 1) * (CHUNK * PAGE) as u64;
                let skipped = (next - at).min(len);
                at += skipped;
                len -= skipped;
                continue;
            }
            at += here;
            len -= here;
        }
    }

    /// Copies out of a device.
    pub fn read(&mut self, id: StoreId, at: u64, to: &mut [u8]) {
        each_page(at, to.len(), |number, offset, from, count| {
            to[from..from + count].copy_from_slice(&self.page(id, number)[offset..offset + count]);
        });
    }

    /// Copies into a device.
    pub fn write(&mut self, id: StoreId, at: u64, bytes: &[u8]) {
        each_page(at, bytes.len(), |number, offset, from, count| {
            let bytes = &bytes[from..from + count];
            match bytes.as_array() {
                Some(whole) => self.keep(id, number, whole),
                None => self.page_mut(id, number)[offset..offset + count].copy_from_slice(bytes),
            }
        });
    }
}

/// A page's room in `scratch`, made once.
fn room(scratch: &mut Vec<u8>) -> &mut [u8; PAGE] {
    scratch.resize(PAGE, 0);
    scratch.first_chunk_mut().expect("it was made long enough")
}

/// Calls `f` with page number, offset in it, offset in the range, and bytes, for each page of a range.
pub fn each_page(at: u64, len: usize, mut f: impl FnMut(u64, usize, usize, usize)) {
    let mut done = 0;
    while done < len {
        let here = at + done as u64;
        let offset = (here % PAGE as u64) as usize;
        let count = (len - done).min(PAGE - offset);
        f(here / PAGE as u64, offset, done, count);
        done += count;
    }
}

fn split(number: u64) -> (usize, usize) {
    (
        (number / CHUNK as u64) as usize,
        (number % CHUNK as u64) as usize,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_the_rest_is_zero() {
        let mut stores = Stores::default();
        let disk = stores.create();
        stores.write(disk, 4000, &[7; 200]);
        let mut back = [1; 300];
        stores.read(disk, 3950, &mut back);
        assert_eq!(back[..50], [0; 50]);
        assert_eq!(back[50..250], [7; 200]);
        assert_eq!(back[250..], [0; 50]);
        stores.zero(disk, 4050, 10 << 20);
        stores.read(disk, 3950, &mut back);
        assert_eq!(back[50..100], [7; 50]);
        assert_eq!(back[100..], [0; 200]);
    }

    #[test]
    fn what_cannot_be_filled_is_not_written() {
        let mut stores = Stores::default();
        let disk = stores.create();
        stores.write(disk, 0, &[3; PAGE]);
        let put = stores.put(disk, 0, |page| {
            page.fill(9);
            Err("gone")
        });
        assert_eq!(put, Err("gone"));
        assert_eq!(stores.page(disk, 0), &[3; PAGE]);
    }

    #[test]
    fn pages_of_a_deleted_disk_are_used_again_and_clean() {
        let mut stores = Stores::default();
        let old = stores.create();
        stores.write(old, 0, &[9; PAGE * 3]);
        stores.delete(old);
        let new = stores.create();
        stores.write(new, 1, &[1]);
        let (ever, _) = stores.pages.ever_and_free();
        assert_eq!((ever, stores.bytes()), (3, PAGE as u64));
        assert_eq!(stores.page(new, 0)[..3], [0, 1, 0]);
    }

    /// A page of payload, to be kept short.
    fn fios(seed: u32) -> [u8; PAGE] {
        let mut page = [0; PAGE];
        fio_model::fill(seed.into(), &mut page);
        page[8..16].copy_from_slice(&u64::from(seed).to_le_bytes());
        page
    }

    #[test]
    fn contents_come_back_as_they_were_marked_however_often() {
        let mut rng = wire::Rng::new(3, wire::Stream::Directed);
        let mut stores = Stores::default();
        let disks = [stores.create(), stores.create()];
        let scribble = |stores: &mut Stores, rng: &mut wire::Rng| {
            let disk = disks[rng.below(2) as usize];
            let (at, len) = (rng.below(12 * PAGE as u32), rng.below(3 * PAGE as u32));
            match rng.below(5) {
                0 => stores.zero(disk, at.into(), len.into()),
                3 => stores.write(disk, u64::from(at) / PAGE as u64 * PAGE as u64, &fios(at)),
                1 => stores.write(disk, u64::from(at) / PAGE as u64 * PAGE as u64, &[7; PAGE]),
                2 if len % 7 == 0 => stores.clear(disk),
                _ => stores.write(disk, at.into(), &vec![len as u8; len as usize]),
            }
        };
        let all = |stores: &mut Stores| {
            let mut bytes = vec![0; 32 * PAGE];
            let (one, two) = bytes.split_at_mut(16 * PAGE);
            stores.read(disks[0], 0, one);
            stores.read(disks[1], 0, two);
            bytes
        };
        for _ in 0..40 {
            for _ in 0..rng.below(9) {
                scribble(&mut stores, &mut rng);
            }
            let marked = all(&mut stores);
            stores.mark();
            let used = stores.bytes();
            for _ in 0..4 {
                for _ in 0..rng.below(9) {
                    scribble(&mut stores, &mut rng);
                }
                let made = stores.create();
                stores.write(made, 5, &[1, 2, 3]);
                if rng.chance(1, 2) {
                    stores.delete(disks[1]);
                }
                stores.rewind();
                assert!(all(&mut stores) == marked);
                assert_eq!(stores.bytes(), used, "no page is lost");
                assert_eq!(stores.create(), made, "numbers come again");
                assert_eq!(stores.page(made, 0)[..8], [0; 8]);
                stores.rewind();
            }
        }
        let (_, mut pages) = stores.pages.ever_and_free();
        let free = pages.len();
        pages.sort_unstable();
        pages.dedup();
        assert_eq!(pages.len(), free, "none is free twice");
        stores.delete_all();
        assert_eq!(stores.bytes(), 0);
    }
}
