//! The vhost methods, and what there is to see of controllers.
//!
//! Sources: lib/vhost/vhost_rpc.c, `spdk_vhost_dev_remove` and `vhost_user_dev_unregister`
//! (lib/vhost/rte_vhost_user.c); fact sheet §1.8, §2.2, §2.3.

use std::time::Duration;

use scenarios::SlotState;
use serde_json::Value;

use super::{Answer, done};
use crate::controller::Controller;
use crate::mail::AppMessage;
use crate::rpc::{CallId, Errno, Method, RpcError, render};
use crate::turn::TargetTurn;
use crate::{APP, Out, Target};
use wire::bugs::Bug;

/// Below it, a coalescing threshold is no I/O in the 10 ms that it is looked at.
const IOPS_THRESHOLD_MIN: u32 = 100;
/// A coalescing delay must fit 32 bits of ticks, here of 2 GHz.
const DELAY_MAX: u32 = u32::MAX / 2_000;
/// `sizeof(sun_path)` less its terminator.
const SUN_PATH_MAX: usize = 107;
/// `PATH_MAX`.
const PATH_MAX: usize = 4096;

impl Target {
    /// Carries out a vhost method.
    pub(super) fn vhost_method(
        &mut self,
        cx: &mut Out<'_>,
        call: CallId,
        method: Method,
    ) -> Answer {
        match method {
            Method::VhostCreateScsiController {
                ctrlr,
                cpumask,
                delay,
            } => {
                let made = self.create_controller(ctrlr, cpumask.as_deref(), delay);
                Some(made.map(|_| Value::Bool(true)))
            }
            Method::VhostStartScsiController { ctrlr } => Some(self.start_controller(cx, &ctrlr)),
            Method::VhostScsiControllerAddTarget {
                ctrlr,
                scsi_target_num,
                bdev_name,
            } => {
                let Some(vdev) = self.controller(&ctrlr) else {
                    return Some(Err(RpcError::vhost(Errno::NoDev)));
                };
                let added = self.add_target(cx, vdev, scsi_target_num, &bdev_name);
                Some(added.map(Value::from).map_err(RpcError::vhost))
            }
            Method::VhostScsiControllerRemoveTarget {
                ctrlr,
                scsi_target_num,
            } => {
                let Some(vdev) = self.controller(&ctrlr) else {
                    return Some(Err(RpcError::vhost(Errno::NoDev)));
                };
                match self.remove_target(cx, vdev, scsi_target_num, Some(call)) {
                    Ok(()) => None,
                    Err(errno) => Some(Err(RpcError::vhost(errno))),
                }
            }
            Method::VhostDeleteController { ctrlr } => self.delete_controller(cx, call, ctrlr),
            Method::VhostGetControllers { name } => Some(self.get_controllers(name.as_deref())),
            Method::VhostControllerSetCoalescing {
                ctrlr,
                delay_base_us,
                iops_threshold,
            } => Some(self.set_coalescing(&ctrlr, delay_base_us, iops_threshold)),
            Method::VhostCreateBlkController {
                ctrlr,
                dev_name,
                cpumask,
                transport: _,
                readonly,
            } => Some(self.create_blk(ctrlr, &dev_name, cpumask.as_deref(), readonly)),
            Method::ScsiGetDevices => {
                let devices = self.devs.all();
                let shown = devices.map(|(id, dev)| render::scsi_device(id as u32, &dev.name));
                Some(Ok(shown.collect()))
            }
            _ => None,
        }
    }

    /// The place of the controller with this name.
    pub(super) fn controller(&self, name: &str) -> Option<usize> {
        let named =
            |ctl: &Option<Box<Controller>>| ctl.as_ref().is_some_and(|ctl| ctl.name == name);
        self.ctl.iter().position(named)
    }

    /// The cores of the app: one, or two.
    pub(super) fn core_mask(&self) -> u64 {
        if self.config.cores < 2 { 0x2 } else { 0x3 }
    }

    fn start_controller(&mut self, cx: &mut Out<'_>, name: &str) -> Result<Value, RpcError> {
        let vdev = self.controller(name).ok_or(RpcError::vhost(Errno::NoDev))?;
        let ctl = self.ctl[vdev].as_mut().expect("found by name");
        if ctl.blk.is_some() {
            if self.dev.has(Bug::StartOnBlk) {
                self.die(
                    cx,
                    "SIGSEGV",
                    "vhost_scsi_controller_start: svdev is NULL (S15)",
                );
            }
            return Err(RpcError::vhost(Errno::NoDev));
        }
        if !ctl.registered {
            (ctl.registered, ctl.accepts) = (true, true);
            self.bind_socket(name);
        }
        Ok(Value::Bool(true))
    }

    fn set_coalescing(&mut self, name: &str, delay: u32, iops: u32) -> Result<Value, RpcError> {
        let vdev = self.controller(name).ok_or(RpcError::vhost(Errno::NoDev))?;
        if iops < IOPS_THRESHOLD_MIN || delay > DELAY_MAX {
            return Err(RpcError::vhost(Errno::Inval));
        }
        let ctl = self.ctl[vdev].as_mut().expect("found by name");
        ctl.coalescing = (delay, iops);
        Ok(Value::Bool(true))
    }

    fn create_blk(
        &mut self,
        name: String,
        bdev_name: &str,
        cpumask: Option<&str>,
        readonly: bool,
    ) -> Result<Value, RpcError> {
        let bdev = self
            .bdevs
            .find(bdev_name)
            .ok_or(RpcError::vhost(Errno::NoDev))?;
        if self
            .bdevs
            .get(bdev)
            .is_some_and(|bdev| bdev.claimed.is_some())
        {
            return Err(RpcError::vhost(Errno::Perm));
        }
        let vdev = self.create_controller(name, cpumask, false)?;
        let ctl = self.ctl[vdev].as_mut().expect("just made");
        ctl.blk = Some((Some(bdev), readonly));
        if let Some(bdev) = self.bdevs.get_mut(bdev) {
            bdev.blk = true;
        }
        Ok(Value::Bool(true))
    }

    /// Makes a controller; says its place.
    fn create_controller(
        &mut self,
        name: String,
        cpumask: Option<&str>,
        delay: bool,
    ) -> Result<usize, RpcError> {
        let app = self.core_mask();
        let cpumask = match cpumask.map(parse_mask) {
            None => app,
            Some(Some(mask)) if mask & app != 0 && mask & !app == 0 => mask,
            Some(_) => return Err(RpcError::vhost(Errno::Inval)),
        };
        if self.controller(&name).is_some() {
            return Err(RpcError::vhost(Errno::Exist));
        }
        let path = self.config.socket_dir.len() + 1 + name.len();
        if path >= PATH_MAX || (path > SUN_PATH_MAX && !self.dev.has(Bug::NameTruncated)) {
            return Err(RpcError::vhost(Errno::Inval));
        }
        if name.is_empty() || name == "." || name == ".." || name.contains('/') {
            // Not a socket, or in no directory.
            return Err(RpcError::vhost(Errno::Io));
        }
        let free = self.ctl.iter().position(Option::is_none);
        let (Some(vdev), Some(number)) = (free, self.controllers_made.checked_add(1)) else {
            return Err(RpcError::vhost(Errno::NoMem));
        };
        self.controllers_made = number;
        if !delay {
            self.bind_socket(&name);
        }
        let mut made = Controller::new(number, name, cpumask);
        (made.registered, made.accepts) = (!delay, !delay);
        self.ctl[vdev] = Some(Box::new(made));
        Ok(vdev)
    }

    /// `rpc_vhost_delete_controller`: busy is tried again for ever (S19).
    pub(super) fn delete_controller(
        &mut self,
        cx: &mut Out<'_>,
        call: CallId,
        name: String,
    ) -> Answer {
        let Some(vdev) = self.controller(&name) else {
            return Some(Err(RpcError::vhost(Errno::NoDev)));
        };
        let ctl = self.ctl[vdev].as_mut().expect("found by name");
        if !ctl.sessions.is_empty() {
            let text = format!("Controller {name} has still valid connection.");
            self.log(cx, text);
            return self.delete_waits(call, name);
        }
        if ctl.locked {
            return self.delete_waits(call, name);
        }
        for slot in 0..ctl.slots.len() {
            let ctl = self.ctl[vdev].as_ref().expect("found by name");
            if ctl.slots[slot].dev.is_none() {
                continue;
            }
            if self.remove_target(cx, vdev, slot as u32, None).is_err() {
                self.log(cx, format!("{name}: failed to force-remove target {slot}"));
                self.deferred.deletes.push((call, name));
                return None;
            }
        }
        let lingers = self.dev.has(Bug::UnregisterDropped);
        let frees_early = self.dev.has(Bug::FreeBeforeRefsZero);
        let ctl = self.ctl[vdev].as_mut().expect("found by name");
        ctl.registered = false;
        ctl.deleted = true;
        if !lingers {
            ctl.accepts = false;
        }
        if ctl.refs == 0 || frees_early {
            // Not at once: a second delete in the same read finds the controller still.
            let number = ctl.number;
            let vdev = vdev as u8;
            self.send_app(cx.now, AppMessage::Unregister { vdev, number });
        }
        done()
    }

    /// DPDK binds the controller's socket; a path that does not fit is cut (N6).
    fn bind_socket(&mut self, name: &str) {
        self.sockets.push(self.socket_path(name));
    }

    /// Where a controller's socket is bound.
    pub(crate) fn socket_path(&self, name: &str) -> String {
        let mut path = format!("{}/{name}", self.config.socket_dir);
        path.truncate(path.floor_char_boundary(SUN_PATH_MAX));
        path
    }

    fn delete_waits(&mut self, call: CallId, name: String) -> Answer {
        if !self.dev.has(Bug::DeleteSpins) {
            return Some(Err(RpcError::vhost(Errno::Busy)));
        }
        self.deferred.deletes.push((call, name));
        None
    }

    /// The message of a controller whose last target is gone; refused is dropped (S14).
    pub(crate) fn unregister_later(
        &mut self,
        cx: &mut Out<'_>,
        vdev: u8,
        number: u8,
    ) -> TargetTurn {
        let place = usize::from(vdev);
        let there = self.ctl[place]
            .as_ref()
            .is_some_and(|ctl| ctl.number == number);
        let gone = there && self.unregister(cx, place);
        if there && !gone && !self.dev.has(Bug::UnregisterDropped) {
            self.deferred.unregisters.push((vdev, number));
        }
        TargetTurn::Unregister {
            controller: number,
            gone,
        }
    }

    /// `vhost_user_dev_unregister`; `false` while there are sessions or foreach operations.
    fn unregister(&mut self, cx: &mut Out<'_>, vdev: usize) -> bool {
        let Some(ctl) = self.ctl[vdev].as_ref() else {
            return true;
        };
        let used = ctl.pending_ops > 0 || !ctl.sessions.is_empty() || ctl.locked;
        if used && !self.dev.has(Bug::FreeBeforeRefsZero) {
            return false;
        }
        let path = format!("{}/{}", self.config.socket_dir, ctl.name);
        self.sockets.retain(|bound| *bound != path);
        if let Some((Some(bdev), _)) = ctl.blk
            && let Some(bdev) = self.bdevs.get_mut(bdev)
        {
            bdev.blk = false;
        }
        let gone = self.ctl[vdev].take();
        self.touch_vdev(vdev);
        // A thread that exits runs its pollers to their end (`thread_exit`): those of LUNs that go.
        for (at, dev) in gone.into_iter().flat_map(|ctl| ctl.lun_polls) {
            self.app_later(at, AppMessage::LunRemove(dev));
        }
        let last = self.ctl.iter().all(Option::is_none);
        if last && self.dev.has(Bug::DeleteStalls) {
            // DPDK joins its event thread, which sits in an epoll of one second.
            let stall = Duration::from_millis(u64::from(cx.rng.between(400, 1_000)));
            self.agenda.stall(cx.now + stall);
            self.touched |= 1 << APP;
        }
        true
    }

    fn get_controllers(&self, name: Option<&str>) -> Result<Value, RpcError> {
        if let Some(name) = name
            && self.controller(name).is_none()
        {
            return Err(RpcError::internal(Errno::NoDev));
        }
        let mut entries = Vec::new();
        self.each_controller(name, |controller| entries.push(controller.json()));
        Ok(Value::Array(entries))
    }

    /// Shows the controllers, by name, or the one with this name.
    pub(super) fn each_controller(
        &self,
        name: Option<&str>,
        mut show: impl FnMut(&render::Controller<'_>),
    ) {
        let mut found: Vec<&Controller> = self
            .ctl
            .iter()
            .flatten()
            .map(AsRef::as_ref)
            .filter(|ctl| name.is_none_or(|name| ctl.name == name))
            .collect();
        found.sort_by(|a, b| a.name.cmp(&b.name));
        for ctl in found {
            let names: Vec<String> = (ctl.sessions.iter())
                .map(|session| format!("{}s{}", ctl.name, session.vid))
                .collect();
            let sessions = ctl.sessions.iter().zip(&names);
            let sessions = sessions.filter(|(session, _)| !session.gone);
            show(&render::Controller {
                ctrlr: &ctl.name,
                cpumask: ctl.cpumask,
                delay_base_us: ctl.coalescing.0,
                iops_threshold: ctl.coalescing.1,
                socket: &format!("{}/{}", self.config.socket_dir, ctl.name),
                sessions: sessions
                    .map(|(session, name)| render::Session {
                        vid: session.vid,
                        id: session.id,
                        name,
                        started: session.started,
                        max_queues: session.max_queues,
                        inflight_task_cnt: session.task_cnt,
                    })
                    .collect(),
                backend: self.backend(ctl),
            });
        }
    }

    fn backend<'a>(&'a self, ctl: &Controller) -> render::Backend<'a> {
        let named = |bdev| self.bdevs.get(bdev).map(|bdev| bdev.name.as_str());
        if let Some((bdev, readonly)) = ctl.blk {
            let bdev = bdev.and_then(named);
            return render::Backend::Blk { bdev, readonly };
        }
        let present = ctl.slots.iter().enumerate().filter_map(|(slot, here)| {
            let handle = here.dev.filter(|_| here.state == SlotState::Present)?;
            let dev = self.devs.get(handle)?;
            let lun = dev.lun.as_ref().filter(|lun| !lun.removed);
            Some(render::Target {
                scsi_dev_num: slot as u8,
                id: handle.index.into(),
                target_name: &dev.name,
                bdev_name: lun.and_then(|lun| named(lun.bdev)),
            })
        });
        render::Backend::Scsi(present.collect())
    }
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
