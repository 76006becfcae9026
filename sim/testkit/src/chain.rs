//! A chain of descriptors as a device takes it apart: request, response, and the data between.
//!
//! Written from virtio 1.x §2.7 and §5.6.6.1; shares no code with the model target. What a driver gets wrong is an
//! error, never a panic.

use vm_memory::GuestAddress;

use wire::access::{Access as _, Unmapped};
use wire::component::GuestMemory;
use wire::ring::{AVAIL_IDX, AVAIL_RING, DESC_F_INDIRECT, DESC_F_NEXT, DESC_F_WRITE, DESC_SIZE};
use wire::ring::{Desc, USED_ELEM_SIZE, USED_IDX, USED_RING};
use wire::scsi::{CDB_SIZE, REQUEST_CDB, REQUEST_SIZE, RESPONSE_SIZE};

/// A ring, as its device sees it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ring {
    pub desc: u64,
    pub avail: u64,
    pub used: u64,
    pub size: u16,
    /// The next available entry.
    pub next: u16,
    /// The next used entry.
    pub done: u16,
    pub runs: bool,
}

/// A request, and where its answer goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain {
    pub head: u16,
    pub lun: [u8; 8],
    pub cdb: [u8; CDB_SIZE],
    /// Data that the device reads: address and length.
    pub out: Vec<(u64, u32)>,
    /// Room for data that the device writes.
    pub room: Vec<(u64, u32)>,
    response: u64,
}

impl Chain {
    /// Bytes of data that the device may write.
    #[must_use]
    pub fn room_bytes(&self) -> u32 {
        self.room.iter().map(|(_, len)| len).sum()
    }
}

impl Ring {
    /// The head of the next available chain, if the driver has published one.
    ///
    /// # Errors
    ///
    /// The ring is not in guest memory.
    pub fn take(&mut self, memory: &GuestMemory) -> Result<Option<u16>, Unmapped> {
        let published = memory.load_le16(GuestAddress(self.avail + AVAIL_IDX))?;
        if !self.runs || self.size == 0 || published == self.next {
            return Ok(None);
        }
        let at = self.avail + AVAIL_RING + 2 * u64::from(self.next % self.size);
        self.next = self.next.wrapping_add(1);
        memory.load_le16(GuestAddress(at)).map(Some)
    }

    /// Gives a chain back, with `len` bytes written.
    ///
    /// # Errors
    ///
    /// The ring is not in guest memory.
    pub fn give_back(&mut self, memory: &GuestMemory, head: u16, len: u32) -> Result<(), Unmapped> {
        let at = self.used + USED_RING + USED_ELEM_SIZE * u64::from(self.done % self.size.max(1));
        let element = u64::from(head) | u64::from(len) << 32;
        memory.write_at(&element.to_le_bytes(), GuestAddress(at))?;
        self.done = self.done.wrapping_add(1);
        memory.store_le16(self.done, GuestAddress(self.used + USED_IDX))
    }

    /// The buffers of a chain in order: what the device reads, and what it writes.
    ///
    /// # Errors
    ///
    /// A descriptor is not in guest memory, or the chain is longer than the ring.
    pub fn buffers(
        &self,
        memory: &GuestMemory,
        head: u16,
    ) -> Result<[Vec<(u64, u32)>; 2], Unmapped> {
        let read = |table: u64, n: u16| {
            let at = GuestAddress(table + DESC_SIZE * u64::from(n));
            memory.read_few(at).map(Desc::from_bytes)
        };
        let (mut table, mut n) = (self.desc, head);
        let first = read(table, n)?;
        if first.flags & DESC_F_INDIRECT != 0 {
            (table, n) = (first.addr, 0);
        }
        let mut buffers = [Vec::new(), Vec::new()];
        for _ in 0..self.size {
            let desc = read(table, n)?;
            let writes = usize::from(desc.flags & DESC_F_WRITE != 0);
            buffers[writes].push((desc.addr, desc.len));
            if desc.flags & DESC_F_NEXT == 0 {
                return Ok(buffers);
            }
            n = desc.next;
        }
        Err(Unmapped)
    }

    /// The request at `head`.
    ///
    /// # Errors
    ///
    /// It is not in guest memory, or has no room for header or response.
    pub fn request(&self, memory: &GuestMemory, head: u16) -> Result<Chain, Unmapped> {
        let [mut out, mut room] = self.buffers(memory, head)?;
        let fits = |list: &[(u64, u32)], bytes| list.first().is_some_and(|(_, len)| *len >= bytes);
        if !fits(&out, REQUEST_SIZE) || !fits(&room, RESPONSE_SIZE) {
            return Err(Unmapped);
        }
        let mut header = [0; REQUEST_SIZE as usize];
        memory.read_at(&mut header, GuestAddress(out.remove(0).0))?;
        let mut lun = [0; 8];
        lun.copy_from_slice(&header[..8]);
        let mut cdb = [0; CDB_SIZE];
        cdb.copy_from_slice(&header[REQUEST_CDB..]);
        Ok(Chain {
            head,
            lun,
            cdb,
            out,
            response: room.remove(0).0,
            room,
        })
    }

    /// Writes data and response of a request, and gives it back.
    ///
    /// # Errors
    ///
    /// Some of it is not in guest memory.
    pub fn answer(
        &mut self,
        memory: &GuestMemory,
        chain: &Chain,
        data: &[u8],
        response: [u8; RESPONSE_SIZE as usize],
    ) -> Result<(), Unmapped> {
        let mut rest = data;
        for (addr, len) in &chain.room {
            let (now, later) = rest.split_at(rest.len().min(*len as usize));
            memory.write_at(now, GuestAddress(*addr))?;
            rest = later;
        }
        memory.write_at(&response, GuestAddress(chain.response))?;
        self.give_back(memory, chain.head, RESPONSE_SIZE + data.len() as u32)
    }
}
