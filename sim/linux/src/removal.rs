//! How Linux removes a disk: `scsi_remove_device`, step by step, under the scan mutex.
//!
//! Each step is a turn of its own, because an application sees a different error after each: ENODEV,
//! then ENOSPC and reads of 0 bytes. Knows the steps; who asked for a removal stands in `events`.

use scenarios::{Observation, Time};

use super::command::Command;
use super::disk::DeviceState;
use super::events::STEP_NS;
use super::flow::{Goes, Standing, Wait};
use super::{FlowStep, Guest};
use wire::component::Cx;
use wire::message::FromGuest;

/// SYNCHRONIZE CACHE is tried so often (6.1, recorded; 6.12 tries four times).
const SYNC_TRIES: u8 = 3;
/// From CANCEL to the capacity of 0: sysfs entries go first (tens of ms recorded under TCG).
const SYSFS_NS: (u32, u32) = (50_000, 400_000);

/// Where a removal is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RemoveStage {
    /// It wants the scan mutex.
    Lock,
    /// The state becomes CANCEL: what is dispatched from now on gets ENODEV.
    Cancel,
    /// The capacity becomes 0, `/dev/sdX` goes.
    Kill,
    /// All requests in flight come back; no time-out.
    Drain,
    /// SYNCHRONIZE CACHE, this often so far.
    Sync(u8),
    /// The state becomes DEL.
    Delete,
}

impl Guest {
    /// One step of the removal of a disk; true with the last one.
    pub(super) fn removal_step(
        &mut self,
        hba: usize,
        n: usize,
        flow: &mut Standing,
        disk: usize,
        stage: &mut RemoveStage,
        cx: &mut Cx<'_, FromGuest>,
    ) -> (Goes, bool) {
        let target = self.disks[disk].target;
        match *stage {
            RemoveStage::Lock => {
                if !self.lock(hba, n, flow, cx.now) {
                    return (Goes::On(FlowStep::Waits(target)), false);
                }
                *stage = RemoveStage::Cancel;
                (Goes::On(FlowStep::Locked(target)), false)
            }
            // Somebody else removed it while this handler waited for the mutex.
            RemoveStage::Cancel if !self.disks[disk].removable() => {
                self.unlock(hba, n, cx);
                (Goes::On(FlowStep::Deleted(target)), true)
            }
            RemoveStage::Cancel => {
                self.disks[disk].state = DeviceState::Cancel;
                let (low, high) = SYSFS_NS;
                flow.wait = Wait::At(Time(cx.now.0 + u64::from(cx.rng.between(low, high))));
                *stage = RemoveStage::Kill;
                (Goes::On(FlowStep::Cancelled(target)), false)
            }
            // `sd_remove` comes after a probe that has begun; that sends nothing more after CANCEL.
            RemoveStage::Kill if self.disks[disk].probing => {
                flow.wait = Wait::Probe(disk);
                (Goes::On(FlowStep::Waits(target)), false)
            }
            RemoveStage::Kill => {
                self.disks[disk].dead = true;
                if self.disks[disk].visible {
                    let seen = self.guest_disk(&self.disks[disk]);
                    cx.see(Observation::DiskVanished(seen));
                }
                *stage = RemoveStage::Drain;
                (Goes::On(FlowStep::Dead(target)), false)
            }
            RemoveStage::Drain if self.disks[disk].in_flight > 0 => {
                flow.wait = Wait::Drain(disk);
                (Goes::On(FlowStep::Waits(target)), false)
            }
            RemoveStage::Drain => {
                let syncs = self.disks[disk].write_cache;
                *stage = if syncs {
                    RemoveStage::Sync(0)
                } else {
                    RemoveStage::Delete
                };
                flow.wait = Wait::At(Time(cx.now.0 + STEP_NS));
                (Goes::On(FlowStep::Waits(target)), false)
            }
            RemoveStage::Sync(tries) => {
                let done = flow
                    .reply
                    .take()
                    .is_some_and(|reply| reply.is_good() || reply.is_bad_target());
                if done || tries == SYNC_TRIES {
                    *stage = RemoveStage::Delete;
                    return (Goes::On(FlowStep::Command(target)), false);
                }
                *stage = RemoveStage::Sync(tries + 1);
                let command = Command::synchronize_cache(target);
                (self.send_command(hba, n, flow, command, cx), false)
            }
            RemoveStage::Delete => {
                self.disks[disk].state = DeviceState::Del;
                self.unlock(hba, n, cx);
                (Goes::On(FlowStep::Deleted(target)), true)
            }
        }
    }

    /// The last request of a disk came back: a removal that waits for it goes on.
    pub(super) fn drained(&mut self, hba: usize, disk: usize, now: Time) {
        let mut woken = false;
        for flow in self.flows[hba].iter_mut().flatten() {
            if flow.standing.wait == Wait::Drain(disk) {
                flow.standing.wait = Wait::At(Time(now.0 + STEP_NS));
                woken = true;
            }
        }
        if woken {
            self.reschedule_flows(hba);
        }
    }
}
