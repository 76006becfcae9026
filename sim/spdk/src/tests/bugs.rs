//! The bugs of the slot machine: each does its harm alone, and none is there when it is off.

use scenarios::EventKind;
use serde_json::{Value, json};

use super::front_end::{Answer, Data, FrontEnd, read_10};
use super::rig::{LINUX, Rig};
use crate::TargetConfig;
use wire::bugs::{Bug, Bugs};

const INTENDED: Bugs = Bugs::INTENDED;

/// Two sessions; the second is stopping, with I/O held on slot 1. Slot 0 has Malloc0.
fn one_stopping(bugs: Bugs) -> (Rig, FrontEnd, FrontEnd) {
    let mut rig = Rig::ready(bugs);
    let a = FrontEnd::start(&mut rig, 0);
    let mut b = FrontEnd::start(&mut rig, 1);
    rig.attach(0, "Malloc0").expect("free slot");
    rig.attach(1, "EE_Malloc2").expect("free slot");
    rig.hold(1);
    b.scsi(&mut rig, 1, &read_10(0, 1), Data::In(512));
    rig.ms(1);
    b.stop(&mut rig);
    rig.ms(60);
    (rig, a, b)
}

#[test]
fn s1_a_removal_is_answered_while_a_stopping_session_holds_the_device() {
    let (mut rig, mut a, mut b) = one_stopping(INTENDED.with(Bug::EarlyFinish));
    assert_eq!(rig.detach(0), Ok(Value::Bool(true)));
    let devices = rig.done("scsi_get_devices", Value::Null);
    assert_eq!(
        devices.as_array().map(Vec::len),
        Some(2),
        "the old one is held"
    );
    rig.attach(0, "Malloc1")
        .expect("the slot is free, or so it seems");
    a.events();
    b.events();
    assert_eq!(rig.detach(0), Ok(Value::Bool(true)));
    assert_eq!(
        b.events(),
        [(1, 0, 2)],
        "a second REMOVED for the old device"
    );
    assert!(rig.broken().iter().any(|text| text.starts_with("I18")));

    let (mut rig, _a, _b) = one_stopping(INTENDED);
    let id = rig.send_detach(0);
    rig.ms(200);
    assert_eq!(rig.answer(id), None);
    rig.release();
    rig.ms(50);
    assert_eq!(rig.answer(id), Some(Ok(Value::Bool(true))));
    rig.clean();
}

#[test]
fn b01_a_late_completion_removes_the_new_target() {
    for (bugs, there) in [
        (INTENDED.with(Bug::EarlyFinish), true),
        (
            INTENDED.with(Bug::EarlyFinish).with(Bug::StaleFinish),
            false,
        ),
    ] {
        let (mut rig, _a, _b) = one_stopping(bugs);
        rig.detach(0).expect("present");
        rig.attach(0, "Malloc1").expect("free slot");
        rig.release();
        rig.ms(50);
        assert_eq!(rig.shown().iter().any(|(slot, _)| *slot == 0), there);
    }
}

#[test]
fn b02_a_remove_is_taken_while_sessions_are_being_told() {
    for (bugs, taken) in [
        (INTENDED, false),
        (INTENDED.with(Bug::RemoveWhileAdding), true),
    ] {
        let mut rig = Rig::ready(bugs);
        let _front = FrontEnd::start(&mut rig, 0);
        rig.send_attach(0, "Malloc0");
        let id = rig.send_detach(0);
        rig.ms(50);
        assert_ne!(rig.answer(id).is_some_and(|answer| answer.is_err()), taken);
        assert_eq!(rig.broken().is_empty(), !taken);
    }
}

#[test]
fn b05_a_tombstone_survives_a_restart() {
    for (bugs, answer) in [
        (INTENDED, Answer::BadTarget),
        (
            INTENDED.with(Bug::KeepTombstoneOnStop),
            Answer::Check((5, 0x25, 0)),
        ),
    ] {
        let mut rig = Rig::ready(bugs);
        let mut front = FrontEnd::start(&mut rig, 0);
        rig.attach(0, "Malloc0").expect("free slot");
        rig.detach(0).expect("present");
        front.stop(&mut rig);
        rig.ms(20);
        front.start_again(&mut rig, LINUX, 1);
        assert_eq!(front.ready(&mut rig, 0), answer);
    }
}

#[test]
fn b06_a_stop_forgets_a_removal() {
    for (bugs, answered) in [
        (INTENDED, true),
        (INTENDED.with(Bug::StopForgetsRemoving), false),
    ] {
        let mut rig = Rig::ready(bugs);
        let mut front = FrontEnd::start(&mut rig, 0);
        rig.attach(0, "EE_Malloc2").expect("free slot");
        rig.hold(1);
        front.scsi(&mut rig, 0, &read_10(0, 1), Data::In(512));
        let id = rig.send_detach(0);
        rig.ms(20);
        front.stop(&mut rig);
        rig.ms(20);
        rig.release();
        rig.ms(100);
        assert_eq!(rig.answer(id).is_some(), answered);
        assert_eq!(rig.target.left().is_empty(), answered);
    }
}

#[test]
fn b12_a_target_marked_for_removal_takes_new_io() {
    for (bugs, answer) in [
        (INTENDED, Answer::Check((5, 0x25, 0))),
        (INTENDED.with(Bug::RemovingAcceptsIo), Answer::Good),
    ] {
        let mut rig = Rig::ready(bugs);
        let mut front = FrontEnd::start(&mut rig, 0);
        rig.attach(0, "EE_Malloc2").expect("free slot");
        rig.hold(1);
        front.scsi(&mut rig, 0, &read_10(0, 1), Data::In(512));
        rig.send_detach(0);
        rig.ms(20);
        assert_eq!(front.ready(&mut rig, 0), answer);
    }
}

#[test]
fn b23_a_removal_hangs_without_a_control_queue() {
    for (bugs, answered) in [
        (INTENDED, true),
        (INTENDED.with(Bug::MgmtNeedsCtrlq), false),
    ] {
        let mut rig = Rig::ready(bugs);
        let mut front = FrontEnd::connect(&mut rig, 0);
        rig.vhost_user(0, wire::message::VhostUser::SetFeatures(LINUX));
        let table = wire::message::VhostUser::SetMemTable(front.memory.clone());
        rig.vhost_user(0, table);
        front.kick(&mut rig, 2, 0);
        rig.ms(10);
        rig.attach(0, "Malloc0").expect("free slot");
        let id = rig.send_detach(0);
        rig.ms(100);
        assert_eq!(rig.answer(id).is_some(), answered);
    }
}

#[test]
fn s5_a_hot_remove_while_adding_is_lost_with_two_reactors_only() {
    for (cores, bug, shown, events) in [
        (2, true, vec![(0, 0)], vec![EventKind::Rescan]),
        (
            2,
            false,
            vec![],
            vec![EventKind::Rescan, EventKind::Removed],
        ),
        (1, true, vec![], vec![EventKind::Rescan, EventKind::Removed]),
    ] {
        let mut bugs = INTENDED;
        if bug {
            bugs = bugs.with(Bug::HotremoveLostInAdding);
        }
        let mut rig = Rig::with(TargetConfig {
            bugs,
            cores,
            ..TargetConfig::default()
        });
        rig.set_up();
        let _front = FrontEnd::start(&mut rig, 0);
        if cores == 2 {
            rig.frozen.push(3);
        }
        rig.send_attach(0, "Malloc0");
        let id = rig.rpc("bdev_malloc_delete", json!({"name": "Malloc0"}));
        rig.ms(50);
        assert_eq!(rig.answer(id), Some(Ok(Value::Bool(true))));
        rig.frozen.clear();
        rig.ms(50);
        assert_eq!(rig.shown(), shown);
        let kinds: Vec<_> = rig.events().iter().map(|(_, kind, ..)| *kind).collect();
        assert_eq!(kinds, events);
    }
}

#[test]
fn s6_new_io_overtakes_a_reset_that_waits() {
    for (bugs, overtakes) in [(INTENDED, false), (INTENDED.with(Bug::ResetStarves), true)] {
        let mut rig = Rig::ready(bugs);
        let mut front = FrontEnd::start(&mut rig, 0);
        let params = json!({"name": "Nvme0", "trtype": "PCIe", "traddr": "0000:01:00.0"});
        rig.done("bdev_nvme_attach_controller", params);
        rig.attach(0, "Nvme0n1").expect("free slot");
        front.tmf(&mut rig, 0, 5, [1, 0, 0, 0, 0, 0, 0, 0]);
        while rig.logs.iter().all(|line| !line.contains("reset")) {
            rig.run(std::time::Duration::from_micros(1));
        }
        front.scsi(&mut rig, 0, &[0; 6], Data::None);
        rig.run(std::time::Duration::from_micros(5));
        assert_eq!(front.finished().len() == 1, overtakes);
        rig.ms(20);
        rig.clean();
    }
}

#[test]
fn s14_a_front_end_that_connects_in_time_keeps_a_deleted_controller() {
    for (bugs, lingers) in [
        (INTENDED, false),
        (INTENDED.with(Bug::UnregisterDropped), true),
    ] {
        let mut rig = Rig::with(TargetConfig {
            bugs,
            cores: 2,
            ..TargetConfig::default()
        });
        rig.set_up();
        rig.attach(0, "Malloc0").expect("free slot");
        // The controller's thread stands still: the removal of its target cannot end.
        rig.frozen.push(3);
        let id = rig.rpc("vhost_delete_controller", json!({"ctrlr": "vhost.0"}));
        rig.ms(20);
        assert_eq!(rig.answer(id), Some(Ok(Value::Bool(true))));
        let mut front = FrontEnd::connect(&mut rig, 0);
        rig.frozen.clear();
        rig.ms(50);
        assert_eq!(rig.closed.is_empty(), lingers, "refused from the delete on");
        front.disconnect(&mut rig);
        rig.ms(50);
        let made = rig.ask("vhost_create_scsi_controller", json!({"ctrlr": "vhost.0"}));
        assert_eq!(made.is_err(), lingers);
    }
}

#[test]
fn ev_a_dropped_event_is_confessed_when_a_buffer_is_posted() {
    let mut rig = Rig::ready(INTENDED);
    let mut front = FrontEnd::connect(&mut rig, 0);
    front.start_again(&mut rig, LINUX, 1);
    rig.attach(0, "Malloc0").expect("free slot");
    front.post_event(&mut rig, 16);
    rig.ms(20);
    assert_eq!(front.events(), [(0x8000_0000, 0, 0)]);
    front.post_event(&mut rig, 16);
    rig.attach(1, "Malloc1").expect("free slot");
    assert_eq!(front.events(), [(1, 1, 1)]);
    assert_eq!(
        rig.events(),
        [
            (0, EventKind::Rescan, false, false),
            (0, EventKind::Missed, true, true),
            (1, EventKind::Rescan, true, false),
        ]
    );
}

#[test]
fn n2_an_old_completion_lands_in_the_new_ring() {
    let zombie = INTENDED.with(Bug::StopTimeoutZombie);
    for (bugs, lands) in [(zombie, false), (zombie.with(Bug::StaleCompletion), true)] {
        let mut rig = Rig::ready(bugs);
        let mut front = FrontEnd::start(&mut rig, 0);
        rig.attach(0, "EE_Malloc2").expect("free slot");
        rig.hold(1);
        front.scsi(&mut rig, 0, &read_10(0, 1), Data::In(512));
        rig.ms(1);
        front.stop(&mut rig);
        rig.ms(20_000);
        front.start_again(&mut rig, LINUX, 1);
        rig.ms(5_000);
        front.scsi(&mut rig, 0, &[0; 6], Data::None);
        rig.ms(20);
        assert_eq!(front.used(2), [], "the zombie does not poll");
        rig.release();
        assert_eq!(front.used(2).len(), usize::from(lands));
    }
}
