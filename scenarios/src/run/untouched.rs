//! Disks to which a case that expects nothing does nothing but I/O: what fio says of them has to be good.
//!
//! An error of fio mostly has a cause in such a case: a detach, a reset, a kill. Where there is none, no right
//! target fails a request. Knows what is asked, and which disks the guests have; asks no testbed.

use std::collections::{BTreeMap, BTreeSet};

use crate::check_id::CheckId;
use crate::generate::VERIFY_JOB;
use crate::names::{ControllerId, DiskId, FioId, Place, VmId};
use crate::observation::{FioJobEnd, Observation, Seen};
use crate::script::Step;
use crate::shipped;
use crate::testbed::Action;
use crate::verdict::{CheckOutcome, CheckResult};

/// The VMs, and their controllers.
type Vms = [(VmId, Vec<ControllerId>)];

/// A disk, where it is, and the only VM that has it.
type On = (DiskId, Place, VmId);

/// The fios that have to pass, and whether they did.
#[derive(Debug, Default)]
pub(super) struct Untouched {
    /// The fios that have to pass if their disks are there when they begin: what each is on, and whether
    /// it verifies.
    fios: BTreeMap<FioId, (Vec<On>, bool)>,
    /// What guests have now, and those that run applications.
    visible: BTreeSet<(DiskId, Place)>,
    ready: BTreeSet<VmId>,
    /// The fios under way that have to pass, and whether each verifies.
    due: Vec<(FioId, bool)>,
    crashed: bool,
    ended: u64,
    wrong: Option<CheckOutcome>,
}

impl Untouched {
    /// Of a case of these VMs.
    pub(super) fn new(vms: &Vms, steps: &[Step]) -> Self {
        let mut actions = Vec::new();
        gather(steps, &mut actions);
        let mut fios = BTreeMap::new();
        for action in &actions {
            let Action::StartFio { fio, job, on } = action else {
                continue;
            };
            let with_vm = |(disk, place): &(DiskId, Place)| {
                let vm = only_vm(vms, *place)?;
                is_untouched(&actions, *disk, *place, vm).then_some((*disk, *place, vm))
            };
            let on: Option<Vec<_>> = on.iter().map(with_vm).collect();
            fios.extend(on.map(|on| (*fio, (on, verifies(job)))));
        }
        Self {
            fios,
            ..Self::default()
        }
    }

    /// A fio is about to be started.
    pub(super) fn start(&mut self, fio: FioId) {
        let Some((on, verifies)) = self.fios.get(&fio) else {
            return;
        };
        let has = |(disk, place, vm): &On| {
            self.ready.contains(vm) && self.visible.contains(&(*disk, *place))
        };
        if on.iter().all(has) {
            self.due.push((fio, *verifies));
        }
    }

    /// Takes an observation.
    pub(super) fn see(&mut self, seen: &Seen) {
        match &seen.what {
            Observation::DiskAppeared(disk) => {
                self.visible.extend(disk.disk.map(|of| (of, disk.place)));
            }
            Observation::DiskVanished(disk) => {
                self.visible.retain(|(_, place)| *place != disk.place);
            }
            Observation::VmReady { vm, .. } => {
                self.ready.insert(*vm);
            }
            Observation::VmDown { vm } => {
                self.ready.remove(vm);
            }
            Observation::Crashed { .. } => self.crashed = true,
            Observation::FioEnded { fio, jobs, .. } => {
                let due = self.due.iter().position(|(of, _)| of == fio);
                let Some((_, verifies)) = due.map(|due| self.due.remove(due)) else {
                    return;
                };
                if self.crashed {
                    return;
                }
                self.ended += 1;
                if let Some(wrong) = jobs.iter().find_map(|job| wrong(job, verifies)) {
                    self.wrong.get_or_insert(CheckOutcome::Violated {
                        expected: format!("{fio} to pass: nothing is done to its disk"),
                        seen: wrong,
                        at: seen.at,
                    });
                }
            }
            Observation::Answered { .. }
            | Observation::Connected { .. }
            | Observation::Alive { .. }
            | Observation::StaleDisk(_)
            | Observation::DisksListed { .. }
            | Observation::Quiet { .. }
            | Observation::IoSubmitted(_)
            | Observation::IoDone { .. }
            | Observation::Attached { .. }
            | Observation::Inside(_)
            | Observation::Broken { .. } => {}
        }
    }

    /// What it came to; `None` if no fio had to pass.
    pub(super) fn result(self) -> Option<CheckResult> {
        (self.ended > 0).then(|| CheckResult {
            id: CheckId::Fio,
            outcome: self.wrong.unwrap_or(CheckOutcome::Held),
            observations: self.ended,
        })
    }
}

fn wrong(job: &FioJobEnd, verifies: bool) -> Option<String> {
    let disk = job.disk;
    if job.error != 0 {
        let message = job.messages.first().map_or("", String::as_str);
        return Some(format!("{disk}: error {} {message}", job.error));
    }
    if let Some(strict) = job.unseen_by_fio(false) {
        return Some(format!("{disk}: {strict}"));
    }
    let enough = if verifies { job.volume.max(1) } else { 0 };
    (job.verified < enough).then(|| format!("{disk}: {} of {enough} verified", job.verified))
}

/// Whether it is the job of generated scenarios that verifies, by whatever name.
fn verifies(job: &str) -> bool {
    shipped::job(job).is_some_and(|job| job.name == VERIFY_JOB)
}

/// Every action of steps.
fn gather<'a>(steps: &'a [Step], all: &mut Vec<&'a Action>) {
    for step in steps {
        all.extend(&step.does);
        let branches = step.branches.iter();
        branches.for_each(|branch| gather(&branch.steps, all));
    }
}

/// The VM that has a place, if no other has it, too.
fn only_vm(vms: &Vms, place: Place) -> Option<VmId> {
    let mut owners = vms
        .iter()
        .filter(|(_, has)| has.contains(&place.controller));
    let (owner, _) = owners.next()?;
    owners.next().is_none().then_some(*owner)
}

/// Whether `all` do nothing to `disk`, which is at `place` of `vm`, but attach it and run one fio on it.
fn is_untouched(all: &[&Action], disk: DiskId, place: Place, vm: VmId) -> bool {
    let actions = || all.iter().copied();
    let attaches =
        |action: &&Action| matches!(action, Action::Attach { disk: of, .. } if *of == disk);
    let runs = |action: &&Action| {
        let Action::StartFio { on, .. } = action else {
            return false;
        };
        on.iter().any(|(of, at)| *of == disk || *at == place)
    };
    let reconnects =
        actions().any(|action| matches!(action, Action::Reconnect { vm: of, .. } if *of == vm));
    let touches = |action: &Action| match action {
        Action::Attach {
            disk: of,
            controller,
            target,
        } => *of != disk && *controller == place.controller && *target == Some(place.target),
        Action::Detach { place: at } | Action::Manage { place: at, .. } => *at == place,
        Action::Remove { disk: of } | Action::Insert { disk: of } => *of == disk,
        Action::Resize { disk: of, .. } => *of == disk,
        Action::Hold { disk: of, .. } | Action::Fail { disk: of, .. } => *of == disk,
        Action::RebootVm { vm: of } | Action::KillVm { vm: of } => *of == vm,
        // A front-end that connects anew to a controller which has gone waits for it, and its machine with it.
        Action::DeleteController { controller } => reconnects || *controller == place.controller,
        Action::CreateController { controller } => *controller == place.controller,
        // These only take time, or a request is sent again: delays are shorter than the stop of a session waits.
        Action::Delay { .. }
        | Action::PauseVm { .. }
        | Action::ContinueVm { .. }
        | Action::AddMemory { .. }
        | Action::Reconnect { .. } => false,
        // What was held or failed was touched by that.
        Action::Release { .. } => false,
        Action::StartTarget { .. }
        | Action::BootVm { .. }
        | Action::BootFirmware { .. }
        | Action::StartFio { .. }
        | Action::WaitJobClock { .. }
        | Action::SaveConfig
        | Action::ListDisks { .. }
        | Action::CheckAlive
        | Action::Settle => false,
    };
    actions().filter(attaches).count() == 1
        && actions().filter(runs).count() == 1
        && !actions().any(touches)
}
