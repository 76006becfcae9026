//! What the target sees of its guests, written down as recordings of guests are
//! ([`sim::conformance::guest::log`]).
//!
//! Reads the rings beside the target: a command when it is published, its answer when it is used. Knows no
//! command's meaning, and changes nothing.
//!
//! # Divergence from the recorder of guests
//!
//! * A command stands where it was answered, not where it came.
//! * A driver that takes a response back before it has been read here, between the target's turn and this
//!   one, is written down with what stands there then.
//! * READs and WRITEs are counted up to the stop of a ring, or the connection's end.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use sim::conformance::guest::log::{Command, Event, Line, What};
use sim::conformance::guest::message::{answered, message_words};
use sim::wire::access::Access as _;
use sim::wire::component::Memory;
use sim::wire::message::{ConnId, VhostUser, VhostUserReply};
use vm_memory::GuestAddress;

/// The event queue, and the first request queue.
const EVENTQ: u16 = 1;
const REQUESTQ: u16 = 2;
/// Descriptors of a chain that are followed.
const CHAIN_MAX: usize = 256;

/// The log that is being written.
pub struct Record {
    out: BufWriter<File>,
    path: PathBuf,
    guests: BTreeMap<ConnId, Guest>,
    failed: Option<io::Error>,
}

#[derive(Default)]
struct Guest {
    memory: Option<Memory>,
    rings: BTreeMap<u16, Ring>,
    asked: String,
    reads_writes: u32,
}

#[derive(Default)]
struct Ring {
    desc: u64,
    avail: u64,
    used: u64,
    size: u16,
    next_avail: u16,
    next_used: u16,
    runs: bool,
    /// By head: published, and not used yet.
    flying: BTreeMap<u16, Flying>,
}

struct Flying {
    command: Command,
    response: u64,
}

impl Record {
    /// A new log.
    ///
    /// # Errors
    ///
    /// The file cannot be made.
    pub fn new(path: PathBuf) -> io::Result<Self> {
        let file = File::create(&path).map_err(|error| unwritten(&path, &error))?;
        Ok(Self {
            out: BufWriter::new(file),
            path,
            guests: BTreeMap::new(),
            failed: None,
        })
    }

    fn write(&mut self, at: Duration, what: What) {
        if let Err(error) = writeln!(self.out, "{}", Line { at, what }) {
            self.failed.get_or_insert(error);
        }
    }

    /// What was written so far is in the file.
    pub fn flush(&mut self) {
        if let Err(error) = self.out.flush() {
            self.failed.get_or_insert(error);
        }
    }

    /// Why it could not be written, once.
    pub fn failure(&mut self) -> Option<io::Error> {
        self.flush();
        self.failed
            .take()
            .map(|error| unwritten(&self.path, &error))
    }

    /// A front-end connected.
    pub fn connected(&mut self, at: Duration, conn: ConnId) {
        self.guests.insert(conn, Guest::default());
        self.write(at, What::Connected);
    }

    /// A connection ended.
    pub fn ended(&mut self, at: Duration, conn: ConnId, why: &str) {
        if self.guests.contains_key(&conn) {
            self.count(at, conn);
            self.guests.remove(&conn);
            self.write(at, What::Ended(why.to_owned()));
        }
    }

    fn count(&mut self, at: Duration, conn: ConnId) {
        let guest = self.guests.get_mut(&conn);
        let count = guest.map_or(0, |guest| std::mem::take(&mut guest.reads_writes));
        if count > 0 {
            self.write(at, What::ReadsWrites(count));
        }
    }

    /// A front-end asks.
    pub fn asks(&mut self, at: Duration, conn: ConnId, message: &VhostUser) {
        if matches!(message, VhostUser::GetVringBase { .. }) {
            self.look(at, conn);
            self.count(at, conn);
        }
        let Some(guest) = self.guests.get_mut(&conn) else {
            return;
        };
        guest.asked = message_words(message);
        let memory = guest.memory.clone();
        match message {
            VhostUser::SetMemTable(memory) => guest.memory = Some(memory.clone()),
            VhostUser::SetVringNum { vring, size } => guest.ring(vring.0).size = *size as u16,
            VhostUser::SetVringBase { vring, base } => guest.ring(vring.0).next_avail = *base,
            VhostUser::SetVringAddr {
                vring,
                desc,
                avail,
                used,
            } => {
                let ring = guest.ring(vring.0);
                (ring.desc, ring.avail, ring.used) = (*desc, *avail, *used);
            }
            VhostUser::SetVringKick { vring } => {
                let ring = guest.ring(vring.0);
                ring.flying.clear();
                ring.runs = true;
                let used =
                    memory.and_then(|memory| memory.load_le16(GuestAddress(ring.used + 2)).ok());
                ring.next_used = used.unwrap_or_default();
            }
            VhostUser::GetFeatures
            | VhostUser::SetFeatures(_)
            | VhostUser::GetProtocolFeatures
            | VhostUser::SetProtocolFeatures(_)
            | VhostUser::GetQueueNum
            | VhostUser::SetOwner
            | VhostUser::SetVringCall { .. }
            | VhostUser::SetVringErr { .. }
            | VhostUser::SetVringEnable { .. }
            | VhostUser::GetVringBase { .. }
            | VhostUser::GetInflightFd { .. }
            | VhostUser::SetInflightFd { .. }
            | VhostUser::SetStatus(_)
            | VhostUser::GetStatus => {}
        }
    }

    /// The target has answered.
    pub fn answers(&mut self, at: Duration, conn: ConnId, reply: &VhostUserReply) {
        self.look(at, conn);
        let Some(guest) = self.guests.get_mut(&conn) else {
            return;
        };
        let words = std::mem::take(&mut guest.asked);
        if let VhostUserReply::VringBase { vring, .. } = reply {
            guest.ring(vring.0).runs = false;
        }
        let held = guest.rings.values().map(|ring| ring.flying.len()).sum();
        self.write(at, What::Message(answered(words, Some(reply), held)));
    }

    /// Looks at every ring of every front-end.
    pub fn look_all(&mut self, at: Duration) {
        for conn in self.guests.keys().copied().collect::<Vec<_>>() {
            self.look(at, conn);
        }
    }

    /// Looks at the rings of a front-end: what was published, what was used.
    pub fn look(&mut self, at: Duration, conn: ConnId) {
        let Some(guest) = self.guests.get_mut(&conn) else {
            return;
        };
        let Some(memory) = guest.memory.clone() else {
            return;
        };
        let mut seen = Vec::new();
        for (vring, ring) in guest
            .rings
            .iter_mut()
            .filter(|(_, ring)| ring.runs && ring.size > 0)
        {
            ring.published(&memory, *vring, &mut seen);
            ring.taken_back(&memory, *vring, &mut seen, &mut guest.reads_writes);
        }
        for what in seen {
            self.write(at, what);
        }
    }
}

impl Guest {
    fn ring(&mut self, vring: u16) -> &mut Ring {
        self.rings.entry(vring).or_default()
    }
}

impl Ring {
    fn published(&mut self, memory: &Memory, vring: u16, seen: &mut Vec<What>) {
        let Ok(index) = memory.load_le16(GuestAddress(self.avail.wrapping_add(2))) else {
            return;
        };
        // A driver that counts wrongly is the target's business.
        for _ in 0..index.wrapping_sub(self.next_avail).min(self.size) {
            let at = (self.avail).wrapping_add(4 + 2 * u64::from(self.next_avail % self.size));
            self.next_avail = self.next_avail.wrapping_add(1);
            let Ok(head) = memory.load_le16(GuestAddress(at)) else {
                return;
            };
            if vring == EVENTQ {
                seen.push(What::Buffer(head));
            } else if vring >= REQUESTQ
                && let Some(flying) = self.take_apart(memory, vring, head)
            {
                self.flying.insert(head, flying);
            }
        }
    }

    fn taken_back(
        &mut self,
        memory: &Memory,
        vring: u16,
        seen: &mut Vec<What>,
        reads_writes: &mut u32,
    ) {
        let Ok(index) = memory.load_le16(GuestAddress(self.used.wrapping_add(2))) else {
            return;
        };
        for _ in 0..index.wrapping_sub(self.next_used).min(self.size) {
            let at = (self.used).wrapping_add(4 + 8 * u64::from(self.next_used % self.size));
            self.next_used = self.next_used.wrapping_add(1);
            let Ok(head) = memory.load_le16(GuestAddress(at)) else {
                return;
            };
            if vring == EVENTQ {
                seen.extend(self.event(memory, head).map(What::Event));
            } else if let Some(Flying {
                mut command,
                response,
            }) = self.flying.remove(&head)
            {
                if matches!(command.cdb[0], 0x28 | 0x2a | 0x88 | 0x8a) {
                    *reads_writes += 1;
                    continue;
                }
                command.answer = answer(memory, response);
                seen.push(What::Command(command));
            }
        }
    }

    fn event(&self, memory: &Memory, head: u16) -> Option<Event> {
        let (addr, ..) = descriptor(memory, self.desc, head)?;
        let bytes: [u8; 16] = memory.read_few(GuestAddress(addr)).ok()?;
        let word = |at: usize| {
            u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
        };
        let lun = [bytes[4], bytes[5], bytes[6], bytes[7]];
        Some(Event {
            event: word(0),
            lun,
            reason: word(12),
            head,
        })
    }

    fn take_apart(&self, memory: &Memory, vring: u16, head: u16) -> Option<Flying> {
        let (mut table, mut n) = (self.desc, head);
        let (addr, _, flags, _) = descriptor(memory, table, n)?;
        if flags & 4 != 0 {
            (table, n) = (addr, 0);
        }
        let (mut readable, mut writable) = (Vec::new(), Vec::new());
        for _ in 0..CHAIN_MAX {
            let (addr, len, flags, next) = descriptor(memory, table, n)?;
            if flags & 2 == 0 {
                &mut readable
            } else {
                &mut writable
            }
            .push((addr, len));
            if flags & 1 == 0 {
                break;
            }
            n = next;
        }
        let (header, out) = readable.split_first()?;
        let (response, data_in) = writable.split_first()?;
        let mut bytes = [0; 35];
        memory.read_at(&mut bytes, GuestAddress(header.0)).ok()?;
        let sum = |list: &[(u64, u32)]| {
            let bytes = list
                .iter()
                .fold(0u32, |sum, (_, len)| sum.saturating_add(*len));
            (list.len(), bytes)
        };
        let command = Command {
            vring,
            target: bytes[1],
            lun: [bytes[2], bytes[3]],
            cdb: *bytes[19..].first_chunk()?,
            header: (header.1, response.1),
            data_out: sum(out),
            data_in: sum(data_in),
            answer: String::new(),
        };
        Some(Flying {
            command,
            response: response.0,
        })
    }
}

/// Address, length, flags, next.
fn descriptor(memory: &Memory, table: u64, n: u16) -> Option<(u64, u32, u16, u16)> {
    let at = table.checked_add(16 * u64::from(n))?;
    let bytes: [u8; 16] = memory.read_few(GuestAddress(at)).ok()?;
    let addr = u64::from_le_bytes(*bytes.first_chunk()?);
    let len = u32::from_le_bytes(*bytes[8..].first_chunk()?);
    let half = |at: usize| u16::from_le_bytes([bytes[at], bytes[at + 1]]);
    Some((addr, len, half(12), half(14)))
}

fn unwritten(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(
        error.kind(),
        format!("cannot write {}: {error}", path.display()),
    )
}

/// A response in words: SPDK answers LOGICAL UNIT NOT SUPPORTED for a LUN that is not there.
fn answer(memory: &Memory, at: u64) -> String {
    let mut bytes = [0; 32];
    if memory.read_at(&mut bytes, GuestAddress(at)).is_err() {
        return "NOWHERE".to_owned();
    }
    let (status, response) = (bytes[10], bytes[11]);
    match (response, status) {
        (0, 0) => "GOOD".to_owned(),
        (3, _) => "BAD_TARGET".to_owned(),
        (0, 2) => match (bytes[14] & 0xf, bytes[24], bytes[25]) {
            (5, 0x25, 0) => "NULL LUN".to_owned(),
            (key, asc, ascq) => format!("CHECK ({key:x}, {asc:x}, {ascq:x})"),
        },
        (0, status) => format!("STATUS {status:#x}"),
        (response, _) => format!("RESPONSE {response}"),
    }
}
