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

/// The contents of all devices.
#[derive(Debug, Default)]
pub struct Stores {
    stores: Vec<Directory>,
    free_stores: Vec<u32>,
    pages: Vec<Box<[u8; PAGE]>>,
    free_pages: Vec<u32>,
}

/// Page numbers + 1, two levels deep; 0 is a page of zeroes.
#[derive(Debug, Default)]
struct Directory {
    chunks: Vec<Option<Box<[u32; CHUNK]>>>,
}

impl Stores {
    /// A device full of zeroes.
    pub fn create(&mut self) -> StoreId {
        if let Some(index) = self.free_stores.pop() {
            return StoreId(index);
        }
        self.stores.push(Directory::default());
        StoreId((self.stores.len() - 1) as u32)
    }

    /// Forgets a device's content.
    pub fn delete(&mut self, id: StoreId) {
        self.clear(id);
        self.free_stores.push(id.0);
    }

    /// Fills a device with zeroes.
    pub fn clear(&mut self, id: StoreId) {
        for chunk in self.stores[id.0 as usize].chunks.drain(..).flatten() {
            self.free_pages
                .extend(chunk.iter().filter(|page| **page != 0).map(|page| page - 1));
        }
    }

    /// Forgets all devices.
    pub fn delete_all(&mut self) {
        for index in 0..self.stores.len() as u32 {
            self.clear(StoreId(index));
        }
        self.stores.clear();
        self.free_stores.clear();
    }

    /// The page `number` of a device, to read.
    #[must_use]
    pub fn page(&self, id: StoreId, number: u64) -> &[u8; PAGE] {
        let (chunk, place) = split(number);
        let found = self.stores[id.0 as usize].chunks.get(chunk);
        match found.and_then(Option::as_ref).map(|chunk| chunk[place]) {
            None | Some(0) => &ZEROES,
            Some(page) => &self.pages[page as usize - 1],
        }
    }

    /// The page `number` of a device, to write.
    pub fn page_mut(&mut self, id: StoreId, number: u64) -> &mut [u8; PAGE] {
        let (chunk, place) = split(number);
        let chunks = &mut self.stores[id.0 as usize].chunks;
        if chunks.len() <= chunk {
            chunks.resize_with(chunk + 1, || None);
        }
        let entry = &mut chunks[chunk].get_or_insert_with(|| Box::new([0; CHUNK]))[place];
        if *entry == 0 {
            let page = self.free_pages.pop().unwrap_or(self.pages.len() as u32);
            if page as usize == self.pages.len() {
                self.pages.push(Box::new([0; PAGE]));
            } else {
                self.pages[page as usize].fill(0);
            }
            *entry = page + 1;
        }
        &mut self.pages[*entry as usize - 1]
    }

    /// Zeroes a range; whole pages are given back.
    pub fn zero(&mut self, id: StoreId, mut at: u64, mut len: u64) {
        while len > 0 {
            let (number, offset) = (at / PAGE as u64, (at % PAGE as u64) as usize);
            let here = len.min((PAGE - offset) as u64);
            let (chunk, place) = split(number);
            let chunks = &mut self.stores[id.0 as usize].chunks;
            if let Some(Some(chunk)) = chunks.get_mut(chunk)
                && chunk[place] != 0
            {
                if here == PAGE as u64 {
                    self.free_pages.push(chunk[place] - 1);
                    chunk[place] = 0;
                } else {
                    self.pages[chunk[place] as usize - 1][offset..offset + here as usize].fill(0);
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
            self.page_mut(id, number)[offset..offset + count]
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
        assert_eq!(stores.pages.len(), 3);
        assert_eq!(stores.page(new, 0)[..3], [0, 1, 0]);
    }
}
