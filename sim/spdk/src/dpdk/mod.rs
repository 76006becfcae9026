//! DPDK's message thread: connections, vhost-user messages one at a time for all controllers, and
//! SPDK's hooks around them.
//!
//! Sources: lib/vhost/rte_vhost_user.c (`extern_vhost_pre_msg_handler`, `…post_msg_handler`,
//! `new_connection`, `stop_device`, `destroy_connection`) and DPDK's vhost_user.c; fact sheet §4,
//! recordings §2a. The thread blocks while a session stops, and with it the messages of all VMs.

mod kick;
mod stop;

use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::time::Duration;

use scenarios::Time;
use vm_memory::{Bytes, GuestAddress};

use super::inflight;
use super::session::Session;
use super::turn::TargetTurn;
use super::vring::Layout;
use super::{Out, Target};
use wire::component::Memory;
use wire::message::{ConnId, FromTarget, VhostUser, VhostUserReply, VringIndex};
use wire::ring::USED_IDX;
use wire::scsi::feature;

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
#[derive(Clone, Debug)]
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
#[derive(Clone, Debug)]
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
#[derive(Clone, Debug)]
enum Then {
    VringBase(ConnId, VringIndex),
    Memory(ConnId, Memory, bool),
    Closed(ConnId),
}

#[derive(Clone, Debug, Default)]
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
#[derive(Clone, Debug, Default)]
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
    /// Hands over the inflight buffers in messages.
    pub fn buffers(&self, mut f: impl FnMut(&Memory)) {
        for (_, incoming) in &self.inbox {
            if let Incoming::Message(_, VhostUser::SetInflightFd { buffer, .. }, _) = incoming {
                f(buffer);
            }
        }
    }

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
        ctl.sessions.push(Session::new(id, vid, conn));
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
        && layout.desc.is_multiple_of(16)
        && layout.avail.is_multiple_of(2)
        && layout.used.is_multiple_of(4)
        && super::chain::contiguous(memory, layout.desc, 16 * size)
        && super::chain::contiguous(memory, layout.avail, 6 + 2 * size)
        && super::chain::contiguous(memory, layout.used, 6 + 8 * size)
}
