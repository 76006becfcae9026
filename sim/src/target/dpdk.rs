//! DPDK's message thread: connections, vhost-user messages one at a time for all controllers, and
//! SPDK's hooks around them.
//!
//! Sources: lib/vhost/rte_vhost_user.c (`extern_vhost_pre_msg_handler`, `…post_msg_handler`,
//! `new_connection`, `stop_device`, `destroy_connection`) and DPDK's vhost_user.c; fact sheet §4,
//! recordings §2a. The thread blocks while a session stops, and with it the messages of all VMs.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::time::Duration;

use scenarios::Time;
use vm_memory::{Bytes, GuestAddress};

use super::inflight;
use super::mail::VdevMessage;
use super::turn::TargetTurn;
use super::vring::{Layout, RING_SIZE_MAX};
use super::{Out, Target};
use crate::deviation::Deviation;
use crate::end::Memory;
use crate::message::{ConnId, FromTarget, VhostUser, VhostUserReply, VringIndex};
use crate::wire::ring::USED_IDX;
use crate::wire::scsi::feature;

/// What SPDK's vhost-scsi offers: `SPDK_VHOST_SCSI_FEATURES` less what it disables.
pub const FEATURES: u64 = feature::INOUT
    | feature::HOTPLUG
    | feature::CHANGE
    | feature::LOG_ALL
    | feature::ANY_LAYOUT
    | feature::INDIRECT_DESC
    | feature::PROTOCOL_FEATURES
    | feature::VERSION_1;
/// DPDK's protocol features and INFLIGHT_SHMFD.
pub const PROTOCOL_FEATURES: u64 = 0x11cbf;
/// `VHOST_MAX_QUEUE_PAIRS`.
pub const QUEUE_NUM: u64 = 128;
/// `SPDK_VHOST_MAX_VQUEUES`.
const RINGS_MAX: u16 = 256;
/// The most entries that DPDK lets a ring have.
const DPDK_RING_SIZE_MAX: u32 = 32_768;
/// A message takes so long: start messages of three queues take 2.0 ms with their answers.
const MESSAGE: Duration = Duration::from_micros(30);
/// Between the two halves of a handler.
const HALF: Duration = Duration::from_nanos(600);
/// SPDK logs that a stop takes long.
const STOP_WARNING: Duration = Duration::from_secs(3);

/// Something for the thread.
#[derive(Debug)]
pub enum Incoming {
    /// A new connection.
    Connect(ConnId, Box<str>),
    /// A closed one.
    Disconnect(ConnId),
    /// A message; whether it wants an acknowledgement.
    Message(ConnId, VhostUser, bool),
}

#[derive(Clone, Copy, Debug, Default)]
struct Ring {
    layout: Layout,
    mapped: bool,
    kicked: bool,
}

/// A connection as DPDK sees it.
#[derive(Debug)]
struct Device {
    conn: ConnId,
    vdev: u8,
    number: u8,
    vid: u32,
    features: u64,
    memory: Option<Memory>,
    /// `VIRTIO_DEV_RUNNING`.
    running: bool,
    status: u64,
    rings: Vec<Ring>,
}

impl Device {
    fn ring(&mut self, vring: VringIndex) -> Option<&mut Ring> {
        if vring.0 >= RINGS_MAX {
            return None;
        }
        let index = usize::from(vring.0);
        if self.rings.len() <= index {
            self.rings.resize_with(index + 1, Ring::default);
        }
        self.rings.get_mut(index)
    }
}

/// What a stop is for.
#[derive(Debug)]
enum Then {
    VringBase(ConnId, VringIndex),
    Memory(ConnId, Memory, bool),
    Closed(ConnId),
}

#[derive(Debug, Default)]
enum Doing {
    #[default]
    Nothing,
    /// The controller was found; the session is yet to be made (H3).
    Admitting(ConnId, Box<str>, u8, u8),
    /// The lock is held; the ring may be zeroed.
    Kicking(ConnId, VringIndex, bool),
    /// The semaphore of a session: `second` is DPDK's own `destroy_device`.
    Stopping { then: Then, second: bool },
}

/// The thread.
#[derive(Debug, Default)]
pub struct Dpdk {
    inbox: VecDeque<(Time, Incoming)>,
    devices: Vec<Device>,
    doing: Doing,
    /// When the thread goes on, if it does not wait for a message or a semaphore.
    next: Time,
    /// A stop has ended: when, and whether cleanly.
    result: Option<(Time, bool)>,
    warn_at: Time,
    /// Its due time has changed.
    pub touched: bool,
}

impl Dpdk {
    /// Queues something.
    pub fn push(&mut self, now: Time, incoming: Incoming) {
        self.inbox.push_back((now, incoming));
        self.touched = true;
    }

    /// The stop that the thread waits for has ended.
    pub fn stop_ended(&mut self, now: Time, ok: bool) {
        if matches!(self.doing, Doing::Stopping { .. }) {
            self.result = Some((now, ok));
            self.touched = true;
        }
    }

    /// When the thread goes on.
    #[must_use]
    pub fn due(&self) -> Time {
        match self.doing {
            Doing::Nothing => self
                .inbox
                .front()
                .map_or(Time::NEVER, |(at, _)| (*at).max(self.next)),
            Doing::Admitting(..) | Doing::Kicking(..) => self.next,
            Doing::Stopping { .. } => self.result.map_or(self.warn_at, |(at, _)| at),
        }
    }

    /// Whether it waits for a session to stop.
    #[must_use]
    pub const fn waits(&self) -> bool {
        matches!(self.doing, Doing::Stopping { .. })
    }

    /// Connections that are open.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.devices.len()
    }

    fn device(&mut self, conn: ConnId) -> Option<&mut Device> {
        self.devices.iter_mut().find(|device| device.conn == conn)
    }
}

impl Target {
    /// A turn of the thread.
    pub fn dpdk_turn(&mut self, cx: &mut Out<'_>) -> TargetTurn {
        let turn = match std::mem::take(&mut self.dpdk.doing) {
            Doing::Nothing => match self.dpdk.inbox.pop_front() {
                Some((_, Incoming::Connect(conn, name))) => self.find_controller(cx, conn, name),
                Some((_, Incoming::Disconnect(conn))) => self.connection_closed(cx, conn),
                Some((_, Incoming::Message(conn, message, ack))) => {
                    self.message(cx, conn, message, ack)
                }
                None => TargetTurn::Idle,
            },
            Doing::Admitting(conn, name, vdev, number) => self.admit(cx, conn, &name, vdev, number),
            Doing::Kicking(conn, vring, ack) => self.kicked(cx, conn, vring, ack),
            Doing::Stopping { then, second } => match self.dpdk.result.take() {
                Some((_, ok)) => self.stop_returned(cx, then, second, ok),
                None => {
                    self.dpdk.doing = Doing::Stopping { then, second };
                    self.dpdk.warn_at = Time::NEVER;
                    self.log(cx, "Timeout waiting for event: stop session.".to_owned());
                    TargetTurn::Idle
                }
            },
        };
        if matches!(self.dpdk.doing, Doing::Nothing) {
            self.dpdk.next = cx.now + MESSAGE;
        }
        turn
    }

    fn turn_of(&self, conn: ConnId, request: &'static str, vring: u16) -> TargetTurn {
        let device = self.dpdk.devices.iter().find(|device| device.conn == conn);
        TargetTurn::VhostUser {
            request,
            controller: device.map_or(0, |device| device.number),
            vring,
        }
    }

    fn find_controller(&mut self, cx: &mut Out<'_>, conn: ConnId, name: Box<str>) -> TargetTurn {
        let found = self.ctl.iter().position(|ctl| {
            ctl.as_ref()
                .is_some_and(|ctl| *ctl.name == *name && ctl.accepts && ctl.blk.is_none())
        });
        if let Some(vdev) = found {
            let number = self.ctl[vdev].as_ref().map_or(0, |ctl| ctl.number);
            self.dpdk.doing = Doing::Admitting(conn, name, vdev as u8, number);
            self.dpdk.next = cx.now + HALF;
        } else {
            cx.out.push(FromTarget::Closed { conn });
        }
        self.turn_of(conn, "CONNECT", 0)
    }

    /// `new_connection`: makes a session, unless the controller went meanwhile.
    fn admit(
        &mut self,
        cx: &mut Out<'_>,
        conn: ConnId,
        name: &str,
        vdev: u8,
        number: u8,
    ) -> TargetTurn {
        let used = |vid: &u32| self.dpdk.devices.iter().any(|device| device.vid == *vid);
        let vid = (0..).find(|vid| !used(vid)).unwrap_or(0);
        let ctl = self.ctl[usize::from(vdev)]
            .as_mut()
            .filter(|ctl| ctl.number == number && ctl.accepts && ctl.name == name);
        let Some(ctl) = ctl else {
            cx.out.push(FromTarget::Closed { conn });
            return self.turn_of(conn, "CONNECT", 0);
        };
        let id = ctl.next_session;
        ctl.next_session += 1;
        ctl.sessions
            .push(super::session::Session::new(id, vid, conn));
        self.dpdk.devices.push(Device {
            conn,
            vdev,
            number,
            vid,
            features: 0,
            memory: None,
            running: false,
            status: 0,
            rings: Vec::new(),
        });
        self.retry_soon(cx.now);
        self.turn_of(conn, "CONNECT", 0)
    }

    /// The session that SPDK finds for a connection: the first with its vid, which may be a leaked
    /// one (N1).
    fn session_of(&mut self, conn: ConnId) -> Option<(usize, usize)> {
        let device = self.dpdk.device(conn)?;
        let (vdev, number, vid) = (usize::from(device.vdev), device.number, device.vid);
        let ctl = self.ctl[vdev].as_ref().filter(|ctl| ctl.number == number)?;
        let index = ctl
            .sessions
            .iter()
            .position(|session| session.vid == vid && !session.gone)?;
        Some((vdev, index))
    }

    fn ack(&mut self, cx: &mut Out<'_>, conn: ConnId, wanted: bool, ok: bool) {
        if wanted {
            let reply = VhostUserReply::Ack { ok };
            cx.out.push(FromTarget::Answer { conn, reply });
        } else if !ok {
            // DPDK: "vhost message handling failed", and the connection is closed.
            cx.out.push(FromTarget::Closed { conn });
            self.dpdk.push(cx.now, Incoming::Disconnect(conn));
        }
    }

    #[expect(
        clippy::too_many_lines,
        reason = "one arm a message, as in DPDK's table of handlers"
    )]
    fn message(
        &mut self,
        cx: &mut Out<'_>,
        conn: ConnId,
        message: VhostUser,
        ack: bool,
    ) -> TargetTurn {
        let session = self.session_of(conn);
        let Some(device) = self.dpdk.device(conn) else {
            return TargetTurn::Idle;
        };
        let answer = |reply| FromTarget::Answer { conn, reply };
        let (request, vring, ok) = match message {
            VhostUser::GetFeatures => {
                cx.out.push(answer(VhostUserReply::Features(FEATURES)));
                return self.turn_of(conn, "GET_FEATURES", 0);
            }
            VhostUser::GetProtocolFeatures => {
                let reply = VhostUserReply::ProtocolFeatures(PROTOCOL_FEATURES);
                cx.out.push(answer(reply));
                return self.turn_of(conn, "GET_PROTOCOL_FEATURES", 0);
            }
            VhostUser::GetQueueNum => {
                cx.out.push(answer(VhostUserReply::QueueNum(QUEUE_NUM)));
                return self.turn_of(conn, "GET_QUEUE_NUM", 0);
            }
            VhostUser::GetStatus => {
                cx.out.push(answer(VhostUserReply::Status(device.status)));
                return self.turn_of(conn, "GET_STATUS", 0);
            }
            VhostUser::GetInflightFd { queues, size } => {
                match inflight::buffer(queues, size) {
                    Some(buffer) => cx.out.push(answer(VhostUserReply::Inflight { buffer })),
                    None => self.ack(cx, conn, ack, false),
                }
                return self.turn_of(conn, "GET_INFLIGHT_FD", 0);
            }
            VhostUser::GetVringBase { vring } => {
                return self.get_vring_base(cx, conn, vring, session);
            }
            VhostUser::SetMemTable(memory) => {
                return self.set_mem_table(cx, conn, memory, ack, session);
            }
            VhostUser::SetVringKick { vring } => {
                return self.kick(cx, conn, vring, ack, session);
            }
            VhostUser::SetFeatures(features) => {
                let known = features & !FEATURES == 0;
                let changed = (features ^ device.features) & !feature::LOG_ALL != 0;
                let ok = known && !(device.running && changed);
                if ok {
                    device.features = features;
                    if let Some((vdev, index)) = session {
                        let ctl = self.ctl[vdev].as_mut().expect("found above");
                        ctl.sessions[index].features = features;
                    }
                }
                ("SET_FEATURES", 0, ok)
            }
            VhostUser::SetProtocolFeatures(bits) => {
                ("SET_PROTOCOL_FEATURES", 0, bits & !PROTOCOL_FEATURES == 0)
            }
            VhostUser::SetOwner => ("SET_OWNER", 0, true),
            VhostUser::SetStatus(status) => {
                device.status = status;
                ("SET_STATUS", 0, true)
            }
            VhostUser::SetVringNum { vring, size } => {
                let ring = device.ring(vring);
                let fits = size.is_power_of_two() && size <= DPDK_RING_SIZE_MAX;
                let ok = ring.is_some_and(|ring| {
                    ring.layout.size = size;
                    fits
                });
                ("SET_VRING_NUM", vring.0, ok)
            }
            VhostUser::SetVringBase { vring, base } => {
                let ok = device.ring(vring).is_some_and(|ring| {
                    ring.layout.last_avail = base;
                    ring.layout.last_used = base;
                    true
                });
                ("SET_VRING_BASE", vring.0, ok)
            }
            VhostUser::SetVringAddr {
                vring,
                desc,
                avail,
                used,
            } => {
                let memory = device.memory.clone();
                let ok = device
                    .ring(vring)
                    .zip(memory)
                    .is_some_and(|(ring, memory)| {
                        (ring.layout.desc, ring.layout.avail, ring.layout.used) =
                            (desc, avail, used);
                        ring.mapped = mapped(&memory, &ring.layout);
                        if ring.mapped {
                            trust_used_index(&memory, &mut ring.layout);
                        }
                        true
                    });
                ("SET_VRING_ADDR", vring.0, ok)
            }
            VhostUser::SetVringCall { vring } => {
                let ok = device.ring(vring).is_some();
                if ok && let Some((vdev, index)) = session {
                    self.spurious_call(cx.now, vdev, index, vring.0);
                }
                ("SET_VRING_CALL", vring.0, ok)
            }
            VhostUser::SetVringErr { vring } => {
                ("SET_VRING_ERR", vring.0, device.ring(vring).is_some())
            }
            VhostUser::SetVringEnable { vring, on: _ } => {
                // A vring disable does not stop SPDK's polling.
                ("SET_VRING_ENABLE", vring.0, device.ring(vring).is_some())
            }
            VhostUser::SetInflightFd {
                queues,
                size,
                buffer,
            } => {
                let ok = self.inflight.set(conn, queues, size, buffer);
                ("SET_INFLIGHT_FD", 0, ok)
            }
        };
        self.ack(cx, conn, ack, ok);
        self.turn_of(conn, request, vring)
    }

    /// A deliberate call for a ring that is live already: the driver may wait for one that was lost.
    fn spurious_call(&mut self, now: Time, vdev: usize, index: usize, vring: u16) {
        let Some(ctl) = self.ctl[vdev].as_mut() else {
            return;
        };
        let session = &mut ctl.sessions[index];
        if let Some(ring) = session.ring(vring) {
            ring.calls_due = ring.calls_due.saturating_add(1);
            session.manage(now);
            ctl.poll_at = ctl.poll_at.min(now);
            self.touch_vdev(vdev);
        }
    }

    /// The first half of SET_VRING_KICK: takes the lock, and zeroes the ring if it is live (S8).
    fn kick(
        &mut self,
        cx: &mut Out<'_>,
        conn: ConnId,
        vring: VringIndex,
        ack: bool,
        session: Option<(usize, usize)>,
    ) -> TargetTurn {
        let turn = self.turn_of(conn, "SET_VRING_KICK", vring.0);
        let device = self.dpdk.device(conn).expect("the caller found it");
        let ready = device
            .ring(vring)
            .is_some_and(|ring| ring.mapped && ring.layout.size <= RING_SIZE_MAX);
        let (true, Some((vdev, index))) = (ready, session) else {
            self.ack(cx, conn, ack, false);
            return turn;
        };
        let ctl = self.ctl[vdev].as_mut().expect("found above");
        let session = &mut ctl.sessions[index];
        let live = session.polled && session.has_ring(vring.0);
        if live && !self.dev.has(Deviation::DuplicateKick) {
            self.ack(cx, conn, ack, true);
            return turn;
        }
        if live {
            let ring = session.ring_or_new(vring.0);
            ring.zeroed = true;
            ring.look = true;
            // The poller runs all the time; whether it comes between the halves is chance.
            let poll = Duration::from_nanos(u64::from(cx.dice.below(1_000)));
            session.manage(cx.now);
            if vring.0 >= 2 {
                ctl.poll_at = ctl.poll_at.min(cx.now + poll);
            }
        }
        ctl.locked = true;
        self.touch_vdev(vdev);
        self.dpdk.doing = Doing::Kicking(conn, vring, ack);
        self.dpdk.next = cx.now + HALF;
        turn
    }

    /// The second half: sets the ring up, schedules the start, lets the lock go.
    fn kicked(
        &mut self,
        cx: &mut Out<'_>,
        conn: ConnId,
        vring: VringIndex,
        ack: bool,
    ) -> TargetTurn {
        let turn = self.turn_of(conn, "SET_VRING_KICK", vring.0);
        let session = self.session_of(conn);
        let Some((vdev, index)) = session else {
            return turn;
        };
        let ok = self.enable_ring(conn, vdev, index, vring);
        if ok {
            if let Some(device) = self.dpdk.device(conn) {
                device.running |= vring.0 == 0;
            }
            self.schedule_start(cx.now, vdev, index);
        }
        self.unlock(cx.now, vdev);
        self.ack(cx, conn, ack, ok);
        turn
    }

    /// `enable_device_vq`.
    fn enable_ring(&mut self, conn: ConnId, vdev: usize, index: usize, vring: VringIndex) -> bool {
        let Some(device) = self.dpdk.device(conn) else {
            return false;
        };
        let memory = device.memory.clone();
        let features = device.features;
        let Some(ring) = device.ring(vring) else {
            return false;
        };
        ring.kicked = true;
        let mut layout = ring.layout;
        let again = self
            .inflight
            .begin_ring(conn, vring.0, &mut layout, memory.as_deref());
        let ctl = self.ctl[vdev].as_mut().expect("found above");
        let session = &mut ctl.sessions[index];
        if session.memory.is_none() || !session.unmapped {
            session.memory.clone_from(&memory);
        }
        session.features = features;
        let ring = session.ring_or_new(vring.0);
        let life = ring.life;
        let Ok(old) = ring.set_up(&layout) else {
            return false;
        };
        if let Some(memory) = &memory
            && ring.no_notify(memory).is_err()
        {
            return false;
        }
        ring.again = again;
        if let Some(tasks) = old {
            session.orphans.push((vring.0, life, tasks));
        }
        session.max_queues = session.max_queues.max(vring.0 + 1);
        if session.polled {
            session.manage_at = session.manage_at.min(super::session::next_tick(
                session.since,
                super::session::MANAGE_PERIOD,
                self.now,
            ));
            ctl.poll_at = ctl.poll_at.min(self.now);
        }
        self.touch_vdev(vdev);
        true
    }

    fn schedule_start(&mut self, now: Time, vdev: usize, index: usize) {
        let ctl = self.ctl[vdev].as_mut().expect("found above");
        let session = &mut ctl.sessions[index];
        if session.started || session.starting {
            return;
        }
        session.starting = true;
        let message = VdevMessage::Start {
            session: session.id,
        };
        self.send_vdev(now, vdev, message);
    }

    /// Lets the lock go: what waited for it is sent again.
    fn unlock(&mut self, now: Time, vdev: usize) {
        let Some(ctl) = self.ctl[vdev].as_mut() else {
            return;
        };
        ctl.locked = false;
        let waiting = std::mem::take(&mut ctl.waiting);
        for waiting in waiting {
            match waiting {
                super::controller::Waiting::Vdev(message) => self.send_vdev(now, vdev, message),
                super::controller::Waiting::App(message) => self.send_app(now, message),
            }
        }
        self.retry_soon(now);
    }

    /// Sends a stop if the session runs or is about to; whether there is one to wait for.
    fn begin_stop(&mut self, now: Time, session: Option<(usize, usize)>) -> bool {
        let Some((vdev, index)) = session else {
            return false;
        };
        let ctl = self.ctl[vdev].as_mut().expect("found above");
        let session = &ctl.sessions[index];
        if !session.started && !session.starting {
            return false;
        }
        let message = VdevMessage::Stop {
            session: session.id,
        };
        self.send_vdev(now, vdev, message);
        self.dpdk.result = None;
        self.dpdk.warn_at = now + STOP_WARNING;
        true
    }

    fn get_vring_base(
        &mut self,
        cx: &mut Out<'_>,
        conn: ConnId,
        vring: VringIndex,
        session: Option<(usize, usize)>,
    ) -> TargetTurn {
        let turn = self.turn_of(conn, "GET_VRING_BASE", vring.0);
        let then = Then::VringBase(conn, vring);
        if self.begin_stop(cx.now, session) {
            self.dpdk.doing = Doing::Stopping {
                then,
                second: false,
            };
        } else {
            self.dpdk_stops(cx, then);
        }
        turn
    }

    fn set_mem_table(
        &mut self,
        cx: &mut Out<'_>,
        conn: ConnId,
        memory: Memory,
        ack: bool,
        session: Option<(usize, usize)>,
    ) -> TargetTurn {
        let turn = self.turn_of(conn, "SET_MEM_TABLE", 0);
        if self.begin_stop(cx.now, session) {
            let (vdev, index) = session.expect("a stop has a session");
            let ctl = self.ctl[vdev].as_mut().expect("found above");
            ctl.sessions[index].needs_restart = true;
            let then = Then::Memory(conn, memory, ack);
            self.dpdk.doing = Doing::Stopping {
                then,
                second: false,
            };
        } else {
            self.new_memory(cx, conn, memory, ack, 0);
        }
        turn
    }

    fn connection_closed(&mut self, cx: &mut Out<'_>, conn: ConnId) -> TargetTurn {
        let turn = self.turn_of(conn, "DISCONNECT", 0);
        let Some(device) = self.dpdk.device(conn) else {
            return turn;
        };
        // `vhost_destroy_device_notify` first, if DPDK thinks that the device runs.
        let running = std::mem::take(&mut device.running);
        let session = self.session_of(conn);
        let then = Then::Closed(conn);
        if running && self.begin_stop(cx.now, session) {
            self.dpdk.doing = Doing::Stopping {
                then,
                second: false,
            };
        } else {
            self.dpdk_stops(cx, then);
        }
        turn
    }

    fn stop_returned(
        &mut self,
        cx: &mut Out<'_>,
        then: Then,
        second: bool,
        ok: bool,
    ) -> TargetTurn {
        let conn = match &then {
            Then::VringBase(conn, _) | Then::Memory(conn, ..) | Then::Closed(conn) => *conn,
        };
        let turn = self.turn_of(conn, "STOPPED", 0);
        let mut max_queues = 0;
        if ok {
            max_queues = self.save_bases(conn);
        } else {
            let vid = self.dpdk.device(conn).map_or(0, |device| device.vid);
            self.log(cx, format!("Couldn't stop device with vid {vid}."));
        }
        if let Then::Memory(conn, memory, ack) = then {
            self.new_memory(cx, conn, memory, ack, max_queues);
        } else if second {
            self.stops_over(cx, then);
        } else {
            self.dpdk_stops(cx, then);
        }
        turn
    }

    /// `_stop_session`, once the session has stopped: where each ring goes on is DPDK's to know.
    /// Says how many rings there were.
    fn save_bases(&mut self, conn: ConnId) -> u16 {
        let Some((vdev, index)) = self.session_of(conn) else {
            return 0;
        };
        let Some(device) = self
            .dpdk
            .devices
            .iter_mut()
            .find(|device| device.conn == conn)
        else {
            return 0;
        };
        let ctl = self.ctl[vdev].as_mut().expect("found above");
        let session = &mut ctl.sessions[index];
        for (n, ring) in session.vrings.iter_mut().enumerate() {
            if !ring.live {
                continue;
            }
            ring.live = false;
            if let Some(saved) = device.ring(VringIndex(n as u16)) {
                saved.layout.last_avail = ring.last_avail();
                saved.layout.last_used = ring.last_used();
            }
        }
        std::mem::take(&mut session.max_queues)
    }

    /// DPDK's own part: `destroy_device` stops a session that is started still, once more.
    fn dpdk_stops(&mut self, cx: &mut Out<'_>, then: Then) {
        let conn = match &then {
            Then::VringBase(conn, _) | Then::Memory(conn, ..) | Then::Closed(conn) => *conn,
        };
        let again = match then {
            // Only a device that DPDK thinks is running is destroyed; then it is not any more.
            Then::VringBase(..) | Then::Memory(..) => self
                .dpdk
                .device(conn)
                .is_some_and(|device| std::mem::take(&mut device.running)),
            // `destroy_connection` stops what is started still.
            Then::Closed(..) => true,
        };
        let session = self.session_of(conn);
        if again && self.begin_stop(cx.now, session) {
            self.dpdk.doing = Doing::Stopping { then, second: true };
        } else {
            self.stops_over(cx, then);
        }
    }

    fn stops_over(&mut self, cx: &mut Out<'_>, then: Then) {
        match then {
            Then::VringBase(conn, vring) => {
                let Some(device) = self.dpdk.device(conn) else {
                    return;
                };
                let base = device.ring(vring).map_or(0, |ring| {
                    (ring.mapped, ring.kicked) = (false, false);
                    ring.layout.last_avail
                });
                let reply = VhostUserReply::VringBase { vring, base };
                cx.out.push(FromTarget::Answer { conn, reply });
            }
            Then::Memory(conn, memory, ack) => self.new_memory(cx, conn, memory, ack, 0),
            Then::Closed(conn) => self.forget_connection(cx, conn),
        }
    }

    /// The memory table is replaced; a session that ran is set up and started again.
    fn new_memory(
        &mut self,
        cx: &mut Out<'_>,
        conn: ConnId,
        memory: Memory,
        ack: bool,
        rings: u16,
    ) {
        if let Some(device) = self.dpdk.device(conn) {
            for ring in &mut device.rings {
                ring.mapped = ring.kicked && mapped(&memory, &ring.layout);
            }
            device.memory = Some(memory.clone());
        }
        if let Some((vdev, index)) = self.session_of(conn) {
            let ctl = self.ctl[vdev].as_mut().expect("found above");
            let session = &mut ctl.sessions[index];
            if session.task_cnt == 0 {
                session.memory = Some(memory);
            }
            if std::mem::take(&mut session.needs_restart) && !session.started {
                for vring in (0..rings).map(VringIndex) {
                    let kicked = self
                        .dpdk
                        .device(conn)
                        .and_then(|device| device.ring(vring))
                        .is_some_and(|ring| ring.mapped);
                    if kicked && self.enable_ring(conn, vdev, index, vring) {
                        self.spurious_call(cx.now, vdev, index, vring.0);
                    }
                }
                self.schedule_start(cx.now, vdev, index);
            }
        }
        self.ack(cx, conn, ack, true);
    }

    /// `destroy_connection`: the session goes, unless it could not be stopped.
    fn forget_connection(&mut self, cx: &mut Out<'_>, conn: ConnId) {
        let session = self.session_of(conn);
        self.dpdk.devices.retain(|device| device.conn != conn);
        self.inflight.forget(conn);
        let Some((vdev, index)) = session else {
            return;
        };
        let leaks = self.dev.has(Deviation::LeakedSession);
        let ctl = self.ctl[vdev].as_mut().expect("found above");
        let session = &mut ctl.sessions[index];
        if session.conn != conn {
            // The session of a dead namesake was found: its connection is gone already (N1).
            return;
        }
        if session.started || session.draining {
            if leaks {
                session.unmapped = true;
                self.log(
                    cx,
                    "failed to stop session on disconnect: it leaks".to_owned(),
                );
            } else {
                session.started = false;
                session.draining = true;
                session.gone = true;
            }
        } else {
            self.close_session(cx, vdev, index);
        }
    }
}

/// `translate_ring_addresses`: where the driver's used index and the base differ, "some packets maybe
/// resent", and the used index counts.
fn trust_used_index(memory: &Memory, layout: &mut Layout) {
    let at = GuestAddress(layout.used + USED_IDX);
    if let Ok(used) = memory.load::<u16>(at, Ordering::Acquire) {
        let used = u16::from_le(used);
        if used != layout.last_used {
            (layout.last_used, layout.last_avail) = (used, used);
        }
    }
}

/// Whether a ring lies in memory as DPDK maps it: each part in one region.
fn mapped(memory: &Memory, layout: &Layout) -> bool {
    let size = u64::from(layout.size);
    size > 0
        && layout.desc % 16 == 0
        && layout.avail % 2 == 0
        && layout.used % 4 == 0
        && super::chain::contiguous(memory, layout.desc, 16 * size)
        && super::chain::contiguous(memory, layout.avail, 6 + 2 * size)
        && super::chain::contiguous(memory, layout.used, 6 + 8 * size)
}
