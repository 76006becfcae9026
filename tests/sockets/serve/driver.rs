//! A small virtio-scsi driver on a front-end's connection: rings, requests, events.
//!
//! Knows virtio's formats; what it expects of a target is in the tests.

use std::path::Path;
use std::time::{Duration, Instant};

use real::huge_pages::Pages;
use real::vhost_user::frontend::FrontEnd;
use real::vhost_user::memory::shared;
use sim::Memory;
use sim::wire::access::Access as _;
use sim::wire::message::{CONTROLQ, EVENTQ, REQUESTQ, VhostUser, VhostUserReply, VringIndex};
use sim::wire::ring::{AVAIL_RING, DESC_F_NEXT, DESC_F_WRITE, Desc, USED_IDX, USED_RING};
use sim::wire::scsi::{EVENT_SIZE, REQUEST_SIZE, RESPONSE_SIZE, TMF_SIZE, feature};
use vm_memory::{GuestAddress, GuestMemoryBackend as _, GuestMemoryRegion as _};

use super::rig::PATIENCE;

/// Blocks of 512 bytes, from 0.
pub const READ_10: u8 = 0x28;
pub const TEST_UNIT_READY: u8 = 0;
const WRITE_10: u8 = 0x2a;
/// Everything that Linux accepts.
const LINUX: u64 = feature::VERSION_1 | feature::PROTOCOL_FEATURES | feature::HOTPLUG;
/// The same, with logging.
pub const LOG_ALL: u64 = LINUX | feature::LOG_ALL;
/// MQ, REPLY_ACK, INFLIGHT_SHMFD, STATUS.
const PROTOCOL: u64 = 1 | 1 << 3 | 1 << 12 | 1 << 16;

const RING_SIZE: u16 = 64;
const RINGS: u16 = 3;
/// The second region: buffers.
const BUFFERS: u64 = 0x100_0000;
const REGION: usize = 1 << 20;
/// Bytes of a request's buffers: header, response, data.
const SLOT: u64 = 0x2000;
const RESPONSE: u64 = 0x100;
const DATA: u64 = 0x1000;
/// Event buffers, after those of requests.
const EVENTS: u64 = BUFFERS + 0x8_0000;
const EVENT_BUFFERS: u16 = 8;
/// A chain is three descriptors at most.
const CHAIN: u16 = 3;

pub struct Driver {
    pub front_end: FrontEnd,
    memory: Memory,
    features: u64,
    published: [u16; RINGS as usize],
    seen: [u16; RINGS as usize],
    done: Vec<u16>,
}

/// A request that was published.
#[derive(Clone, Copy, Debug)]
pub struct Posted {
    head: u16,
    len: usize,
}

#[derive(Debug)]
pub struct Answer {
    pub response: u8,
    pub status: u8,
    pub data: Vec<u8>,
}

impl Driver {
    /// A driver whose device runs.
    pub fn start(socket: &Path) -> Self {
        Self::start_with(socket, LINUX)
    }

    pub fn start_with(socket: &Path, features: u64) -> Self {
        let mut driver = Self::connect(socket);
        driver.features = features;
        driver.begin();
        driver
    }

    /// A driver whose device is connected.
    pub fn connect(socket: &Path) -> Self {
        let ranges = [(GuestAddress(0), REGION), (GuestAddress(BUFFERS), REGION)];
        Self {
            front_end: Self::greet(socket),
            memory: shared(&ranges, Pages::Ordinary).expect("memory"),
            features: LINUX,
            published: [0; RINGS as usize],
            seen: [0; RINGS as usize],
            done: Vec::new(),
        }
    }

    /// A connection as QEMU makes it.
    pub fn greet(socket: &Path) -> FrontEnd {
        let mut front_end = FrontEnd::connect(socket).expect("the controller listens");
        let mut send = |message| front_end.send(message, false).expect("it answers");
        let features = send(VhostUser::GetFeatures);
        assert!(
            matches!(features, Some(VhostUserReply::Features(0x1_5c00_0007))),
            "{features:?}"
        );
        let protocol = send(VhostUser::GetProtocolFeatures);
        assert!(
            matches!(protocol, Some(VhostUserReply::ProtocolFeatures(0x11cbf))),
            "{protocol:?}"
        );
        send(VhostUser::SetProtocolFeatures(PROTOCOL));
        let queues = send(VhostUser::GetQueueNum);
        assert!(
            matches!(queues, Some(VhostUserReply::QueueNum(128))),
            "{queues:?}"
        );
        send(VhostUser::SetOwner);
        front_end
    }

    /// Starts the device: event buffers are posted.
    pub fn begin(&mut self) {
        for buffer in 0..EVENT_BUFFERS {
            let at = EVENTS + u64::from(buffer) * u64::from(EVENT_SIZE);
            self.descriptor(EVENTQ, buffer, at, EVENT_SIZE, DESC_F_WRITE, 0);
            self.offer(EVENTQ, buffer);
        }
        self.set_up();
    }

    /// Starts the device with the rings as they are.
    pub fn set_up(&mut self) {
        self.tell(VhostUser::SetFeatures(self.features));
        self.tell(VhostUser::SetMemTable(self.memory.clone()));
        for vring in (0..RINGS).map(VringIndex) {
            let (desc, avail, used) = ring(vring);
            let base = self.seen[usize::from(vring.0)];
            self.tell(VhostUser::SetVringNum {
                vring,
                size: RING_SIZE.into(),
            });
            self.tell(VhostUser::SetVringBase { vring, base });
            self.tell(VhostUser::SetVringAddr {
                vring,
                desc,
                avail,
                used,
            });
            self.tell(VhostUser::SetVringCall { vring });
            self.tell(VhostUser::SetVringErr { vring });
            self.tell(VhostUser::SetVringKick { vring });
            self.tell(VhostUser::SetVringEnable { vring, on: true });
        }
    }

    /// Sends a message that is to be accepted.
    pub fn tell(&mut self, message: VhostUser) {
        let said = self.ask(message.clone());
        assert!(
            matches!(said, VhostUserReply::Ack { ok: true }),
            "{message:?}: {said:?}"
        );
    }

    pub fn ask(&mut self, message: VhostUser) -> VhostUserReply {
        let said = self.front_end.send(message, true).expect("it answers");
        said.expect("an answer was asked for")
    }

    /// Carries out a command: an opcode with as many blocks as the data has.
    pub fn command(&mut self, target: u8, opcode: u8, len: usize) -> Answer {
        let posted = self.post(target, opcode, len);
        self.wait(posted)
    }

    /// Writes a block.
    pub fn write(&mut self, target: u8, lba: u8, block: &[u8; 512]) -> Answer {
        let mut cdb = [0; 32];
        (cdb[0], cdb[5], cdb[8]) = (WRITE_10, lba, 1);
        let head = self.slot();
        let at = buffers(head);
        self.put(at, &request(target, 0, cdb));
        self.put(at + DATA, block);
        self.descriptor(REQUESTQ, head, at, REQUEST_SIZE, DESC_F_NEXT, head + 1);
        self.descriptor(REQUESTQ, head + 1, at + DATA, 512, DESC_F_NEXT, head + 2);
        self.descriptor(
            REQUESTQ,
            head + 2,
            at + RESPONSE,
            RESPONSE_SIZE,
            DESC_F_WRITE,
            0,
        );
        self.offer(REQUESTQ, head);
        self.front_end.kick(REQUESTQ).expect("kicked");
        self.wait(Posted { head, len: 0 })
    }

    pub fn post(&mut self, target: u8, opcode: u8, len: usize) -> Posted {
        let posted = self.publish(target, opcode, len);
        self.front_end.kick(REQUESTQ).expect("kicked");
        posted
    }

    /// Publishes a command without a kick.
    pub fn publish(&mut self, target: u8, opcode: u8, len: usize) -> Posted {
        let mut cdb = [0; 32];
        (cdb[0], cdb[8]) = (opcode, (len / 512) as u8);
        let head = self.slot();
        let at = buffers(head);
        self.put(at, &request(target, 0, cdb));
        self.put(at + RESPONSE, &[0xee; RESPONSE_SIZE as usize]);
        self.descriptor(REQUESTQ, head, at, REQUEST_SIZE, DESC_F_NEXT, head + 1);
        let (more, last) = (DESC_F_WRITE | DESC_F_NEXT, DESC_F_WRITE);
        let flags = if len > 0 { more } else { last };
        self.descriptor(
            REQUESTQ,
            head + 1,
            at + RESPONSE,
            RESPONSE_SIZE,
            flags,
            head + 2,
        );
        self.descriptor(REQUESTQ, head + 2, at + DATA, len as u32, last, 0);
        self.offer(REQUESTQ, head);
        Posted { head, len }
    }

    /// The answer to a command, when it has one.
    pub fn take(&mut self, posted: Posted) -> Option<Answer> {
        while let Some((head, _)) = self.used(REQUESTQ) {
            self.done.push(head);
        }
        let at = self.done.iter().position(|head| *head == posted.head)?;
        self.done.swap_remove(at);
        let response = self.get(buffers(posted.head) + RESPONSE, 12);
        Some(Answer {
            response: response[11],
            status: response[10],
            data: self.get(buffers(posted.head) + DATA, posted.len),
        })
    }

    pub fn wait(&mut self, posted: Posted) -> Answer {
        soon("an answer", || self.take(posted))
    }

    /// The next event: the target and the reason. Its buffer is posted again.
    pub fn event(&mut self) -> (u8, u8) {
        let (buffer, _) = soon("an event", || self.used(EVENTQ));
        let at = EVENTS + u64::from(buffer) * u64::from(EVENT_SIZE);
        let event = self.get(at, EVENT_SIZE as usize);
        assert_eq!(event[0], 1, "a transport reset");
        self.offer(EVENTQ, buffer);
        (event[5], event[12])
    }

    /// LOGICAL UNIT RESET; does not wait.
    pub fn reset_lun(&mut self, target: u8, lun: u8) {
        let mut bytes = vec![0; TMF_SIZE as usize];
        bytes[4] = 5;
        bytes[8..16].copy_from_slice(&address(target, lun));
        self.put(BUFFERS, &bytes);
        self.descriptor(CONTROLQ, 0, BUFFERS, TMF_SIZE, DESC_F_NEXT, 1);
        self.descriptor(CONTROLQ, 1, BUFFERS + RESPONSE, 1, DESC_F_WRITE, 0);
        self.offer(CONTROLQ, 0);
        self.front_end.kick(CONTROLQ).expect("kicked");
    }

    /// Publishes a chain without an end.
    pub fn loop_forever(&mut self) {
        let at = buffers(0);
        self.put(at, &request(0, 0, [0; 32]));
        self.descriptor(REQUESTQ, 0, at, REQUEST_SIZE, DESC_F_NEXT, 0);
        self.offer(REQUESTQ, 0);
        self.front_end.kick(REQUESTQ).expect("kicked");
    }

    /// Asks for an inflight buffer, and hands it over.
    pub fn inflight(&mut self) -> Memory {
        let asked = VhostUser::GetInflightFd {
            queues: RINGS,
            size: RING_SIZE,
        };
        let VhostUserReply::Inflight { buffer } = self.ask(asked) else {
            panic!("no inflight buffer");
        };
        self.hand_over(buffer.clone());
        buffer
    }

    pub fn hand_over(&mut self, buffer: Memory) {
        self.tell(VhostUser::SetInflightFd {
            queues: RINGS,
            size: RING_SIZE,
            buffer,
        });
    }

    /// Notes in an inflight buffer that a target has taken a request and not returned it (DPDK's
    /// `rte_vhost_inflight_desc_split`: 16 bytes a head after a header of 16, a part rounded up to 64).
    pub fn was_taken(&self, buffer: &Memory, posted: Posted) {
        let part = (16 + 16 * u64::from(RING_SIZE)).next_multiple_of(64);
        let at = u64::from(REQUESTQ.0) * part + 16 + 16 * u64::from(posted.head);
        let wrote = buffer.write_at(&[1], GuestAddress(at));
        wrote.expect("it is in the buffer");
    }

    /// The memory table, with a file that was cut off.
    pub fn longer_than_its_file(&self) -> VhostUser {
        let region = self.memory.iter().next().expect("two regions");
        let file = region.file_offset().expect("memory that is shared").file();
        file.set_len(4096).expect("cut");
        VhostUser::SetMemTable(self.memory.clone())
    }

    /// Whether the back-end asks for kicks of the request ring.
    pub fn wants_kicks(&self) -> bool {
        self.get(ring(REQUESTQ).2, 2) == [0, 0]
    }

    /// Whether the request ring was called for.
    pub fn was_called(&self) -> bool {
        soon("a call", || {
            self.front_end.take_call(REQUESTQ).then_some(true)
        })
    }

    /// The first of the three descriptors of the next request.
    fn slot(&self) -> u16 {
        self.published[usize::from(REQUESTQ.0)] % (RING_SIZE / CHAIN) * CHAIN
    }

    fn used(&mut self, vring: VringIndex) -> Option<(u16, u32)> {
        let (.., used) = ring(vring);
        let seen = &mut self.seen[usize::from(vring.0)];
        let index = self
            .memory
            .load_le16(GuestAddress(used + USED_IDX))
            .expect("mapped");
        if index == *seen {
            return None;
        }
        let at = used + USED_RING + u64::from(*seen % RING_SIZE) * 8;
        *seen = seen.wrapping_add(1);
        let element = self.get(at, 8);
        let head = u16::from_le_bytes([element[0], element[1]]);
        let len = u32::from_le_bytes([element[4], element[5], element[6], element[7]]);
        Some((head, len))
    }

    fn offer(&mut self, vring: VringIndex, head: u16) {
        let (_, avail, _) = ring(vring);
        let published = &mut self.published[usize::from(vring.0)];
        let place = avail + AVAIL_RING + u64::from(*published % RING_SIZE) * 2;
        *published = published.wrapping_add(1);
        let index = *published;
        self.put(place, &head.to_le_bytes());
        let stored = self.memory.store_le16(index, GuestAddress(avail + 2));
        stored.expect("mapped");
    }

    fn descriptor(
        &self,
        vring: VringIndex,
        index: u16,
        addr: u64,
        len: u32,
        flags: u16,
        next: u16,
    ) {
        let descriptor = Desc {
            addr,
            len,
            flags,
            next,
        };
        let (table, ..) = ring(vring);
        self.put(table + 16 * u64::from(index), &descriptor.to_bytes());
    }

    fn put(&self, at: u64, bytes: &[u8]) {
        self.memory
            .write_at(bytes, GuestAddress(at))
            .expect("mapped");
    }

    fn get(&self, at: u64, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.memory
            .read_at(&mut bytes, GuestAddress(at))
            .expect("mapped");
        bytes
    }
}

/// Asks until there is an answer.
fn soon<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(began.elapsed() < PATIENCE, "{what} does not come");
        std::thread::sleep(Duration::from_micros(50));
    }
}

/// Descriptor table, available ring, used ring.
fn ring(vring: VringIndex) -> (u64, u64, u64) {
    let at = 0x1000 * (1 + u64::from(vring.0));
    (at, at + 0x400, at + 0x600)
}

fn buffers(head: u16) -> u64 {
    BUFFERS + SLOT * u64::from(1 + head / CHAIN)
}

fn address(target: u8, lun: u8) -> [u8; 8] {
    [1, target, 0x40, lun, 0, 0, 0, 0]
}

fn request(target: u8, lun: u8, cdb: [u8; 32]) -> Vec<u8> {
    let mut bytes = vec![0; REQUEST_SIZE as usize];
    bytes[..8].copy_from_slice(&address(target, lun));
    bytes[19..].copy_from_slice(&cdb);
    bytes
}
