//! Front-ends that mean harm: messages, descriptors and rings that no driver would make.
//!
//! Knows vhost-user's and virtio's formats, and how to break them; waits for no answer.

use std::collections::BTreeSet;
use std::fmt;
use std::fs::File;
use std::io::Write as _;
use std::os::fd::{AsRawFd as _, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::path::Path;

use nix::sys::eventfd::{EfdFlags, EventFd};
use real::vhost_user::memory::memfd;
use sim::Rng;
use vmm_sys_util::sock_ctrl_msg::ScmSocket as _;

/// Requests of the specification: up to GET_SHMEM_CONFIG, and a few that are none.
const REQUESTS: u32 = 48;
/// Bytes of the memory.
const MEMORY: u64 = 1 << 20;
/// Where a front-end has it.
const USER: u64 = 0x7f00_0000_0000;
/// Entries of a ring.
const RING: u64 = 64;
/// Rings that are started.
const RINGS: u64 = 4;
/// Connections that stay open while later ones begin.
const LINGER: usize = 6;

/// An attacker, and what it has done.
#[derive(Debug)]
pub struct Hostile {
    rng: Rng,
    open: Vec<(UnixStream, Vec<File>)>,
    /// Messages that were sent.
    pub messages: u64,
    /// Connections in which the target had hung up before the last message.
    pub hung_up: u64,
    /// Files that were cut off.
    pub cut: u64,
    /// Messages that were sent in two parts.
    pub torn: u64,
    /// The requests that were sent.
    sent: BTreeSet<u32>,
}

impl fmt::Display for Hostile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (messages, torn) = (self.messages, self.torn);
        let (hung_up, cut) = (self.hung_up, self.cut);
        write!(
            f,
            "{messages} messages, {torn} of them torn; hung up on before the last: {hung_up}; files cut off: {cut}"
        )
    }
}

#[derive(Clone, Debug)]
struct Message {
    request: u32,
    flags: u32,
    body: Vec<u8>,
    /// Kinds of descriptors.
    descriptors: Vec<Kind>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Memory,
    Short,
    Event,
    Pipe,
    Socket,
    Null,
    Directory,
}

impl Hostile {
    pub fn new(seed: u64) -> Self {
        Self {
            rng: Rng::new(seed, sim::Stream::Directed),
            open: Vec::new(),
            messages: 0,
            hung_up: 0,
            cut: 0,
            torn: 0,
            sent: BTreeSet::new(),
        }
    }

    /// The requests of the specification that were not sent.
    pub fn never_sent(&self) -> Vec<u32> {
        (1..REQUESTS)
            .filter(|request| !self.sent.contains(request))
            .collect()
    }

    /// One more connection.
    pub fn attack(&mut self, socket: &Path) {
        let stream = UnixStream::connect(socket).expect("the controller listens");
        stream.set_nonblocking(true).expect("a socket");
        let memory = memfd("hostile", MEMORY).expect("a memfd");
        let script = match self.rng.below(10) {
            0 | 1 => self.noise(),
            2..5 => self.some(),
            _ => self.mutated(),
        };
        self.fill(&memory);
        let mut events = Vec::new();
        for message in &script {
            if !self.send(&stream, message, &memory, &mut events) {
                self.hung_up += 1;
                break;
            }
        }
        for event in &events {
            // A pipe may be full.
            let _ = (&*event).write(&1u64.to_ne_bytes());
        }
        if self.rng.chance(1, 3) {
            self.fill(&memory);
        }
        if self.rng.chance(1, 10) {
            self.cut += 1;
            memory.set_len(0x1000).expect("cut");
        }
        events.push(memory);
        self.open.push((stream, events));
        if self.open.len() > LINGER {
            let at = self.rng.below(self.open.len() as u32) as usize;
            self.open.swap_remove(at);
        }
    }

    /// Leaves.
    pub fn leave(&mut self) {
        self.open.clear();
    }

    /// Bytes.
    fn noise(&mut self) -> Vec<Message> {
        let body = (0..self.rng.below(300))
            .map(|_| self.rng.bits() as u8)
            .collect();
        let (request, flags) = (self.rng.bits() as u32, self.rng.bits() as u32);
        let descriptors = self.kinds();
        vec![Message {
            request,
            flags,
            body,
            descriptors,
        }]
    }

    /// Any messages. The first is one that no connection has sent yet, if there is any: the target may hang
    /// up before the others.
    fn some(&mut self) -> Vec<Message> {
        let count = self.rng.between(1, 30);
        let mut script: Vec<Message> = (0..count).map(|_| self.any()).collect();
        if let Some(request) = self.never_sent().first() {
            script[0].request = *request;
        }
        script
    }

    /// Any message, of the right form or nearly.
    fn any(&mut self) -> Message {
        let words = self.rng.below(6);
        let body = (0..words)
            .flat_map(|_| self.number().to_ne_bytes())
            .collect();
        let descriptors = self.kinds();
        Message {
            request: self.rng.below(REQUESTS),
            flags: if self.rng.chance(1, 10) {
                self.rng.bits() as u32
            } else {
                1 | self.rng.below(2) << 3
            },
            body,
            descriptors,
        }
    }

    /// A start as QEMU's, with what a driver seldom asks for, and with mistakes.
    fn mutated(&mut self) -> Vec<Message> {
        let mut script = start();
        let seldom = seldom();
        for _ in 0..self.rng.below(3) {
            let what = &seldom[self.rng.below(seldom.len() as u32) as usize];
            let at = self.rng.below(script.len() as u32) as usize;
            script.insert(at, what.clone());
        }
        for _ in 0..self.rng.below(5) {
            let at = self.rng.below(script.len() as u32) as usize;
            match self.rng.below(6) {
                0 => drop(script.remove(at)),
                1 => script.insert(at, script[at].clone()),
                2 => script.insert(at, self.any()),
                3 => script[at].descriptors = self.kinds(),
                4 if !script[at].body.is_empty() => {
                    let word = self.number().to_ne_bytes();
                    let body = &mut script[at].body;
                    let place = self.rng.below(body.len() as u32) as usize / 8 * 8;
                    let len = (body.len() - place).min(8);
                    body[place..place + len].copy_from_slice(&word[..len]);
                }
                _ => script[at].flags ^= 1 << 3,
            }
        }
        script
    }

    fn kinds(&mut self) -> Vec<Kind> {
        let kinds = [
            Kind::Memory,
            Kind::Short,
            Kind::Event,
            Kind::Pipe,
            Kind::Socket,
            Kind::Null,
            Kind::Directory,
        ];
        let count = [0, 0, 0, 1, 1, 2, 9, 40][self.rng.below(8) as usize];
        (0..count)
            .map(|_| kinds[self.rng.below(kinds.len() as u32) as usize])
            .collect()
    }

    /// A number that is likely to be on an edge.
    fn number(&mut self) -> u64 {
        let near = self.rng.below(3).into();
        match self.rng.below(10) {
            0 => near,
            1 => u64::MAX - near,
            2 => self.rng.bits(),
            3 => u64::from(self.rng.below(300)),
            4 => 1 << self.rng.below(64),
            5 => USER + u64::from(self.rng.below(2 * MEMORY as u32)),
            6 => u64::from(self.rng.below(2 * MEMORY as u32)),
            7 => 1024 - 1 + near,
            8 => u64::from(self.rng.below(5)) << 32 | u64::from(self.rng.below(5)),
            _ => MEMORY - near,
        }
    }

    /// Rings and requests that no driver would make.
    fn fill(&mut self, memory: &File) {
        let mut bytes = vec![0; 0x8000];
        for ring in 0..RINGS {
            let (desc, avail) = (
                (0x1000 * (1 + ring)) as usize,
                (0x1400 + 0x1000 * ring) as usize,
            );
            for entry in 0..RING as usize {
                let addr = if self.rng.chance(1, 8) {
                    self.number()
                } else {
                    0x6000 + 64 * u64::from(self.rng.below(64))
                };
                let len = [0, 16, 24, 51, 108, 512, 4096, u32::MAX][self.rng.below(8) as usize];
                let flags = if self.rng.chance(1, 10) {
                    self.rng.bits() as u16
                } else {
                    self.rng.below(8) as u16
                };
                let next = self.rng.below(RING as u32 + 4) as u16;
                let at = desc + 16 * entry;
                bytes[at..at + 8].copy_from_slice(&addr.to_le_bytes());
                bytes[at + 8..at + 12].copy_from_slice(&len.to_le_bytes());
                bytes[at + 12..at + 14].copy_from_slice(&flags.to_le_bytes());
                bytes[at + 14..at + 16].copy_from_slice(&next.to_le_bytes());
                let head = if self.rng.chance(1, 20) {
                    self.rng.bits() as u16
                } else {
                    entry as u16
                };
                bytes[avail + 4 + 2 * entry..][..2].copy_from_slice(&head.to_le_bytes());
            }
            bytes[avail] = self.rng.below(2) as u8;
            let index = if self.rng.chance(1, 5) {
                self.rng.bits() as u16
            } else {
                self.rng.below(RING as u32 + 1) as u16
            };
            bytes[avail + 2..avail + 4].copy_from_slice(&index.to_le_bytes());
        }
        for byte in &mut bytes[0x6000..] {
            *byte = self.rng.bits() as u8 & 0x2f;
        }
        // Requests to targets that are there, too.
        for head in 0..64 {
            let at = 0x6000 + 64 * head;
            (bytes[at], bytes[at + 1], bytes[at + 2]) = (1, head as u8 % 9, 0x40);
        }
        let wrote = std::os::unix::fs::FileExt::write_all_at(memory, &bytes, 0);
        wrote.expect("memory");
    }

    /// Sends a message; `false` if nobody reads any more.
    fn send(
        &mut self,
        stream: &UnixStream,
        message: &Message,
        memory: &File,
        events: &mut Vec<File>,
    ) -> bool {
        let mut files = Vec::new();
        for kind in &message.descriptors {
            let file = match kind {
                Kind::Memory => memory.try_clone().expect("a copy"),
                Kind::Short => memfd("short", 4096).expect("a memfd"),
                Kind::Event => {
                    let event = EventFd::from_flags(EfdFlags::EFD_NONBLOCK);
                    File::from(OwnedFd::from(event.expect("an eventfd")))
                }
                Kind::Pipe => File::from(OwnedFd::from(std::io::pipe().expect("a pipe").1)),
                Kind::Socket => File::from(OwnedFd::from(UnixStream::pair().expect("a pair").0)),
                Kind::Null => File::open("/dev/null").expect("it is there"),
                Kind::Directory => File::open("/").expect("it is there"),
            };
            if *kind == Kind::Event {
                events.push(file.try_clone().expect("a copy"));
            }
            files.push(file);
        }
        let mut bytes = Vec::new();
        let size = message.body.len() as u32;
        let size = if self.rng.chance(1, 100) {
            self.rng.below(5000)
        } else {
            size
        };
        for field in [message.request, message.flags, size] {
            bytes.extend(field.to_ne_bytes());
        }
        bytes.extend(&message.body);
        self.messages += 1;
        let descriptors: Vec<RawFd> = files.iter().map(|file| file.as_raw_fd()).collect();
        self.sent.insert(message.request);
        // Descriptors come with the first part of a message that is torn.
        let first = if self.rng.chance(1, 20) {
            self.torn += 1;
            self.rng.between(1, bytes.len() as u32) as usize
        } else {
            bytes.len()
        };
        let (first, rest) = bytes.split_at(first);
        let sent = stream.send_with_fds(&[first], &descriptors);
        let whole = sent.is_ok_and(|sent| sent == first.len());
        whole && (rest.is_empty() || (&*stream).write(rest).is_ok_and(|sent| sent == rest.len()))
    }
}

fn message(request: u32, words: &[u64], descriptors: &[Kind]) -> Message {
    Message {
        request,
        flags: 1,
        body: words.iter().flat_map(|word| word.to_ne_bytes()).collect(),
        descriptors: descriptors.to_vec(),
    }
}

/// The messages of a start: negotiation, memory, an inflight buffer, rings.
fn start() -> Vec<Message> {
    let mut script = vec![
        message(1, &[], &[]),
        message(15, &[], &[]),
        message(16, &[0x11009], &[]),
        message(17, &[], &[]),
        message(3, &[], &[]),
        message(31, &[0, 0, RINGS | RING << 16], &[]),
        message(2, &[0x1_5000_0006], &[]),
        message(39, &[0xf], &[]),
        message(40, &[], &[]),
        message(5, &[1, 0, MEMORY, USER, 0], &[Kind::Memory]),
    ];
    for ring in 0..RINGS {
        let at = USER + 0x1000 * (1 + ring);
        script.push(message(8, &[ring | RING << 32], &[]));
        script.push(message(10, &[ring], &[]));
        script.push(message(9, &[ring, at, at + 0x600, at + 0x400, 0], &[]));
        script.push(message(13, &[ring], &[Kind::Event]));
        script.push(message(14, &[ring], &[Kind::Event]));
        script.push(message(12, &[ring], &[Kind::Event]));
        script.push(message(18, &[ring | 1 << 32], &[]));
    }
    script.push(message(5, &[1, 0, MEMORY, USER, 0], &[Kind::Memory]));
    script.push(message(11, &[2], &[]));
    script
}

/// Messages of the right form that come at odd times: an inflight buffer of the front-end's own, a table of
/// two regions, of which one overlaps the other in half of them, a log, a ring that stops under its requests
/// and one that moves, and what the target does not offer.
fn seldom() -> Vec<Message> {
    let two = |guest| {
        let words = [2, 0, 0x8000, USER, 0, guest, 0x8000, USER + 0x8000, 0x8000];
        message(5, &words, &[Kind::Memory, Kind::Memory])
    };
    let inflight =
        |len, offset, rings: u64| message(32, &[len, offset, rings | RING << 16], &[Kind::Memory]);
    let at = USER + 0x1000;
    vec![
        two(0x8000),
        two(0x4000),
        inflight(MEMORY, 0, RINGS),
        inflight(0x1000, 0x1000, RINGS),
        inflight(2 * MEMORY, 0, RINGS),
        inflight(MEMORY, 0, 0),
        message(6, &[0x1000, 0], &[Kind::Memory]),
        message(7, &[], &[Kind::Event]),
        message(11, &[2], &[]),
        message(11, &[0], &[]),
        message(9, &[2, at, at + 0x600, at + 0x400, 0], &[]),
        message(10, &[2 | 0x8000 << 32], &[]),
        message(8, &[2 | 3 << 32], &[]),
        message(12, &[2 | 1 << 8], &[]),
        message(18, &[2], &[]),
        message(21, &[], &[Kind::Socket]),
        message(37, &[0, 0x10_0000, MEMORY, 2 * USER, 0], &[Kind::Memory]),
        message(38, &[0, 0, MEMORY, USER, 0], &[]),
        message(39, &[0], &[]),
        message(34, &[], &[]),
        message(4, &[], &[]),
    ]
}
