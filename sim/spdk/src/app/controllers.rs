//! The vhost methods that make, start, tune and delete controllers.
//!
//! Sources: lib/vhost/vhost_rpc.c, `spdk_vhost_dev_remove` and `vhost_user_dev_unregister`
//! (lib/vhost/rte_vhost_user.c); fact sheet §1.8, §2.2, §2.3.

use std::time::Duration;

use serde_json::Value;

use super::answer::{Answer, DONE, no_such};
use super::{App, AppThread, Blk, Entry, show, targets};
use crate::handles::{SlotId, VdevId};
use crate::mail::AppMessage;
use crate::rpc::{
    CallId, Errno, RpcError, VhostControllerSetCoalescing, VhostCreateBlkController,
    VhostCreateScsiController,
};
use crate::turn::TargetTurn;
use crate::vdev::controller::{Controller, Vdevs};
use wire::bugs::Bug;
use wire::message::LogLevel;

/// Below it, a coalescing threshold is no I/O in the 10 ms that it is looked at.
const IOPS_THRESHOLD_MIN: u32 = 100;
/// A coalescing delay must fit 32 bits of ticks, here of 2 GHz.
const DELAY_MAX: u32 = u32::MAX / 2_000;
/// `sizeof(sun_path)` less its terminator.
const SUN_PATH_MAX: usize = 107;
/// `PATH_MAX`.
const PATH_MAX: usize = 4096;

impl App {
    /// The cores of the app: one, or two.
    pub(super) fn core_mask(&self) -> u64 {
        if self.config.cores < 2 { 0x2 } else { 0x3 }
    }

    /// Where SPDK says that a controller's socket is.
    pub(super) fn socket(&self, name: &str) -> String {
        format!("{}/{name}", self.config.socket_dir)
    }

    /// Where DPDK binds it: a path that does not fit is cut (N6).
    fn socket_path(&self, name: &str) -> String {
        let mut path = self.socket(name);
        path.truncate(path.floor_char_boundary(SUN_PATH_MAX));
        path
    }

    /// The sockets that are bound: each one's path, as far as it fits an address, and its controller.
    pub fn sockets<'a>(&'a self, vdevs: &'a Vdevs) -> impl Iterator<Item = (&'a str, &'a str)> {
        vdevs.iter().filter_map(|ctl| {
            let path = self.socket_path(&ctl.name);
            let bound = self.sockets.iter().find(|bound| **bound == path)?;
            Some((bound.as_str(), ctl.name.as_str()))
        })
    }
}

impl App {
    /// Sockets whose controller is gone, or has them under another path.
    pub fn stray_sockets(&self, vdevs: &Vdevs) -> usize {
        let registered = |ctl: &&Controller| {
            let entry = self.entries[ctl.vdev.index()].as_ref();
            entry.is_some_and(|entry| entry.registered)
        };
        let bound = vdevs.iter().filter(registered);
        let paths: Vec<String> = bound.map(|ctl| self.socket(&ctl.name)).collect();
        let stray = self.sockets.iter().filter(|socket| !paths.contains(socket));
        stray.count()
    }
}

pub(super) fn start(app: &mut AppThread<'_>, name: &str) -> Result<Value, RpcError> {
    let vdev = no_such(app.vdevs.find(name))?;
    let (entry, ctl) = app.controller(vdev).expect("found by name");
    if entry.blk.is_some() {
        if app.shared.bugs.has(Bug::StartOnBlk) {
            let place = "vhost_scsi_controller_start: svdev is NULL (S15)";
            app.die("SIGSEGV", place);
        }
        return Err(RpcError::vhost(Errno::NoDev));
    }
    if !entry.registered {
        (entry.registered, ctl.accepts) = (true, true);
        app.own.sockets.push(app.own.socket_path(name));
    }
    DONE
}

pub(super) fn set_coalescing(
    app: &mut AppThread<'_>,
    params: &VhostControllerSetCoalescing,
) -> Result<Value, RpcError> {
    let (delay, iops) = (params.delay_base_us, params.iops_threshold);
    let vdev = no_such(app.vdevs.find(&params.ctrlr))?;
    if iops < IOPS_THRESHOLD_MIN || delay > DELAY_MAX {
        return Err(RpcError::vhost(Errno::Inval));
    }
    let (entry, _) = app.controller(vdev).expect("found by name");
    entry.coalescing = (delay, iops);
    DONE
}

pub(super) fn create_scsi(
    app: &mut AppThread<'_>,
    params: VhostCreateScsiController,
) -> Result<Value, RpcError> {
    let vdev = create(app, params.ctrlr, params.cpumask.as_deref())?;
    if !params.delay {
        listen(app, vdev);
    }
    DONE
}

pub(super) fn create_blk(
    app: &mut AppThread<'_>,
    params: VhostCreateBlkController,
) -> Result<Value, RpcError> {
    let found = app.shared.bdevs.find(&params.dev_name);
    let handle = found.ok_or(RpcError::vhost(Errno::NoDev))?;
    let bdev = app.shared.bdevs.get(handle);
    if bdev.is_some_and(|bdev| bdev.claimed.is_some()) {
        return Err(RpcError::vhost(Errno::Perm));
    }
    let vdev = create(app, params.ctrlr, params.cpumask.as_deref())?;
    listen(app, vdev);
    let (entry, ctl) = app.controller(vdev).expect("just made");
    // The model has no vhost-blk sessions.
    ctl.accepts = false;
    entry.blk = Some(Blk {
        bdev: Some(handle),
        readonly: params.readonly,
    });
    if let Some(bdev) = app.shared.bdevs.get_mut(handle) {
        bdev.blk = true;
    }
    DONE
}

/// Makes a controller that does not listen yet; says its place.
fn create(
    app: &mut AppThread<'_>,
    name: String,
    cpumask: Option<&str>,
) -> Result<VdevId, RpcError> {
    let all = app.own.core_mask();
    let cpumask = match cpumask.map(parse_mask) {
        None => all,
        Some(Some(mask)) if mask & all != 0 && mask & !all == 0 => mask,
        Some(_) => return Err(RpcError::vhost(Errno::Inval)),
    };
    if app.vdevs.find(&name).is_some() {
        return Err(RpcError::vhost(Errno::Exist));
    }
    let path = app.own.socket(&name).len();
    if path >= PATH_MAX || (path > SUN_PATH_MAX && !app.shared.bugs.has(Bug::NameTruncated)) {
        return Err(RpcError::vhost(Errno::Inval));
    }
    if name.is_empty() || name == "." || name == ".." || name.contains('/') {
        // Not a socket, or in no directory.
        return Err(RpcError::vhost(Errno::Io));
    }
    let made = app.own.controllers_made.checked_add(1);
    let (Some(vdev), Some(number)) = (app.vdevs.free(), made) else {
        return Err(RpcError::vhost(Errno::NoMem));
    };
    app.own.controllers_made = number;
    app.own.entries[vdev.index()] = Some(Entry {
        cpumask,
        registered: false,
        deleted: false,
        blk: None,
        coalescing: (0, 60_000),
        refs: 0,
    });
    app.vdevs.put(Controller::new(vdev, number, name));
    Ok(vdev)
}

fn listen(app: &mut AppThread<'_>, vdev: VdevId) {
    let (entry, ctl) = app.controller(vdev).expect("just made");
    (entry.registered, ctl.accepts) = (true, true);
    let name = ctl.name.clone();
    app.own.sockets.push(app.own.socket_path(&name));
}

/// `rpc_vhost_delete_controller`: busy is tried again for ever (S19).
pub(super) fn delete(app: &mut AppThread<'_>, call: CallId, name: String) -> Answer {
    let Some(vdev) = app.vdevs.find(&name) else {
        return Some(Err(RpcError::vhost(Errno::NoDev)));
    };
    let bugs = app.shared.bugs;
    let (_, ctl) = app.controller(vdev).expect("found by name");
    let connected = !ctl.sessions.is_empty();
    if connected || ctl.locked {
        if connected {
            app.log(
                LogLevel::Error,
                format!("Controller {name} has still valid connection."),
            );
        }
        if !bugs.has(Bug::DeleteSpins) {
            return Some(Err(RpcError::vhost(Errno::Busy)));
        }
        delete_later(app, call, name);
        return None;
    }
    for slot in SlotId::all() {
        let (_, ctl) = app.controller(vdev).expect("found by name");
        if ctl.slots[slot.index()].dev.is_none() {
            continue;
        }
        if targets::begin_remove(app, vdev, slot, None).is_err() {
            let slot = slot.0;
            app.log(
                LogLevel::Error,
                format!("{name}: failed to force-remove target {slot}"),
            );
            delete_later(app, call, name);
            return None;
        }
    }
    let (entry, ctl) = app.controller(vdev).expect("found by name");
    entry.registered = false;
    entry.deleted = true;
    if bugs.has(Bug::UnregisterDropped) {
        // A new connection is taken still (S14).
    } else {
        ctl.accepts = false;
    }
    if entry.refs == 0 || bugs.has(Bug::FreeBeforeRefsZero) {
        // Not at once: a second delete in the same read finds the controller still.
        let number = ctl.number;
        let message = AppMessage::Unregister { vdev, number };
        app.shared.mail.send_app(app.cx.now, message);
    }
    Some(DONE)
}

fn delete_later(app: &mut AppThread<'_>, call: CallId, name: String) {
    app.own.deferred.deletes.push((call, name));
    app.note_retrying();
}

/// The message of a controller whose last target is gone; refused is dropped (S14).
pub(super) fn unregister(app: &mut AppThread<'_>, vdev: VdevId, number: u8) -> TargetTurn {
    let there = app.vdevs.get(vdev).filter(|ctl| ctl.number == number);
    let mut gone = false;
    if let Some(ctl) = there {
        let used = ctl.pending_ops > 0 || !ctl.sessions.is_empty() || ctl.locked;
        if !used || app.shared.bugs.has(Bug::FreeBeforeRefsZero) {
            free(app, vdev);
            gone = true;
        } else if !app.shared.bugs.has(Bug::UnregisterDropped) {
            app.own.deferred.unregisters.push((vdev, number));
            app.note_retrying();
        }
    }
    TargetTurn::Unregister {
        controller: number,
        gone,
    }
}

/// `vhost_user_dev_unregister`, once nothing holds the controller.
fn free(app: &mut AppThread<'_>, vdev: VdevId) {
    let entry = app.own.entries[vdev.index()].take();
    let Some(ctl) = app.vdevs.take(vdev) else {
        return;
    };
    let path = app.own.socket(&ctl.name);
    app.own.sockets.retain(|bound| *bound != path);
    let blk = entry.and_then(|entry| entry.blk);
    if let Some(bdev) = blk.and_then(|blk| blk.bdev)
        && let Some(bdev) = app.shared.bdevs.get_mut(bdev)
    {
        bdev.blk = false;
    }
    app.shared.mail.touch_vdev(vdev);
    // A thread that exits runs its pollers to their end (`thread_exit`): those of LUNs that go.
    for (at, dev) in ctl.lun_polls {
        let mail = &mut app.shared.mail;
        mail.app_later(at, AppMessage::LunRemove(dev));
    }
    let last = app.vdevs.iter().next().is_none();
    if last && app.shared.bugs.has(Bug::DeleteStalls) {
        // DPDK joins its event thread, which sits in an epoll of one second.
        let stall = Duration::from_millis(u64::from(app.cx.rng.between(400, 1_000)));
        app.shared.mail.stall(app.cx.now + stall);
    }
}

pub(super) fn get(app: &mut AppThread<'_>, name: Option<&str>) -> Result<Value, RpcError> {
    if let Some(name) = name
        && app.vdevs.find(name).is_none()
    {
        return Err(RpcError::internal(Errno::NoDev));
    }
    let mut entries = Vec::new();
    show::each_controller(app, name, |controller| entries.push(controller.json()));
    Ok(Value::Array(entries))
}

/// A core mask as SPDK parses it: hexadecimal, or a list of cores in brackets.
fn parse_mask(text: &str) -> Option<u64> {
    if let Some(list) = text
        .strip_prefix('[')
        .and_then(|text| text.strip_suffix(']'))
    {
        return list.split(',').try_fold(0, |mask, part| {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let (first, last): (u32, u32) = (first.parse().ok()?, last.parse().ok()?);
            let fits = first <= last && last < u64::BITS;
            fits.then(|| (first..=last).fold(mask, |mask, core| mask | 1 << core))
        });
    }
    let digits = text.strip_prefix("0x").unwrap_or(text);
    u64::from_str_radix(digits, 16).ok()
}
