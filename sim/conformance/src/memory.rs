//! A front-end's guest memory: two adjacent regions, rings low in the first, buffers above them.
//!
//! Addresses beyond it are allowed everywhere: what lies outside is not written, and reads say so.

use std::sync::Arc;

use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap, GuestRegionMmap};

use wire::component::Memory;
use wire::dirty::DirtyPages;

/// Bytes of each region; the second follows the first.
pub const REGION_SIZE: u64 = 4 << 20;
/// Where memory ends.
pub const MEMORY_END: u64 = 2 * REGION_SIZE;
/// Queues that a front-end may have.
pub const QUEUES_MAX: u16 = 16;
/// Where the rings of queue 0 are.
const RINGS: u64 = 0x1_0000;
/// What the rings of a queue take: enough for 2048 entries.
const RINGS_EACH: u64 = 0x1_0000;
/// Where buffers begin.
const BUFFERS: u64 = RINGS + QUEUES_MAX as u64 * RINGS_EACH;
/// Where they end: some recorded chains name addresses around the end of the first region.
const BUFFERS_END: u64 = REGION_SIZE - 0x1_0000;

/// A piece of memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Buffer {
    /// Guest physical address.
    pub addr: u64,
    /// Bytes.
    pub len: u32,
}

impl Buffer {
    /// Whether all of it is in memory.
    #[must_use]
    pub fn is_mapped(self) -> bool {
        self.addr
            .checked_add(u64::from(self.len))
            .is_some_and(|end| end <= MEMORY_END)
    }
}

/// A front-end's guest memory.
#[derive(Debug)]
pub struct FrontEndMemory {
    regions: [Arc<GuestRegionMmap<DirtyPages>>; 2],
    whole: Memory,
    next: u64,
}

/// A region of guest memory.
pub type Region = GuestRegionMmap<DirtyPages>;

/// A zeroed region that cannot be shared: at this address, of so many bytes.
///
/// # Errors
///
/// The host has no memory left.
pub fn anonymous(addr: u64, len: usize) -> Result<Region, String> {
    let made = GuestRegionMmap::from_range(GuestAddress(addr), len, None);
    made.map_err(|e| format!("no guest memory: {e}"))
}

impl FrontEndMemory {
    /// Zeroed memory, of regions that `region` makes as [`anonymous`] does.
    ///
    /// # Errors
    ///
    /// The host has none left.
    pub fn new(region: impl Fn(u64, usize) -> Result<Region, String>) -> Result<Self, String> {
        let region = |addr| region(addr, REGION_SIZE as usize).map(Arc::new);
        let regions = [region(0)?, region(REGION_SIZE)?];
        let whole = table(&regions)?;
        Ok(Self {
            regions,
            whole,
            next: BUFFERS,
        })
    }

    /// The memory as a table of its first `regions` regions.
    ///
    /// # Errors
    ///
    /// There are not so many.
    pub fn table(&self, regions: usize) -> Result<Memory, String> {
        match regions {
            2 => Ok(self.whole.clone()),
            1 => table(&self.regions[..1]),
            _ => Err(format!("a memory table of {regions} regions")),
        }
    }

    /// A buffer filled with `fill`. Buffers are not given back: when all has been used, the oldest
    /// is used again.
    ///
    /// # Errors
    ///
    /// It would not fit.
    pub fn allocate(&mut self, len: u32, fill: u8) -> Result<Buffer, String> {
        let size = u64::from(len).next_multiple_of(16).max(16);
        if BUFFERS + size > BUFFERS_END {
            return Err(format!("a buffer of {len} bytes"));
        }
        if self.next + size > BUFFERS_END {
            self.next = BUFFERS;
        }
        let buffer = Buffer {
            addr: self.next,
            len,
        };
        self.next += size;
        self.fill(buffer, fill);
        Ok(buffer)
    }

    /// Sets every byte of a buffer.
    pub fn fill(&self, buffer: Buffer, byte: u8) {
        if buffer.is_mapped() {
            self.write(buffer.addr, &vec![byte; buffer.len as usize]);
        }
    }

    /// Writes what of `bytes` lies in memory.
    pub fn write(&self, addr: u64, bytes: &[u8]) {
        let room = usize::try_from(MEMORY_END.saturating_sub(addr)).unwrap_or(usize::MAX);
        let bytes = &bytes[..bytes.len().min(room)];
        if !bytes.is_empty() {
            self.whole
                .write_slice(bytes, GuestAddress(addr))
                .expect("it lies in memory");
        }
    }

    /// Reads a buffer; `None` if it does not lie in memory.
    #[must_use]
    pub fn read(&self, buffer: Buffer) -> Option<Vec<u8>> {
        if !buffer.is_mapped() {
            return None;
        }
        let mut bytes = vec![0; buffer.len as usize];
        self.whole
            .read_slice(&mut bytes, GuestAddress(buffer.addr))
            .ok()?;
        Some(bytes)
    }

    /// Reads a little-endian number in memory.
    ///
    /// # Panics
    ///
    /// If it does not lie in memory.
    #[must_use]
    pub fn read_u16(&self, addr: u64) -> u16 {
        let mut bytes = [0; 2];
        self.whole
            .read_slice(&mut bytes, GuestAddress(addr))
            .expect("it lies in memory");
        u16::from_le_bytes(bytes)
    }
}

/// Where the rings of a queue begin.
#[must_use]
pub fn rings_of(queue: u16) -> Buffer {
    Buffer {
        addr: RINGS + u64::from(queue) * RINGS_EACH,
        len: RINGS_EACH as u32,
    }
}

fn table(regions: &[Arc<GuestRegionMmap<DirtyPages>>]) -> Result<Memory, String> {
    GuestMemoryMmap::from_arc_regions(regions.to_vec())
        .map(Arc::new)
        .map_err(|e| format!("no guest memory: {e}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_are_apart_and_filled() {
        let mut memory = FrontEndMemory::new(anonymous).unwrap();
        let a = memory.allocate(51, 1).unwrap();
        let b = memory.allocate(108, 0xaa).unwrap();
        assert!(a.addr + 51 <= b.addr);
        assert_eq!(memory.read(b), Some(vec![0xaa; 108]));
        assert!(memory.allocate(4 << 20, 0).is_err());
    }

    #[test]
    fn what_lies_outside_is_not_written_and_not_read() {
        let memory = FrontEndMemory::new(anonymous).unwrap();
        memory.write(MEMORY_END - 2, &[1, 2, 3]);
        memory.write(1 << 40, &[1]);
        let last = Buffer {
            addr: MEMORY_END - 2,
            len: 2,
        };
        assert_eq!(memory.read(last), Some(vec![1, 2]));
        assert_eq!(memory.read(Buffer { len: 3, ..last }), None);
        let far = Buffer {
            addr: u64::MAX,
            len: 2,
        };
        assert!(!far.is_mapped());
    }
}
