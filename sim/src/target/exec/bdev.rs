//! The bdev methods, and how a bdev goes away under those who have it open.
//!
//! Sources: module/bdev/{malloc,split,error,delay}/*_rpc.c, `spdk_bdev_unregister` (lib/bdev/bdev.c),
//! `bdev_event_cb` (lib/scsi/lun.c); fact sheet §1.6, §2.4.

use serde_json::{Value, json};

use super::{Answer, INVALID_PARAMS, bdev_error, done};
use crate::deviation::Deviation;
use crate::target::bdev::io::{Injected, IoKind, Rule};
use crate::target::bdev::{
    Bdev, BdevHandle, EBUSY, EEXIST, EINVAL, ENODEV, ENOENT, Errno, Kind, SplitConfig, Waiter,
    uuid_text,
};
use crate::target::lun::DevHandle;
use crate::target::mail::AppMessage;
use crate::target::rpc::{CallId, Method, RpcError};
use crate::target::turn::TargetTurn;
use crate::target::{Out, Target};

/// The kinds of I/O that "all" means to an error bdev.
const ALL_KINDS: [IoKind; 4] = [IoKind::Read, IoKind::Write, IoKind::Flush, IoKind::Unmap];

impl Target {
    /// Carries out a bdev method.
    pub(super) fn bdev_method(&mut self, cx: &mut Out<'_>, call: CallId, method: Method) -> Answer {
        match method {
            Method::BdevMallocCreate {
                name,
                block_size,
                num_blocks,
                physical_block_size,
            } => {
                let made =
                    (self.bdevs).malloc(name, block_size, num_blocks, physical_block_size, None);
                Some(self.made(made))
            }
            Method::BdevMallocDelete { name } => {
                self.delete(cx, call, &name, |kind| matches!(kind, Kind::Malloc { .. }))
            }
            Method::BdevSplitCreate {
                base_bdev,
                split_count,
                split_size_mb,
            } => {
                let config = SplitConfig {
                    base: base_bdev,
                    count: split_count,
                    size_mb: split_size_mb,
                };
                Some(self.split_create(cx, config))
            }
            Method::BdevSplitDelete { base_bdev } => Some(self.split_delete(cx, &base_bdev)),
            Method::BdevErrorCreate { base_name } => {
                let name = format!("EE_{base_name}");
                let made = self
                    .bdevs
                    .find(&base_name)
                    .ok_or(ENODEV)
                    .and_then(|base| self.bdevs.put_on(base, name, Kind::Error { base }, None));
                Some(made.map(|_| Value::Bool(true)).map_err(bdev_error))
            }
            Method::BdevErrorDelete { name } => {
                self.delete(cx, call, &name, |kind| matches!(kind, Kind::Error { .. }))
            }
            Method::BdevErrorInjectError {
                name,
                io_type,
                error_type,
                num,
            } => Some(self.inject(&name, &io_type, &error_type, num)),
            Method::BdevErrorResumePending { name } => {
                let Some(bdev) = self.bdevs.find(&name) else {
                    return Some(Err(bdev_error(ENODEV)));
                };
                self.bdevs.resume(cx.now, bdev, cx.dice);
                self.touched |= 1 << crate::target::BDEV;
                done()
            }
            Method::BdevGetBdevs { name } => Some(self.get_bdevs(name.as_deref())),
            _ => None,
        }
    }

    /// The name of a bdev that was just made, once it was examined.
    fn made(&mut self, made: Result<BdevHandle, Errno>) -> Result<Value, RpcError> {
        let handle = made.map_err(bdev_error)?;
        self.bdevs.examine(handle);
        let name = self.bdevs.get(handle).map(|bdev| bdev.name.clone());
        Ok(Value::from(name.unwrap_or_default()))
    }

    /// Deletes a bdev of the right kind; answered when it is gone.
    fn delete(
        &mut self,
        cx: &mut Out<'_>,
        call: CallId,
        name: &str,
        right: fn(&Kind) -> bool,
    ) -> Answer {
        let found = self.bdevs.find(name);
        let right = |handle: &BdevHandle| {
            self.bdevs
                .get(*handle)
                .is_some_and(|bdev| right(&bdev.kind))
        };
        let Some(handle) = found.filter(right) else {
            return Some(Err(bdev_error(ENODEV)));
        };
        match self.unregister_bdev(cx, handle, Some(Waiter::Call(call))) {
            Ok(()) => None,
            Err(errno) => Some(Err(bdev_error(errno))),
        }
    }

    fn split_create(&mut self, cx: &mut Out<'_>, config: SplitConfig) -> Result<Value, RpcError> {
        let (count, base) = (config.count, config.base.clone());
        let failed = |errno: Errno| RpcError {
            code: INVALID_PARAMS,
            message: format!(
                "Failed to create {count} split bdevs from '{base}': {}",
                errno.text()
            ),
        };
        if count == 0 {
            return Err(failed(EINVAL));
        }
        if self
            .bdevs
            .splits
            .iter()
            .any(|split| split.base == config.base)
        {
            return Err(failed(EEXIST));
        }
        let Some(handle) = self.bdevs.find(&config.base) else {
            self.bdevs.splits.push(config);
            return Ok(json!([]));
        };
        let blocks = self.bdevs.get(handle).map_or(0, |bdev| bdev.num_blocks);
        if config.size_mb == 0 && u64::from(count) > blocks {
            if self.dev.has(Deviation::SplitDivByZero) {
                self.die(
                    cx,
                    "SIGFPE",
                    "vbdev_split_create: the parts have no blocks (S10)",
                );
            }
            return Err(failed(EINVAL));
        }
        match self.bdevs.make_split(handle, &config) {
            Ok(names) => {
                self.bdevs.splits.push(config);
                Ok(Value::from(names))
            }
            Err(EINVAL) if self.dev.has(Deviation::FailedSplitStays) => {
                self.bdevs.splits.push(config);
                Ok(json!([]))
            }
            Err(errno) => Err(failed(errno)),
        }
    }

    fn split_delete(&mut self, cx: &mut Out<'_>, base: &str) -> Result<Value, RpcError> {
        let place = self
            .bdevs
            .splits
            .iter()
            .position(|split| split.base == base);
        let Some(place) = place else {
            return Err(RpcError {
                code: INVALID_PARAMS,
                message: ENOENT.text().to_owned(),
            });
        };
        self.bdevs.splits.remove(place);
        if let Some(handle) = self.bdevs.find(base) {
            let parts = self.bdevs.get(handle).map(|bdev| bdev.tops.clone());
            for part in parts.unwrap_or_default() {
                // One that is going already is not asked twice.
                let _ = self.unregister_bdev(cx, part, None);
            }
        }
        Ok(Value::Bool(true))
    }

    fn inject(
        &mut self,
        name: &str,
        io_type: &str,
        error: &str,
        num: u32,
    ) -> Result<Value, RpcError> {
        let found = self.bdevs.find(name);
        let Some(bdev) = found else {
            return Err(bdev_error(ENODEV));
        };
        let kinds: &[IoKind] = match io_type {
            "read" => &[IoKind::Read],
            "write" => &[IoKind::Write],
            "flush" => &[IoKind::Flush],
            "unmap" => &[IoKind::Unmap],
            "all" | "clear" => &ALL_KINDS,
            _ => return Err(bdev_error(EINVAL)),
        };
        let what = match error {
            _ if io_type == "clear" => None,
            "failure" => Some(Injected::Failure),
            "pending" => Some(Injected::Pending),
            "nomem" => Some(Injected::NoMemory),
            _ => return Err(bdev_error(EINVAL)),
        };
        for kind in kinds {
            let rule = what.map(|what| Rule { what, times: num });
            self.bdevs.engine.inject(bdev, *kind, rule);
        }
        Ok(Value::Bool(true))
    }

    fn get_bdevs(&self, name: Option<&str>) -> Result<Value, RpcError> {
        if let Some(name) = name {
            let found = self.bdevs.find(name).and_then(|bdev| self.bdevs.get(bdev));
            let bdev = found.ok_or(bdev_error(ENODEV))?;
            return Ok(json!([describe(bdev)]));
        }
        Ok(self.bdevs.all().map(|(_, bdev)| describe(bdev)).collect())
    }

    /// `spdk_bdev_unregister`: tells those who have it open; done when nobody has.
    ///
    /// # Errors
    ///
    /// `EBUSY`: it is going already.
    pub(in crate::target) fn unregister_bdev(
        &mut self,
        cx: &mut Out<'_>,
        handle: BdevHandle,
        waiter: Option<Waiter>,
    ) -> Result<(), Errno> {
        let bdev = self.bdevs.get_mut(handle).ok_or(ENODEV)?;
        if bdev.going {
            return Err(EBUSY);
        }
        bdev.going = true;
        bdev.waiters.extend(waiter);
        let (luns, tops) = (bdev.luns.clone(), bdev.tops.clone());
        for dev in luns {
            let bdev = handle.index;
            self.send_app(cx.now, AppMessage::BdevGoes { bdev, dev });
        }
        for top in tops {
            self.send_app(cx.now, AppMessage::BaseGoes { base: handle, top });
        }
        self.bdev_closed(cx, handle);
        Ok(())
    }

    /// `bdev_event_cb` of a LUN: SPDK_BDEV_EVENT_REMOVE.
    pub(in crate::target) fn bdev_goes(
        &mut self,
        cx: &mut Out<'_>,
        bdev: u16,
        dev: DevHandle,
    ) -> TargetTurn {
        let name = self
            .devs
            .get(dev)
            .and_then(|dev| dev.lun.as_ref())
            .and_then(|lun| self.bdevs.get(lun.bdev))
            .map(|bdev| bdev.name.clone());
        if let Some(name) = name {
            self.log(
                cx,
                format!("bdev name ({name}) received event(SPDK_BDEV_EVENT_REMOVE)"),
            );
            self.lun_hot_remove(cx, dev);
        }
        TargetTurn::BdevEvent { bdev }
    }

    /// The base of a bdev goes: it goes too.
    pub(in crate::target) fn base_goes(
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
    pub(in crate::target) fn bdev_closed(&mut self, cx: &mut Out<'_>, handle: BdevHandle) {
        let still = |bdev: &Bdev| !bdev.going || !bdev.luns.is_empty() || !bdev.tops.is_empty();
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
                self.bdev_closed(cx, under);
            }
        }
        for waiter in gone.waiters {
            match waiter {
                Waiter::Call(call) => self.rpc.answer(call, Ok(Value::Bool(true))),
                Waiter::NvmeDetach(name) => self.nvme_bdev_gone(&name),
            }
        }
        self.touched |= 1 << crate::target::APP;
    }
}

fn describe(bdev: &Bdev) -> Value {
    json!({
        "name": bdev.name,
        "aliases": bdev.aliases,
        "product_name": bdev.product,
        "block_size": bdev.block_size,
        "num_blocks": bdev.num_blocks,
        "uuid": uuid_text(&bdev.uuid),
        "claimed": bdev.claimed.is_some(),
    })
}
