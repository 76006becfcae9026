//! The NVMe methods.
//!
//! Source: module/bdev/nvme/bdev_nvme_rpc.c; fact sheet §1.6, §2.4.

use std::time::Duration;

use serde_json::Value;

use super::{Answer, bdev_error};
use crate::target::bdev::{ENODEV, ETIMEDOUT, Kind, Waiter};
use crate::target::mail::AppMessage;
use crate::target::rpc::{CallId, Method, RpcError};
use crate::target::turn::TargetTurn;
use crate::target::{Out, Target};

/// `NVME_DETACH_TIMEOUT`: a detach that takes longer is answered "Connection timed out".
const DETACH_TIMEOUT: Duration = Duration::from_secs(10);
/// `EALREADY`.
const EALREADY: i32 = 114;

impl Target {
    /// Carries out an NVMe method.
    pub(super) fn nvme_method(&mut self, cx: &mut Out<'_>, call: CallId, method: Method) -> Answer {
        match method {
            Method::BdevNvmeAttachController { name, traddr } => {
                Some(self.nvme_attach(&name, &traddr))
            }
            Method::BdevNvmeDetachController { name } => self.nvme_detach(cx, call, name),
            _ => None,
        }
    }

    fn nvme_attach(&mut self, name: &str, traddr: &str) -> Result<Value, RpcError> {
        if self.bdevs.nvme_controllers.contains_key(name) {
            return Err(RpcError {
                code: -EALREADY,
                message: format!(
                    "A controller named {name} already exists with the specified network path"
                ),
            });
        }
        let made = self.bdevs.nvme_attach(name, traddr).map_err(bdev_error)?;
        for bdev in &made {
            self.bdevs.examine(*bdev);
        }
        let names = made
            .iter()
            .filter_map(|bdev| self.bdevs.get(*bdev))
            .map(|bdev| bdev.name.clone());
        Ok(names.collect())
    }

    fn nvme_detach(&mut self, cx: &mut Out<'_>, call: CallId, name: String) -> Answer {
        if !self.bdevs.nvme_controllers.contains_key(&name) {
            return Some(Err(bdev_error(ENODEV)));
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
    pub(in crate::target) fn nvme_bdev_gone(&mut self, name: &str) {
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
    pub(in crate::target) fn nvme_timed_out(&mut self, call: CallId) -> TargetTurn {
        let waiting = self.deferred.nvme.len();
        self.deferred.nvme.retain(|(other, _)| *other != call);
        if self.deferred.nvme.len() < waiting {
            self.rpc.answer(call, Err(bdev_error(ETIMEDOUT)));
        }
        TargetTurn::Retry { calls: 1 }
    }
}
