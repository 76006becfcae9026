//! Actions in words, as reports say them.

use std::fmt;

use crate::names::{ControllerId, DiskId, TargetId};
use crate::testbed::{Action, TaskFunction};

/// An attach, of a plan as of a run.
pub(crate) fn attach(
    f: &mut fmt::Formatter<'_>,
    disk: DiskId,
    controller: ControllerId,
    target: Option<TargetId>,
) -> fmt::Result {
    write!(f, "attach {disk} to {controller}")?;
    target.map_or(Ok(()), |target| write!(f, ", {target}"))
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::StartTarget {
                controllers, disks, ..
            } => {
                let (controllers, disks) = (controllers.len(), disks.len());
                write!(
                    f,
                    "run the target, {controllers} controllers, {disks} disks"
                )
            }
            Self::BootVm { vm, .. } => write!(f, "boot {vm}"),
            Self::BootFirmware { vm, .. } => write!(f, "boot {vm} as far as its firmware"),
            Self::Attach {
                disk,
                controller,
                target,
            } => attach(f, *disk, *controller, *target),
            Self::Detach { place } => write!(f, "detach what is at {place}"),
            Self::StartFio { fio, job, on } => {
                write!(f, "start {fio} ({job})")?;
                on.iter()
                    .try_for_each(|(disk, place)| write!(f, " on {disk} at {place}"))
            }
            Self::WaitJobClock { fio, at } => write!(f, "wait until {fio} has run {at:?}"),
            Self::RebootVm { vm } => write!(f, "reboot {vm}"),
            Self::PauseVm { vm } => write!(f, "pause {vm}"),
            Self::ContinueVm { vm } => write!(f, "continue {vm}"),
            Self::KillVm { vm } => write!(f, "kill {vm}"),
            Self::AddMemory { vm } => write!(f, "add memory to {vm}"),
            Self::Reconnect { vm, controller } => write!(f, "reconnect {vm} to {controller}"),
            Self::Manage { place, function } => write!(f, "send {function} to {place}"),
            Self::Remove { disk } => write!(f, "remove {disk}"),
            Self::Insert { disk } => write!(f, "insert {disk}"),
            Self::Resize { disk, mib } => write!(f, "resize {disk} to {mib} MiB"),
            Self::Hold { disk, requests } => write!(f, "hold {} of {disk}", next(*requests)),
            Self::Fail { disk, requests } => write!(f, "fail {} of {disk}", next(*requests)),
            Self::Delay { disk, micros } => write!(f, "delay requests of {disk} by {micros} us"),
            Self::Release { disk } => write!(f, "release the requests of {disk}"),
            Self::CreateController { controller } => write!(f, "create {controller}"),
            Self::DeleteController { controller } => write!(f, "delete {controller}"),
            Self::SaveConfig => f.write_str("ask for the configuration"),
            Self::ListDisks { vm } => write!(f, "list the disks of {vm}"),
            Self::CheckAlive => f.write_str("target and VMs are alive"),
            Self::Settle => f.write_str("everything comes to rest"),
        }
    }
}

/// The next request, or so many.
fn next(requests: u32) -> String {
    match requests {
        1 => "the next request".to_owned(),
        more => format!("the next {more} requests"),
    }
}

impl fmt::Display for TaskFunction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::LunReset => "LUN RESET",
            Self::AbortTask => "ABORT TASK",
            Self::AbortTaskSet => "ABORT TASK SET",
            Self::ClearAca => "CLEAR ACA",
            Self::ClearTaskSet => "CLEAR TASK SET",
            Self::ItNexusReset => "I_T NEXUS RESET",
            Self::QueryTask => "QUERY TASK",
            Self::QueryTaskSet => "QUERY TASK SET",
        })
    }
}
