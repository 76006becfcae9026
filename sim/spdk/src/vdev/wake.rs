//! Who is woken once a LUN has less to do: its own poller, and the sessions that wait for it to be idle.

use scenarios::Time;

use super::thread::VdevThread;
use crate::devices::{LUN_PERIOD, Removal};
use crate::handles::DevHandle;
use crate::mail::AppMessage;

/// The LUN's poller looks again at its next tick, on the thread that it runs on.
pub fn lun_poll_soon(vdev: &mut VdevThread<'_>, dev: DevHandle) {
    let at = vdev.cx.now + LUN_PERIOD;
    let Some(lun) = vdev.shared.devs.lun(dev) else {
        return;
    };
    if std::mem::replace(&mut lun.polled, true) {
        return;
    }
    if lun.on_app && lun.removal != Removal::No {
        let mail = &mut vdev.shared.mail;
        mail.app_later(at, AppMessage::LunRemove(dev));
    } else {
        vdev.own.lun_polls.push((at, dev));
    }
}

/// Wakes those who wait for the LUN to be idle, if it is.
pub fn lun_idle(vdev: &mut VdevThread<'_>, dev: DevHandle) {
    let Some(lun) = vdev.shared.devs.lun(dev) else {
        return;
    };
    let reset_waits = lun.reset_done && lun.outstanding == 0;
    let idle = lun.idle();
    let removal_waits = lun.removal == Removal::Draining && idle;
    let awaited = lun.awaited && idle;
    if reset_waits || removal_waits {
        lun_poll_soon(vdev, dev);
    }
    if awaited {
        wake_sessions(vdev, dev);
    }
}

fn wake_sessions(vdev: &mut VdevThread<'_>, dev: DevHandle) {
    let now: Time = vdev.cx.now;
    for session in &mut vdev.own.sessions {
        if session.slots.iter().any(|slot| slot.dev == Some(dev)) {
            session.manage(now);
        }
    }
}
