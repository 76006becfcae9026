//! How a bdev goes away, or changes its size, under those who have it open.
//!
//! Sources: `spdk_bdev_unregister`, `spdk_bdev_notify_blockcnt_change` (lib/bdev/bdev.c),
//! `bdev_event_cb` (lib/scsi/lun.c), `vhost_scsi_lun_resize` (lib/vhost/vhost_scsi.c); fact sheet §1.6.

use scenarios::SlotState;

use super::{AppThread, lun};
use crate::bdev::Waiter;
use crate::handles::{BdevHandle, DevHandle, SlotId};
use crate::mail::AppMessage;
use crate::rpc::Errno;
use crate::turn::{ForeachOp, TargetTurn};
use wire::bugs::Bug;
use wire::message::LogLevel;

/// `spdk_bdev_unregister`: tells those who have it open; done when nobody has.
///
/// # Errors
///
/// `EBUSY`: it is going already.
pub(super) fn unregister(
    app: &mut AppThread<'_>,
    handle: BdevHandle,
    waiter: Option<Waiter>,
) -> Result<(), Errno> {
    let alone = app.shared.bugs.has(Bug::SplitIgnoresBaseRemoval);
    let bdev = app.shared.bdevs.get_mut(handle).ok_or(Errno::NoDev)?;
    if bdev.going {
        return Err(Errno::Busy);
    }
    bdev.going = true;
    bdev.waiters.extend(waiter);
    let (luns, tops) = (bdev.luns.clone(), bdev.tops.clone());
    if std::mem::take(&mut bdev.blk) {
        // vhost-blk closes it without waiting for anybody, as far as this model goes.
        for entry in app.own.entries.iter_mut().flatten() {
            if let Some(blk) = &mut entry.blk {
                blk.bdev = blk.bdev.filter(|bdev| *bdev != handle);
            }
        }
    }
    let mail = &mut app.shared.mail;
    for dev in luns {
        let bdev = handle;
        mail.send_app(app.cx.now, AppMessage::BdevGoes { bdev, dev });
    }
    for top in tops.into_iter().filter(|_| !alone) {
        mail.send_app(app.cx.now, AppMessage::BaseGoes { base: handle, top });
    }
    app.shared.bdev_closed(handle);
    Ok(())
}

/// `bdev_event_cb` of a LUN: SPDK_BDEV_EVENT_REMOVE.
pub(super) fn bdev_goes(app: &mut AppThread<'_>, bdev: BdevHandle, dev: DevHandle) -> TargetTurn {
    let lun = app.shared.devs.lun(dev).map(|lun| lun.bdev);
    let open = lun.and_then(|bdev| app.shared.bdevs.get(bdev));
    if let Some(name) = open.map(|bdev| bdev.name.clone()) {
        app.log(
            LogLevel::Notice,
            format!("bdev name ({name}) received event(SPDK_BDEV_EVENT_REMOVE)"),
        );
        lun::hot_remove(app, dev);
    }
    TargetTurn::BdevEvent { bdev: bdev.index }
}

/// The base of a bdev goes: it goes too.
pub(super) fn base_goes(app: &mut AppThread<'_>, base: BdevHandle, top: BdevHandle) -> TargetTurn {
    // One that is going already is not asked twice.
    let _ = unregister(app, top, None);
    TargetTurn::BdevEvent { bdev: base.index }
}

/// `spdk_bdev_notify_blockcnt_change`: a bdev has another size, and its LUNs are told.
///
/// # Errors
///
/// `EBUSY`: it would shrink, and is open.
pub(super) fn resize(
    app: &mut AppThread<'_>,
    handle: BdevHandle,
    blocks: u64,
) -> Result<(), Errno> {
    let bdev = app.shared.bdevs.get_mut(handle).ok_or(Errno::NoDev)?;
    if bdev.num_blocks == blocks {
        return Ok(());
    }
    if blocks < bdev.num_blocks && bdev.is_open() {
        return Err(Errno::Busy);
    }
    bdev.num_blocks = blocks;
    let (luns, name) = (bdev.luns.clone(), bdev.name.clone());
    app.shared.bdevs.notify("bdev_resize", &name);
    for dev in luns {
        let mail = &mut app.shared.mail;
        mail.send_app(app.cx.now, AppMessage::Resized(dev));
    }
    Ok(())
}

/// `bdev_event_cb` of a LUN: SPDK_BDEV_EVENT_RESIZE.
pub(super) fn resized(app: &mut AppThread<'_>, dev: DevHandle) -> TargetTurn {
    let Some(device) = app.shared.devs.get_mut(dev) else {
        return TargetTurn::Idle;
    };
    let vdev = device.vdev;
    let Some(lun) = &mut device.lun else {
        return TargetTurn::Idle;
    };
    lun.resizing = true;
    let bdev = lun.bdev.index;
    if let Some(ctl) = app.vdevs.get_mut(vdev) {
        let shown = |slot: &SlotId| {
            let here = &ctl.slots[slot.index()];
            here.dev == Some(dev) && here.state == SlotState::Present
        };
        if let Some(slot) = SlotId::all().find(shown) {
            ctl.foreach(&mut app.shared.mail, app.cx.now, ForeachOp::Resize, slot);
        }
    }
    TargetTurn::BdevEvent { bdev }
}
