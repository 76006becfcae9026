//! A front-end for tests: its own rings in its own memory, and a loop that takes turns in time order.
//!
//! No guest: nothing happens that a test does not ask for.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes as RawBytes;
use scenarios::{EventKind, Inside, Observation, Seen, Time};
use serde_json::{Value, json};

use crate::{NvmeDevice, Target, TargetConfig, TargetTurn};
use wire::bugs::Bugs;
use wire::component::{ActorId, Component, Cx, When};
use wire::inside::Inside as _;
use wire::invariant::check_all;
use wire::message::{ClientId, ConnId, Crash, FromTarget, ToTarget, VhostUser, VhostUserReply};
use wire::scsi::feature;
use wire::{Rng, Stream};

pub const RING: u16 = 128;
pub const LINUX: u64 = feature::VERSION_1
    | feature::INDIRECT_DESC
    | feature::HOTPLUG
    | feature::CHANGE
    | feature::PROTOCOL_FEATURES;
pub const CTRL: u16 = 0;
pub const EVENT: u16 = 1;
pub const REQ: u16 = 2;

pub struct Rig {
    pub target: Target,
    pub now: Time,
    pub rng: Rng,
    pub seen: Vec<Seen>,
    pub turns: Vec<TargetTurn>,
    pub answers: BTreeMap<u64, (Time, Value)>,
    pub replies: Vec<(ConnId, VhostUserReply)>,
    pub closed: Vec<ConnId>,
    pub calls: Vec<(ConnId, u16)>,
    pub logs: Vec<String>,
    pub died: Option<Crash>,
    pub frozen: Vec<u16>,
    next_id: u64,
}

impl Rig {
    pub fn new(bugs: Bugs) -> Self {
        Self::with(TargetConfig {
            bugs,
            nvme: vec![NvmeDevice {
                traddr: "0000:01:00.0".to_owned(),
                namespaces: vec![(8192, 512)],
            }],
            ..TargetConfig::default()
        })
    }

    pub fn with(config: TargetConfig) -> Self {
        Self {
            target: Target::new(config),
            now: Time::ZERO,
            rng: Rng::new(1, Stream::Directed),
            seen: Vec::new(),
            turns: Vec::new(),
            answers: BTreeMap::new(),
            replies: Vec::new(),
            closed: Vec::new(),
            calls: Vec::new(),
            logs: Vec::new(),
            died: None,
            frozen: Vec::new(),
            next_id: 0,
        }
    }

    /// A target with a malloc bdev "Malloc0".."Malloc3", an error bdev on Malloc2, and "vhost.0".
    pub fn ready(bugs: Bugs) -> Self {
        let mut rig = Self::new(bugs);
        rig.set_up();
        rig
    }

    pub fn set_up(&mut self) {
        for _ in 0..4 {
            let params = json!({"num_blocks": 8192, "block_size": 512});
            self.done("bdev_malloc_create", params);
        }
        self.done("bdev_error_create", json!({"base_name": "Malloc2"}));
        for name in ["vhost.0", "vhost.1"] {
            self.done("vhost_create_scsi_controller", json!({"ctrlr": name}));
        }
    }

    /// Takes turns in time order until `span` has passed.
    pub fn run(&mut self, span: Duration) {
        let end = self.now + span;
        while let Some((at, actor)) = self.next() {
            if at > end {
                break;
            }
            self.now = self.now.max(at);
            self.turn(actor);
        }
        self.now = end;
    }

    pub fn ms(&mut self, ms: u64) {
        self.run(Duration::from_millis(ms));
    }

    fn next(&self) -> Option<(Time, u16)> {
        (0..self.target.actors())
            .filter(|actor| !self.frozen.contains(actor))
            .filter_map(|actor| match self.target.when(ActorId(actor)) {
                When::Blocked => None,
                When::At(at) => Some((at, actor)),
            })
            .min()
    }

    fn turn(&mut self, actor: u16) {
        let mut out = Vec::new();
        let mut cx = Cx {
            now: self.now,
            rng: &mut self.rng,
            out: &mut out,
            saw: &mut self.seen,
        };
        self.turns.push(self.target.turn(ActorId(actor), &mut cx));
        check_all(Target::invariants(), &self.target);
        for message in out {
            match message {
                FromTarget::Rpc { bytes, .. } => self.rpc_bytes(&bytes),
                FromTarget::Answer { conn, reply } => self.replies.push((conn, reply)),
                FromTarget::Closed { conn } => self.closed.push(conn),
                FromTarget::Call { conn, vring } => self.calls.push((conn, vring.0)),
                FromTarget::Log(line) => self.logs.push(line.text),
                FromTarget::Died(crash) => {
                    assert!(self.died.is_none(), "a process dies once");
                    self.died = Some(crash);
                }
                FromTarget::RpcClosed { .. } => {}
            }
        }
    }

    fn rpc_bytes(&mut self, bytes: &[u8]) {
        for answer in serde_json::Deserializer::from_slice(bytes).into_iter::<Value>() {
            let answer = answer.expect("whole answers");
            let id = answer["id"].as_u64().expect("our ids are numbers");
            let known = self.answers.insert(id, (self.now, answer));
            assert!(known.is_none(), "request {id} was answered twice");
        }
    }

    /// Sends a request; says its id.
    pub fn rpc(&mut self, method: &str, params: Value) -> u64 {
        self.next_id += 1;
        let id = self.next_id;
        let mut request = json!({"jsonrpc": "2.0", "id": id, "method": method});
        if !params.is_null() {
            request["params"] = params;
        }
        let message = ToTarget::Rpc {
            client: ClientId(0),
            bytes: RawBytes::from(request.to_string()),
        };
        self.target.input(self.now, message);
        id
    }

    /// Sends a request and waits for its answer, up to 100 ms.
    pub fn ask(&mut self, method: &str, params: Value) -> Result<Value, String> {
        let id = self.rpc(method, params);
        self.ms(100);
        self.answer(id)
            .unwrap_or_else(|| panic!("{method} was not answered"))
    }

    pub fn done(&mut self, method: &str, params: Value) -> Value {
        self.ask(method, params)
            .unwrap_or_else(|error| panic!("{method}: {error}"))
    }

    /// The answer to a request, if it came.
    pub fn answer(&self, id: u64) -> Option<Result<Value, String>> {
        let (_, answer) = self.answers.get(&id)?;
        Some(match answer.get("error") {
            Some(error) => Err(error["message"].as_str().unwrap_or_default().to_owned()),
            None => Ok(answer["result"].clone()),
        })
    }

    pub fn attach(&mut self, slot: i32, bdev: &str) -> Result<Value, String> {
        let params = json!({"ctrlr": "vhost.0", "scsi_target_num": slot, "bdev_name": bdev});
        self.ask("vhost_scsi_controller_add_target", params)
    }

    pub fn send_attach(&mut self, slot: i32, bdev: &str) -> u64 {
        let params = json!({"ctrlr": "vhost.0", "scsi_target_num": slot, "bdev_name": bdev});
        self.rpc("vhost_scsi_controller_add_target", params)
    }

    pub fn send_detach(&mut self, slot: u32) -> u64 {
        let params = json!({"ctrlr": "vhost.0", "scsi_target_num": slot});
        self.rpc("vhost_scsi_controller_remove_target", params)
    }

    pub fn detach(&mut self, slot: u32) -> Result<Value, String> {
        let id = self.send_detach(slot);
        self.ms(100);
        self.answer(id).unwrap_or(Err("no answer".to_owned()))
    }

    /// Holds the next `num` I/Os of EE_Malloc2.
    pub fn hold(&mut self, num: u32) {
        let params = json!({
            "name": "EE_Malloc2", "io_type": "all", "error_type": "pending", "num": num,
        });
        self.done("bdev_error_inject_error", params);
    }

    pub fn release(&mut self) {
        self.done("bdev_error_resume_pending", json!({"name": "EE_Malloc2"}));
    }

    /// The targets that `vhost_get_controllers` shows: slot and number of LUNs.
    pub fn shown(&mut self) -> Vec<(u64, usize)> {
        let found = self.done("vhost_get_controllers", json!({"name": "vhost.0"}));
        let targets = found[0]["backend_specific"]["scsi"].as_array();
        targets
            .expect("a list")
            .iter()
            .map(|target| {
                let luns = target["luns"].as_array().expect("a list").len();
                (target["scsi_dev_num"].as_u64().expect("a number"), luns)
            })
            .collect()
    }

    pub fn session(&mut self, index: usize) -> Value {
        let found = self.done("vhost_get_controllers", json!({"name": "vhost.0"}));
        found[0]["sessions"][index].clone()
    }

    pub fn vhost_user(&mut self, conn: u32, message: VhostUser) {
        let message = ToTarget::VhostUser {
            conn: ConnId(conn),
            message,
            need_reply: false,
        };
        self.target.input(self.now, message);
    }

    pub fn bases(&self, conn: u32) -> Vec<(u16, u16)> {
        self.replies
            .iter()
            .filter_map(|(of, reply)| match reply {
                VhostUserReply::VringBase { vring, base } if of.0 == conn => Some((vring.0, *base)),
                _ => None,
            })
            .collect()
    }

    /// What is broken, as a check saw it.
    pub fn broken(&self) -> Vec<String> {
        self.seen
            .iter()
            .filter_map(|seen| match &seen.what {
                Observation::Broken { check, text } => Some(format!("{check}: {text}")),
                _ => None,
            })
            .collect()
    }

    pub fn inside(&self) -> impl Iterator<Item = Inside> {
        self.seen.iter().filter_map(|seen| match &seen.what {
            Observation::Inside(inside) => Some(*inside),
            _ => None,
        })
    }

    /// Events as the target saw them: slot, kind, delivered, with the bit EVENTS_MISSED.
    pub fn events(&self) -> Vec<(u8, EventKind, bool, bool)> {
        self.inside()
            .filter_map(|inside| match inside {
                Inside::Event {
                    target,
                    kind,
                    delivered,
                    missed,
                    ..
                } => Some((target.0, kind, delivered, missed)),
                _ => None,
            })
            .collect()
    }

    /// Nothing is broken and nothing is left.
    pub fn clean(&mut self) {
        self.ms(50);
        assert_eq!(self.broken(), Vec::<String>::new());
        assert_eq!(self.target.left(), Vec::<String>::new());
        assert_eq!(self.died, None);
    }
}
