//! A ring of a session as SPDK holds it, and the tasks of its heads.
//!
//! `virtio_queue::Queue` keeps and checks addresses and indices, and writes the used flags. Ours are:
//! reading the available index, and up to 32 entries with one read; the rule that an index
//! too far ahead is ignored for ever; and returning heads, as SPDK returns one beyond the table with
//! the id as given, which `Queue::add_used` refuses. Sources: `vhost_vq_avail_ring_get`,
//! `vhost_vq_used_ring_enqueue`, `vhost_vq_used_signal` (lib/vhost/rte_vhost_user.c).

use virtio_queue::{Queue, QueueT};
use vm_memory::GuestAddress;

use super::task::Task;
use wire::access::Access as _;
use wire::bugs::{Bug, Bugs};
use wire::component::GuestMemory;
use wire::ring::{
    AVAIL_F_NO_INTERRUPT, AVAIL_IDX, AVAIL_RING, USED_ELEM_SIZE, USED_IDX, USED_RING,
};

/// `SPDK_VHOST_SCSI_…`: rings above this size are refused at the kick (task pool allocation).
pub const RING_SIZE_MAX: u32 = 1024;
/// Entries taken from a ring in one poll.
pub const POLL_MAX: usize = 32;

/// Where DPDK has a ring, and from where it goes on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Layout {
    pub size: u32,
    pub desc: u64,
    pub avail: u64,
    pub used: u64,
    pub last_avail: u16,
    pub last_used: u16,
}

/// Whether a ring in which every entry is available is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FullRing {
    IsServed,
    /// Its index looks like none is available ([`Bug::FullRingIsEmpty`]).
    IsIgnored,
}

impl FullRing {
    pub const fn with(bugs: Bugs) -> Self {
        if bugs.has(Bug::FullRingIsEmpty) {
            Self::IsIgnored
        } else {
            Self::IsServed
        }
    }
}

/// How a ring is not there under the poller that uses it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lost {
    /// A kick zeroed it (S8).
    Zeroed,
    /// Its memory was unmapped (B33).
    Unmapped,
}

#[derive(Debug)]
pub struct Vring {
    queue: Queue,
    /// Counts the kicks that (re)initialised it: one life each.
    pub life: u32,
    /// It has addresses (`vring.desc != NULL`).
    pub live: bool,
    /// It was taken away under the poller, and not yet set up again.
    pub lost: Option<Lost>,
    /// Calls go to a descriptor that nobody listens to any more (B34).
    pub deaf: bool,
    /// The driver may have published more.
    pub look: bool,
    /// Used entries, or a deliberate spurious call, that the driver was not called for.
    pub calls_due: u32,
    /// Heads to serve again before any other: a target that died had them.
    pub again: Vec<u16>,
    /// One task a head, up to the highest that was used.
    pub tasks: Vec<Task>,
}

impl Clone for Vring {
    fn clone(&self) -> Self {
        Self {
            queue: Queue::try_from(self.queue.state()).expect("a queue has been checked"),
            life: self.life,
            live: self.live,
            lost: self.lost,
            deaf: self.deaf,
            look: self.look,
            calls_due: self.calls_due,
            again: self.again.clone(),
            tasks: self.tasks.clone(),
        }
    }
}

impl Vring {
    /// A ring without addresses.
    pub fn new() -> Self {
        Self {
            queue: Queue::new(RING_SIZE_MAX as u16).expect("a power of two"),
            life: 0,
            live: false,
            lost: None,
            deaf: false,
            look: false,
            calls_due: 0,
            again: Vec::new(),
            tasks: Vec::new(),
        }
    }

    /// A kick (re)initialises the ring. The tasks of the old life are handed back if some are in
    /// flight: SPDK leaks them, and they complete into whatever ring is there then.
    ///
    /// # Errors
    ///
    /// The layout is not one that DPDK would have let through.
    pub fn set_up(&mut self, layout: &Layout) -> Result<Option<Vec<Task>>, ()> {
        let size = u16::try_from(layout.size).map_err(|_| ())?;
        let mut queue = Queue::new(RING_SIZE_MAX as u16).map_err(|_| ())?;
        queue.try_set_size(size).map_err(|_| ())?;
        let set = queue
            .try_set_desc_table_address(GuestAddress(layout.desc))
            .and_then(|()| queue.try_set_avail_ring_address(GuestAddress(layout.avail)))
            .and_then(|()| queue.try_set_used_ring_address(GuestAddress(layout.used)));
        set.map_err(|_| ())?;
        queue.set_next_avail(layout.last_avail);
        queue.set_next_used(layout.last_used);
        queue.set_ready(true);
        self.queue = queue;
        self.life += 1;
        self.live = true;
        self.lost = None;
        self.deaf = false;
        self.look = true;
        self.calls_due = 0;
        let old = if self.tasks.iter().any(|task| task.in_flight) {
            Some(std::mem::take(&mut self.tasks))
        } else {
            None
        };
        self.tasks.iter_mut().for_each(Task::forget);
        self.tasks.truncate(usize::from(size));
        Ok(old)
    }

    /// The task of a head, made if it has had none; `None` beyond the ring.
    pub fn task(&mut self, head: u16) -> Option<&mut Task> {
        let place = usize::from(head);
        if head >= self.size() {
            return None;
        }
        if place >= self.tasks.len() {
            self.tasks.resize_with(place + 1, Task::default);
        }
        self.tasks.get_mut(place)
    }

    /// Entries in the ring.
    pub fn size(&self) -> u16 {
        self.queue.size()
    }

    pub fn table(&self) -> u64 {
        self.queue.desc_table()
    }

    pub fn last_avail(&self) -> u16 {
        self.queue.next_avail()
    }

    pub fn last_used(&self) -> u16 {
        self.queue.next_used()
    }

    /// The driver need not kick: SPDK polls.
    pub fn no_notify(&mut self, memory: &GuestMemory) -> Result<(), virtio_queue::Error> {
        self.queue.disable_notification(memory)
    }

    /// Entries that are available: none if the index is further ahead than the ring is long.
    pub fn available(&self, memory: &GuestMemory, full: FullRing) -> u16 {
        let index_at = self.queue.avail_ring().wrapping_add(AVAIL_IDX);
        let Ok(index) = memory.load_le16(GuestAddress(index_at)) else {
            return 0;
        };
        let count = index.wrapping_sub(self.queue.next_avail());
        if count > self.size() || (full == FullRing::IsIgnored && count == self.size()) {
            return 0;
        }
        count
    }

    /// Takes up to `heads.len()` (at most [`POLL_MAX`]) heads; says how many, and whether more wait.
    pub fn fetch(
        &mut self,
        memory: &GuestMemory,
        full: FullRing,
        heads: &mut [u16],
    ) -> (usize, bool) {
        let available = usize::from(self.available(memory, full));
        let count = available.min(heads.len()).min(POLL_MAX);
        if count == 0 {
            return (0, false);
        }
        let size = usize::from(self.size());
        // Sizes are powers of two (`Queue::try_set_size`): no division, in what every request passes.
        let first = usize::from(self.queue.next_avail()) & (size - 1);
        let before_wrap = count.min(size - first);
        let ring = self.queue.avail_ring().wrapping_add(AVAIL_RING);
        let first_at = GuestAddress(ring.wrapping_add(first as u64 * 2));
        if count == 1 {
            // As for most polls.
            let Ok(head) = memory.read_few(first_at) else {
                return (0, false);
            };
            heads[0] = u16::from_le_bytes(head);
        } else {
            let mut bytes = [0u8; POLL_MAX * 2];
            let (low, high) = bytes[..count * 2].split_at_mut(before_wrap * 2);
            let read = memory.read_at(low, first_at).and_then(|()| {
                if high.is_empty() {
                    Ok(())
                } else {
                    memory.read_at(high, GuestAddress(ring))
                }
            });
            if read.is_err() {
                return (0, false);
            }
            for (head, pair) in heads.iter_mut().zip(bytes[..count * 2].chunks_exact(2)) {
                *head = u16::from_le_bytes([pair[0], pair[1]]);
            }
        }
        self.queue
            .set_next_avail(self.queue.next_avail().wrapping_add(count as u16));
        (count, available > count)
    }

    /// Returns `head`; `false` if the used ring is not in memory.
    pub fn put_used(&mut self, memory: &GuestMemory, head: u16, len: u32) -> bool {
        self.calls_due = self.calls_due.saturating_add(1);
        let used = self.queue.used_ring();
        let next = self.queue.next_used();
        let place = u64::from(next & (self.size() - 1)) * USED_ELEM_SIZE;
        let element = (u64::from(head) | u64::from(len) << 32).to_le_bytes();
        let next = next.wrapping_add(1);
        self.queue.set_next_used(next);
        let element_at = GuestAddress(used.wrapping_add(USED_RING).wrapping_add(place));
        let index_at = GuestAddress(used.wrapping_add(USED_IDX));
        memory.write_few(element, element_at).is_ok() && memory.store_le16(next, index_at).is_ok()
    }

    /// Whether the driver wants no calls now.
    pub fn calls_suppressed(&self, memory: &GuestMemory) -> bool {
        memory
            .load_le16(GuestAddress(self.queue.avail_ring()))
            .is_ok_and(|flags| flags & AVAIL_F_NO_INTERRUPT != 0)
    }
}
