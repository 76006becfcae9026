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
use wire::message::LogLevel;

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
    /// Whether its log's levels and flags let a line through (`log_set_level`, `log_set_flag`).
    #[must_use]
    pub fn lets_through(&self, line: LogLevel) -> bool {
        self.app.lets_through(line)
    }

    /// Counters that should be zero when nothing can happen any more, as "what: count" (I14).
    #[must_use]
    pub fn left(&self) -> Vec<String> {
        if self.is_dead() {
            return Vec::new();
        }
        let (deletes, unregistrations) = self.app.retrying();
        let process = [
            (
                "sockets of no controller",
                self.app.stray_sockets(&self.vdevs),
            ),
            ("split configurations without a part", self.empty_splits()),
            (
                "I/O in flight in bdevs",
                self.shared.bdevs.engine.in_flight(),
            ),
            ("vhost_delete_controller calls without an answer", deletes),
            ("deleted controllers that are still there", unregistrations),
            (
                "stops that DPDK's thread waits for",
                usize::from(self.dpdk.waits()),
            ),
        ];
        let process = process.map(|(what, count)| (what.to_owned(), count));
        let controllers = self.vdevs.iter().flat_map(|ctl| self.left_of(ctl));
        let devices = self.shared.devs.all();
        let devices = devices.flat_map(|(id, device)| self.left_of_device(id, device));
        let all = controllers.chain(devices).chain(process);
        let left = all.filter(|(_, count)| *count > 0);
        left.map(|(what, count)| format!("{what}: {count}"))
            .collect()
    }

    fn left_of(&self, ctl: &Controller) -> Vec<(String, usize)> {
        let name = &ctl.name;
        let operations = format!("foreach operations of {name} under way");
        let waiting = format!("messages that wait for the lock of {name}");
        let mut left = vec![
            (operations, ctl.pending_ops as usize),
            (waiting, ctl.waiting.len()),
        ];
        for (index, session) in ctl.sessions.iter().enumerate() {
            let name = ctl.session_name(index);
            let removing = session.slots.iter();
            let removing = removing.filter(|slot| slot.state == SlotState::Removing);
            let in_flight = format!("requests in flight in {name}");
            left.push((in_flight, session.task_cnt as usize));
            left.push((
                format!("targets that are REMOVING in {name}"),
                removing.count(),
            ));
        }
        let moves = |slot: &&Slot| matches!(slot.state, SlotState::Adding | SlotState::Removing);
        let unsettled = ctl.slots.iter().filter(moves);
        let settling = format!("targets that are ADDING or REMOVING in {name}");
        left.push((settling, unsettled.count()));
        let hollow = format!("targets that are PRESENT without a LUN in {name}");
        left.push((hollow, self.hollow(ctl)));
        left
    }

    fn left_of_device(&self, id: usize, device: &Device) -> Vec<(String, usize)> {
        let mut left = Vec::new();
        if let Some(lun) = &device.lun {
            let surplus = lun.references.abs_diff(self.holders(device));
            let references = format!("references to SCSI device {id} that no session holds");
            left.push((references, surplus as usize));
            let outstanding = format!("requests of SCSI device {id} in its bdev");
            left.push((outstanding, lun.outstanding as usize));
            let waiting = format!("requests of SCSI device {id} that wait for a reset");
            left.push((waiting, lun.pending.len()));
        }
        let stray = usize::from(!self.is_owned(device));
        left.push((format!("SCSI device {id} in no target slot"), stray));
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

    fn controllers_max(&self) -> Option<usize> {
        Some(self.vdevs.places())
    }

    fn stored_bytes(&self) -> Option<u64> {
        Some(Self::stored_bytes(self))
    }
}
