//! The testbed *sim*: model target, model guests, virtual time.
//!
//! Translates actions into RPC texts and acts of guests, and answers into observations. Knows no
//! plan and no check.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use fio_model::{JobFile, Volume};
use scenarios::{
    Action, ControllerId, DiskId, Ending, Evidence, FioId, FioJobEnd, Observation, Performed,
    Place, Seen, Testbed, TestbedError, Ticket, Time, VmId,
};

use super::rpc_client::RpcClient;
use super::together::Together;
use super::{Record, Step, Strategy, World};
use crate::deviation::Deviations;
use crate::dice::Dice;
use crate::end::{ACTORS_MAX, End as _};
use crate::guest::{Guest, GuestConfig};
use crate::message::{GuestAct, ToGuest};
use crate::target::{Latencies, NvmeDevice, Target, TargetConfig};

/// The stream of a seed that the world's accidents are drawn from; the stimulus has another.
const WORLD_STREAM: u64 = 1;
/// Bytes of each disk: four times what the default volume writes, so that offsets matter.
pub const DISK_BYTES: u64 = 64 << 20;
/// Disks that a plan can have (`scenarios::plan`).
const DISKS_MAX: u8 = 128;
/// The PCI address of the modelled NVMe device.
const NVME_ADDRESS: &str = "0000:01:00.0";
/// Block size of the namespace, which its splits have too.
const BLOCK_BYTES: u32 = 512;
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
    pub deviations: Deviations,
    /// Blocks that each disk of a job writes and verifies; `None`: as the job says, in virtual time.
    pub volume: Option<Volume>,
    /// The job files, by the names that plans use.
    pub jobs: BTreeMap<String, Arc<JobFile>>,
    /// Who goes next.
    pub strategy: Strategy,
    /// Whether every request is observed.
    pub per_io: bool,
    /// Draw once more from the world's dice at this turn: to show that a difference is found.
    pub disturb_at: Option<u64>,
}

/// Device latencies under which a job lasts long enough for an RPC to fall into it.
///
/// A scaled volume is a few hundred requests, which a fast NVMe device answers before the target has
/// read one RPC (it looks every 4 ms). It is given a slow disk: 1 to 9 ms a request.
fn latencies(volume: Option<Volume>) -> Latencies {
    let scaled = volume.is_some_and(|volume| volume.scale > 1);
    let usual = Latencies::default();
    if scaled {
        Latencies {
            nvme: (1_000_000, 9_000_000),
            ..usual
        }
    } else {
        usual
    }
}

/// What waits for an answer.
#[derive(Clone, Debug)]
enum Pending {
    /// One of the calls that prepare the target; the last one answers the ticket.
    Setup { ticket: Ticket, last: bool },
    /// An attach: a slot.
    Attach { ticket: Ticket },
    /// A detach: `true`.
    Detach { ticket: Ticket },
    /// A sign of life.
    Alive,
}

/// Who still owes a sign of life.
struct Alive {
    deadline: Time,
    target: bool,
    vms: Vec<VmId>,
}

/// The simulated testbed.
pub struct Sim {
    world: World,
    options: SimOptions,
    rpc: RpcClient<Pending>,
    tickets: u32,
    setup_failed: Option<String>,
    alive: Option<Alive>,
    settling: Option<Time>,
    together: Together,
    seen: Vec<Seen>,
}

impl Sim {
    /// A testbed with a target that has not been started yet.
    #[must_use]
    pub fn new(options: SimOptions) -> Self {
        let namespace = (
            DISK_BYTES / u64::from(BLOCK_BYTES) * u64::from(DISKS_MAX),
            BLOCK_BYTES,
        );
        let config = TargetConfig {
            deviations: options.deviations,
            nvme: vec![NvmeDevice {
                traddr: NVME_ADDRESS.into(),
                namespaces: vec![namespace],
            }],
            latencies: latencies(options.volume),
            ..TargetConfig::default()
        };
        let mut world = World::new(Target::new(config), Dice::new(options.seed, WORLD_STREAM));
        world.follow(options.strategy.clone());
        Self {
            world,
            options,
            rpc: RpcClient::default(),
            tickets: 0,
            setup_failed: None,
            alive: None,
            settling: None,
            together: Together::default(),
            seen: Vec::new(),
        }
    }

    /// Calls `record` after every turn.
    pub fn record_turns(&mut self, record: Record) {
        self.world.record_turns(record);
    }

    /// The target's last log lines.
    pub fn log(&self) -> impl Iterator<Item = &str> {
        self.world.log()
    }

    /// The name of the bdev of a disk: split n-1 of the one namespace.
    fn bdev(disk: DiskId) -> String {
        format!("Nvme0n1p{}", disk.0.saturating_sub(1))
    }

    /// The name of a controller's socket.
    fn controller(controller: ControllerId) -> String {
        format!("vhost.{}", controller.0)
    }

    fn ticket(&mut self) -> Ticket {
        self.tickets += 1;
        Ticket(self.tickets)
    }

    fn call(&mut self, method: &str, params: Option<serde_json::Value>, pending: Pending) {
        let (client, bytes) = self.rpc.call(method, params, pending);
        self.world.send_rpc(client, bytes);
    }

    fn start_target(&mut self, ticket: Ticket, controllers: &[ControllerId], disks: &[DiskId]) {
        let more = Pending::Setup {
            ticket,
            last: false,
        };
        let attach = serde_json::json!({"name": "Nvme0", "trtype": "PCIe", "traddr": NVME_ADDRESS});
        self.call("bdev_nvme_attach_controller", Some(attach), more.clone());
        let count = disks.iter().map(|disk| disk.0).max().unwrap_or(1).max(1);
        let size_mb = DISK_BYTES >> 20;
        let split = serde_json::json!({"base_bdev": "Nvme0n1", "split_count": count, "split_size_mb": size_mb});
        self.call("bdev_split_create", Some(split), more.clone());
        for controller in controllers {
            let create = serde_json::json!({"ctrlr": Self::controller(*controller)});
            self.call("vhost_create_scsi_controller", Some(create), more.clone());
        }
        self.call(
            "bdev_get_bdevs",
            None,
            Pending::Setup { ticket, last: true },
        );
    }

    fn boot(&mut self, vm: VmId, controllers: &[ControllerId]) -> Result<(), TestbedError> {
        let disks = (1..=DISKS_MAX)
            .map(|n| (Self::bdev(DiskId(n)), DiskId(n)))
            .collect();
        let config = GuestConfig::new(vm, controllers.to_vec(), disks, self.options.volume)
            .with_per_io(self.options.per_io);
        let sockets = controllers
            .iter()
            .map(|c| Self::controller(*c).into())
            .collect();
        let guest = Guest::new(config);
        let actors = self.world.actors() + usize::from(guest.actors());
        if actors > ACTORS_MAX {
            let limit = format!("{vm} makes {actors} actors, and the simulator has {ACTORS_MAX}");
            return Err(TestbedError(limit));
        }
        self.world.add_guest(vm, guest, sockets);
        self.tell(vm, GuestAct::Boot)
    }

    fn attach(&mut self, ticket: Ticket, disk: DiskId, controller: ControllerId, target: i64) {
        let params = serde_json::json!({
            "ctrlr": Self::controller(controller),
            "scsi_target_num": target,
            "bdev_name": Self::bdev(disk),
        });
        let pending = Pending::Attach { ticket };
        self.call("vhost_scsi_controller_add_target", Some(params), pending);
    }

    fn detach(&mut self, ticket: Ticket, place: Place) {
        let params = serde_json::json!({
            "ctrlr": Self::controller(place.controller),
            "scsi_target_num": place.target.0,
        });
        let pending = Pending::Detach { ticket };
        self.call("vhost_scsi_controller_remove_target", Some(params), pending);
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
        self.call("vhost_get_controllers", None, Pending::Alive);
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
            Pending::Setup { ticket, last } => {
                if let Err(text) = &result {
                    self.setup_failed.get_or_insert_with(|| text.clone());
                }
                if last {
                    let result = self.setup_failed.take().map_or(Ok(0), Err);
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

    /// Takes over what the world saw: what several guests answer together becomes one answer.
    fn take_seen(&mut self) {
        let mut seen = Vec::new();
        self.world.take_seen(&mut seen);
        for Seen { at, what } in seen {
            let whole = match what {
                Observation::FioEnded { fio, exit, jobs } => self.fio_ended(fio, exit, jobs),
                Observation::Answered { ticket, result } => {
                    let last = self.together.answered(ticket);
                    last.then_some(Observation::Answered { ticket, result })
                }
                Observation::DisksListed { vm, disks } => {
                    if let Some(alive) = &mut self.alive {
                        alive.vms.retain(|waiting| *waiting != vm);
                    }
                    Some(Observation::DisksListed { vm, disks })
                }
                other => Some(other),
            };
            self.seen.extend(whole.map(|what| Seen { at, what }));
        }
        self.answer_alive();
    }

    /// One guest's share of a fio has ended; `Some` with the last one.
    fn fio_ended(&mut self, fio: FioId, exit: u8, jobs: Vec<FioJobEnd>) -> Option<Observation> {
        let vm = self.world.guests().find_map(|(vm, guest)| {
            let place = jobs.first().map(|job| job.place)?;
            guest.has_controller(place.controller).then_some(vm)
        });
        let (exit, jobs) = self.together.ended(fio, vm, exit, jobs)?;
        Some(Observation::FioEnded { fio, exit, jobs })
    }

    /// Says who is alive, once all have answered or the time is over.
    fn answer_alive(&mut self) {
        let over = self.alive.as_ref().is_some_and(|alive| {
            (!alive.target && alive.vms.is_empty()) || self.world.now() >= alive.deadline
        });
        if over && let Some(alive) = self.alive.take() {
            let target = alive.target.then(|| "target".to_owned());
            let silent = target
                .into_iter()
                .chain(alive.vms.iter().map(ToString::to_string));
            let what = Observation::Alive {
                silent: silent.collect(),
            };
            self.seen.push(Seen {
                at: self.world.now(),
                what,
            });
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

    /// Nothing can happen any more, so no fio that runs will ever end: it has hung. False if none runs.
    fn give_up(&mut self) -> bool {
        let hung = self.together.all_running();
        for vm in &hung {
            self.world.tell_guest(*vm, ToGuest::Do(GuestAct::GiveUp));
        }
        !hung.is_empty()
    }

    /// Nothing can happen any more, or the limit came: says so to whoever waits for it.
    fn at_rest(&mut self, settled: bool) {
        if let Some(alive) = &mut self.alive {
            alive.deadline = self.world.now();
        }
        if self.settling.take().is_some() {
            self.world.audit();
            let mut left = if self.world.target_died() {
                Vec::new()
            } else {
                self.world.target().left()
            };
            for (vm, guest) in self.world.guests() {
                left.extend(guest.left().into_iter().map(|what| format!("{vm}: {what}")));
            }
            self.world.see(Observation::Quiet { settled, left });
        }
    }

    /// Whether something was seen that someone may want to act on at once.
    fn is_urgent(seen: &[Seen]) -> bool {
        seen.iter().any(|seen| {
            !matches!(
                seen.what,
                Observation::IoSubmitted(_) | Observation::IoDone { .. } | Observation::Inside(_)
            )
        })
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
            Action::StartTarget { controllers, disks } => {
                self.start_target(ticket, controllers, disks);
            }
            Action::BootVm { vm, controllers } => self.boot(*vm, controllers)?,
            Action::Attach {
                disk,
                controller,
                target,
            } => {
                let target = target.map_or(-1, |target| i64::from(target.0));
                self.attach(ticket, *disk, *controller, target);
            }
            Action::Detach { place } => self.detach(ticket, *place),
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
            self.read_rpc()?;
            match step {
                Step::Turn => {
                    if self.options.disturb_at == Some(self.world.turns()) {
                        self.world.disturb();
                    }
                }
                Step::AtRest if self.give_up() => continue,
                Step::AtRest => self.at_rest(true),
                Step::Limit if self.settling == Some(limit) => self.at_rest(false),
                Step::Limit => {}
            }
            let urgent = Self::is_urgent(&self.world.seen()[looked..]);
            looked = self.world.seen().len();
            if step == Step::Turn && !urgent && self.world.seen().len() < SEEN_MAX {
                continue;
            }
            self.take_seen();
            looked = 0;
            seen.append(&mut self.seen);
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
