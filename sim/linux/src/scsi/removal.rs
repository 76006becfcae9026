//! How Linux removes a disk: `scsi_remove_device`, step by step, under the scan mutex.
//!
//! Each step is a turn of its own, because an application sees a different error after each: ENODEV,
//! then ENOSPC and reads of 0 bytes. Knows the steps; who asked for a removal stands in `events`.

use scenarios::Observation;

use super::disk::DeviceState;
use super::flow::{Progress, RemoveStage, Wait};
use super::host::HANDLER_STEP_NS;
use super::step::Step;
use crate::FlowStep;
use crate::driver::command::Command;
use crate::ids::DiskNo;

/// SYNCHRONIZE CACHE is tried so often (6.1, recorded; 6.12 tries four times).
const SYNC_TRIES: u8 = 3;
/// From CANCEL to the capacity of 0: sysfs entries go first (tens of ms recorded under TCG).
const SYSFS_NS: (u32, u32) = (50_000, 400_000);

/// One step of the removal of a disk.
pub fn remove(disk: DiskNo, stage: &mut RemoveStage, step: &mut Step<'_, '_>) -> Progress {
    let removed = &mut step.shared.disks[disk];
    let target = removed.target();
    match *stage {
        RemoveStage::Lock => {
            if !step.lock() {
                return Progress::On(FlowStep::Waits(target));
            }
            *stage = RemoveStage::Cancel;
            Progress::On(FlowStep::Locked(target))
        }
        // Somebody else removed it while this handler waited for the mutex.
        RemoveStage::Cancel if !removed.removable() => {
            step.unlock();
            Progress::Ended(FlowStep::Deleted(target))
        }
        RemoveStage::Cancel => {
            removed.go(DeviceState::Cancel);
            let (low, high) = SYSFS_NS;
            let takes = step.cx.rng.between(low, high);
            step.sleep(u64::from(takes));
            *stage = RemoveStage::Kill;
            Progress::On(FlowStep::Cancelled(target))
        }
        // `sd_remove` comes after a probe that has begun; that sends nothing more after CANCEL.
        RemoveStage::Kill if removed.is_probing() => {
            step.flow.wait = Wait::Probe(disk);
            Progress::On(FlowStep::Waits(target))
        }
        RemoveStage::Kill => {
            removed.kill();
            if removed.was_visible() {
                let seen = step.shared.guest_disk(&step.shared.disks[disk]);
                step.cx.see(Observation::DiskVanished(seen));
            }
            *stage = RemoveStage::Drain;
            Progress::On(FlowStep::Dead(target))
        }
        RemoveStage::Drain => {
            if removed.drain() {
                step.flow.wait = Wait::Drain(disk);
            } else {
                *stage = if removed.has_write_cache() {
                    RemoveStage::Sync(0)
                } else {
                    RemoveStage::Delete
                };
                step.sleep(HANDLER_STEP_NS);
            }
            Progress::On(FlowStep::Waits(target))
        }
        RemoveStage::Sync(tries) => {
            let reply = step.flow.reply.take();
            let done = reply.is_some_and(|reply| reply.is_good() || reply.is_bad_target());
            if done || tries == SYNC_TRIES {
                *stage = RemoveStage::Delete;
                return Progress::On(FlowStep::Command(target));
            }
            *stage = RemoveStage::Sync(tries + 1);
            step.send(Command::synchronize_cache(target))
        }
        RemoveStage::Delete => {
            removed.go(DeviceState::Del);
            step.unlock();
            Progress::Ended(FlowStep::Deleted(target))
        }
    }
}
