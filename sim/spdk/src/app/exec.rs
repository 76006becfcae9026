//! The RPC poller: which method is whose, and what tries again.
//!
//! Knows no JSON framing; that is `rpc`. Results and errors as in fact sheet §2, as corrected.

use std::time::Duration;

use scenarios::CheckId;
use serde_json::{Value, json};

use super::bdev::{self as bdev, delete};
use super::{AppThread, controllers, framework, heed, nvme, targets};
use crate::bdev::{Awaiting, Kind, SplitConfig};
use crate::rpc::{CallId, Method, RpcError, code, render};
use crate::turn::{TargetTurn, fold};

/// A reactor that reads no RPC for so long stands still: sixty times the poller's period.
const STALL_MAX: Duration = Duration::from_millis(250);

/// What a method gives at once; `None` if it is answered later.
pub(super) type Answer = Option<Result<Value, RpcError>>;

/// What most methods give that went well.
pub(super) const DONE: Result<Value, RpcError> = Ok(Value::Bool(true));

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

#[expect(clippy::too_many_lines, reason = "one arm a method")]
fn execute(app: &mut AppThread<'_>, call: CallId, method: Method) -> Answer {
    Some(match method {
        Method::VhostCreateScsiController {
            ctrlr,
            cpumask,
            delay,
        } => controllers::create_scsi(app, ctrlr, cpumask.as_deref(), delay),
        Method::VhostStartScsiController { ctrlr } => controllers::start(app, &ctrlr),
        Method::VhostScsiControllerAddTarget {
            ctrlr,
            scsi_target_num,
            bdev_name,
        } => targets::add(app, &ctrlr, scsi_target_num, &bdev_name),
        Method::VhostScsiControllerRemoveTarget {
            ctrlr,
            scsi_target_num,
        } => return targets::remove(app, &ctrlr, scsi_target_num, call),
        Method::VhostDeleteController { ctrlr } => return controllers::delete(app, call, ctrlr),
        Method::VhostGetControllers { name } => controllers::get(app, name.as_deref()),
        Method::VhostControllerSetCoalescing {
            ctrlr,
            delay_base_us,
            iops_threshold,
        } => controllers::set_coalescing(app, &ctrlr, delay_base_us, iops_threshold),
        Method::VhostCreateBlkController {
            ctrlr,
            dev_name,
            cpumask,
            transport: _,
            readonly,
        } => controllers::create_blk(app, ctrlr, &dev_name, cpumask.as_deref(), readonly),
        Method::ScsiGetDevices => {
            let devices = app.shared.devs.all();
            let shown = devices.map(|(id, dev)| render::scsi_device(id as u32, &dev.name));
            Ok(shown.collect())
        }
        Method::BdevMallocCreate(params) => bdev::malloc_create(app, *params),
        Method::BdevMallocDelete { name } => {
            return delete(app, call, &name, |kind| matches!(kind, Kind::Malloc { .. }));
        }
        Method::BdevNullCreate(params) => bdev::null_create(app, *params),
        Method::BdevNullDelete { name } => {
            return delete(app, call, &name, |kind| *kind == Kind::Null);
        }
        Method::BdevNullResize { name, new_size } => bdev::null_resize(app, &name, new_size),
        Method::BdevSplitCreate {
            base_bdev: base,
            split_count: count,
            split_size_mb: size_mb,
        } => {
            let config = SplitConfig {
                base,
                count,
                size_mb,
            };
            bdev::split_create(app, config)
        }
        Method::BdevSplitDelete { base_bdev } => bdev::split_delete(app, &base_bdev),
        Method::BdevDelayCreate(params) => bdev::delay_create(app, *params),
        Method::BdevDelayDelete { name } => {
            return delete(app, call, &name, |kind| matches!(kind, Kind::Delay { .. }));
        }
        Method::BdevDelayUpdateLatency {
            delay_bdev_name,
            latency_type,
            latency_us,
        } => bdev::delay_update(app, &delay_bdev_name, latency_type, latency_us),
        Method::BdevErrorCreate { base_name, uuid } => {
            let what = Awaiting {
                name: format!("EE_{base_name}"),
                base: base_name,
                delay: None,
                uuid,
            };
            bdev::put_on_base(app, what).and(DONE)
        }
        Method::BdevErrorDelete { name } => {
            return delete(app, call, &name, |kind| matches!(kind, Kind::Error { .. }));
        }
        Method::BdevErrorInjectError(params) => bdev::inject(app, &params),
        Method::BdevErrorResumePending { name } => bdev::resume(app, &name),
        Method::BdevGetBdevs { name, timeout } => return bdev::get(app, call, name, timeout),
        Method::BdevNvmeAttachController {
            name,
            trid,
            max_bdevs,
            ..
        } => nvme::attach(app, &name, &trid, max_bdevs),
        Method::BdevNvmeDetachController { name, path } => {
            return nvme::detach(app, call, name, &path);
        }
        Method::BdevNvmeGetControllers { name } => nvme::controllers(app, name),
        // Nothing appears by itself, and examining is done as soon as a bdev is made.
        Method::BdevNvmeSetHotplug { .. } | Method::BdevWaitForExamine => DONE,
        Method::SpdkGetVersion => Ok(render::version()),
        Method::FrameworkWaitInit => DONE,
        Method::FrameworkGetConfig { name } => framework::config(app, &name),
        Method::FrameworkGetSubsystems => Ok(framework::subsystems()),
        Method::FrameworkGetReactors => Ok(framework::reactors(app)),
        Method::ThreadGetStats | Method::ThreadGetPollers | Method::ThreadGetIoChannels => {
            Ok(framework::threads(app))
        }
        Method::NotifyGetTypes => Ok(json!(["bdev_register", "bdev_unregister", "bdev_resize"])),
        Method::NotifyGetNotifications { id, max } => Ok(framework::notifications(app, id, max)),
        Method::LogSetFlag { flag } => app.own.logging.set_flag(&flag),
        Method::LogClearFlag { flag } => app.own.logging.clear_flag(&flag),
        Method::LogGetFlags => Ok(app.own.logging.flags()),
        Method::LogSetLevel { level } => {
            app.own.logging.level = level;
            DONE
        }
        Method::LogSetPrintLevel { level } => {
            app.own.logging.print = level;
            DONE
        }
        Method::LogGetLevel => Ok(framework::level_name(app.own.logging.level).into()),
        Method::LogGetPrintLevel => Ok(framework::level_name(app.own.logging.print).into()),
        // Those that come before the framework is initialised never get here.
        Method::FrameworkStartInit | Method::IobufSetOptions { .. } => {
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
    match method {
        Method::VhostScsiControllerAddTarget {
            ctrlr,
            scsi_target_num,
            ..
        } => Some(("add", fold(ctrlr) ^ u64::from(*scsi_target_num as u32))),
        Method::VhostScsiControllerRemoveTarget {
            ctrlr,
            scsi_target_num,
        } => Some(("remove", fold(ctrlr) ^ u64::from(*scsi_target_num))),
        Method::VhostDeleteController { ctrlr } => Some(("delete", fold(ctrlr))),
        Method::BdevMallocDelete { name }
        | Method::BdevNullDelete { name }
        | Method::BdevDelayDelete { name }
        | Method::BdevErrorDelete { name } => Some(("bdev", fold(name))),
        Method::BdevNullResize { name, .. } => Some(("resize", fold(name))),
        Method::BdevSplitDelete { base_bdev } => Some(("split", fold(base_bdev))),
        Method::BdevNvmeDetachController { name, .. } => Some(("nvme", fold(name))),
        _ => None,
    }
}
