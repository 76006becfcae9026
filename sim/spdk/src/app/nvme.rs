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

use super::answer::Answer;
use super::bdev::bdevs_appeared;
use super::{AppThread, bdev_goes};
use crate::bdev::{Kind, Waiter};
use crate::mail::AppMessage;
use crate::rpc::{BdevNvmeAttachController, BdevNvmeDetachController, CallId, Errno, RpcError};
use crate::turn::TargetTurn;

/// `NVME_DETACH_TIMEOUT`: a detach that takes longer is answered "Connection timed out".
const DETACH_TIMEOUT: Duration = Duration::from_secs(10);

pub(super) fn attach(
    app: &mut AppThread<'_>,
    params: &BdevNvmeAttachController,
) -> Result<Value, RpcError> {
    let (name, max) = (params.name.as_str(), params.max_bdevs);
    if max == 0 {
        return Err(RpcError::new(
            -Errno::Inval.number(),
            "max_bdevs cannot be zero",
        ));
    }
    if !params.trtype.eq_ignore_ascii_case("pcie") {
        return Err(RpcError::errno(Errno::NoDev));
    }
    if app.shared.bdevs.nvme_controllers.contains_key(name) {
        let text =
            format!("A controller named {name} already exists with the specified network path");
        return Err(RpcError::new(-Errno::Already.number(), text));
    }
    let made = app.shared.bdevs.nvme_attach(name, &params.traddr, max);
    let made = made.map_err(RpcError::errno)?;
    for bdev in &made {
        app.shared.bdevs.examine(*bdev);
    }
    bdevs_appeared(app);
    let names = made
        .iter()
        .filter_map(|bdev| app.shared.bdevs.get(*bdev))
        .map(|bdev| bdev.name.clone());
    Ok(names.collect())
}

pub(super) fn controllers(
    app: &mut AppThread<'_>,
    name: Option<String>,
) -> Result<Value, RpcError> {
    if let Some(name) = &name
        && !app.shared.bdevs.nvme_controllers.contains_key(name)
    {
        let text = format!("Controller {name} does not exist");
        return Err(RpcError::new(-Errno::Inval.number(), text));
    }
    let shown = app.shared.bdevs.nvme_controllers.iter();
    let shown = shown.filter(|(of, _)| name.as_ref().is_none_or(|name| name == *of));
    Ok(shown
        .map(|(name, traddr)| {
            let trid = json!({"trtype": "PCIe", "traddr": traddr});
            json!({"name": name, "ctrlrs": [{"state": "enabled", "trid": trid}]})
        })
        .collect())
}

pub(super) fn detach(
    app: &mut AppThread<'_>,
    call: CallId,
    params: BdevNvmeDetachController,
) -> Answer {
    let name = params.name;
    let Some(traddr) = app.shared.bdevs.nvme_controllers.get(&name) else {
        return Some(Err(RpcError::errno(Errno::NoDev)));
    };
    if params.traddr.as_ref().is_some_and(|of| of != traddr) {
        return Some(Err(RpcError::errno(Errno::NxIo)));
    }
    app.own.deferred.nvme.push((call, name.clone()));
    let bdevs: Vec<_> = app
        .shared
        .bdevs
        .all()
        .filter(
            |(_, bdev)| matches!(&bdev.kind, Kind::Nvme { controller, .. } if *controller == name),
        )
        .map(|(handle, _)| handle)
        .collect();
    for bdev in bdevs {
        let waiter = Waiter::NvmeDetach(name.clone());
        // All of them are there, and none is going.
        let _ = bdev_goes::unregister(app, bdev, Some(waiter));
    }
    bdev_gone(app, &name);
    if app
        .own
        .deferred
        .nvme
        .iter()
        .any(|(waiting, _)| *waiting == call)
    {
        let at = app.cx.now + DETACH_TIMEOUT;
        app.shared
            .mail
            .app_later(at, AppMessage::NvmeTimeout { call });
    }
    None
}

/// A namespace's bdev is gone: with the last, so is the controller.
pub(super) fn bdev_gone(app: &mut AppThread<'_>, name: &str) {
    if app.shared.bdevs.nvme_bdevs(name) > 0 {
        return;
    }
    app.shared.bdevs.nvme_controllers.remove(name);
    let waiting = std::mem::take(&mut app.own.deferred.nvme);
    for (call, of) in waiting {
        if of == name {
            let mail = &mut app.shared.mail;
            mail.cancel(|it| matches!(it, AppMessage::NvmeTimeout { call: of } if *of == call));
            app.own.rpc.answer(call, Ok(Value::Bool(true)));
        } else {
            app.own.deferred.nvme.push((call, of));
        }
    }
}

/// A detach took too long: the bdev stays half removed.
pub(super) fn timed_out(app: &mut AppThread<'_>, call: CallId) -> TargetTurn {
    let waiting = app.own.deferred.nvme.len();
    app.own.deferred.nvme.retain(|(other, _)| *other != call);
    if app.own.deferred.nvme.len() < waiting {
        app.own
            .rpc
            .answer(call, Err(RpcError::errno(Errno::TimedOut)));
    }
    TargetTurn::Retry { calls: 1 }
}
