//! The inflight buffer: which heads were taken and not yet returned, for whoever serves the ring
//! after a crash of the target.
//!
//! Layout and rules as in DPDK's vhost_user.c (`rte_vhost_inflight_info_split`,
//! `vhost_check_queue_inflights_split`); fact sheet §4.5. Event queue fetches are not recorded.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend};

use crate::vdev::vring::Layout;
use wire::access::Access as _;
use wire::component::{GuestMemory, Memory};
use wire::message::ConnId;
use wire::ring::USED_IDX;

/// le64 features, le16 version, desc_num, last_inflight_io, used_idx.
const HEADER: u64 = 16;
const LAST_IO: u64 = 12;
const USED: u64 = 14;
/// u8 inflight, 5 of padding, le16 next, le64 counter.
const ENTRY: u64 = 16;
const COUNTER: u64 = 8;
/// `INFLIGHT_ALIGNMENT`.
const ALIGN: u64 = 64;

/// Bytes of a queue's part.
const fn part(size: u16) -> u64 {
    (HEADER + ENTRY * size as u64).next_multiple_of(ALIGN)
}

/// A fresh buffer; `None` if there is nothing to make one for.
pub fn buffer(queues: u16, size: u16) -> Option<Memory> {
    let len = usize::try_from(part(size) * u64::from(queues)).ok()?;
    if len == 0 || size == 0 {
        return None;
    }
    let memory = GuestMemory::from_ranges(&[(GuestAddress(0), len)]).ok()?;
    Some(Arc::new(memory))
}

#[derive(Clone, Debug)]
struct Buffer {
    conn: ConnId,
    memory: Memory,
    queues: u16,
    size: u16,
    counter: u64,
}

impl Buffer {
    fn at(&self, vring: u16, offset: u64) -> GuestAddress {
        GuestAddress(u64::from(vring) * part(self.size) + offset)
    }

    fn entry(&self, vring: u16, head: u16) -> GuestAddress {
        self.at(vring, HEADER + ENTRY * u64::from(head))
    }

    fn put16(&self, at: GuestAddress, value: u16) {
        let wrote = self.memory.write_at(&value.to_le_bytes(), at).is_ok();
        assert!(wrote, "the buffer was checked to be long enough");
    }
}

/// The buffers that front-ends handed over.
#[derive(Clone, Debug, Default)]
pub struct Inflights {
    buffers: Vec<Buffer>,
}

impl Inflights {
    /// Hands over the buffers.
    pub fn memories(&self, f: impl FnMut(&Memory)) {
        self.buffers.iter().map(|buffer| &buffer.memory).for_each(f);
    }

    pub fn forget(&mut self, conn: ConnId) {
        self.buffers.retain(|buffer| buffer.conn != conn);
    }

    /// SET_INFLIGHT_FD; `false` if the buffer is too short.
    pub fn set(&mut self, conn: ConnId, queues: u16, size: u16, memory: Memory) -> bool {
        let len = part(size) * u64::from(queues);
        let fits = len == 0 || memory.last_addr().0 >= len - 1;
        self.forget(conn);
        if fits {
            self.buffers.push(Buffer {
                conn,
                memory,
                queues,
                size,
                counter: 0,
            });
        }
        fits
    }

    fn of(&mut self, conn: ConnId, vring: u16) -> Option<&mut Buffer> {
        self.buffers
            .iter_mut()
            .find(|buffer| buffer.conn == conn && vring < buffer.queues)
    }

    /// A head was taken.
    pub fn fetched(&mut self, conn: ConnId, vring: u16, head: u16) {
        let Some(buffer) = self.of(conn, vring) else {
            return;
        };
        if head >= buffer.size {
            return;
        }
        let mut entry = [0; ENTRY as usize];
        entry[0] = 1;
        entry[COUNTER as usize..].copy_from_slice(&buffer.counter.to_le_bytes());
        buffer.counter += 1;
        let at = buffer.entry(vring, head);
        let wrote = buffer.memory.write_few(entry, at).is_ok();
        assert!(wrote, "the buffer was checked to be long enough");
    }

    /// A head was returned; `used` is the used index after it.
    pub fn returned(&mut self, conn: ConnId, vring: u16, head: u16, used: u16) {
        let Some(buffer) = self.of(conn, vring) else {
            return;
        };
        if head >= buffer.size {
            return;
        }
        let wrote = buffer
            .memory
            .write_few([0], buffer.entry(vring, head))
            .is_ok();
        assert!(wrote, "the buffer was checked to be long enough");
        // LAST_IO and USED stand side by side.
        let [head, used] = [head.to_le_bytes(), used.to_le_bytes()];
        let last = [head[0], head[1], used[0], used[1]];
        let at = buffer.at(vring, LAST_IO);
        let wrote = buffer.memory.write_few(last, at).is_ok();
        assert!(wrote, "the buffer was checked to be long enough");
    }

    /// A ring is set up: says the heads to serve again, oldest first, and corrects where the ring
    /// goes on.
    pub fn begin_ring(
        &mut self,
        conn: ConnId,
        vring: u16,
        layout: &mut Layout,
        memory: Option<&GuestMemory>,
    ) -> Vec<u16> {
        let (Some(buffer), Some(memory)) = (self.of(conn, vring), memory) else {
            return Vec::new();
        };
        let used = memory
            .load::<u16>(
                GuestAddress(layout.used.wrapping_add(USED_IDX)),
                Ordering::Acquire,
            )
            .map_or(0, u16::from_le);
        let read16 = |at| {
            let mut bytes = [0; 2];
            let read = buffer.memory.read_at(&mut bytes, at).is_ok();
            assert!(read, "the buffer was checked to be long enough");
            u16::from_le_bytes(bytes)
        };
        if read16(buffer.at(vring, USED)) != used {
            // It died between publishing the used index and clearing the entry.
            let last = read16(buffer.at(vring, LAST_IO));
            if last < buffer.size {
                let cleared = buffer
                    .memory
                    .write_at(&[0], buffer.entry(vring, last))
                    .is_ok();
                assert!(cleared, "the buffer was checked to be long enough");
            }
            buffer.put16(buffer.at(vring, USED), used);
        }
        let mut heads = Vec::new();
        for head in 0..buffer.size {
            let mut entry = [0; ENTRY as usize];
            let read = buffer.memory.read_at(&mut entry, buffer.entry(vring, head));
            if read.is_ok() && entry[0] == 1 {
                let mut counter = [0; 8];
                counter.copy_from_slice(&entry[COUNTER as usize..]);
                heads.push((u64::from_le_bytes(counter), head));
            }
        }
        heads.sort_unstable();
        if let Some((newest, _)) = heads.last() {
            buffer.counter = newest + 1;
        }
        layout.last_used = used;
        layout.last_avail = used.wrapping_add(heads.len() as u16);
        heads.into_iter().map(|(_, head)| head).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_taken_and_not_returned_is_served_again_oldest_first() {
        let ring = GuestMemory::from_ranges(&[(GuestAddress(0), 0x1000)]).expect("a page");
        let shared = buffer(3, 8).expect("a buffer");
        let mut before = Inflights::default();
        assert!(before.set(ConnId(1), 3, 8, shared.clone()));
        for head in [5, 2, 7] {
            before.fetched(ConnId(1), 2, head);
        }
        before.returned(ConnId(1), 2, 2, 1);
        ring.write_slice(&1u16.to_le_bytes(), GuestAddress(USED_IDX))
            .expect("in memory");
        let mut after = Inflights::default();
        assert!(after.set(ConnId(9), 3, 8, shared));
        let mut layout = Layout::default();
        let again = after.begin_ring(ConnId(9), 2, &mut layout, Some(&ring));
        assert_eq!(again, [5, 7]);
        assert_eq!((layout.last_used, layout.last_avail), (1, 3));
    }

    #[test]
    fn a_buffer_that_is_too_short_is_refused() {
        let mut inflights = Inflights::default();
        let short = buffer(1, 8).expect("a buffer");
        assert!(!inflights.set(ConnId(1), 2, 8, short));
        assert!(buffer(0, 8).is_none());
    }
}
