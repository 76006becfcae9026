//! How a bdev goes away, or changes its size, under those who have it open.
//!
//! Sources: `spdk_bdev_unregister`, `spdk_bdev_notify_blockcnt_change` (lib/bdev/bdev.c),
//! `bdev_event_cb` (lib/scsi/lun.c), `vhost_scsi_lun_resize` (lib/vhost/vhost_scsi.c); fact sheet §1.6.

use scenarios::SlotState;

use crate::bdev::{Bdev, BdevHandle, Waiter};
use crate::lun::DevHandle;
use crate::mail::AppMessage;
use crate::rpc::Errno;
use crate::turn::{ForeachOp, TargetTurn};
use crate::{APP, Out, Target};
use wire::bugs::Bug;

impl Target {
    /// `spdk_bdev_unregister`: tells those who have it open; done when nobody has.
    ///
    /// # Errors
    ///
    /// `EBUSY`: it is going already.
    pub(crate) fn unregister_bdev(
        &mut self,
        cx: &Out<'_>,
        handle: BdevHandle,
        waiter: Option<Waiter>,
    ) -> Result<(), Errno> {
        let alone = self.dev.has(Bug::SplitIgnoresBaseRemoval);
        let bdev = self.bdevs.get_mut(handle).ok_or(Errno::NoDev)?;
        if bdev.going {
            return Err(Errno::Busy);
        }
        bdev.going = true;
        bdev.waiters.extend(waiter);
        let (luns, tops) = (bdev.luns.clone(), bdev.tops.clone());
        if std::mem::take(&mut bdev.blk) {
            // vhost-blk closes it without waiting for anybody, as far as this model goes.
            for ctl in self.ctl.iter_mut().flatten() {
                if let Some((of, _)) = &mut ctl.blk
                    && *of == Some(handle)
                {
                    *of = None;
                }
            }
        }
        for dev in luns {
            let bdev = handle.index;
            self.send_app(cx.now, AppMessage::BdevGoes { bdev, dev });
        }
        for top in tops.into_iter().filter(|_| !alone) {
            self.send_app(cx.now, AppMessage::BaseGoes { base: handle, top });
        }
        self.bdev_closed(handle);
        Ok(())
    }

    /// `bdev_event_cb` of a LUN: SPDK_BDEV_EVENT_REMOVE.
    pub(crate) fn bdev_goes(&mut self, cx: &mut Out<'_>, bdev: u16, dev: DevHandle) -> TargetTurn {
        let name = self
            .devs
            .get(dev)
            .and_then(|dev| dev.lun.as_ref())
            .and_then(|lun| self.bdevs.get(lun.bdev))
            .map(|bdev| bdev.name.clone());
        if let Some(name) = name {
            let text = format!("bdev name ({name}) received event(SPDK_BDEV_EVENT_REMOVE)");
            self.log(cx, text);
            self.lun_hot_remove(cx, dev);
        }
        TargetTurn::BdevEvent { bdev }
    }

    /// The base of a bdev goes: it goes too.
    pub(crate) fn base_goes(
        &mut self,
        cx: &mut Out<'_>,
        base: BdevHandle,
        top: BdevHandle,
    ) -> TargetTurn {
        // One that is going already is not asked twice.
        let _ = self.unregister_bdev(cx, top, None);
        TargetTurn::BdevEvent { bdev: base.index }
    }

    /// Somebody closed a bdev: one that is going, and that nobody has open, is gone.
    pub(crate) fn bdev_closed(&mut self, handle: BdevHandle) {
        let still = |bdev: &Bdev| !bdev.going || bdev.is_open();
        if self.bdevs.get(handle).is_none_or(still) {
            return;
        }
        let Some(gone) = self.bdevs.destroy(handle) else {
            return;
        };
        if let Some(under) = gone.kind.base()
            && let Some(base) = self.bdevs.get_mut(under)
        {
            base.tops.retain(|top| *top != handle);
            if base.tops.is_empty() {
                base.claimed = None;
                let (going, name) = (base.going, base.name.clone());
                if going {
                    // The part base goes with its base, and the configuration with it.
                    self.bdevs.splits.retain(|split| split.base != name);
                }
                self.bdev_closed(under);
            }
        }
        for waiter in gone.waiters {
            match waiter {
                Waiter::Call(call) => {
                    let bdev = handle.index;
                    self.send_app(self.now, AppMessage::BdevGone { bdev, call });
                }
                Waiter::NvmeDetach(name) => self.nvme_bdev_gone(&name),
            }
        }
        self.touched |= 1 << APP;
    }

    /// `spdk_bdev_notify_blockcnt_change`: a bdev has another size, and its LUNs are told.
    ///
    /// # Errors
    ///
    /// `EBUSY`: it would shrink, and is open.
    pub(crate) fn resize_bdev(
        &mut self,
        cx: &mut Out<'_>,
        handle: BdevHandle,
        blocks: u64,
    ) -> Result<(), Errno> {
        let bdev = self.bdevs.get_mut(handle).ok_or(Errno::NoDev)?;
        if bdev.num_blocks == blocks {
            return Ok(());
        }
        if blocks < bdev.num_blocks && bdev.is_open() {
            return Err(Errno::Busy);
        }
        bdev.num_blocks = blocks;
        let (luns, name) = (bdev.luns.clone(), bdev.name.clone());
        self.bdevs.notify("bdev_resize", &name);
        for dev in luns {
            self.send_app(cx.now, AppMessage::Resized(dev));
        }
        Ok(())
    }

    /// `bdev_event_cb` of a LUN: SPDK_BDEV_EVENT_RESIZE.
    pub(crate) fn resized(&mut self, cx: &mut Out<'_>, dev: DevHandle) -> TargetTurn {
        let Some(lun) = self.devs.lun(dev) else {
            return TargetTurn::Idle;
        };
        lun.resizing = true;
        let bdev = lun.bdev.index;
        let vdev = self.devs.get(dev).map_or(0, |dev| usize::from(dev.vdev));
        let slot = self.ctl[vdev].as_ref().and_then(|ctl| {
            let of = |slot: &crate::controller::Slot| {
                slot.dev == Some(dev) && slot.state == SlotState::Present
            };
            ctl.slots.iter().position(of)
        });
        if let Some(slot) = slot {
            self.foreach(cx.now, vdev, ForeachOp::Resize, slot);
        }
        TargetTurn::BdevEvent { bdev }
    }
}
