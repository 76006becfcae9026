//! The life of sessions and controllers.

use std::sync::Arc;

use serde_json::{Value, json};
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

use super::front_end::{Answer, Data, FrontEnd, read_10};
use super::rig::{CTRL, LINUX, REQ, Rig};
use crate::handles::BDEV;
use wire::bugs::{Bug, Bugs};
use wire::component::Component;
use wire::message::{VhostUser, VringIndex};

fn started(bugs: Bugs) -> (Rig, FrontEnd) {
    let mut rig = Rig::ready(bugs);
    let front = FrontEnd::start(&mut rig, 0);
    (rig, front)
}

fn holding(bugs: Bugs) -> (Rig, FrontEnd) {
    let (mut rig, mut front) = started(bugs);
    rig.attach(0, "EE_Malloc2").expect("free slot");
    rig.hold(1);
    front.scsi(&mut rig, 0, &read_10(0, 1), Data::In(512));
    rig.ms(1);
    (rig, front)
}

#[test]
fn a_stop_waits_for_held_io_and_says_where_the_rings_go_on() {
    let (mut rig, mut front) = holding(Bugs::head());
    front.stop(&mut rig);
    rig.ms(500);
    assert_eq!(rig.bases(0), []);
    rig.release();
    rig.ms(20);
    assert_eq!(front.finished().len(), 1);
    assert_eq!(rig.bases(0), [(0, 0), (1, 1), (2, 1)]);
    assert_eq!(rig.session(0)["started"], json!(false));
    assert_eq!(rig.session(0)["max_queues"], json!(0));
    rig.clean();
}

#[test]
fn a_stop_finishes_a_removal_that_waited() {
    let (mut rig, mut front) = holding(Bugs::head());
    let id = rig.send_detach(0);
    rig.ms(50);
    front.stop(&mut rig);
    rig.ms(50);
    assert_eq!(rig.answer(id), None);
    rig.release();
    rig.ms(20);
    assert_eq!(rig.answer(id), Some(Ok(Value::Bool(true))));
    front.start_again(&mut rig, LINUX, 1);
    assert_eq!(front.ready(&mut rig, 0), Answer::BadTarget);
    rig.clean();
}

#[test]
fn on_head_a_stop_gives_up_after_eight_seconds_and_leaves_a_zombie() {
    let (mut rig, mut front) = holding(Bugs::head());
    let vring = VringIndex(REQ);
    rig.vhost_user(0, VhostUser::GetVringBase { vring });
    rig.ms(7_900);
    assert_eq!(rig.bases(0), []);
    rig.ms(200);
    assert_eq!(rig.bases(0), [(2, 0)], "the base it started from");
    let session = rig.session(0);
    assert_eq!(
        (&session["started"], &session["max_queues"]),
        (&json!(true), &json!(3))
    );
    assert_eq!(session["inflight_task_cnt"], json!(1));
    front.scsi(&mut rig, 0, &[0; 6], Data::None);
    rig.ms(100);
    assert_eq!(front.finished(), [], "nobody polls");
    rig.release();
    assert_eq!(front.finished().len(), 1, "the old request ends late");
    rig.vhost_user(0, VhostUser::GetVringBase { vring });
    rig.ms(100);
    assert_eq!(rig.bases(0)[1], (2, 1));
    assert_eq!(rig.session(0)["started"], json!(false));
}

#[test]
fn as_intended_a_stop_that_times_out_touches_no_memory_later_and_starts_anew() {
    let (mut rig, mut front) = holding(Bugs::INTENDED);
    front.stop(&mut rig);
    rig.ms(4_100);
    assert_eq!(rig.bases(0), [(0, 0), (1, 1), (2, 1)]);
    rig.release();
    rig.ms(20);
    assert_eq!(front.finished(), []);
    front.start_again(&mut rig, LINUX, 1);
    assert_eq!(front.ready(&mut rig, 0), Answer::Good);
    rig.clean();
}

#[test]
fn on_head_a_guest_that_dies_with_io_stuck_takes_the_target_with_it_when_the_io_returns() {
    let (mut rig, mut front) = holding(Bugs::head());
    front.disconnect(&mut rig);
    rig.ms(8_200);
    assert_eq!(rig.died, None);
    let params = json!({"name": "EE_Malloc2"});
    rig.rpc("bdev_error_resume_pending", params);
    rig.ms(50);
    assert_eq!(rig.died.map(|crash| crash.signal), Some("SIGSEGV"));
}

#[test]
fn on_head_an_attach_after_such_a_death_crashes_too() {
    let (mut rig, mut front) = holding(Bugs::head());
    front.disconnect(&mut rig);
    rig.ms(8_200);
    rig.send_attach(1, "Malloc0");
    rig.ms(50);
    assert_eq!(rig.died.map(|crash| crash.signal), Some("SIGSEGV"));
}

#[test]
fn as_intended_a_dead_guests_session_goes_once_its_io_has_returned() {
    let (mut rig, mut front) = holding(Bugs::INTENDED);
    front.disconnect(&mut rig);
    rig.ms(8_200);
    rig.attach(1, "Malloc0").expect("free slot");
    rig.release();
    assert_eq!(rig.session(0), Value::Null);
    let mut next = FrontEnd::start(&mut rig, 1);
    assert_eq!(next.ready(&mut rig, 0), Answer::Good);
    rig.clean();
}

/// A command whose data are at the end of memory waits behind two resets and I/O of a device that does nothing.
/// The front-end gives up, hands over less memory, starts its rings again, and then the I/O returns.
fn less_memory_under_a_command(bugs: Bugs, cdb: &[u8], writes: bool) -> Rig {
    const REQUEST: u64 = 0x9_0000;
    const RESPONSE: u64 = 0x9_0100;
    const HEAD: u16 = 60;
    let (mut rig, mut front) = started(bugs);
    rig.attach(0, "Malloc0").expect("free slot");
    rig.frozen.push(BDEV as u16);
    front.scsi(&mut rig, 0, &read_10(0, 1), Data::In(512));
    for head in [0, 2] {
        front.tmf(&mut rig, head, 5, [1, 0, 0, 0, 0, 0, 0, 0]);
    }
    rig.ms(20);
    let mut request = [0; 51];
    request[0] = 1;
    request[19..19 + cdb.len()].copy_from_slice(cdb);
    let wrote = front.memory.write_slice(&request, GuestAddress(REQUEST));
    wrote.expect("in memory");
    let (header, response) = ((REQUEST, 51, false), (RESPONSE, 108, true));
    let data = (7 << 20, 96, writes);
    let chain = if writes {
        [header, response, data]
    } else {
        [header, data, response]
    };
    front.chain(&mut rig, REQ, HEAD, &chain);
    rig.ms(1);
    assert_eq!(rig.session(0)["inflight_task_cnt"], json!(4));
    let vring = VringIndex(REQ);
    rig.vhost_user(0, VhostUser::GetVringBase { vring });
    rig.ms(9_000);
    assert_eq!(rig.bases(0).len(), 1, "the stop gave up");
    let less = GuestMemoryMmap::from_ranges(&[(GuestAddress(0), 4 << 20)]);
    front.memory = Arc::new(less.expect("4 MiB"));
    let message = VhostUser::SetMemTable(front.memory.clone());
    rig.vhost_user(0, message);
    rig.ms(9_000);
    for vring in [CTRL, REQ] {
        front.kick(&mut rig, vring, 0);
    }
    rig.ms(20);
    rig.frozen.clear();
    rig.ms(50);
    rig
}

const INQUIRY: [u8; 6] = [0x12, 0, 0, 0, 96, 0];
const UNMAP: [u8; 10] = [0x42, 0, 0, 0, 0, 0, 0, 0, 24, 0];

#[test]
fn on_head_a_command_that_waited_while_its_memory_went_takes_the_target_with_it() {
    for (cdb, writes, place) in [
        (&INQUIRY[..], true, "spdk_scsi_task_scatter_data"),
        (&UNMAP[..], false, "spdk_scsi_task_gather_data"),
    ] {
        let rig = less_memory_under_a_command(Bugs::head(), cdb, writes);
        let died = rig.died.as_ref().expect("its buffers are nowhere");
        assert_eq!(died.signal, "SIGSEGV");
        assert!(died.place.starts_with(place), "{}", died.place);
        let broken = rig.broken();
        assert!(broken[0].starts_with("G4: "), "{broken:?}");
    }
}

#[test]
fn as_intended_a_command_that_waited_while_its_memory_went_ends_without_it() {
    for (cdb, writes) in [(&INQUIRY[..], true), (&UNMAP[..], false)] {
        let mut rig = less_memory_under_a_command(Bugs::INTENDED, cdb, writes);
        assert_eq!(rig.session(0)["inflight_task_cnt"], json!(0));
        rig.clean();
    }
}

#[test]
fn a_stuck_stop_holds_up_the_messages_of_other_guests() {
    let (mut rig, mut front) = holding(Bugs::head());
    front.stop(&mut rig);
    rig.ms(10);
    let other = rig.replies.len();
    rig.target.input(
        rig.now,
        wire::message::ToTarget::Connect {
            conn: wire::message::ConnId(7),
            controller: "vhost.1".into(),
        },
    );
    rig.vhost_user(7, VhostUser::GetFeatures);
    rig.ms(200);
    assert_eq!(rig.replies.len(), other);
    rig.release();
    rig.ms(20);
    assert!(rig.replies.iter().any(|(conn, _)| conn.0 == 7));
}

#[test]
fn a_session_starts_only_with_a_request_queue() {
    let mut rig = Rig::ready(Bugs::head());
    let mut front = FrontEnd::connect(&mut rig, 0);
    front.start_again(&mut rig, LINUX, 0);
    assert_eq!(rig.session(0)["started"], json!(false));
    front.kick(&mut rig, REQ, 0);
    rig.ms(10);
    assert_eq!(rig.session(0)["started"], json!(true));
}

#[test]
fn a_request_posted_while_stopped_is_served_at_the_start() {
    let (mut rig, mut front) = started(Bugs::head());
    rig.attach(0, "Malloc0").expect("free slot");
    front.ready(&mut rig, 0);
    front.stop(&mut rig);
    rig.ms(20);
    front.scsi(&mut rig, 0, &[0; 6], Data::None);
    rig.ms(100);
    assert_eq!(front.finished(), []);
    for vring in 0..3 {
        let base = rig.bases(0)[usize::from(vring)].1;
        front.kick(&mut rig, vring, base);
    }
    rig.ms(20);
    assert_eq!(front.finished().len(), 1);
}

#[test]
fn a_new_memory_table_restarts_a_running_session_with_one_call_a_queue() {
    let (mut rig, mut front) = started(Bugs::head());
    rig.attach(0, "Malloc0").expect("free slot");
    rig.attach(1, "Malloc1").expect("free slot");
    rig.detach(1).expect("present");
    rig.ms(20);
    rig.calls.clear();
    rig.vhost_user(0, VhostUser::SetMemTable(front.memory.clone()));
    rig.ms(20);
    let mut called: Vec<u16> = rig.calls.iter().map(|(_, vring)| *vring).collect();
    called.sort_unstable();
    assert_eq!(called, [0, 1, 2]);
    assert_eq!(front.ready(&mut rig, 0), Answer::Good);
    assert_eq!(
        front.ready(&mut rig, 1),
        Answer::BadTarget,
        "the tombstone is gone"
    );
    rig.clean();
}

#[test]
fn features_cannot_change_while_running() {
    let (mut rig, _front) = started(Bugs::head());
    let message = wire::message::ToTarget::VhostUser {
        conn: wire::message::ConnId(0),
        message: VhostUser::SetFeatures(1 << 32),
        need_reply: true,
    };
    rig.target.input(rig.now, message);
    rig.ms(5);
    let (_, reply) = rig.replies.last().expect("an acknowledgement");
    assert_eq!(format!("{reply:?}"), "Ack { ok: false }");
}

#[test]
fn on_head_deleting_a_connected_controller_is_answered_when_the_guest_leaves() {
    let (mut rig, mut front) = started(Bugs::head());
    let id = rig.rpc("vhost_delete_controller", json!({"ctrlr": "vhost.0"}));
    rig.ms(500);
    assert_eq!(rig.answer(id), None);
    front.disconnect(&mut rig);
    rig.ms(50);
    assert_eq!(rig.answer(id), Some(Ok(Value::Bool(true))));
    rig.clean();
}

#[test]
fn as_intended_deleting_a_connected_controller_is_refused() {
    let (mut rig, _front) = started(Bugs::INTENDED);
    let refused = rig.ask("vhost_delete_controller", json!({"ctrlr": "vhost.0"}));
    assert_eq!(refused, Err("Device or resource busy".to_owned()));
}

#[test]
fn deleting_a_controller_with_targets_removes_them() {
    let mut rig = Rig::ready(Bugs::head());
    rig.attach(0, "Malloc0").expect("free slot");
    rig.attach(5, "Malloc1").expect("free slot");
    rig.done("vhost_delete_controller", json!({"ctrlr": "vhost.0"}));
    rig.ms(50);
    assert_eq!(rig.done("scsi_get_devices", Value::Null), json!([]));
    let made = rig.done("vhost_create_scsi_controller", json!({"ctrlr": "vhost.0"}));
    assert_eq!(made, Value::Bool(true));
    rig.clean();
}

#[test]
fn deleting_the_last_controller_stalls_the_app_thread_on_head_only() {
    for (bugs, stalls) in [(Bugs::head(), true), (Bugs::INTENDED, false)] {
        let mut rig = Rig::ready(bugs);
        rig.done("vhost_delete_controller", json!({"ctrlr": "vhost.1"}));
        let id = rig.rpc("vhost_delete_controller", json!({"ctrlr": "vhost.0"}));
        rig.ms(300);
        assert_eq!(rig.answer(id).is_none(), stalls);
        rig.ms(1_000);
        assert_eq!(rig.answer(id), Some(Ok(Value::Bool(true))));
    }
}

#[test]
fn a_duplicate_kick_can_crash_head_and_never_the_intended_target() {
    let mut crashes = 0;
    for seed in 0..20 {
        for bugs in [Bugs::head(), Bugs::INTENDED] {
            let (mut rig, _front) = started(bugs);
            rig.rng = wire::Rng::new(seed, wire::Stream::Directed);
            let vring = VringIndex(REQ);
            rig.vhost_user(0, VhostUser::SetVringKick { vring });
            rig.ms(20);
            if rig.died.is_some() {
                assert!(bugs.has(Bug::DuplicateKick));
                crashes += 1;
            }
        }
    }
    assert!(
        (5..20).contains(&crashes),
        "a race, not a rule: {crashes} of 20"
    );
}
