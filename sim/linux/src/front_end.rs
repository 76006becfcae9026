//! QEMU's side of vhost-user: the messages of a start, a stop and a connection, in QEMU 7.2's order.
//!
//! One main loop for all devices: it sends until an answer is due, and waits for it. Knows messages;
//! what a boot is made of stands in `boot`.
//!
//! # Divergence from QEMU
//!
//! SET_BACKEND_REQ_FD is not sent: the back-end has nothing to ask of this front-end. A connection that
//! breaks is made anew, as from QEMU 8.2 on, and while the guest runs only; if that is refused the machine
//! goes off, where QEMU tries again.

use std::collections::VecDeque;
use std::time::Duration;

use scenarios::{CheckId, Time};
use wire::component::{Cx, Memory};
use wire::message::{FromGuest, HbaId, VhostUser, VhostUserReply, VringIndex};
use wire::scsi::feature;

use crate::config::GuestConfig;
use crate::driver::layout::{RING_SIZE, RINGS};
use crate::driver::request::Driver;
use crate::shared::Shared;

/// Protocol feature bits that QEMU accepts where they are offered.
mod protocol {
    pub const MQ: u64 = 1 << 0;
    pub const REPLY_ACK: u64 = 1 << 3;
    pub const INFLIGHT_SHMFD: u64 = 1 << 12;
    pub const STATUS: u64 = 1 << 16;
    pub const ALL: u64 = MQ | REPLY_ACK | INFLIGHT_SHMFD | STATUS;
}

/// A ring stops within this, though the back-end's thread serves one message after the other: four
/// machines of four rings each, whose stops give up after 8 s and then 4 s a ring (recordings §2a).
const STOP_MAX: Duration = Duration::from_secs(100);

/// ACKNOWLEDGE, DRIVER, FEATURES_OK, DRIVER_OK.
const STATUS_DRIVER_OK: u64 = 0xf;

/// What a device goes on from when it is started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// Nothing: its rings are set up anew.
    Fresh,
    /// Where its rings were stopped.
    Resumed,
    /// Where its rings were when the connection broke; what was in flight stands in the inflight buffer
    /// that it kept.
    Reconnected,
}

/// What comes after a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Then {
    /// The next one.
    GoOn,
    /// Its answer: QEMU blocks on it.
    Answer,
    /// An answer that it asks for where messages have none (REPLY_ACK).
    Ack,
}

/// A message that is to be sent.
#[derive(Clone, Debug)]
struct Outgoing {
    hba: HbaId,
    message: VhostUser,
    then: Then,
}

/// The connection of a device.
#[derive(Clone, Debug, Default)]
struct Conn {
    connected: bool,
    /// Features that the back-end offered; 0: it has not said yet.
    offered: u64,
    /// Protocol features in use.
    protocol: u64,
    /// The index that each ring goes on from after a pause.
    bases: [u16; RINGS as usize],
    /// The inflight buffer.
    kept: Option<Memory>,
}

/// The front-end of all devices.
#[derive(Clone, Debug)]
pub struct FrontEnd {
    conns: Vec<Conn>,
    /// Messages still to be sent, in order.
    outgoing: VecDeque<Outgoing>,
    /// Answers that came in.
    answers: VecDeque<(HbaId, VhostUserReply)>,
    /// The device whose answer the main loop is blocked on.
    awaiting: Option<HbaId>,
    /// When it asked for a ring to be stopped, and has no answer.
    stop_asked: Option<Time>,
    /// A socket refused a device's connection: QEMU does not start.
    refused: bool,
}

impl FrontEnd {
    /// Of a machine with `hbas` devices.
    pub fn new(hbas: usize) -> Self {
        Self {
            conns: vec![Conn::default(); hbas],
            outgoing: VecDeque::new(),
            answers: VecDeque::new(),
            awaiting: None,
            stop_asked: None,
            refused: false,
        }
    }

    /// Hands over the inflight buffers that it knows.
    pub fn buffers(&self, mut f: impl FnMut(&Memory)) {
        let kept = self.conns.iter().filter_map(|conn| conn.kept.as_ref());
        kept.for_each(&mut f);
        for (_, answer) in &self.answers {
            if let VhostUserReply::Inflight { buffer } = answer {
                f(buffer);
            }
        }
        for outgoing in &self.outgoing {
            if let VhostUser::SetInflightFd { buffer, .. } = &outgoing.message {
                f(buffer);
            }
        }
    }

    pub fn is_connected(&self, hba: HbaId) -> bool {
        self.conn(hba).connected
    }

    /// Whether it sends or does nothing before an answer has come.
    pub fn is_blocked(&self) -> bool {
        self.awaiting.is_some()
    }

    /// Whether everything was sent and answered.
    pub fn is_idle(&self) -> bool {
        self.outgoing.is_empty() && self.awaiting.is_none()
    }

    pub fn was_refused(&self) -> bool {
        self.refused
    }

    /// Whether a ring that was to be stopped is not.
    pub fn waits_for_stop(&self) -> bool {
        self.stop_asked.is_some()
    }

    pub fn has_answers(&self) -> bool {
        !self.answers.is_empty()
    }

    /// The device whose answer is awaited.
    pub fn awaited(&self) -> Option<HbaId> {
        self.awaiting
    }

    #[cfg(test)]
    pub fn spoil_awaited(&mut self) {
        self.awaiting = Some(HbaId(0));
        self.conns[0].connected = false;
    }

    fn conn(&self, hba: HbaId) -> &Conn {
        &self.conns[usize::from(hba.0)]
    }

    fn conn_mut(&mut self, hba: HbaId) -> &mut Conn {
        &mut self.conns[usize::from(hba.0)]
    }

    /// An answer came in.
    pub fn answered(&mut self, hba: HbaId, reply: VhostUserReply) {
        self.answers.push_back((hba, reply));
    }

    /// The back-end closed a connection. QEMU 7.2 does not notice until it next uses it; a message
    /// that it waits on fails.
    pub fn closed(&mut self, hba: HbaId) {
        let conn = self.conn_mut(hba);
        conn.connected = false;
        // Closed before it said what it can do.
        self.refused |= self.conn(hba).offered == 0;
        if self.awaiting == Some(hba) {
            self.awaiting = None;
            self.stop_asked = None;
        }
    }

    /// Forgets everything: the process is gone.
    pub fn clear(&mut self) {
        *self = Self::new(self.conns.len());
    }

    /// Sends a message that has no answer, after those before it.
    pub fn post(&mut self, hba: HbaId, message: VhostUser) {
        self.post_then(hba, message, Then::GoOn);
    }

    fn ask(&mut self, hba: HbaId, message: VhostUser) {
        self.post_then(hba, message, Then::Answer);
    }

    fn post_then(&mut self, hba: HbaId, message: VhostUser, then: Then) {
        self.outgoing.push_back(Outgoing { hba, message, then });
    }

    fn has(&self, hba: HbaId, bit: u64) -> bool {
        self.conn(hba).protocol & bit != 0
    }

    /// The memory table is acknowledged where that was negotiated.
    fn post_table(&mut self, hba: HbaId, memory: &Memory) {
        let then = if self.has(hba, protocol::REPLY_ACK) {
            Then::Ack
        } else {
            Then::GoOn
        };
        self.post_then(hba, VhostUser::SetMemTable(memory.clone()), then);
    }

    /// The messages of a new connection, up to the answer that decides the protocol features.
    pub fn greet(&mut self, hba: HbaId) {
        self.conn_mut(hba).connected = true;
        self.ask(hba, VhostUser::GetFeatures);
        self.ask(hba, VhostUser::GetProtocolFeatures);
    }

    fn greet_on(&mut self, hba: HbaId) {
        let features = self.conn(hba).protocol;
        self.post(hba, VhostUser::SetProtocolFeatures(features));
        self.ask(hba, VhostUser::GetQueueNum);
        self.post(hba, VhostUser::SetOwner);
        self.ask(hba, VhostUser::GetFeatures);
        for vring in 0..RINGS {
            let vring = VringIndex(vring);
            self.post(hba, VhostUser::SetVringCall { vring });
            self.post(hba, VhostUser::SetVringErr { vring });
        }
    }

    /// The messages that stop a device whose driver uses `vrings`.
    pub fn stop(&mut self, hba: HbaId, vrings: impl Iterator<Item = VringIndex>) {
        self.enable(hba, false);
        for vring in vrings {
            self.ask(hba, VhostUser::GetVringBase { vring });
        }
    }

    fn enable(&mut self, hba: HbaId, on: bool) {
        for vring in (0..RINGS).map(VringIndex) {
            self.post(hba, VhostUser::SetVringEnable { vring, on });
        }
    }

    /// The features that a driver accepts. QEMU offers CHANGE whatever the back-end says.
    fn accepted(&self, hba: HbaId, driver: Driver, config: &GuestConfig) -> u64 {
        let base = feature::VERSION_1 | feature::PROTOCOL_FEATURES;
        if driver != Driver::Linux {
            let hotplug = u64::from(config.firmware_hotplug) * feature::HOTPLUG;
            return base | hotplug;
        }
        let hotplug = u64::from(config.hotplug) * feature::HOTPLUG;
        let wanted = base | feature::INDIRECT_DESC | hotplug;
        wanted & self.conn(hba).offered | feature::CHANGE
    }

    /// The connection of a device breaks (`vhost_user_async_close`): GET_VRING_BASE cannot be asked any
    /// more, so its rings go on from what was used.
    pub fn lose_connection(&mut self, hba: HbaId, shared: &Shared, cx: &mut Cx<'_, FromGuest>) {
        let device = &shared.hbas[hba];
        for vring in device.vrings() {
            self.conn_mut(hba).bases[usize::from(vring.0)] = device.used_index(vring);
        }
        // What was to be said and heard on it is void.
        self.outgoing.retain(|outgoing| outgoing.hba != hba);
        self.answers.retain(|(whose, _)| *whose != hba);
        let conn = self.conn_mut(hba);
        (conn.connected, conn.offered) = (false, 0);
        cx.out.push(FromGuest::Disconnect { hba });
    }

    /// Sets a device up for `driver` and queues the messages that start it.
    pub fn start_device(&mut self, hba: HbaId, driver: Driver, from: Start, shared: &mut Shared) {
        let features = self.accepted(hba, driver, &shared.config);
        if from == Start::Fresh {
            shared.hbas[hba].set_up(&shared.memory, driver, features);
            self.conn_mut(hba).bases = [0; RINGS as usize];
        }
        let (queues, size) = (RINGS, RING_SIZE);
        let kept = self.conn(hba).kept.clone();
        if let Some(buffer) = kept.filter(|_| from == Start::Reconnected) {
            let message = VhostUser::SetInflightFd {
                queues,
                size,
                buffer,
            };
            self.post(hba, message);
        } else if self.has(hba, protocol::INFLIGHT_SHMFD) {
            self.ask(hba, VhostUser::GetInflightFd { queues, size });
        }
        self.post(hba, VhostUser::SetFeatures(features));
        if self.has(hba, protocol::STATUS) {
            self.ask(hba, VhostUser::GetStatus);
            self.post(hba, VhostUser::SetStatus(STATUS_DRIVER_OK));
        }
        self.post_table(hba, &shared.memory);
        let device = &shared.hbas[hba];
        for vring in device.vrings() {
            let (desc, avail, used) = device.layout.ring(vring);
            let base = self.conn(hba).bases[usize::from(vring.0)];
            let size = u32::from(RING_SIZE);
            let address = VhostUser::SetVringAddr {
                vring,
                desc,
                avail,
                used,
            };
            self.post(hba, VhostUser::SetVringNum { vring, size });
            self.post(hba, VhostUser::SetVringBase { vring, base });
            self.post(hba, address);
            self.post(hba, VhostUser::SetVringKick { vring });
        }
        self.enable(hba, true);
        for vring in (0..RINGS).map(VringIndex) {
            self.post(hba, VhostUser::SetVringCall { vring });
        }
    }

    /// Hands every running device's back-end the memory table again (`vhost_commit`).
    pub fn add_memory(&mut self, shared: &Shared) {
        for hba in shared.hbas.ids() {
            if shared.hbas[hba].driver != Driver::None {
                self.post_table(hba, &shared.memory);
            }
        }
    }

    /// Takes the answers that came in.
    pub fn read_answers(&mut self, shared: &Shared, cx: &mut Cx<'_, FromGuest>) {
        while let Some((hba, reply)) = self.answers.pop_front() {
            match reply {
                VhostUserReply::Features(offered) => self.conn_mut(hba).offered = offered,
                VhostUserReply::ProtocolFeatures(offered) => {
                    self.conn_mut(hba).protocol = offered & protocol::ALL;
                    self.greet_on(hba);
                }
                VhostUserReply::VringBase { vring, base } => {
                    self.stop_answered(hba, shared, cx);
                    let bases = &mut self.conn_mut(hba).bases;
                    if let Some(kept) = bases.get_mut(usize::from(vring.0)) {
                        *kept = base;
                    }
                }
                VhostUserReply::Inflight { buffer } => {
                    let (queues, size) = (RINGS, RING_SIZE);
                    self.conn_mut(hba).kept = Some(buffer.clone());
                    let message = VhostUser::SetInflightFd {
                        queues,
                        size,
                        buffer,
                    };
                    let then = Then::GoOn;
                    self.outgoing.push_front(Outgoing { hba, message, then });
                }
                VhostUserReply::QueueNum(_)
                | VhostUserReply::Status(_)
                | VhostUserReply::Ack { .. } => {}
            }
            if self.awaiting == Some(hba) {
                self.awaiting = None;
            }
        }
    }

    /// A ring was stopped: in time?
    fn stop_answered(&mut self, hba: HbaId, shared: &Shared, cx: &mut Cx<'_, FromGuest>) {
        let Some(asked) = self.stop_asked.take() else {
            return;
        };
        let took = cx.now.since(asked);
        if took > STOP_MAX {
            let controller = shared.hbas[hba].controller;
            let text = format!("{controller}: GET_VRING_BASE took {} s", took.as_secs());
            cx.broken(CheckId::V4, text);
        }
    }

    /// Sends messages until one is to be waited on. Returns the device of the last one and how many.
    pub fn send_messages(&mut self, cx: &mut Cx<'_, FromGuest>) -> (HbaId, u32) {
        let mut last = HbaId(0);
        let mut sent = 0;
        while self.awaiting.is_none() {
            let Some(outgoing) = self.outgoing.pop_front() else {
                break;
            };
            let Outgoing { hba, message, then } = outgoing;
            if !self.is_connected(hba) {
                continue;
            }
            let stops = matches!(message, VhostUser::GetVringBase { .. });
            cx.out.push(FromGuest::VhostUser {
                hba,
                message,
                need_reply: then == Then::Ack,
            });
            if then != Then::GoOn {
                self.awaiting = Some(hba);
                self.stop_asked = stops.then_some(cx.now);
            }
            last = hba;
            sent += 1;
        }
        (last, sent)
    }
}
