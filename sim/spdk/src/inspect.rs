//! What can be seen of a target from outside without changing it: what is left when all is quiet.

use crate::handles::{APP, BDEV, DPDK};
use scenarios::{Evidence, SlotState};

use super::{Target, TargetMark};
use crate::devices::Device;
use crate::invariants::INVARIANTS;
use crate::shared::Out;
use crate::vdev::controller::{Controller, Slot};
use wire::component::{ActorId, Memory};
use wire::inside::Inside;
use wire::invariant::Invariant;

/// What runs an actor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Thread {
    /// The app thread: RPCs, bdevs.
    App,
    /// DPDK's thread of vhost-user messages.
    Messages,
    /// The devices under the bdevs.
    Devices,
    Controller,
}

impl Target {
    /// Counters that should be zero when nothing can happen any more, as "what: count" (I14).
    #[must_use]
    pub fn left(&self) -> Vec<String> {
        let mut left = Vec::new();
        let mut note = |what: String, count: usize| {
            if count > 0 {
                left.push(format!("{what}: {count}"));
            }
        };
        if self.is_dead() {
            return left;
        }
        for ctl in self.vdevs.iter() {
            let name = &ctl.name;
            note(
                format!("{name} foreach operations"),
                ctl.pending_ops as usize,
            );
            let waiting = ctl.waiting.len();
            note(format!("{name} things waiting for the lock"), waiting);
            for (index, session) in ctl.sessions.iter().enumerate() {
                let name = ctl.session_name(index);
                note(format!("{name} tasks"), session.task_cnt as usize);
                let removing = session.slots.iter();
                let removing = removing.filter(|slot| slot.state == SlotState::Removing);
                note(format!("{name} slots REMOVING"), removing.count());
            }
            let moves =
                |slot: &&Slot| matches!(slot.state, SlotState::Adding | SlotState::Removing);
            let unsettled = ctl.slots.iter().filter(moves);
            note(
                format!("{name} slots ADDING or REMOVING"),
                unsettled.count(),
            );
            let hollow = format!("{name} slots PRESENT without a LUN");
            note(hollow, self.hollow(ctl));
        }
        for (id, device) in self.shared.devs.all() {
            if let Some(lun) = &device.lun {
                let surplus = lun.references.abs_diff(self.holders(device));
                let what = format!("SCSI device {id} references not held");
                note(what, surplus as usize);
                note(
                    format!("SCSI device {id} outstanding"),
                    lun.outstanding as usize,
                );
                note(format!("SCSI device {id} pending"), lun.pending.len());
            }
            let owned = self.is_owned(device);
            note(
                format!("SCSI device {id} without a slot"),
                usize::from(!owned),
            );
        }
        let sockets = self.app.stray_sockets(&self.vdevs);
        note("sockets of no controller".to_owned(), sockets);
        note("splits without parts".to_owned(), self.empty_splits());
        let in_flight = self.shared.bdevs.engine.in_flight();
        note("I/O in flight in bdevs".to_owned(), in_flight);
        let (deletes, unregistrations) = self.app.retrying();
        note("deletes waiting".to_owned(), deletes);
        note("unregistrations waiting".to_owned(), unregistrations);
        let waits = usize::from(self.dpdk.waits());
        note("DPDK thread waiting".to_owned(), waits);
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
        self.app.sockets(&self.vdevs)
    }

    /// Splits whose base is there, and which have no part.
    fn empty_splits(&self) -> usize {
        let bdevs = &self.shared.bdevs;
        let empty = bdevs.splits.iter().filter(|split| {
            let base = bdevs.find(&split.base);
            let base = base.and_then(|base| bdevs.get(base));
            base.is_some_and(|base| base.tops.is_empty())
        });
        empty.count()
    }

    /// How many sessions hold a device.
    fn holders(&self, device: &Device) -> u32 {
        let sessions = self.vdevs.iter().flat_map(|ctl| &ctl.sessions);
        let slots = sessions.flat_map(|session| &session.slots);
        let held = slots.filter(|slot| slot.device == device.number && slot.dev.is_some());
        held.count() as u32
    }

    /// Whether some controller has the device in a slot.
    fn is_owned(&self, device: &Device) -> bool {
        let mut slots = self.vdevs.iter().flat_map(|ctl| &ctl.slots);
        slots.any(|slot| slot.device == device.number && slot.dev.is_some())
    }

    /// PRESENT slots of a controller whose LUN was closed: their removal was lost.
    fn hollow(&self, ctl: &Controller) -> usize {
        let hollow = |slot: &&Slot| {
            let dev = slot.dev.and_then(|dev| self.shared.devs.get(dev));
            slot.state == SlotState::Present && dev.is_none_or(|dev| dev.lun.is_none())
        };
        ctl.slots.iter().filter(hollow).count()
    }

    /// Requests that a front-end can never learn the fate of (S7 off): no response could be found.
    #[must_use]
    pub const fn unanswerable(&self) -> u64 {
        self.shared.unanswerable
    }

    /// Whether the modelled process has died.
    #[must_use]
    pub const fn is_dead(&self) -> bool {
        self.shared.is_dead
    }

    /// vhost-user connections that are open.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.dpdk.connections()
    }
}

impl Inside for Target {
    type Mark = TargetMark;

    const EVIDENCE: Evidence = Evidence::TARGET_INSIDE;

    fn invariants() -> &'static [Invariant<Self>] {
        INVARIANTS
    }

    fn mark(&mut self) -> Option<TargetMark> {
        Some(Self::mark(self))
    }

    fn rewind(&mut self, to: &TargetMark) {
        Self::rewind(self, to);
    }

    fn left(&self) -> Option<Vec<String>> {
        Some(Self::left(self))
    }

    fn audit(&mut self, at_rest: bool, cx: &mut Out<'_>) {
        if at_rest {
            Self::audit(self, cx);
        }
    }

    fn memories(&self, f: &mut dyn FnMut(&Memory)) {
        Self::memories(self, f);
    }

    fn stored_bytes(&self) -> Option<u64> {
        Some(Self::stored_bytes(self))
    }
}
