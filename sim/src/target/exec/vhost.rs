//! The vhost methods, and what there is to see of controllers.
//!
//! Sources: lib/vhost/vhost_rpc.c, `spdk_vhost_dev_remove` and `vhost_user_dev_unregister`
//! (lib/vhost/rte_vhost_user.c); fact sheet §1.8, §2.2, §2.3.

use std::time::Duration;

use scenarios::SlotState;
use serde_json::{Value, json};

use super::{Answer, INTERNAL_ERROR, done, vhost_error};
use crate::deviation::Deviation;
use crate::target::bdev::{EBUSY, EEXIST, EINVAL, EIO, ENODEV, ENOMEM};
use crate::target::controller::Controller;
use crate::target::lun::Devices;
use crate::target::rpc::{CallId, Method, RpcError};
use crate::target::turn::TargetTurn;
use crate::target::{APP, Out, Target};

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
            } => Some(self.create_controller(ctrlr, cpumask.as_deref(), delay)),
            Method::VhostStartScsiController { ctrlr } => {
                let Some(vdev) = self.controller(&ctrlr) else {
                    return Some(Err(vhost_error(ENODEV)));
                };
                let ctl = self.ctl[vdev].as_mut().expect("found by name");
                (ctl.registered, ctl.accepts) = (true, true);
                done()
            }
            Method::VhostScsiControllerAddTarget {
                ctrlr,
                scsi_target_num,
                bdev_name,
            } => {
                let Some(vdev) = self.controller(&ctrlr) else {
                    return Some(Err(vhost_error(ENODEV)));
                };
                let added = self.add_target(cx, vdev, scsi_target_num, &bdev_name);
                Some(added.map(Value::from).map_err(vhost_error))
            }
            Method::VhostScsiControllerRemoveTarget {
                ctrlr,
                scsi_target_num,
            } => {
                let Some(vdev) = self.controller(&ctrlr) else {
                    return Some(Err(vhost_error(ENODEV)));
                };
                match self.remove_target(cx, vdev, scsi_target_num, Some(call)) {
                    Ok(()) => None,
                    Err(errno) => Some(Err(vhost_error(errno))),
                }
            }
            Method::VhostDeleteController { ctrlr } => self.delete_controller(cx, call, ctrlr),
            Method::VhostGetControllers { name } => Some(self.get_controllers(name.as_deref())),
            Method::ScsiGetDevices => {
                let devices = self
                    .devs
                    .all()
                    .map(|(id, dev)| json!({"id": id, "device_name": dev.name}));
                Some(Ok(devices.collect()))
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
    fn core_mask(&self) -> u64 {
        if self.config.cores < 2 { 0x2 } else { 0x3 }
    }

    fn create_controller(
        &mut self,
        name: String,
        cpumask: Option<&str>,
        delay: bool,
    ) -> Result<Value, RpcError> {
        let app = self.core_mask();
        let cpumask = match cpumask.map(parse_mask) {
            None => app,
            Some(Some(mask)) if mask & app != 0 && mask & !app == 0 => mask,
            Some(_) => return Err(vhost_error(EINVAL)),
        };
        if self.controller(&name).is_some() {
            return Err(vhost_error(EEXIST));
        }
        let path = self.config.socket_dir.len() + 1 + name.len();
        if path >= PATH_MAX || (path > SUN_PATH_MAX && !self.dev.has(Deviation::NameTruncated)) {
            return Err(vhost_error(EINVAL));
        }
        if name.is_empty() || name == "." || name == ".." || name.contains('/') {
            // Not a socket, or in no directory.
            return Err(vhost_error(EIO));
        }
        let free = self.ctl.iter().position(Option::is_none);
        let Some(vdev) = free else {
            return Err(vhost_error(ENOMEM));
        };
        let Some(number) = self.controllers_made.checked_add(1) else {
            return Err(vhost_error(ENOMEM));
        };
        self.controllers_made = number;
        let mut made = Controller::new(number, name, cpumask);
        (made.registered, made.accepts) = (!delay, !delay);
        self.ctl[vdev] = Some(Box::new(made));
        Ok(Value::Bool(true))
    }

    /// `rpc_vhost_delete_controller`: busy is tried again for ever (S19).
    pub(super) fn delete_controller(
        &mut self,
        cx: &mut Out<'_>,
        call: CallId,
        name: String,
    ) -> Answer {
        let Some(vdev) = self.controller(&name) else {
            return Some(Err(vhost_error(ENODEV)));
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
        let lingers = self.dev.has(Deviation::UnregisterDropped);
        let ctl = self.ctl[vdev].as_mut().expect("found by name");
        ctl.registered = false;
        ctl.deleted = true;
        if !lingers {
            ctl.accepts = false;
        }
        if ctl.refs == 0 && !self.unregister(cx, vdev) {
            // Only a foreach operation can be in the way, and it ends.
            return self.delete_waits(call, name);
        }
        done()
    }

    fn delete_waits(&mut self, call: CallId, name: String) -> Answer {
        if !self.dev.has(Deviation::DeleteSpins) {
            return Some(Err(vhost_error(EBUSY)));
        }
        self.deferred.deletes.push((call, name));
        None
    }

    /// The message of a controller whose last target is gone; refused is dropped (S14).
    pub(in crate::target) fn unregister_later(
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
        if there && !gone && !self.dev.has(Deviation::UnregisterDropped) {
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
        if ctl.pending_ops > 0 || !ctl.sessions.is_empty() || ctl.locked {
            return false;
        }
        self.ctl[vdev] = None;
        self.touch_vdev(vdev);
        let last = self.ctl.iter().all(Option::is_none);
        if last && self.dev.has(Deviation::DeleteStalls) {
            // DPDK joins its event thread, which sits in an epoll of one second.
            let stall = Duration::from_millis(u64::from(cx.dice.between(400, 1_000)));
            self.agenda.stall(cx.now + stall);
            self.touched |= 1 << APP;
        }
        true
    }

    fn get_controllers(&self, name: Option<&str>) -> Result<Value, RpcError> {
        if let Some(name) = name
            && self.controller(name).is_none()
        {
            return Err(RpcError {
                code: INTERNAL_ERROR,
                message: ENODEV.text().to_owned(),
            });
        }
        let mut found: Vec<&Controller> = self
            .ctl
            .iter()
            .flatten()
            .map(AsRef::as_ref)
            .filter(|ctl| name.is_none_or(|name| ctl.name == name))
            .collect();
        found.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(found.into_iter().map(|ctl| self.describe(ctl)).collect())
    }

    fn describe(&self, ctl: &Controller) -> Value {
        let sessions: Vec<Value> = ctl
            .sessions
            .iter()
            .filter(|session| !session.gone)
            .map(|session| {
                json!({
                    "vid": session.vid,
                    "id": session.id,
                    "name": format!("{}s{}", ctl.name, session.vid),
                    "started": session.started,
                    "max_queues": session.max_queues,
                    "inflight_task_cnt": session.task_cnt,
                })
            })
            .collect();
        json!({
            "ctrlr": ctl.name,
            "cpumask": format!("{:#x}", ctl.cpumask),
            "delay_base_us": ctl.coalescing.0,
            "iops_threshold": ctl.coalescing.1,
            "socket": format!("{}/{}", self.config.socket_dir, ctl.name),
            "sessions": sessions,
            "backend_specific": {"scsi": self.describe_targets(ctl, &self.devs)},
        })
    }

    fn describe_targets(&self, ctl: &Controller, devs: &Devices) -> Value {
        let present = ctl.slots.iter().enumerate().filter_map(|(slot, here)| {
            let handle = here.dev.filter(|_| here.state == SlotState::Present)?;
            let dev = devs.get(handle)?;
            let luns: Vec<Value> = dev
                .lun
                .iter()
                .filter(|lun| !lun.removed)
                .map(|lun| {
                    let name = self.bdevs.get(lun.bdev).map(|bdev| bdev.name.as_str());
                    json!({"id": 0, "bdev_name": name})
                })
                .collect();
            Some(json!({
                "scsi_dev_num": slot,
                "id": handle.index,
                "target_name": dev.name,
                "luns": luns,
            }))
        });
        present.collect()
    }
}

/// A core mask as SPDK parses it, as far as it is hexadecimal.
fn parse_mask(text: &str) -> Option<u64> {
    let digits = text.strip_prefix("0x").unwrap_or(text);
    u64::from_str_radix(digits, 16).ok()
}
