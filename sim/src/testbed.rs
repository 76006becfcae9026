//! The testbed *sim*: model target, model guests, virtual time.
//!
//! Translates actions into RPC texts and acts of guests, and answers into observations. Knows no
//! plan and no check.

mod rare;
mod seen;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use fio_model::{JobFile, Volume};
use scenarios::{
    Action, ControllerId, DiskId, DiskKind, Ending, Evidence, FioId, Observation, Performed, Place,
    Seen, Testbed, TestbedError, Ticket, Time, VmId,
};

use crate::calls::{self, Call, DISK_BYTES};
use crate::rpc_client::RpcClient;
use crate::together::Together;
use linux::{Digests, Guest, GuestConfig};
use spdk::{Latencies, Target, TargetConfig};
use wire::bugs::Bugs;
use wire::component::{ACTORS_MAX, COMPONENT_ACTORS_MAX, Component as _};
use wire::message::{GuestAct, ToGuest};
use wire::{Rng, Stream};
use world::{Choices, Record, Step, Strategy, World};

/// A sign of life comes within this, or not at all (virtual time).
const ALIVE_MAX: Duration = Duration::from_secs(10);
/// What is in flight comes to rest within this, or it never will (virtual time).
const SETTLE_MAX: Duration = Duration::from_secs(120);
/// Observations that are handed over in one piece at most.
const SEEN_MAX: usize = 256;

/// What a simulation is made from, besides the plan.
#[derive(Clone)]
pub struct SimOptions {
    /// Feeds the world's accidents.
    pub seed: u64,
    /// How the target is wrong.
    pub bugs: Bugs,
    /// Blocks that each disk of a job writes and verifies; `None`: as the job says, in virtual time.
    pub volume: Option<Volume>,
    /// The job files, by the names that plans use.
    pub jobs: BTreeMap<String, Arc<JobFile>>,
    /// Who goes next.
    pub strategy: Strategy,
    /// Whether every request is observed.
    pub per_io: bool,
    /// Digests of payloads, for all guests: those of an earlier simulation will do.
    pub digests: Digests,
    /// Draw once more from the world's rng at this turn: to show that a difference is found.
    pub disturb_at: Option<u64>,
}

/// Device latencies under which a job lasts long enough for an RPC to fall into it.
///
/// A scaled volume is a few hundred requests, which a fast NVMe device answers before the target has
/// read one RPC (it looks every 4 ms). It is given a slow disk: 1 to 9 ms a request.
fn latencies(volume: Option<Volume>) -> Latencies {
    if volume.is_some_and(|volume| volume.scale > 1) {
        Latencies::SLOW
    } else {
        Latencies::USUAL
    }
}

/// What waits for an answer.
#[derive(Clone, Debug)]
pub(super) enum Pending {
    /// One of several calls of an action, the last of which answers the ticket: with 0, or with the
    /// first error of any.
    Done { ticket: Ticket, last: bool },
    /// An attach: a slot.
    Attach { ticket: Ticket },
    /// A detach: `true`.
    Detach { ticket: Ticket },
    /// A sign of life.
    Alive,
}

/// What keeps a run from ending by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Held {
    /// A disk holds requests until they are released.
    Disk(DiskId),
    /// A VM is paused.
    Vm(VmId),
}

/// Who still owes a sign of life.
#[derive(Clone)]
pub(super) struct Alive {
    deadline: Time,
    target: bool,
    vms: Vec<VmId>,
}

/// The simulated testbed.
pub struct Sim {
    pub(super) world: World,
    pub(super) options: SimOptions,
    pub(super) rpc: RpcClient<Pending>,
    pub(super) tickets: u32,
    /// Disks that were prepared, and what they are.
    pub(super) disks: BTreeMap<DiskId, DiskKind>,
    /// The first error of the calls of an action.
    pub(super) failed: BTreeMap<Ticket, String>,
    /// Requests are held, or a VM is paused: nothing going on does not mean that nothing will.
    pub(super) held: BTreeSet<Held>,
    pub(super) alive: Option<Alive>,
    pub(super) settling: Option<Time>,
    pub(super) together: Together,
}

impl Sim {
    /// A testbed with a target that has not been started yet.
    #[must_use]
    pub fn new(options: SimOptions) -> Self {
        let config = TargetConfig {
            bugs: options.bugs,
            nvme: calls::nvme_devices(),
            latencies: latencies(options.volume),
            ..TargetConfig::default()
        };
        let mut world = World::new(
            Target::new(config),
            Rng::new(options.seed, Stream::Accidents),
        );
        world.follow(options.strategy.clone());
        Self {
            world,
            options,
            rpc: RpcClient::default(),
            tickets: 0,
            disks: BTreeMap::new(),
            failed: BTreeMap::new(),
            held: BTreeSet::new(),
            alive: None,
            settling: None,
            together: Together::default(),
        }
    }

    /// Goes on with the accidents of another seed, and with another strategy.
    pub fn reseed(&mut self, seed: u64, strategy: Strategy) {
        self.options.seed = seed;
        self.world.reseed(Rng::new(seed, Stream::Accidents));
        self.world.follow(strategy);
    }

    /// Bytes of guest memory that were ever written, and of the devices' contents.
    #[must_use]
    pub fn bytes_touched(&self) -> (u64, u64) {
        self.world.bytes_touched()
    }

    /// Bytes that the devices' contents take: less than what they hold where that can be made again.
    #[must_use]
    pub fn bytes_kept(&self) -> u64 {
        self.world.target().kept_bytes()
    }

    /// Turns taken.
    #[must_use]
    pub fn turns(&self) -> u64 {
        self.world.turns()
    }

    /// Notes who goes, turn by turn ([`Self::choices`]).
    pub fn record_choices(&mut self) {
        self.world.record_choices();
    }

    /// Who went, if that was noted.
    #[must_use]
    pub fn choices(&self) -> Option<&Choices> {
        self.world.choices()
    }

    /// The turn at which recorded choices could not be followed any more.
    #[must_use]
    pub fn strayed(&self) -> Option<u64> {
        self.world.strayed()
    }

    /// Calls `record` after every turn.
    pub fn record_turns(&mut self, record: Record) {
        self.world.record_turns(record);
    }

    /// The target's last log lines.
    pub fn log(&self) -> impl Iterator<Item = &str> {
        self.world.log()
    }

    /// Whether a difference is to be planted now.
    fn disturbs(&self) -> bool {
        self.options.disturb_at == Some(self.world.turns())
    }

    fn ticket(&mut self) -> Ticket {
        self.tickets += 1;
        Ticket(self.tickets)
    }

    fn call(&mut self, (method, params): Call, pending: Pending) {
        let (client, bytes) = self.rpc.call(method, params, pending);
        self.world.send_rpc(client, bytes);
    }

    /// Makes `calls`; the last one answers the ticket.
    fn call_all(&mut self, ticket: Ticket, calls: impl IntoIterator<Item = Call>) {
        let mut calls = calls.into_iter().peekable();
        while let Some(call) = calls.next() {
            let last = calls.peek().is_none();
            self.call(call, Pending::Done { ticket, last });
        }
    }

    /// What a disk is; [`DiskKind::Nvme`] if it was never prepared, which the target will say.
    fn kind(&self, disk: DiskId) -> DiskKind {
        self.disks.get(&disk).copied().unwrap_or_default()
    }

    fn start_target(&mut self, ticket: Ticket, controllers: &[ControllerId]) {
        let disks: Vec<_> = self
            .disks
            .iter()
            .map(|(disk, kind)| (*disk, *kind))
            .collect();
        let disks = disks.into_iter();
        let disks = disks.flat_map(|(disk, kind)| calls::prepare(disk, kind, DISK_BYTES));
        let controllers = controllers.iter().map(|of| calls::create(*of));
        self.call_all(ticket, disks.chain(controllers));
    }

    fn boot(
        &mut self,
        vm: VmId,
        controllers: &[ControllerId],
        bootable: bool,
    ) -> Result<(), TestbedError> {
        if self.world.guests().any(|(known, _)| known == vm) {
            return self.tell(vm, GuestAct::Boot);
        }
        let disks = self.disks.iter();
        let disks = disks
            .map(|(disk, kind)| (calls::bdev(*disk, *kind), *disk))
            .collect();
        let config = GuestConfig {
            per_io: self.options.per_io,
            bootable,
            digests: self.options.digests.clone(),
            ..GuestConfig::new(vm, controllers.to_vec(), disks, self.options.volume)
        };
        let sockets = controllers
            .iter()
            .map(|c| calls::controller(*c).into())
            .collect();
        let guest = Guest::new(config);
        let actors = self.world.actors() + usize::from(guest.actors());
        if actors > ACTORS_MAX || usize::from(guest.actors()) > COMPONENT_ACTORS_MAX {
            let limit = format!("{vm} makes {actors} actors, and the simulator has {ACTORS_MAX}");
            return Err(TestbedError(limit));
        }
        self.world.add_guest(vm, guest, sockets);
        self.tell(vm, GuestAct::Boot)
    }

    fn check_alive(&mut self) {
        let vms: Vec<VmId> = self.world.guests().map(|(vm, _)| vm).collect();
        for vm in &vms {
            self.world.tell_guest(*vm, ToGuest::Do(GuestAct::ListDisks));
        }
        let deadline = self.world.now() + ALIVE_MAX;
        self.alive = Some(Alive {
            deadline,
            target: true,
            vms,
        });
        self.call(("vhost_get_controllers", None), Pending::Alive);
    }

    fn tell(&mut self, vm: VmId, act: GuestAct) -> Result<(), TestbedError> {
        if self.world.tell_guest(vm, ToGuest::Do(act)) {
            return Ok(());
        }
        Err(TestbedError(format!("{vm} was never booted")))
    }

    /// The VM that has each disk, found by its controller.
    fn vms_of(&mut self, on: &[(DiskId, Place)]) -> BTreeMap<VmId, Vec<(DiskId, Place)>> {
        let mut by_vm: BTreeMap<VmId, Vec<(DiskId, Place)>> = BTreeMap::new();
        for (vm, guest) in self.world.guests() {
            let mine = on
                .iter()
                .filter(|(_, place)| guest.has_controller(place.controller));
            let mine: Vec<_> = mine.copied().collect();
            if !mine.is_empty() {
                by_vm.insert(vm, mine);
            }
        }
        by_vm
    }

    /// Turns answers on the RPC socket into observations.
    fn read_rpc(&mut self) -> Result<(), TestbedError> {
        let bytes = self.world.take_rpc();
        for (_, bytes) in bytes {
            for (pending, result) in self.rpc.read(&bytes).map_err(TestbedError)? {
                self.answered(pending, result);
            }
        }
        Ok(())
    }

    fn answered(&mut self, pending: Pending, result: Result<serde_json::Value, String>) {
        match pending {
            Pending::Done { ticket, last } => {
                if let Err(text) = result {
                    self.failed.entry(ticket).or_insert(text);
                }
                if last {
                    let result = self.failed.remove(&ticket).map_or(Ok(0), Err);
                    self.world.see(Observation::Answered { ticket, result });
                }
            }
            Pending::Attach { ticket } => {
                let result = result.and_then(|value| {
                    let slot = value.as_u64().and_then(|slot| u8::try_from(slot).ok());
                    slot.ok_or_else(|| format!("{value} in place of a slot"))
                });
                self.world.see(Observation::Answered { ticket, result });
            }
            Pending::Detach { ticket } => {
                let result = result.and_then(|value| match value {
                    serde_json::Value::Bool(true) => Ok(0),
                    other => Err(format!("{other} in place of true")),
                });
                self.world.see(Observation::Answered { ticket, result });
            }
            Pending::Alive => {
                if let Some(alive) = &mut self.alive {
                    alive.target = false;
                }
            }
        }
    }

    /// Asks the guests that run `fio` for its clock.
    fn wait_job_clock(
        &mut self,
        ticket: Ticket,
        fio: FioId,
        at: Duration,
    ) -> Result<(), TestbedError> {
        let vms = self.together.running(fio);
        if vms.is_empty() {
            self.world.see(Observation::Answered {
                ticket,
                result: Ok(0),
            });
        } else {
            self.together.expect(ticket, vms.len());
        }
        for vm in vms {
            self.tell(vm, GuestAct::WaitJobClock { ticket, fio, at })?;
        }
        Ok(())
    }
}

impl Testbed for Sim {
    fn evidence(&self) -> Evidence {
        let rest = Evidence::TARGET_INSIDE
            .and(Evidence::GUEST_DISKS)
            .and(Evidence::FIO_REPORT)
            .and(Evidence::RINGS);
        if self.options.per_io {
            rest.and(Evidence::PER_IO)
        } else {
            rest
        }
    }

    fn now(&self) -> Time {
        self.world.now()
    }

    fn perform(&mut self, action: &Action) -> Result<Performed, TestbedError> {
        let ticket = self.ticket();
        match action {
            Action::StartTarget {
                controllers,
                disks,
                kinds,
            } => {
                self.disks = disks.iter().map(|disk| (*disk, DiskKind::Nvme)).collect();
                self.disks.extend(kinds.iter().copied());
                self.start_target(ticket, controllers);
            }
            Action::BootVm { vm, controllers } => self.boot(*vm, controllers, true)?,
            Action::BootFirmware { vm, controllers } => self.boot(*vm, controllers, false)?,
            Action::Attach {
                disk,
                controller,
                target,
            } => {
                let target = target.map_or(-1, |target| i64::from(target.0));
                let call = calls::attach(*disk, self.kind(*disk), *controller, target);
                self.call(call, Pending::Attach { ticket });
            }
            Action::Detach { place } => {
                self.call(calls::detach(*place), Pending::Detach { ticket });
            }
            Action::StartFio { fio, job, on } => {
                let file = self.options.jobs.get(job).cloned();
                let file = file.ok_or_else(|| TestbedError(format!("no job is called {job:?}")))?;
                let by_vm = self.vms_of(on);
                let running = by_vm.keys().copied().collect();
                self.together.start(*fio, running);
                for (vm, on) in by_vm {
                    self.tell(
                        vm,
                        GuestAct::StartFio {
                            fio: *fio,
                            job: file.clone(),
                            on,
                        },
                    )?;
                }
            }
            Action::WaitJobClock { fio, at } => self.wait_job_clock(ticket, *fio, *at)?,
            Action::RebootVm { vm } => self.tell(*vm, GuestAct::Boot)?,
            Action::ListDisks { vm } => self.tell(*vm, GuestAct::ListDisks)?,
            Action::CheckAlive => self.check_alive(),
            Action::Settle => self.settling = Some(self.world.now() + SETTLE_MAX),
            other => self.perform_rare(ticket, other)?,
        }
        Ok(Performed::Asked(ticket))
    }

    fn observe(&mut self, deadline: Time, seen: &mut Vec<Seen>) -> Result<(), TestbedError> {
        let before = seen.len();
        let mut looked = 0;
        loop {
            let limit = self
                .settling
                .map_or(deadline, |settle| settle.min(deadline));
            let step = self.world.step(limit);
            if step == Step::Turn && self.world.shows_nothing(looked) && !self.disturbs() {
                continue;
            }
            if self.world.has_rpc() {
                self.read_rpc()?;
            }
            match step {
                Step::Turn => {
                    if self.disturbs() {
                        self.world.disturb();
                    }
                }
                Step::AtRest if self.held.is_empty() && self.give_up() => continue,
                Step::AtRest => self.at_rest(true),
                Step::Limit if self.settling == Some(limit) => self.at_rest(false),
                Step::Limit => {}
            }
            let fresh = self.world.seen();
            let urgent = Self::is_urgent(&fresh[looked..]);
            looked = fresh.len();
            if step == Step::Turn && !urgent && looked < SEEN_MAX {
                continue;
            }
            if urgent {
                self.take_seen(seen);
            } else {
                self.world.take_seen(seen);
            }
            looked = 0;
            self.answer_alive(seen);
            if step == Step::AtRest && seen.len() == before && deadline != Time::NEVER {
                self.world.pass(deadline);
            }
            if seen.len() > before || step != Step::Turn {
                return Ok(());
            }
        }
    }

    fn ending(&self) -> Ending {
        let (trace_hash, order_hash) = self.world.hashes();
        Ending {
            trace_hash,
            order_hash,
            turns: self.world.turns(),
        }
    }
}
