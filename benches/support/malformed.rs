//! Inputs that no driver, client or front-end should send, drawn from a seed and given to the model
//! target: descriptor chains, indirect tables, control requests, JSON-RPC bytes, vhost-user messages.
//!
//! Whatever comes in: the target does not panic, does not die, touches nothing outside guest memory, and
//! its work for one input is bounded. Knows bytes and the target's messages; judges nothing else.

mod malformed_calls;
mod malformed_chains;

use std::sync::Arc;

use malformed_calls::{CALLS, VALUES};
use scenarios::{Observation, Time};
use serde_json::json;
use sim::message::{ClientId, ConnId, FromTarget, ToTarget, VhostUser, VringIndex};
use sim::target::{Latencies, Target, TargetConfig};
use sim::wire::ring::Desc;
use sim::{ActorId, Cx, Deviations, Dice, End as _, Memory, When};
use vm_memory::{Bytes as _, GuestAddress, GuestMemoryMmap};

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
/// Turns that one input may cost at most: a ring's worth of requests, each with its turns of a LUN, a
/// bdev and a poller.
const TURNS_MAX: u32 = 4_096;
/// Inputs between two fresh targets.
const LIFE: u64 = 20_000;
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
    /// The most turns.
    pub turns: u32,
    /// Used entries that came back.
    pub used: u64,
}

/// A target under fire.
pub struct Fire {
    target: Target,
    rolls: Dice,
    accidents: Dice,
    now: Time,
    memory: Memory,
    avail: [u16; RINGS as usize],
    given: u64,
    conn: u32,
    /// What has been given so far.
    pub tally: Tally,
}

impl Fire {
    /// A fresh target with two disks, and a front-end that has started properly.
    #[must_use]
    pub fn new(seed: u64, deviations: Deviations) -> Self {
        let regions = [
            (GuestAddress(0), REGION as usize),
            (GuestAddress(SECOND), REGION as usize),
        ];
        let memory = GuestMemoryMmap::from_ranges(&regions).expect("2 MiB");
        let mut fire = Self {
            target: fresh(deviations),
            rolls: Dice::new(seed, 5),
            accidents: Dice::new(seed, 1),
            now: Time::ZERO,
            memory: Arc::new(memory),
            avail: [0; RINGS as usize],
            given: 0,
            conn: 0,
            tally: Tally::default(),
        };
        fire.set_up();
        fire
    }

    /// Gives `inputs` inputs; what was wrong with the first that went wrong.
    pub fn give(&mut self, inputs: u64, deviations: Deviations) -> Result<(), String> {
        for _ in 0..inputs {
            if self.given.is_multiple_of(LIFE) && self.given > 0 {
                self.target.renew(config(deviations));
                self.now = Time::ZERO;
                self.set_up();
            }
            self.given += 1;
            self.input();
            self.settle()
                .map_err(|what| format!("input {}: {what}", self.given))?;
        }
        Ok(())
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
        self.conn += 1;
        let conn = ConnId(self.conn);
        let controller = "vhost.0".into();
        self.target
            .input(self.now, ToTarget::Connect { conn, controller });
        self.say(VhostUser::SetOwner);
        let log = if self.rolls.chance(1, 2) { LOG_ALL } else { 0 };
        self.say(VhostUser::SetFeatures(FEATURES | log));
        self.say(VhostUser::SetMemTable(self.memory.clone()));
        for vring in 0..RINGS {
            let at = ring_at(vring);
            let zero = [0; 0x1000];
            self.memory
                .write_slice(&zero, GuestAddress(at))
                .expect("rings are in memory");
            self.avail[usize::from(vring)] = 0;
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
        let jump = self.rolls.chance(1, 200);
        let at = ring_at(vring) + 0x400;
        let index = &mut self.avail[usize::from(vring)];
        let slot = at + 4 + 2 * u64::from(*index % SIZE);
        *index = index.wrapping_add(1);
        if jump {
            *index = index.wrapping_add(self.rolls.bits() as u16);
        }
        let index = index.to_le_bytes();
        self.put(&head.to_le_bytes(), slot);
        self.put(&index, at + 2);
        let conn = ConnId(self.conn);
        self.target.input(
            self.now,
            ToTarget::Look {
                conn,
                vring: VringIndex(vring),
            },
        );
        if jump {
            // The ring is unusable from here on, as SPDK has it: start anew.
            self.reconnect();
        }
    }

    fn reconnect(&mut self) {
        let conn = ConnId(self.conn);
        self.target.input(self.now, ToTarget::Disconnect { conn });
        self.connect();
    }

    fn rpc(&mut self) {
        self.tally.rpcs += 1;
        let (method, good) = CALLS[self.rolls.below(CALLS.len() as u32) as usize];
        let mut params = String::new();
        for (n, (key, value)) in good.iter().enumerate() {
            let comma = if n > 0 { "," } else { "" };
            let value = match self.rolls.below(3) {
                0 => VALUES[self.rolls.below(VALUES.len() as u32) as usize],
                _ => value,
            };
            params += &format!("{comma}\"{key}\":{value}");
        }
        let call = format!(
            "{{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"{method}\",\"params\":{{{params}}}}}"
        );
        let mut bytes = call.into_bytes();
        match self.rolls.below(6) {
            0 => bytes.truncate(self.rolls.below(bytes.len() as u32) as usize),
            1 => {
                let at = self.rolls.below(bytes.len() as u32) as usize;
                bytes[at] = self.rolls.bits() as u8;
            }
            2 => bytes = vec![b'['; self.rolls.below(600) as usize],
            3 => bytes.extend_from_slice(&self.rolls.bits().to_le_bytes()),
            _ => {}
        }
        self.bytes(bytes);
        if self.rolls.chance(1, 4) {
            // A client that sent half a call goes, and the next one begins anew.
            self.target.input(
                self.now,
                ToTarget::RpcClosed {
                    client: ClientId(0),
                },
            );
        }
    }

    fn message(&mut self) {
        self.tally.messages += 1;
        let vring = VringIndex(self.rolls.below(6) as u16);
        let (size, base) = (self.length(), self.rolls.bits() as u16);
        let (desc, avail, used) = (self.address(), self.address(), self.address());
        let on = self.rolls.chance(1, 2);
        match self.rolls.below(10) {
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
            _ => self.say(VhostUser::SetVringCall { vring }),
        }
        if self.rolls.chance(1, 8) {
            self.reconnect();
        }
    }

    /// Lets the target work until it has nothing to do.
    fn settle(&mut self) -> Result<(), String> {
        let (mut out, mut saw) = (Vec::new(), Vec::new());
        for turn in 0..TURNS_MAX {
            let actors = (0..self.target.actors()).map(ActorId);
            let ready = actors.filter_map(|actor| match self.target.when(actor) {
                When::At(time) => Some((time, actor)),
                When::Blocked => None,
            });
            let Some((time, actor)) = ready.min() else {
                self.tally.turns = self.tally.turns.max(turn);
                return self.came(out, &saw);
            };
            self.now = self.now.max(time);
            let mut cx = Cx {
                now: self.now,
                dice: &mut self.accidents,
                out: &mut out,
                saw: &mut saw,
            };
            let _ = self.target.turn(actor, &mut cx);
        }
        Err(format!("more than {TURNS_MAX} turns"))
    }

    fn came(&mut self, out: Vec<FromTarget>, saw: &[scenarios::Seen]) -> Result<(), String> {
        for seen in saw {
            if let Observation::Broken { check, text } = &seen.what {
                return Err(format!("{check}: {text}"));
            }
        }
        let mut closed = false;
        for message in out {
            match message {
                FromTarget::Died(crash) => {
                    return Err(format!("{} in {}", crash.signal, crash.place));
                }
                FromTarget::Closed { conn } => closed |= conn == ConnId(self.conn),
                FromTarget::Call { .. } => self.tally.used += 1,
                _ => {}
            }
        }
        if closed {
            self.connect();
            return self.settle();
        }
        Ok(())
    }
}

fn ring_at(vring: u16) -> u64 {
    RINGS_AT * (1 + u64::from(vring))
}

fn config(deviations: Deviations) -> TargetConfig {
    TargetConfig {
        deviations,
        latencies: Latencies::default(),
        ..TargetConfig::default()
    }
}

fn fresh(deviations: Deviations) -> Target {
    Target::new(config(deviations))
}
