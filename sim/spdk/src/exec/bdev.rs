//! The bdev methods.
//!
//! Sources: module/bdev/{malloc,null,split,error,delay}/*_rpc.c; fact sheet §2.4.
//!
//! # Divergence from SPDK
//!
//! Bdevs have no metadata: `md_size` and the like are checked and otherwise ignored, as are
//! `optimal_io_boundary` and `numa_id`. `queue_depth` of an injected error is taken as 0.

use std::time::Duration;

use serde_json::{Value, json};

use super::{Answer, done};
use crate::bdev::io::{Injected, IoKind, Rule};
use crate::bdev::{Awaiting, Bdev, BdevHandle, Kind, NewBdev, SplitConfig, Waiter, uuid_text};
use crate::mail::AppMessage;
use crate::rpc::{
    CallId, Errno, ErrorKind, IoType, LatencyType, Method, RpcDelay, RpcError, RpcMalloc, code,
    render,
};
use crate::turn::TargetTurn;
use crate::{BDEV, Out, Target};
use wire::bugs::Bug;

/// The metadata sizes that a malloc or null bdev takes.
const METADATA_SIZES: [u32; 6] = [0, 8, 16, 32, 64, 128];
/// The kinds of I/O that an error bdev does something to; a reset always passes.
const ALL_KINDS: [IoKind; 4] = [IoKind::Read, IoKind::Write, IoKind::Flush, IoKind::Unmap];
const MIB: u64 = 1 << 20;

impl Target {
    /// Carries out a bdev method.
    pub(super) fn bdev_method(&mut self, cx: &mut Out<'_>, call: CallId, method: Method) -> Answer {
        Some(match method {
            Method::BdevMallocCreate(params) => self.malloc_create(*params),
            Method::BdevMallocDelete { name } => {
                return self.delete(cx, call, &name, |kind| matches!(kind, Kind::Malloc { .. }));
            }
            Method::BdevNullCreate { .. } => self.null_create(method),
            Method::BdevNullDelete { name } => {
                return self.delete(cx, call, &name, |kind| *kind == Kind::Null);
            }
            Method::BdevNullResize { name, new_size } => self.null_resize(cx, &name, new_size),
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
                self.split_create(cx, config)
            }
            Method::BdevSplitDelete { base_bdev } => self.split_delete(cx, &base_bdev),
            Method::BdevDelayCreate(params) => self.delay_create(*params),
            Method::BdevDelayDelete { name } => {
                return self.delete(cx, call, &name, |kind| matches!(kind, Kind::Delay { .. }));
            }
            Method::BdevDelayUpdateLatency {
                delay_bdev_name,
                latency_type,
                latency_us,
            } => self.delay_update(&delay_bdev_name, latency_type, latency_us),
            Method::BdevErrorCreate { base_name, uuid } => {
                let what = Awaiting {
                    name: format!("EE_{base_name}"),
                    base: base_name,
                    delay: None,
                    uuid,
                };
                self.put_on_base(what).map(|_| Value::Bool(true))
            }
            Method::BdevErrorDelete { name } => {
                return self.delete(cx, call, &name, |kind| matches!(kind, Kind::Error { .. }));
            }
            Method::BdevErrorInjectError { .. } => self.inject(method),
            Method::BdevErrorResumePending { name } => {
                let Some(bdev) = self.bdevs.error_bdev(&name) else {
                    return Some(Err(RpcError::errno(Errno::NoDev)));
                };
                self.bdevs.resume(cx.now, bdev, cx.rng);
                self.touched |= 1 << BDEV;
                return done();
            }
            Method::BdevGetBdevs { name, timeout } => {
                return self.get_bdevs(cx, call, name, timeout);
            }
            // Examining is done as soon as a bdev is made.
            _ => return done(),
        })
    }

    fn malloc_create(&mut self, params: RpcMalloc) -> Result<Value, RpcError> {
        let metadata = METADATA_SIZES.contains(&params.md_size);
        if !metadata || !(0..=3).contains(&params.dif_type) {
            return Err(RpcError::errno(Errno::Inval));
        }
        let made = self.bdevs.malloc(
            params.name,
            params.block_size,
            params.num_blocks,
            params.physical_block_size,
            params.uuid,
        );
        self.made(made)
    }

    fn null_create(&mut self, method: Method) -> Result<Value, RpcError> {
        let Method::BdevNullCreate {
            name,
            num_blocks,
            block_size,
            physical_block_size,
            uuid,
            md_size,
            dif_type,
        } = method
        else {
            return Err(RpcError::errno(Errno::Inval));
        };
        let wrong = block_size == 0
            || !block_size.is_multiple_of(512)
            || !physical_block_size.is_multiple_of(512)
            || num_blocks == 0
            || !METADATA_SIZES.contains(&md_size)
            || dif_type > 3;
        if wrong {
            return Err(RpcError::errno(Errno::Inval));
        }
        let made = self.bdevs.register(NewBdev {
            name,
            kind: Kind::Null,
            block_size,
            num_blocks,
            physical_block_size: if physical_block_size == 0 {
                block_size
            } else {
                physical_block_size
            },
            uuid,
        });
        self.made(made)
    }

    fn null_resize(&mut self, cx: &mut Out<'_>, name: &str, mib: u64) -> Result<Value, RpcError> {
        let found = self.bdevs.find(name);
        let null = found.and_then(|handle| self.bdevs.get(handle).map(|bdev| (handle, bdev)));
        let Some((handle, bdev)) = null.filter(|(_, bdev)| bdev.kind == Kind::Null) else {
            return Err(RpcError::errno(Errno::NoDev));
        };
        let blocks = mib
            .checked_mul(MIB)
            .map(|bytes| bytes / u64::from(bdev.block_size));
        let Some(blocks) = blocks.filter(|blocks| *blocks > 0) else {
            return Err(RpcError::errno(Errno::Inval));
        };
        self.resize_bdev(cx, handle, blocks)
            .map(|()| Value::Bool(true))
            .map_err(RpcError::errno)
    }

    /// The name of a bdev that was just made, once it was examined.
    pub(super) fn made(&mut self, made: Result<BdevHandle, Errno>) -> Result<Value, RpcError> {
        let handle = made.map_err(RpcError::errno)?;
        self.bdevs.examine(handle);
        self.bdevs_appeared();
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
            let bdev = self.bdevs.get(*handle);
            bdev.is_some_and(|bdev| right(&bdev.kind))
        };
        let Some(handle) = found.filter(right) else {
            return Some(Err(RpcError::errno(Errno::NoDev)));
        };
        match self.unregister_bdev(cx, handle, Some(Waiter::Call(call))) {
            Ok(()) => None,
            Err(errno) => Some(Err(RpcError::errno(errno))),
        }
    }

    fn split_create(&mut self, cx: &mut Out<'_>, config: SplitConfig) -> Result<Value, RpcError> {
        let (count, base) = (config.count, config.base.clone());
        let failed = |errno: Errno| {
            let text = format!(
                "Failed to create {count} split bdevs from '{base}': {}",
                errno.text()
            );
            RpcError::new(code::INVALID_PARAMS, text)
        };
        if count == 0 {
            return Err(failed(Errno::Inval));
        }
        if self
            .bdevs
            .splits
            .iter()
            .any(|split| split.base == config.base)
        {
            return Err(failed(Errno::Exist));
        }
        let Some(handle) = self.bdevs.find(&config.base) else {
            self.bdevs.splits.push(config);
            return Ok(json!([]));
        };
        let blocks = self.bdevs.get(handle).map_or(0, |bdev| bdev.num_blocks);
        if config.size_mb == 0 && u64::from(count) > blocks {
            if self.dev.has(Bug::SplitDivByZero) {
                self.die(
                    cx,
                    "SIGFPE",
                    "vbdev_split_create: the parts have no blocks (S10)",
                );
            }
            return Err(failed(Errno::Inval));
        }
        match self.bdevs.make_split(handle, &config) {
            Ok(names) => {
                self.bdevs.splits.push(config);
                self.bdevs_appeared();
                Ok(Value::from(names))
            }
            Err(Errno::Inval) if self.dev.has(Bug::FailedSplitStays) => {
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
            return Err(RpcError::vhost(Errno::NoEnt));
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

    /// Puts a bdev on its base, now or when that appears; says its name.
    fn put_on_base(&mut self, what: Awaiting) -> Result<Value, RpcError> {
        let waits = |other: &Awaiting| other.name == what.name;
        if self.bdevs.awaiting.iter().any(waits) {
            return Err(RpcError::errno(Errno::Exist));
        }
        let Some(base) = self.bdevs.find(&what.base) else {
            let name = what.name.clone();
            self.bdevs.awaiting.push(what);
            return Ok(Value::from(name));
        };
        let made = self.bdevs.put_on(base, &what);
        self.made(made)
    }

    fn delay_create(&mut self, params: RpcDelay) -> Result<Value, RpcError> {
        let usual_is_rarer = params.avg_read_latency > params.p99_read_latency
            || params.avg_write_latency > params.p99_write_latency;
        if usual_is_rarer {
            return Err(RpcError::errno(Errno::Inval));
        }
        self.put_on_base(Awaiting {
            base: params.base_bdev_name,
            name: params.name,
            delay: Some([
                params.avg_read_latency,
                params.p99_read_latency,
                params.avg_write_latency,
                params.p99_write_latency,
            ]),
            uuid: params.uuid,
        })
    }

    fn delay_update(
        &mut self,
        name: &str,
        which: Option<LatencyType>,
        latency: u64,
    ) -> Result<Value, RpcError> {
        let found = self
            .bdevs
            .find(name)
            .and_then(|bdev| self.bdevs.get_mut(bdev));
        let Some(Kind::Delay { us, .. }) = found.map(|bdev| &mut bdev.kind) else {
            return Err(RpcError::errno(Errno::NoDev));
        };
        let place = match which {
            Some(LatencyType::AvgRead) => 0,
            Some(LatencyType::P99Read) => 1,
            Some(LatencyType::AvgWrite) => 2,
            Some(LatencyType::P99Write) => 3,
            None => return Err(RpcError::errno(Errno::Inval)),
        };
        us[place] = latency;
        Ok(Value::Bool(true))
    }

    fn inject(&mut self, method: Method) -> Result<Value, RpcError> {
        let Method::BdevErrorInjectError {
            name,
            io_type,
            error_type,
            num,
            queue_depth: _,
            corrupt_offset,
            corrupt_value,
        } = method
        else {
            return Err(RpcError::errno(Errno::Inval));
        };
        let found = self.bdevs.error_bdev(&name);
        let Some(bdev) = found else {
            return Err(RpcError::errno(Errno::NoDev));
        };
        let kinds: &[IoKind] = match io_type {
            IoType::Read => &[IoKind::Read],
            IoType::Write | IoType::CompareAndWrite => &[IoKind::Write],
            IoType::Flush => &[IoKind::Flush],
            IoType::Unmap => &[IoKind::Unmap],
            IoType::All | IoType::Clear => &ALL_KINDS,
            // Kinds of I/O that vhost-scsi never issues.
            _ => &[],
        };
        let what = match error_type {
            ErrorKind::Failure => Injected::Failure,
            ErrorKind::Pending => Injected::Pending,
            ErrorKind::NoMem => Injected::NoMemory,
            ErrorKind::NvmeFailure => Injected::NvmeFailure,
            ErrorKind::CorruptData => Injected::Corrupt {
                offset: corrupt_offset,
                value: corrupt_value,
            },
        };
        for kind in kinds {
            let rule = (io_type != IoType::Clear).then_some(Rule { what, times: num });
            self.bdevs.engine.inject(bdev, *kind, rule);
        }
        Ok(Value::Bool(true))
    }

    fn get_bdevs(
        &mut self,
        cx: &mut Out<'_>,
        call: CallId,
        name: Option<String>,
        timeout: u64,
    ) -> Answer {
        let Some(name) = name else {
            let all = self.bdevs.all().map(|(_, bdev)| self.describe_bdev(bdev));
            return Some(Ok(all.collect()));
        };
        if let Some(found) = self.named_bdev(&name) {
            return Some(Ok(found));
        }
        if timeout == 0 {
            return Some(Err(RpcError::errno(Errno::NoDev)));
        }
        self.deferred.bdevs.push((call, name));
        let until = cx.now + Duration::from_millis(timeout);
        self.app_later(until, AppMessage::BdevTimeout { call });
        None
    }

    fn named_bdev(&self, name: &str) -> Option<Value> {
        let bdev = self
            .bdevs
            .find(name)
            .and_then(|bdev| self.bdevs.get(bdev))?;
        Some(json!([self.describe_bdev(bdev)]))
    }

    /// Bdevs were registered: those who wait for one are answered.
    pub(super) fn bdevs_appeared(&mut self) {
        let waiting = std::mem::take(&mut self.deferred.bdevs);
        for (call, name) in waiting {
            if let Some(found) = self.named_bdev(&name) {
                self.timers.retain(|(_, timer)| {
                    !matches!(timer, AppMessage::BdevTimeout { call: of } if *of == call)
                });
                self.rpc.answer(call, Ok(found));
            } else {
                self.deferred.bdevs.push((call, name));
            }
        }
    }

    /// A bdev did not appear in time.
    pub(crate) fn bdev_timed_out(&mut self, call: CallId) -> TargetTurn {
        let waiting = self.deferred.bdevs.len();
        self.deferred.bdevs.retain(|(of, _)| *of != call);
        if self.deferred.bdevs.len() < waiting {
            self.rpc.answer(call, Err(RpcError::errno(Errno::TimedOut)));
        }
        TargetTurn::Retry { calls: 1 }
    }

    fn describe_bdev(&self, bdev: &Bdev) -> Value {
        let base_name = |base| self.bdevs.get(base).map(|base| base.name.as_str());
        let specific = match &bdev.kind {
            Kind::Malloc { .. } | Kind::Null | Kind::Nvme { .. } => json!({}),
            Kind::Split { base, start } => {
                json!({"split": {"base_bdev": base_name(*base), "offset_blocks": start}})
            }
            Kind::Error { base } => json!({"error": {"base_bdev": base_name(*base)}}),
            Kind::Delay { base, us } => json!({"delay": {
                "name": bdev.name,
                "base_bdev_name": base_name(*base),
                "avg_read_latency": us[0],
                "p99_read_latency": us[1],
                "avg_write_latency": us[2],
                "p99_write_latency": us[3],
            }}),
        };
        let io_types = self.io_types(bdev);
        let shown = render::Bdev {
            name: &bdev.name,
            product_name: bdev.product,
            block_size: bdev.block_size,
            num_blocks: bdev.num_blocks,
            uuid: &uuid_text(&bdev.uuid),
            claimed: bdev.claimed.is_some(),
            io_types,
            driver_specific: specific,
        };
        shown.json()
    }

    /// What a bdev does beside reading and writing; a split does what its base does.
    fn io_types(&self, bdev: &Bdev) -> &'static [&'static str] {
        match bdev.kind {
            Kind::Malloc { .. } => &[
                "unmap",
                "flush",
                "reset",
                "write_zeroes",
                "zcopy",
                "compare",
                "abort",
                "copy",
            ],
            Kind::Null => &["reset", "write_zeroes", "abort"],
            Kind::Nvme { .. } => &[
                "unmap",
                "flush",
                "reset",
                "write_zeroes",
                "compare",
                "abort",
            ],
            Kind::Split { base, .. } => match self.bdevs.get(base) {
                Some(base) => self.io_types(base),
                None => &[],
            },
            Kind::Error { .. } => &["unmap", "flush", "reset"],
            Kind::Delay { .. } => &["unmap", "flush", "reset", "write_zeroes"],
        }
    }
}
