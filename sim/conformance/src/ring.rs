//! The driver's side of a split virtqueue, as the recorder drove it.
//!
//! Descriptors are taken lowest free first, so that heads are those of the recording. Knows no
//! request: it hands out descriptors, publishes heads and reads used entries.

use std::collections::BTreeSet;

use super::memory::{FrontEndMemory, rings_of};
use wire::ring::{
    AVAIL_F_NO_INTERRUPT, AVAIL_IDX, AVAIL_RING, DESC_SIZE, Desc, USED_ELEM_SIZE, USED_IDX,
    USED_RING,
};

/// A ring, driver's side.
#[derive(Debug)]
pub struct DriverRing {
    /// Entries.
    pub size: u16,
    /// Address of the descriptor table.
    pub desc: u64,
    /// Address of the available ring.
    pub avail: u64,
    /// Address of the used ring.
    pub used: u64,
    free: BTreeSet<u16>,
    avail_idx: u16,
    used_seen: u16,
}

impl DriverRing {
    /// The ring of a queue, empty.
    #[must_use]
    pub fn new(queue: u16, size: u16) -> Self {
        let desc = rings_of(queue).addr;
        let avail = desc + DESC_SIZE * u64::from(size);
        let used = (avail + AVAIL_RING + 2 * u64::from(size) + 2).next_multiple_of(4);
        Self {
            size,
            desc,
            avail,
            used,
            free: (0..size).collect(),
            avail_idx: 0,
            used_seen: 0,
        }
    }

    /// Begins a new life: memory zeroed, every descriptor free.
    pub fn reset(&mut self, memory: &FrontEndMemory, queue: u16) {
        memory.fill(rings_of(queue), 0);
        self.free = (0..self.size).collect();
        self.avail_idx = 0;
        self.used_seen = 0;
    }

    /// Takes the `count` lowest free descriptors.
    ///
    /// # Errors
    ///
    /// There are not so many.
    pub fn take(&mut self, count: usize) -> Result<Vec<u16>, String> {
        if self.free.len() < count {
            return Err(format!(
                "{count} descriptors wanted, {} free",
                self.free.len()
            ));
        }
        Ok((0..count).filter_map(|_| self.free.pop_first()).collect())
    }

    /// Gives descriptors back.
    pub fn give(&mut self, descs: &[u16]) {
        self.free.extend(descs);
    }

    /// Writes a descriptor.
    pub fn write_desc(&self, memory: &FrontEndMemory, index: u16, desc: Desc) {
        memory.write(self.desc + DESC_SIZE * u64::from(index), &desc.to_bytes());
    }

    /// Puts a head into the available ring, without moving the index.
    pub fn offer(&mut self, memory: &FrontEndMemory, head: u16, jump: u16) {
        let slot = u64::from(self.avail_idx % self.size);
        memory.write(self.avail + AVAIL_RING + 2 * slot, &head.to_le_bytes());
        self.avail_idx = self.avail_idx.wrapping_add(jump);
    }

    /// Shows the target what was offered.
    pub fn publish(&self, memory: &FrontEndMemory) {
        memory.write(self.avail + AVAIL_IDX, &self.avail_idx.to_le_bytes());
    }

    /// The available index.
    #[must_use]
    pub fn avail_idx(&self) -> u16 {
        self.avail_idx
    }

    /// The used index that the target wrote last.
    #[must_use]
    pub fn used_idx(&self, memory: &FrontEndMemory) -> u16 {
        memory.read_u16(self.used + USED_IDX)
    }

    /// The next used entry that was not looked at yet: head and length.
    pub fn next_used(&mut self, memory: &FrontEndMemory) -> Option<(u32, u32)> {
        if self.used_idx(memory) == self.used_seen {
            return None;
        }
        let entry = self.used + USED_RING + USED_ELEM_SIZE * u64::from(self.used_seen % self.size);
        self.used_seen = self.used_seen.wrapping_add(1);
        let half = |at| u32::from(memory.read_u16(at));
        let word = |at| half(at) | half(at + 2) << 16;
        Some((word(entry), word(entry + 4)))
    }

    /// The target's flags.
    #[must_use]
    pub fn used_flags(&self, memory: &FrontEndMemory) -> u16 {
        memory.read_u16(self.used)
    }

    /// The driver's flag against calls.
    pub fn set_no_interrupt(&self, memory: &FrontEndMemory, on: bool) {
        let flags = if on { AVAIL_F_NO_INTERRUPT } else { 0 };
        memory.write(self.avail, &flags.to_le_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::super::memory::anonymous;
    use super::*;

    #[test]
    fn the_lowest_free_descriptor_is_taken_first() {
        let mut ring = DriverRing::new(2, 8);
        assert_eq!(ring.take(3).unwrap(), [0, 1, 2]);
        assert_eq!(ring.take(2).unwrap(), [3, 4]);
        ring.give(&[1, 0]);
        assert_eq!(ring.take(3).unwrap(), [0, 1, 5]);
        assert!(ring.take(3).is_err());
    }

    #[test]
    fn used_entries_are_read_once_each_and_the_index_wraps() {
        let memory = FrontEndMemory::new(anonymous).unwrap();
        let mut ring = DriverRing::new(0, 4);
        for n in 0u16..6 {
            let slot = ring.used + USED_RING + USED_ELEM_SIZE * u64::from(n % 4);
            memory.write(slot, &u32::from(n).to_le_bytes());
            memory.write(slot + 4, &7u32.to_le_bytes());
            memory.write(ring.used + USED_IDX, &(n + 1).to_le_bytes());
            assert_eq!(ring.next_used(&memory), Some((u32::from(n), 7)));
            assert_eq!(ring.next_used(&memory), None);
        }
    }

    #[test]
    fn the_largest_rings_fit_their_place() {
        let ring = DriverRing::new(0, 2048);
        let end = ring.used + USED_RING + USED_ELEM_SIZE * 2048 + 2;
        assert!(end <= rings_of(1).addr);
    }
}
