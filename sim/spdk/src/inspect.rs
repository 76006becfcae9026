//! What can be seen of a target from outside without changing it: what is left when all is quiet.

use super::Target;
use super::controller::{Controller, Slot};
use super::lun::Device;
use super::mail::{APP, BDEV, DPDK};
use wire::component::ActorId;

/// What runs an actor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Thread {
    /// The app thread: RPCs, bdevs.
    App,
    /// DPDK's thread of vhost-user messages.
    Messages,
    /// The devices under the bdevs.
    Devices,
    /// A controller's thread.
    Controller,
}

impl Target {
    /// Counters that should be zero when nothing can happen any more, as "what: count" (I14).
    #[must_use]
    pub fn left(&self) -> Vec<String> {
        let mut left = Vec::new();
        let mut note = |what: &str, count: usize| {
            if count > 0 {
                left.push(format!("{what}: {count}"));
            }
        };
        if self.dead {
            return left;
        }
        for ctl in self.ctl.iter().flatten() {
            note(
                &format!("{} foreach operations", ctl.name),
                ctl.pending_ops as usize,
            );
            note(
                &format!("{} things waiting for the lock", ctl.name),
                ctl.waiting.len(),
            );
            for session in &ctl.sessions {
                let name = format!("{}s{}", ctl.name, session.vid);
                note(&format!("{name} tasks"), session.task_cnt as usize);
                let removing = session
                    .slots
                    .iter()
                    .filter(|slot| slot.state == scenarios::SlotState::Removing);
                note(&format!("{name} slots REMOVING"), removing.count());
            }
            let unsettled = ctl.slots.iter().filter(|slot| {
                matches!(
                    slot.state,
                    scenarios::SlotState::Adding | scenarios::SlotState::Removing
                )
            });
            note(
                &format!("{} slots ADDING or REMOVING", ctl.name),
                unsettled.count(),
            );
            let hollow = format!("{} slots PRESENT without a LUN", ctl.name);
            note(&hollow, self.hollow(ctl));
        }
        for (id, device) in self.devs.all() {
            let holders = self.ctl.iter().flatten().flat_map(|ctl| &ctl.sessions);
            let slots = holders.flat_map(|session| &session.slots);
            let held = slots.filter(|slot| slot.device == device.number && slot.dev.is_some());
            let held = held.count() as u32;
            if let Some(lun) = &device.lun {
                let surplus = lun.references.abs_diff(held);
                note(
                    &format!("SCSI device {id} references not held"),
                    surplus as usize,
                );
                note(
                    &format!("SCSI device {id} outstanding"),
                    lun.outstanding as usize,
                );
                note(&format!("SCSI device {id} pending"), lun.pending.len());
            }
            let owned = self.is_owned(device);
            note(
                &format!("SCSI device {id} without a slot"),
                usize::from(!owned),
            );
        }
        note("sockets of no controller", self.stray_sockets());
        note("splits without parts", self.empty_splits());
        note("I/O in flight in bdevs", self.bdevs.engine.in_flight());
        note("deletes waiting", self.deferred.deletes.len());
        note("unregistrations waiting", self.deferred.unregisters.len());
        note("DPDK thread waiting", usize::from(self.dpdk.waits()));
        left
    }

    /// The thread that an actor is, or is part of.
    #[must_use]
    pub const fn thread(actor: ActorId) -> Thread {
        match actor.0 as usize {
            APP => Thread::App,
            DPDK => Thread::Messages,
            BDEV => Thread::Devices,
            _ => Thread::Controller,
        }
    }

    /// The sockets that are bound: each one's path, as far as it fits an address, and its controller.
    pub fn sockets(&self) -> impl Iterator<Item = (&str, &str)> {
        self.ctl.iter().flatten().filter_map(|ctl| {
            let path = self.socket_path(&ctl.name);
            let bound = self.sockets.iter().find(|bound| **bound == path)?;
            Some((bound.as_str(), ctl.name.as_str()))
        })
    }

    /// Sockets whose controller is gone, or has them under another path.
    fn stray_sockets(&self) -> usize {
        let dir = &self.config.socket_dir;
        let bound = self.ctl.iter().flatten().filter(|ctl| ctl.registered);
        let paths: Vec<String> = bound.map(|ctl| format!("{dir}/{}", ctl.name)).collect();
        let stray = self.sockets.iter().filter(|socket| !paths.contains(socket));
        stray.count()
    }

    /// Splits whose base is there, and which have no part.
    fn empty_splits(&self) -> usize {
        let empty = self.bdevs.splits.iter().filter(|split| {
            let base = self.bdevs.find(&split.base);
            let base = base.and_then(|base| self.bdevs.get(base));
            base.is_some_and(|base| base.tops.is_empty())
        });
        empty.count()
    }

    /// Whether some controller has the device in a slot.
    fn is_owned(&self, device: &Device) -> bool {
        let mut slots = self.ctl.iter().flatten().flat_map(|ctl| &ctl.slots);
        slots.any(|slot| slot.device == device.number && slot.dev.is_some())
    }

    /// PRESENT slots of a controller whose LUN was closed: their removal was lost.
    fn hollow(&self, ctl: &Controller) -> usize {
        let hollow = |slot: &&Slot| {
            let dev = slot.dev.and_then(|dev| self.devs.get(dev));
            slot.state == scenarios::SlotState::Present && dev.is_none_or(|dev| dev.lun.is_none())
        };
        ctl.slots.iter().filter(hollow).count()
    }

    /// Requests that a front-end can never learn the fate of (S7 off): no response could be found.
    #[must_use]
    pub const fn unanswerable(&self) -> u64 {
        self.unanswerable
    }

    /// Whether the modelled process has died.
    #[must_use]
    pub const fn is_dead(&self) -> bool {
        self.dead
    }

    /// vhost-user connections that are open.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.dpdk.connections()
    }
}
