//! Descriptor chains, walked in SPDK's order of checks, and guest addresses cut into pieces.
//!
//! Malformed chains must get SPDK's answers, which `virtio_queue::DescriptorChain` does not give: it
//! hides where a chain broke. Sources: `vhost_vq_get_desc`, `vhost_vring_desc_get_next`,
//! `vhost_vring_desc_payload_to_iov`, `vhost_gpa_to_vva` (lib/vhost/rte_vhost_user.c).

use vm_memory::{GuestAddress, GuestMemoryRegion};

use wire::access::{Access as _, region};
use wire::component::GuestMemory;
use wire::ring::{DESC_F_INDIRECT, DESC_F_NEXT, DESC_F_WRITE, DESC_SIZE, Desc};

/// `SPDK_VHOST_IOVS_MAX`: pieces of payload in a request; with more it is rejected.
pub const IOVS_MAX: usize = 129;

/// A piece of payload in one region of guest memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Iov {
    pub addr: u64,
    pub len: u32,
}

/// The chain breaks a rule: it is answered as such, and the ring goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed(pub &'static str);

/// Whether `len` bytes from `addr` lie in one region (`vhost_gpa_to_vva`).
pub fn contiguous(memory: &GuestMemory, addr: u64, len: u64) -> bool {
    region(memory, addr).is_some_and(|(region, offset)| {
        len > 0 && offset <= region.len().saturating_sub(len) && len <= region.len()
    })
}

/// A walk along one chain.
#[derive(Clone, Copy, Debug)]
pub struct Walk<'m> {
    memory: &'m GuestMemory,
    table: u64,
    entries: u32,
    /// The descriptor it stands on.
    pub desc: Desc,
}

impl<'m> Walk<'m> {
    /// Begins at `head` of the ring's table; enters an indirect table if the head is one.
    ///
    /// # Errors
    ///
    /// The indirect table is not in one region, or has no whole entry (SPDK reads the first entry
    /// nevertheless, and then refuses the request all the same).
    #[inline(always)]
    pub fn begin(
        memory: &'m GuestMemory,
        table: u64,
        entries: u16,
        head: u16,
    ) -> Result<Self, Malformed> {
        let desc = read(memory, table, u32::from(head))?;
        let mut walk = Self {
            memory,
            table,
            entries: u32::from(entries),
            desc,
        };
        if desc.flags & DESC_F_INDIRECT != 0 {
            if !contiguous(memory, desc.addr, u64::from(desc.len)) {
                return Err(Malformed("the indirect table is not in one region"));
            }
            walk.table = desc.addr;
            walk.entries = desc.len / DESC_SIZE as u32;
            if walk.entries == 0 {
                return Err(Malformed("the indirect table has no entry"));
            }
            walk.desc = read(memory, walk.table, 0)?;
        }
        Ok(walk)
    }

    /// Whether the device may write here.
    pub const fn writable(&self) -> bool {
        self.desc.flags & DESC_F_WRITE != 0
    }

    /// Entries of the table it walks: more steps than these are a loop.
    pub const fn entries(&self) -> u32 {
        self.entries
    }

    /// Steps on; `false` at the end of the chain.
    ///
    /// # Errors
    ///
    /// `next` lies beyond the table.
    #[inline]
    pub fn next(&mut self) -> Result<bool, Malformed> {
        if self.desc.flags & DESC_F_NEXT == 0 {
            return Ok(false);
        }
        let next = u32::from(self.desc.next);
        if next >= self.entries {
            return Err(Malformed("next is beyond the table"));
        }
        self.desc = read(self.memory, self.table, next)?;
        Ok(true)
    }

    /// Cuts the descriptor's buffer at region borders and adds the pieces.
    ///
    /// # Errors
    ///
    /// More than [`IOVS_MAX`] pieces, an empty buffer, or one outside guest memory.
    pub fn payload(&self, iovs: &mut Vec<Iov>) -> Result<(), Malformed> {
        let (mut addr, mut left) = (self.desc.addr, u64::from(self.desc.len));
        loop {
            if iovs.len() >= IOVS_MAX {
                return Err(Malformed("SPDK_VHOST_IOVS_MAX(129) reached"));
            }
            let Some((region, offset)) = region(self.memory, addr) else {
                return Err(Malformed("the payload is not in guest memory"));
            };
            let piece = left.min(region.len() - offset);
            if piece == 0 {
                return Err(Malformed("the payload is empty"));
            }
            iovs.push(Iov {
                addr,
                len: piece as u32,
            });
            left -= piece;
            if left == 0 {
                return Ok(());
            }
            addr = addr
                .checked_add(piece)
                .ok_or(Malformed("the payload wraps around"))?;
        }
    }

    /// Whether the descriptor's first `len` bytes can be used as one structure.
    pub fn holds(&self, len: u32) -> bool {
        contiguous(self.memory, self.desc.addr, u64::from(len))
    }
}

#[inline]
fn read(memory: &GuestMemory, table: u64, index: u32) -> Result<Desc, Malformed> {
    let addr = table
        .checked_add(u64::from(index) * DESC_SIZE)
        .ok_or(Malformed("the table wraps around"))?;
    let bytes = memory
        .read_few(GuestAddress(addr))
        .map_err(|_| Malformed("the table is not in guest memory"))?;
    Ok(Desc::from_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use vm_memory::Bytes;

    use super::*;

    fn memory() -> GuestMemory {
        GuestMemory::from_ranges(&[
            (GuestAddress(0), 0x1_0000),
            (GuestAddress(0x1_0000), 0x1_0000),
        ])
        .expect("two small regions")
    }

    fn put(memory: &GuestMemory, index: u64, addr: u64, len: u32, flags: u16, next: u16) {
        let desc = Desc {
            addr,
            len,
            flags,
            next,
        };
        memory
            .write_slice(&desc.to_bytes(), GuestAddress(index * DESC_SIZE))
            .expect("in memory");
    }

    #[test]
    fn a_buffer_over_two_regions_is_two_pieces() {
        let memory = memory();
        put(&memory, 0, 0xf000, 0x2000, 0, 0);
        let walk = Walk::begin(&memory, 0, 4, 0).expect("well-formed");
        let mut iovs = Vec::new();
        walk.payload(&mut iovs).expect("mapped");
        let pieces: Vec<_> = iovs.iter().map(|iov| (iov.addr, iov.len)).collect();
        assert_eq!(pieces, [(0xf000, 0x1000), (0x1_0000, 0x1000)]);
        assert!(!walk.holds(0x2000));
    }

    #[test]
    fn payload_outside_memory_or_empty_is_malformed() {
        let memory = memory();
        for (addr, len) in [(0x2_0000, 16), (0x1_fff0, 32), (0x100, 0), (u64::MAX, 2)] {
            put(&memory, 0, addr, len, 0, 0);
            let walk = Walk::begin(&memory, 0, 4, 0).expect("well-formed");
            assert!(walk.payload(&mut Vec::new()).is_err(), "{addr:#x} {len}");
        }
    }

    #[test]
    fn next_beyond_the_table_is_malformed() {
        let memory = memory();
        put(&memory, 0, 0x100, 16, DESC_F_NEXT, 4);
        let mut walk = Walk::begin(&memory, 0, 4, 0).expect("well-formed");
        assert_eq!(walk.next(), Err(Malformed("next is beyond the table")));
    }

    #[test]
    fn an_indirect_table_is_walked_and_must_lie_in_one_region() {
        let memory = memory();
        put(&memory, 0, 0x1000, 32, DESC_F_INDIRECT, 0);
        put(&memory, 0x100, 0x2000, 51, DESC_F_NEXT, 1);
        put(&memory, 0x101, 0x3000, 108, DESC_F_WRITE, 0);
        let mut walk = Walk::begin(&memory, 0, 4, 0).expect("well-formed");
        assert_eq!(walk.desc.len, 51);
        assert_eq!(walk.next(), Ok(true));
        assert!(walk.writable());
        assert_eq!(walk.next(), Ok(false));
        put(&memory, 1, 0xfff8, 32, DESC_F_INDIRECT, 0);
        assert!(Walk::begin(&memory, 0, 4, 1).is_err());
    }
}
