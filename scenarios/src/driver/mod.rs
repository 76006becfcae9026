//! The driver: actions become RPCs to a target and requests of guests, and answers become observations.
//!
//! ```text
//!  Action ─▶ Driver ─▶ json_rpc ─▶ Ends::send ─▶ target      (calls, disks: what is sent)
//!               └──────▶ Ask ────▶ Ends::ask ──▶ guests
//!  Observation ◀─ Ends::see ◀─ Driver ◀─ answers             (answers, fan_in, quiesce)
//! ```
//!
//! Knows SPDK's RPCs and what of a run is under way. Knows no plan and no check, not which testbeds exist, and
//! does no I/O: a testbed is a [`Driver`] of its two [`Ends`].

mod act;
mod answers;
pub mod calls;
pub mod disks;
mod fan_in;
pub mod json_rpc;
mod quiesce;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use crate::names::{ControllerId, DiskId, FioId, Place, Ticket, VmId};
use crate::observation::Observation;
use crate::testbed::{DiskKind, TaskFunction, TestbedError};
use crate::time::Time;
use answers::Pending;
pub use answers::Share;
pub use calls::Call;
pub use disks::Disks;
use fan_in::FanIn;
pub use quiesce::Limits;
use quiesce::Quiesce;

/// The disks that a fio uses in each VM.
pub type DisksByVm = BTreeMap<VmId, Vec<(DiskId, Place)>>;

/// The disks of a run, by the serial numbers that guests see.
pub type Serials = BTreeMap<String, DiskId>;

/// This testbed cannot do that, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotHere(pub String);

/// Why an action was not asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It cannot be done here.
    NotHere(NotHere),
    /// The testbed broke.
    Broke(TestbedError),
}

impl From<NotHere> for Refusal {
    fn from(why: NotHere) -> Self {
        Self::NotHere(why)
    }
}

impl From<TestbedError> for Refusal {
    fn from(error: TestbedError) -> Self {
        Self::Broke(error)
    }
}

/// What a VM boots when it is powered on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Boots {
    /// Its firmware, and then its system.
    System,
    /// Its firmware, which finds nothing to boot from.
    FirmwareOnly,
}

/// What a guest that was powered on before is asked to do. With a ticket: it answers that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask {
    /// `reboot -f`; power on, if it was killed. Observed: `VmDown` if it ran, `VmReady`.
    Reboot,
    /// Say which disks there are. Observed: `DisksListed`.
    ListDisks,
    /// Give a sign of life ([`Driver::lives`]).
    Ping,
    /// Stop vCPUs and devices.
    Pause(Ticket),
    /// Go on.
    Continue(Ticket),
    /// Plug memory in.
    AddMemory(Ticket),
    /// Kill the process. Observed: `VmDown`.
    Kill(Ticket),
    /// Connect to a controller again.
    Reconnect(Ticket, ControllerId),
    /// Send a task management request.
    Manage(Ticket, Place, TaskFunction),
}

/// The two ends of a testbed, and its clock, as a driver reaches them.
pub trait Ends {
    /// The time now.
    fn now(&self) -> Time;

    /// Notes an observation, made now.
    fn see(&mut self, what: Observation);

    /// What disks are called, and how they come and go.
    fn disks(&self) -> &dyn Disks;

    /// What makes all disks. Nothing was made on the target yet; controllers will be, too.
    ///
    /// # Errors
    ///
    /// They cannot be made.
    fn begin(
        &mut self,
        disks: &[(DiskId, DiskKind)],
        controllers: &[ControllerId],
    ) -> Result<Vec<Call>, TestbedError>;

    /// Sends JSON-RPC to the target; to one that has died, nothing.
    ///
    /// # Errors
    ///
    /// It cannot be reached.
    fn send(&mut self, text: String) -> Result<(), TestbedError>;

    /// Whether the target has died, and answers nothing any more.
    fn target_died(&self) -> bool;

    /// Powers a VM on; as [`Ask::Reboot`] if it was before.
    ///
    /// # Errors
    ///
    /// It cannot be done here, or the testbed broke. The same goes for what follows.
    fn boot(
        &mut self,
        vm: VmId,
        controllers: &[ControllerId],
        boots: Boots,
        serials: &Serials,
    ) -> Result<(), Refusal>;

    /// Asks a guest for something else.
    fn ask(&mut self, vm: VmId, ask: Ask) -> Result<(), Refusal>;

    /// Starts a fio in each VM that has a disk of it.
    fn start_fio(&mut self, fio: FioId, job: &str, on: DisksByVm) -> Result<(), Refusal>;

    /// Asks guests to answer `ticket` when their share of `fio` has come to `at`: how many were asked.
    /// `running`: those in which it still runs.
    fn wait_job_clock(
        &mut self,
        ticket: Ticket,
        fio: FioId,
        at: Duration,
        running: &[VmId],
    ) -> Result<usize, Refusal>;
}

/// What keeps a run from ending by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Held {
    /// A disk holds requests until they are released.
    Disk(DiskId),
    /// A VM is paused.
    Vm(VmId),
}

/// What of a run is under way, and what its things are called.
#[derive(Clone, Debug, Default)]
pub struct UnderWay {
    rpc: json_rpc::Client<Pending>,
    tickets: u32,
    /// The first error of what answers a ticket in several parts.
    failed: BTreeMap<Ticket, String>,
    /// Disks that were prepared, and what they are.
    kinds: BTreeMap<DiskId, DiskKind>,
    serials: Arc<Serials>,
    /// VMs that were powered on, in that order.
    vms: Vec<(VmId, Vec<ControllerId>)>,
    held: BTreeSet<Held>,
    fan_in: FanIn,
    quiesce: Quiesce,
}

/// A testbed's ends, and what is under way between them.
pub struct Driver<E> {
    /// The ends.
    pub ends: E,
    limits: Limits,
    run: UnderWay,
}

impl<E: Ends> Driver<E> {
    /// A driver that has not done anything yet.
    #[must_use]
    pub fn new(ends: E, limits: Limits) -> Self {
        let run = UnderWay::default();
        Self { ends, limits, run }
    }

    /// What is under way.
    #[must_use]
    pub fn under_way(&self) -> &UnderWay {
        &self.run
    }

    /// Goes back to what was under way when the ends were as they are now.
    pub fn go_back(&mut self, to: &UnderWay) {
        self.run.clone_from(to);
    }

    /// The VMs that were powered on.
    pub fn vms(&self) -> impl Iterator<Item = VmId> {
        self.run.vms.iter().map(|(vm, _)| *vm)
    }

    /// The guests in which `fio` runs.
    #[must_use]
    pub fn running(&self, fio: FioId) -> &[VmId] {
        self.run.fan_in.running(fio)
    }

    /// Whether a fio runs, and nothing is held or paused that somebody would have to let go first.
    #[must_use]
    pub fn waits_for_fio_only(&self) -> bool {
        self.run.held.is_empty() && self.run.fan_in.fios().next().is_some()
    }

    /// A guest has given a sign of life.
    pub fn lives(&mut self, vm: VmId) {
        self.run.quiesce.lives(vm);
    }

    /// Who is silent, once all others have answered or the time is over.
    pub fn signs_of_life(&mut self) -> Option<Observation> {
        self.run.quiesce.signs_of_life(self.ends.now())
    }

    /// When it will not be waited for rest any more, if it is now.
    #[must_use]
    pub fn settles_by(&self) -> Option<Time> {
        self.run.quiesce.settles_by()
    }

    /// The next moment at which there is something to do without being told.
    #[must_use]
    pub fn due(&self) -> Option<Time> {
        self.run.quiesce.due()
    }

    /// Nothing can happen any more, or the time is over, so nobody gives a sign of life any more. Whether
    /// somebody waited for everything to come to rest, who is to be told ([`Observation::Quiet`]).
    pub fn at_rest(&mut self) -> bool {
        self.run.quiesce.nobody_lives(self.ends.now());
        self.run.quiesce.rests()
    }

    /// What a disk is; [`DiskKind::Nvme`] if it was never prepared, which the target will say.
    fn kind(&self, disk: DiskId) -> DiskKind {
        self.run.kinds.get(&disk).copied().unwrap_or_default()
    }
}
