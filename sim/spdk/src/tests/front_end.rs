//! The driver of one connection in tests: rings, requests, events, in its own memory.
//!
//! Knows the rig that it runs on; does nothing that a test does not ask for.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

use super::rig::{CTRL, EVENT, LINUX, REQ, RING, Rig};
use wire::component::{Component, Memory};
use wire::message::{ConnId, ToTarget, VhostUser, VringIndex};
use wire::ring::{DESC_F_NEXT, DESC_F_WRITE, Desc};

const RING_BASE: u64 = 0x1_0000;
const BUFFERS: u64 = 0x10_0000;
const BUFFER: u64 = 0x4000;
const DATA: u64 = 0x1000;

/// A driver of one connection.
pub struct FrontEnd {
    pub conn: u32,
    pub memory: Memory,
    avail: BTreeMap<u16, u16>,
    seen: BTreeMap<u16, u16>,
    heads: u16,
}

/// A used element and the response: head, used.len, the response's bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Used {
    pub head: u16,
    pub len: u32,
    pub response: Vec<u8>,
}

impl Used {
    pub fn byte(&self) -> u8 {
        self.response[11]
    }

    pub fn status(&self) -> u8 {
        self.response[10]
    }

    /// Key, ASC, ASCQ.
    pub fn sense(&self) -> (u8, u8, u8) {
        (self.response[14], self.response[24], self.response[25])
    }

    pub fn resid(&self) -> u32 {
        u32::from_le_bytes([
            self.response[4],
            self.response[5],
            self.response[6],
            self.response[7],
        ])
    }

    pub fn untouched(&self) -> bool {
        self.response.iter().all(|byte| *byte == 0xaa)
    }
}

impl FrontEnd {
    /// Connects to "vhost.0" and starts with one request queue and eight event buffers.
    pub fn start(rig: &mut Rig, conn: u32) -> Self {
        let mut front = Self::connect(rig, conn);
        front.start_again(rig, LINUX, 1);
        for _ in 0..8 {
            front.post_event(rig, 16);
        }
        rig.ms(20);
        front
    }

    pub fn connect(rig: &mut Rig, conn: u32) -> Self {
        let regions = [(GuestAddress(0), 4 << 20), (GuestAddress(4 << 20), 4 << 20)];
        let memory = GuestMemoryMmap::from_ranges(&regions).expect("8 MiB");
        let connect = ToTarget::Connect {
            conn: ConnId(conn),
            controller: "vhost.0".into(),
        };
        rig.target.input(rig.now, connect);
        rig.ms(1);
        Self {
            conn,
            memory: Arc::new(memory),
            avail: BTreeMap::new(),
            seen: BTreeMap::new(),
            heads: 0,
        }
    }

    fn ring(vring: u16) -> u64 {
        RING_BASE * (1 + u64::from(vring))
    }

    /// What a driver sends to start, with fresh rings.
    pub fn start_again(&mut self, rig: &mut Rig, features: u64, queues: u16) {
        self.avail.clear();
        self.seen.clear();
        for vring in 0..2 + queues {
            let zero = [0; 0x3000];
            self.memory
                .write_slice(&zero, GuestAddress(Self::ring(vring)))
                .expect("in memory");
        }
        rig.vhost_user(self.conn, VhostUser::SetFeatures(features));
        rig.vhost_user(self.conn, VhostUser::SetMemTable(self.memory.clone()));
        for vring in 0..2 + queues {
            self.kick(rig, vring, 0);
        }
        rig.ms(10);
    }

    pub fn kick(&mut self, rig: &mut Rig, vring: u16, base: u16) {
        let index = VringIndex(vring);
        let at = Self::ring(vring);
        let messages = [
            VhostUser::SetVringNum {
                vring: index,
                size: RING.into(),
            },
            VhostUser::SetVringBase { vring: index, base },
            VhostUser::SetVringAddr {
                vring: index,
                desc: at,
                avail: at + 0x1000,
                used: at + 0x2000,
            },
            VhostUser::SetVringKick { vring: index },
            VhostUser::SetVringCall { vring: index },
        ];
        for message in messages {
            rig.vhost_user(self.conn, message);
        }
    }

    pub fn stop(&mut self, rig: &mut Rig) {
        for vring in 0..3 {
            let vring = VringIndex(vring);
            rig.vhost_user(self.conn, VhostUser::GetVringBase { vring });
        }
    }

    pub fn disconnect(&mut self, rig: &mut Rig) {
        let conn = ConnId(self.conn);
        rig.target.input(rig.now, ToTarget::Disconnect { conn });
    }

    /// Where the buffers of a head are: request, response at +0x100, data at +0x1000.
    pub fn buffer(head: u16) -> u64 {
        BUFFERS + BUFFER * u64::from(head)
    }

    /// Publishes a chain; each descriptor (addr, len, writable) in the order given.
    pub fn chain(&mut self, rig: &mut Rig, vring: u16, head: u16, chain: &[(u64, u32, bool)]) {
        for (n, (addr, len, write)) in chain.iter().enumerate() {
            let index = head + n as u16;
            let more = n + 1 < chain.len();
            let desc = Desc {
                addr: *addr,
                len: *len,
                flags: if *write { DESC_F_WRITE } else { 0 } | if more { DESC_F_NEXT } else { 0 },
                next: if more { index + 1 } else { 0 },
            };
            self.put_desc(vring, index, desc);
        }
        self.publish(rig, vring, head);
    }

    pub fn put_desc(&mut self, vring: u16, index: u16, desc: Desc) {
        let at = GuestAddress(Self::ring(vring) + 16 * u64::from(index));
        self.memory
            .write_slice(&desc.to_bytes(), at)
            .expect("in memory");
    }

    pub fn publish(&mut self, rig: &mut Rig, vring: u16, head: u16) {
        let next = self.avail.entry(vring).or_default();
        let avail = Self::ring(vring) + 0x1000;
        let entry = GuestAddress(avail + 4 + 2 * u64::from(*next % RING));
        self.memory
            .write_slice(&head.to_le_bytes(), entry)
            .expect("in memory");
        *next = next.wrapping_add(1);
        self.memory
            .store(next.to_le(), GuestAddress(avail + 2), Ordering::Release)
            .expect("in memory");
        self.look(rig, vring);
    }

    pub fn look(&self, rig: &mut Rig, vring: u16) {
        let message = ToTarget::Doorbell {
            conn: ConnId(self.conn),
            vring: VringIndex(vring),
        };
        rig.target.input(rig.now, message);
    }

    pub fn no_interrupt(&self, vring: u16, on: bool) {
        let avail = GuestAddress(Self::ring(vring) + 0x1000);
        self.memory
            .store(u16::from(on).to_le(), avail, Ordering::Release)
            .expect("in memory");
    }

    pub fn post_event(&mut self, rig: &mut Rig, len: u32) -> u16 {
        let head = self.avail.get(&EVENT).copied().unwrap_or(0) % RING;
        let at = 0x8_0000 + 0x40 * u64::from(head);
        self.memory
            .write_slice(&[0xee; 16], GuestAddress(at))
            .expect("in memory");
        self.chain(rig, EVENT, head, &[(at, len, true)]);
        head
    }

    /// A SCSI command to LUN 0 of a target; says its head.
    pub fn scsi(&mut self, rig: &mut Rig, target: u8, cdb: &[u8], data: Data<'_>) -> u16 {
        self.scsi_lun(rig, [1, target, 0, 0, 0, 0, 0, 0], cdb, data)
    }

    pub fn scsi_lun(&mut self, rig: &mut Rig, lun: [u8; 8], cdb: &[u8], data: Data<'_>) -> u16 {
        let head = self.heads;
        self.heads = (self.heads + 3) % (RING - 3);
        let at = Self::buffer(head);
        let mut request = [0; 51];
        request[..8].copy_from_slice(&lun);
        request[19..19 + cdb.len()].copy_from_slice(cdb);
        self.memory
            .write_slice(&request, GuestAddress(at))
            .expect("in memory");
        self.memory
            .write_slice(&[0xaa; 108], GuestAddress(at + 0x100))
            .expect("in memory");
        let (header, response) = ((at, 51, false), (at + 0x100, 108, true));
        match data {
            Data::None => self.chain(rig, REQ, head, &[header, response]),
            Data::In(len) => {
                let data = (at + DATA, len, true);
                self.chain(rig, REQ, head, &[header, response, data]);
            }
            Data::Out(bytes) => {
                self.memory
                    .write_slice(bytes, GuestAddress(at + DATA))
                    .expect("in memory");
                let data = (at + DATA, bytes.len() as u32, false);
                self.chain(rig, REQ, head, &[header, data, response]);
            }
        }
        head
    }

    pub fn data(&self, head: u16, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        let at = GuestAddress(Self::buffer(head) + DATA);
        self.memory.read_slice(&mut bytes, at).expect("in memory");
        bytes
    }

    /// A task management request of type 0; says its head.
    pub fn tmf(&mut self, rig: &mut Rig, head: u16, subtype: u32, lun: [u8; 8]) {
        let at = Self::buffer(head) + 0x800;
        let mut request = [0; 24];
        request[4..8].copy_from_slice(&subtype.to_le_bytes());
        request[8..16].copy_from_slice(&lun);
        self.memory
            .write_slice(&request, GuestAddress(at))
            .expect("in memory");
        self.memory
            .write_slice(&[0xaa; 8], GuestAddress(at + 0x80))
            .expect("in memory");
        self.chain(rig, CTRL, head, &[(at, 24, false), (at + 0x80, 1, true)]);
    }

    pub fn tmf_response(&self, head: u16) -> u8 {
        let mut byte = [0];
        let at = GuestAddress(Self::buffer(head) + 0x880);
        self.memory.read_slice(&mut byte, at).expect("in memory");
        byte[0]
    }

    /// What was used since the last look at the ring: head and length.
    pub fn used(&mut self, vring: u16) -> Vec<(u32, u32)> {
        let used = Self::ring(vring) + 0x2000;
        let index: u16 = self
            .memory
            .load(GuestAddress(used + 2), Ordering::Acquire)
            .expect("in memory");
        let seen = self.seen.entry(vring).or_default();
        let mut found = Vec::new();
        while *seen != index {
            let mut element = [0; 8];
            let at = GuestAddress(used + 4 + 8 * u64::from(*seen % RING));
            self.memory.read_slice(&mut element, at).expect("in memory");
            found.push((
                u32::from_le_bytes([element[0], element[1], element[2], element[3]]),
                u32::from_le_bytes([element[4], element[5], element[6], element[7]]),
            ));
            *seen = seen.wrapping_add(1);
        }
        found
    }

    pub fn finished(&mut self) -> Vec<Used> {
        self.used(REQ)
            .into_iter()
            .map(|(head, len)| {
                let mut response = vec![0; 108];
                let at = GuestAddress(Self::buffer(head as u16) + 0x100);
                self.memory
                    .read_slice(&mut response, at)
                    .expect("in memory");
                Used {
                    head: head as u16,
                    len,
                    response,
                }
            })
            .collect()
    }

    /// Sends a command and waits for it.
    pub fn command(&mut self, rig: &mut Rig, target: u8, cdb: &[u8], data: Data<'_>) -> Used {
        let head = self.scsi(rig, target, cdb, data);
        rig.ms(1);
        let mut finished = self.finished();
        assert_eq!(finished.len(), 1, "one command ends");
        let used = finished.remove(0);
        assert_eq!(used.head, head);
        used
    }

    /// TEST UNIT READY: what a target answers now.
    pub fn ready(&mut self, rig: &mut Rig, target: u8) -> Answer {
        let used = self.command(rig, target, &[0; 6], Data::None);
        match (used.byte(), used.status()) {
            (3, 0xaa) => Answer::BadTarget,
            (0, 0) => Answer::Good,
            (0, 2) => Answer::Check(used.sense()),
            other => panic!("an answer of no kind that is known: {other:?}"),
        }
    }

    pub fn events(&mut self) -> Vec<(u32, u8, u32)> {
        self.used(EVENT)
            .into_iter()
            .map(|(head, len)| {
                assert_eq!(len, 16);
                let mut event = [0; 16];
                let at = GuestAddress(0x8_0000 + 0x40 * u64::from(head));
                self.memory.read_slice(&mut event, at).expect("in memory");
                let word = |n: usize| {
                    u32::from_le_bytes([event[n], event[n + 1], event[n + 2], event[n + 3]])
                };
                (word(0), event[5], word(12))
            })
            .collect()
    }
}

/// The data of a command.
#[derive(Clone, Copy)]
pub enum Data<'a> {
    None,
    In(u32),
    Out(&'a [u8]),
}

/// What TEST UNIT READY says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    Good,
    BadTarget,
    Check((u8, u8, u8)),
}

pub fn read_10(lba: u8, blocks: u8) -> [u8; 10] {
    [0x28, 0, 0, 0, 0, lba, 0, 0, blocks, 0]
}

pub fn write_10(lba: u8, blocks: u8) -> [u8; 10] {
    [0x2a, 0, 0, 0, 0, lba, 0, 0, blocks, 0]
}
