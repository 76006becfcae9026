//! A connection as DPDK sees it: what the front-end has said of its rings and its memory.
//!
//! Source: DPDK's vhost_user.c.

use std::sync::atomic::Ordering;

use vm_memory::{Bytes, GuestAddress};

use super::FEATURES;
use crate::handles::VdevId;
use crate::vdev::chain::contiguous;
use crate::vdev::vring::Layout;
use wire::component::Memory;
use wire::message::{ConnId, VringIndex};
use wire::ring::USED_IDX;
use wire::scsi::feature;

/// `SPDK_VHOST_MAX_VQUEUES`.
const RINGS_MAX: u16 = 256;
/// The most entries that DPDK lets a ring have.
const DPDK_RING_SIZE_MAX: u32 = 32_768;

#[derive(Clone, Copy, Debug, Default)]
pub struct Ring {
    pub layout: Layout,
    pub mapped: bool,
    pub kicked: bool,
}

/// A connection as DPDK sees it.
#[derive(Clone, Debug)]
pub struct Device {
    pub conn: ConnId,
    pub vdev: VdevId,
    /// The controller's creation number: its place may be another's by now.
    pub number: u8,
    pub vid: u32,
    pub features: u64,
    pub memory: Option<Memory>,
    /// `VIRTIO_DEV_RUNNING`.
    pub running: bool,
    pub status: u64,
    pub rings: Vec<Ring>,
}

impl Device {
    pub fn ring(&mut self, vring: VringIndex) -> Option<&mut Ring> {
        if vring.0 >= RINGS_MAX {
            return None;
        }
        let index = usize::from(vring.0);
        if self.rings.len() <= index {
            self.rings.resize_with(index + 1, Ring::default);
        }
        self.rings.get_mut(index)
    }

    // Each of these says whether DPDK takes it.

    pub fn set_features(&mut self, features: u64) -> bool {
        let known = features & !FEATURES == 0;
        let changed = (features ^ self.features) & !feature::LOG_ALL != 0;
        let ok = known && !(self.running && changed);
        if ok {
            self.features = features;
        }
        ok
    }

    pub fn set_ring_size(&mut self, vring: VringIndex, size: u32) -> bool {
        let fits = size.is_power_of_two() && size <= DPDK_RING_SIZE_MAX;
        let ring = self.ring(vring);
        ring.is_some_and(|ring| {
            ring.layout.size = size;
            fits
        })
    }

    pub fn set_ring_base(&mut self, vring: VringIndex, base: u16) -> bool {
        let ring = self.ring(vring);
        ring.is_some_and(|ring| {
            (ring.layout.last_avail, ring.layout.last_used) = (base, base);
            true
        })
    }

    pub fn set_ring_addresses(&mut self, vring: VringIndex, [desc, avail, used]: [u64; 3]) -> bool {
        let memory = self.memory.clone();
        let ring = self.ring(vring).zip(memory);
        ring.is_some_and(|(ring, memory)| {
            (ring.layout.desc, ring.layout.avail, ring.layout.used) = (desc, avail, used);
            ring.mapped = mapped(&memory, &ring.layout);
            if ring.mapped {
                trust_used_index(&memory, &mut ring.layout);
            }
            true
        })
    }
}

/// `translate_ring_addresses`: where the driver's used index and the base differ, "some packets maybe
/// resent", and the used index counts.
fn trust_used_index(memory: &Memory, layout: &mut Layout) {
    let at = GuestAddress(layout.used + USED_IDX);
    if let Ok(used) = memory.load::<u16>(at, Ordering::Acquire) {
        let used = u16::from_le(used);
        if used != layout.last_used {
            (layout.last_used, layout.last_avail) = (used, used);
        }
    }
}

/// Whether a ring lies in memory as DPDK maps it: each part in one region.
pub fn mapped(memory: &Memory, layout: &Layout) -> bool {
    let size = u64::from(layout.size);
    size > 0
        && layout.desc.is_multiple_of(16)
        && layout.avail.is_multiple_of(2)
        && layout.used.is_multiple_of(4)
        && contiguous(memory, layout.desc, 16 * size)
        && contiguous(memory, layout.avail, 6 + 2 * size)
        && contiguous(memory, layout.used, 6 + 8 * size)
}
