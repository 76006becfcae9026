//! Where things lie in a guest's memory: rings, request headers, buffers.
//!
//! Addresses only; knows no driver. Linux allocates these from its page allocator, so the addresses
//! mean nothing; they are fixed here, so that a run touches the same pages every time.

use wire::message::VringIndex;

/// vCPUs; each has a request queue of each device.
pub const CPUS: usize = 2;
/// Entries of every ring (QEMU's `virtqueue_size` default; SPDK takes up to 1024).
pub const RING_SIZE: u16 = 128;
/// Requests that a disk has at most: its queue depth, `cmd_per_lun` of QEMU's configuration space.
pub const QUEUE_DEPTH: u32 = 128;
/// Event buffers that Linux posts (`VIRTIO_SCSI_EVENT_LEN`).
pub const EVENT_BUFFERS: u16 = 8;
/// Kernel flows of a device that can be under way at once: the host scan, eight event handlers and
/// their disks' probes.
pub const FLOWS_MAX: usize = 32;
/// fio threads that a guest can run at once; more cannot start (ENOMEM).
pub const THREADS_MAX: usize = 10;
/// Buffers of one fio thread; a thread that wants more cannot start (ENOMEM).
pub const THREAD_BYTES: u64 = 64 << 20;
/// Bytes of a kernel buffer.
pub const FLOW_BYTES: u64 = 4096;

/// Bytes kept for one ring: descriptors 2048, available 262, used 1030, rounded up.
const RING_BYTES: u64 = 4096;
/// Bytes kept for one head: header 51, response 108, an indirect table of 3 descriptors.
const HEAD_BYTES: u64 = 256;
/// Offset of the response in a head's bytes, after the header and the table.
pub const RESPONSE_AT: u64 = 128;
/// Offset of the indirect table in a head's bytes.
pub const TABLE_AT: u64 = 64;
/// Bytes between event buffers.
const EVENT_BYTES: u64 = 64;
/// Task management requests (TMFs) that can be under way at once on a device.
pub const TMFS_MAX: usize = 8;
/// Bytes kept for one: request 24, response 1.
const TMF_BYTES: u64 = 64;
/// Rings of a device: control, event, two request queues.
pub const RINGS: u16 = 4;
/// Devices that a guest has at most: a CPU notes the calls that it has not handled in 64 bits, one a ring.
///
/// # Divergence from Linux
///
/// Linux has no such limit, and a machine of QEMU's has room for more on its PCI bus.
pub const HBAS_MAX: usize = 64 / RINGS as usize;
/// Bytes kept for one device.
const HBA_BYTES: u64 = 0x8_0000;

/// The layout of one device.
#[derive(Clone, Copy, Debug)]
pub struct HbaLayout {
    base: u64,
}

impl HbaLayout {
    /// The layout of the `hba`th device. The first page stays unused: address 0 is nobody's.
    pub fn new(hba: usize) -> Self {
        Self {
            base: 0x1_0000 + hba as u64 * HBA_BYTES,
        }
    }

    /// Addresses of a ring: descriptor table, available ring, used ring.
    pub fn ring(self, vring: VringIndex) -> (u64, u64, u64) {
        let desc = self.base + u64::from(vring.0) * RING_BYTES;
        (desc, desc + 2048, desc + 2560)
    }

    /// The event buffer `n`.
    pub fn event(self, n: u16) -> u64 {
        self.base + u64::from(RINGS) * RING_BYTES + u64::from(n) * EVENT_BYTES
    }

    /// The task management request `n`; its response stands right behind it (`TMF_SIZE`).
    pub fn tmf(self, n: usize) -> u64 {
        self.event(EVENT_BUFFERS) + n as u64 * TMF_BYTES
    }

    fn head(self, vring: VringIndex, head: u16) -> u64 {
        let queue = u64::from(vring.0.saturating_sub(2)) * u64::from(RING_SIZE);
        self.base + 0x5000 + (queue + u64::from(head)) * HEAD_BYTES
    }

    /// The request header of a head.
    pub fn header(self, vring: VringIndex, head: u16) -> u64 {
        self.head(vring, head)
    }

    /// The response of a head.
    pub fn response(self, vring: VringIndex, head: u16) -> u64 {
        self.head(vring, head) + RESPONSE_AT
    }

    /// The indirect table of a head.
    pub fn table(self, vring: VringIndex, head: u16) -> u64 {
        self.head(vring, head) + TABLE_AT
    }

    /// The buffer of the kernel flow `n`.
    pub fn flow(self, n: usize) -> u64 {
        self.base + 0x2_0000 + n as u64 * FLOW_BYTES
    }
}

/// The buffers of the fio thread in slot `n` of a guest with `hbas` devices.
pub fn thread_buffers(hbas: usize, n: usize) -> u64 {
    0x1_0000 + hbas as u64 * HBA_BYTES + n as u64 * THREAD_BYTES
}

/// Bytes of memory of a guest with `hbas` devices. Only what is touched costs anything.
pub fn memory_bytes(hbas: usize) -> u64 {
    thread_buffers(hbas, THREADS_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_overlaps() {
        let hba = HbaLayout::new(0);
        let last = VringIndex(RINGS - 1);
        assert!(hba.ring(last).2 + 6 + 8 * u64::from(RING_SIZE) <= hba.event(0));
        assert!(hba.tmf(TMFS_MAX) <= hba.header(VringIndex(2), 0));
        assert!(hba.response(last, RING_SIZE - 1) + 108 <= hba.flow(0));
        assert!(hba.flow(FLOWS_MAX) <= HbaLayout::new(1).ring(VringIndex(0)).0);
        assert!(HbaLayout::new(2).ring(VringIndex(0)).0 <= thread_buffers(2, 0));
    }
}
