//! The model target: SPDK's vhost-scsi as SPDK is (3230130e6a, release build), sans-I/O.
//!
//! Knows memory, messages and time. Knows nothing of the guest model, of the world, or of sockets.
//!
//! ```text
//!            app thread (RPC poller, bdev management, completions)
//!   messages ▲│                            ▲│ bdev goes, LUN closed
//!            │▼                            │▼
//!   DPDK ──▶ a thread a controller: sessions, rings, tasks, LUNs ──▶ bdevs
//! ```
//!
//! An actor is a thread, or all devices under the bdevs together. A turn is one message of its inbox
//! or one run of one poller. Pollers that would find nothing are not run, and what spins in SPDK (a
//! try-lock that re-sends itself, an RPC that queues itself again) waits to be woken here.
#![forbid(unsafe_code)]

mod audit;
mod bdev;
mod chain;
mod controller;
mod controlq;
mod datapath;
mod dpdk;
mod eventq;
mod exec;
mod execute;
mod foreach;
mod inflight;
mod inspect;
mod lun;
mod mail;
mod parse;
mod requestq;
pub mod rpc;
pub mod scsi;
mod session;
mod slot;
mod start_stop;
mod task;
#[cfg(test)]
mod tests;
mod threads;
mod turn;
mod vring;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use scenarios::{CheckId, Time};

use bdev::Bdevs;
pub use bdev::{Latencies, NvmeDevice};
use controller::Controller;
use dpdk::{Dpdk, Incoming};
use exec::{Deferred, Logging};
use inflight::Inflights;
pub use inspect::Thread;
use lun::Devices;
use mail::{APP, Agenda, AppMessage, BDEV, DPDK, HOP, Inbox, NO_MESSAGE, Stamp, VDEV, VdevMessage};
use rpc::RpcServer;
use session::{Session, next_tick};
use task::TaskRef;
pub use turn::{ForeachOp, LunStep, TargetTurn};
use wire::bugs::{Bug, Bugs};
use wire::component::{ActorId, Component, Cx, Memory, When};
use wire::message::{ClientId, ConnId, Crash, FromTarget, REQUESTQ, ToTarget};

/// Requests are read, and answers leave, at this poller's ticks (recordings §3: 4 ms).
pub const RPC_PERIOD: Duration = Duration::from_millis(4);

/// What a turn of the target is told.
type Out<'a> = Cx<'a, FromTarget>;

/// What a target is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetConfig {
    /// How it is wrong.
    pub bugs: Bugs,
    /// Reactors, 1 or 2. With one, the app thread and the controllers' threads take turns on it, which
    /// keeps the order of their messages; with two, each controller's thread is on its own.
    pub cores: u8,
    /// Where the vhost-user sockets are said to be.
    pub socket_dir: String,
    /// Controllers that can exist at a time.
    ///
    /// # Divergence from SPDK
    ///
    /// SPDK has no limit; one more is "Cannot allocate memory" here.
    pub controllers_max: u8,
    /// How long devices take.
    pub latencies: Latencies,
    /// NVMe devices that can be attached.
    pub nvme: Vec<NvmeDevice>,
}

impl Default for TargetConfig {
    fn default() -> Self {
        Self {
            bugs: Bugs::head(),
            cores: 1,
            socket_dir: "/var/tmp".to_owned(),
            controllers_max: 16,
            latencies: Latencies::default(),
            nvme: Vec::new(),
        }
    }
}

/// The target.
#[derive(Clone, Debug)]
pub struct Target {
    config: Arc<TargetConfig>,
    dev: Bugs,
    dead: bool,
    now: Time,
    /// The actor whose turn it is.
    running: usize,
    agenda: Agenda,
    touched: u64,
    sent: u64,

    rpc: RpcServer,
    rpc_at: Time,
    input: Vec<(ClientId, Option<Bytes>)>,
    /// When the first of `input` came.
    input_since: Time,
    inbox: Inbox<AppMessage>,
    timers: Vec<(Time, AppMessage)>,
    deferred: Deferred,
    logging: Logging,

    dpdk: Dpdk,
    inflight: Inflights,
    ctl: Vec<Option<Box<Controller>>>,
    controllers_made: u8,
    device_numbers: u32,
    devs: Devices,
    bdevs: Bdevs,

    unanswerable: u64,
    /// The paths that sockets are bound to.
    sockets: Vec<String>,
    /// The controller and the place in it of the session that was asked for last.
    looked: (usize, usize),
    /// Where the last read went (X3).
    cursor: Option<bdev::store::StoreId>,
    data_in: Vec<u8>,
    data_out: Vec<u8>,
}

/// What a target was, but for the contents of its devices.
#[derive(Clone, Debug)]
pub struct TargetMark(Target);

impl Target {
    /// A target that has just started: no bdevs, no controllers.
    ///
    /// # Panics
    ///
    /// If `controllers_max` makes more actors than an end can have.
    #[must_use]
    pub fn new(config: TargetConfig) -> Self {
        let actors = VDEV + usize::from(config.controllers_max);
        assert!(
            actors <= wire::component::COMPONENT_ACTORS_MAX,
            "{actors} actors are too many"
        );
        Self {
            dev: config.bugs,
            dead: false,
            now: Time::ZERO,
            running: APP,
            agenda: Agenda::new(actors, config.cores < 2),
            touched: 0,
            sent: 0,
            rpc: RpcServer::new(true).answering_twice(config.bugs.has(Bug::AnsweredTwice)),
            rpc_at: Time::NEVER,
            input: Vec::new(),
            input_since: Time::NEVER,
            inbox: Inbox::default(),
            timers: Vec::new(),
            deferred: Deferred::default(),
            logging: Logging::default(),
            dpdk: Dpdk::default(),
            inflight: Inflights::default(),
            ctl: std::iter::repeat_with(|| None)
                .take(usize::from(config.controllers_max))
                .collect(),
            controllers_made: 0,
            device_numbers: 0,
            devs: Devices::default(),
            bdevs: Bdevs::new(&config.nvme, config.latencies),
            unanswerable: 0,
            sockets: Vec::new(),
            looked: (0, 0),
            cursor: None,
            data_in: Vec::new(),
            data_out: Vec::new(),
            config: Arc::new(config),
        }
    }

    /// As [`Target::new`], but keeps the memory of the devices' pages for reuse.
    pub fn renew(&mut self, config: TargetConfig) {
        let mut bdevs = std::mem::take(&mut self.bdevs);
        bdevs.reset(&config.nvme, config.latencies);
        *self = Self::new(config);
        self.bdevs = bdevs;
    }

    /// Marks the contents of its devices, and copies everything else.
    pub fn mark(&mut self) -> TargetMark {
        let mut stores = std::mem::take(&mut self.bdevs.stores);
        stores.mark();
        let copy = self.clone();
        self.bdevs.stores = stores;
        TargetMark(copy)
    }

    /// Becomes what it was at its last mark.
    pub fn rewind(&mut self, to: &TargetMark) {
        let mut stores = std::mem::take(&mut self.bdevs.stores);
        stores.rewind();
        self.clone_from(&to.0);
        self.bdevs.stores = stores;
    }

    /// Bytes of its devices' contents.
    #[must_use]
    pub fn stored_bytes(&self) -> u64 {
        self.bdevs.stores.bytes()
    }

    /// Bytes that its devices' contents take.
    #[must_use]
    pub fn kept_bytes(&self) -> u64 {
        self.bdevs.stores.kept_bytes()
    }

    /// Hands over the inflight buffers that it knows.
    pub fn memories(&self, mut f: impl FnMut(&Memory)) {
        self.inflight.memories(&mut f);
        self.dpdk.buffers(f);
    }

    fn stamp(&mut self, due: Time) -> Stamp {
        self.sent += 1;
        (due, self.sent)
    }

    fn send_app(&mut self, now: Time, message: AppMessage) {
        let stamp = self.stamp(now + HOP);
        self.inbox.push(stamp, message);
        self.touched |= 1 << APP;
    }

    /// A message of the app thread to itself, at a poller's tick.
    fn app_later(&mut self, at: Time, message: AppMessage) {
        self.timers.push((at, message));
        self.touched |= 1 << APP;
    }

    fn send_vdev(&mut self, now: Time, vdev: usize, message: VdevMessage) {
        let stamp = self.stamp(now + HOP);
        if let Some(ctl) = self.ctl[vdev].as_mut() {
            ctl.inbox.push(stamp, message);
            self.touch_vdev(vdev);
        }
    }

    fn touch_vdev(&mut self, vdev: usize) {
        self.touched |= 1 << (VDEV + vdev);
    }

    fn log(&mut self, cx: &mut Out<'_>, text: String) {
        cx.out.push(FromTarget::Log(text));
    }

    /// The modelled process dies; nothing of it acts any more.
    fn die(&mut self, cx: &mut Out<'_>, signal: &'static str, place: &'static str) {
        if !self.dead {
            self.dead = true;
            cx.out.push(FromTarget::Died(Crash { signal, place }));
        }
    }

    /// Guest memory was used that is not there, or not there any more.
    fn memory_gone(&mut self, cx: &mut Out<'_>, place: &'static str) {
        cx.broken(CheckId::G4, place.to_owned());
        self.die(cx, "SIGSEGV", place);
    }

    fn session(&mut self, of: TaskRef) -> Option<&mut Session> {
        self.ctl[usize::from(of.vdev)].as_mut()?.session(of.session)
    }

    fn session_index(&self, of: TaskRef) -> Option<usize> {
        let ctl = self.ctl[usize::from(of.vdev)].as_ref()?;
        ctl.sessions
            .iter()
            .position(|session| session.id == of.session)
    }

    /// The controller and the place in it of the session that a connection made. Most are asked for many
    /// times in a row.
    fn place_of(&mut self, conn: ConnId) -> Option<(usize, usize)> {
        let is = |ctl: &Option<Box<Controller>>, index: usize| {
            let session = ctl.as_ref().and_then(|ctl| ctl.sessions.get(index));
            session.is_some_and(|session| session.conn == conn)
        };
        let (vdev, index) = self.looked;
        if is(&self.ctl[vdev], index) {
            return Some(self.looked);
        }
        let found = self.ctl.iter().enumerate().find_map(|(vdev, ctl)| {
            let mut sessions = 0..ctl.as_ref()?.sessions.len();
            Some((vdev, sessions.find(|index| is(ctl, *index))?))
        });
        self.looked = found.unwrap_or_default();
        found
    }

    fn rpc_input(&mut self, now: Time, client: ClientId, bytes: Option<Bytes>) {
        if self.input.is_empty() {
            self.input_since = now;
        }
        self.input.push((client, bytes));
        self.touched |= 1 << APP;
    }

    /// Notes when the actors are due whose state has changed.
    fn refresh(&mut self) {
        if std::mem::take(&mut self.dpdk.touched) {
            self.touched |= 1 << DPDK;
        }
        let mut touched = std::mem::take(&mut self.touched);
        let due = self.bdevs.engine.due();
        if !self.dead && due != self.agenda.due(BDEV) {
            self.agenda.set(BDEV, due, NO_MESSAGE);
        }
        while touched != 0 {
            let actor = touched.trailing_zeros() as usize;
            touched &= touched - 1;
            let (due, message) = match actor {
                _ if self.dead => (Time::NEVER, NO_MESSAGE),
                APP => self.app_due(),
                DPDK => (self.dpdk.due(), NO_MESSAGE),
                BDEV => continue,
                vdev => match self.ctl.get(vdev - VDEV) {
                    Some(Some(ctl)) => {
                        let message = ctl.inbox.first();
                        (ctl.due().min(message.0), message)
                    }
                    _ => (Time::NEVER, NO_MESSAGE),
                },
            };
            self.agenda.set(actor, due, message);
        }
    }

    fn app_due(&mut self) -> (Time, Stamp) {
        if self.rpc_at == Time::NEVER && (self.rpc.has_work() || !self.input.is_empty()) {
            self.rpc_at = next_tick(Time::ZERO, RPC_PERIOD, self.now);
        }
        let message = self.inbox.first();
        let timers = self.timers.iter().map(|(at, _)| *at);
        let due = timers.fold(message.0.min(self.rpc_at), Time::min);
        (due.min(self.deferred.retry_at), message)
    }
}

impl Component for Target {
    type In = ToTarget;
    type Out = FromTarget;
    type Turn = TargetTurn;

    fn input(&mut self, now: Time, message: ToTarget) {
        if self.dead {
            return;
        }
        self.now = self.now.max(now);
        match message {
            ToTarget::Connect { conn, controller } => {
                self.dpdk.push(now, Incoming::Connect(conn, controller));
            }
            ToTarget::Disconnect { conn } => self.dpdk.push(now, Incoming::Disconnect(conn)),
            ToTarget::VhostUser {
                conn,
                message,
                need_reply,
            } => self
                .dpdk
                .push(now, Incoming::Message(conn, message, need_reply)),
            ToTarget::Doorbell { conn, vring } => {
                if let Some((vdev, index)) = self.place_of(conn)
                    && let Some(ctl) = self.ctl[vdev].as_mut()
                {
                    ctl.look(now, index, vring);
                    if vring >= REQUESTQ {
                        // Of all that `refresh` looks at, only the next poll can have moved.
                        self.agenda.sooner(VDEV + vdev, ctl.poll_at);
                        return;
                    }
                    self.touch_vdev(vdev);
                }
            }
            ToTarget::Rpc { client, bytes } => {
                self.rpc_input(now, client, Some(bytes));
            }
            ToTarget::RpcClosed { client } => {
                self.rpc_input(now, client, None);
            }
        }
        self.refresh();
    }

    #[inline]
    fn when(&self, actor: ActorId) -> When {
        if self.dead {
            return When::Blocked;
        }
        self.agenda.when(usize::from(actor.0))
    }

    fn actors(&self) -> u8 {
        (VDEV + self.ctl.len()) as u8
    }

    #[inline]
    fn changed(&mut self) -> u64 {
        self.agenda.take_changed()
    }

    fn turn(&mut self, actor: ActorId, cx: &mut Cx<'_, FromTarget>) -> TargetTurn {
        assert!(
            self.when(actor) != When::Blocked,
            "{actor:?} of the target is blocked"
        );
        self.now = self.now.max(cx.now);
        let actor = usize::from(actor.0);
        self.running = actor;
        self.touched |= 1 << actor;
        let turn = match actor {
            APP => self.app_turn(cx),
            DPDK => self.dpdk_turn(cx),
            BDEV => self.bdev_turn(cx),
            vdev => self.vdev_turn(cx, vdev - VDEV),
        };
        if self.dead {
            self.touched = u64::MAX >> (64 - (VDEV + self.ctl.len()));
        }
        self.refresh();
        turn
    }
}
