//! A tiny target: up to eight disks behind every socket, attached and detached by RPC, told of by an event.
//!
//! The smallest back-end on which a Linux guest boots, finds disks, and verifies what it wrote. It is no model of
//! SPDK: it shows that a world takes any target, and stands in where one is needed. Each request of a poll is a
//! preemption point, so that schedules which stop turns can be tried.
//!
//! # Divergence from SPDK
//!
//! Calls come whole, a removal waits for nothing, and the control queue is not served.

use std::collections::{BTreeMap, VecDeque};
use std::num::NonZeroU32;
use std::time::Duration;

use bytes::Bytes;
use scenarios::{Evidence, Time};
use serde_json::{Deserializer, Value, json};
use vm_memory::GuestAddress;

use crate::chain::Ring;
use crate::disk::{Disk, response};
use wire::access::{Access as _, Unmapped};
use wire::component::{ActorId, Component, Cx, Memory, TurnInfo, When};
use wire::message::{ClientId, ConnId, EVENTQ, FromTarget, REQUESTQ, ToTarget, VringIndex};
use wire::message::{VhostUser, VhostUserReply};
use wire::scsi::{EVENT_SIZE, event, feature, response as code};
use wire::{Inside, Invariant};

/// Disks that a target can have (virtio-scsi has 256; SPDK's vhost 8).
const SLOTS: usize = 8;
/// Blocks of every disk.
const BLOCKS: u64 = 1 << 17;
/// Rings of a connection: control, event, and up to six request queues.
const RINGS: usize = 8;
/// From a doorbell or a message to the turn that looks at it.
const LATENCY: Duration = Duration::from_micros(10);
/// VHOST_USER_PROTOCOL_F_MQ.
const MQ: u64 = 1;

/// The thread that answers RPCs.
const APP: ActorId = ActorId(0);
/// The thread that does the rest.
const DEVICE: ActorId = ActorId(1);

/// A turn of the tiny target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TinyTurn {
    /// So many RPCs were answered.
    Rpc(u32),
    /// A vhost-user message was taken.
    Message,
    /// So many requests were served, and whether the turn was stopped before the last.
    Served(u32, bool),
}

impl TurnInfo for TinyTurn {
    fn words(&self) -> [u64; 3] {
        match *self {
            Self::Rpc(calls) => [1, calls.into(), 0],
            Self::Message => [2, 0, 0],
            Self::Served(requests, stopped) => [3, requests.into(), stopped.into()],
        }
    }

    fn kind(&self) -> &'static str {
        match self {
            Self::Rpc(_) => "RPC",
            Self::Message => "message",
            Self::Served(..) => "request poll",
        }
    }

    fn is_hotplug(&self) -> bool {
        matches!(self, Self::Rpc(_))
    }
}

#[derive(Clone, Debug, Default)]
struct Session {
    memory: Option<Memory>,
    rings: [Ring; RINGS],
}

/// The target.
#[derive(Clone, Debug, Default)]
pub struct Target {
    pub(crate) slots: BTreeMap<u8, Disk>,
    sessions: BTreeMap<ConnId, Session>,
    calls: VecDeque<(ClientId, Bytes)>,
    messages: VecDeque<ToTarget>,
    /// When each actor can go; NEVER: blocked.
    ready: [Time; 2],
    changed: u64,
    /// Where the next turn is to end.
    stop_at: Option<NonZeroU32>,
}

impl Target {
    /// A target without disks.
    #[must_use]
    pub fn new() -> Self {
        Self {
            ready: [Time::NEVER; 2],
            ..Self::default()
        }
    }

    fn wake(&mut self, actor: ActorId, at: Time) {
        let ready = &mut self.ready[usize::from(actor.0)];
        *ready = at.min(*ready);
        self.changed |= 1 << actor.0;
    }

    fn block(&mut self, actor: ActorId) {
        self.ready[usize::from(actor.0)] = Time::NEVER;
        self.changed |= 1 << actor.0;
    }

    /// Answers the calls that came: attach, detach, and a list of what is there.
    fn rpc_turn(&mut self, cx: &mut Cx<'_, FromTarget>) -> TinyTurn {
        let mut answered = 0;
        while let Some((client, bytes)) = self.calls.pop_front() {
            for call in Deserializer::from_slice(&bytes)
                .into_iter::<Value>()
                .flatten()
            {
                let answer = match self.call(&call, cx) {
                    Ok(result) => json!({"jsonrpc": "2.0", "id": call["id"], "result": result}),
                    Err(text) => {
                        let error = json!({"code": -32602, "message": text});
                        json!({"jsonrpc": "2.0", "id": call["id"], "error": error})
                    }
                };
                let bytes = answer.to_string().into();
                cx.out.push(FromTarget::Rpc { client, bytes });
                answered += 1;
            }
        }
        TinyTurn::Rpc(answered)
    }

    fn call(&mut self, call: &Value, cx: &mut Cx<'_, FromTarget>) -> Result<Value, &'static str> {
        let params = &call["params"];
        let slot = params["scsi_target_num"].as_u64();
        let slot = slot
            .filter(|slot| *slot < SLOTS as u64)
            .map(|slot| slot as u8);
        match call["method"].as_str() {
            Some("vhost_scsi_controller_add_target") => {
                let slot = slot.ok_or("no such slot")?;
                if self.slots.contains_key(&slot) {
                    return Err("the slot is taken");
                }
                let name = params["bdev_name"].as_str().ok_or("no name")?;
                self.slots.insert(slot, Disk::new(name, BLOCKS));
                self.tell(slot, event::RESET_RESCAN, cx);
                Ok(json!(slot))
            }
            Some("vhost_scsi_controller_remove_target") => {
                let slot = slot.ok_or("no such slot")?;
                self.slots.remove(&slot).ok_or("the slot is empty")?;
                self.tell(slot, event::RESET_REMOVED, cx);
                Ok(json!(true))
            }
            Some("vhost_get_controllers") => {
                let slots = self
                    .slots
                    .iter()
                    .map(|(slot, disk)| json!([slot, disk.name]));
                Ok(slots.collect())
            }
            _ => Err("Method not found"),
        }
    }

    /// Sends every session an event about a slot, if it has a buffer for one.
    fn tell(&mut self, slot: u8, reason: u32, cx: &mut Cx<'_, FromTarget>) {
        for (conn, session) in &mut self.sessions {
            let ring = &mut session.rings[usize::from(EVENTQ.0)];
            let Some(memory) = session.memory.clone().filter(|_| ring.runs) else {
                continue;
            };
            match send_event(ring, &memory, slot, reason) {
                Ok(true) => cx.out.push(FromTarget::Call {
                    conn: *conn,
                    vring: EVENTQ,
                }),
                Ok(false) => {}
                Err(Unmapped) => cx.out.push(FromTarget::Closed { conn: *conn }),
            }
        }
    }

    fn device_turn(&mut self, cx: &mut Cx<'_, FromTarget>) -> TinyTurn {
        let stop_at = self.stop_at.take().map_or(u32::MAX, NonZeroU32::get);
        if let Some(message) = self.messages.pop_front() {
            self.take(message, cx);
            // What was published before the ring ran is looked at too.
            self.wake(DEVICE, cx.now + LATENCY);
            return TinyTurn::Message;
        }
        let mut served = 0;
        for (conn, session) in &mut self.sessions {
            let Some(memory) = session.memory.clone() else {
                continue;
            };
            for vring in REQUESTQ.0..RINGS as u16 {
                let ring = &mut session.rings[usize::from(vring)];
                let called = served;
                while served < stop_at {
                    match serve(ring, &memory, &mut self.slots) {
                        Ok(true) => served += 1,
                        Ok(false) => break,
                        Err(Unmapped) => {
                            ring.runs = false;
                            cx.out.push(FromTarget::Closed { conn: *conn });
                        }
                    }
                }
                if served > called {
                    let vring = VringIndex(vring);
                    cx.out.push(FromTarget::Call { conn: *conn, vring });
                }
            }
        }
        let stopped = served == stop_at;
        if stopped {
            self.wake(DEVICE, cx.now);
        }
        TinyTurn::Served(served, stopped)
    }

    fn take(&mut self, message: ToTarget, cx: &mut Cx<'_, FromTarget>) {
        match message {
            ToTarget::Connect { conn, .. } => {
                self.sessions.insert(conn, Session::default());
            }
            ToTarget::Disconnect { conn } => {
                self.sessions.remove(&conn);
            }
            ToTarget::VhostUser {
                conn,
                message,
                need_reply,
            } => {
                let Some(session) = self.sessions.get_mut(&conn) else {
                    return;
                };
                let reply = session.take(message);
                let ack = VhostUserReply::Ack { ok: true };
                if let Some(reply) = reply.or(need_reply.then_some(ack)) {
                    cx.out.push(FromTarget::Answer { conn, reply });
                }
            }
            ToTarget::Doorbell { .. } | ToTarget::Rpc { .. } | ToTarget::RpcClosed { .. } => {}
        }
    }
}

impl Session {
    fn take(&mut self, message: VhostUser) -> Option<VhostUserReply> {
        match message {
            VhostUser::GetFeatures => {
                let events = feature::HOTPLUG | feature::CHANGE;
                let rings = feature::INDIRECT_DESC | feature::VERSION_1;
                let offered = events | rings | feature::PROTOCOL_FEATURES;
                return Some(VhostUserReply::Features(offered));
            }
            VhostUser::GetProtocolFeatures => return Some(VhostUserReply::ProtocolFeatures(MQ)),
            VhostUser::GetQueueNum => return Some(VhostUserReply::QueueNum(RINGS as u64)),
            VhostUser::GetStatus => return Some(VhostUserReply::Status(0)),
            VhostUser::SetMemTable(memory) => self.memory = Some(memory),
            VhostUser::SetVringNum { vring, size } => self.ring(vring)?.size = size as u16,
            VhostUser::SetVringBase { vring, base } => {
                let ring = self.ring(vring)?;
                (ring.next, ring.done) = (base, base);
            }
            VhostUser::SetVringAddr {
                vring,
                desc,
                avail,
                used,
            } => {
                let ring = self.ring(vring)?;
                (ring.desc, ring.avail, ring.used) = (desc, avail, used);
            }
            VhostUser::SetVringKick { vring } => self.ring(vring)?.runs = true,
            VhostUser::GetVringBase { vring } => {
                let ring = self.ring(vring)?;
                ring.runs = false;
                let base = ring.next;
                return Some(VhostUserReply::VringBase { vring, base });
            }
            VhostUser::SetFeatures(_)
            | VhostUser::SetProtocolFeatures(_)
            | VhostUser::SetOwner
            | VhostUser::SetVringCall { .. }
            | VhostUser::SetVringErr { .. }
            | VhostUser::SetVringEnable { .. }
            | VhostUser::GetInflightFd { .. }
            | VhostUser::SetInflightFd { .. }
            | VhostUser::SetStatus(_) => {}
        }
        None
    }

    fn ring(&mut self, vring: VringIndex) -> Option<&mut Ring> {
        self.rings.get_mut(usize::from(vring.0))
    }
}

/// Puts an event into a buffer of the event queue; false if there is none.
fn send_event(ring: &mut Ring, memory: &Memory, slot: u8, reason: u32) -> Result<bool, Unmapped> {
    let Some(head) = ring.take(memory)? else {
        return Ok(false);
    };
    let [_, room] = ring.buffers(memory, head)?;
    let (addr, len) = room.first().copied().ok_or(Unmapped)?;
    let mut bytes = [0; EVENT_SIZE as usize];
    bytes[..4].copy_from_slice(&event::TRANSPORT_RESET.to_le_bytes());
    // LUN 0 without an address method, as Linux compares it unmasked (virtscsi_handle_transport_reset).
    bytes[4..6].copy_from_slice(&[1, slot]);
    bytes[12..].copy_from_slice(&reason.to_le_bytes());
    if len < EVENT_SIZE {
        return Err(Unmapped);
    }
    memory.write_at(&bytes, GuestAddress(addr))?;
    ring.give_back(memory, head, EVENT_SIZE)?;
    Ok(true)
}

/// Serves a request of a ring; false if there is none.
fn serve(
    ring: &mut Ring,
    memory: &Memory,
    slots: &mut BTreeMap<u8, Disk>,
) -> Result<bool, Unmapped> {
    let Some(head) = ring.take(memory)? else {
        return Ok(false);
    };
    let chain = ring.request(memory, head)?;
    let mut out = Vec::new();
    for (addr, len) in &chain.out {
        let mut piece = vec![0; *len as usize];
        memory.read_at(&mut piece, GuestAddress(*addr))?;
        out.extend(piece);
    }
    let is_first_lun = chain.lun[0] == 1 && chain.lun[2..4] == [0x40, 0];
    let disk = slots.get_mut(&chain.lun[1]).filter(|_| is_first_lun);
    let room = chain.room_bytes();
    let Some(disk) = disk else {
        let mut nobody = response(None, room);
        nobody[11] = code::BAD_TARGET;
        ring.answer(memory, &chain, &[], nobody)?;
        return Ok(true);
    };
    let (mut data, sense) = match disk.execute(&chain.cdb, &out) {
        Ok(data) => (data, None),
        Err(sense) => (Vec::new(), Some(sense)),
    };
    data.truncate(room as usize);
    let resid = room - data.len() as u32;
    ring.answer(memory, &chain, &data, response(sense, resid))?;
    Ok(true)
}

impl Component for Target {
    type In = ToTarget;
    type Out = FromTarget;
    type Turn = TinyTurn;

    fn input(&mut self, now: Time, message: ToTarget) {
        match message {
            ToTarget::Rpc { client, bytes } => {
                self.calls.push_back((client, bytes));
                self.wake(APP, now + LATENCY);
            }
            ToTarget::RpcClosed { .. } => {}
            ToTarget::Doorbell { .. } => self.wake(DEVICE, now + LATENCY),
            ToTarget::Connect { .. } | ToTarget::Disconnect { .. } | ToTarget::VhostUser { .. } => {
                self.messages.push_back(message);
                self.wake(DEVICE, now + LATENCY);
            }
        }
    }

    fn when(&self, actor: ActorId) -> When {
        match self.ready[usize::from(actor.0)] {
            Time::NEVER => When::Blocked,
            at => When::At(at),
        }
    }

    fn actors(&self) -> u16 {
        self.ready.len() as u16
    }

    fn changed(&mut self) -> u64 {
        std::mem::take(&mut self.changed)
    }

    fn turn(&mut self, actor: ActorId, cx: &mut Cx<'_, FromTarget>) -> TinyTurn {
        self.block(actor);
        if actor == APP {
            self.rpc_turn(cx)
        } else {
            self.device_turn(cx)
        }
    }
}

impl Inside for Target {
    type Mark = Self;

    const EVIDENCE: Evidence = Evidence::empty();
    const PREEMPTIBLE: bool = true;

    fn invariants() -> &'static [Invariant<Self>] {
        &INVARIANTS
    }

    fn mark(&mut self) -> Option<Self> {
        Some(self.clone())
    }

    fn rewind(&mut self, to: &Self) {
        self.clone_from(to);
    }

    fn preempt_at(&mut self, point: NonZeroU32) {
        self.stop_at = Some(point);
    }

    fn stored_bytes(&self) -> Option<u64> {
        Some(self.slots.values().map(Disk::stored_bytes).sum())
    }
}

static INVARIANTS: [Invariant<Target>; 2] = [
    Invariant {
        name: "a_disk_keeps_only_its_blocks",
        says: "No disk keeps a block beyond its end.",
        broken: |target| {
            let mut disks = target.slots.values();
            let disk = disks.find(|disk| !disk.keeps_only_its_blocks())?;
            Some(format!("{} does", disk.name))
        },
    },
    Invariant {
        name: "who_has_work_is_ready",
        says: "An actor with something in its queue is ready.",
        broken: |target| {
            let [app, device] = target.ready.map(|at| at == Time::NEVER);
            let (calls, messages) = (target.calls.len(), target.messages.len());
            let idle = app && calls > 0 || device && messages > 0;
            idle.then(|| format!("{calls} calls and {messages} messages wait for nobody"))
        },
    },
];
