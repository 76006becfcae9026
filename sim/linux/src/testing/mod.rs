//! A scripted back-end for one guest: answers vhost-user messages, serves its rings, sends events.
//!
//! Written from the virtio specification; shares no code with the model target, and knows nothing of
//! the guest but its messages and its memory.

pub mod chain;
mod direct;
pub mod log;
pub mod message;
pub mod scsi;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use fio_model::Volume;
use scenarios::{ControllerId, DiskId, Observation, Seen, Time, VmId};
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

use crate::{Guest, GuestConfig, GuestTurn};
use chain::{Chain, Ring, Sent};
pub use direct::{CPUS, DeviceState, DirectIo, Disk, DiskNo, Finished};
use log::{Command, Event, Line, What};
use message::{answered, message_words};
use scsi::{Answer, Reaction, Slot, answer};
use wire::component::{ActorId, Component, Cx, Memory, When};
use wire::message::{FromGuest, GuestAct, HbaId, ToGuest, VhostUser, VhostUserReply, VringIndex};
use wire::{Rng, Stream};

/// From a command to its answer.
pub const LATENCY: Duration = Duration::from_micros(20);
/// The features of a back-end as recorded, but for EVENT_IDX.
const FEATURES: u64 = 0x1_5900_0006;
/// MQ, REPLY_ACK, INFLIGHT_SHMFD.
const PROTOCOL_FEATURES: u64 = 0x1009;
/// EVENT_IDX, and BACKEND_REQ of the protocol, which the recorder offered beside those.
const RECORDER_MORE: (u64, u64) = (1 << 29, 1 << 5);

/// What the recorder of guests kept; with it, nothing else is kept.
#[derive(Default)]
pub struct Recorder {
    /// The target's log.
    pub log: Vec<Line>,
    /// READs and WRITEs since they were last told.
    pub reads_writes: u32,
    /// READ(6)s and WRITE(6)s, likewise.
    pub short: u32,
    /// How often the guest became ready.
    pub ready: u32,
}

/// The guest and what it is connected to.
pub struct ScriptedBackEnd {
    pub(crate) guest: Guest,
    pub now: Time,
    pub rng: Rng,
    pub latency: Duration,
    /// From a READ or WRITE to its answer.
    pub io_latency: Duration,
    pub recorder: Option<Recorder>,
    pub seen: Vec<Seen>,
    /// vhost-user messages and commands, as the distilled recordings have them.
    pub log: Vec<String>,
    pub sent: Vec<Sent>,
    pub turns: Vec<(Time, GuestTurn)>,
    pub memory: Option<Memory>,
    pub rings: [Ring; 4],
    pub slots: BTreeMap<u8, Slot>,
    /// What becomes of the next READs and WRITEs of a target; the last one for all that follow.
    pub reactions: BTreeMap<u8, VecDeque<Reaction>>,
    pub store: BTreeMap<(u8, u64), Vec<u8>>,
    pub blocks: u64,
    pub due: VecDeque<(Time, Chain, Answer)>,
    pub held: VecDeque<Chain>,
    /// Most commands in flight at a time.
    pub most: usize,
    pub connected: bool,
}

impl ScriptedBackEnd {
    pub fn new(seed: u64, change: impl FnOnce(&mut GuestConfig)) -> Self {
        let disks = (0..8).map(|t| (format!("disk{t:04}"), DiskId(t + 1)));
        let volume = Some(Volume {
            blocks: 16,
            scale: 1,
        });
        let mut config = GuestConfig::new(VmId(1), vec![ControllerId(0)], disks.collect(), volume);
        change(&mut config);
        Self {
            guest: Guest::new(config),
            now: Time(0),
            rng: Rng::new(seed, Stream::Accidents),
            latency: LATENCY,
            io_latency: LATENCY,
            recorder: None,
            seen: Vec::new(),
            log: Vec::new(),
            sent: Vec::new(),
            turns: Vec::new(),
            memory: None,
            rings: [Ring::default(); 4],
            slots: BTreeMap::new(),
            reactions: BTreeMap::new(),
            store: BTreeMap::new(),
            blocks: 1 << 17,
            due: VecDeque::new(),
            held: VecDeque::new(),
            most: 0,
            connected: false,
        }
    }

    /// Writes into the target's log, if there is a recorder.
    pub fn note(&mut self, what: impl FnOnce() -> What) {
        if let Some(recorder) = &mut self.recorder {
            let (at, what) = (Duration::from_nanos(self.now.0), what());
            recorder.log.push(Line { at, what });
        }
    }

    pub fn act(&mut self, act: GuestAct) {
        self.guest.input(self.now, ToGuest::Do(act));
    }

    /// Sends an event; false if no buffer is posted.
    pub fn event(&mut self, event: u32, lun: [u8; 4], reason: u32) -> bool {
        let Some(head) = self.pop(1) else {
            self.note(|| What::Dropped);
            return false;
        };
        self.note(|| {
            What::Event(Event {
                event,
                lun,
                reason,
                head,
            })
        });
        let memory = self.memory.clone().expect("a driver has the device");
        let at = self.rings[1].desc + 16 * u64::from(head);
        let addr: u64 = memory.read_obj(GuestAddress(at)).unwrap();
        let mut bytes = [0; 16];
        bytes[..4].copy_from_slice(&event.to_le_bytes());
        bytes[4..8].copy_from_slice(&lun);
        bytes[12..].copy_from_slice(&reason.to_le_bytes());
        memory.write_slice(&bytes, GuestAddress(addr)).unwrap();
        self.push_used(1, u32::from(head), 16);
        true
    }

    pub fn avail_idx(&self, vring: usize) -> u16 {
        let memory = self.memory.as_ref().expect("a driver has the device");
        let index = GuestAddress(self.rings[vring].avail + 2);
        memory.read_obj(index).unwrap()
    }

    fn pop(&mut self, vring: usize) -> Option<u16> {
        let ring = self.rings[vring];
        if !ring.runs || self.avail_idx(vring) == ring.next {
            return None;
        }
        let memory = self.memory.as_ref()?;
        let at = ring.avail + 4 + 2 * u64::from(ring.next % ring.size);
        self.rings[vring].next = ring.next.wrapping_add(1);
        Some(memory.read_obj(GuestAddress(at)).unwrap())
    }

    /// Puts an entry into a used ring, and calls.
    pub fn push_used(&mut self, vring: u16, id: u32, len: u32) {
        let ring = self.rings[usize::from(vring)];
        let memory = self.memory.as_ref().expect("a driver has the device");
        let idx: u16 = memory.read_obj(GuestAddress(ring.used + 2)).unwrap();
        let at = ring.used + 4 + 8 * u64::from(idx % ring.size);
        memory.write_obj(id, GuestAddress(at)).unwrap();
        memory.write_obj(len, GuestAddress(at + 4)).unwrap();
        let next = GuestAddress(ring.used + 2);
        memory.write_obj(idx.wrapping_add(1), next).unwrap();
        let (hba, vring) = (HbaId(0), VringIndex(vring));
        self.guest.input(self.now, ToGuest::Call { hba, vring });
    }

    fn serve(&mut self, vring: u16) {
        let memory = self.memory.clone().expect("a driver has the device");
        while let Some(head) = self.pop(usize::from(vring)) {
            let chain = self.rings[usize::from(vring)].take_apart(&memory, vring, head);
            if self.recorder.is_none() {
                self.log.push(chain.sent.line());
                self.sent.push(chain.sent.clone());
            }
            let target = chain.sent.target;
            let slot = self.slots.get(&target).copied().unwrap_or(Slot::Absent);
            let reaction = match self.reactions.get_mut(&target) {
                Some(queue) if chain.sent.is_rw() && slot == Slot::Present => {
                    let one = queue.front().copied();
                    if queue.len() > 1 {
                        queue.pop_front();
                    }
                    one.unwrap_or(Reaction::Normal)
                }
                Some(_) | None => Reaction::Normal,
            };
            let normal = || answer(slot, &chain.sent, self.blocks);
            let reply = match reaction {
                Reaction::Normal => normal(),
                Reaction::Hold => {
                    self.record(&chain, slot, &Answer::good());
                    self.held.push_back(chain);
                    self.note_most();
                    continue;
                }
                Reaction::Says(says) => Answer { says, data: None },
            };
            self.record(&chain, slot, &reply);
            let moves = chain.sent.is_rw() || chain.sent.is_short_rw();
            let takes = if moves { self.io_latency } else { self.latency };
            let at = self.now + takes;
            let place = self.due.partition_point(|(due, ..)| *due <= at);
            self.due.insert(place, (at, chain, reply));
            self.note_most();
        }
    }

    /// READs and WRITEs are counted, the others written down.
    fn record(&mut self, chain: &Chain, slot: Slot, reply: &Answer) {
        let Some(recorder) = &mut self.recorder else {
            return;
        };
        if chain.sent.is_rw() {
            recorder.reads_writes += 1;
            return;
        }
        recorder.short += u32::from(chain.sent.is_short_rw());
        let sum = |list: &[(u64, u32)]| (list.len(), list.iter().map(|(_, len)| len).sum());
        let cdb = chain.sent.cdb.first_chunk().expect("a CDB has 32 bytes");
        let command = Command {
            vring: chain.sent.vring,
            target: chain.sent.target,
            lun: chain.sent.lun_bytes,
            cdb: *cdb,
            header: chain.sizes,
            data_out: sum(&chain.out),
            data_in: sum(&chain.data_in),
            answer: reply.words(slot),
        };
        self.note(|| What::Command(command));
    }

    fn note_most(&mut self) {
        self.most = self.most.max(self.due.len() + self.held.len());
    }

    fn complete(&mut self, chain: &Chain, reply: &Answer) {
        let memory = self.memory.clone().expect("a driver has the device");
        if let Some(data) = &reply.data {
            let mut rest = &data[..];
            for (addr, len) in &chain.data_in {
                let (now, later) = rest.split_at(rest.len().min(*len as usize));
                memory.write_slice(now, GuestAddress(*addr)).unwrap();
                rest = later;
            }
        }
        if chain.sent.is_rw() && reply.says.is_good() && self.recorder.is_none() {
            self.move_blocks(&memory, chain, reply.says.resid);
        }
        memory
            .write_slice(&reply.says.bytes(), GuestAddress(chain.response))
            .unwrap();
        let Sent {
            vring,
            head,
            bytes_in,
            ..
        } = chain.sent;
        self.push_used(vring, u32::from(head), 108 + bytes_in);
    }

    /// Moves all but the last `resid` bytes.
    fn move_blocks(&mut self, memory: &Memory, chain: &Chain, resid: u32) {
        let cdb = &chain.sent.cdb;
        let lba = u64::from(u32::from_be_bytes([cdb[2], cdb[3], cdb[4], cdb[5]]));
        let write = cdb[0] == 0x2a;
        let segments = if write { &chain.out } else { &chain.data_in };
        let total: u32 = segments.iter().map(|(_, len)| len).sum();
        let mut left = total.saturating_sub(resid) / 512;
        let mut block = lba;
        for (addr, len) in segments {
            for at in (0..u64::from(*len)).step_by(512).take(left as usize) {
                let place = (chain.sent.target, block);
                let addr = GuestAddress(addr + at);
                let mut bytes = vec![0; 512];
                if write {
                    memory.read_slice(&mut bytes, addr).unwrap();
                    self.store.insert(place, bytes);
                } else {
                    let bytes = self.store.get(&place).unwrap_or(&bytes);
                    memory.write_slice(bytes, addr).unwrap();
                }
                block += 1;
                left -= 1;
            }
        }
    }

    fn message(&mut self, message: VhostUser, need_reply: bool) {
        let more = self.recorder.as_ref().map_or((0, 0), |_| RECORDER_MORE);
        let words = message_words(&message);
        if self.recorder.is_none() {
            self.log.push(scsi::message_line(&message));
        }
        let reply = match message {
            VhostUser::GetFeatures => Some(VhostUserReply::Features(FEATURES | more.0)),
            VhostUser::GetProtocolFeatures => {
                Some(VhostUserReply::ProtocolFeatures(PROTOCOL_FEATURES | more.1))
            }
            VhostUser::GetQueueNum => Some(VhostUserReply::QueueNum(128)),
            VhostUser::GetInflightFd { .. } => {
                let buffer = GuestMemoryMmap::from_ranges(&[(GuestAddress(0), 4096)]).unwrap();
                let buffer = Arc::new(buffer);
                Some(VhostUserReply::Inflight { buffer })
            }
            VhostUser::GetVringBase { vring } => {
                let ring = &mut self.rings[usize::from(vring.0)];
                assert!(ring.runs, "a ring that runs is stopped");
                ring.runs = false;
                let base = ring.next;
                Some(VhostUserReply::VringBase { vring, base })
            }
            VhostUser::SetMemTable(memory) => {
                self.memory = Some(memory);
                None
            }
            VhostUser::SetVringNum { vring, size } => {
                self.rings[usize::from(vring.0)].size = size as u16;
                None
            }
            VhostUser::SetVringBase { vring, base } => {
                self.rings[usize::from(vring.0)].next = base;
                None
            }
            VhostUser::SetVringAddr {
                vring,
                desc,
                avail,
                used,
            } => {
                let ring = &mut self.rings[usize::from(vring.0)];
                (ring.desc, ring.avail, ring.used) = (desc, avail, used);
                None
            }
            VhostUser::SetVringKick { vring } => {
                self.rings[usize::from(vring.0)].runs = true;
                None
            }
            VhostUser::SetFeatures(_)
            | VhostUser::SetProtocolFeatures(_)
            | VhostUser::SetOwner
            | VhostUser::SetVringCall { .. }
            | VhostUser::SetVringErr { .. }
            | VhostUser::SetVringEnable { .. }
            | VhostUser::SetInflightFd { .. }
            | VhostUser::SetStatus(_)
            | VhostUser::GetStatus => None,
        };
        let held = self.held.len();
        self.note(|| What::Message(answered(words, reply.as_ref(), held)));
        let reply = reply.or(need_reply.then_some(VhostUserReply::Ack { ok: true }));
        if let Some(reply) = reply {
            let hba = HbaId(0);
            self.guest.input(self.now, ToGuest::Answer { hba, reply });
        }
    }

    fn earliest(&self) -> Option<(Time, ActorId)> {
        let actors = (0..self.guest.actors()).map(ActorId);
        let ready = actors.filter_map(|actor| match self.guest.when(actor) {
            When::At(at) => Some((at, actor)),
            When::Blocked => None,
        });
        ready.min_by_key(|(at, actor)| (*at, actor.0))
    }

    /// One turn of the guest, or one answer of the back-end; false if neither is due by `limit`.
    pub fn step(&mut self, limit: Time) -> bool {
        let due = self.due.front().map(|(at, ..)| *at);
        let turn = self.earliest();
        let back_end_first = due.is_some_and(|at| turn.is_none_or(|(turn, _)| at <= turn));
        let at = if back_end_first {
            due
        } else {
            turn.map(|(at, _)| at)
        };
        let Some(at) = at.filter(|at| *at <= limit) else {
            return false;
        };
        self.now = self.now.max(at);
        if back_end_first {
            let (_, chain, reply) = self.due.pop_front().expect("it is due");
            self.complete(&chain, &reply);
            return true;
        }
        let (_, actor) = turn.expect("somebody goes");
        let mut out = Vec::new();
        let mut cx = Cx {
            now: self.now,
            rng: &mut self.rng,
            out: &mut out,
            saw: &mut self.seen,
        };
        let turn = self.guest.turn(actor, &mut cx);
        #[cfg(test)]
        wire::invariant::check_all(crate::guest::INVARIANTS, &self.guest);
        if let Some(recorder) = &mut self.recorder {
            let ready = |seen: &Seen| matches!(seen.what, Observation::VmReady { .. });
            recorder.ready += self.seen.drain(..).filter(ready).count() as u32;
        } else {
            self.turns.push((self.now, turn));
        }
        self.deliver(out);
        true
    }

    /// Takes what the guest sent.
    pub fn deliver(&mut self, out: Vec<FromGuest>) {
        for message in out {
            match message {
                FromGuest::Connect { .. } => {
                    assert!(!self.connected, "it connects once");
                    self.note(|| What::Connected);
                    self.connected = true;
                }
                FromGuest::Disconnect { .. } => {
                    self.connected = false;
                    self.rings = [Ring::default(); 4];
                    self.due.clear();
                    self.held.clear();
                }
                FromGuest::VhostUser {
                    message,
                    need_reply,
                    ..
                } => {
                    self.message(message, need_reply);
                }
                FromGuest::Doorbell { vring, .. } if vring.0 >= 2 => self.serve(vring.0),
                FromGuest::Doorbell { .. } => {}
            }
        }
    }
}
