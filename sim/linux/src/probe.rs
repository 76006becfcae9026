//! How a disk that a scan found gets its driver: `sd_probe`, asynchronously.
//!
//! Knows who is probed when; what `sd` asks stands in `sd`.

use std::time::Duration;

use scenarios::{DiskId, Observation, Time};

use super::disk::{DeviceState, Disk};
use super::flow::{Flow, Goes, Kind, STEP_NS, Standing, WAKE_NS, Wait};
use super::sd::{Geometry, SdScript};
use super::transfer::Transfers;
use super::{FlowStep, Guest, Power};
use wire::component::Cx;
use wire::message::FromGuest;

/// Disks of one device that `sd` probes at the same time.
const PROBES_MAX: usize = 12;

impl Guest {
    /// Adds a disk that a scan found; `sd` will probe it.
    pub(super) fn found(
        &mut self,
        hba: usize,
        target: u8,
        serial: &str,
        (inquiry_bytes, transfers): (u8, Transfers),
    ) {
        let id: Option<DiskId> = self.config.disks.get(serial).copied();
        self.unprobed[hba].push_back(self.disks.len());
        self.disks.push(Disk {
            transfers,
            ..Disk::found(hba as u8, target, inquiry_bytes, id)
        });
    }

    /// `sd` probes asynchronously: the order of a host's disks is free.
    pub(super) fn shuffle_unprobed(&mut self, hba: usize, cx: &mut Cx<'_, FromGuest>) {
        for last in (1..self.unprobed[hba].len()).rev() {
            let other = cx.rng.below(last as u32 + 1) as usize;
            self.unprobed[hba].swap(last, other);
        }
        self.start_probes(hba, cx.now);
    }

    /// Starts probes of disks that wait for one.
    pub(super) fn start_probes(&mut self, hba: usize, now: Time) {
        let running = |flow: &&Option<Box<Flow>>| {
            flow.as_ref()
                .is_some_and(|flow| matches!(flow.kind, Kind::Probe { .. }))
        };
        let mut probes = self.flows[hba].iter().filter(running).count();
        while probes < PROBES_MAX
            && let Some(disk) = self.unprobed[hba].pop_front()
        {
            let name = self.free_name();
            let found = &mut self.disks[disk];
            if found.state != DeviceState::Created {
                self.probe_over(hba, disk, now);
                continue;
            }
            found.state = DeviceState::Running;
            found.name = name;
            found.named = true;
            let script = SdScript::probe(found.target);
            let at = now + Duration::from_nanos(STEP_NS);
            self.spawn(hba, Flow::new(Kind::Probe { disk, script }, at));
            probes += 1;
        }
    }

    /// The lowest `sdX` that is free: a name goes back when its disk is gone and no file is open.
    fn free_name(&self) -> u16 {
        let is_free = |name: &u16| {
            let mut disks = self.disks.iter().enumerate();
            disks.all(|(n, disk)| !(disk.has_name(*name) || disk.name == *name && self.is_open(n)))
        };
        (0..).find(is_free).unwrap_or(u16::MAX)
    }

    /// Whether somebody has the disk open, one that has hung included.
    fn is_open(&self, disk: usize) -> bool {
        let mut threads = self.threads.iter().flatten();
        self.disks[disk].in_flight > 0
            || threads.any(|thread| thread.disk == disk)
            || self.direct.open.contains(&disk)
    }

    pub(super) fn probe_step(
        &mut self,
        hba: usize,
        n: usize,
        flow: &mut Standing,
        disk: usize,
        script: &mut SdScript,
        cx: &mut Cx<'_, FromGuest>,
    ) -> Goes {
        let reply = self.take_answer(hba, n, flow);
        // The mid-layer sends nothing to a disk that is being removed, and `sd` gives up.
        let removed = self.disks[disk].state != DeviceState::Running;
        let answer = reply.as_ref().map(|reply| (reply, &self.scratch[..]));
        if let Some(command) = script.next(answer).filter(|_| !removed) {
            // The block device is there before its partitions are read (`device_add_disk`).
            if command.is_read() {
                self.appears(disk, &script.geometry, cx);
            }
            return self.send_command(hba, n, flow, command, cx);
        }
        let target = self.disks[disk].target;
        if !self.disks[disk].visible {
            self.appears(disk, &script.geometry, cx);
        }
        Goes::Ended(FlowStep::Appeared(target))
    }

    /// A disk whose size is known is made a block device.
    fn appears(&mut self, disk: usize, geometry: &Geometry, cx: &mut Cx<'_, FromGuest>) {
        let probed = &mut self.disks[disk];
        let removed = probed.state != DeviceState::Running;
        probed.capacity = geometry.bytes();
        probed.block_size = geometry.block_size;
        probed.max_bytes = probed.transfers.max_bytes(geometry.block_size);
        probed.write_cache = geometry.write_cache;
        probed.visible = geometry.blocks > 0 && !removed;
        // Nobody looks on in a guest that goes down.
        if probed.visible && self.power != Power::Rebooting {
            let seen = self.guest_disk(&self.disks[disk]);
            cx.see(Observation::DiskAppeared(seen));
        }
    }

    /// A probe has ended, or will never begin: a removal that waits for it goes on.
    pub(super) fn probe_over(&mut self, hba: usize, disk: usize, now: Time) {
        self.disks[disk].probing = false;
        for flow in self.flows[hba].iter_mut().flatten() {
            if flow.standing.wait == Wait::Probe(disk) {
                flow.standing.wait = Wait::At(Time(now.0 + WAKE_NS));
            }
        }
    }
}
