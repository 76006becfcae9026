//! A step in words, for reports: what is done, not how it was written.

use std::fmt;

use super::selector::spaced;
use super::{Clock, FioExpect, Source, StepKind};
use crate::action_words::attach;
use crate::testbed::Action;

impl fmt::Display for StepKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Attach {
                disk, controller, ..
            } => attach(f, *disk, *controller, None),
            Self::Detach { disk } => write!(f, "detach {disk}"),
            Self::Act(actions) => f.write_str(&listed(actions)),
            Self::Fio {
                label,
                on,
                job,
                expect,
                ..
            } => write!(f, "fio \"{label}\" ({job}) on {on}: {expect}"),
            Self::After {
                at: Clock::AtLeast(at) | Clock::Exactly(at),
                of,
            } => {
                write!(f, "wait until {}", of.as_deref().unwrap_or("fio"))?;
                write!(f, " has run {:.2} s", at.as_secs_f64())
            }
            Self::Gone { disk } => write!(f, "{disk} is gone from its VM, and no other is"),
            Self::Present { vms: None } => f.write_str("all attached disks are in place"),
            Self::Present { vms: Some(vms) } => write!(
                f,
                "the attached disks of VM {} are in place",
                spaced(vms.iter().map(|vm| vm.0))
            ),
            Self::Failed {
                fio,
                disk: Some(disk),
            } => write!(f, "fio \"{fio}\" stopped and failed on {disk}"),
            Self::Failed { fio, disk: None } => write!(f, "fio \"{fio}\" stopped and failed"),
            Self::Passed { fio } => write!(f, "fio \"{fio}\" did not fail"),
            Self::Kept { disk } => write!(f, "{disk} kept its data"),
            Self::Parallel { branches } => {
                let names: Vec<&str> = branches.iter().map(|of| of.name.as_str()).collect();
                write!(f, "at once: {}", names.join(", "))
            }
            Self::Repeat { times, .. } => write!(f, "{times} times"),
        }
    }
}

/// "boot VM 1 2": what is done to several things is said once.
fn listed(actions: &[Action]) -> String {
    let all: Vec<String> = actions.iter().map(ToString::to_string).collect();
    let split: Option<Vec<(&str, &str)>> = all.iter().map(|text| text.rsplit_once(' ')).collect();
    match split.as_deref() {
        Some([(what, first), rest @ ..]) if rest.iter().all(|(same, _)| same == what) => {
            let rest: String = rest.iter().map(|(_, id)| format!(" {id}")).collect();
            format!("{what} {first}{rest}")
        }
        _ => all.join(", "),
    }
}

impl fmt::Display for FioExpect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pass => "passes",
            Self::Fail => "fails",
            Self::Gone => "fails where detached, passes elsewhere",
        })
    }
}

impl fmt::Display for Source {
    /// "27", "28,21", "implied", "plan".
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lines(lines) => {
                let lines: Vec<String> = lines.iter().map(u32::to_string).collect();
                f.pad(&lines.join(","))
            }
            Self::Implied(_) => f.pad("implied"),
            Self::Itself => f.pad("plan"),
        }
    }
}
