//! Attach, detach and hot-remove, on `head` unless said.

use scenarios::{EventKind, Inside, SlotState};
use serde_json::{Value, json};

use super::front_end::{Answer, Data, FrontEnd, read_10, write_10};
use super::rig::Rig;
use wire::bugs::Bugs;

const GONE: Answer = Answer::Check((5, 0x25, 0));
const RESCAN: (u32, u8, u32) = (1, 0, 1);
const REMOVED: (u32, u8, u32) = (1, 0, 2);

fn started(bugs: Bugs) -> (Rig, FrontEnd) {
    let mut rig = Rig::ready(bugs);
    let front = FrontEnd::start(&mut rig, 0);
    (rig, front)
}

#[test]
fn an_attach_is_told_by_an_event_and_the_target_then_works() {
    let (mut rig, mut front) = started(Bugs::head());
    assert_eq!(front.ready(&mut rig, 0), Answer::BadTarget);
    assert_eq!(rig.attach(0, "Malloc0"), Ok(json!(0)));
    assert_eq!(front.events(), [RESCAN]);
    assert_eq!(rig.shown(), [(0, 1)]);
    let inquiry = front.command(&mut rig, 0, &[0x12, 0, 0, 0, 36, 0], Data::In(36));
    assert_eq!(
        (inquiry.len, inquiry.status(), inquiry.resid()),
        (144, 0, 0)
    );
    assert_eq!(&front.data(inquiry.head, 36)[8..27], b"INTEL   Malloc disk");
    rig.clean();
}

#[test]
fn what_is_written_is_read_back() {
    let (mut rig, mut front) = started(Bugs::head());
    rig.attach(0, "Malloc0").expect("free slot");
    let bytes: Vec<u8> = (0..2048u32).map(|n| (n % 251) as u8).collect();
    let write = front.command(&mut rig, 0, &write_10(3, 4), Data::Out(&bytes));
    assert_eq!((write.len, write.status()), (108, 0));
    let read = front.command(&mut rig, 0, &read_10(3, 4), Data::In(2048));
    assert_eq!((read.len, read.status(), read.resid()), (2156, 0, 0));
    assert_eq!(front.data(read.head, 2048), bytes);
    rig.clean();
}

#[test]
fn an_attach_is_answered_at_a_later_rpc_tick_than_its_event() {
    let (mut rig, _front) = started(Bugs::head());
    let id = rig.send_attach(0, "Malloc0");
    rig.ms(100);
    let event = rig
        .seen
        .iter()
        .find(|seen| format!("{:?}", seen.what).contains("Rescan"))
        .expect("an event");
    let (answered, _) = rig.answers[&id];
    assert_eq!((answered - event.at).as_millis(), 3);
    assert_eq!(answered.0 % 4_000_000, 0);
}

#[test]
fn detaching_an_idle_target_leaves_a_tombstone_that_a_restart_clears() {
    let (mut rig, mut front) = started(Bugs::head());
    rig.attach(0, "Malloc0").expect("free slot");
    assert_eq!(rig.detach(0), Ok(Value::Bool(true)));
    assert_eq!(front.events(), [RESCAN, REMOVED]);
    assert_eq!(front.ready(&mut rig, 0), GONE);
    front.stop(&mut rig);
    rig.ms(20);
    front.start_again(&mut rig, super::rig::LINUX, 1);
    assert_eq!(front.ready(&mut rig, 0), Answer::BadTarget);
    rig.clean();
}

#[test]
fn a_detach_waits_for_io_in_flight_and_refuses_new_io() {
    let (mut rig, mut front) = started(Bugs::head());
    rig.attach(0, "EE_Malloc2").expect("free slot");
    rig.hold(1);
    let held = front.scsi(&mut rig, 0, &read_10(0, 1), Data::In(512));
    let id = rig.send_detach(0);
    rig.ms(300);
    assert_eq!(rig.answer(id), None);
    assert_eq!(front.ready(&mut rig, 0), GONE);
    assert_eq!(rig.shown(), []);
    rig.release();
    let finished = front.finished();
    assert_eq!(finished.len(), 1);
    assert_eq!((finished[0].head, finished[0].status()), (held, 0));
    assert_eq!(rig.answer(id), Some(Ok(Value::Bool(true))));
    rig.clean();
}

#[test]
fn busy_and_exists_answers_follow_the_slot() {
    let (mut rig, mut front) = started(Bugs::head());
    let busy = Err("Device or resource busy".to_owned());
    let exists = Err("File exists".to_owned());
    assert_eq!(rig.detach(0), busy);
    assert_eq!(rig.detach(8), Err("Invalid argument".to_owned()));
    assert_eq!(rig.attach(8, "Malloc0"), Err("Invalid argument".to_owned()));
    assert_eq!(rig.attach(0, "nothing"), Err("Invalid argument".to_owned()));
    assert_eq!(
        rig.attach(0, "Malloc2"),
        Err("Invalid argument".to_owned()),
        "claimed"
    );
    assert_eq!(rig.attach(-1, "EE_Malloc2"), Ok(json!(0)));
    assert_eq!(rig.attach(0, "Malloc0"), exists);
    rig.hold(1);
    front.scsi(&mut rig, 0, &read_10(0, 1), Data::In(512));
    let removing = rig.send_detach(0);
    rig.ms(50);
    assert_eq!(rig.detach(0), busy);
    assert_eq!(rig.attach(0, "Malloc0"), exists);
    rig.release();
    assert_eq!(rig.answer(removing), Some(Ok(Value::Bool(true))));
    for slot in 0..8 {
        assert_eq!(rig.attach(-1, "Malloc0"), Ok(json!(slot)));
    }
    assert_eq!(
        rig.attach(-1, "Malloc0"),
        Err("No space left on device".to_owned())
    );
    rig.clean();
}

#[test]
fn a_remove_in_the_same_read_as_its_attach_is_busy() {
    let (mut rig, _front) = started(Bugs::head());
    let attach = rig.send_attach(0, "Malloc0");
    let detach = rig.send_detach(0);
    rig.ms(50);
    assert_eq!(rig.answer(attach), Some(Ok(json!(0))));
    let busy = Err("Device or resource busy".to_owned());
    assert_eq!(rig.answer(detach), Some(busy));
    assert_eq!(rig.shown(), [(0, 1)]);
}

#[test]
fn detaching_without_a_session_is_done_at_once_and_silently() {
    let mut rig = Rig::ready(Bugs::head());
    rig.attach(3, "Malloc0").expect("free slot");
    assert_eq!(rig.detach(3), Ok(Value::Bool(true)));
    assert_eq!(rig.events(), []);
    rig.clean();
}

#[test]
fn a_target_attached_while_stopped_is_there_after_the_start_without_an_event() {
    let mut rig = Rig::ready(Bugs::head());
    let mut front = FrontEnd::connect(&mut rig, 0);
    rig.attach(2, "Malloc0").expect("free slot");
    front.start_again(&mut rig, super::rig::LINUX, 1);
    assert_eq!(front.ready(&mut rig, 2), Answer::Good);
    assert_eq!(rig.events(), []);
    rig.clean();
}

#[test]
fn without_the_hotplug_feature_there_is_no_event() {
    let mut rig = Rig::ready(Bugs::head());
    let mut front = FrontEnd::connect(&mut rig, 0);
    let features = super::rig::LINUX & !wire::scsi::feature::HOTPLUG;
    front.start_again(&mut rig, features, 1);
    rig.attach(0, "Malloc0").expect("free slot");
    assert_eq!(front.ready(&mut rig, 0), Answer::Good);
    assert_eq!(rig.detach(0), Ok(Value::Bool(true)));
    assert_eq!(front.ready(&mut rig, 0), GONE);
    assert_eq!(rig.events(), []);
    assert!(
        rig.logs
            .iter()
            .any(|line| line.contains("does not support hotplug"))
    );
}

#[test]
fn both_sessions_of_a_controller_are_told_and_waited_for() {
    let (mut rig, mut a) = started(Bugs::INTENDED);
    let mut b = FrontEnd::start(&mut rig, 1);
    rig.attach(0, "EE_Malloc2").expect("free slot");
    assert_eq!((a.events(), b.events()), (vec![RESCAN], vec![RESCAN]));
    rig.hold(1);
    b.scsi(&mut rig, 0, &read_10(0, 1), Data::In(512));
    let id = rig.send_detach(0);
    rig.ms(200);
    assert_eq!(rig.answer(id), None);
    rig.release();
    assert_eq!(rig.answer(id), Some(Ok(Value::Bool(true))));
    let answered = rig.inside().find_map(|inside| match inside {
        Inside::RemoveAnswered {
            referrers, tasks, ..
        } => Some((referrers, tasks)),
        _ => None,
    });
    assert_eq!(answered, Some((0, 0)));
    rig.clean();
}

#[test]
fn eight_buffers_hold_eight_events_and_the_ninth_is_dropped() {
    let (mut rig, mut front) = started(Bugs::head());
    for slot in 0..8 {
        rig.attach(slot, "Malloc0").expect("free slot");
    }
    rig.detach(0).expect("present");
    assert_eq!(front.events().len(), 8);
    let lost = rig.events().pop().expect("nine were due");
    assert_eq!(lost, (0, EventKind::Removed, false, false));
    let text = "vhost.0s0: failed to send virtio event (no avail ring entries?).";
    assert!(rig.logs.iter().any(|line| line == text));
    front.post_event(&mut rig, 16);
    rig.ms(20);
    assert_eq!(front.events(), [], "nothing comes later");
}

#[test]
fn a_short_event_buffer_is_consumed_and_the_event_lost() {
    let mut rig = Rig::ready(Bugs::head());
    let mut front = FrontEnd::connect(&mut rig, 0);
    front.start_again(&mut rig, super::rig::LINUX, 1);
    front.post_event(&mut rig, 15);
    rig.attach(0, "Malloc0").expect("free slot");
    assert_eq!(front.used(super::rig::EVENT), [(0, 0)]);
    assert_eq!(rig.events(), [(0, EventKind::Rescan, false, false)]);
}

#[test]
fn deleting_a_bdev_detaches_its_target_once_its_io_has_ended() {
    let (mut rig, mut front) = started(Bugs::head());
    rig.attach(0, "EE_Malloc2").expect("free slot");
    front.events();
    rig.hold(1);
    let held = front.scsi(&mut rig, 0, &read_10(0, 1), Data::In(512));
    rig.ms(1);
    let id = rig.rpc("bdev_error_delete", json!({"name": "EE_Malloc2"}));
    rig.ms(50);
    assert_eq!(rig.answer(id), None);
    assert_eq!(rig.shown(), [(0, 0)], "PRESENT, without a LUN");
    assert_eq!(front.events(), [], "the event comes after the I/O");
    assert_eq!(front.ready(&mut rig, 0), GONE);
    let params = json!({"name": "EE_Malloc2"});
    let resumed = rig.ask("bdev_error_resume_pending", params);
    assert_eq!(resumed, Ok(Value::Bool(true)));
    assert_eq!(front.finished()[0].head, held);
    assert_eq!(front.events(), [REMOVED]);
    assert_eq!(rig.answer(id), Some(Ok(Value::Bool(true))));
    assert_eq!(rig.shown(), []);
    rig.clean();
}

#[test]
fn detaching_nvme_detaches_the_targets_on_its_splits_and_the_data_stay() {
    let (mut rig, mut front) = started(Bugs::head());
    let params = json!({"name": "Nvme0", "trtype": "PCIe", "traddr": "0000:01:00.0"});
    let made = rig.done("bdev_nvme_attach_controller", params.clone());
    assert_eq!(made, json!(["Nvme0n1"]));
    let split = json!({"base_bdev": "Nvme0n1", "split_count": 2});
    let parts = json!(["Nvme0n1p0", "Nvme0n1p1"]);
    assert_eq!(rig.done("bdev_split_create", split.clone()), parts);
    for (slot, part) in [(0, "Nvme0n1p0"), (1, "Nvme0n1p1")] {
        rig.attach(slot, part).expect("free slot");
    }
    front.command(&mut rig, 1, &write_10(0, 1), Data::Out(&[7; 512]));
    let detached = rig.done("bdev_nvme_detach_controller", json!({"name": "Nvme0"}));
    assert_eq!(detached, Value::Bool(true));
    assert_eq!(rig.shown(), []);
    assert_eq!(front.events().len(), 4);
    rig.done("bdev_nvme_attach_controller", params);
    assert_eq!(rig.done("bdev_split_create", split), parts);
    rig.attach(1, "Nvme0n1p1").expect("free slot");
    let read = front.command(&mut rig, 1, &read_10(0, 1), Data::In(512));
    assert_eq!(front.data(read.head, 512), [7; 512]);
    rig.clean();
}

#[test]
fn a_slot_takes_another_bdev_after_a_detach() {
    let (mut rig, mut front) = started(Bugs::head());
    rig.attach(0, "Malloc0").expect("free slot");
    front.command(&mut rig, 0, &write_10(0, 1), Data::Out(&[1; 512]));
    rig.detach(0).expect("present");
    rig.attach(0, "Malloc1").expect("free slot");
    let read = front.command(&mut rig, 0, &read_10(0, 1), Data::In(512));
    assert_eq!(front.data(read.head, 512), [0; 512]);
    let session_moves: Vec<_> = rig
        .inside()
        .filter_map(|inside| match inside {
            Inside::Slot {
                session: Some(0),
                to,
                device,
                ..
            } => Some((to, device)),
            _ => None,
        })
        .collect();
    assert_eq!(
        session_moves,
        [
            (SlotState::Present, 1),
            (SlotState::Removing, 1),
            (SlotState::Removed, 1),
            (SlotState::Present, 2),
        ]
    );
    rig.clean();
}
