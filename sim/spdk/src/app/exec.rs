//! The RPC poller: which method is whose, and what tries again.
//!
//! Knows no JSON framing; that is `rpc`. Results and errors as in fact sheet §2, as corrected.

use std::time::Duration;

use scenarios::{CheckId, said};
use serde_json::json;
use tracing::debug;

use super::answer::{Answer, DONE};
use super::bdev::{self as bdev, delete};
use super::{AppThread, controllers, framework, heed, nvme, targets};
use crate::bdev::Kind;
use crate::rpc::{CallId, Method, RpcError, code, render};
use crate::turn::{TargetTurn, fold};

/// A reactor that reads no RPC for so long stands still: sixty times the poller's period.
const STALL_MAX: Duration = Duration::from_millis(250);

/// A run of the RPC poller: answers leave, then requests are read and carried out.
pub(super) fn rpc_poll(app: &mut AppThread<'_>) -> TargetTurn {
    let own = &mut *app.own;
    own.rpc_at = scenarios::Time::NEVER;
    own.rpc.flush(app.cx.out);
    let waited = app.cx.now.since(own.input_since);
    if !own.input.is_empty() && waited > STALL_MAX {
        let text = format!("an RPC lay unread for {} ms", waited.as_millis());
        app.cx.broken(CheckId::I13, text);
    }
    for (client, bytes) in own.input.drain(..) {
        match bytes {
            Some(bytes) => own.rpc.input(client, &bytes),
            None => own.rpc.closed(client),
        }
    }
    let (mut requests, mut hotplug, mut what) = (0, 0, 0u64);
    while let Some((call, method)) = app.own.rpc.next_call() {
        requests += 1;
        if let Some((name, place)) = hotplug_of(&method) {
            hotplug += 1;
            what = (what.rotate_left(7) ^ fold(name)).wrapping_add(place);
        }
        said::at(app.cx.now, || debug!(target: "rpc", ?method, "carried out"));
        let result = execute(app, call, method);
        heed(app);
        if let Some(result) = result {
            app.own.rpc.answer(call, result);
        }
        if app.shared.is_dead {
            break;
        }
    }
    TargetTurn::Rpc {
        requests,
        hotplug,
        what,
    }
}

fn execute(app: &mut AppThread<'_>, call: CallId, method: Method) -> Answer {
    let is_malloc = |kind: &Kind| matches!(kind, Kind::Malloc { .. });
    let is_delay = |kind: &Kind| matches!(kind, Kind::Delay { .. });
    let is_error = |kind: &Kind| matches!(kind, Kind::Error { .. });
    Some(match method {
        Method::VhostCreateScsiController(p) => controllers::create_scsi(app, *p),
        Method::VhostStartScsiController(p) => controllers::start(app, &p.ctrlr),
        Method::VhostScsiControllerAddTarget(p) => targets::add(app, &p),
        Method::VhostScsiControllerRemoveTarget(p) => return targets::remove(app, call, &p),
        Method::VhostDeleteController(p) => return controllers::delete(app, call, p.ctrlr),
        Method::VhostGetControllers(p) => controllers::get(app, p.name.as_deref()),
        Method::VhostControllerSetCoalescing(p) => controllers::set_coalescing(app, &p),
        Method::VhostCreateBlkController(p) => controllers::create_blk(app, *p),
        Method::ScsiGetDevices(_) => {
            let devices = app.shared.devs.all();
            let shown = devices.map(|(id, dev)| render::scsi_device(id as u32, &dev.name));
            Ok(shown.collect())
        }
        Method::BdevMallocCreate(p) => bdev::malloc_create(app, *p),
        Method::BdevMallocDelete(p) => return delete(app, call, &p.name, is_malloc),
        Method::BdevNullCreate(p) => bdev::null_create(app, *p),
        Method::BdevNullDelete(p) => return delete(app, call, &p.name, |kind| *kind == Kind::Null),
        Method::BdevNullResize(p) => bdev::null_resize(app, &p.name, p.new_size),
        Method::BdevSplitCreate(p) => bdev::split_create(app, *p),
        Method::BdevSplitDelete(p) => bdev::split_delete(app, &p.base_bdev),
        Method::BdevDelayCreate(p) => bdev::delay_create(app, *p),
        Method::BdevDelayDelete(p) => return delete(app, call, &p.name, is_delay),
        Method::BdevDelayUpdateLatency(p) => bdev::delay_update(app, &p),
        Method::BdevErrorCreate(p) => bdev::error_create(app, *p),
        Method::BdevErrorDelete(p) => return delete(app, call, &p.name, is_error),
        Method::BdevErrorInjectError(p) => bdev::inject(app, &p),
        Method::BdevErrorResumePending(p) => bdev::resume(app, &p.name),
        Method::BdevGetBdevs(p) => return bdev::get(app, call, p.name, p.timeout),
        Method::BdevNvmeAttachController(p) => nvme::attach(app, &p),
        Method::BdevNvmeDetachController(p) => return nvme::detach(app, call, *p),
        Method::BdevNvmeGetControllers(p) => nvme::controllers(app, p.name),
        // Nothing appears by itself, and examining is done as soon as a bdev is made.
        Method::BdevNvmeSetHotplug(_) | Method::BdevWaitForExamine(_) => DONE,
        Method::SpdkGetVersion(_) => Ok(render::version()),
        Method::FrameworkWaitInit(_) => DONE,
        Method::FrameworkGetConfig(p) => framework::config(app, &p.name),
        Method::FrameworkGetSubsystems(_) => Ok(framework::subsystems()),
        Method::FrameworkGetReactors(_) => Ok(framework::reactors(app)),
        Method::ThreadGetStats(_)
        | Method::ThreadGetPollers(_)
        | Method::ThreadGetIoChannels(_) => Ok(framework::threads(app)),
        Method::NotifyGetTypes(_) => Ok(json!(["bdev_register", "bdev_unregister", "bdev_resize"])),
        Method::NotifyGetNotifications(p) => Ok(framework::notifications(app, p.id, p.max)),
        Method::LogSetFlag(p) => app.own.logging.set_flag(&p.flag),
        Method::LogClearFlag(p) => app.own.logging.clear_flag(&p.flag),
        Method::LogGetFlags(_) => Ok(app.own.logging.flags()),
        Method::LogSetLevel(p) => {
            app.own.logging.level = p.level;
            DONE
        }
        Method::LogSetPrintLevel(p) => {
            app.own.logging.print = p.level;
            DONE
        }
        Method::LogGetLevel(_) => Ok(framework::level_name(app.own.logging.level).into()),
        Method::LogGetPrintLevel(_) => Ok(framework::level_name(app.own.logging.print).into()),
        // Those that come before the framework is initialised never get here.
        Method::FrameworkStartInit(_) | Method::IobufSetOptions(_) => {
            Err(RpcError::new(code::METHOD_NOT_FOUND, "Method not found"))
        }
    })
}

/// Those that wait try again.
pub(super) fn retry(app: &mut AppThread<'_>) -> TargetTurn {
    app.shared.mail.rpcs_retry();
    let unregisters = std::mem::take(&mut app.own.deferred.unregisters);
    let deletes = std::mem::take(&mut app.own.deferred.deletes);
    let calls = (unregisters.len() + deletes.len()) as u16;
    for (vdev, number) in unregisters {
        controllers::unregister(app, vdev, number);
    }
    for (call, name) in deletes {
        if let Some(result) = controllers::delete(app, call, name) {
            app.own.rpc.answer(call, result);
        }
    }
    TargetTurn::Retry { calls }
}

/// What the order of hot-plug turns knows of a method: its name, and the place that it is about.
fn hotplug_of(method: &Method) -> Option<(&'static str, u64)> {
    Some(match method {
        Method::VhostScsiControllerAddTarget(p) => {
            let slot = u64::from(p.scsi_target_num as u32);
            ("add", fold(&p.ctrlr) ^ slot)
        }
        Method::VhostScsiControllerRemoveTarget(p) => {
            ("remove", fold(&p.ctrlr) ^ u64::from(p.scsi_target_num))
        }
        Method::VhostDeleteController(p) => ("delete", fold(&p.ctrlr)),
        Method::BdevMallocDelete(p) => ("bdev", fold(&p.name)),
        Method::BdevNullDelete(p) => ("bdev", fold(&p.name)),
        Method::BdevDelayDelete(p) => ("bdev", fold(&p.name)),
        Method::BdevErrorDelete(p) => ("bdev", fold(&p.name)),
        Method::BdevNullResize(p) => ("resize", fold(&p.name)),
        Method::BdevSplitDelete(p) => ("split", fold(&p.base_bdev)),
        Method::BdevNvmeDetachController(p) => ("nvme", fold(&p.name)),
        Method::VhostCreateScsiController(_)
        | Method::VhostStartScsiController(_)
        | Method::VhostGetControllers(_)
        | Method::VhostControllerSetCoalescing(_)
        | Method::VhostCreateBlkController(_)
        | Method::ScsiGetDevices(_)
        | Method::BdevMallocCreate(_)
        | Method::BdevNullCreate(_)
        | Method::BdevSplitCreate(_)
        | Method::BdevDelayCreate(_)
        | Method::BdevDelayUpdateLatency(_)
        | Method::BdevErrorCreate(_)
        | Method::BdevErrorInjectError(_)
        | Method::BdevErrorResumePending(_)
        | Method::BdevNvmeAttachController(_)
        | Method::BdevNvmeGetControllers(_)
        | Method::BdevNvmeSetHotplug(_)
        | Method::BdevGetBdevs(_)
        | Method::BdevWaitForExamine(_)
        | Method::FrameworkStartInit(_)
        | Method::FrameworkWaitInit(_)
        | Method::FrameworkGetConfig(_)
        | Method::FrameworkGetSubsystems(_)
        | Method::FrameworkGetReactors(_)
        | Method::IobufSetOptions(_)
        | Method::SpdkGetVersion(_)
        | Method::ThreadGetPollers(_)
        | Method::ThreadGetStats(_)
        | Method::ThreadGetIoChannels(_)
        | Method::NotifyGetTypes(_)
        | Method::NotifyGetNotifications(_)
        | Method::LogSetFlag(_)
        | Method::LogClearFlag(_)
        | Method::LogGetFlags(_)
        | Method::LogSetLevel(_)
        | Method::LogGetLevel(_)
        | Method::LogSetPrintLevel(_)
        | Method::LogGetPrintLevel(_) => return None,
    })
}
