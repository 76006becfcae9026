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

use super::answer::{Answer, DONE};
use super::{AppThread, bdev_goes};
use crate::bdev::io::{Injected, IoKind, Rule};
use crate::bdev::{
    Awaiting, Bdev, Bdevs, Kind, NewBdev, NewMalloc, SplitConfig, Waiter, uuid_text,
};
use crate::handles::{BDEV, BdevHandle};
use crate::mail::AppMessage;
use crate::rpc::{
    BdevDelayCreate, BdevDelayUpdateLatency, BdevErrorCreate, BdevErrorInjectError,
    BdevMallocCreate, BdevNullCreate, BdevSplitCreate, CallId, Errno, ErrorKind, IoType, RpcError,
    code, render,
};
use crate::turn::TargetTurn;
use wire::bugs::Bug;

/// The metadata sizes that a malloc or null bdev takes.
const METADATA_SIZES: [u32; 6] = [0, 8, 16, 32, 64, 128];
/// The kinds of I/O that an error bdev does something to; a reset always passes.
const ALL_KINDS: [IoKind; 4] = [IoKind::Read, IoKind::Write, IoKind::Flush, IoKind::Unmap];
const MIB: u64 = 1 << 20;

pub(super) fn malloc_create(
    app: &mut AppThread<'_>,
    params: BdevMallocCreate,
) -> Result<Value, RpcError> {
    let metadata = METADATA_SIZES.contains(&params.md_size);
    if !metadata || !(0..=3).contains(&params.dif_type) {
        return Err(RpcError::errno(Errno::Inval));
    }
    let made = app.shared.bdevs.malloc(NewMalloc {
        name: params.name,
        block_size: params.block_size,
        num_blocks: params.num_blocks,
        physical_block_size: params.physical_block_size,
        uuid: params.uuid,
    });
    self::made(app, made)
}

pub(super) fn null_create(
    app: &mut AppThread<'_>,
    params: BdevNullCreate,
) -> Result<Value, RpcError> {
    let BdevNullCreate {
        name,
        num_blocks,
        block_size,
        physical_block_size,
        uuid,
        md_size,
        dif_type,
        ..
    } = params;
    let wrong = block_size == 0
        || !block_size.is_multiple_of(512)
        || !physical_block_size.is_multiple_of(512)
        || num_blocks == 0
        || !METADATA_SIZES.contains(&md_size)
        || dif_type > 3;
    if wrong {
        return Err(RpcError::errno(Errno::Inval));
    }
    let made = app.shared.bdevs.register(NewBdev {
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
    self::made(app, made)
}

pub(super) fn null_resize(
    app: &mut AppThread<'_>,
    name: &str,
    mib: u64,
) -> Result<Value, RpcError> {
    let found = app.shared.bdevs.find(name);
    let null = found.and_then(|handle| app.shared.bdevs.get(handle).map(|bdev| (handle, bdev)));
    let Some((handle, bdev)) = null.filter(|(_, bdev)| bdev.kind == Kind::Null) else {
        return Err(RpcError::errno(Errno::NoDev));
    };
    let blocks = mib
        .checked_mul(MIB)
        .map(|bytes| bytes / u64::from(bdev.block_size));
    let Some(blocks) = blocks.filter(|blocks| *blocks > 0) else {
        return Err(RpcError::errno(Errno::Inval));
    };
    let resized = bdev_goes::resize(app, handle, blocks);
    resized.map_err(RpcError::errno).and(DONE)
}

/// The name of a bdev that was just made, once it was examined.
pub(super) fn made(
    app: &mut AppThread<'_>,
    made: Result<BdevHandle, Errno>,
) -> Result<Value, RpcError> {
    let handle = made.map_err(RpcError::errno)?;
    app.shared.bdevs.examine(handle);
    bdevs_appeared(app);
    let name = app.shared.bdevs.get(handle).map(|bdev| bdev.name.clone());
    Ok(Value::from(name.unwrap_or_default()))
}

/// Deletes a bdev of the right kind; answered when it is gone.
pub(super) fn delete(
    app: &mut AppThread<'_>,
    call: CallId,
    name: &str,
    right: fn(&Kind) -> bool,
) -> Answer {
    let found = app.shared.bdevs.find(name);
    let right = |handle: &BdevHandle| {
        let bdev = app.shared.bdevs.get(*handle);
        bdev.is_some_and(|bdev| right(&bdev.kind))
    };
    let Some(handle) = found.filter(right) else {
        return Some(Err(RpcError::errno(Errno::NoDev)));
    };
    match bdev_goes::unregister(app, handle, Some(Waiter::Call(call))) {
        Ok(()) => None,
        Err(errno) => Some(Err(RpcError::errno(errno))),
    }
}

pub(super) fn split_create(
    app: &mut AppThread<'_>,
    params: BdevSplitCreate,
) -> Result<Value, RpcError> {
    let config = SplitConfig {
        base: params.base_bdev,
        count: params.split_count,
        size_mb: params.split_size_mb,
    };
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
    let splits = &app.shared.bdevs.splits;
    if splits.iter().any(|split| split.base == config.base) {
        return Err(failed(Errno::Exist));
    }
    let Some(handle) = app.shared.bdevs.find(&config.base) else {
        app.shared.bdevs.splits.push(config);
        return Ok(json!([]));
    };
    let blocks = app
        .shared
        .bdevs
        .get(handle)
        .map_or(0, |bdev| bdev.num_blocks);
    if config.size_mb == 0 && u64::from(count) > blocks {
        if app.shared.bugs.has(Bug::SplitDivByZero) {
            app.die(
                "SIGFPE",
                "vbdev_split_create: the parts have no blocks (S10)",
            );
        }
        return Err(failed(Errno::Inval));
    }
    match app.shared.bdevs.make_split(handle, &config) {
        Ok(names) => {
            app.shared.bdevs.splits.push(config);
            bdevs_appeared(app);
            Ok(Value::from(names))
        }
        Err(Errno::Inval) if app.shared.bugs.has(Bug::FailedSplitStays) => {
            app.shared.bdevs.splits.push(config);
            Ok(json!([]))
        }
        Err(errno) => Err(failed(errno)),
    }
}

pub(super) fn split_delete(app: &mut AppThread<'_>, base: &str) -> Result<Value, RpcError> {
    let place = app
        .shared
        .bdevs
        .splits
        .iter()
        .position(|split| split.base == base);
    let Some(place) = place else {
        return Err(RpcError::vhost(Errno::NoEnt));
    };
    app.shared.bdevs.splits.remove(place);
    if let Some(handle) = app.shared.bdevs.find(base) {
        let parts = app.shared.bdevs.get(handle).map(|bdev| bdev.tops.clone());
        for part in parts.unwrap_or_default() {
            // One that is going already is not asked twice.
            let _ = bdev_goes::unregister(app, part, None);
        }
    }
    Ok(Value::Bool(true))
}

/// Puts a bdev on its base, now or when that appears; says its name.
fn put_on_base(app: &mut AppThread<'_>, what: Awaiting) -> Result<Value, RpcError> {
    let waits = |other: &Awaiting| other.name == what.name;
    if app.shared.bdevs.awaiting.iter().any(waits) {
        return Err(RpcError::errno(Errno::Exist));
    }
    let Some(base) = app.shared.bdevs.find(&what.base) else {
        let name = what.name.clone();
        app.shared.bdevs.awaiting.push(what);
        return Ok(Value::from(name));
    };
    let made = app.shared.bdevs.put_on(base, &what);
    self::made(app, made)
}

pub(super) fn delay_create(
    app: &mut AppThread<'_>,
    params: BdevDelayCreate,
) -> Result<Value, RpcError> {
    let usual_is_rarer = params.avg_read_latency > params.p99_read_latency
        || params.avg_write_latency > params.p99_write_latency;
    if usual_is_rarer {
        return Err(RpcError::errno(Errno::Inval));
    }
    put_on_base(
        app,
        Awaiting {
            base: params.base_bdev_name,
            name: params.name,
            delay: Some([
                params.avg_read_latency,
                params.p99_read_latency,
                params.avg_write_latency,
                params.p99_write_latency,
            ]),
            uuid: params.uuid,
        },
    )
}

pub(super) fn delay_update(
    app: &mut AppThread<'_>,
    params: &BdevDelayUpdateLatency,
) -> Result<Value, RpcError> {
    let bdevs = &mut app.shared.bdevs;
    let found = bdevs.find(&params.delay_bdev_name);
    let found = found.and_then(|bdev| bdevs.get_mut(bdev));
    let Some(Kind::Delay { us, .. }) = found.map(|bdev| &mut bdev.kind) else {
        return Err(RpcError::errno(Errno::NoDev));
    };
    let place = match params.latency_type.as_str() {
        "avg_read" => 0,
        "p99_read" => 1,
        "avg_write" => 2,
        "p99_write" => 3,
        _ => return Err(RpcError::errno(Errno::Inval)),
    };
    us[place] = params.latency_us;
    DONE
}

pub(super) fn error_create(
    app: &mut AppThread<'_>,
    params: BdevErrorCreate,
) -> Result<Value, RpcError> {
    let what = Awaiting {
        name: format!("EE_{}", params.base_name),
        base: params.base_name,
        delay: None,
        uuid: params.uuid,
    };
    put_on_base(app, what).and(DONE)
}

pub(super) fn inject(
    app: &mut AppThread<'_>,
    params: &BdevErrorInjectError,
) -> Result<Value, RpcError> {
    let BdevErrorInjectError {
        io_type,
        error_type,
        num,
        corrupt_offset,
        corrupt_value,
        ..
    } = *params;
    let Some(bdev) = app.shared.bdevs.error_bdev(&params.name) else {
        return Err(RpcError::errno(Errno::NoDev));
    };
    let kinds: &[IoKind] = match io_type {
        IoType::Read => &[IoKind::Read],
        IoType::Write | IoType::CompareAndWrite => &[IoKind::Write],
        IoType::Flush => &[IoKind::Flush],
        IoType::Unmap => &[IoKind::Unmap],
        IoType::All | IoType::Clear => &ALL_KINDS,
        // Kinds of I/O that vhost-scsi never issues.
        IoType::Reset
        | IoType::NvmeAdmin
        | IoType::NvmeIo
        | IoType::NvmeIoMd
        | IoType::WriteZeroes
        | IoType::Zcopy
        | IoType::GetZoneInfo
        | IoType::ZoneManagement
        | IoType::ZoneAppend
        | IoType::Compare
        | IoType::Abort
        | IoType::SeekHole
        | IoType::SeekData
        | IoType::Copy
        | IoType::NvmeIovMd => &[],
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
        app.shared.bdevs.engine.inject(bdev, *kind, rule);
    }
    Ok(Value::Bool(true))
}

/// Lets go what an error bdev holds.
pub(super) fn resume(app: &mut AppThread<'_>, name: &str) -> Result<Value, RpcError> {
    let Some(bdev) = app.shared.bdevs.error_bdev(name) else {
        return Err(RpcError::errno(Errno::NoDev));
    };
    let bdevs = &mut app.shared.bdevs;
    bdevs.resume(app.cx.now, bdev, app.cx.rng);
    app.shared.mail.touch(BDEV);
    DONE
}

pub(super) fn get(
    app: &mut AppThread<'_>,
    call: CallId,
    name: Option<String>,
    timeout: u64,
) -> Answer {
    let bdevs = &app.shared.bdevs;
    let Some(name) = name else {
        let all = bdevs.all().map(|(_, bdev)| describe(bdevs, bdev));
        return Some(Ok(all.collect()));
    };
    if let Some(found) = named(bdevs, &name) {
        return Some(Ok(found));
    }
    if timeout == 0 {
        return Some(Err(RpcError::errno(Errno::NoDev)));
    }
    app.own.deferred.bdevs.push((call, name));
    let until = app.cx.now + Duration::from_millis(timeout);
    let mail = &mut app.shared.mail;
    mail.app_later(until, AppMessage::BdevTimeout { call });
    None
}

fn named(bdevs: &Bdevs, name: &str) -> Option<Value> {
    let bdev = bdevs.get(bdevs.find(name)?)?;
    Some(json!([describe(bdevs, bdev)]))
}

/// Bdevs were registered: those who wait for one are answered.
pub(super) fn bdevs_appeared(app: &mut AppThread<'_>) {
    let waiting = std::mem::take(&mut app.own.deferred.bdevs);
    for (call, name) in waiting {
        if let Some(found) = named(&app.shared.bdevs, &name) {
            let mail = &mut app.shared.mail;
            mail.cancel(|it| matches!(it, AppMessage::BdevTimeout { call: of } if *of == call));
            app.own.rpc.answer(call, Ok(found));
        } else {
            app.own.deferred.bdevs.push((call, name));
        }
    }
}

/// A bdev did not appear in time.
pub(super) fn timed_out(app: &mut AppThread<'_>, call: CallId) -> TargetTurn {
    let waiting = &mut app.own.deferred.bdevs;
    if let Some(index) = waiting.iter().position(|(of, _)| *of == call) {
        waiting.remove(index);
        let error = RpcError::errno(Errno::TimedOut);
        app.own.rpc.answer(call, Err(error));
    }
    TargetTurn::Retry { calls: 1 }
}

fn describe(bdevs: &Bdevs, bdev: &Bdev) -> Value {
    let base_name = |base| bdevs.get(base).map(|base| base.name.as_str());
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
    let io_types = io_types(bdevs, bdev);
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
fn io_types(bdevs: &Bdevs, bdev: &Bdev) -> &'static [&'static str] {
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
        Kind::Split { base, .. } => match bdevs.get(base) {
            Some(base) => io_types(bdevs, base),
            None => &[],
        },
        Kind::Error { .. } => &["unmap", "flush", "reset"],
        Kind::Delay { .. } => &["unmap", "flush", "reset", "write_zeroes"],
    }
}
