//! The app thread: RPCs, controllers as they are managed, the bdevs' comings and goings, completions of
//! foreach operations. A turn is one message, one timer, or one run of the RPC poller.
//!
//! What it owns stands in private fields: no other thread's code can name it.

mod answer;
mod bdev;
mod bdev_goes;
mod controllers;
mod exec;
mod framework;
mod invariants;
mod lun;
mod nvme;
mod show;
mod targets;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use scenarios::{CheckId, Time};

use crate::config::TargetConfig;
use crate::handles::{BdevHandle, VdevId};
use crate::mail::AppMessage;
use crate::rpc::{CallId, RpcServer};
use crate::shared::{self, Out, Shared};
use crate::turn::TargetTurn;
use crate::vdev::controller::{Controller, Vdevs};
use crate::vdev::session::next_tick;
use framework::Logging;
#[cfg(test)]
pub use invariants::MUTANTS;
pub use invariants::{call_out_of_place, retries_miscounted, timeout_of_nobody};
use wire::bugs::Bug;
use wire::message::{ClientId, LogLevel};

/// Requests are read, and answers leave, at this poller's ticks (recordings §3: 4 ms).
pub const RPC_PERIOD: Duration = Duration::from_millis(4);

/// What the app thread knows of a controller, beside what stands in the controller itself.
#[derive(Clone, Debug)]
struct Entry {
    cpumask: u64,
    /// It has a socket (`svdev->registered`).
    registered: bool,
    /// It was deleted, and goes when it can (S14 off).
    deleted: bool,
    /// It is a vhost-blk controller, of which only the RPCs' view is modelled.
    blk: Option<Blk>,
    /// Coalescing, as set by RPC: delay in µs, threshold in I/Os a second.
    coalescing: (u32, u32),
    /// PRESENT and REMOVING targets.
    refs: u32,
}

#[derive(Clone, Copy, Debug)]
struct Blk {
    bdev: Option<BdevHandle>,
    readonly: bool,
}

/// RPCs that are answered later, other than removals and bdev deletions.
#[derive(Clone, Debug, Default)]
struct Deferred {
    /// `vhost_delete_controller` that found the controller busy (S19).
    deletes: Vec<(CallId, String)>,
    /// Controllers that are to be unregistered when they can be: place and number (S14 off).
    unregisters: Vec<(VdevId, u8)>,
    /// `bdev_nvme_detach_controller` that waits for the bdevs.
    nvme: Vec<(CallId, String)>,
    /// `bdev_get_bdevs` that waits for a bdev.
    bdevs: Vec<(CallId, String)>,
}

impl Deferred {
    /// How many wait for a change ([`crate::mail::Mail::wake_rpcs`]).
    fn retrying(&self) -> usize {
        self.deletes.len() + self.unregisters.len()
    }
}

#[derive(Clone, Debug)]
pub struct App {
    config: Arc<TargetConfig>,
    rpc: RpcServer,
    rpc_at: Time,
    input: Vec<(ClientId, Option<Bytes>)>,
    /// When the first of `input` came.
    input_since: Time,
    deferred: Deferred,
    logging: Logging,
    /// At the controllers' places.
    entries: Vec<Option<Entry>>,
    /// How many controllers have been made.
    ///
    /// # Divergence from SPDK
    ///
    /// 255 at most, those that are gone included, and the next is refused (ENOMEM): each has a number of its
    /// own, of eight bits. SPDK has no such limit.
    controllers_made: u8,
    device_numbers: u32,
    /// The paths that sockets are bound to.
    sockets: Vec<String>,
}

impl App {
    pub fn new(config: TargetConfig) -> Self {
        let twice = config.bugs.has(Bug::AnsweredTwice);
        Self {
            rpc: RpcServer::new(true).answering_twice(twice),
            rpc_at: Time::NEVER,
            input: Vec::new(),
            input_since: Time::NEVER,
            deferred: Deferred::default(),
            logging: Logging::default(),
            entries: vec![None; usize::from(config.controllers_max)],
            controllers_made: 0,
            device_numbers: 0,
            sockets: Vec::new(),
            config: Arc::new(config),
        }
    }

    /// Whether its log's levels and flags let a line through.
    pub fn lets_through(&self, line: LogLevel) -> bool {
        self.logging.lets_through(line)
    }

    /// Bytes of a client; none if its connection closed.
    pub fn rpc_input(&mut self, now: Time, client: ClientId, bytes: Option<Bytes>) {
        if self.input.is_empty() {
            self.input_since = now;
        }
        self.input.push((client, bytes));
    }

    /// When the RPC poller has something to do.
    pub fn due(&mut self, now: Time) -> Time {
        if self.rpc_at == Time::NEVER && (self.rpc.has_work() || !self.input.is_empty()) {
            self.rpc_at = next_tick(Time::ZERO, RPC_PERIOD, now);
        }
        self.rpc_at
    }
}

/// The thread while it takes a turn. It touches controllers under their locks.
pub struct AppThread<'t> {
    pub own: &'t mut App,
    pub vdevs: &'t mut Vdevs,
    pub shared: &'t mut Shared,
    pub cx: Out<'t>,
}

impl AppThread<'_> {
    fn log(&mut self, level: LogLevel, text: String) {
        shared::log(&mut self.cx, level, text);
    }

    fn die(&mut self, signal: &'static str, place: &'static str) {
        self.shared.die(&mut self.cx, signal, place);
    }

    /// A controller, as it is managed and as its thread has it.
    fn controller(&mut self, vdev: VdevId) -> Option<(&mut Entry, &mut Controller)> {
        let entry = self.own.entries.get_mut(vdev.index())?.as_mut()?;
        Some((entry, self.vdevs.get_mut(vdev)?))
    }

    /// How many RPCs wait for a change has changed.
    fn note_retrying(&mut self) {
        self.shared.mail.rpcs_wait(self.own.deferred.retrying());
    }
}

pub fn turn(app: &mut AppThread<'_>) -> TargetTurn {
    let (message, timer_at, retry_at) = app.shared.mail.app_due();
    let message_at = message.0;
    let first = message_at.min(timer_at).min(retry_at).min(app.own.rpc_at);
    if first == retry_at {
        // An RPC that re-queues itself has been in the inbox all the time.
        exec::retry(app)
    } else if first == message_at {
        let message = app.shared.mail.take_app();
        message.map_or(TargetTurn::Idle, |message| take(app, message))
    } else if first == timer_at {
        let message = app.shared.mail.take_timer(first);
        message.map_or(TargetTurn::Idle, |message| take(app, message))
    } else {
        exec::rpc_poll(app)
    }
}

fn take(app: &mut AppThread<'_>, message: AppMessage) -> TargetTurn {
    let turn = match message {
        AppMessage::ForeachDone(foreach) => targets::foreach_done(app, foreach),
        AppMessage::BdevGoes { bdev, dev } => bdev_goes::bdev_goes(app, bdev, dev),
        AppMessage::BaseGoes { base, top } => bdev_goes::base_goes(app, base, top),
        AppMessage::LunClose(dev) => crate::lun::close(&mut app.cx, app.shared, dev),
        AppMessage::LunRemove(dev) => lun::poll(app, dev),
        AppMessage::Unregister { vdev, number } => controllers::unregister(app, vdev, number),
        AppMessage::NvmeTimeout { call } => nvme::timed_out(app, call),
        AppMessage::BdevTimeout { call } => bdev::timed_out(app, call),
        AppMessage::Resized(dev) => bdev_goes::resized(app, dev),
        AppMessage::BdevGone { bdev, call } => {
            app.own.rpc.answer(call, Ok(serde_json::Value::Bool(true)));
            TargetTurn::BdevEvent { bdev: bdev.index }
        }
    };
    heed(app);
    turn
}

/// Looks at what went without a message: NVMe controllers that have lost a bdev.
pub fn heed(app: &mut AppThread<'_>) {
    while app.shared.mail.has_nvme_gone() {
        for name in app.shared.mail.take_nvme_gone() {
            nvme::bdev_gone(app, &name);
        }
    }
}

impl App {
    /// Deletes and unregistrations that wait for a change.
    pub fn retrying(&self) -> (usize, usize) {
        let waiting = &self.deferred;
        (waiting.deletes.len(), waiting.unregisters.len())
    }

    /// RPCs that were never answered, now that nobody can take a turn (I5).
    pub fn audit_calls(&self, cx: &mut Out<'_>) {
        let open = self.rpc.open_calls();
        if open > 0 {
            cx.broken(CheckId::I5, format!("{open} RPCs are never answered"));
        }
    }

    /// Deleted controllers that nobody holds (I16), and who waits for a lock (I13).
    pub fn audit_controllers(&self, vdevs: &Vdevs, cx: &mut Out<'_>) {
        for ctl in vdevs.iter() {
            let name = &ctl.name;
            if !ctl.waiting.is_empty() {
                let waiting = ctl.waiting.len();
                let text = format!("{waiting} messages wait for the lock of {name}");
                cx.broken(CheckId::I13, text);
            }
            let Some(entry) = &self.entries[ctl.vdev.index()] else {
                continue;
            };
            let held = !ctl.sessions.is_empty() || entry.refs > 0 || ctl.pending_ops > 0;
            if entry.deleted && !held {
                let text = format!("{name} was deleted, is held by nobody, and is still there");
                cx.broken(CheckId::I16, text);
            }
        }
    }
}
