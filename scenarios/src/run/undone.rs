//! What the testbed could not do, and which failures that takes the blame for.
//!
//! A disk that was not removed is still there: what a later step finds of it says nothing of the target then; what
//! it finds of another disk does. Data that is wrong is wrong whatever was done. Knows nothing of checks, which
//! judge only what was done.

use std::collections::{BTreeMap, BTreeSet};

use super::StepResult;
use super::jobs::wrong;
use super::known::{GuestDisks, Known};
use super::under_way::UnderWay;
use crate::names::{ControllerId, DiskId, FioId, Place, VmId};
use crate::observation::FioJobEnd;
use crate::script::{Expect, Job, JobMust, Step, VmDisks};
use crate::testbed::Action;

/// What fio reports of blocks that it finds wrong: EILSEQ.
const MISCOMPARED: u16 = 84;

/// What is another than the plan says, since steps were not done.
pub(super) struct Undone<'a> {
    /// The VMs of the script, and the controllers of each.
    vms: &'a [(VmId, Vec<ControllerId>)],
    /// Where the plan last attached each disk.
    attached: BTreeMap<DiskId, Place>,
    /// What each fio runs on.
    fios: BTreeMap<FioId, Vec<(DiskId, Place)>>,
    /// The first step that was not done.
    first: Option<String>,
    touched: Touched,
}

/// Whatever may be another than the plan says.
#[derive(Default)]
struct Touched {
    /// The target itself: everything is.
    target: bool,
    vms: BTreeSet<VmId>,
    controllers: BTreeSet<ControllerId>,
    places: BTreeSet<Place>,
    disks: BTreeSet<DiskId>,
}

impl<'a> Undone<'a> {
    pub(super) fn new(vms: &'a [(VmId, Vec<ControllerId>)]) -> Self {
        Self {
            vms,
            attached: BTreeMap::new(),
            fios: BTreeMap::new(),
            first: None,
            touched: Touched::default(),
        }
    }

    /// Takes note of a step that could not even be asked for.
    pub(super) fn note(&mut self, step: &Step) {
        for action in &step.does {
            if action.changes_what_is_there() {
                self.first.get_or_insert_with(|| step.text.clone());
                self.touch(action);
            }
        }
    }

    /// What is left of the result of a step that has ended: a failure that may come of what was not done says
    /// nothing. Nothing that was left undone makes anybody crash, or the target fall silent.
    pub(super) fn excuse(
        &mut self,
        result: StepResult,
        step: &Step,
        under_way: &UnderWay,
        known: &Known,
    ) -> StepResult {
        self.follow(step);
        let StepResult::Violated { expected, seen } = &result else {
            return result;
        };
        let Some(undone) = &self.first else {
            return result;
        };
        if known.is_broken() || !self.may_be_why(step, under_way, known) {
            return result;
        }
        let reason = format!("\"{undone}\" was not done: expected {expected}, seen {seen}");
        // It was not done as the plan says either.
        self.note(step);
        StepResult::Inconclusive { reason }
    }

    /// Where disks and fios are, as the plan has it.
    fn follow(&mut self, step: &Step) {
        if let Expect::Attached { disk, place, .. } = &step.expect {
            self.attached.insert(*disk, *place);
        }
        for action in &step.does {
            if let Action::StartFio { fio, on, .. } = action {
                self.fios.insert(*fio, on.clone());
            }
        }
    }

    fn touch(&mut self, action: &Action) {
        let touched = &mut self.touched;
        match action {
            Action::StartTarget { .. } => touched.target = true,
            Action::BootVm { vm, .. }
            | Action::BootFirmware { vm, .. }
            | Action::RebootVm { vm }
            | Action::PauseVm { vm }
            | Action::ContinueVm { vm }
            | Action::KillVm { vm }
            | Action::AddMemory { vm }
            | Action::Reconnect { vm, .. }
            | Action::ListDisks { vm } => {
                touched.vms.insert(*vm);
            }
            Action::Attach {
                disk,
                controller,
                target,
            } => {
                touched.disks.insert(*disk);
                match target {
                    Some(target) => {
                        touched.places.insert(Place {
                            controller: *controller,
                            target: *target,
                        });
                    }
                    // Who asks for the lowest slot after that finds another one.
                    None => {
                        touched.controllers.insert(*controller);
                    }
                }
            }
            Action::Detach { place } | Action::Manage { place, .. } => {
                let there = self.attached.iter().filter(|(_, at)| *at == place);
                touched.disks.extend(there.map(|(disk, _)| *disk));
                touched.places.insert(*place);
            }
            Action::Remove { disk }
            | Action::Insert { disk }
            | Action::Resize { disk, .. }
            | Action::Hold { disk, .. }
            | Action::Fail { disk, .. }
            | Action::Delay { disk, .. }
            | Action::Release { disk } => {
                touched.places.extend(self.attached.get(disk));
                touched.disks.insert(*disk);
            }
            Action::CreateController { controller } | Action::DeleteController { controller } => {
                touched.controllers.insert(*controller);
            }
            Action::StartFio { .. }
            | Action::WaitJobClock { .. }
            | Action::SaveConfig
            | Action::CheckAlive
            | Action::Settle => {}
        }
    }

    /// Whether what was not done may be why `step` failed: all that is wrong is about what that would have changed.
    fn may_be_why(&self, step: &Step, under_way: &UnderWay, known: &Known) -> bool {
        if self.touched.target {
            return true;
        }
        match &step.expect {
            Expect::Nothing => false,
            Expect::Success { .. } | Expect::Refused(_) => {
                step.does.iter().any(|action| self.concerns(action))
            }
            Expect::Attached {
                disk,
                place,
                seen_by,
            } => {
                let lacks = |vm: &&VmId| {
                    let list = known.lists.get(vm).map(|(_, disks)| disks);
                    let has = list.is_some_and(|disks| disks.get(place) == Some(&Some(*disk)));
                    !has || is_silent(**vm, under_way, known)
                };
                let was_answered = under_way.next_look.is_some();
                let mut lacking = seen_by.iter().filter(lacks).peekable();
                self.disk(*disk)
                    || self.place(*place)
                    || (was_answered && lacking.peek().is_some() && lacking.all(|vm| self.vm(*vm)))
            }
            Expect::GoesOn(vms) => vms.iter().any(|vm| self.vm(*vm)),
            // Their lists are asked for once they are ready.
            Expect::Booted(disks) if under_way.next_look.is_none() => {
                disks.iter().any(|of| self.vm(of.vm))
            }
            Expect::Booted(disks) | Expect::Disks(disks) => self.lists(disks, under_way, known),
            Expect::Fio { fio, jobs, .. } | Expect::Jobs { fio, jobs } => {
                self.fio(*fio, jobs, known)
            }
            Expect::Kept { fio, job } => self.fio(*fio, &[*job], known),
            Expect::Clock(fio) => self.runs_on_touched(*fio),
            // The target is not silent, or it would be broken.
            Expect::Alive => {
                let (_, silent) = &known.alive;
                let touched: Vec<String> =
                    self.touched.vms.iter().map(ToString::to_string).collect();
                !silent.is_empty() && silent.iter().all(|who| touched.contains(who))
            }
            // What was not done is among everything.
            Expect::Rest => true,
        }
    }

    /// Whether all that is wrong with the lists of some VMs is touched.
    fn lists(&self, wanted: &[VmDisks], under_way: &UnderWay, known: &Known) -> bool {
        let empty = GuestDisks::new();
        let mut any = false;
        let mut wrong = |VmDisks { vm, disks }: &VmDisks| {
            let has = known.lists.get(vm).map_or(&empty, |(_, disks)| disks);
            let wanted = disks.iter().map(|(place, disk)| (*place, Some(*disk)));
            let wanted: GuestDisks = wanted.collect();
            let missing = wanted.iter().filter(|(at, of)| has.get(at) != Some(of));
            let strange = has.iter().filter(|(at, of)| wanted.get(at) != Some(of));
            let mut differ = missing.chain(strange).peekable();
            let is_silent = is_silent(*vm, under_way, known);
            any |= is_silent || differ.peek().is_some();
            let is_touched = |(place, disk): (&Place, &Option<DiskId>)| {
                self.place(*place) || disk.is_some_and(|disk| self.disk(disk))
            };
            !self.vm(*vm) && (is_silent || !differ.all(is_touched))
        };
        let is_wrong = wanted.iter().any(&mut wrong);
        any && !is_wrong
    }

    /// Whether all jobs of a fio that ended as they should not have were touched, and none of them by wrong data.
    fn fio(&self, fio: FioId, jobs: &[Job], known: &Known) -> bool {
        let Some((_, ended)) = known.fios.get(&fio) else {
            return self.runs_on_touched(fio);
        };
        let ends = |job: &Job| {
            let (disk, place) = (job.disk, job.place);
            ended
                .iter()
                .filter(move |end| end.disk == disk && end.place == place)
        };
        let is_wrong = |job: &Job| {
            let mut all = ends(job).peekable();
            all.peek().is_none() || all.any(|end| wrong(job.must, end).is_some())
        };
        let excused = |job: &Job| {
            self.job(job.disk, job.place) && !ends(job).any(|end| shows_data(job.must, end))
        };
        let mut wrong = jobs.iter().filter(|job| is_wrong(job)).peekable();
        wrong.peek().is_some() && wrong.all(excused)
    }

    fn runs_on_touched(&self, fio: FioId) -> bool {
        let on = self.fios.get(&fio);
        on.is_some_and(|on| on.iter().any(|(disk, place)| self.job(*disk, *place)))
    }

    /// Whether an action is about something that is touched.
    fn concerns(&self, action: &Action) -> bool {
        match action {
            Action::BootVm { vm, .. }
            | Action::BootFirmware { vm, .. }
            | Action::RebootVm { vm }
            | Action::PauseVm { vm }
            | Action::ContinueVm { vm }
            | Action::KillVm { vm }
            | Action::AddMemory { vm }
            | Action::Reconnect { vm, .. }
            | Action::ListDisks { vm } => self.vm(*vm),
            Action::Attach {
                disk,
                controller,
                target,
            } => {
                let place = target.map(|target| Place {
                    controller: *controller,
                    target,
                });
                self.disk(*disk) || place.map_or(self.controller(*controller), |at| self.place(at))
            }
            Action::Detach { place } | Action::Manage { place, .. } => {
                self.place(*place) || self.vm_of(place.controller)
            }
            Action::Remove { disk }
            | Action::Insert { disk }
            | Action::Resize { disk, .. }
            | Action::Hold { disk, .. }
            | Action::Fail { disk, .. }
            | Action::Delay { disk, .. }
            | Action::Release { disk } => self.disk(*disk),
            Action::CreateController { controller } | Action::DeleteController { controller } => {
                self.controller(*controller) || self.vm_of(*controller)
            }
            Action::StartFio { on, .. } => on.iter().any(|(disk, place)| self.job(*disk, *place)),
            Action::WaitJobClock { fio, .. } => self.runs_on_touched(*fio),
            Action::StartTarget { .. }
            | Action::SaveConfig
            | Action::CheckAlive
            | Action::Settle => false,
        }
    }

    fn vm(&self, vm: VmId) -> bool {
        self.touched.vms.contains(&vm)
    }

    fn disk(&self, disk: DiskId) -> bool {
        self.touched.disks.contains(&disk)
    }

    fn place(&self, place: Place) -> bool {
        self.touched.places.contains(&place) || self.touched.controllers.contains(&place.controller)
    }

    /// The controller, or any of its slots.
    fn controller(&self, controller: ControllerId) -> bool {
        let mut places = self.touched.places.iter();
        self.touched.controllers.contains(&controller)
            || places.any(|place| place.controller == controller)
    }

    /// Whether a VM that has the controller is touched.
    fn vm_of(&self, controller: ControllerId) -> bool {
        let mut vms = self.vms.iter();
        vms.any(|(vm, controllers)| controllers.contains(&controller) && self.vm(*vm))
    }

    /// A job of a fio: its disk, its slot, or who runs it.
    fn job(&self, disk: DiskId, place: Place) -> bool {
        self.disk(disk) || self.place(place) || self.vm_of(place.controller)
    }
}

/// Whether a VM has not listed its disks since it was last asked to.
fn is_silent(vm: VmId, under_way: &UnderWay, known: &Known) -> bool {
    let mut asked = under_way.before.iter();
    asked.any(|(of, lists)| *of == vm && known.lists_of(vm) <= *lists)
}

/// Whether the end of a job shows data that is wrong, or was not checked: no step that is left out makes it so.
fn shows_data(must: JobMust, end: &FioJobEnd) -> bool {
    let went_well = end.error == 0 && !end.hung;
    let was_to = match must {
        JobMust::Pass => true,
        JobMust::Fail | JobMust::FailGone => false,
    };
    end.error == MISCOMPARED
        || !end.strict.is_empty()
        || (went_well && (was_to || !end.no_data.is_empty()))
}
