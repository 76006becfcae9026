//! Resets of a LUN: one after the other, each until nothing is outstanding.
//!
//! Source: `scsi_lun_append_mgmt_task`, `scsi_lun_execute_mgmt_task` (lib/scsi/lun.c); fact sheet §3.5.

use super::answer::put;
use super::execute::{abort, run_pending};
use super::task::Task;
use super::thread::VdevThread;
use super::wake::lun_poll_soon;
use crate::bdev::io::{IoKind, Request};
use crate::handles::{DevHandle, TaskRef};
use wire::bugs::Bug;
use wire::message::LogLevel;

/// `scsi_lun_append_mgmt_task`.
pub fn queue_reset(vdev: &mut VdevThread<'_>, of: TaskRef, dev: DevHandle) {
    let Some(lun) = vdev.shared.devs.lun(dev) else {
        return;
    };
    if lun.reset.is_some() {
        lun.resets.push_back(of);
    } else {
        begin_reset(vdev, of, dev);
    }
}

fn begin_reset(vdev: &mut VdevThread<'_>, of: TaskRef, dev: DevHandle) {
    let Some(lun) = vdev.shared.devs.lun(dev) else {
        return;
    };
    lun.reset = Some(of);
    lun.reset_done = false;
    if lun.removed {
        // Ends as INVALID_LUN inside; the guest still sees OK.
        reset_answered(vdev, dev);
        return;
    }
    let request = Request {
        task: of,
        bdev: lun.bdev,
        kind: IoKind::Reset,
    };
    if vdev.shared.bugs.has(Bug::ResetCompletesInflight) {
        lun.outstanding = 0;
        complete_all(vdev, dev);
    }
    vdev.log(LogLevel::Notice, "Bdev scsi reset on lun reset".to_owned());
    let bdevs = &mut vdev.shared.bdevs;
    bdevs.submit(vdev.cx.now, request, vdev.cx.rng);
}

/// Ends what the bdev has of a device, which will end it again (B64).
fn complete_all(vdev: &mut VdevThread<'_>, dev: DevHandle) {
    let mut all = Vec::new();
    let ctl = &*vdev.own;
    for session in &ctl.sessions {
        for (vring, ring) in session.vrings.iter().enumerate() {
            let mine = |task: &&Task| task.in_flight && task.dev == Some(dev) && task.io.is_some();
            let tasks = ring.tasks.iter().enumerate();
            let mine = tasks.filter(|(_, task)| mine(task));
            all.extend(mine.map(|(head, _)| TaskRef {
                vdev: ctl.vdev,
                vring: vring as u16,
                head: head as u16,
                session: session.id,
                life: ring.life,
            }));
        }
    }
    for of in all {
        abort(vdev, of);
    }
}

/// The bdev has done a reset: it ends when nothing is outstanding on the LUN any more.
pub fn bdev_reset_done(vdev: &mut VdevThread<'_>, of: TaskRef) {
    let Some(dev) = vdev.task(of).and_then(|task| task.dev) else {
        return;
    };
    let Some(lun) = vdev.shared.devs.lun(dev) else {
        return;
    };
    lun.reset_done = true;
    let outstanding = lun.outstanding > 0;
    if outstanding && vdev.shared.bugs.has(Bug::ResetPartial) {
        reset_answered(vdev, dev);
    } else if !outstanding {
        lun_poll_soon(vdev, dev);
    }
}

/// A reset is over: it is answered, and the next one or what waited begins.
pub fn reset_answered(vdev: &mut VdevThread<'_>, dev: DevHandle) {
    let Some(lun) = vdev.shared.devs.lun(dev) else {
        return;
    };
    lun.reset_done = false;
    let (of, next) = (lun.reset.take(), lun.resets.pop_front());
    if let Some(of) = of {
        let session = vdev.own.session(of.session);
        if let Some(memory) = session.and_then(|session| session.memory.clone()) {
            put(vdev, &memory, of);
        }
    }
    match next {
        Some(of) => begin_reset(vdev, of, dev),
        None => run_pending(vdev, dev),
    }
}
