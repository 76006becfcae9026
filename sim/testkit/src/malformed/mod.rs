//! Inputs that no driver, client or front-end should send, drawn from a seed and given to the model
//! target: descriptor chains, indirect tables, control requests, JSON-RPC bytes, vhost-user messages.
//!
//! Whatever comes in: the target does not panic, does not die, touches nothing that it was not told to
//! touch (outside guest memory, or in a region that no input names), and its work for one input is bounded. Knows bytes and the target's messages; judges nothing else.

mod bounds;
mod calls;
mod chains;

use std::sync::Arc;

pub use bounds::Bounds;
use bounds::{CANARY, CANARY_BYTES, Cost, is_painted, paint};
use scenarios::{Observation, Time};
use serde_json::json;
use spdk::rpc::{Field, methods};
use spdk::{Latencies, NvmeDevice, Target, TargetConfig};
use vm_memory::{Bytes as _, GuestAddress, GuestMemoryMmap};
use wire::inside::Inside as _;
use wire::invariant::check_all;
use wire::message::{
    ClientId, ConnId, FromTarget, ToTarget, VhostUser, VhostUserReply, VringIndex,
};
use wire::ring::Desc;
use wire::{ActorId, Bugs, Component as _, Cx, Memory, Rng, Stream, When};

/// Entries of every ring.
const SIZE: u16 = 64;
/// Rings: control, event, two request queues.
const RINGS: u16 = 4;
/// Where the rings are, a page each; then headers and tables; then data.
const RINGS_AT: u64 = 0x1000;
const BUFFERS_AT: u64 = 0x1_0000;
const REGION: u64 = 1 << 20;
/// The second region begins here; between the two is a hole.
const SECOND: u64 = 2 << 20;
/// Inputs between two fresh targets: calls take the disks away in time.
const LIFE: u64 = 2_500;
/// Inputs from one check of the target's invariants to the next.
const CHECK_EVERY: u64 = 8;
/// VERSION_1, INDIRECT_DESC, HOTPLUG, PROTOCOL_FEATURES.
const FEATURES: u64 = 1 << 32 | 1 << 28 | 1 << 1 | 1 << 30;

/// VHOST_F_LOG_ALL.
const LOG_ALL: u64 = 1 << 26;

/// What was given, by kind, and the most turns that one cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Requests on request queues, with direct chains.
    pub chains: u64,
    /// Requests with indirect tables.
    pub tables: u64,
    /// Control requests.
    pub controls: u64,
    /// RPC texts.
    pub rpcs: u64,
    /// vhost-user messages.
    pub messages: u64,
    /// Inflight buffers, in messages or when a front-end connects.
    pub inflights: u64,
    /// Methods that were called, a bit each.
    pub methods: u64,
    /// The most turns.
    pub turns: u32,
    /// Used entries that came back.
    pub used: u64,
}

/// A target under fire.
pub struct Fire {
    target: Target,
    rolls: Rng,
    accidents: Rng,
    now: Time,
    memory: Memory,
    avail: [u16; RINGS as usize],
    /// The used index of each ring, when it was last looked at.
    seen: [u16; RINGS as usize],
    given: u64,
    conn: u32,
    /// Connections that the target closed, one after the other.
    closed: u32,
    bugs: Bugs,
    methods: Vec<(&'static str, &'static [Field])>,
    /// The last inflight buffer that the target gave.
    offered: Option<Memory>,
    bounds: Bounds,
    cost: Cost,
    /// What has been given so far.
    pub tally: Tally,
}

impl Fire {
    /// A fresh target with two disks, and a front-end that has started properly.
    #[must_use]
    pub fn new(seed: u64, bugs: Bugs) -> Self {
        let regions = [
            (GuestAddress(0), REGION as usize),
            (GuestAddress(SECOND), REGION as usize),
            (GuestAddress(CANARY), CANARY_BYTES),
        ];
        let memory = Arc::new(GuestMemoryMmap::from_ranges(&regions).expect("2 MiB"));
        paint(&memory);
        let mut fire = Self {
            target: fresh(bugs),
            rolls: Rng::new(seed, Stream::Malformed),
            accidents: Rng::new(seed, Stream::Accidents),
            now: Time::ZERO,
            memory,
            avail: [0; RINGS as usize],
            seen: [0; RINGS as usize],
            given: 0,
            conn: 0,
            closed: 0,
            bugs,
            methods: methods().collect(),
            offered: None,
            bounds: Bounds::default(),
            cost: Cost::default(),
            tally: Tally::default(),
        };
        fire.set_up();
        fire
    }

    /// With other bounds.
    #[must_use]
    pub fn within(self, bounds: Bounds) -> Self {
        Self { bounds, ..self }
    }

    /// Gives `inputs` inputs; what was wrong with the first that went wrong.
    pub fn give(&mut self, inputs: u64) -> Result<(), String> {
        for _ in 0..inputs {
            if self.given.is_multiple_of(LIFE) && self.given > 0 {
                self.renew();
            }
            self.given += 1;
            self.input();
            self.look()
                .map_err(|what| format!("input {}: {what}", self.given))?;
        }
        Ok(())
    }

    /// A request that reads into the memory that none may change.
    pub fn give_to_canary(&mut self) -> Result<(), String> {
        self.read_into(CANARY);
        self.look()
    }

    /// A fresh target, and a front-end that starts properly.
    fn renew(&mut self) {
        self.target.renew(config(self.bugs));
        (self.now, self.closed) = (Time::ZERO, 0);
        self.set_up();
    }

    /// Lets the target work, and looks at what it did.
    fn look(&mut self) -> Result<(), String> {
        self.cost = Cost::default();
        let kept = self.target.stored_bytes();
        self.settle()?;
        self.cost.kept = self.target.stored_bytes().saturating_sub(kept);
        self.bounds.exceeded(&self.cost)?;
        self.count_used();
        if is_painted(&self.memory) {
            return Ok(());
        }
        Err("the canary was written to, which no input named".to_owned())
    }

    /// Counts what came back since it was last looked.
    fn count_used(&mut self) {
        for vring in 0..RINGS {
            let mut index = [0; 2];
            let at = GuestAddress(ring_at(vring) + 0x602);
            let read = self.memory.read_slice(&mut index, at);
            read.expect("rings are in memory");
            let index = u16::from_le_bytes(index);
            let seen = std::mem::replace(&mut self.seen[usize::from(vring)], index);
            self.tally.used += u64::from(index.wrapping_sub(seen));
        }
    }

    fn input(&mut self) {
        match self.rolls.below(16) {
            0..6 => self.request(false),
            6..10 => self.request(true),
            10..12 => self.control(),
            12..15 => self.rpc(),
            _ => self.message(),
        }
    }

    fn call(&mut self, method: &str, params: &serde_json::Value) {
        let call = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
        self.bytes(call.to_string().into_bytes());
        self.settle().expect("a good call does no harm");
    }

    fn bytes(&mut self, bytes: Vec<u8>) {
        let client = ClientId(0);
        let rpc = ToTarget::Rpc {
            client,
            bytes: bytes.into(),
        };
        self.target.input(self.now, rpc);
    }

    fn set_up(&mut self) {
        for disk in ["Malloc0", "Malloc1", "Malloc2"] {
            let params = json!({"name": disk, "block_size": 512, "num_blocks": 2048});
            self.call("bdev_malloc_create", &params);
        }
        self.call("vhost_create_scsi_controller", &json!({"ctrlr": "vhost.0"}));
        for (slot, disk) in ["Malloc0", "Malloc1"].iter().enumerate() {
            let params = json!({"ctrlr": "vhost.0", "scsi_target_num": slot, "bdev_name": disk});
            self.call("vhost_scsi_controller_add_target", &params);
        }
        self.connect();
    }

    /// Connects and starts as a good front-end does.
    fn connect(&mut self) {
        // What the rings held is forgotten.
        self.count_used();
        self.conn += 1;
        let conn = ConnId(self.conn);
        let controller = "vhost.0".into();
        self.target
            .input(self.now, ToTarget::Connect { conn, controller });
        self.say(VhostUser::SetOwner);
        let log = if self.rolls.chance(1, 2) { LOG_ALL } else { 0 };
        self.say(VhostUser::SetFeatures(FEATURES | log));
        self.say(VhostUser::SetMemTable(self.memory.clone()));
        if self.rolls.chance(1, 4) {
            self.set_inflight();
        }
        for vring in 0..RINGS {
            let at = ring_at(vring);
            let zero = [0; 0x1000];
            self.memory
                .write_slice(&zero, GuestAddress(at))
                .expect("rings are in memory");
            (
                self.avail[usize::from(vring)],
                self.seen[usize::from(vring)],
            ) = (0, 0);
            let vring = VringIndex(vring);
            self.say(VhostUser::SetVringNum {
                vring,
                size: SIZE.into(),
            });
            self.say(VhostUser::SetVringBase { vring, base: 0 });
            let (avail, used) = (at + 0x400, at + 0x600);
            self.say(VhostUser::SetVringAddr {
                vring,
                desc: at,
                avail,
                used,
            });
            self.say(VhostUser::SetVringKick { vring });
        }
    }

    fn say(&mut self, message: VhostUser) {
        let conn = ConnId(self.conn);
        let said = ToTarget::VhostUser {
            conn,
            message,
            need_reply: false,
        };
        self.target.input(self.now, said);
    }

    fn put(&self, bytes: &[u8], at: u64) {
        // What would lie in the hole is not written: nobody can have written it.
        let _ = self.memory.write_slice(bytes, GuestAddress(at));
    }

    fn place(&self, vring: u16, index: u16, desc: Desc) {
        self.put(&desc.to_bytes(), ring_at(vring) + 16 * u64::from(index));
    }

    /// Makes a head available; rarely one that is none, or an index that jumps.
    fn publish(&mut self, vring: u16, head: u16) {
        let head = if self.rolls.chance(1, 50) {
            self.rolls.bits() as u16
        } else {
            head
        };
        if self.rolls.chance(1, 200) {
            let skip = self.rolls.bits() as u16;
            self.publish_skipping(vring, head, skip);
            // The ring is unusable from here on, as SPDK has it: start anew.
            self.reconnect();
        } else {
            self.publish_skipping(vring, head, 0);
        }
    }

    /// Makes a head available, and as many more that were never written.
    fn publish_skipping(&mut self, vring: u16, head: u16, skip: u16) {
        let at = ring_at(vring) + 0x400;
        let index = &mut self.avail[usize::from(vring)];
        let slot = at + 4 + 2 * u64::from(*index % SIZE);
        *index = index.wrapping_add(1).wrapping_add(skip);
        let index = index.to_le_bytes();
        self.put(&head.to_le_bytes(), slot);
        self.put(&index, at + 2);
        let conn = ConnId(self.conn);
        self.target.input(
            self.now,
            ToTarget::Doorbell {
                conn,
                vring: VringIndex(vring),
            },
        );
    }

    fn reconnect(&mut self) {
        let conn = ConnId(self.conn);
        self.target.input(self.now, ToTarget::Disconnect { conn });
        self.connect();
    }

    /// Hands over an inflight buffer: one that the target gave, or one that may be too short, in which any
    /// heads are in flight.
    fn set_inflight(&mut self) {
        self.tally.inflights += 1;
        let mut buffer = self.offered.clone();
        if buffer.is_none() || self.rolls.chance(1, 2) {
            let bytes = 64 << (2 * self.rolls.below(6));
            let fresh = GuestMemoryMmap::from_ranges(&[(GuestAddress(0), bytes)]).expect("64 KiB");
            let entries: Vec<u8> = (0..bytes.min(4096))
                .map(|_| self.rolls.bits() as u8 & 1)
                .collect();
            fresh
                .write_slice(&entries, GuestAddress(0))
                .expect("it is as long");
            buffer = Some(Arc::new(fresh));
        }
        let (queues, size) = match self.rolls.below(3) {
            0 => (self.rolls.below(8) as u16, self.length() as u16),
            _ => (RINGS, SIZE),
        };
        if let Some(buffer) = buffer {
            self.say(VhostUser::SetInflightFd {
                queues,
                size,
                buffer,
            });
        }
    }

    fn message(&mut self) {
        self.tally.messages += 1;
        let vring = VringIndex(self.rolls.below(6) as u16);
        let (size, base) = (self.length(), self.rolls.bits() as u16);
        let (desc, avail, used) = (self.address(), self.address(), self.address());
        let on = self.rolls.chance(1, 2);
        match self.rolls.below(12) {
            0 => self.say(VhostUser::SetVringNum { vring, size }),
            1 => self.say(VhostUser::SetVringBase { vring, base }),
            2 => self.say(VhostUser::SetVringAddr {
                vring,
                desc,
                avail,
                used,
            }),
            3 => self.say(VhostUser::SetVringKick { vring }),
            4 => self.say(VhostUser::SetVringEnable { vring, on }),
            5 => self.say(VhostUser::GetVringBase { vring }),
            6 => self.say(VhostUser::SetFeatures(desc)),
            7 => self.say(VhostUser::SetMemTable(self.memory.clone())),
            8 => self.say(VhostUser::GetInflightFd {
                queues: base,
                size: size as u16,
            }),
            9 => self.say(VhostUser::SetVringCall { vring }),
            _ => self.set_inflight(),
        }
        if self.rolls.chance(1, 8) {
            self.reconnect();
        }
    }

    /// Lets the target work until it has nothing to do.
    fn settle(&mut self) -> Result<(), String> {
        let (mut out, mut saw) = (Vec::new(), Vec::new());
        for turn in 0..self.bounds.turns {
            let actors = (0..self.target.actors()).map(ActorId);
            let ready = actors.filter_map(|actor| match self.target.when(actor) {
                When::At(time) => Some((time, actor)),
                When::Blocked => None,
            });
            let Some((time, actor)) = ready.min() else {
                self.tally.turns = self.tally.turns.max(turn);
                if self.given.is_multiple_of(CHECK_EVERY) {
                    check_all(Target::invariants(), &self.target);
                }
                return self.came(out, &saw);
            };
            self.now = self.now.max(time);
            let mut cx = Cx {
                now: self.now,
                rng: &mut self.accidents,
                out: &mut out,
                saw: &mut saw,
            };
            let _ = self.target.turn(actor, &mut cx);
        }
        Err(format!("more than {} turns", self.bounds.turns))
    }

    fn came(&mut self, out: Vec<FromTarget>, saw: &[scenarios::Seen]) -> Result<(), String> {
        for seen in saw {
            if let Observation::Broken { check, text } = &seen.what {
                return Err(format!("{check}: {text}"));
            }
        }
        let mut closed = false;
        self.cost.messages += out.len();
        for message in out {
            match message {
                FromTarget::Died(crash) => {
                    return Err(format!("{} in {}", crash.signal, crash.place));
                }
                FromTarget::Closed { conn } => closed |= conn == ConnId(self.conn),
                FromTarget::Rpc { bytes, .. } => self.cost.said += bytes.len(),
                FromTarget::Answer {
                    reply: VhostUserReply::Inflight { buffer },
                    ..
                } => self.offered = Some(buffer),
                FromTarget::Answer { .. }
                | FromTarget::Call { .. }
                | FromTarget::RpcClosed { .. }
                | FromTarget::Log(_) => {}
            }
        }
        if !closed {
            self.closed = 0;
            return Ok(());
        }
        self.closed += 1;
        if self.closed == 1 {
            self.connect();
        } else {
            // There is no controller any more.
            self.renew();
        }
        self.settle()
    }
}

fn ring_at(vring: u16) -> u64 {
    RINGS_AT * (1 + u64::from(vring))
}

fn config(bugs: Bugs) -> TargetConfig {
    TargetConfig {
        bugs,
        latencies: Latencies::default(),
        nvme: vec![NvmeDevice {
            traddr: "0000:01:00.0".to_owned(),
            namespaces: vec![(2048, 512)],
        }],
        ..TargetConfig::default()
    }
}

fn fresh(bugs: Bugs) -> Target {
    Target::new(config(bugs))
}
