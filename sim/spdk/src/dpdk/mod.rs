//! DPDK's message thread: connections, vhost-user messages one at a time for all controllers, and
//! SPDK's hooks around them.
//!
//! Sources: lib/vhost/rte_vhost_user.c (`extern_vhost_pre_msg_handler`, `…post_msg_handler`,
//! `new_connection`, `stop_device`, `destroy_connection`) and DPDK's vhost_user.c; fact sheet §4,
//! recordings §2a. The thread blocks while a session stops, and with it the messages of all VMs.

mod device;
pub mod inflight;
mod kick;
mod message;
mod stop;

use std::collections::VecDeque;
use std::time::Duration;

use scenarios::Time;

use crate::handles::{SessionAt, SessionId, VdevId};
use crate::mail::Mail;
use crate::shared::{self, Out, Shared};
use crate::turn::TargetTurn;
use crate::vdev::controller::Vdevs;
use crate::vdev::session::Session;
use device::Device;
use wire::component::Memory;
use wire::message::{ConnId, FromTarget, LogLevel, VhostUser, VhostUserReply, VringIndex};
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
/// A message takes so long: start messages of three queues take 2.0 ms with their answers.
const MESSAGE: Duration = Duration::from_micros(30);
/// Between the two halves of a handler.
const HALF: Duration = Duration::from_nanos(600);
/// SPDK logs that a stop takes long.
const STOP_WARNING: Duration = Duration::from_secs(3);

/// Whether a message asks to be acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ack {
    Wanted,
    NotWanted,
}

/// How a message was handled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Handled {
    Well,
    /// "vhost message handling failed".
    Badly,
}

impl Handled {
    fn well(is_well: bool) -> Self {
        if is_well { Self::Well } else { Self::Badly }
    }
}

/// Something for the thread.
#[derive(Clone, Debug)]
pub enum Incoming {
    Connect(ConnId, Box<str>),
    Disconnect(ConnId),
    Message(ConnId, VhostUser, Ack),
}

/// What a stop is for.
#[derive(Clone, Debug)]
enum Then {
    VringBase(ConnId, VringIndex),
    Memory(ConnId, Memory, Ack),
    Closed(ConnId),
}

impl Then {
    const fn conn(&self) -> ConnId {
        match self {
            Self::VringBase(conn, _) | Self::Memory(conn, ..) | Self::Closed(conn) => *conn,
        }
    }
}

/// Who stops a session: the one after the other, if the first did not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum StoppedBy {
    /// SPDK's hook, before DPDK handles the message.
    Hook,
    /// DPDK's own `destroy_device`.
    Handler,
}

#[derive(Clone, Debug, Default)]
enum Doing {
    #[default]
    Nothing,
    /// The controller was found; the session is yet to be made (H3).
    Admitting(ConnId, Box<str>, VdevId, u8),
    /// The lock is held; the ring may be zeroed.
    Kicking(ConnId, VringIndex, Ack),
    /// The semaphore of a session.
    Stopping(Then, StoppedBy),
}

#[derive(Clone, Debug, Default)]
pub struct Dpdk {
    inbox: VecDeque<(Time, Incoming)>,
    devices: Vec<Device>,
    doing: Doing,
    /// When the thread goes on, if it does not wait for a message or a semaphore.
    next: Time,
    warn_at: Time,
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

    pub fn push(&mut self, now: Time, incoming: Incoming) {
        self.inbox.push_back((now, incoming));
    }

    /// When the thread goes on.
    pub fn due(&self, mail: &Mail) -> Time {
        match self.doing {
            Doing::Nothing => self
                .inbox
                .front()
                .map_or(Time::NEVER, |(at, _)| (*at).max(self.next)),
            Doing::Admitting(..) | Doing::Kicking(..) => self.next,
            Doing::Stopping(..) => mail.stop_posted().unwrap_or(self.warn_at),
        }
    }

    /// Whether it waits for a session to stop.
    pub const fn waits(&self) -> bool {
        matches!(self.doing, Doing::Stopping(..))
    }

    /// The controller whose ring is being kicked, by its place and number.
    pub fn kicks(&self) -> Option<(VdevId, u8)> {
        let Doing::Kicking(conn, ..) = &self.doing else {
            return None;
        };
        let device = self.devices.iter().find(|device| device.conn == *conn)?;
        Some((device.vdev, device.number))
    }

    /// Two connections that are one, for the invariants.
    pub fn connection_twice(&self) -> Option<String> {
        let same = |a: &Device, b: &Device| a.conn == b.conn || a.vid == b.vid;
        self.devices.iter().enumerate().find_map(|(n, one)| {
            let twin = self.devices[..n].iter().find(|other| same(one, other))?;
            Some(format!(
                "{:?} and {:?} share vid {}",
                one.conn, twin.conn, one.vid
            ))
        })
    }

    /// Connections that are open.
    pub fn connections(&self) -> usize {
        self.devices.len()
    }

    fn device(&mut self, conn: ConnId) -> Option<&mut Device> {
        self.devices.iter_mut().find(|device| device.conn == conn)
    }

    fn turn_of(&self, conn: ConnId, request: &'static str, vring: u16) -> TargetTurn {
        let device = self.devices.iter().find(|device| device.conn == conn);
        TargetTurn::VhostUser {
            request,
            controller: device.map_or(0, |device| device.number),
            vring,
        }
    }
}

/// The thread while it takes a turn. It touches controllers under their locks.
pub struct DpdkThread<'t> {
    pub own: &'t mut Dpdk,
    pub vdevs: &'t mut Vdevs,
    pub shared: &'t mut Shared,
    pub cx: Out<'t>,
}

impl DpdkThread<'_> {
    /// The session that SPDK finds for a connection: the first with its vid, which may be a leaked
    /// one (N1).
    fn session_of(&mut self, conn: ConnId) -> Option<SessionAt> {
        let device = self.own.device(conn)?;
        let (vdev, number, vid) = (device.vdev, device.number, device.vid);
        let ctl = self.vdevs.get(vdev).filter(|ctl| ctl.number == number)?;
        let found = |session: &Session| session.vid == vid && !session.gone;
        let index = ctl.sessions.iter().position(found)?;
        Some(SessionAt { vdev, index })
    }

    fn session(&mut self, at: SessionAt) -> &mut Session {
        let ctl = self.vdevs.get_mut(at.vdev).expect("it was just found");
        &mut ctl.sessions[at.index]
    }

    fn answer(&mut self, conn: ConnId, reply: VhostUserReply) {
        self.cx.out.push(FromTarget::Answer { conn, reply });
    }

    fn ack(&mut self, conn: ConnId, ack: Ack, handled: Handled) {
        let ok = handled == Handled::Well;
        if ack == Ack::Wanted {
            self.answer(conn, VhostUserReply::Ack { ok });
        } else if !ok {
            // DPDK closes the connection.
            self.cx.out.push(FromTarget::Closed { conn });
            self.own.push(self.cx.now, Incoming::Disconnect(conn));
        }
    }

    fn log(&mut self, level: LogLevel, text: String) {
        shared::log(&mut self.cx, level, text);
    }
}

pub fn turn(dpdk: &mut DpdkThread<'_>) -> TargetTurn {
    let turn = match std::mem::take(&mut dpdk.own.doing) {
        Doing::Nothing => match dpdk.own.inbox.pop_front() {
            Some((_, Incoming::Connect(conn, name))) => find_controller(dpdk, conn, name),
            Some((_, Incoming::Disconnect(conn))) => stop::connection_closed(dpdk, conn),
            Some((_, Incoming::Message(conn, message, ack))) => {
                message::handle(dpdk, conn, message, ack).unwrap_or(TargetTurn::Idle)
            }
            None => TargetTurn::Idle,
        },
        Doing::Admitting(conn, name, vdev, number) => admit(dpdk, conn, &name, vdev, number),
        Doing::Kicking(conn, vring, ack) => kick::kicked(dpdk, conn, vring, ack),
        Doing::Stopping(then, by) => match dpdk.shared.mail.take_stop() {
            Some(result) => stop::stop_returned(dpdk, then, by, result),
            None => {
                dpdk.own.doing = Doing::Stopping(then, by);
                dpdk.own.warn_at = Time::NEVER;
                dpdk.log(
                    LogLevel::Error,
                    "Timeout waiting for event: stop session.".to_owned(),
                );
                TargetTurn::Idle
            }
        },
    };
    if matches!(dpdk.own.doing, Doing::Nothing) {
        dpdk.own.next = dpdk.cx.now + MESSAGE;
    }
    turn
}

fn find_controller(dpdk: &mut DpdkThread<'_>, conn: ConnId, name: Box<str>) -> TargetTurn {
    let mut controllers = dpdk.vdevs.iter();
    if let Some(ctl) = controllers.find(|ctl| *ctl.name == *name && ctl.accepts) {
        dpdk.own.doing = Doing::Admitting(conn, name, ctl.vdev, ctl.number);
        dpdk.own.next = dpdk.cx.now + HALF;
    } else {
        dpdk.cx.out.push(FromTarget::Closed { conn });
    }
    dpdk.own.turn_of(conn, "CONNECT", 0)
}

/// `new_connection`: makes a session, unless the controller went meanwhile.
fn admit(
    dpdk: &mut DpdkThread<'_>,
    conn: ConnId,
    name: &str,
    vdev: VdevId,
    number: u8,
) -> TargetTurn {
    let used = |vid: &u32| dpdk.own.devices.iter().any(|device| device.vid == *vid);
    let vid = (0..).find(|vid| !used(vid)).unwrap_or(0);
    let ctl = dpdk.vdevs.get_mut(vdev);
    let same = ctl.filter(|ctl| ctl.number == number && ctl.accepts && ctl.name == name);
    let Some(ctl) = same else {
        dpdk.cx.out.push(FromTarget::Closed { conn });
        return dpdk.own.turn_of(conn, "CONNECT", 0);
    };
    let id = ctl.next_session;
    ctl.next_session = SessionId(id.0 + 1);
    ctl.sessions.push(Session::new(id, vid, conn));
    dpdk.own.devices.push(Device {
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
    dpdk.shared.mail.wake_rpcs(dpdk.cx.now);
    dpdk.own.turn_of(conn, "CONNECT", 0)
}

/// A change to a target that breaks the invariant of this name.
#[cfg(test)]
pub const MUTANTS: crate::tests::Mutants = &[
    ("time_of_dpdks_thread", |t| t.dpdk.warn_at = Time(1)),
    ("connections_are_distinct", |t| {
        t.dpdk.devices[0].vid = t.dpdk.devices[1].vid
    }),
];
