//! A step in words, for reports: what is done, not how it was written.

use std::fmt;

use super::selector::spaced;
use super::{DetachWhat, FioExpect, Source, StepKind};
use crate::action_words::attach;

impl fmt::Display for StepKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Boot { vms } => write!(f, "boot VM {}", spaced(vms.iter().map(|vm| vm.0))),
            Self::Attach {
                disk,
                controller,
                target,
            } => attach(f, *disk, *controller, *target),
            Self::Detach { what } => write!(f, "detach {what}"),
            Self::Remove { disks } => {
                write!(f, "remove disk {}", spaced(disks.iter().map(|disk| disk.0)))
            }
            Self::Insert { disks } => {
                write!(f, "insert disk {}", spaced(disks.iter().map(|disk| disk.0)))
            }
            Self::Stop { vms } => write!(f, "stop VM {}", spaced(vms.iter().map(|vm| vm.0))),
            Self::Fio {
                label,
                on,
                job,
                expect,
                ..
            } => write!(f, "fio \"{label}\" ({job}) on {on}: {expect}"),
            Self::After { at_least, of } => {
                write!(f, "wait until {}", of.as_deref().unwrap_or("fio"))?;
                write!(f, " has run {} s", at_least.as_secs_f64())
            }
            Self::Reboot { vms } => write!(f, "reboot VM {}", spaced(vms.iter().map(|vm| vm.0))),
            Self::Alive => f.write_str("target and VMs are alive"),
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
            Self::Together { lanes } => {
                let names: Vec<&str> = lanes.iter().map(|lane| lane.name.as_str()).collect();
                write!(f, "at once: {}", names.join(", "))
            }
        }
    }
}

impl fmt::Display for DetachWhat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Disk(disk) => disk.fmt(f),
            Self::Place(place) => write!(f, "{} of {}", place.target, place.controller),
        }
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
