//! Each invariant of the model trips on a change that breaks it. That they hold after each turn of all other
//! tests is the rig's to check.

use serde_json::json;

use super::front_end::{Data, FrontEnd, read_10};
use super::rig::Rig;
use crate::handles::{SlotId, VdevId};
use crate::invariants::INVARIANTS;
use crate::mail::{AppMessage, Waiting};
use crate::{Target, agenda, app, bdev, dpdk, mail};
use scenarios::{SlotState, Time};
use wire::bugs::{Bug, Bugs};

/// A target with something of everything: I/O that is held, a removal and a stop that wait for it, a call with
/// a time-out, two connections, foreach operations and mail under way.
fn busy(bugs: Bugs) -> Target {
    let mut rig = Rig::ready(bugs);
    let mut a = FrontEnd::start(&mut rig, 0);
    let _b = FrontEnd::start(&mut rig, 1);
    rig.attach(0, "Malloc0").expect("free slot");
    rig.attach(1, "EE_Malloc2").expect("free slot");
    rig.hold(1);
    a.scsi(&mut rig, 1, &read_10(0, 1), Data::In(512));
    rig.ms(10);
    rig.send_detach(1);
    rig.rpc(
        "bdev_get_bdevs",
        json!({"name": "Malloc9", "timeout": 60_000}),
    );
    rig.ms(20);
    a.stop(&mut rig);
    rig.ms(20);
    rig.send_attach(2, "Malloc1");
    while rig
        .target
        .vdevs
        .get(VdevId(0))
        .expect("vhost.0")
        .pending_ops
        == 0
    {
        rig.run(std::time::Duration::from_nanos(100));
    }
    rig.target
}

const MUTANTS: crate::tests::Mutants = &[
    ("time_of_the_controllers", |t| {
        t.vdevs.get_mut(VdevId(1)).expect("vhost.1").poll_at = Time(1);
    }),
    ("foreach_pending_once", |t| {
        t.vdevs.get_mut(VdevId(0)).expect("vhost.0").pending_ops += 1;
    }),
    ("lock_has_its_waiters", |t| {
        let dev = t.shared.devs.handles().next().expect("a device").0;
        let ctl = t.vdevs.get_mut(VdevId(1)).expect("vhost.1");
        ctl.waiting
            .push_back(Waiting::App(AppMessage::LunClose(dev)));
    }),
    ("lock_has_its_holder", |t| {
        t.vdevs.get_mut(VdevId(0)).expect("vhost.0").locked = true;
    }),
    ("sessions_in_order", |t| {
        t.vdevs
            .get_mut(VdevId(0))
            .expect("vhost.0")
            .sessions
            .reverse();
    }),
    ("pollers_run_when_started", |t| {
        session(t, 1).started = false
    }),
    ("management_keeps_its_phase", |t| {
        let session = session(t, 1);
        session.manage_at = Time(session.since.0 + 7);
    }),
    ("stops_are_bounded", |t| {
        session(t, 0).stopping.as_mut().expect("it stops").next = Time::NEVER;
    }),
    ("tasks_are_counted", |t| session(t, 0).task_cnt += 1),
    ("rings_are_bounded", |t| session(t, 0).max_queues = 99),
    ("session_slots_hold_their_devices", |t| {
        session(t, 0).slots[0].dev = None
    }),
    ("slots_hold_their_devices", |t| {
        let ctl = t.vdevs.get_mut(VdevId(0)).expect("vhost.0");
        ctl.slots[SlotId(5).index()].state = SlotState::Present;
    }),
    ("channels_are_owned", |t| lun(t).channel = None),
    ("references_have_holders", |t| lun(t).references += 1),
    ("resets_wait_for_a_reset", |t| lun(t).reset_done = true),
    ("lun_pollers_run_once", |t| lun(t).polled = true),
    ("flights_are_outstanding", |t| lun(t).outstanding += 1),
];

fn session(t: &mut Target, index: usize) -> &mut crate::vdev::session::Session {
    &mut t.vdevs.get_mut(VdevId(0)).expect("vhost.0").sessions[index]
}

fn lun(t: &mut Target) -> &mut crate::devices::Lun {
    let dev = t.shared.devs.handles().next().expect("a device").0;
    t.shared.devs.lun(dev).expect("it has a LUN")
}

fn broken(target: &Target) -> Vec<&'static str> {
    let rows = INVARIANTS.iter();
    let broken = rows.filter(|row| (row.broken)(target).is_some());
    broken.map(|row| row.name).collect()
}

/// Those that a mutant each trips, of a target with these bugs.
fn tripped(bugs: Bugs) -> Vec<&'static str> {
    let whole = busy(bugs);
    assert_eq!(broken(&whole), [""; 0]);
    let mutants = [
        MUTANTS,
        agenda::MUTANTS,
        app::MUTANTS,
        mail::MUTANTS,
        dpdk::MUTANTS,
        bdev::invariants::MUTANTS,
        bdev::io::MUTANTS,
    ];
    let mut tripped: Vec<&str> = Vec::new();
    for (name, spoil) in mutants.into_iter().flatten() {
        let mut target = whole.clone();
        spoil(&mut target);
        let broken = broken(&target);
        assert!(broken.contains(name), "{name} did not trip: {broken:?}");
        tripped.push(name);
    }
    tripped.sort_unstable();
    tripped.dedup();
    tripped
}

#[test]
fn each_invariant_trips_on_its_mutant_and_none_without() {
    let mut all: Vec<&str> = INVARIANTS.iter().map(|row| row.name).collect();
    all.sort_unstable();
    assert!(all.len() >= 15);
    // A removal that is answered early (S1) leaves no call that waits.
    let head = Bugs::head().without(Bug::EarlyFinish);
    for bugs in [Bugs::INTENDED, head] {
        assert_eq!(tripped(bugs), all, "a mutant or more for each invariant");
    }
}
