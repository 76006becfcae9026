//! What is written on the devices: 4 KiB pages, only those that were ever written.
//!
//! Knows bytes and offsets, no blocks, no bdevs. Pages are kept when a store goes, and used again.

/// Bytes in a page.
pub const PAGE: usize = 4096;
/// Pages a chunk of the directory covers.
const CHUNK: usize = 512;
/// Largest device: beyond it, the directory would outgrow what it points to.
pub const STORE_MAX: u64 = 1 << 44;

static ZEROES: [u8; PAGE] = [0; PAGE];

/// Names a device's content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoreId(u32);

/// Pages that are allocated at once.
const SLAB: usize = 512;

/// The contents of all devices.
#[derive(Clone, Debug, Default)]
pub struct Stores {
    stores: Vec<Directory>,
    free_stores: Vec<u32>,
    /// Stores in use or free; more may lie behind them, empty.
    made: u32,
    slabs: Vec<Box<[u8]>>,
    /// Pages that were ever used.
    used: u32,
    free_pages: Vec<u32>,
    mark: Option<Mark>,
}

/// Page numbers + 1, two levels deep; 0 is a page of zeroes.
#[derive(Clone, Debug, Default)]
struct Directory {
    chunks: Vec<Option<Box<[u32; CHUNK]>>>,
}

/// What to put back to have all contents as they were when it was set.
///
/// Pages that were used then are not written: their content goes on in another page.
#[derive(Clone, Debug, Default)]
struct Mark {
    free_stores: Vec<u32>,
    made: u32,
    /// Whether a page has been taken into use since, by page.
    fresh: Vec<bool>,
    /// Entries of directories that have changed: store, page number, and what stood there.
    changed: Vec<(u32, u64, u32)>,
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
                    self.set(id, (chunk, place), 0);
                }
            }
        }
    }

    /// Forgets all devices, and the mark.
    pub fn delete_all(&mut self) {
        self.mark = None;
        for index in 0..self.made {
            self.clear(StoreId(index));
        }
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
            if old != 0 && !kept {
                self.free_pages.push(old - 1);
            }
        }
        mark.fresh.fill(false);
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
            if now != 0 && mark.fresh[now as usize - 1] {
                mark.fresh[now as usize - 1] = false;
                self.free_pages.push(now - 1);
            }
        }
        self.free_stores.clone_from(&mark.free_stores);
        self.made = mark.made;
        self.mark = Some(mark);
    }

    /// Bytes of the pages in use.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        (u64::from(self.used) - self.free_pages.len() as u64) * PAGE as u64
    }

    /// Whether a page may be written or given back: the mark does not need it.
    fn is_free_to_change(&self, page: u32) -> bool {
        let fresh = |mark: &Mark| mark.fresh.get(page as usize).copied().unwrap_or(false);
        self.mark.as_ref().is_none_or(fresh)
    }

    /// Changes the entry of a directory, and gives back the page that stood there.
    fn set(&mut self, id: StoreId, (chunk, place): (usize, usize), to: u32) {
        let entries = self.stores[id.0 as usize].chunks[chunk].as_mut();
        let entry = &mut entries.expect("an entry that is set is there")[place];
        let old = std::mem::replace(entry, to);
        if old == to {
            return;
        }
        let gives_back = old != 0 && self.is_free_to_change(old - 1);
        if gives_back {
            self.free_pages.push(old - 1);
        }
        if let Some(mark) = &mut self.mark {
            if gives_back {
                mark.fresh[old as usize - 1] = false;
                // It stood there since the mark: how it came there has been noted.
            } else {
                let number = (chunk * CHUNK + place) as u64;
                mark.changed.push((id.0, number, old));
            }
        }
    }

    /// The page `number` of a device, to read.
    #[must_use]
    pub fn page(&self, id: StoreId, number: u64) -> &[u8; PAGE] {
        let (chunk, place) = split(number);
        let found = self.stores[id.0 as usize].chunks.get(chunk);
        match found.and_then(Option::as_ref).map(|chunk| chunk[place]) {
            None | Some(0) => &ZEROES,
            Some(page) => self.bytes_of(page - 1),
        }
    }

    /// The page `number` of a device, to write; with `whole`, all of it, whatever it holds now.
    pub fn page_mut(&mut self, id: StoreId, number: u64, whole: bool) -> &mut [u8; PAGE] {
        let (chunk, place) = split(number);
        let chunks = &mut self.stores[id.0 as usize].chunks;
        if chunks.len() <= chunk {
            chunks.resize_with(chunk + 1, || None);
        }
        let entry = chunks[chunk].get_or_insert_with(|| Box::new([0; CHUNK]))[place];
        let mut page = entry.wrapping_sub(1);
        if entry == 0 || !self.is_free_to_change(page) {
            let old = page;
            page = self.take_page(entry == 0 && !whole);
            if entry != 0 && !whole {
                let old = *self.bytes_of(old);
                *self.bytes_of_mut(page) = old;
            }
            self.set(id, (chunk, place), page + 1);
        }
        self.bytes_of_mut(page)
    }

    fn bytes_of(&self, page: u32) -> &[u8; PAGE] {
        let (pages, _) = self.slabs[page as usize / SLAB].as_chunks();
        &pages[page as usize % SLAB]
    }

    fn bytes_of_mut(&mut self, page: u32) -> &mut [u8; PAGE] {
        let (pages, _) = self.slabs[page as usize / SLAB].as_chunks_mut();
        &mut pages[page as usize % SLAB]
    }

    /// A page that nobody uses; of zeroes, if `clean`.
    fn take_page(&mut self, clean: bool) -> u32 {
        let page = if let Some(page) = self.free_pages.pop() {
            if clean {
                self.bytes_of_mut(page).fill(0);
            }
            page
        } else {
            self.used += 1;
            if self.used as usize > self.slabs.len() * SLAB {
                self.slabs.push(vec![0; SLAB * PAGE].into_boxed_slice());
            }
            self.used - 1
        };
        if let Some(mark) = &mut self.mark {
            if mark.fresh.len() <= page as usize {
                mark.fresh.resize(page as usize + 1, false);
            }
            mark.fresh[page as usize] = true;
        }
        page
    }

    /// Zeroes a range; whole pages are given back.
    pub fn zero(&mut self, id: StoreId, mut at: u64, mut len: u64) {
        while len > 0 {
            let (number, offset) = (at / PAGE as u64, (at % PAGE as u64) as usize);
            let here = len.min((PAGE - offset) as u64);
            let (chunk, place) = split(number);
            let chunks = &self.stores[id.0 as usize].chunks;
            if let Some(Some(entries)) = chunks.get(chunk)
                && entries[place] != 0
            {
                if here == PAGE as u64 {
                    self.set(id, (chunk, place), 0);
                } else {
                    self.page_mut(id, number, false)[offset..offset + here as usize].fill(0);
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
    pub fn read(&self, id: StoreId, at: u64, to: &mut [u8]) {
        each_page(at, to.len(), |number, offset, from, count| {
            to[from..from + count].copy_from_slice(&self.page(id, number)[offset..offset + count]);
        });
    }

    /// Copies into a device.
    pub fn write(&mut self, id: StoreId, at: u64, bytes: &[u8]) {
        each_page(at, bytes.len(), |number, offset, from, count| {
            self.page_mut(id, number, count == PAGE)[offset..offset + count]
                .copy_from_slice(&bytes[from..from + count]);
        });
    }
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
    fn pages_of_a_deleted_disk_are_used_again_and_clean() {
        let mut stores = Stores::default();
        let old = stores.create();
        stores.write(old, 0, &[9; PAGE * 3]);
        stores.delete(old);
        let new = stores.create();
        stores.write(new, 1, &[1]);
        assert_eq!((stores.used, stores.bytes()), (3, PAGE as u64));
        assert_eq!(stores.page(new, 0)[..3], [0, 1, 0]);
    }

    #[test]
    fn contents_come_back_as_they_were_marked_however_often() {
        let mut dice = crate::dice::Dice::new(3, 0);
        let mut stores = Stores::default();
        let disks = [stores.create(), stores.create()];
        let scribble = |stores: &mut Stores, dice: &mut crate::dice::Dice| {
            let disk = disks[dice.below(2) as usize];
            let (at, len) = (dice.below(12 * PAGE as u32), dice.below(3 * PAGE as u32));
            match dice.below(5) {
                0 => stores.zero(disk, at.into(), len.into()),
                1 => stores.write(disk, u64::from(at) / PAGE as u64 * PAGE as u64, &[7; PAGE]),
                2 if len % 7 == 0 => stores.clear(disk),
                _ => stores.write(disk, at.into(), &vec![len as u8; len as usize]),
            }
        };
        let all = |stores: &Stores| {
            let mut bytes = vec![0; 32 * PAGE];
            let (one, two) = bytes.split_at_mut(16 * PAGE);
            stores.read(disks[0], 0, one);
            stores.read(disks[1], 0, two);
            bytes
        };
        for _ in 0..40 {
            for _ in 0..dice.below(9) {
                scribble(&mut stores, &mut dice);
            }
            let marked = all(&stores);
            stores.mark();
            let used = stores.bytes();
            for _ in 0..4 {
                for _ in 0..dice.below(9) {
                    scribble(&mut stores, &mut dice);
                }
                let made = stores.create();
                stores.write(made, 5, &[1, 2, 3]);
                if dice.chance(1, 2) {
                    stores.delete(disks[1]);
                }
                stores.rewind();
                assert!(all(&stores) == marked);
                assert_eq!(stores.bytes(), used, "no page is lost");
                assert_eq!(stores.create(), made, "numbers come again");
                assert_eq!(stores.page(made, 0)[..8], [0; 8]);
                stores.rewind();
            }
        }
        let mut pages: Vec<_> = stores.free_pages.clone();
        pages.sort_unstable();
        pages.dedup();
        assert_eq!(pages.len(), stores.free_pages.len(), "none is free twice");
    }
}
