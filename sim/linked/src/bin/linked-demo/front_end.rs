//! A front-end of a few lines: one request at a time on one request queue, and events.

use std::sync::Arc;

use vm_memory::{Bytes, GuestAddress};
use wire::Memory;
use wire::component::GuestMemory;
use wire::message::{ConnId, ToTarget, VhostUser, VringIndex};

const BASE: u64 = 0x10_0000;
const BYTES: usize = 1 << 20;
const RING: u64 = 0x4000;
const SIZE: u16 = 32;
const EVENTS: u64 = 0x2_0000;
const REQUESTS: u64 = 0x4_0000;
const REQUEST: u64 = 0x4000;
const DATA: u64 = 0x1000;

/// The queues: control, event, one for requests.
pub const QUEUES: u16 = 3;

/// One virtio-scsi device on one connection.
pub struct FrontEnd {
    pub conn: ConnId,
    memory: Memory,
    avail: [u16; 3],
    used: [u16; 3],
    /// Requests that were published.
    next: u64,
}

fn ring(queue: u16, part: u64) -> GuestAddress {
    GuestAddress(BASE + u64::from(queue) * RING + part)
}

impl FrontEnd {
    pub fn new(conn: u32) -> Self {
        let memory = GuestMemory::from_ranges(&[(GuestAddress(BASE), BYTES)]).expect("a megabyte");
        Self {
            conn: ConnId(conn),
            memory: Arc::new(memory),
            avail: [0; 3],
            used: [0; 3],
            next: 0,
        }
    }

    pub fn clear(&mut self) {
        let zeroes = vec![0; BYTES];
        self.memory
            .write_slice(&zeroes, GuestAddress(BASE))
            .expect("mapped");
        *self = Self {
            memory: self.memory.clone(),
            ..Self::empty(self.conn, &self.memory)
        };
    }

    fn empty(conn: ConnId, memory: &Memory) -> Self {
        Self {
            conn,
            memory: memory.clone(),
            avail: [0; 3],
            used: [0; 3],
            next: 0,
        }
    }

    fn say(&self, message: VhostUser) -> ToTarget {
        ToTarget::VhostUser {
            conn: self.conn,
            message,
            need_reply: false,
        }
    }

    /// What a boot of QEMU with a guest's driver sends.
    pub fn start(&mut self, controller: &str) -> Vec<ToTarget> {
        self.avail = [0; 3];
        self.used = [0; 3];
        self.memory
            .write_slice(&vec![0; 0x1_0000], GuestAddress(BASE))
            .expect("mapped");
        let mut all = vec![
            ToTarget::Connect {
                conn: self.conn,
                controller: controller.into(),
            },
            self.say(VhostUser::SetOwner),
            // VIRTIO_F_VERSION_1, HOTPLUG, CHANGE
            self.say(VhostUser::SetFeatures(1 << 32 | 1 << 1 | 1 << 2)),
            self.say(VhostUser::SetMemTable(self.memory.clone())),
        ];
        for queue in 0..QUEUES {
            let vring = VringIndex(queue);
            all.push(self.say(VhostUser::SetVringNum {
                vring,
                size: SIZE.into(),
            }));
            all.push(self.say(VhostUser::SetVringBase { vring, base: 0 }));
            all.push(self.say(VhostUser::SetVringAddr {
                vring,
                desc: ring(queue, 0).0,
                avail: ring(queue, 0x1000).0,
                used: ring(queue, 0x2000).0,
            }));
            all.push(self.say(VhostUser::SetVringCall { vring }));
        }
        for event in 0..8 {
            self.descriptor(1, event, EVENTS + u64::from(event) * 16, 16, true, None);
            self.publish(1, event);
        }
        for queue in 0..QUEUES {
            all.push(self.say(VhostUser::SetVringKick {
                vring: VringIndex(queue),
            }));
        }
        all
    }

    /// What QEMU sends when the guest goes down.
    pub fn stop(&self) -> Vec<ToTarget> {
        let base = |queue| {
            self.say(VhostUser::GetVringBase {
                vring: VringIndex(queue),
            })
        };
        (0..QUEUES).map(base).collect()
    }

    fn descriptor(
        &self,
        queue: u16,
        index: u16,
        at: u64,
        len: u32,
        write: bool,
        next: Option<u16>,
    ) {
        let to = GuestAddress(ring(queue, 0).0 + u64::from(index) * 16);
        let flags = u16::from(next.is_some()) | u16::from(write) << 1;
        self.memory.write_obj(BASE + at, to).expect("mapped");
        self.memory
            .write_obj(len, GuestAddress(to.0 + 8))
            .expect("mapped");
        self.memory
            .write_obj(flags, GuestAddress(to.0 + 12))
            .expect("mapped");
        self.memory
            .write_obj(next.unwrap_or(0), GuestAddress(to.0 + 14))
            .expect("mapped");
    }

    fn publish(&mut self, queue: u16, head: u16) {
        let place = &mut self.avail[usize::from(queue)];
        let slot = ring(queue, 0x1004 + 2 * u64::from(*place % SIZE));
        *place = place.wrapping_add(1);
        self.memory.write_obj(head, slot).expect("mapped");
        self.memory
            .write_obj(*place, ring(queue, 0x1002))
            .expect("mapped");
    }

    /// Publishes a command to a target; returns its slot.
    pub fn command(
        &mut self,
        target: u8,
        cdb: &[u8],
        data: &[u8],
        data_in: u32,
    ) -> (u16, ToTarget) {
        let slot = (self.next % 8) as u16;
        self.next += 1;
        let at = REQUESTS + u64::from(slot) * REQUEST;
        let mut header = [0; 51];
        header[..4].copy_from_slice(&[1, target, 0x40, 0]);
        header[8..16].copy_from_slice(&self.next.to_le_bytes());
        header[19..19 + cdb.len()].copy_from_slice(cdb);
        self.memory
            .write_slice(&header, GuestAddress(BASE + at))
            .expect("mapped");
        self.memory
            .write_slice(&[0xee; 108], GuestAddress(BASE + at + 0x100))
            .expect("mapped");
        let head = slot * 4;
        let has_data = !data.is_empty() || data_in > 0;
        self.descriptor(2, head, at, 51, false, Some(head + 1));
        if data.is_empty() {
            self.descriptor(
                2,
                head + 1,
                at + 0x100,
                108,
                true,
                has_data.then_some(head + 2),
            );
            self.descriptor(2, head + 2, at + DATA, data_in, true, None);
        } else {
            self.memory
                .write_slice(data, GuestAddress(BASE + at + DATA))
                .expect("mapped");
            self.descriptor(
                2,
                head + 1,
                at + DATA,
                data.len() as u32,
                false,
                Some(head + 2),
            );
            self.descriptor(2, head + 2, at + 0x100, 108, true, None);
        }
        self.publish(2, head);
        let look = ToTarget::Doorbell {
            conn: self.conn,
            vring: VringIndex(2),
        };
        (slot, look)
    }

    /// Heads that were given back since the last call.
    pub fn taken_back(&mut self, queue: u16) -> Vec<u32> {
        let index: u16 = self.memory.read_obj(ring(queue, 0x2002)).expect("mapped");
        let used = &mut self.used[usize::from(queue)];
        let mut heads = Vec::new();
        while *used != index {
            let at = ring(queue, 0x2004 + 8 * u64::from(*used % SIZE));
            heads.push(self.memory.read_obj(at).expect("mapped"));
            *used = used.wrapping_add(1);
        }
        heads
    }

    /// Response and status of a slot, sense key and code, and the data.
    pub fn response(&self, slot: u16, data: usize) -> (u8, u8, [u8; 3], Vec<u8>) {
        let at = BASE + REQUESTS + u64::from(slot) * REQUEST;
        let mut response = [0; 108];
        self.memory
            .read_slice(&mut response, GuestAddress(at + 0x100))
            .expect("mapped");
        let mut bytes = vec![0; data];
        self.memory
            .read_slice(&mut bytes, GuestAddress(at + DATA))
            .expect("mapped");
        let sense = [response[12 + 2] & 0xf, response[12 + 12], response[12 + 13]];
        (response[11], response[10], sense, bytes)
    }

    /// The events that came, as (kind, target, reason); their buffers are posted again.
    pub fn events(&mut self) -> Vec<(u32, u8, u32)> {
        let heads = self.taken_back(1);
        let mut events = Vec::new();
        for head in heads {
            let mut event = [0; 16];
            let at = GuestAddress(BASE + EVENTS + u64::from(head) * 16);
            self.memory.read_slice(&mut event, at).expect("mapped");
            let word = |at: usize| {
                u32::from_le_bytes([event[at], event[at + 1], event[at + 2], event[at + 3]])
            };
            events.push((word(0), event[5], word(12)));
            self.publish(1, head as u16);
        }
        events
    }
}
