//! Guest memory as it was at a moment: the pages that held something.
//!
//! Costs what was written, not what is mapped. Knows pages, not what is in them.

use vm_memory::{GuestAddress, GuestMemoryBackend, GuestMemoryRegion};

use wire::access::Access as _;
use wire::component::Memory;
use wire::dirty::PAGE;
use wire::invariant::check_all;

/// The content of a memory.
#[derive(Debug)]
pub struct Frozen {
    memory: Memory,
    /// Guest addresses of the pages that held something, ascending.
    at: Vec<u64>,
    /// Their bytes.
    bytes: Vec<[u8; PAGE]>,
}

impl Frozen {
    /// The content of `memory` now. Only the last one taken of a memory can be put back.
    pub fn new(memory: &Memory) -> Self {
        let mut frozen = Self {
            memory: memory.clone(),
            at: Vec::new(),
            bytes: Vec::new(),
        };
        for region in memory.iter() {
            let touched = region.get_mmap();
            for page in touched.bitmap().ever() {
                let mut bytes = [0; PAGE];
                let (addr, len) = place(region, page);
                read(memory, &mut bytes[..len], addr);
                if bytes != [0; PAGE] {
                    frozen.at.push(addr.0);
                    frozen.bytes.push(bytes);
                }
            }
            touched.bitmap().take(|_| {});
        }
        check_all(Self::INVARIANTS, &frozen);
        frozen
    }

    /// Whether it is the content of `memory`.
    pub fn is_of(&self, memory: &Memory) -> bool {
        std::sync::Arc::ptr_eq(&self.memory, memory)
    }

    /// Puts back the pages that were written since; `pages` is room for their numbers.
    pub fn put_back(&self, pages: &mut Vec<usize>) {
        for region in self.memory.iter() {
            let touched = region.get_mmap();
            pages.clear();
            touched.bitmap().take(|page| pages.push(page));
            for page in &*pages {
                let (addr, len) = place(region, *page);
                let found = self.at.binary_search(&addr.0);
                let bytes = found.map_or(&[0; PAGE], |found| &self.bytes[found]);
                let wrote = self.memory.write_at(&bytes[..len], addr);
                wrote.expect("what was touched is mapped");
            }
            touched.bitmap().take(|_| {});
        }
    }
}

/// What must hold of it ([`Frozen::INVARIANTS`]): each says what is wrong, if anything is.
impl Frozen {
    pub(super) fn out_of_order(&self) -> Option<String> {
        let ascends = self.at.is_sorted_by(|a, b| a < b) && self.at.len() == self.bytes.len();
        (!ascends).then(|| format!("{} pages have {} bytes", self.at.len(), self.bytes.len()))
    }

    pub(super) fn empty_page(&self) -> Option<String> {
        let empty = self.bytes.iter().position(|bytes| *bytes == [0; PAGE])?;
        Some(format!("that at {:#x} is one", self.at[empty]))
    }

    pub(super) fn different_page(&self) -> Option<String> {
        for region in self.memory.iter() {
            for page in region.get_mmap().bitmap().ever() {
                let (addr, len) = place(region, page);
                let kept = self.at.binary_search(&addr.0);
                let kept = kept.map_or(&[0; PAGE], |found| &self.bytes[found]);
                let mut bytes = [0; PAGE];
                read(&self.memory, &mut bytes[..len], addr);
                if bytes[..len] != kept[..len] {
                    return Some(format!("the page at {:#x} has others", addr.0));
                }
            }
        }
        None
    }

    pub(super) fn dirty_page(&self) -> Option<String> {
        let mut dirty = self
            .memory
            .iter()
            .map(|region| region.get_mmap().bitmap().dirty());
        let pages = dirty.find(|pages| *pages > 0)?;
        Some(format!("{pages} pages of a region are"))
    }
}

#[cfg(test)]
impl Frozen {
    /// Spoils it so that a certain invariant is broken.
    pub(super) fn spoil(&mut self, invariant: &str) {
        match invariant {
            "frozen_pages_ascend" => self.at.reverse(),
            "frozen_pages_hold_something" => self.bytes[0] = [0; PAGE],
            "a_restored_page_is_as_it_was" => self.bytes[0][0] ^= 1,
            "a_restored_memory_is_clean" => {
                let at = GuestAddress(self.at[0]);
                let byte: [u8; 1] = self.memory.read_few(at).expect("it is mapped");
                self.memory.write_few(byte, at).expect("it is mapped");
            }
            other => panic!("nothing is known that breaks {other}"),
        }
    }
}

/// Pages of a memory that were ever written.
pub fn pages_touched(memory: &Memory) -> u64 {
    let regions = memory.iter().map(|region| region.get_mmap());
    regions
        .map(|region| region.bitmap().ever().count() as u64)
        .sum()
}

/// Where a page of a region lies, and how long it is: the last one may be cut.
fn place(region: &impl GuestMemoryRegion, page: usize) -> (GuestAddress, usize) {
    let offset = (page * PAGE) as u64;
    let len = (region.len() - offset).min(PAGE as u64) as usize;
    (GuestAddress(region.start_addr().0 + offset), len)
}

fn read(memory: &Memory, bytes: &mut [u8], addr: GuestAddress) {
    let read = memory.read_at(bytes, addr);
    read.expect("what was touched is mapped");
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use wire::component::GuestMemory;

    #[test]
    fn what_was_written_since_is_as_it_was_and_the_last_page_may_be_short() {
        let ranges = [(GuestAddress(0), 0x3000), (GuestAddress(0x8000), 0x1100)];
        let memory: Memory = Arc::new(GuestMemory::from_ranges(&ranges).expect("two regions"));
        let write = |at: u64, byte: u8| {
            let wrote = memory.write_at(&[byte; 8], GuestAddress(at));
            wrote.expect("mapped");
        };
        let all = || {
            let mut bytes = vec![0; 0x3000];
            read(&memory, &mut bytes, GuestAddress(0));
            let mut high = vec![0; 0x1100];
            read(&memory, &mut high, GuestAddress(0x8000));
            bytes.extend(high);
            bytes
        };
        write(0x1ffc, 1);
        write(0x90f8, 2);
        let frozen = Frozen::new(&memory);
        let before = all();
        let mut pages = Vec::new();
        for at in [0, 0x1ffc, 0x2000, 0x8ffc, 0x90f8, 0] {
            write(at, 9);
            frozen.put_back(&mut pages);
            assert!(all() == before, "{at:#x}");
        }
        write(0, 3);
        let later = Frozen::new(&memory);
        let before = all();
        write(0, 4);
        write(0x1000, 4);
        later.put_back(&mut pages);
        assert!(all() == before);
    }
}
