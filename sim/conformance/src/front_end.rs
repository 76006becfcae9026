//! A vhost-user front-end of a transcript: its rings, its requests in flight, its messages.
//!
//! Messages of one connection follow each other: the next is sent when the last was answered, as
//! the recorder did (REPLY_ACK everywhere). Knows no stimulus and no expectation.

use std::collections::{BTreeMap, VecDeque};

use serde_json::{Map, Value, json};

use super::answer::Request;
use super::memory::{Buffer, FrontEndMemory, QUEUES_MAX};
use super::names::{EVENT_PREFILL, feature_bits, message_name, see_event};
use super::peer::Peer;
use super::request::Draft;
use super::ring::DriverRing;
use super::transcript::FrontEndSetup;
use wire::component::Memory;
use wire::message::{ConnId, EVENTQ, ToTarget, VhostUser, VhostUserReply, VringIndex};
use wire::ring::{DESC_F_WRITE, Desc};
use wire::scsi::EVENT_SIZE;

/// VHOST_USER_PROTOCOL_F_MQ.
const PROTOCOL_MQ: u64 = 1 << 0;
/// VHOST_USER_PROTOCOL_F_REPLY_ACK.
const PROTOCOL_REPLY_ACK: u64 = 1 << 3;
/// VHOST_USER_PROTOCOL_F_INFLIGHT_SHMFD.
const PROTOCOL_INFLIGHT_SHMFD: u64 = 1 << 12;

/// A front-end.
#[derive(Debug)]
pub struct FrontEnd {
    /// What it is.
    pub setup: FrontEndSetup,
    /// Its connection, if it has one.
    pub conn: Option<ConnId>,
    /// Its memory.
    pub memory: FrontEndMemory,
    queues: Vec<Queue>,
    tasks: VecDeque<VecDeque<Step>>,
    /// The message that waits for an answer.
    asked: Option<&'static str>,
    begun: u64,
    done: u64,
    inflight: Option<Memory>,
    offered: Offered,
}

/// What the target said at connecting.
#[derive(Debug, Default)]
struct Offered {
    features: u64,
    protocol_features: u64,
    queue_num: u64,
}

/// A queue: its ring and what is in it.
#[derive(Debug)]
struct Queue {
    ring: DriverRing,
    /// Requests by head, oldest first.
    open: BTreeMap<u32, VecDeque<Request>>,
    /// Event buffers by head, oldest first.
    events: BTreeMap<u32, VecDeque<EventBuffer>>,
    /// What GET_VRING_BASE said last, or 0.
    base: u16,
}

#[derive(Debug)]
struct EventBuffer {
    desc: u16,
    buffer: Buffer,
}

/// A step of a message sequence.
#[derive(Clone, Debug)]
pub enum Step {
    /// A message, with a wait for its answer.
    Send(VhostUser),
    /// SET_PROTOCOL_FEATURES with what was offered and is needed.
    AcceptProtocol,
    /// `connected` is reported.
    ReportConnected,
    /// GET_INFLIGHT_FD, unless there is a buffer already.
    GetInflight,
    /// SET_INFLIGHT_FD with that buffer.
    SetInflight,
    /// The rings begin afresh, with event buffers posted.
    FreshRings,
    /// The bases of these queues are taken from the used indices.
    BaseFromUsed(Vec<u16>),
    /// SET_VRING_BASE with the base that is known.
    SetBase(u16),
}

impl FrontEnd {
    /// A front-end that is not connected, with memory that `peer` can see.
    ///
    /// # Errors
    ///
    /// The set-up cannot be built.
    pub fn new(setup: &FrontEndSetup, peer: &dyn Peer) -> Result<Self, String> {
        let count = setup.request_queues + 2;
        if count > QUEUES_MAX {
            return Err(format!("{count} queues are too many"));
        }
        if setup.ring_size == 0 || setup.ring_size > 2048 {
            return Err(format!("a ring of {}", setup.ring_size));
        }
        feature_bits(&setup.features)?;
        let queues = (0..count)
            .map(|queue| Queue {
                ring: DriverRing::new(queue, setup.ring_size),
                open: BTreeMap::new(),
                events: BTreeMap::new(),
                base: 0,
            })
            .collect();
        let mut this = Self {
            setup: setup.clone(),
            conn: None,
            memory: FrontEndMemory::new(|addr, len| peer.region(addr, len))?,
            queues,
            tasks: VecDeque::new(),
            asked: None,
            begun: 0,
            done: 0,
            inflight: None,
            offered: Offered::default(),
        };
        this.fresh_rings()?;
        Ok(this)
    }

    /// Begins to connect.
    pub fn connect(&mut self, conn: ConnId, peer: &mut dyn Peer) -> u64 {
        self.disconnect(peer);
        self.conn = Some(conn);
        peer.send(ToTarget::Connect {
            conn,
            controller: self.setup.ctrlr.as_str().into(),
        });
        self.enqueue(vec![
            Step::Send(VhostUser::GetFeatures),
            Step::Send(VhostUser::GetProtocolFeatures),
            Step::AcceptProtocol,
            Step::Send(VhostUser::GetQueueNum),
            Step::Send(VhostUser::SetOwner),
            Step::ReportConnected,
        ])
    }

    /// Closes the connection; messages that wait are forgotten.
    pub fn disconnect(&mut self, peer: &mut dyn Peer) {
        if let Some(conn) = self.conn.take() {
            peer.send(ToTarget::Disconnect { conn });
        }
        self.forget_messages();
    }

    /// The connection is gone with the process at its other end.
    pub fn lose_connection(&mut self) {
        self.conn = None;
        self.forget_messages();
    }

    fn forget_messages(&mut self) {
        self.tasks.clear();
        self.asked = None;
        self.done = self.begun;
    }

    /// Queues a sequence of messages and says its number.
    pub fn enqueue(&mut self, steps: Vec<Step>) -> u64 {
        self.tasks.push_back(steps.into());
        self.begun += 1;
        self.begun
    }

    /// Whether the sequence of this number has ended.
    #[must_use]
    pub fn has_done(&self, number: u64) -> bool {
        self.done >= number
    }

    /// How many sequences have ended.
    #[must_use]
    pub fn done(&self) -> u64 {
        self.done
    }

    /// All its queues.
    #[must_use]
    pub fn all_queues(&self) -> Vec<u16> {
        (0..self.queues.len() as u16).collect()
    }

    /// The queue, if it has it.
    ///
    /// # Errors
    ///
    /// It has not.
    pub fn check_queue(&self, queue: u16) -> Result<(), String> {
        if usize::from(queue) < self.queues.len() {
            Ok(())
        } else {
            Err(format!("{} has no queue {queue}", self.setup.name))
        }
    }

    /// Address, size and so on of a ring, in the order of the recorder.
    #[must_use]
    pub fn ring_messages(&self, queue: u16) -> Vec<Step> {
        let vring = VringIndex(queue);
        let ring = &self.queues[usize::from(queue)].ring;
        vec![
            Step::Send(VhostUser::SetVringNum {
                vring,
                size: u32::from(ring.size),
            }),
            Step::SetBase(queue),
            Step::Send(VhostUser::SetVringAddr {
                vring,
                desc: ring.desc,
                avail: ring.avail,
                used: ring.used,
            }),
        ]
    }

    /// The rings begin afresh, with event buffers posted.
    fn fresh_rings(&mut self) -> Result<(), String> {
        for (number, queue) in (0..).zip(&mut self.queues) {
            queue.ring.reset(&self.memory, number);
            queue.open.clear();
            queue.events.clear();
            queue.base = 0;
        }
        self.post_events(self.setup.event_buffers, EVENT_SIZE)
    }

    /// Gives the target event buffers; the caller says so to the target.
    ///
    /// # Errors
    ///
    /// The ring is full.
    pub fn post_events(&mut self, count: u16, len: u32) -> Result<(), String> {
        let queue = &mut self.queues[usize::from(EVENTQ.0)];
        for _ in 0..count {
            let descs = queue.ring.take(1)?;
            let buffer = self.memory.allocate(len, EVENT_PREFILL)?;
            let desc = Desc {
                addr: buffer.addr,
                len,
                flags: DESC_F_WRITE,
                next: 0,
            };
            queue.ring.write_desc(&self.memory, descs[0], desc);
            queue.ring.offer(&self.memory, descs[0], 1);
            let buffers = queue.events.entry(u32::from(descs[0])).or_default();
            buffers.push_back(EventBuffer {
                desc: descs[0],
                buffer,
            });
        }
        queue.ring.publish(&self.memory);
        Ok(())
    }

    /// Puts a request into a ring, without publishing it.
    ///
    /// # Errors
    ///
    /// The ring is full.
    pub fn offer(
        &mut self,
        queue: u16,
        draft: Draft,
        head: Option<u16>,
        jump: u16,
    ) -> Result<(), String> {
        let ring = &mut self.queues[usize::from(queue)].ring;
        let numbers = ring.take(draft.slots())?;
        let (descs, request) = draft.place(numbers);
        for (number, desc) in request.descs.iter().zip(descs) {
            ring.write_desc(&self.memory, *number, desc);
        }
        let first = request.descs.first().copied();
        let head = head
            .or(first)
            .ok_or("a chain without descriptors needs a head")?;
        ring.offer(&self.memory, head, jump);
        if queue != EVENTQ.0 {
            let open = &mut self.queues[usize::from(queue)].open;
            open.entry(u32::from(head)).or_default().push_back(request);
        }
        Ok(())
    }

    /// Shows the target what was put into a ring.
    pub fn publish(&self, queue: u16, peer: &mut dyn Peer) {
        self.queues[usize::from(queue)].ring.publish(&self.memory);
        if let Some(conn) = self.conn {
            let vring = VringIndex(queue);
            peer.send(ToTarget::Doorbell { conn, vring });
        }
    }

    /// The ring of a queue.
    #[must_use]
    pub fn ring(&self, queue: u16) -> &DriverRing {
        &self.queues[usize::from(queue)].ring
    }

    /// The order in which a look goes over the queues: requests, control, events.
    pub fn look_order(&self) -> impl Iterator<Item = u16> + use<> {
        let count = self.queues.len() as u16;
        (2..count).chain(0..2)
    }

    /// What came back in a queue since the last look.
    pub fn collect(&mut self, queue: u16, seen: &mut Vec<Value>) {
        let name = self.setup.name.as_str();
        let Queue {
            ring, open, events, ..
        } = &mut self.queues[usize::from(queue)];
        while let Some((head, used_len)) = ring.next_used(&self.memory) {
            if queue == EVENTQ.0 {
                let buffer = events.get_mut(&head).and_then(VecDeque::pop_front);
                seen.push(match buffer {
                    Some(buffer) => {
                        ring.give(&[buffer.desc]);
                        see_event(name, &self.memory, buffer.buffer, used_len)
                    }
                    None => json!({"event":
                        {"frontend": name, "unknown_head": head, "used_len": used_len}}),
                });
                continue;
            }
            let request = open.get_mut(&head).and_then(VecDeque::pop_front);
            let mut used = Map::new();
            used.insert("frontend".into(), name.into());
            used.insert("queue".into(), queue.into());
            if let Some(request) = request {
                ring.give(&request.descs);
                used.insert("tag".into(), request.tag.into());
                used.extend(request.seen(&self.memory, used_len));
            } else {
                used.insert("unknown_head".into(), head.into());
                used.insert("used_len".into(), used_len.into());
            }
            seen.push(json!({ "used": used }));
        }
    }

    /// Sends what can be sent now. Appends what is to be reported of it.
    ///
    /// # Errors
    ///
    /// The stimulus cannot be carried out.
    pub fn pump(&mut self, peer: &mut dyn Peer, seen: &mut Vec<Value>) -> Result<(), String> {
        while self.asked.is_none() {
            let Some(task) = self.tasks.front_mut() else {
                return Ok(());
            };
            let Some(step) = task.pop_front() else {
                self.tasks.pop_front();
                self.done += 1;
                continue;
            };
            if let Some(message) = self.message_of(step, seen)? {
                let Some(conn) = self.conn else {
                    return Err(format!("{} is not connected", self.setup.name));
                };
                self.asked = Some(message_name(&message));
                peer.send(ToTarget::VhostUser {
                    conn,
                    message,
                    need_reply: true,
                });
            }
        }
        Ok(())
    }

    /// The message that a step sends, if it sends one.
    fn message_of(
        &mut self,
        step: Step,
        seen: &mut Vec<Value>,
    ) -> Result<Option<VhostUser>, String> {
        Ok(match step {
            Step::Send(message) => Some(message),
            Step::AcceptProtocol => {
                let mut needed = PROTOCOL_MQ | PROTOCOL_REPLY_ACK;
                if self.setup.inflight {
                    needed |= PROTOCOL_INFLIGHT_SHMFD;
                }
                let accepted = self.offered.protocol_features & needed;
                Some(VhostUser::SetProtocolFeatures(accepted))
            }
            Step::ReportConnected => {
                seen.push(json!({"connected": {
                    "frontend": self.setup.name,
                    "features": format!("{:#x}", self.offered.features),
                    "protocol_features": format!("{:#x}", self.offered.protocol_features),
                    "queue_num": self.offered.queue_num,
                }}));
                None
            }
            Step::GetInflight if self.inflight.is_some() => None,
            Step::GetInflight => Some(VhostUser::GetInflightFd {
                queues: self.queues.len() as u16,
                size: self.setup.ring_size,
            }),
            Step::SetInflight => self
                .inflight
                .clone()
                .map(|buffer| VhostUser::SetInflightFd {
                    queues: self.queues.len() as u16,
                    size: self.setup.ring_size,
                    buffer,
                }),
            Step::FreshRings => {
                self.fresh_rings()?;
                None
            }
            Step::BaseFromUsed(queues) => {
                for queue in queues {
                    let queue = &mut self.queues[usize::from(queue)];
                    queue.base = queue.ring.used_idx(&self.memory);
                }
                None
            }
            Step::SetBase(queue) => Some(VhostUser::SetVringBase {
                vring: VringIndex(queue),
                base: self.queues[usize::from(queue)].base,
            }),
        })
    }

    /// Takes an answer to the message that waits for one.
    pub fn answered(&mut self, reply: VhostUserReply, seen: &mut Vec<Value>) {
        let asked = self.asked.take().unwrap_or("(nothing)");
        match reply {
            VhostUserReply::Features(features) => self.offered.features = features,
            VhostUserReply::ProtocolFeatures(features) => self.offered.protocol_features = features,
            VhostUserReply::QueueNum(number) => self.offered.queue_num = number,
            VhostUserReply::VringBase { vring, base } => {
                if let Some(queue) = self.queues.get_mut(usize::from(vring.0)) {
                    queue.base = base;
                }
                seen.push(json!({"vring_base":
                    {"frontend": self.setup.name, "queue": vring.0, "base": base}}));
            }
            VhostUserReply::Inflight { buffer } => self.inflight = Some(buffer),
            VhostUserReply::Status(_) | VhostUserReply::Ack { ok: true } => {}
            VhostUserReply::Ack { ok: false } => {
                if self.tasks.pop_front().is_some() {
                    self.done += 1;
                }
                seen.push(json!({"vhost_user_error": {
                    "frontend": self.setup.name,
                    "error": format!("{asked}: BackendInternalError"),
                }}));
            }
        }
    }
}
