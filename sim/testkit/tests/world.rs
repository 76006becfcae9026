//! A world takes any two ends: here the tiny target, which is no model of SPDK, and a model Linux guest.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fio_model::JobFile;
use linux::{Guest, GuestConfig};
use scenarios::{ControllerId, DiskId, FioId, Observation, Place, Seen, TargetId, VmId};
use serde_json::json;
use testkit::directed::Call;
use testkit::{Directed, Target};
use wire::message::GuestAct;
use wire::{Rng, Stream};
use world::{Choices, Device, Strategy, World, first_difference};

type Tiny = Directed<Target, Guest, Vec<Seen>>;

const VM: VmId = VmId(1);
const CONTROLLER: ControllerId = ControllerId(1);

fn attach(slot: u8) -> Call {
    let params = json!({"scsi_target_num": slot, "bdev_name": format!("disk{slot}")});
    ("vhost_scsi_controller_add_target", params)
}

fn detach(slot: u8) -> Call {
    let params = json!({"scsi_target_num": slot});
    ("vhost_scsi_controller_remove_target", params)
}

fn tiny(seed: u64, strategy: Strategy) -> Tiny {
    let mut world = World::new(Target::new(), Rng::new(seed, Stream::Accidents));
    world.follow(strategy);
    Tiny::over(world, Vec::new())
}

fn switch_on(tiny: &mut Tiny, vm: VmId) {
    let disks = (0..8).map(|slot| (format!("disk{slot}"), DiskId(slot + 1)));
    let config = GuestConfig::new(vm, vec![CONTROLLER], disks.collect(), None);
    let devices = vec![Device::new(CONTROLLER, "tiny")];
    tiny.world.add_guest(vm, Guest::new(config), devices);
    tiny.tell(vm, GuestAct::Boot);
}

fn boot(tiny: &mut Tiny, vm: VmId) {
    switch_on(tiny, vm);
    tiny.wait("the guest is ready", |seen| {
        matches!(seen.what, Observation::VmReady { .. })
    });
}

/// Attaches a disk, writes and verifies it, detaches another one meanwhile.
fn plug(tiny: &mut Tiny) {
    tiny.call(attach(0));
    tiny.wait("the disk appears", |seen| {
        matches!(seen.what, Observation::DiskAppeared(_))
    });
    let text = "[global]\nioengine=libaio\ndirect=1\nthread\nbs=4k\nrw=randwrite\nverify=crc32c\niodepth=8\nsize=256k\n";
    let job = Arc::new(JobFile::parse("tiny.fio", text).expect("a job that fio would take"));
    let place = Place {
        controller: CONTROLLER,
        target: TargetId(0),
    };
    let (fio, on) = (FioId(0), vec![(DiskId(1), place)]);
    tiny.tell(VM, GuestAct::StartFio { fio, job, on });
    tiny.call(attach(1));
    tiny.call(detach(1));
    tiny.wait("fio ends", |seen| {
        matches!(seen.what, Observation::FioEnded { .. })
    });
    tiny.rest(Duration::from_secs(10));
}

fn record(tiny: &mut Tiny) -> Arc<Mutex<String>> {
    let log = Arc::new(Mutex::new(String::new()));
    let to = log.clone();
    tiny.world.record_turns(Box::new(move |turn| {
        let mut log = to.lock().expect("one thread writes");
        writeln!(log, "{turn}").expect("a string takes it");
    }));
    log
}

fn taken(log: &Mutex<String>) -> String {
    std::mem::take(&mut log.lock().expect("one thread writes"))
}

/// What the guest's fio came to, and what is left at the end.
fn outcome(seen: &[Seen]) -> (u64, Vec<String>) {
    let mut verified = 0;
    for seen in seen {
        match &seen.what {
            Observation::FioEnded { exit, jobs, .. } => {
                assert_eq!(*exit, 0, "{jobs:?}");
                verified = jobs[0].verified;
            }
            Observation::Broken { check, text } => panic!("{check}: {text}"),
            Observation::Quiet { settled, left } => {
                assert!(settled);
                return (verified, left.clone());
            }
            _ => {}
        }
    }
    panic!("nothing came to rest");
}

#[test]
fn linux_boots_on_the_tiny_target_and_verifies_what_it_wrote() {
    let mut tiny = tiny(1, Strategy::Timed);
    boot(&mut tiny, VM);
    plug(&mut tiny);
    assert_eq!(outcome(&tiny.watch), (64, Vec::new()));
    // The other disk came and went, unless it was gone before anybody looked.
    let count = |is: fn(&Observation) -> bool| {
        let seen = tiny.watch.iter().filter(|seen| is(&seen.what));
        seen.count()
    };
    let appeared = count(|what| matches!(what, Observation::DiskAppeared(_)));
    let vanished = count(|what| matches!(what, Observation::DiskVanished(_)));
    assert_eq!(appeared - vanished, 1);
    let (memory, stored) = tiny.world.bytes_touched();
    assert_eq!(stored, Some(256 << 10));
    assert!(memory >= 8 * 4096, "eight buffers of 4 KiB are in use");
    assert_eq!(
        tiny.call(("vhost_get_controllers", json!({}))),
        json!([[0, "disk0"]])
    );
}

#[test]
fn schedules_that_stop_its_turns_are_replayed_to_the_same_hash() {
    let mut stopped = 0;
    for seed in 0..8 {
        let mut first = tiny(seed, Strategy::random(seed));
        first.world.record_choices();
        let turns = record(&mut first);
        boot(&mut first, VM);
        plug(&mut first);
        assert_eq!(outcome(&first.watch), (64, Vec::new()), "seed {seed}");
        let turns = taken(&turns);
        stopped += turns
            .lines()
            .filter(|line| line.contains(": 3 1 1 "))
            .count();
        let choices = first
            .world
            .choices()
            .expect("they were recorded")
            .to_string();
        let choices = Choices::parse(&choices).expect("what was written is read");
        assert_eq!(choices.turns(), first.world.turns());
        let mut again = tiny(seed, Strategy::Replay(choices));
        let replayed = record(&mut again);
        boot(&mut again, VM);
        plug(&mut again);
        assert_eq!(again.world.diverged(), None);
        if let Some(difference) = first_difference(&turns, &taken(&replayed)) {
            panic!("seed {seed}: {difference}");
        }
        assert_eq!(first.world.hashes(), again.world.hashes());
    }
    assert!(stopped > 50, "{stopped} turns were stopped after a request");
}

#[test]
fn a_restored_world_takes_the_turns_of_a_fresh_one() {
    let mut tiny = tiny(3, Strategy::random(3));
    boot(&mut tiny, VM);
    let booted = tiny.world.snapshot().expect("both ends make marks");
    let turns = record(&mut tiny);
    let mut runs = BTreeMap::new();
    for run in 0..3 {
        tiny.world.restore(&booted);
        tiny.watch.clear();
        plug(&mut tiny);
        runs.insert(run, (taken(&turns), outcome(&tiny.watch)));
    }
    for (run, (turns, outcome)) in &runs {
        if let Some(difference) = first_difference(&runs[&0].0, turns) {
            panic!("run {run}: {difference}");
        }
        assert_eq!(*outcome, runs[&0].1);
    }
}

#[test]
fn forty_guests_are_six_hundred_actors() {
    for strategy in [Strategy::Timed, Strategy::random(2)] {
        let mut tiny = tiny(2, strategy);
        tiny.world.record_choices();
        for vm in 1..=40 {
            switch_on(&mut tiny, VmId(vm));
        }
        assert!(tiny.world.actors() > 600);
        tiny.call(attach(0));
        tiny.rest(Duration::from_secs(60));
        let appeared = tiny
            .watch
            .iter()
            .filter(|seen| matches!(seen.what, Observation::DiskAppeared(_)));
        assert_eq!(appeared.count(), 40);
        let choices = tiny.world.choices().expect("they were recorded");
        assert_eq!(choices.turns(), tiny.world.turns());
    }
}
