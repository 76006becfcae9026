//! KDL nodes to [`Step`]s: one node a step, one function a verb.
//!
//! Knows how many controllers, disks and VMs the plan has, not what is attached where.

use super::error::{PlanError, one_of};
use super::node::Node;
use super::selector::{self, Base, Selector};
use super::{DetachWhat, FioExpect, Lane, Step, StepKind};
use crate::names::{ControllerId, DiskId, Place, TARGETS_PER_CONTROLLER_MAX, TargetId, VmId};

/// The verbs.
const VERBS: &[&str] = &[
    "boot", "attach", "detach", "remove", "insert", "stop", "fio", "after", "reboot", "alive",
    "gone", "present", "failed", "passed", "kept", "together",
];

/// Reads steps of a plan of which this much is known.
pub(super) struct Steps {
    pub(super) controllers: u8,
    pub(super) disks: u8,
    pub(super) vms: Vec<VmId>,
    pub(super) job: String,
}

impl Steps {
    /// All steps between the braces of `parent`.
    pub(super) fn block(&self, parent: &Node<'_>) -> Result<Vec<Step>, PlanError> {
        let nodes = parent.children().iter();
        nodes
            .map(|node| self.step(Node::new(parent.text, node)))
            .collect()
    }

    fn step(&self, mut node: Node<'_>) -> Result<Step, PlanError> {
        let kind = self.kind(&mut node)?;
        if !matches!(kind, StepKind::Fio { .. } | StepKind::Together { .. }) {
            node.childless()?;
        }
        let source = node.source()?;
        node.finish()?;
        Ok(Step {
            source,
            at: node.at(),
            kind,
        })
    }

    fn kind(&self, node: &mut Node<'_>) -> Result<StepKind, PlanError> {
        Ok(match node.name() {
            "boot" => StepKind::Boot {
                vms: self.vms(node)?.ok_or_else(|| node.missing("vm", "which"))?,
            },
            "attach" => StepKind::Attach {
                disk: DiskId(node.required("disk", self.disks)?),
                controller: ControllerId(node.required("controller", self.controllers)?),
                target: target(node)?,
            },
            "detach" => StepKind::Detach {
                what: self.detached(node)?,
            },
            "remove" => StepKind::Remove {
                disks: self.disks(node)?,
            },
            "insert" => StepKind::Insert {
                disks: self.disks(node)?,
            },
            "stop" => StepKind::Stop {
                vms: self.vms(node)?.ok_or_else(|| node.missing("vm", "which"))?,
            },
            "fio" => self.fio(node)?,
            "after" => StepKind::After {
                at_least: node.span_argument()?,
                of: node.text("of")?,
            },
            "reboot" => StepKind::Reboot {
                vms: self.vms(node)?.ok_or_else(|| node.missing("vm", "which"))?,
            },
            "alive" => StepKind::Alive,
            "gone" => StepKind::Gone {
                disk: DiskId(node.required("disk", self.disks)?),
            },
            "present" => StepKind::Present {
                vms: self.vms(node)?,
            },
            "failed" => StepKind::Failed {
                fio: required_label(node)?,
                disk: node.number("disk", 1, self.disks)?.map(DiskId),
            },
            "passed" => StepKind::Passed {
                fio: required_label(node)?,
            },
            "kept" => StepKind::Kept {
                disk: DiskId(node.required("disk", self.disks)?),
            },
            "together" => self.together(node)?,
            name => {
                return Err(node.error(format!("there is no step `{name}`"), one_of(name, VERBS)));
            }
        })
    }

    fn fio(&self, node: &mut Node<'_>) -> Result<StepKind, PlanError> {
        let label = node.text_argument("a label")?;
        let on = node.read("on", selector::EXPECTED, Selector::parse)?;
        let on = on.unwrap_or(Selector {
            base: Base::Attached,
            but: Vec::new(),
        });
        self.known(node, &on)?;
        let expect = node.read("expect", r#""pass", "fail" or "gone""#, |text| match text {
            "pass" => Some(FioExpect::Pass),
            "fail" => Some(FioExpect::Fail),
            "gone" => Some(FioExpect::Gone),
            _ => None,
        })?;
        Ok(StepKind::Fio {
            label,
            on,
            job: node.text("job")?.unwrap_or_else(|| self.job.clone()),
            expect: expect.ok_or_else(|| node.missing("expect", r#""pass", "fail" or "gone""#))?,
            body: self.block(node)?,
        })
    }

    /// That a selector names disks, VMs and controllers of this plan.
    fn known(&self, node: &Node<'_>, on: &Selector) -> Result<(), PlanError> {
        let named: &[DiskId] = match &on.base {
            Base::Disks(disks) => disks,
            _ => &[],
        };
        for disk in named.iter().chain(&on.but) {
            if disk.0 > self.disks {
                let last = self.disks;
                return Err(node.error(
                    format!("`on` names {disk}"),
                    format!("expected disks from 1 to {last}"),
                ));
            }
        }
        if let Base::Vms(vms) = &on.base {
            self.all_known(node, vms)?;
        }
        if let Base::Controllers(ids) = &on.base
            && let Some(id) = ids.iter().find(|id| id.0 > self.controllers)
        {
            let last = self.controllers;
            return Err(node.error(
                format!("`on` names {id}"),
                format!("expected controllers from 1 to {last}"),
            ));
        }
        Ok(())
    }

    fn vms(&self, node: &mut Node<'_>) -> Result<Option<Vec<VmId>>, PlanError> {
        let Some(vms) = node.numbers("vm", u8::MAX)? else {
            return Ok(None);
        };
        let vms: Vec<VmId> = vms.into_iter().map(VmId).collect();
        self.all_known(node, &vms)?;
        Ok(Some(vms))
    }

    fn disks(&self, node: &mut Node<'_>) -> Result<Vec<DiskId>, PlanError> {
        let disks = node.numbers("disk", self.disks)?;
        let disks = disks.ok_or_else(|| node.missing("disk", "which"))?;
        Ok(disks.into_iter().map(DiskId).collect())
    }

    fn all_known(&self, node: &Node<'_>, vms: &[VmId]) -> Result<(), PlanError> {
        match vms.iter().find(|vm| !self.vms.contains(vm)) {
            Some(vm) => Err(node.error(
                format!("the plan has no {vm}"),
                format!("declare it before: vm {} controllers=\"…\"", vm.0),
            )),
            None => Ok(()),
        }
    }

    fn detached(&self, node: &mut Node<'_>) -> Result<DetachWhat, PlanError> {
        let disk = node.number("disk", 1, self.disks)?.map(DiskId);
        let controller = node.number("controller", 1, self.controllers)?;
        let target = target(node)?;
        match (disk, controller.map(ControllerId), target) {
            (Some(disk), None, None) => Ok(DetachWhat::Disk(disk)),
            (None, Some(controller), Some(target)) => {
                Ok(DetachWhat::Place(Place { controller, target }))
            }
            _ => Err(node.error(
                "`detach` does not say what",
                "expected disk=9, or controller=5 target=0",
            )),
        }
    }

    fn together(&self, node: &Node<'_>) -> Result<StepKind, PlanError> {
        let mut lanes: Vec<Lane> = Vec::new();
        for child in node.children() {
            let mut lane = Node::new(node.text, child);
            if lane.name() != "lane" {
                return Err(lane.error(
                    format!("`together` has no `{}`", lane.name()),
                    "expected lane \"name\" { … }",
                ));
            }
            let name = lane.text_argument("a name")?;
            lane.finish()?;
            lane.with_body()?;
            if lanes.iter().any(|other| other.name == name) {
                return Err(lane.error(format!("lane {name:?} is there already"), "rename it"));
            }
            let steps = self.block(&lane)?;
            lanes.push(Lane { name, steps });
        }
        if lanes.len() < 2 {
            return Err(node.error(
                "`together` has fewer than two lanes",
                "expected lane \"name\" { … } at least twice",
            ));
        }
        Ok(StepKind::Together { lanes })
    }
}

fn target(node: &mut Node<'_>) -> Result<Option<TargetId>, PlanError> {
    let last = TARGETS_PER_CONTROLLER_MAX - 1;
    Ok(node.number("target", 0, last)?.map(TargetId))
}

fn required_label(node: &mut Node<'_>) -> Result<String, PlanError> {
    let label = node.text("fio")?;
    label.ok_or_else(|| node.missing("fio", "the label of a fio of this case"))
}
