//! Disks to which a story does nothing but I/O: what fio says of them has to be good.
//!
//! A story has no expectations, and an error of fio mostly has a cause in it: a detach, a reset, a kill.
//! Where there is none, no right target fails a request. Knows what is asked, and which disks the
//! guests have; asks no testbed.

use std::collections::BTreeSet;

use super::{Story, VERIFY_JOB};
use crate::check::CheckId;
use crate::names::{DiskId, FioId, Place, VmId};
use crate::observation::{FioJobEnd, Observation, Seen};
use crate::run::{CheckOutcome, CheckResult};
use crate::testbed::Action;

/// The fios that have to pass, and whether they did.
#[derive(Debug, Default)]
pub(super) struct Untouched {
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
    /// An action of `story` is about to be done.
    pub(super) fn act(&mut self, story: &Story, action: &Action) {
        let Action::StartFio { fio, job, on } = action else {
            return;
        };
        let has = |(disk, place)| {
            let vm = only_vm(story, place).filter(|vm| self.ready.contains(vm));
            let has = self.visible.contains(&(disk, place));
            has && vm.is_some_and(|vm| is_untouched(story, disk, place, vm))
        };
        if on.iter().copied().all(has) {
            self.due.push((*fio, job == VERIFY_JOB));
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
            _ => {}
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

/// The VM that has a place, if no other has it, too.
fn only_vm(story: &Story, place: Place) -> Option<VmId> {
    let mut owners = (story.vms.iter()).filter(|vm| vm.controllers.contains(&place.controller));
    let owner = owners.next()?;
    owners.next().is_none().then_some(owner.vm)
}

/// Whether the story does nothing to `disk`, which is at `place` of `vm`, but attach it and run one fio on
/// it.
fn is_untouched(story: &Story, disk: DiskId, place: Place, vm: VmId) -> bool {
    let actions = || story.beats.iter().map(|beat| &beat.does);
    let attaches =
        |action: &&Action| matches!(action, Action::Attach { disk: of, .. } if *of == disk);
    let runs = |action: &&Action| {
        let Action::StartFio { on, .. } = action else {
            return false;
        };
        on.iter().any(|(of, at)| *of == disk || *at == place)
    };
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
        Action::DeleteController { controller } | Action::CreateController { controller } => {
            *controller == place.controller
        }
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
