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
//! State belongs to the thread that owns it in SPDK: `app`, `vdev`, `dpdk`; what SPDK guards with locks is in
//! `shared`. Threads write to each other by `mail`.
//!
//! An actor is a thread, or all devices under the bdevs together. A turn is one message of its inbox
//! or one run of one poller. Pollers that would find nothing are not run, and what spins in SPDK (a
//! try-lock that re-sends itself, an RPC that queues itself again) waits to be woken here.
#![forbid(unsafe_code)]

mod agenda;
mod app;
mod bdev;
mod config;
mod devices;
mod dpdk;
mod handles;
mod inspect;
mod invariants;
mod lun;
mod mail;
pub mod rpc;
pub mod scsi;
mod shared;
#[cfg(test)]
mod tests;
mod turn;
mod vdev;

use scenarios::{CheckId, Time};

use agenda::{Agenda, Reactors};
pub use app::RPC_PERIOD;
use app::{App, AppThread};
use bdev::Bdevs;
pub use bdev::{Latencies, NvmeDevice};
pub use config::TargetConfig;
use dpdk::{Ack, Dpdk, DpdkThread, Incoming};
use handles::{APP, BDEV, DPDK, SessionAt, VDEV, VdevId};
pub use inspect::Thread;
use mail::NO_MESSAGE;
use shared::{Out, Shared, reborrow};
pub use turn::{ForeachOp, LunStep, TargetTurn};
use vdev::controller::Vdevs;
use vdev::thread::VdevThread;
use wire::component::{ActorId, Component, Cx, Memory, When};
use wire::message::{ConnId, FromTarget, REQUESTQ, ToTarget};

/// The target.
#[derive(Clone, Debug)]
pub struct Target {
    app: App,
    dpdk: Dpdk,
    vdevs: Vdevs,
    shared: Shared,
    agenda: Agenda,
    /// The session that was asked for last.
    looked: SessionAt,
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
        let bdevs = Bdevs::new(&config.nvme, config.latencies);
        Self::with(config, bdevs)
    }

    fn with(config: TargetConfig, bdevs: Bdevs) -> Self {
        let actors = VDEV + usize::from(config.controllers_max);
        assert!(
            actors <= wire::component::COMPONENT_ACTORS_MAX,
            "{actors} actors are too many"
        );
        let reactors = if config.cores < 2 {
            Reactors::One
        } else {
            Reactors::Many
        };
        Self {
            dpdk: Dpdk::default(),
            vdevs: Vdevs::new(config.controllers_max),
            shared: Shared::new(config.bugs, bdevs),
            agenda: Agenda::new(actors, reactors),
            looked: SessionAt::default(),
            app: App::new(config),
        }
    }

    /// As [`Target::new`], but keeps the memory of the devices' pages for reuse.
    pub fn renew(&mut self, config: TargetConfig) {
        let mut bdevs = std::mem::take(&mut self.shared.bdevs);
        bdevs.reset(&config.nvme, config.latencies);
        *self = Self::with(config, bdevs);
    }

    /// Marks the contents of its devices, and copies everything else.
    pub fn mark(&mut self) -> TargetMark {
        let mut stores = std::mem::take(&mut self.shared.bdevs.stores);
        stores.mark();
        let copy = self.clone();
        self.shared.bdevs.stores = stores;
        TargetMark(copy)
    }

    /// Becomes what it was at its last mark.
    pub fn rewind(&mut self, to: &TargetMark) {
        let mut stores = std::mem::take(&mut self.shared.bdevs.stores);
        stores.rewind();
        self.clone_from(&to.0);
        self.shared.bdevs.stores = stores;
    }

    /// Bytes of its devices' contents.
    #[must_use]
    pub fn stored_bytes(&self) -> u64 {
        self.shared.bdevs.stores.bytes()
    }

    /// Bytes that its devices' contents take.
    #[must_use]
    pub fn kept_bytes(&self) -> u64 {
        self.shared.bdevs.stores.kept_bytes()
    }

    /// Hands over the inflight buffers that it knows.
    pub fn memories(&self, mut f: impl FnMut(&Memory)) {
        self.shared.inflight.memories(&mut f);
        self.dpdk.buffers(f);
    }

    /// The session that a connection made. Most are asked for many times in a row.
    fn session_of(&mut self, conn: ConnId) -> Option<SessionAt> {
        let is = |at: SessionAt| {
            let ctl = self.vdevs.get(at.vdev)?;
            let session = ctl.sessions.get(at.index)?;
            (session.conn == conn).then_some(at)
        };
        if let Some(at) = is(self.looked) {
            return Some(at);
        }
        let found = self.vdevs.iter().find_map(|ctl| {
            let vdev = ctl.vdev;
            (0..ctl.sessions.len()).find_map(|index| is(SessionAt { vdev, index }))
        });
        self.looked = found.unwrap_or_default();
        found
    }

    /// Notes when the actors are due whose state has changed.
    fn refresh(&mut self) {
        let mail = &mut self.shared.mail;
        if let Some(until) = mail.take_stall() {
            self.agenda.stall(until);
        }
        let mut touched = mail.take_touched();
        let due = self.shared.bdevs.engine.due();
        if !self.shared.is_dead && due != self.agenda.due(BDEV) {
            self.agenda.set(BDEV, due, NO_MESSAGE);
        }
        while touched != 0 {
            let actor = touched.trailing_zeros() as usize;
            touched &= touched - 1;
            let (due, message) = match actor {
                _ if self.shared.is_dead => (Time::NEVER, NO_MESSAGE),
                APP => {
                    let (message, timer, retry) = self.shared.mail.app_due();
                    let poll = self.app.due(self.shared.now);
                    (message.0.min(poll).min(timer).min(retry), message)
                }
                DPDK => (self.dpdk.due(&self.shared.mail), NO_MESSAGE),
                BDEV => continue,
                vdev => match self.vdevs.get(VdevId((vdev - VDEV) as u8)) {
                    Some(ctl) => {
                        let message = ctl.inbox().first();
                        (ctl.due().min(message.0), message)
                    }
                    None => (Time::NEVER, NO_MESSAGE),
                },
            };
            self.agenda.set(actor, due, message);
        }
    }

    fn app_thread<'t>(&'t mut self, cx: &'t mut Out<'_>) -> AppThread<'t> {
        AppThread {
            own: &mut self.app,
            vdevs: &mut self.vdevs,
            shared: &mut self.shared,
            cx: reborrow(cx),
        }
    }

    fn vdev_thread<'t>(&'t mut self, cx: &'t mut Out<'_>, vdev: VdevId) -> Option<VdevThread<'t>> {
        Some(VdevThread {
            own: self.vdevs.get_mut(vdev)?,
            shared: &mut self.shared,
            cx: reborrow(cx),
        })
    }

    fn dpdk_turn(&mut self, cx: &mut Out<'_>) -> TargetTurn {
        dpdk::turn(&mut DpdkThread {
            own: &mut self.dpdk,
            vdevs: &mut self.vdevs,
            shared: &mut self.shared,
            cx: reborrow(cx),
        })
    }

    /// Everything that the devices have finished by now: the data move, the tasks end, the driver is
    /// called.
    ///
    /// # Divergence from SPDK
    ///
    /// There, each controller's thread polls the devices for itself, and calls the driver in the run of
    /// its poller after that.
    fn bdev_turn(&mut self, cx: &mut Out<'_>) -> TargetTurn {
        let mut ios = 0;
        let mut vdevs = 0_u64;
        let mut held = None;
        while let Some(ended) = self.shared.pop_ended(cx.now) {
            ios += 1;
            vdevs |= 1 << ended.task.vdev.0;
            match self.vdev_thread(cx, ended.task.vdev) {
                Some(mut vdev) => vdev::end_io(&mut vdev, &ended, &mut held),
                None => {
                    let text = "an I/O ended on a controller that is gone";
                    cx.broken(CheckId::I3, text.to_owned());
                }
            }
            if self.shared.is_dead {
                return TargetTurn::BdevDone { ios };
            }
        }
        while vdevs != 0 {
            let vdev = VdevId(vdevs.trailing_zeros() as u8);
            vdevs &= vdevs - 1;
            if let Some(mut vdev) = self.vdev_thread(cx, vdev)
                && vdev::signal_all(&mut vdev)
            {
                // The driver wants no call now: the poller looks once more.
                vdev.own.poll_at = vdev.own.poll_at.min(vdev.cx.now);
            }
            self.shared.mail.touch_vdev(vdev);
        }
        TargetTurn::BdevDone { ios }
    }

    fn vdev_turn(&mut self, cx: &mut Out<'_>, vdev: VdevId) -> TargetTurn {
        let thread = self.vdev_thread(cx, vdev);
        let turn = thread.map_or(TargetTurn::Idle, |mut vdev| vdev::turn(&mut vdev));
        app::heed(&mut self.app_thread(cx));
        turn
    }

    /// Notes what should not be, now that nobody can take a turn: RPCs that were never answered (I5),
    /// threads that wait for each other (I13), deleted controllers that nobody holds (I16).
    pub fn audit(&self, cx: &mut Out<'_>) {
        if self.is_dead() {
            return;
        }
        self.app.audit_calls(cx);
        if self.dpdk.waits() {
            let text = "DPDK's thread waits for a stop that nobody can end";
            cx.broken(CheckId::I13, text.to_owned());
        }
        self.app.audit_controllers(&self.vdevs, cx);
    }
}

impl Component for Target {
    type In = ToTarget;
    type Out = FromTarget;
    type Turn = TargetTurn;

    fn input(&mut self, now: Time, message: ToTarget) {
        if self.shared.is_dead {
            return;
        }
        self.shared.now = self.shared.now.max(now);
        let incoming = match message {
            ToTarget::Connect { conn, controller } => Incoming::Connect(conn, controller),
            ToTarget::Disconnect { conn } => Incoming::Disconnect(conn),
            ToTarget::VhostUser {
                conn,
                message,
                need_reply,
            } => {
                let ack = if need_reply {
                    Ack::Wanted
                } else {
                    Ack::NotWanted
                };
                Incoming::Message(conn, message, ack)
            }
            ToTarget::Doorbell { conn, vring } => {
                if let Some(at) = self.session_of(conn)
                    && let Some(ctl) = self.vdevs.get_mut(at.vdev)
                {
                    ctl.doorbell(now, at.index, vring);
                    if vring >= REQUESTQ {
                        // Of all that `refresh` looks at, only the next poll can have moved.
                        self.agenda.sooner(VDEV + at.vdev.index(), ctl.poll_at);
                        return;
                    }
                    self.shared.mail.touch_vdev(at.vdev);
                }
                self.refresh();
                return;
            }
            ToTarget::Rpc { client, bytes } => {
                self.app.rpc_input(now, client, Some(bytes));
                self.shared.mail.touch(APP);
                self.refresh();
                return;
            }
            ToTarget::RpcClosed { client } => {
                self.app.rpc_input(now, client, None);
                self.shared.mail.touch(APP);
                self.refresh();
                return;
            }
        };
        self.dpdk.push(now, incoming);
        self.shared.mail.touch(DPDK);
        self.refresh();
    }

    #[inline]
    fn when(&self, actor: ActorId) -> When {
        if self.shared.is_dead {
            return When::Blocked;
        }
        self.agenda.when(usize::from(actor.0))
    }

    fn actors(&self) -> u16 {
        (VDEV + self.vdevs.places()) as u16
    }

    fn name(&self, actor: ActorId) -> String {
        match usize::from(actor.0) {
            APP => "app thread".to_owned(),
            DPDK => "vhost-user thread".to_owned(),
            BDEV => "bdevs".to_owned(),
            vdev => match self.vdevs.get(VdevId((vdev - VDEV) as u8)) {
                Some(ctl) => format!("thread of {}", ctl.name),
                None => format!("thread of vdev {}", vdev - VDEV),
            },
        }
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
        let shared = &mut self.shared;
        shared.now = shared.now.max(cx.now);
        let actor = usize::from(actor.0);
        shared.running = actor;
        shared.mail.touch(actor);
        let turn = match actor {
            APP => app::turn(&mut self.app_thread(cx)),
            DPDK => self.dpdk_turn(cx),
            BDEV => self.bdev_turn(cx),
            vdev => self.vdev_turn(cx, VdevId((vdev - VDEV) as u8)),
        };
        if self.shared.is_dead {
            for actor in 0..VDEV + self.vdevs.places() {
                self.shared.mail.touch(actor);
            }
        }
        self.refresh();
        turn
    }
}
