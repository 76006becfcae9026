//! What LUNs do on the app thread: how a SCSI device goes, and what its LUN does for lack of an io channel.
//!
//! Source: `spdk_scsi_dev_destruct` (lib/scsi/dev.c), `scsi_lun_hot_remove` (lib/scsi/lun.c).

use scenarios::{CheckId, Inside, Observation};

use super::AppThread;
use crate::handles::{DevHandle, VdevId};
use crate::mail::{AppMessage, VdevMessage};
use crate::shared::reborrow;
use crate::turn::TargetTurn;
use crate::vdev::controller::Controller;
use crate::vdev::thread::VdevThread;
use crate::vdev::{lun_poll, lun_remove_began};
use wire::bugs::Bug;

/// `spdk_scsi_dev_destruct`: the device goes, with its LUN.
pub(super) fn destruct(app: &mut AppThread<'_>, dev: DevHandle) {
    let devs = &mut app.shared.devs;
    let Some(device) = devs.get_mut(dev) else {
        let text = format!("SCSI device {} was destructed twice", dev.index);
        app.cx.broken(CheckId::I3, text);
        return;
    };
    device.destructing = true;
    if device.lun.is_none() {
        devs.free(dev);
    } else {
        hot_remove(app, dev);
    }
}

/// `scsi_lun_hot_remove`: goes on where the io channel is.
pub(super) fn hot_remove(app: &mut AppThread<'_>, dev: DevHandle) {
    let Some(device) = app.shared.devs.get_mut(dev) else {
        return;
    };
    let (number, destructing, vdev) = (device.number, device.destructing, device.vdev);
    let Some(lun) = device.lun.as_mut().filter(|lun| !lun.removed) else {
        return;
    };
    lun.removed = true;
    app.cx
        .see(Observation::Inside(Inside::LunGoing { device: number }));
    let needs_channel = app.shared.bugs.has(Bug::HotremoveNeedsChannel);
    if lun.channel.is_none() && needs_channel && !destructing {
        return;
    }
    if let Some(vdev) = lun.channel {
        if let Some(ctl) = app.vdevs.get_mut(vdev) {
            let message = VdevMessage::LunRemove(dev);
            ctl.send(&mut app.shared.mail, app.cx.now, message);
        }
    } else {
        lun.on_app = true;
        on_thread_of(app, vdev, |vdev| lun_remove_began(vdev, dev));
    }
}

/// A run of a LUN's poller on this thread.
pub(super) fn poll(app: &mut AppThread<'_>, dev: DevHandle) -> TargetTurn {
    let Some(vdev) = app.shared.devs.get(dev).map(|dev| dev.vdev) else {
        return TargetTurn::Idle;
    };
    on_thread_of(app, vdev, |vdev| lun_poll(vdev, dev))
}

/// Does here what a controller's thread does elsewhere. If the controller is gone, its thread exits, and runs
/// the pollers of LUNs to their end: an empty controller stands for it, and its pollers are run here.
fn on_thread_of(
    app: &mut AppThread<'_>,
    vdev: VdevId,
    act: impl FnOnce(&mut VdevThread<'_>) -> TargetTurn,
) -> TargetTurn {
    let mut nobody = None;
    let own = match app.vdevs.get_mut(vdev) {
        Some(ctl) => ctl,
        None => nobody.insert(Controller::new(vdev, 0, String::new())),
    };
    let turn = act(&mut VdevThread {
        own,
        shared: app.shared,
        cx: reborrow(&mut app.cx),
    });
    for (at, dev) in nobody.into_iter().flat_map(|ctl| ctl.lun_polls) {
        let mail = &mut app.shared.mail;
        mail.app_later(at, AppMessage::LunRemove(dev));
    }
    turn
}
