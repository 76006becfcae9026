//! The driver's side of a split virtqueue, with Linux's policies (drivers/virtio/virtio_ring.c).
//!
//! A free list that is last in, first out; one ring entry a request when indirect descriptors were
//! negotiated; heads are used again at once. Knows bytes in memory, not what a request is.
//!
//! # Divergence from Linux
//!
//! An interrupt drains the ring in one turn, so NO_INTERRUPT, which Linux sets while it drains, could
//! not be seen by anybody and is written only where a script asks for it.

use vm_memory::GuestAddress;

use wire::access::{Access as _, Few};
use wire::component::Memory;
use wire::ring::{
    AVAIL_F_NO_INTERRUPT, AVAIL_IDX, AVAIL_RING, DESC_F_INDIRECT, DESC_F_NEXT, DESC_F_WRITE,
    DESC_SIZE, Desc, USED_ELEM_SIZE, USED_IDX, USED_RING,
};

/// Words, of eight bytes, of the longest indirect table.
pub const TABLE_WORDS: usize = 3 * DESC_SIZE as usize / 8;

/// Why a used entry could not be taken: the driver gives the queue up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotAHead {
    /// The id in the used entry.
    pub id: u32,
}

/// A piece of a request.
#[derive(Clone, Copy, Debug)]
pub struct Segment {
    /// Guest address.
    pub addr: u64,
    /// Bytes.
    pub len: u32,
    /// The device writes it.
    pub write: bool,
}

/// One ring, seen from the driver.
#[derive(Clone, Debug)]
pub struct DriverRing {
    memory: Memory,
    desc: u64,
    avail: u64,
    used: u64,
    size: u16,
    /// The descriptor behind each: in its chain, or in the free list.
    next: Vec<u16>,
    /// Descriptors of each head's chain; 0: it is no head in flight.
    chained: Vec<u16>,
    /// The first free descriptor.
    free: u16,
    /// Free descriptors.
    free_count: u16,
    avail_idx: u16,
    used_idx: u16,
    broken: bool,
    no_interrupt: bool,
}

impl DriverRing {
    /// A ring of `size` entries at these addresses, empty.
    ///
    /// # Panics
    ///
    /// If the addresses are not in `memory`, or the size is no power of two: a bug of the layout.
    pub fn new(memory: Memory, (desc, avail, used): (u64, u64, u64), size: u16) -> Self {
        assert!(size.is_power_of_two(), "virtio 1.x §2.7");
        let ring = Self {
            memory,
            desc,
            avail,
            used,
            size,
            next: (1..=size).collect(),
            chained: vec![0; usize::from(size)],
            free: 0,
            free_count: size,
            avail_idx: 0,
            used_idx: 0,
            broken: false,
            no_interrupt: false,
        };
        ring.put(avail, [0; 4]);
        ring.put(used, [0; 4]);
        ring
    }

    fn put(&self, addr: u64, bytes: impl Few) {
        self.memory
            .write_few(bytes, GuestAddress(addr))
            .expect("rings lie in guest memory");
    }

    /// Whether the driver has given the queue up.
    pub fn is_broken(&self) -> bool {
        self.broken
    }

    /// Whether a request with an indirect table finds room.
    pub fn has_room(&self) -> bool {
        self.free_count > 0
    }

    /// Whether as many descriptors are free; of more than the ring has, whether all are.
    pub fn has_room_for(&self, descriptors: u32) -> bool {
        u32::from(self.free_count) >= descriptors.min(u32::from(self.size))
    }

    /// The head that the next request gets.
    pub fn next_head(&self) -> Option<u16> {
        self.has_room().then_some(self.free)
    }

    /// Makes `segments` available: through the indirect table at `table`, which holds them already
    /// ([`DriverRing::table`]), or as a direct chain if there is none. Returns the head; `None` if there
    /// is no room.
    pub fn add(&mut self, segments: &[Segment], table: Option<u64>) -> Option<u16> {
        let needed = if table.is_some() { 1 } else { segments.len() };
        if usize::from(self.free_count) < needed {
            return None;
        }
        let head = self.take_free();
        self.chained[usize::from(head)] = needed as u16;
        if let Some(table) = table {
            let len = (segments.len() as u64 * DESC_SIZE) as u32;
            let desc = Desc {
                addr: table,
                len,
                flags: DESC_F_INDIRECT,
                next: 0,
            };
            self.put(self.desc + u64::from(head) * DESC_SIZE, desc.to_bytes());
        } else {
            self.write_chain(head, segments);
        }
        let at = self.avail + AVAIL_RING + 2 * u64::from(self.avail_idx & (self.size - 1));
        self.put(at, head.to_le_bytes());
        self.avail_idx = self.avail_idx.wrapping_add(1);
        let index = GuestAddress(self.avail + AVAIL_IDX);
        self.memory
            .store_le16(self.avail_idx, index)
            .expect("rings lie in guest memory");
        Some(head)
    }

    /// Makes the last descriptor of a direct chain point to itself.
    pub fn loop_back(&self, head: u16) {
        let links = 1..self.chained[usize::from(head)];
        let last = links.fold(head, |at, _| self.next[usize::from(at)]);
        let at = GuestAddress(self.desc + u64::from(last) * DESC_SIZE);
        let bytes = self.memory.read_few(at).expect("rings lie in guest memory");
        let desc = Desc::from_bytes(bytes);
        let desc = Desc {
            flags: desc.flags | DESC_F_NEXT,
            next: last,
            ..desc
        };
        self.put(at.0, desc.to_bytes());
    }

    /// Whether the driver wants no calls.
    pub fn set_no_interrupt(&mut self, on: bool) {
        self.no_interrupt = on;
        let flags = if on { AVAIL_F_NO_INTERRUPT } else { 0 };
        self.put(self.avail, flags.to_le_bytes());
    }

    /// Whether there are used entries that the driver was not called for, though it wants calls.
    pub fn is_uncalled(&self) -> bool {
        !self.broken && !self.no_interrupt && self.has_used()
    }

    /// Whether there are used entries that the driver has not taken.
    pub fn has_used(&self) -> bool {
        self.used_to() != self.used_idx
    }

    /// Used entries that the driver has not taken and that name no head in flight: their ids.
    pub fn strangers(&self) -> impl Iterator<Item = u32> {
        let unseen = self.used_to().wrapping_sub(self.used_idx).min(self.size);
        let ids = (0..unseen).map(|n| self.used_entry(self.used_idx.wrapping_add(n)).0);
        ids.filter(|id| self.descriptors(*id) == 0)
    }

    /// The device's index of the used ring.
    pub fn used_to(&self) -> u16 {
        self.memory
            .load_le16(GuestAddress(self.used + USED_IDX))
            .expect("rings lie in guest memory")
    }

    /// The id and the length in a used entry.
    fn used_entry(&self, index: u16) -> (u32, u32) {
        let at = self.used + USED_RING + USED_ELEM_SIZE * u64::from(index & (self.size - 1));
        let entry: [u8; 8] = self
            .memory
            .read_few(GuestAddress(at))
            .expect("rings lie in guest memory");
        let id = u32::from_le_bytes([entry[0], entry[1], entry[2], entry[3]]);
        let len = u32::from_le_bytes([entry[4], entry[5], entry[6], entry[7]]);
        (id, len)
    }

    /// Descriptors of a request in flight; 0: that is no head in flight.
    fn descriptors(&self, id: u32) -> u16 {
        self.chained.get(id as usize).copied().unwrap_or(0)
    }

    /// Whether this is a head in flight.
    pub fn is_in_flight(&self, head: u16) -> bool {
        self.descriptors(u32::from(head)) > 0
    }

    /// Whether each descriptor is in the free list or in the chain of one head in flight.
    pub fn owns_each_once(&self) -> bool {
        let mut owned = vec![false; usize::from(self.size)];
        let mut own = |first: u16, count: u16| {
            let mut at = first;
            (0..count).all(|_| {
                let taken = owned.get_mut(usize::from(at));
                let is_new = taken.is_some_and(|taken| !std::mem::replace(taken, true));
                at = self.next.get(usize::from(at)).copied().unwrap_or(at);
                is_new
            })
        };
        let heads = (0..self.size).filter(|head| self.is_in_flight(*head));
        let mut heads = heads.map(|head| (head, self.chained[usize::from(head)]));
        own(self.free, self.free_count)
            && heads.all(|(head, count)| own(head, count))
            && owned.iter().all(|owned| *owned)
    }

    #[cfg(test)]
    pub fn spoil_free_list(&mut self) {
        self.free_count -= 1;
    }

    /// Takes a free descriptor; there is one. What is taken in a row is a chain already.
    fn take_free(&mut self) -> u16 {
        let taken = self.free;
        self.free = self.next[usize::from(taken)];
        self.free_count -= 1;
        taken
    }

    /// An indirect table of up to three segments, in little-endian words.
    ///
    /// # Panics
    ///
    /// If there are more: a request has a header, a response and one buffer.
    pub fn table(segments: &[Segment]) -> [u64; TABLE_WORDS] {
        let mut words = [0; TABLE_WORDS];
        let (descriptors, _) = words.as_chunks_mut();
        for (n, segment) in segments.iter().enumerate() {
            let last = n + 1 == segments.len();
            descriptors[n] = Self::descriptor(segment, (!last).then_some(n as u16 + 1)).to_words();
        }
        words
    }

    fn write_chain(&mut self, head: u16, segments: &[Segment]) {
        let mut this = head;
        for (n, segment) in segments.iter().enumerate() {
            let next = (n + 1 < segments.len()).then(|| self.take_free());
            let desc = Self::descriptor(segment, next);
            self.put(self.desc + u64::from(this) * DESC_SIZE, desc.to_bytes());
            if let Some(next) = next {
                this = next;
            }
        }
    }

    fn descriptor(segment: &Segment, next: Option<u16>) -> Desc {
        let write = if segment.write { DESC_F_WRITE } else { 0 };
        let more = if next.is_some() { DESC_F_NEXT } else { 0 };
        let (addr, len) = (segment.addr, segment.len);
        Desc {
            addr,
            len,
            flags: write | more,
            next: next.unwrap_or(0),
        }
    }

    /// Takes the next used entry: its head and length. `None` if there is none.
    ///
    /// # Errors
    ///
    /// The id is not that of a head in flight: the queue is broken from then on.
    pub fn pop_used(&mut self) -> Result<Option<(u16, u32)>, NotAHead> {
        if self.broken {
            return Ok(None);
        }
        if !self.has_used() {
            return Ok(None);
        }
        let (id, len) = self.used_entry(self.used_idx);
        self.used_idx = self.used_idx.wrapping_add(1);
        let chained = self.descriptors(id);
        if chained == 0 {
            self.broken = true;
            return Err(NotAHead { id });
        }
        self.chained[id as usize] = 0;
        let last = (1..chained).fold(id as u16, |at, _| self.next[usize::from(at)]);
        self.next[usize::from(last)] = self.free;
        self.free = id as u16;
        self.free_count += chained;
        Ok(Some((id as u16, len)))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use vm_memory::{Bytes, GuestMemoryMmap};

    use super::*;

    fn ring(size: u16) -> (Memory, DriverRing) {
        let memory = Arc::new(GuestMemoryMmap::from_ranges(&[(GuestAddress(0), 0x8000)]).unwrap());
        let ring = DriverRing::new(memory.clone(), (0x1000, 0x2000, 0x3000), size);
        (memory, ring)
    }

    fn use_up(memory: &Memory, nth: u16, id: u32) {
        let at = 0x3000 + 4 + 8 * u64::from(nth % 4);
        memory
            .write_slice(&id.to_le_bytes(), GuestAddress(at))
            .unwrap();
        memory
            .write_slice(&(nth + 1).to_le_bytes(), GuestAddress(0x3002))
            .unwrap();
    }

    const READ: [Segment; 2] = [
        Segment {
            addr: 0x100,
            len: 51,
            write: false,
        },
        Segment {
            addr: 0x200,
            len: 108,
            write: true,
        },
    ];

    #[test]
    fn a_full_ring_has_no_room_and_a_freed_head_comes_again_at_once() {
        let (memory, mut ring) = ring(4);
        let heads: Vec<_> = (0..4).map(|_| ring.add(&READ, Some(0x4000))).collect();
        assert_eq!(heads, [Some(0), Some(1), Some(2), Some(3)]);
        assert_eq!(ring.add(&READ, Some(0x4000)), None);
        use_up(&memory, 0, 2);
        assert_eq!(ring.pop_used(), Ok(Some((2, 0))));
        assert_eq!(ring.add(&READ, Some(0x4000)), Some(2));
    }

    #[test]
    fn without_indirect_a_request_takes_an_entry_a_segment() {
        let (memory, mut ring) = ring(4);
        assert_eq!(ring.add(&READ, None), Some(0));
        let mut bytes = [0; 16];
        memory.read_slice(&mut bytes, GuestAddress(0x1000)).unwrap();
        let desc = Desc::from_bytes(bytes);
        assert_eq!((desc.flags, desc.next, desc.len), (DESC_F_NEXT, 1, 51));
        assert_eq!(ring.add(&READ, None), Some(2));
        assert_eq!(ring.add(&READ, None), None);
    }

    #[test]
    fn a_used_id_that_is_no_head_breaks_the_queue() {
        let (memory, mut ring) = ring(4);
        ring.add(&READ, Some(0x4000));
        use_up(&memory, 0, 3);
        assert_eq!(ring.pop_used(), Err(NotAHead { id: 3 }));
        assert!(ring.is_broken());
        assert_eq!(ring.pop_used(), Ok(None));
    }
}
