//! Steps that wait for disks: the lists of guests are asked for, again and again.
//!
//! Knows lists; knows no guest.

use super::{Poll, Polled, held, skipped};
use crate::names::{DiskId, Place, VmId};
use crate::run::known::{GuestDisks, Known};
use crate::run::under_way::UnderWay;
use crate::run::{Runner, limits};
use crate::script::VmDisks;
use crate::testbed::{Action, Performed, TestbedError};
use crate::time::Time;

impl Runner<'_> {
    /// Waits until VMs have exactly these disks.
    pub(super) fn disks(&mut self, under_way: &mut UnderWay, wanted: &[VmDisks]) -> Polled {
        let vms: Vec<VmId> = wanted.iter().map(|vm| vm.vm).collect();
        let exactly = wanted.iter().map(|vm| {
            let disks = vm.disks.iter().map(|(place, disk)| (*place, Some(*disk)));
            (vm.vm, disks.collect())
        });
        let exactly: Vec<(VmId, GuestDisks)> = exactly.collect();
        let expected = || {
            let has = exactly.iter();
            let has = has.map(|(vm, disks)| format!("{vm} has {}", listed(disks)));
            has.collect::<Vec<_>>().join("; ")
        };
        self.look(under_way, &vms, expected, |vm, has| {
            exactly.iter().any(|(of, disks)| *of == vm && disks == has)
        })
    }

    /// Looks at the disks of VMs, again and again, until `fits` says yes to all.
    pub(super) fn look(
        &mut self,
        under_way: &mut UnderWay,
        vms: &[VmId],
        expected: impl FnOnce() -> String,
        fits: impl Fn(VmId, &GuestDisks) -> bool,
    ) -> Polled {
        if under_way.next_look.is_none() {
            under_way.within(self.now(), limits::DISKS);
            if let Some(reason) = self.ask_disks(under_way, vms)? {
                return skipped(reason);
            }
        }
        let unanswered = |known: &Known, before: &[(VmId, u32)]| {
            let mut before = before.iter();
            before
                .find(|(vm, lists)| known.lists_of(*vm) <= *lists)
                .map(|(vm, _)| *vm)
        };
        if unanswered(&self.known, &under_way.before).is_none() {
            let empty = GuestDisks::new();
            let lists = &self.known.lists;
            let has = |vm: VmId| lists.get(&vm).map_or(&empty, |list| &list.1);
            if vms.iter().all(|vm| fits(*vm, has(*vm))) {
                return held("");
            }
            if self.now() >= under_way.deadline {
                let seen: Vec<String> = vms
                    .iter()
                    .map(|vm| format!("{vm} has {}", listed(has(*vm))))
                    .collect();
                return self.wait(under_way, expected, || seen.join("; "));
            }
            let due = under_way.next_look.unwrap_or(Time::ZERO);
            if self.now() >= due
                && let Some(reason) = self.ask_disks(under_way, vms)?
            {
                return skipped(reason);
            }
            let due = under_way.next_look.unwrap_or(Time::ZERO);
            under_way.wake = due.min(under_way.deadline);
            return Ok(Poll::Wait);
        }
        under_way.wake = under_way.deadline;
        if under_way.asks_again && self.now() < under_way.deadline {
            let due = under_way.next_look.unwrap_or(Time::ZERO);
            if self.now() >= due
                && let Some(reason) = self.ask_disks(under_way, vms)?
            {
                return skipped(reason);
            }
            under_way.wake = under_way.next_look.unwrap_or(Time::ZERO);
            return Ok(Poll::Wait);
        }
        let silent = unanswered(&self.known, &under_way.before);
        self.wait(under_way, expected, || match silent {
            Some(vm) => format!("{vm} does not list its disks"),
            None => "no list".into(),
        })
    }

    fn ask_disks(
        &mut self,
        under_way: &mut UnderWay,
        vms: &[VmId],
    ) -> Result<Option<String>, TestbedError> {
        under_way.before = vms
            .iter()
            .map(|vm| (*vm, self.known.lists_of(*vm)))
            .collect();
        under_way.next_look = Some(self.now() + limits::LOOK_AGAIN);
        for vm in vms {
            if let Performed::NotHere(reason) =
                self.testbed.perform(&Action::ListDisks { vm: *vm })?
            {
                return Ok(Some(reason));
            }
        }
        Ok(None)
    }
}

/// "disk 9 at 5:0, disk 10 at 5:1", or "no disk".
fn listed(disks: &GuestDisks) -> String {
    if disks.is_empty() {
        return "no disk".into();
    }
    let one = |(place, disk): (&Place, &Option<DiskId>)| match disk {
        Some(disk) => format!("{disk} at {place}"),
        None => format!("an unknown disk at {place}"),
    };
    disks.iter().map(one).collect::<Vec<_>>().join(", ")
}
