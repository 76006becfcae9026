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
use std::sync::atomic::Ordering;
use std::time::Duration;

use scenarios::{CheckId, Time};
use vm_memory::{Bytes as _, GuestAddress};

use super::Guest;
use super::hba::Driver;
use super::layout::{RING_SIZE, RINGS};
use wire::component::Cx;
use wire::component::Memory;
use wire::message::{FromGuest, HbaId, VhostUser, VhostUserReply, VringIndex};
use wire::ring::USED_IDX;
use wire::scsi::feature;

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

/// A message that is to be sent.
#[derive(Clone, Debug)]
pub struct Outgoing {
    hba: HbaId,
    message: VhostUser,
    need_reply: bool,
    /// QEMU blocks until it is answered.
    awaits: bool,
}

/// What the main loop knows.
#[derive(Clone, Debug)]
pub struct Qemu {
    /// Messages still to be sent, in order.
    pub outgoing: VecDeque<Outgoing>,
    /// The device whose answer the main loop is blocked on.
    pub awaiting: Option<HbaId>,
    /// When it asked for a ring to be stopped, and has no answer.
    pub stop_asked: Option<Time>,
    /// A socket refused a device's connection: QEMU does not start.
    pub refused: bool,
    /// Answers that came in.
    pub answers: VecDeque<(HbaId, VhostUserReply)>,
    /// What is left of a pause or of its end.
    pub pausing: VecDeque<super::boot::BootStep>,
    /// What is left of a boot or shutdown.
    pub steps: VecDeque<super::boot::BootStep>,
    connected: Vec<bool>,
    offered: Vec<u64>,
    protocol: Vec<u64>,
    /// The index that each ring goes on from after a pause.
    bases: Vec<[u16; RINGS as usize]>,
    /// The inflight buffer of each device.
    kept: Vec<Option<Memory>>,
}

impl Qemu {
    /// Hands over the inflight buffers that it knows.
    pub fn buffers(&self, mut f: impl FnMut(&Memory)) {
        self.kept.iter().flatten().for_each(&mut f);
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

    /// The main loop of a machine with `hbas` devices.
    #[must_use]
    pub fn new(hbas: usize) -> Self {
        Self {
            outgoing: VecDeque::new(),
            awaiting: None,
            stop_asked: None,
            refused: false,
            answers: VecDeque::new(),
            pausing: VecDeque::new(),
            steps: VecDeque::new(),
            connected: vec![false; hbas],
            offered: vec![0; hbas],
            protocol: vec![0; hbas],
            bases: vec![[0; RINGS as usize]; hbas],
            kept: vec![None; hbas],
        }
    }

    /// Whether a device has its connection.
    #[must_use]
    pub fn is_connected(&self, hba: usize) -> bool {
        self.connected[hba]
    }

    /// The back-end closed a connection. QEMU 7.2 does not notice until it next uses it; a message
    /// that it waits on fails.
    pub fn closed(&mut self, hba: HbaId) {
        self.connected[usize::from(hba.0)] = false;
        // Closed before it said what it can do.
        self.refused |= self.offered[usize::from(hba.0)] == 0;
        if self.awaiting == Some(hba) {
            self.awaiting = None;
            self.stop_asked = None;
        }
    }

    /// A connection broke: what was to be said and heard on it is void.
    fn lost(&mut self, hba: usize) {
        let of = HbaId(hba as u8);
        self.outgoing.retain(|outgoing| outgoing.hba != of);
        self.answers.retain(|(whose, _)| *whose != of);
        (self.connected[hba], self.offered[hba]) = (false, 0);
    }

    /// Forgets everything: the process is gone.
    pub fn clear(&mut self) {
        *self = Self::new(self.connected.len());
    }

    fn post(&mut self, hba: usize, message: VhostUser) {
        self.post_with(hba, message, false, false);
    }

    fn ask(&mut self, hba: usize, message: VhostUser) {
        self.post_with(hba, message, false, true);
    }

    fn post_with(&mut self, hba: usize, message: VhostUser, need_reply: bool, awaits: bool) {
        let hba = HbaId(hba as u8);
        self.outgoing.push_back(Outgoing {
            hba,
            message,
            need_reply,
            awaits,
        });
    }

    fn has(&self, hba: usize, bit: u64) -> bool {
        self.protocol[hba] & bit != 0
    }

    /// The messages of a new connection, up to the answer that decides the protocol features.
    pub fn greet(&mut self, hba: usize) {
        self.connected[hba] = true;
        self.ask(hba, VhostUser::GetFeatures);
        self.ask(hba, VhostUser::GetProtocolFeatures);
    }

    fn greet_on(&mut self, hba: usize) {
        self.post(hba, VhostUser::SetProtocolFeatures(self.protocol[hba]));
        self.ask(hba, VhostUser::GetQueueNum);
        self.post(hba, VhostUser::SetOwner);
        self.ask(hba, VhostUser::GetFeatures);
        for vring in 0..RINGS {
            self.post(
                hba,
                VhostUser::SetVringCall {
                    vring: VringIndex(vring),
                },
            );
            self.post(
                hba,
                VhostUser::SetVringErr {
                    vring: VringIndex(vring),
                },
            );
        }
    }

    /// The messages that stop a device whose driver uses `vrings`.
    pub fn stop(&mut self, hba: usize, vrings: impl Iterator<Item = VringIndex>) {
        for vring in 0..RINGS {
            self.post(
                hba,
                VhostUser::SetVringEnable {
                    vring: VringIndex(vring),
                    on: false,
                },
            );
        }
        for vring in vrings {
            self.ask(hba, VhostUser::GetVringBase { vring });
        }
    }
}

impl Guest {
    /// The features that a driver accepts. QEMU offers CHANGE whatever the back-end says.
    fn accepted(&self, hba: usize, driver: Driver) -> u64 {
        let base = feature::VERSION_1 | feature::PROTOCOL_FEATURES;
        if driver != Driver::Linux {
            let hotplug = u64::from(self.config.firmware_hotplug) * feature::HOTPLUG;
            return base | hotplug;
        }
        let hotplug = if self.config.hotplug {
            feature::HOTPLUG
        } else {
            0
        };
        let wanted = base | feature::INDIRECT_DESC | hotplug;
        wanted & self.qemu.offered[hba] | feature::CHANGE
    }

    /// The connection of a device breaks (`vhost_user_async_close`): GET_VRING_BASE cannot be asked any
    /// more, so its rings go on from what was used.
    pub(super) fn lose_connection(&mut self, hba: usize, cx: &mut Cx<'_, FromGuest>) {
        for vring in self.hbas[hba].vrings() {
            let (_, _, used) = self.hbas[hba].layout.ring(vring);
            let index = self
                .memory
                .load::<u16>(GuestAddress(used + USED_IDX), Ordering::Acquire)
                .expect("rings lie in guest memory");
            self.qemu.bases[hba][usize::from(vring.0)] = u16::from_le(index);
        }
        self.qemu.lost(hba);
        cx.out.push(FromGuest::Disconnect {
            hba: HbaId(hba as u8),
        });
    }

    /// Sets a device up for `driver` and queues the messages that start it.
    pub(super) fn start_device(&mut self, hba: usize, driver: Driver, from: Start) {
        let features = self.accepted(hba, driver);
        if from == Start::Fresh {
            self.hbas[hba].set_up(&self.memory, driver, features);
            self.qemu.bases[hba] = [0; RINGS as usize];
        }
        let memory = self.memory.clone();
        let qemu = &mut self.qemu;
        let (queues, size) = (RINGS, RING_SIZE);
        let kept = qemu.kept[hba].clone();
        if let Some(buffer) = kept.filter(|_| from == Start::Reconnected) {
            let message = VhostUser::SetInflightFd {
                queues,
                size,
                buffer,
            };
            qemu.post(hba, message);
        } else if qemu.has(hba, protocol::INFLIGHT_SHMFD) {
            qemu.ask(hba, VhostUser::GetInflightFd { queues, size });
        }
        qemu.post(hba, VhostUser::SetFeatures(features));
        if qemu.has(hba, protocol::STATUS) {
            qemu.ask(hba, VhostUser::GetStatus);
            qemu.post(hba, VhostUser::SetStatus(STATUS_DRIVER_OK));
        }
        let acked = qemu.has(hba, protocol::REPLY_ACK);
        qemu.post_with(hba, VhostUser::SetMemTable(memory), acked, acked);
        for vring in self.hbas[hba].vrings() {
            let (desc, avail, used) = self.hbas[hba].layout.ring(vring);
            let base = self.qemu.bases[hba][usize::from(vring.0)];
            let qemu = &mut self.qemu;
            qemu.post(
                hba,
                VhostUser::SetVringNum {
                    vring,
                    size: u32::from(RING_SIZE),
                },
            );
            qemu.post(hba, VhostUser::SetVringBase { vring, base });
            qemu.post(
                hba,
                VhostUser::SetVringAddr {
                    vring,
                    desc,
                    avail,
                    used,
                },
            );
            qemu.post(hba, VhostUser::SetVringKick { vring });
        }
        for vring in 0..RINGS {
            self.qemu.post(
                hba,
                VhostUser::SetVringEnable {
                    vring: VringIndex(vring),
                    on: true,
                },
            );
        }
        for vring in 0..RINGS {
            self.qemu.post(
                hba,
                VhostUser::SetVringCall {
                    vring: VringIndex(vring),
                },
            );
        }
    }

    /// Hands every running device's back-end the memory table again (`vhost_commit`).
    pub(super) fn add_memory(&mut self) {
        for hba in 0..self.hbas.len() {
            if self.hbas[hba].driver == Driver::None {
                continue;
            }
            let acked = self.qemu.has(hba, protocol::REPLY_ACK);
            let table = VhostUser::SetMemTable(self.memory.clone());
            self.qemu.post_with(hba, table, acked, acked);
        }
    }

    /// Takes the answers that came in.
    pub(super) fn read_answers(&mut self, cx: &mut Cx<'_, FromGuest>) {
        while let Some((hba, reply)) = self.qemu.answers.pop_front() {
            let n = usize::from(hba.0);
            match reply {
                VhostUserReply::Features(offered) => self.qemu.offered[n] = offered,
                VhostUserReply::ProtocolFeatures(offered) => {
                    self.qemu.protocol[n] = offered & protocol::ALL;
                    self.qemu.greet_on(n);
                }
                VhostUserReply::VringBase { vring, base } => {
                    self.stop_answered(hba, cx);
                    if let Some(kept) = self.qemu.bases[n].get_mut(usize::from(vring.0)) {
                        *kept = base;
                    }
                }
                VhostUserReply::Inflight { buffer } => {
                    let (queues, size) = (RINGS, RING_SIZE);
                    self.qemu.kept[n] = Some(buffer.clone());
                    let message = VhostUser::SetInflightFd {
                        queues,
                        size,
                        buffer,
                    };
                    let next = Outgoing {
                        hba,
                        message,
                        need_reply: false,
                        awaits: false,
                    };
                    self.qemu.outgoing.push_front(next);
                }
                VhostUserReply::QueueNum(_)
                | VhostUserReply::Status(_)
                | VhostUserReply::Ack { .. } => {}
            }
            if self.qemu.awaiting == Some(hba) {
                self.qemu.awaiting = None;
            }
        }
    }

    /// A ring was stopped: in time?
    fn stop_answered(&mut self, hba: HbaId, cx: &mut Cx<'_, FromGuest>) {
        let Some(asked) = self.qemu.stop_asked.take() else {
            return;
        };
        let took = cx.now.since(asked);
        if took > STOP_MAX {
            let controller = self.hbas[usize::from(hba.0)].controller;
            let text = format!("{controller}: GET_VRING_BASE took {} s", took.as_secs());
            cx.broken(CheckId::V4, text);
        }
    }

    /// Sends a message of a script: at once, or when the one before was answered.
    pub(super) fn send_scripted(&mut self, hba: HbaId, message: VhostUser) {
        self.qemu.post(usize::from(hba.0), message);
    }

    /// Sends messages until one is to be waited on. Returns the device of the last one and how many.
    pub(super) fn send_messages(&mut self, cx: &mut Cx<'_, FromGuest>) -> (HbaId, u32) {
        let mut last = HbaId(0);
        let mut sent = 0;
        while self.qemu.awaiting.is_none() {
            let Some(outgoing) = self.qemu.outgoing.pop_front() else {
                break;
            };
            let Outgoing {
                hba,
                message,
                need_reply,
                awaits,
            } = outgoing;
            if !self.qemu.connected[usize::from(hba.0)] {
                continue;
            }
            let stops = matches!(message, VhostUser::GetVringBase { .. });
            cx.out.push(FromGuest::VhostUser {
                hba,
                message,
                need_reply,
            });
            if awaits {
                self.qemu.awaiting = Some(hba);
                self.qemu.stop_asked = stops.then_some(cx.now);
            }
            last = hba;
            sent += 1;
        }
        (last, sent)
    }
}
