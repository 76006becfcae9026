//! A scenario whose VMs, controllers, disks, targets and fios are numbered anew, from the lowest.
//!
//! Knows what an action names, not what it does.

use std::collections::BTreeMap;

use scenarios::plan::{Plan, PlanVm, StepKind};
use scenarios::{
    Action, ControllerId, DiskId, FioId, Place, TARGETS_PER_CONTROLLER_MAX, TargetId, VmId,
};

/// `plan`, a generated scenario, with everything that it names numbered from the lowest, in the order in which it is
/// named.
pub fn renumbered(plan: &Plan) -> Plan {
    let mut names = Names::default();
    let mut plan = plan.clone();
    for PlanVm { vm, controllers } in &mut plan.vms {
        *vm = names.vm(*vm);
        names.controllers(controllers);
    }
    names.controllers(&mut plan.controllers);
    plan.controllers.sort_unstable();
    let kinds = std::mem::take(&mut plan.kinds);
    for case in &mut plan.cases {
        for step in &mut case.steps {
            if let StepKind::Act(actions) = &mut step.kind {
                actions.iter_mut().for_each(|action| names.action(action));
            }
        }
    }
    // Disks keep their order: which is the first decides what the others are called.
    for disk in &mut plan.disks {
        *disk = names.disk(*disk);
    }
    plan.disks.sort_unstable();
    plan.kinds = kinds
        .into_iter()
        .map(|(disk, kind)| (names.disk(disk), kind))
        .collect();
    plan.kinds.sort_unstable_by_key(|(disk, _)| *disk);
    plan
}

/// What everything is called now.
#[derive(Default)]
struct Names {
    vms: BTreeMap<VmId, VmId>,
    controllers: BTreeMap<ControllerId, ControllerId>,
    disks: BTreeMap<DiskId, DiskId>,
    fios: BTreeMap<FioId, FioId>,
    targets: BTreeMap<Place, TargetId>,
}

impl Names {
    fn vm(&mut self, of: VmId) -> VmId {
        let next = VmId(self.vms.len() as u8 + 1);
        *self.vms.entry(of).or_insert(next)
    }

    fn controller(&mut self, of: ControllerId) -> ControllerId {
        let next = ControllerId(self.controllers.len() as u8 + 1);
        *self.controllers.entry(of).or_insert(next)
    }

    fn controllers(&mut self, all: &mut [ControllerId]) {
        for one in all {
            *one = self.controller(*one);
        }
    }

    fn disk(&mut self, of: DiskId) -> DiskId {
        let next = DiskId(self.disks.len() as u8 + 1);
        *self.disks.entry(of).or_insert(next)
    }

    fn fio(&mut self, of: FioId) -> FioId {
        let next = FioId(self.fios.len() as u16);
        *self.fios.entry(of).or_insert(next)
    }

    /// A target that no controller has stays so.
    fn place(&mut self, of: Place) -> Place {
        let controller = self.controller(of.controller);
        let known = self.targets.range(
            Place {
                controller: of.controller,
                target: TargetId(0),
            }..=Place {
                controller: of.controller,
                target: TargetId(u8::MAX),
            },
        );
        let next = TargetId(known.count() as u8);
        let target = if of.target.0 < TARGETS_PER_CONTROLLER_MAX {
            *self.targets.entry(of).or_insert(next)
        } else {
            of.target
        };
        Place { controller, target }
    }

    fn action(&mut self, action: &mut Action) {
        match action {
            Action::StartTarget {
                controllers,
                disks,
                kinds,
            } => {
                self.controllers(controllers);
                disks.iter_mut().for_each(|disk| *disk = self.disk(*disk));
                kinds
                    .iter_mut()
                    .for_each(|(disk, _)| *disk = self.disk(*disk));
            }
            Action::BootVm { vm, controllers } | Action::BootFirmware { vm, controllers } => {
                *vm = self.vm(*vm);
                self.controllers(controllers);
            }
            Action::Attach {
                disk,
                controller,
                target,
            } => {
                *disk = self.disk(*disk);
                if let Some(target) = target {
                    let place = Place {
                        controller: *controller,
                        target: *target,
                    };
                    *target = self.place(place).target;
                }
                *controller = self.controller(*controller);
            }
            Action::Detach { place } | Action::Manage { place, .. } => *place = self.place(*place),
            Action::StartFio { fio, on, .. } => {
                *fio = self.fio(*fio);
                for (disk, place) in on {
                    (*disk, *place) = (self.disk(*disk), self.place(*place));
                }
            }
            Action::WaitJobClock { fio, .. } => *fio = self.fio(*fio),
            Action::RebootVm { vm }
            | Action::PauseVm { vm }
            | Action::ContinueVm { vm }
            | Action::KillVm { vm }
            | Action::AddMemory { vm }
            | Action::ListDisks { vm } => *vm = self.vm(*vm),
            Action::Reconnect { vm, controller } => {
                *vm = self.vm(*vm);
                *controller = self.controller(*controller);
            }
            Action::Remove { disk }
            | Action::Insert { disk }
            | Action::Resize { disk, .. }
            | Action::Hold { disk, .. }
            | Action::Fail { disk, .. }
            | Action::Delay { disk, .. }
            | Action::Release { disk } => *disk = self.disk(*disk),
            Action::CreateController { controller } | Action::DeleteController { controller } => {
                *controller = self.controller(*controller);
            }
            Action::SaveConfig | Action::CheckAlive | Action::Settle => {}
        }
    }
}
