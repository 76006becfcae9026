//! RPC methods carried out, on the app thread: which method is whose, and what is answered later.
//!
//! Knows no JSON framing; that is `rpc`. Results and errors as in fact sheet §2, as corrected.

mod bdev;
mod framework;
mod nvme;
mod unregister;
mod vhost;

use std::time::Duration;

use scenarios::{CheckId, Time};
use serde_json::Value;

pub use framework::Logging;

use super::mail::HOP;
use super::rpc::{CallId, Method, RpcError};
use super::turn::{TargetTurn, fold};
use super::{Out, Target};

/// A reactor that reads no RPC for so long stands still: sixty times the poller's period.
const STALL_MAX: Duration = Duration::from_millis(250);

/// RPCs that are answered later, other than removals and bdev deletions.
#[derive(Clone, Debug)]
pub struct Deferred {
    /// `vhost_delete_controller` that found the controller busy (S19).
    pub deletes: Vec<(CallId, String)>,
    /// Controllers that are to be unregistered when they can be: place and number (S14 off).
    pub unregisters: Vec<(u8, u8)>,
    /// `bdev_nvme_detach_controller` that waits for the bdevs.
    pub nvme: Vec<(CallId, String)>,
    /// `bdev_get_bdevs` that waits for a bdev.
    pub bdevs: Vec<(CallId, String)>,
    /// When those that wait try again.
    pub retry_at: Time,
}

impl Default for Deferred {
    fn default() -> Self {
        Self {
            deletes: Vec::new(),
            unregisters: Vec::new(),
            nvme: Vec::new(),
            bdevs: Vec::new(),
            retry_at: Time::NEVER,
        }
    }
}

/// What a method gives at once; `None` if it is answered later.
type Answer = Option<Result<Value, RpcError>>;

fn done() -> Answer {
    Some(Ok(Value::Bool(true)))
}

/// What a method is to the trace: its name, and the place if it is about one.
struct Kind {
    name: &'static str,
    hotplug: bool,
    place: u64,
}

impl Target {
    /// A run of the RPC poller: answers leave, then requests are read and carried out.
    pub(super) fn rpc_poll(&mut self, cx: &mut Out<'_>) -> TargetTurn {
        self.rpc_at = Time::NEVER;
        self.rpc.flush(cx.out);
        let waited = cx.now.since(self.input_since);
        if !self.input.is_empty() && waited > STALL_MAX {
            let text = format!("an RPC lay unread for {} ms", waited.as_millis());
            cx.broken(CheckId::I13, text);
        }
        let mut input = std::mem::take(&mut self.input);
        for (client, bytes) in input.drain(..) {
            match bytes {
                Some(bytes) => self.rpc.input(client, &bytes),
                None => self.rpc.closed(client),
            }
        }
        self.input = input;
        let (mut requests, mut hotplug, mut what) = (0, 0, 0u64);
        while let Some((call, method)) = self.rpc.next_call() {
            requests += 1;
            let kind = kind(&method);
            if kind.hotplug {
                hotplug += 1;
                what = (what.rotate_left(7) ^ fold(kind.name)).wrapping_add(kind.place);
            }
            if let Some(result) = self.execute(cx, call, method) {
                self.rpc.answer(call, result);
            }
            if self.dead {
                break;
            }
        }
        TargetTurn::Rpc {
            requests,
            hotplug,
            what,
        }
    }

    fn execute(&mut self, cx: &mut Out<'_>, call: CallId, method: Method) -> Answer {
        match method {
            Method::VhostCreateScsiController { .. }
            | Method::VhostStartScsiController { .. }
            | Method::VhostScsiControllerAddTarget { .. }
            | Method::VhostScsiControllerRemoveTarget { .. }
            | Method::VhostDeleteController { .. }
            | Method::VhostGetControllers { .. }
            | Method::VhostControllerSetCoalescing { .. }
            | Method::VhostCreateBlkController { .. }
            | Method::ScsiGetDevices => self.vhost_method(cx, call, method),
            Method::BdevNvmeAttachController { .. }
            | Method::BdevNvmeDetachController { .. }
            | Method::BdevNvmeGetControllers { .. }
            | Method::BdevNvmeSetHotplug { .. } => self.nvme_method(cx, call, method),
            Method::BdevMallocCreate(_)
            | Method::BdevMallocDelete { .. }
            | Method::BdevNullCreate { .. }
            | Method::BdevNullDelete { .. }
            | Method::BdevNullResize { .. }
            | Method::BdevSplitCreate { .. }
            | Method::BdevSplitDelete { .. }
            | Method::BdevDelayCreate(_)
            | Method::BdevDelayDelete { .. }
            | Method::BdevDelayUpdateLatency { .. }
            | Method::BdevErrorCreate { .. }
            | Method::BdevErrorDelete { .. }
            | Method::BdevErrorInjectError { .. }
            | Method::BdevErrorResumePending { .. }
            | Method::BdevGetBdevs { .. }
            | Method::BdevWaitForExamine => self.bdev_method(cx, call, method),
            _ => Some(self.framework_method(cx, method)),
        }
    }

    /// Something changed that RPCs may wait for.
    pub(super) fn retry_soon(&mut self, now: Time) {
        if !self.deferred.deletes.is_empty() || !self.deferred.unregisters.is_empty() {
            self.deferred.retry_at = self.deferred.retry_at.min(now + HOP);
            self.touched |= 1 << super::APP;
        }
    }

    /// Those that wait try again.
    pub(super) fn retry(&mut self, cx: &mut Out<'_>) -> TargetTurn {
        self.deferred.retry_at = Time::NEVER;
        let unregisters = std::mem::take(&mut self.deferred.unregisters);
        let deletes = std::mem::take(&mut self.deferred.deletes);
        let calls = (unregisters.len() + deletes.len()) as u16;
        for (vdev, number) in unregisters {
            self.unregister_later(cx, vdev, number);
        }
        for (call, name) in deletes {
            if let Some(result) = self.delete_controller(cx, call, name) {
                self.rpc.answer(call, result);
            }
        }
        TargetTurn::Retry { calls }
    }
}

fn kind(method: &Method) -> Kind {
    let hot = |name, place| Kind {
        name,
        hotplug: true,
        place,
    };
    match method {
        Method::VhostScsiControllerAddTarget {
            ctrlr,
            scsi_target_num,
            ..
        } => hot("add", fold(ctrlr) ^ u64::from(*scsi_target_num as u32)),
        Method::VhostScsiControllerRemoveTarget {
            ctrlr,
            scsi_target_num,
        } => hot("remove", fold(ctrlr) ^ u64::from(*scsi_target_num)),
        Method::VhostDeleteController { ctrlr } => hot("delete", fold(ctrlr)),
        Method::BdevMallocDelete { name }
        | Method::BdevNullDelete { name }
        | Method::BdevDelayDelete { name }
        | Method::BdevErrorDelete { name } => hot("bdev", fold(name)),
        Method::BdevNullResize { name, .. } => hot("resize", fold(name)),
        Method::BdevSplitDelete { base_bdev } => hot("split", fold(base_bdev)),
        Method::BdevNvmeDetachController { name, .. } => hot("nvme", fold(name)),
        _ => Kind {
            name: "other",
            hotplug: false,
            place: 0,
        },
    }
}
