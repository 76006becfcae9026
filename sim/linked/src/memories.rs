//! Guest memory that the library knows: under which number, and kept mapped as long as it does.

#![expect(unsafe_code, reason = "memory is handed to C here")]

use std::ffi::c_void;
use std::sync::Arc;

use vm_memory::bitmap::Bitmap;
use vm_memory::{Bytes, GuestMemoryBackend, GuestMemoryRegion, MemoryRegionAddress};
use wire::Memory;

use crate::abi;
use crate::library::{Error, Library};

/// Memories by number. The table of a mark is what the library knows after a rewind to it.
#[derive(Clone, Default)]
pub(crate) struct Memories(Vec<Memory>);

impl Memories {
    /// The number of `memory`, which the library is told if it does not know it.
    ///
    /// # Errors
    ///
    /// Too many memories, or too many regions.
    pub fn number(&mut self, library: &Library, memory: &Memory) -> Result<u32, Error> {
        if let Some(known) = self.0.iter().position(|known| Arc::ptr_eq(known, memory)) {
            return Ok(known as u32);
        }
        let number = self.0.len() as u32;
        let regions: Vec<_> = memory
            .iter()
            .map(|region| abi::Region {
                address: region.start_addr().0,
                bytes: region.len(),
                host: region.get_mmap().as_ptr().cast::<c_void>(),
            })
            .collect();
        // SAFETY: `self` keeps the memory mapped. It is forgotten only by a rewind, after which the library
        // does not know it either. Guests and library share one thread, and both use it as volatile memory.
        unsafe { library.memory(number, &regions) }?;
        self.0.push(memory.clone());
        Ok(number)
    }

    /// The memory of a number.
    pub fn get(&self, number: u32) -> Option<&Memory> {
        self.0.get(number as usize)
    }

    /// All of them.
    pub fn all(&self) -> &[Memory] {
        &self.0
    }

    /// Of the bytes of each.
    pub fn hashes(&self) -> Vec<u64> {
        self.0.iter().map(hash).collect()
    }

    /// Notes what the library writes.
    pub fn wrote(&self, memory: u32, region: u32, offset: u64, bytes: u32) {
        let region = self
            .get(memory)
            .and_then(|memory| memory.iter().nth(region as usize));
        if let Some(region) = region {
            region
                .get_mmap()
                .bitmap()
                .mark_dirty(offset as usize, bytes as usize);
        }
    }
}

/// Of all bytes: a product and a rotation a word.
fn hash(memory: &Memory) -> u64 {
    let mut page = vec![0; 4096];
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for region in memory.iter() {
        for at in (0..region.len()).step_by(page.len()) {
            let bytes = page.len().min((region.len() - at) as usize);
            let read = region.read_slice(&mut page[..bytes], MemoryRegionAddress(at));
            read.expect("the region is mapped");
            for word in page[..bytes].chunks(8) {
                let mut padded = [0; 8];
                padded[..word.len()].copy_from_slice(word);
                hash = (hash ^ u64::from_le_bytes(padded))
                    .wrapping_mul(0x9e37_79b9_7f4a_7c15)
                    .rotate_left(29);
            }
        }
    }
    hash
}
