//! What holds of a guest between two turns, whatever its target does: if it does not, the simulator is wrong.
//!
//! Rows with a name, a sentence, and a look. What rings and requests are in order by stands with them.

use wire::component::When;
use wire::invariant::Invariant;

use super::Guest;
use crate::actors::Actor;
use crate::driver::hba::Hba;
use crate::driver::layout::THREADS_MAX;
use crate::driver::request::{Driver, Owner};
use crate::ids::{DiskNo, FlowNo, ThreadNo};
use crate::scsi::disk::Disk;
use crate::scsi::flow::{Flow, Kind, Wait};
use crate::scsi::host::Host;
use crate::shared::Power;

pub static INVARIANTS: &[Invariant<Guest>] = &[
    Invariant {
        name: "descriptors_are_used_once",
        says: "A descriptor is free or in one chain.",
        broken: |guest| each_device(guest, Hba::descriptor_twice),
    },
    Invariant {
        name: "commands_have_their_heads",
        says: "A command in flight has its head, and a head its command.",
        broken: |guest| each_device(guest, Hba::head_without_command),
    },
    Invariant {
        name: "heads_in_flight_are_not_given_back",
        says: "A head in flight is not taken for one that was given back.",
        broken: |guest| each_device(guest, Hba::poisoned_in_flight),
    },
    Invariant {
        name: "flows_wait_for_their_command",
        says: "A flow that waits for a command has one in a ring, and others have none.",
        broken: |guest| each_host(guest, command_of_nobody),
    },
    Invariant {
        name: "actors_follow_flows",
        says: "Who runs a host's flows can go when they can.",
        broken: |guest| each_host(guest, actor_out_of_step),
    },
    Invariant {
        name: "mutex_owner_runs",
        says: "Who holds the scan mutex does not wait for it.",
        broken: |guest| each_host(guest, |_, host| owner_that_waits(host)),
    },
    Invariant {
        name: "mutex_knows_its_waiters",
        says: "The scan mutex knows who waits for it, and nobody does while it is free.",
        broken: |guest| each_host(guest, |_, host| unknown_waiter(host)),
    },
    Invariant {
        name: "one_asynchronous_scan",
        says: "A host has the one asynchronous scan that it knows of.",
        broken: |guest| each_host(guest, |_, host| scans_miscounted(host)),
    },
    Invariant {
        name: "disks_are_probed_once",
        says: "A disk is probed once, until it is not being probed.",
        broken: |guest| each_disk(guest, probes_miscounted),
    },
    Invariant {
        name: "drains_are_awaited",
        says: "A disk is drained while a removal waits for it.",
        broken: |guest| each_disk(guest, drained_for_nobody),
    },
    Invariant {
        name: "commands_are_counted",
        says: "A disk has the commands of its requests in flight.",
        broken: |guest| {
            each_disk(guest, |guest, n, disk| {
                let (in_flight, said) = (guest.block.commands_on(n), disk.in_flight());
                (in_flight != said).then(|| format!("{in_flight}, it says {said}"))
            })
        },
    },
    Invariant {
        name: "threads_have_their_disk_open",
        says: "A thread has its disk open.",
        broken: |guest| {
            each_disk(guest, |guest, n, disk| {
                let (threads, files) = (guest.fio.threads_on(n), disk.openers());
                (threads > files).then(|| format!("{threads} threads, {files} files"))
            })
        },
    },
    Invariant {
        name: "names_are_given_once",
        says: "A name is of one disk.",
        broken: |guest| {
            each_disk(guest, |guest, n, disk| {
                let disks = &guest.shared.disks;
                let named = |other: &DiskNo| disk.has_name_of(&disks[*other]);
                let other = (0..n.0).map(DiskNo).find(named)?;
                Some(format!("it and {other:?} are {}", disk.node()))
            })
        },
    },
    Invariant {
        name: "drains_are_told",
        says: "Whoever waits for a drain is told in that turn.",
        broken: |guest| {
            let drained = guest.shared.disks.has_drained();
            drained.then(|| "a disk was drained".to_owned())
        },
    },
    Invariant {
        name: "completions_are_kept",
        says: "Completions are kept for the threads that run.",
        broken: |guest| {
            each_thread(guest, |guest, slot| {
                let (runs, reaps) = (guest.fio.runs(slot), guest.block.is_open(slot));
                (runs != reaps).then(|| format!("runs {runs}, reaps {reaps}"))
            })
        },
    },
    Invariant {
        name: "threads_go_on",
        says: "A thread goes on when what it waits for has come.",
        broken: |guest| {
            each_thread(guest, |guest, slot| {
                let blocked = guest.shared.actors.ready(Actor::Fio(slot)) == When::Blocked;
                (blocked && guest.block.is_due(slot)).then(|| "it is blocked".to_owned())
            })
        },
    },
    Invariant {
        name: "fios_run_while_their_threads_do",
        says: "A fio runs while its threads do.",
        broken: |guest| {
            let mut fios = guest.fio.running();
            let wrong = fios.find(|(_, said, threads)| said != threads || *threads == 0);
            let (fio, said, threads) = wrong?;
            Some(format!("{fio}: {threads} threads, it says {said}"))
        },
    },
    Invariant {
        name: "places_are_free_or_taken",
        says: "A place in the table of requests is free or taken.",
        broken: |guest| guest.block.place_lost(),
    },
    Invariant {
        name: "requests_are_in_one_place",
        says: "A request is in a ring, waits to be tried again, waits for its parts, or is to be reaped.",
        broken: |guest| guest.block.request_astray(&guest.shared),
    },
    Invariant {
        name: "parts_are_counted",
        says: "A request in parts waits for those under way.",
        broken: |guest| guest.block.parts_miscounted(),
    },
    Invariant {
        name: "off_is_empty",
        says: "A machine that is off has nothing.",
        broken: left_when_off,
    },
    Invariant {
        name: "cpus_with_work_can_go",
        says: "A CPU with calls or retries can go.",
        broken: |guest| {
            let cpus = guest.calls.iter().enumerate();
            let mut busy =
                cpus.filter(|(cpu, calls)| **calls != 0 || guest.block.has_delayed(*cpu));
            let blocked = |cpu| guest.shared.actors.ready(Actor::Cpu(cpu)) == When::Blocked;
            let (cpu, calls) = busy.find(|(cpu, _)| blocked(*cpu))?;
            Some(format!("CPU {cpu} is blocked, calls {calls:#x}"))
        },
    },
    Invariant {
        name: "main_loop_with_work_can_go",
        says: "QEMU's main loop can go when it was asked, or has an answer.",
        broken: |guest| {
            let has_work = guest.main_loop.has_acts() || guest.front_end.has_answers();
            let blocked = guest.shared.actors.ready(Actor::Qemu) == When::Blocked;
            (has_work && blocked).then(|| "it is blocked".to_owned())
        },
    },
    Invariant {
        name: "answers_come_on_connections",
        says: "A device whose answer is awaited is connected.",
        broken: |guest| {
            let hba = guest.front_end.awaited()?;
            (!guest.front_end.is_connected(hba)).then(|| format!("{hba:?} is not"))
        },
    },
];

fn each_device(guest: &Guest, broken: fn(&Hba) -> Option<String>) -> Option<String> {
    guest.shared.hbas.iter().find_map(|device| {
        let what = broken(device)?;
        Some(format!("on {}: {what}", device.controller))
    })
}

fn each_host(guest: &Guest, broken: fn(&Guest, &Host) -> Option<String>) -> Option<String> {
    guest.shared.hbas.ids().find_map(|hba| {
        let what = broken(guest, guest.scsi.host(hba))?;
        Some(format!("on {}: {what}", guest.shared.hbas[hba].controller))
    })
}

fn each_disk(guest: &Guest, broken: fn(&Guest, DiskNo, &Disk) -> Option<String>) -> Option<String> {
    guest.shared.disks.iter().find_map(|(n, disk)| {
        let what = broken(guest, n, disk)?;
        Some(format!("{n:?}: {what}"))
    })
}

fn each_thread(guest: &Guest, broken: fn(&Guest, ThreadNo) -> Option<String>) -> Option<String> {
    (0..THREADS_MAX).map(ThreadNo).find_map(|slot| {
        let what = broken(guest, slot)?;
        Some(format!("{slot:?}: {what}"))
    })
}

fn command_of_nobody(guest: &Guest, host: &Host) -> Option<String> {
    host.numbered_flows().find_map(|(n, flow)| {
        let owners = guest.shared.hbas[host.id].owners();
        let sent = owners.filter(|owner| *owner == Owner::Flow(n)).count();
        let awaited = usize::from(flow.state.wait == Wait::Reply);
        (sent != awaited).then(|| format!("{n:?} sleeps on {:?}: {sent} commands", flow.state.wait))
    })
}

fn actor_out_of_step(guest: &Guest, host: &Host) -> Option<String> {
    let [events, scans] = host.earliest();
    let actors = [
        (Actor::Events(host.id), events),
        (Actor::Scans(host.id), scans),
    ];
    actors.into_iter().find_map(|(actor, expected)| {
        let got = guest.shared.actors.ready(actor);
        (got != expected).then(|| format!("{actor:?}: expected {expected:?}, got {got:?}"))
    })
}

fn owner_that_waits(host: &Host) -> Option<String> {
    let owner = host.mutex.owner()?;
    let wait = host.flow(owner).map(|flow| flow.state.wait);
    matches!(wait, None | Some(Wait::Mutex)).then(|| format!("{owner:?} has it: {wait:?}"))
}

fn unknown_waiter(host: &Host) -> Option<String> {
    let sleeps = host.numbered_flows();
    let sleeps = sleeps.filter(|(_, flow)| flow.state.wait == Wait::Mutex);
    let mut sleeps: Vec<FlowNo> = sleeps.map(|(n, _)| n).collect();
    let mut waiters: Vec<FlowNo> = host.mutex.waiters().iter().copied().collect();
    sleeps.sort_unstable();
    waiters.sort_unstable();
    (sleeps != waiters || (host.mutex.owner().is_none() && !waiters.is_empty()))
        .then(|| format!("{sleeps:?} sleep on it, {waiters:?} are known"))
}

fn scans_miscounted(host: &Host) -> Option<String> {
    let is_scan = |flow: &&Flow| matches!(flow.kind, Kind::HostScan(_));
    let (scans, known) = (host.flows().filter(is_scan).count(), host.async_scan);
    (scans != usize::from(known)).then(|| format!("{scans} scans, async_scan {known}"))
}

fn probes_miscounted(guest: &Guest, n: DiskNo, disk: &Disk) -> Option<String> {
    let host = guest.scsi.host(disk.hba());
    let is_it = |flow: &&Flow| matches!(flow.kind, Kind::Probe { disk, .. } if disk == n);
    let probes = host.flows().filter(is_it).count();
    let to_come = host.unprobed.iter().filter(|other| **other == n).count();
    (probes + to_come != usize::from(disk.is_probing()))
        .then(|| format!("{probes} probes, {to_come} to come"))
}

fn drained_for_nobody(guest: &Guest, n: DiskNo, disk: &Disk) -> Option<String> {
    let mut flows = guest.scsi.host(disk.hba()).flows();
    let awaited = flows.any(|flow| flow.state.wait == Wait::Drain(n));
    let draining = disk.is_draining();
    (awaited != draining).then(|| format!("draining {draining}, awaited {awaited}"))
}

fn left_when_off(guest: &Guest) -> Option<String> {
    if guest.shared.power != Power::Off {
        return None;
    }
    let hbas = guest.shared.hbas.iter();
    let left = [
        hbas.filter(|hba| hba.driver != Driver::None).count(),
        guest.scsi.count(),
        guest.fio.count(),
        guest.block.count(),
        guest.shared.disks.count(),
    ];
    (left != [0; 5]).then(|| format!("drivers, flows, threads, requests, disks: {left:?}"))
}

#[cfg(test)]
mod tests {
    use scenarios::Time;
    use wire::message::HbaId;

    use super::*;
    use crate::testing::ScriptedBackEnd;

    const FIO: &str = "[global]\nioengine=libaio\nrw=randwrite\nbs=4k\niodepth=8\ndirect=1\n";
    const HBA: HbaId = HbaId(0);
    const DISK: DiskNo = DiskNo(0);

    fn broken(guest: &Guest) -> Vec<&'static str> {
        let broken = INVARIANTS
            .iter()
            .filter(|row| (row.broken)(guest).is_some());
        broken.map(|row| row.name).collect()
    }

    /// A guest with two disks, requests in flight on one that are held, and a removal of it that waits for them.
    fn busy() -> ScriptedBackEnd {
        let mut back_end = ScriptedBackEnd::with_held_io(&[0, 1], FIO);
        for target in [0, 1] {
            back_end.detach(target);
            back_end.rest();
        }
        back_end
    }

    /// A way to spoil a guest.
    type Mutant = fn(&mut Guest);

    fn flow(guest: &mut Guest, n: usize) -> &mut Flow {
        let flow = guest.scsi.host_mut(HBA).flow_mut(FlowNo(n));
        flow.expect("two removals are under way")
    }

    const MUTANTS: &[(&str, Mutant)] = &[
        ("descriptors_are_used_once", |guest| {
            guest.shared.hbas[HBA].spoil_free_list();
        }),
        ("commands_have_their_heads", |guest| {
            guest.shared.hbas[HBA].spoil_owner();
        }),
        ("heads_in_flight_are_not_given_back", |guest| {
            guest.shared.hbas[HBA].spoil_poison();
        }),
        ("flows_wait_for_their_command", |guest| {
            flow(guest, 0).state.wait = Wait::Reply;
        }),
        ("actors_follow_flows", |guest| {
            guest
                .shared
                .actors
                .set(Actor::Events(HBA), When::At(Time(7)));
        }),
        ("mutex_owner_runs", |guest| {
            flow(guest, 0).state.wait = Wait::Mutex;
        }),
        ("mutex_knows_its_waiters", |guest| {
            flow(guest, 1).state.wait = Wait::Probe(DISK);
        }),
        ("one_asynchronous_scan", |guest| {
            guest.scsi.host_mut(HBA).async_scan = true;
        }),
        ("disks_are_probed_once", |guest| {
            guest.scsi.host_mut(HBA).unprobed.push_back(DISK);
        }),
        ("drains_are_awaited", |guest| {
            flow(guest, 0).state.wait = Wait::Drain(DiskNo(1));
        }),
        ("commands_are_counted", |guest| {
            guest.shared.disks[DISK].took(1);
        }),
        ("threads_have_their_disk_open", |guest| {
            guest.shared.disks.closed(DISK);
        }),
        ("names_are_given_once", |guest| {
            guest.shared.disks.spoil_name()
        }),
        ("drains_are_told", |guest| {
            for _ in 0..8 {
                guest.shared.disks.gave_back(DISK);
            }
        }),
        ("completions_are_kept", |guest| {
            guest.block.open(ThreadNo(5), 1);
        }),
        ("fios_run_while_their_threads_do", |guest| {
            guest.fio.spoil_runs()
        }),
        ("places_are_free_or_taken", |guest| {
            guest.block.spoil_free();
        }),
        ("requests_are_in_one_place", |guest| {
            guest.block.spoil_places()
        }),
        ("parts_are_counted", |guest| {
            guest.block.spoil_share();
        }),
        ("threads_go_on", |guest| {
            guest.block.spoil_completions(ThreadNo(0));
        }),
        ("off_is_empty", |guest| guest.shared.power = Power::Off),
        ("cpus_with_work_can_go", |guest| guest.calls[1] = 1),
        ("main_loop_with_work_can_go", |guest| {
            guest.main_loop.asked(wire::message::GuestAct::ListDisks);
        }),
        ("answers_come_on_connections", |guest| {
            guest.front_end.spoil_awaited();
        }),
    ];

    #[test]
    fn each_invariant_is_tripped_by_its_mutant_and_none_without() {
        let back_end = busy();
        assert_eq!(broken(&back_end.guest), [""; 0]);
        for (name, spoil) in MUTANTS {
            let mut guest = back_end.guest.clone();
            spoil(&mut guest);
            let broken = broken(&guest);
            assert!(broken.contains(name), "{name}: {broken:?}");
        }
        let mut tripped: Vec<_> = MUTANTS.iter().map(|(name, _)| *name).collect();
        let mut all: Vec<_> = INVARIANTS.iter().map(|row| row.name).collect();
        tripped.sort_unstable();
        all.sort_unstable();
        assert_eq!(tripped, all, "a mutant for each invariant");
    }
}
