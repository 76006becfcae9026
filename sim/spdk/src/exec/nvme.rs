//! The NVMe methods.
//!
//! Source: module/bdev/nvme/bdev_nvme_rpc.c; fact sheet §1.6, §2.4.
//!
//! # Divergence from SPDK
//!
//! There are only the devices of the target's configuration, on PCIe, one path each. Options of
//! fabrics (reconnect, loss time-out, queues, multipath) are taken and have nothing to act on.

use std::time::Duration;

use serde_json::{Value, json};

use super::{Answer, done};
use crate::bdev::{Kind, Waiter};
use crate::mail::AppMessage;
use crate::rpc::{CallId, Errno, Method, NvmePath, NvmeTrid, RpcError};
use crate::turn::TargetTurn;
use crate::{Out, Target};

/// `NVME_DETACH_TIMEOUT`: a detach that takes longer is answered "Connection timed out".
const DETACH_TIMEOUT: Duration = Duration::from_secs(10);

impl Target {
    /// Carries out an NVMe method.
    pub(super) fn nvme_method(&mut self, cx: &mut Out<'_>, call: CallId, method: Method) -> Answer {
        match method {
            Method::BdevNvmeAttachController {
                name,
                trid,
                max_bdevs,
                ..
            } => Some(self.nvme_attach(&name, &trid, max_bdevs)),
            Method::BdevNvmeDetachController { name, path } => {
                self.nvme_detach(cx, call, name, &path)
            }
            Method::BdevNvmeGetControllers { name } => Some(self.nvme_controllers(name)),
            // Nothing appears by itself, so there is nothing to poll for.
            _ => done(),
        }
    }

    fn nvme_attach(&mut self, name: &str, trid: &NvmeTrid, max: u32) -> Result<Value, RpcError> {
        if max == 0 {
            return Err(RpcError::new(
                -Errno::Inval.number(),
                "max_bdevs cannot be zero",
            ));
        }
        if !trid.trtype.eq_ignore_ascii_case("pcie") {
            return Err(RpcError::errno(Errno::NoDev));
        }
        if self.bdevs.nvme_controllers.contains_key(name) {
            let text =
                format!("A controller named {name} already exists with the specified network path");
            return Err(RpcError::new(-Errno::Already.number(), text));
        }
        let made = self.bdevs.nvme_attach(name, &trid.traddr, max);
        let made = made.map_err(RpcError::errno)?;
        for bdev in &made {
            self.bdevs.examine(*bdev);
        }
        self.bdevs_appeared();
        let names = made
            .iter()
            .filter_map(|bdev| self.bdevs.get(*bdev))
            .map(|bdev| bdev.name.clone());
        Ok(names.collect())
    }

    fn nvme_controllers(&self, name: Option<String>) -> Result<Value, RpcError> {
        if let Some(name) = &name
            && !self.bdevs.nvme_controllers.contains_key(name)
        {
            let text = format!("Controller {name} does not exist");
            return Err(RpcError::new(-Errno::Inval.number(), text));
        }
        let shown = self.bdevs.nvme_controllers.iter();
        let shown = shown.filter(|(of, _)| name.as_ref().is_none_or(|name| name == *of));
        Ok(shown
            .map(|(name, traddr)| {
                let trid = json!({"trtype": "PCIe", "traddr": traddr});
                json!({"name": name, "ctrlrs": [{"state": "enabled", "trid": trid}]})
            })
            .collect())
    }

    fn nvme_detach(
        &mut self,
        cx: &mut Out<'_>,
        call: CallId,
        name: String,
        path: &NvmePath,
    ) -> Answer {
        let Some(traddr) = self.bdevs.nvme_controllers.get(&name) else {
            return Some(Err(RpcError::errno(Errno::NoDev)));
        };
        if path.traddr.as_ref().is_some_and(|of| of != traddr) {
            return Some(Err(RpcError::errno(Errno::NxIo)));
        }
        self.deferred.nvme.push((call, name.clone()));
        let bdevs: Vec<_> = self
            .bdevs
            .all()
            .filter(|(_, bdev)| {
                matches!(&bdev.kind, Kind::Nvme { controller, .. } if *controller == name)
            })
            .map(|(handle, _)| handle)
            .collect();
        for bdev in bdevs {
            let waiter = Waiter::NvmeDetach(name.clone());
            // All of them are there, and none is going.
            let _ = self.unregister_bdev(cx, bdev, Some(waiter));
        }
        self.nvme_bdev_gone(&name);
        if self
            .deferred
            .nvme
            .iter()
            .any(|(waiting, _)| *waiting == call)
        {
            self.app_later(cx.now + DETACH_TIMEOUT, AppMessage::NvmeTimeout { call });
        }
        None
    }

    /// A namespace's bdev is gone: with the last, so is the controller.
    pub(crate) fn nvme_bdev_gone(&mut self, name: &str) {
        if self.bdevs.nvme_bdevs(name) > 0 {
            return;
        }
        self.bdevs.nvme_controllers.remove(name);
        let waiting = std::mem::take(&mut self.deferred.nvme);
        for (call, of) in waiting {
            if of == name {
                self.timers.retain(|(_, timer)| {
                    !matches!(timer, AppMessage::NvmeTimeout { call: other } if *other == call)
                });
                self.rpc.answer(call, Ok(Value::Bool(true)));
            } else {
                self.deferred.nvme.push((call, of));
            }
        }
    }

    /// A detach took too long: the bdev stays half removed.
    pub(crate) fn nvme_timed_out(&mut self, call: CallId) -> TargetTurn {
        let waiting = self.deferred.nvme.len();
        self.deferred.nvme.retain(|(other, _)| *other != call);
        if self.deferred.nvme.len() < waiting {
            self.rpc.answer(call, Err(RpcError::errno(Errno::TimedOut)));
        }
        TargetTurn::Retry { calls: 1 }
    }
}
