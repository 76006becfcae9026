//! How a LUN is closed, on whichever thread.
//!
//! Source: `_scsi_lun_remove`, `scsi_lun_remove` (lib/scsi/lun.c).

use scenarios::{CheckId, Inside, Observation};

use crate::handles::{APP, DevHandle};
use crate::shared::{Out, Shared};
use crate::turn::{LunStep, TargetTurn};

/// `_scsi_lun_remove`: closes the bdev; a mistake on any thread but that which opened it.
pub fn close(cx: &mut Out<'_>, shared: &mut Shared, dev: DevHandle) -> TargetTurn {
    let Some(device) = shared.devs.get_mut(dev) else {
        return TargetTurn::Idle;
    };
    let Some(lun) = device.lun.take() else {
        return TargetTurn::Idle;
    };
    let (number, destructing) = (device.number, device.destructing);
    if shared.running != APP {
        let text = format!("device {number}: its bdev is not closed on the thread that opened it");
        cx.broken(CheckId::I4, text);
    }
    let references = lun.references;
    cx.see(Observation::Inside(Inside::LunClosed {
        device: number,
        references,
    }));
    if references > 0 {
        let text = format!("device {number}: closed with {references} io-channel references");
        cx.broken(CheckId::I4, text);
    }
    if destructing {
        shared.devs.free(dev);
    }
    if let Some(bdev) = shared.bdevs.get_mut(lun.bdev) {
        bdev.luns.retain(|user| *user != dev);
    } else {
        let text = format!("device {number}: its bdev was gone before it was closed");
        cx.broken(CheckId::I3, text);
    }
    shared.bdev_closed(lun.bdev);
    shared.mail.wake_rpcs(cx.now);
    TargetTurn::Lun {
        device: number,
        step: LunStep::Closed,
    }
}
