//! What holds of a guest between two turns, whatever its target does: if it does not, the simulator is wrong.

use wire::component::When;

use super::Guest;
use crate::actors::Actor;
use crate::driver::hba::Hba;
use crate::driver::request::{Driver, Owner};
use crate::ids::{DiskNo, FlowNo, ThreadNo};
use crate::scsi::flow::{Flow, Kind, Wait};
use crate::scsi::host::Host;
use crate::shared::Power;

/// Takes the name of an invariant that does not hold, and what was found instead.
pub type Report<'a> = &'a mut dyn FnMut(&'static str, String);

impl Guest {
    /// Reports each invariant that does not hold.
    pub fn invariants(&self, report: Report<'_>) {
        for hba in self.shared.hbas.ids() {
            let (device, host) = (&self.shared.hbas[hba], self.scsi.host(hba));
            device.invariants(report);
            self.commands_are_awaited(device, host, report);
            mutex(host, report);
            self.actors_follow_flows(host, report);
            self.probes(host, report);
        }
        self.disks(report);
        self.block.invariants(&self.shared, report);
        self.threads(report);
        self.power(report);
        self.nothing_is_overlooked(report);
    }

    /// A flow waits for its command, and has none otherwise.
    fn commands_are_awaited(&self, device: &Hba, host: &Host, report: Report<'_>) {
        for (n, flow) in host.numbered_flows() {
            let sent = device.owners().filter(|owner| *owner == Owner::Flow(n));
            let sent = sent.count();
            let awaited = usize::from(flow.state.wait == Wait::Reply);
            if sent != awaited {
                let found = format!("{n:?} sleeps on {:?}: {sent} commands", flow.state.wait);
                report(
                    "a flow waits for the one command that it has in a ring",
                    found,
                );
            }
        }
    }

    /// The actors of a host's flows can go when its flows can.
    fn actors_follow_flows(&self, host: &Host, report: Report<'_>) {
        let [events, scans] = host.earliest();
        for (actor, expected) in [
            (Actor::Events(host.id), events),
            (Actor::Scans(host.id), scans),
        ] {
            let got = self.shared.actors.ready(actor);
            if got != expected {
                let found = format!("{actor:?}: expected {expected:?}, got {got:?}");
                report("who runs a host's flows can go when they can", found);
            }
        }
    }

    /// What `sd` probes, or will, is what it has not probed.
    fn probes(&self, host: &Host, report: Report<'_>) {
        let scans = host
            .flows()
            .filter(|flow| matches!(flow.kind, Kind::HostScan(_)));
        let scans = scans.count();
        if scans != usize::from(host.async_scan) {
            let found = format!("{scans} scans, async_scan {}", host.async_scan);
            report(
                "a host has the one asynchronous scan that it knows of",
                found,
            );
        }
        for (n, disk) in self
            .shared
            .disks
            .iter()
            .filter(|(_, disk)| disk.hba() == host.id)
        {
            let is_it = |flow: &Flow| matches!(flow.kind, Kind::Probe { disk, .. } if disk == n);
            let probes = host.flows().filter(|flow| is_it(flow)).count();
            let waits = host.unprobed.iter().filter(|other| **other == n).count();
            if probes + waits != usize::from(disk.is_probing()) {
                let found = format!("{n:?}: {probes} probes, {waits} to come");
                report("a disk is probed once, until it is not being probed", found);
            }
            let drains = host.flows().any(|flow| flow.state.wait == Wait::Drain(n));
            if drains != disk.is_draining() {
                let found = format!("{n:?}: draining {}", disk.is_draining());
                report("a disk is drained while a removal waits for it", found);
            }
        }
    }

    fn disks(&self, report: Report<'_>) {
        let disks = &self.shared.disks;
        for (n, disk) in disks.iter() {
            let in_flight = self.block.commands_on(n);
            if in_flight != disk.in_flight() {
                let found = format!("{n:?}: {in_flight}, it says {}", disk.in_flight());
                report("a disk has the commands of its requests in flight", found);
            }
            let open = self.fio.threads_on(n);
            if open > disk.openers() {
                let found = format!("{n:?}: {open} threads, {} files", disk.openers());
                report("a thread has its disk open", found);
            }
            let named = |other: &DiskNo| disk.has_name_of(&disks[*other]);
            if let Some(other) = (0..n.0).map(DiskNo).find(named) {
                let found = format!("{n:?} and {other:?} are {}", disk.node());
                report("a name is of one disk", found);
            }
        }
        if disks.has_drained() {
            let found = "a disk was drained".to_owned();
            report("whoever waits for a drain is told in that turn", found);
        }
    }

    fn threads(&self, report: Report<'_>) {
        for slot in (0..crate::driver::layout::THREADS_MAX).map(ThreadNo) {
            let (runs, reaps) = (self.fio.runs(slot), self.block.is_open(slot));
            if runs != reaps {
                let found = format!("{slot:?}: runs {runs}, reaps {reaps}");
                report("completions are kept for the threads that run", found);
            }
            let can_go = self.shared.actors.ready(Actor::Fio(slot)) != When::Blocked;
            if self.block.is_due(slot) && !can_go {
                let found = format!("{slot:?} is blocked");
                report("a thread goes on when what it waits for has come", found);
            }
        }
        for (fio, said, threads) in self.fio.running() {
            if said != threads || threads == 0 {
                let found = format!("{fio}: {threads} threads, it says {said}");
                report("a fio runs while its threads do", found);
            }
        }
    }

    fn power(&self, report: Report<'_>) {
        if self.shared.power != Power::Off {
            return;
        }
        let driven = self
            .shared
            .hbas
            .iter()
            .filter(|hba| hba.driver != Driver::None);
        let left = [
            driven.count(),
            self.scsi.count(),
            self.fio.count(),
            self.block.count(),
            self.shared.disks.count(),
        ];
        if left != [0; 5] {
            let found = format!("drivers, flows, threads, requests, disks: {left:?}");
            report("a machine that is off has nothing", found);
        }
    }

    /// Whoever has work can go.
    fn nothing_is_overlooked(&self, report: Report<'_>) {
        let actors = &self.shared.actors;
        for (cpu, calls) in self.calls.iter().enumerate() {
            let has_work = *calls != 0 || self.block.has_delayed(cpu);
            if has_work && actors.ready(Actor::Cpu(cpu)) == When::Blocked {
                let found = format!("CPU {cpu} is blocked, calls {calls:#x}");
                report("a CPU with calls or retries can go", found);
            }
        }
        let has_work = self.main_loop.has_acts() || self.front_end.has_answers();
        if has_work && actors.ready(Actor::Qemu) == When::Blocked {
            let found = "it is blocked".to_owned();
            report("QEMU's main loop can go when it was asked", found);
        }
        if let Some(hba) = self.front_end.awaited()
            && !self.front_end.is_connected(hba)
        {
            let found = format!("{hba:?} is not");
            report("a device whose answer is awaited is connected", found);
        }
    }
}

/// Who holds the scan mutex can run; who waits for it sleeps on it, and nobody else does.
fn mutex(host: &Host, report: Report<'_>) {
    let wait = |n: FlowNo| host.flow(n).map(|flow| flow.state.wait);
    if let Some(owner) = host.mutex.owner()
        && matches!(wait(owner), None | Some(Wait::Mutex))
    {
        let found = format!("{owner:?} has it: {:?}", wait(owner));
        report("who holds the scan mutex does not wait for it", found);
    }
    let sleeps = host.numbered_flows();
    let sleeps = sleeps.filter(|(_, flow)| flow.state.wait == Wait::Mutex);
    let mut sleeps: Vec<FlowNo> = sleeps.map(|(n, _)| n).collect();
    let mut waiters: Vec<FlowNo> = host.mutex.waiters().iter().copied().collect();
    sleeps.sort_unstable();
    waiters.sort_unstable();
    if sleeps != waiters || (host.mutex.owner().is_none() && !waiters.is_empty()) {
        let found = format!("{sleeps:?} sleep on it, {waiters:?} are known");
        report("the scan mutex knows who waits for it", found);
    }
}

#[cfg(test)]
mod tests {
    use scenarios::Time;
    use wire::message::HbaId;

    use super::*;
    use crate::testing::ScriptedBackEnd;
    use crate::testing::scsi::Reaction;

    const FIO: &str = "[global]\nioengine=libaio\nrw=randwrite\nbs=4k\niodepth=8\ndirect=1\n";
    const HBA: HbaId = HbaId(0);
    const DISK: DiskNo = DiskNo(0);

    fn broken(guest: &Guest) -> Vec<&'static str> {
        let mut names = Vec::new();
        guest.invariants(&mut |name, found| {
            assert!(!found.is_empty());
            names.push(name);
        });
        names
    }

    /// A guest with two disks, requests in flight on one that are held, and a removal of it that waits for them.
    fn busy() -> ScriptedBackEnd {
        let mut back_end = ScriptedBackEnd::booted(&[0, 1]);
        back_end.reactions.insert(0, [Reaction::Hold].into());
        back_end.start_fio(1, FIO, &[0]);
        back_end.rest();
        back_end.detach(0);
        back_end.rest();
        back_end.detach(1);
        back_end.rest();
        back_end
    }

    /// A way to spoil a guest.
    type Mutant = fn(&mut Guest);

    fn flow(guest: &mut Guest, n: usize) -> &mut Flow {
        let flow = guest.scsi.host_mut(HBA).flow_mut(FlowNo(n));
        flow.expect("two removals are under way")
    }

    const MUTANTS: &[(&str, Mutant)] = &[
        ("a descriptor is free or in one chain", |guest| {
            guest.shared.hbas[HBA].spoil_free_list();
        }),
        (
            "a command in flight has its head, and a head its command",
            |guest| {
                guest.shared.hbas[HBA].spoil_owner();
            },
        ),
        (
            "a head in flight is not taken for one that was given back",
            |guest| {
                guest.shared.hbas[HBA].spoil_poison();
            },
        ),
        (
            "a flow waits for the one command that it has in a ring",
            |guest| {
                flow(guest, 0).state.wait = Wait::Reply;
            },
        ),
        ("who runs a host's flows can go when they can", |guest| {
            guest
                .shared
                .actors
                .set(Actor::Events(HBA), When::At(Time(7)));
        }),
        ("who holds the scan mutex does not wait for it", |guest| {
            flow(guest, 0).state.wait = Wait::Mutex;
        }),
        ("the scan mutex knows who waits for it", |guest| {
            flow(guest, 1).state.wait = Wait::Probe(DISK);
        }),
        (
            "a host has the one asynchronous scan that it knows of",
            |guest| {
                guest.scsi.host_mut(HBA).async_scan = true;
            },
        ),
        (
            "a disk is probed once, until it is not being probed",
            |guest| {
                guest.scsi.host_mut(HBA).unprobed.push_back(DISK);
            },
        ),
        ("a disk is drained while a removal waits for it", |guest| {
            flow(guest, 0).state.wait = Wait::Drain(DiskNo(1));
        }),
        (
            "a disk has the commands of its requests in flight",
            |guest| {
                guest.shared.disks[DISK].took(1);
            },
        ),
        ("a thread has its disk open", |guest| {
            guest.shared.disks.closed(DISK);
        }),
        ("a name is of one disk", |guest| {
            guest.shared.disks.spoil_name()
        }),
        ("whoever waits for a drain is told in that turn", |guest| {
            for _ in 0..8 {
                guest.shared.disks.gave_back(DISK);
            }
        }),
        ("completions are kept for the threads that run", |guest| {
            guest.block.open(ThreadNo(5), 1);
        }),
        ("a fio runs while its threads do", |guest| {
            guest.fio.spoil_runs()
        }),
        (
            "a place in the table of requests is free or taken",
            |guest| {
                guest.block.spoil_free();
            },
        ),
        ("a request is in one place", |guest| {
            guest.block.spoil_places()
        }),
        ("a request in parts waits for those under way", |guest| {
            guest.block.spoil_share();
        }),
        (
            "a thread goes on when what it waits for has come",
            |guest| {
                guest.block.spoil_completions(ThreadNo(0));
            },
        ),
        ("a machine that is off has nothing", |guest| {
            guest.shared.power = Power::Off
        }),
        ("a CPU with calls or retries can go", |guest| {
            guest.calls[1] = 1
        }),
        ("QEMU's main loop can go when it was asked", |guest| {
            guest.main_loop.asked(wire::message::GuestAct::ListDisks);
        }),
        ("a device whose answer is awaited is connected", |guest| {
            guest.front_end.spoil_awaited();
        }),
    ];

    #[test]
    fn each_invariant_is_tripped_by_a_mutant_and_by_nothing_else() {
        let back_end = busy();
        assert_eq!(broken(&back_end.guest), [""; 0]);
        for (name, spoil) in MUTANTS {
            let mut guest = back_end.guest.clone();
            spoil(&mut guest);
            let broken = broken(&guest);
            assert!(broken.contains(name), "{name}: {broken:?}");
        }
    }
}
