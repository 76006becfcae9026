//! KDL nodes to [`Action`]s: the verbs that ask for something, and leave nothing open.
//!
//! Together with `print`, which is the way back, this is where an action gets its word in a plan.

use super::error::PlanError;
use super::node::{Node, Slot};
use super::parse_step::Steps;
use super::{Expects, PlanVm, SlotBy, StepKind};
use crate::names::{
    ControllerId, DiskId, FioId, Place, TARGETS_PER_CONTROLLER_MAX, TargetId, VmId,
};
use crate::testbed::{Action, TaskFunction};

/// The last slot of a controller.
const LAST_SLOT: u8 = TARGETS_PER_CONTROLLER_MAX - 1;
/// The last target that a task management request may name: half of them no controller has.
const LAST_TARGET: u8 = 2 * TARGETS_PER_CONTROLLER_MAX - 1;
/// The most that a bdev is resized to, in MiB.
const MIB_MAX: u32 = 1 << 20;
/// The most requests that are held or failed.
const REQUESTS_MAX: u32 = 1 << 20;

impl Steps<'_> {
    /// What `node` asks for, if that is all it does.
    pub(super) fn asks(&self, node: &mut Node<'_>) -> Result<Option<StepKind>, PlanError> {
        let actions = match node.name() {
            "boot" => self.boot(node)?,
            "attach" => return self.attach(node).map(Some),
            "detach" => return self.detach(node).map(Some),
            "fio" if self.expects == Expects::Nothing => vec![self.bare_fio(node)?],
            "after" if self.expects == Expects::Nothing => {
                let at = node.span_argument()?;
                let at = at.ok_or_else(|| node.missing("of", "a time before it"))?;
                let fio = FioId(node.required("of", 0, u16::MAX)?);
                vec![Action::WaitJobClock { fio, at }]
            }
            "reboot" => self.each_vm(node, |vm| Action::RebootVm { vm })?,
            "pause" => self.each_vm(node, |vm| Action::PauseVm { vm })?,
            "continue" => self.each_vm(node, |vm| Action::ContinueVm { vm })?,
            "kill" | "stop" => self.each_vm(node, |vm| Action::KillVm { vm })?,
            "add-memory" => self.each_vm(node, |vm| Action::AddMemory { vm })?,
            "reconnect" => {
                let controller = self.controller(node)?;
                self.each_vm(node, |vm| Action::Reconnect { vm, controller })?
            }
            "tmf" => vec![self.manage(node)?],
            "remove" => self.each_disk(node, |disk| Action::Remove { disk })?,
            "insert" => self.each_disk(node, |disk| Action::Insert { disk })?,
            "resize" => {
                let mib = node.required("mib", 1, MIB_MAX)?;
                self.each_disk(node, |disk| Action::Resize { disk, mib })?
            }
            "hold" => {
                let requests = node.required("requests", 1, REQUESTS_MAX)?;
                self.each_disk(node, |disk| Action::Hold { disk, requests })?
            }
            "fail" => {
                let requests = node.required("requests", 1, REQUESTS_MAX)?;
                self.each_disk(node, |disk| Action::Fail { disk, requests })?
            }
            "delay" => {
                let by = node.span("by")?;
                let by = by.ok_or_else(|| node.missing("by", "a time such as \"300us\""))?;
                let whole = u32::try_from(by.as_micros()).ok();
                let whole = whole.filter(|_| by.subsec_nanos() % 1000 == 0);
                let micros = whole.ok_or_else(|| {
                    let what = "a delay is counted in whole microseconds";
                    node.error(what, format!("expected 0us to {}us", u32::MAX))
                })?;
                self.each_disk(node, |disk| Action::Delay { disk, micros })?
            }
            "release" => self.each_disk(node, |disk| Action::Release { disk })?,
            "create" => {
                let controller = self.controller(node)?;
                vec![Action::CreateController { controller }]
            }
            "delete" => {
                let controller = self.controller(node)?;
                vec![Action::DeleteController { controller }]
            }
            "save-config" => vec![Action::SaveConfig],
            "list" => self.each_vm(node, |vm| Action::ListDisks { vm })?,
            "alive" => vec![Action::CheckAlive],
            "settle" => vec![Action::Settle],
            _ => return Ok(None),
        };
        Ok(Some(StepKind::Act(actions)))
    }

    fn each_vm(
        &self,
        node: &mut Node<'_>,
        act: impl Fn(VmId) -> Action,
    ) -> Result<Vec<Action>, PlanError> {
        Ok(self.some_vms(node)?.into_iter().map(act).collect())
    }

    fn each_disk(
        &self,
        node: &mut Node<'_>,
        act: impl Fn(DiskId) -> Action,
    ) -> Result<Vec<Action>, PlanError> {
        let disks = node.required_numbers("disk", self.last_disk())?;
        let disks: Vec<DiskId> = disks.into_iter().map(DiskId).collect();
        disks
            .iter()
            .try_for_each(|disk| self.has_disk(node, *disk))?;
        Ok(disks.into_iter().map(act).collect())
    }

    fn boot(&self, node: &mut Node<'_>) -> Result<Vec<Action>, PlanError> {
        let firmware = node.truth("firmware")?.unwrap_or(false);
        let vms = self.some_vms(node)?;
        let declared = vms
            .iter()
            .filter_map(|vm| self.vms.iter().find(|declared| declared.vm == *vm));
        let boot = |declared: &PlanVm| {
            let (vm, controllers) = (declared.vm, declared.controllers.clone());
            if firmware {
                Action::BootFirmware { vm, controllers }
            } else {
                Action::BootVm { vm, controllers }
            }
        };
        Ok(declared.map(boot).collect())
    }

    fn attach(&self, node: &mut Node<'_>) -> Result<StepKind, PlanError> {
        let (disk, controller) = (self.disk(node)?, self.controller(node)?);
        let by = |by| StepKind::Attach {
            disk,
            controller,
            by,
        };
        let to = |target| {
            StepKind::Act(vec![Action::Attach {
                disk,
                controller,
                target,
            }])
        };
        Ok(match node.slot(LAST_SLOT)? {
            None => by(SlotBy::Drawn),
            Some(Slot::Lowest) => by(SlotBy::Number),
            Some(Slot::Any) => to(None),
            Some(Slot::Number(number)) => to(Some(TargetId(number))),
        })
    }

    fn detach(&self, node: &mut Node<'_>) -> Result<StepKind, PlanError> {
        let disk = node.number("disk", 1, self.last_disk())?.map(DiskId);
        let last = self.last_controller();
        let controller = node.number("controller", 1, last)?.map(ControllerId);
        let target = node.number("target", 0, LAST_SLOT)?.map(TargetId);
        match (disk, controller, target) {
            (Some(disk), None, None) => {
                self.has_disk(node, disk)?;
                Ok(StepKind::Detach { disk })
            }
            (None, Some(controller), Some(target)) => {
                let place = Place { controller, target };
                Ok(StepKind::Act(vec![Action::Detach { place }]))
            }
            _ => Err(node.error(
                "`detach` does not say what",
                "expected disk=9, or controller=5 target=0",
            )),
        }
    }

    fn manage(&self, node: &mut Node<'_>) -> Result<Action, PlanError> {
        let words = TaskFunction::ALL.map(TaskFunction::word);
        let word = node.text_argument("a function")?;
        let function = TaskFunction::named(&word).ok_or_else(|| {
            let expected = format!("expected one of {}", words.join(", "));
            node.error(format!("there is no function {word:?}"), expected)
        })?;
        let controller = self.controller(node)?;
        let target = TargetId(node.required("target", 0, LAST_TARGET)?);
        let place = Place { controller, target };
        Ok(Action::Manage { place, function })
    }

    /// A fio of a case that expects nothing: a number, disks and where they are said to be.
    fn bare_fio(&self, node: &mut Node<'_>) -> Result<Action, PlanError> {
        node.childless()?;
        let fio = FioId(node.number_argument("its number", 0, u16::MAX)?);
        let expected = r#""disk 1 at 2:0", which is target 0 of controller 2"#;
        let on = node.read("on", expected, places)?;
        let on = on.ok_or_else(|| node.missing("on", expected))?;
        (on.iter()).try_for_each(|(disk, _)| self.has_disk(node, *disk))?;
        let job = node.text("job")?.unwrap_or_else(|| self.job.to_owned());
        Ok(Action::StartFio { fio, job, on })
    }
}

/// "disk 1 at 2:0 disk 2 at 2:1".
fn places(text: &str) -> Option<Vec<(DiskId, Place)>> {
    let words: Vec<&str> = text.split_whitespace().collect();
    let pairs = words.chunks(4).map(|words| {
        let ["disk", disk, "at", place] = words else {
            return None;
        };
        let (controller, target) = place.split_once(':')?;
        let place = Place {
            controller: ControllerId(controller.parse().ok()?),
            target: TargetId(target.parse().ok()?),
        };
        Some((DiskId(disk.parse().ok()?), place))
    });
    let pairs: Option<Vec<_>> = pairs.collect();
    pairs.filter(|pairs| !pairs.is_empty())
}
