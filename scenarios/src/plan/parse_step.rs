//! KDL nodes to [`Step`]s: one node a step, one function a verb.
//!
//! Knows how many controllers, disks and VMs the plan has, not what is attached where.

use super::error::{PlanError, one_of};
use super::node::Node;
use super::selector::{self, Base, Selector};
use super::{Branch, Clock, Expects, FioExpect, PlanVm, Step, StepKind, Wait};
use crate::names::{ControllerId, DiskId, VmId};
use std::time::Duration;

/// The verbs.
const VERBS: &[&str] = &[
    "boot",
    "attach",
    "detach",
    "remove",
    "insert",
    "kill",
    "fio",
    "after",
    "reboot",
    "pause",
    "continue",
    "add-memory",
    "reconnect",
    "tmf",
    "resize",
    "hold",
    "fail",
    "delay",
    "release",
    "create",
    "delete",
    "save-config",
    "list",
    "alive",
    "settle",
    "gone",
    "present",
    "failed",
    "passed",
    "kept",
    "parallel",
    "repeat",
];

/// The most that steps are repeated.
const TIMES_MAX: u8 = 100;

/// Reads steps of a plan of which this much is known.
pub(super) struct Steps<'a> {
    pub(super) controllers: &'a [ControllerId],
    pub(super) disks: &'a [DiskId],
    pub(super) vms: &'a [PlanVm],
    pub(super) job: &'a str,
    pub(super) expects: Expects,
}

impl Steps<'_> {
    /// All steps between the braces of `parent`.
    pub(super) fn block(&self, parent: &Node<'_>) -> Result<Vec<Step>, PlanError> {
        let nodes = parent.children().iter();
        nodes
            .map(|node| self.step(Node::new(parent.text, node)))
            .collect()
    }

    fn step(&self, mut node: Node<'_>) -> Result<Step, PlanError> {
        let kind = match self.asks(&mut node)? {
            Some(kind) => kind,
            None => self.kind(&mut node)?,
        };
        let has_body = match &kind {
            StepKind::Fio { .. } | StepKind::Parallel { .. } | StepKind::Repeat { .. } => true,
            StepKind::Attach { .. }
            | StepKind::Detach { .. }
            | StepKind::Act(_)
            | StepKind::After { .. }
            | StepKind::Gone { .. }
            | StepKind::Present { .. }
            | StepKind::Failed { .. }
            | StepKind::Passed { .. }
            | StepKind::Kept { .. } => false,
        };
        if !has_body {
            node.childless()?;
        }
        let after = node.span("after")?.unwrap_or(Duration::ZERO);
        let wait = match node.truth("wait")? {
            Some(false) => Wait::Nothing,
            Some(true) | None => Wait::Answer,
        };
        let refused = node.text("refused")?;
        can_be_heeded(&node, &kind, after, wait, refused.as_ref())?;
        let source = node.source()?;
        node.finish()?;
        Ok(Step {
            source,
            at: node.at(),
            after,
            wait,
            refused,
            kind,
        })
    }

    /// A step that looks at something, or has others in it.
    fn kind(&self, node: &mut Node<'_>) -> Result<StepKind, PlanError> {
        Ok(match node.name() {
            "fio" => self.fio(node)?,
            "after" => {
                let at_least = node.span_argument()?.map(Clock::AtLeast);
                let exactly = node.span("exactly")?.map(Clock::Exactly);
                let at = at_least.xor(exactly);
                StepKind::After {
                    at: at.ok_or_else(|| node.missing("exactly", "a time, or \"3s\" alone"))?,
                    of: node.text("of")?,
                }
            }
            "gone" => StepKind::Gone {
                disk: self.disk(node)?,
            },
            "present" => StepKind::Present {
                vms: self.vms(node)?,
            },
            "failed" => StepKind::Failed {
                fio: required_label(node)?,
                disk: node.number("disk", 1, self.last_disk())?.map(DiskId),
            },
            "passed" => StepKind::Passed {
                fio: required_label(node)?,
            },
            "kept" => StepKind::Kept {
                disk: self.disk(node)?,
            },
            "parallel" | "together" => self.parallel(node)?,
            "repeat" => {
                let times = node.number_argument("how often", 1, TIMES_MAX)?;
                node.with_body()?;
                StepKind::Repeat {
                    times,
                    steps: self.block(node)?,
                }
            }
            name => {
                return Err(node.error(format!("there is no step `{name}`"), one_of(name, VERBS)));
            }
        })
    }

    /// The greatest number of a disk.
    pub(super) fn last_disk(&self) -> u8 {
        self.disks.iter().map(|id| id.0).max().unwrap_or(0)
    }

    /// The greatest number of a controller.
    pub(super) fn last_controller(&self) -> u8 {
        self.controllers.iter().map(|id| id.0).max().unwrap_or(0)
    }

    pub(super) fn disk(&self, node: &mut Node<'_>) -> Result<DiskId, PlanError> {
        let disk = DiskId(node.required("disk", 1, self.last_disk())?);
        self.has_disk(node, disk)?;
        Ok(disk)
    }

    pub(super) fn controller(&self, node: &mut Node<'_>) -> Result<ControllerId, PlanError> {
        let last = self.last_controller();
        let controller = ControllerId(node.required("controller", 1, last)?);
        if !self.controllers.contains(&controller) {
            let help = "`controllers` says which there are";
            return Err(node.error(format!("the plan has no {controller}"), help));
        }
        Ok(controller)
    }

    /// That the plan has a disk.
    pub(super) fn has_disk(&self, node: &Node<'_>, disk: DiskId) -> Result<(), PlanError> {
        if self.disks.contains(&disk) {
            return Ok(());
        }
        let help = "`disks` says which there are";
        Err(node.error(format!("the plan has no {disk}"), help))
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
            job: node.text("job")?.unwrap_or_else(|| self.job.to_owned()),
            expect: expect.ok_or_else(|| node.missing("expect", r#""pass", "fail" or "gone""#))?,
            body: self.block(node)?,
        })
    }

    /// That a selector names disks, VMs and controllers of this plan.
    fn known(&self, node: &Node<'_>, on: &Selector) -> Result<(), PlanError> {
        let named: &[DiskId] = match &on.base {
            Base::Disks(disks) => disks,
            Base::Attached | Base::Vms(_) | Base::Controllers(_) => &[],
        };
        for disk in named.iter().chain(&on.but) {
            if !self.disks.contains(disk) {
                let last = self.last_disk();
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
            && let Some(id) = ids.iter().find(|id| !self.controllers.contains(id))
        {
            let last = self.last_controller();
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

    /// VMs, which must be named.
    pub(super) fn some_vms(&self, node: &mut Node<'_>) -> Result<Vec<VmId>, PlanError> {
        self.vms(node)?.ok_or_else(|| node.missing("vm", "which"))
    }

    fn all_known(&self, node: &Node<'_>, vms: &[VmId]) -> Result<(), PlanError> {
        match vms
            .iter()
            .find(|vm| self.vms.iter().all(|of| of.vm != **vm))
        {
            Some(vm) => Err(node.error(
                format!("the plan has no {vm}"),
                format!("declare it before: vm {} controllers=\"…\"", vm.0),
            )),
            None => Ok(()),
        }
    }

    fn parallel(&self, node: &Node<'_>) -> Result<StepKind, PlanError> {
        let mut branches: Vec<Branch> = Vec::new();
        for child in node.children() {
            let mut branch = Node::new(node.text, child);
            if !matches!(branch.name(), "branch" | "lane") {
                return Err(branch.error(
                    format!("`{}` has no `{}`", node.name(), branch.name()),
                    "expected branch \"name\" { … }",
                ));
            }
            let name = branch.text_argument("a name")?;
            branch.finish()?;
            branch.with_body()?;
            if branches.iter().any(|other| other.name == name) {
                let what = format!("branch {name:?} is there already");
                return Err(branch.error(what, "rename it"));
            }
            let steps = self.block(&branch)?;
            branches.push(Branch { name, steps });
        }
        if branches.len() < 2 {
            return Err(node.error(
                format!("`{}` has fewer than two branches", node.name()),
                "expected branch \"name\" { … } at least twice",
            ));
        }
        Ok(StepKind::Parallel { branches })
    }
}

/// That a step does what each of its words says.
fn can_be_heeded(
    node: &Node<'_>,
    kind: &StepKind,
    after: Duration,
    wait: Wait,
    refused: Option<&String>,
) -> Result<(), PlanError> {
    let unawaited = wait == Wait::Nothing;
    let word = match kind {
        StepKind::Repeat { .. } if after > Duration::ZERO => "after=",
        StepKind::Repeat { .. } if refused.is_some() => "refused=",
        StepKind::Repeat { .. } | StepKind::Parallel { .. } if unawaited => "wait=#false",
        _ if refused.is_some() && unawaited => {
            let help = "`refused` waits for the answer: remove wait=#false";
            return Err(node.error("`refused` beside wait=#false", help));
        }
        StepKind::Repeat { .. }
        | StepKind::Parallel { .. }
        | StepKind::Attach { .. }
        | StepKind::Detach { .. }
        | StepKind::Act(_)
        | StepKind::Fio { .. }
        | StepKind::After { .. }
        | StepKind::Gone { .. }
        | StepKind::Present { .. }
        | StepKind::Failed { .. }
        | StepKind::Passed { .. }
        | StepKind::Kept { .. } => return Ok(()),
    };
    let what = format!("`{}` takes no {word}", node.name());
    Err(node.error(what, "put it on the steps inside"))
}

fn required_label(node: &mut Node<'_>) -> Result<String, PlanError> {
    let label = node.text("fio")?;
    label.ok_or_else(|| node.missing("fio", "the label of a fio of this case"))
}
