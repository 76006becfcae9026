//! Requests, chains, task management, calls.

use super::front_end::{Answer, Data, FrontEnd, read_10};
use super::rig::{CTRL, LINUX, REQ, RING, Rig};
use wire::bugs::{Bug, Bugs};
use wire::ring::{DESC_F_NEXT, Desc};
use wire::scsi::feature;

const LUN_0: [u8; 8] = [1, 0, 0, 0, 0, 0, 0, 0];
const RESET: u32 = 5;

fn attached(bugs: Bugs) -> (Rig, FrontEnd) {
    let mut rig = Rig::ready(bugs);
    let mut front = FrontEnd::start(&mut rig, 0);
    rig.attach(0, "EE_Malloc2").expect("free slot");
    front.events();
    (rig, front)
}

type Chain = Vec<(u64, u32, bool)>;

/// Chains that SPDK refuses, as (addr, len, writable), for a request at `at`.
fn malformed(at: u64) -> Vec<(&'static str, Chain)> {
    let header = (at, 51, false);
    let response = (at + 0x100, 108, true);
    vec![
        ("short header", vec![(at, 50, false), response]),
        ("writable header", vec![(at, 51, true), response]),
        ("no response", vec![header]),
        ("short response", vec![header, (at + 0x100, 107, true)]),
        (
            "read-only data-in",
            vec![header, response, (at + 0x1000, 512, false)],
        ),
        ("empty data", vec![header, response, (at + 0x1000, 0, true)]),
        (
            "unmapped data",
            vec![header, response, (8 << 20, 512, true)],
        ),
        (
            "no response after data",
            vec![header, (at + 0x1000, 512, false)],
        ),
        (
            "response over two regions",
            vec![header, ((4 << 20) - 50, 108, true)],
        ),
    ]
}

#[test]
fn on_head_a_malformed_request_is_returned_untouched_and_the_ring_goes_on() {
    let (mut rig, mut front) = attached(Bugs::head());
    for (what, chain) in malformed(FrontEnd::buffer(100)) {
        let response = vm_memory::GuestAddress(FrontEnd::buffer(100) + 0x100);
        vm_memory::Bytes::write_slice(&*front.memory, &[0xaa; 108], response).expect("in memory");
        front.chain(&mut rig, REQ, 100, &chain);
        rig.ms(1);
        let finished = front.finished();
        assert_eq!(finished.len(), 1, "{what}");
        assert_eq!((finished[0].head, finished[0].len), (100, 0), "{what}");
        assert!(finished[0].untouched(), "{what}");
        assert_eq!(front.ready(&mut rig, 0), Answer::Good, "after: {what}");
    }
    rig.clean();
}

#[test]
fn as_intended_a_malformed_request_fails_where_a_response_can_be_found() {
    let (mut rig, mut front) = attached(Bugs::INTENDED);
    let at = FrontEnd::buffer(100);
    front.chain(
        &mut rig,
        REQ,
        100,
        &[(at, 50, false), (at + 0x100, 108, true)],
    );
    rig.ms(1);
    let finished = front.finished();
    assert_eq!((finished[0].len, finished[0].byte()), (108, 9));
    front.chain(&mut rig, REQ, 100, &[(at, 51, false)]);
    rig.ms(1);
    assert_eq!(front.finished()[0].len, 0);
    assert_eq!(rig.target.unanswerable(), 1);
    rig.clean();
}

#[test]
fn the_hundred_and_thirtieth_piece_is_too_much() {
    let (mut rig, mut front) = attached(Bugs::head());
    for (pieces, len) in [(124u16, 108 + 124 * 8), (125, 108 + 125 * 8)] {
        let at = FrontEnd::buffer(0);
        let mut chain = vec![(at, 51, false), (at + 0x100, 108, true)];
        chain.extend((0..pieces).map(|n| (at + 0x1000 + 8 * u64::from(n), 8, true)));
        front.chain(&mut rig, REQ, 0, &chain);
        rig.ms(1);
        assert_eq!(front.finished()[0].len, u32::from(len as u16));
    }
    // A piece that loops on itself is as many as one likes.
    let at = FrontEnd::buffer(0);
    front.put_desc(
        REQ,
        0,
        Desc {
            addr: at,
            len: 51,
            flags: DESC_F_NEXT,
            next: 1,
        },
    );
    front.put_desc(
        REQ,
        1,
        Desc {
            addr: at + 0x1000,
            len: 8,
            flags: DESC_F_NEXT,
            next: 1,
        },
    );
    front.publish(&mut rig, REQ, 0);
    rig.ms(1);
    assert_eq!(front.finished()[0].len, 0);
    assert!(
        rig.logs
            .iter()
            .any(|line| line.contains("IOVS_MAX(129) reached"))
    );
}

#[test]
fn a_loop_hangs_head_when_dirty_logging_was_negotiated() {
    for (bugs, hangs) in [(Bugs::head(), true), (Bugs::INTENDED, false)] {
        let mut rig = Rig::ready(bugs);
        let mut front = FrontEnd::connect(&mut rig, 0);
        front.start_again(&mut rig, LINUX | feature::LOG_ALL, 1);
        let at = FrontEnd::buffer(0);
        front.put_desc(
            REQ,
            0,
            Desc {
                addr: at,
                len: 51,
                flags: DESC_F_NEXT,
                next: 0,
            },
        );
        front.publish(&mut rig, REQ, 0);
        rig.ms(10);
        assert_eq!(rig.died.map(|crash| crash.signal), hangs.then_some("hang"));
    }
}

#[test]
fn an_index_too_far_ahead_is_ignored_for_ever() {
    let (mut rig, mut front) = attached(Bugs::head());
    for _ in 0..RING {
        front.publish(&mut rig, REQ, 120);
    }
    front.publish(&mut rig, REQ, 120);
    rig.ms(10);
    assert_eq!(front.finished(), []);
}

#[test]
fn a_full_ring_is_served_unless_it_is_taken_for_empty() {
    let empty = Bugs::head().with(Bug::FullRingIsEmpty);
    for (bugs, served) in [(Bugs::head(), usize::from(RING)), (empty, 0)] {
        let (mut rig, mut front) = attached(bugs);
        for _ in 0..RING {
            front.publish(&mut rig, REQ, 120);
        }
        rig.ms(10);
        assert_eq!(front.finished().len(), served);
    }
}

#[test]
fn a_head_beyond_the_ring_is_returned_as_given() {
    let (mut rig, mut front) = attached(Bugs::head());
    front.publish(&mut rig, REQ, 500);
    rig.ms(1);
    assert_eq!(front.used(REQ), [(500, 0)]);
    assert_eq!(front.ready(&mut rig, 0), Answer::Good);
}

#[test]
fn a_head_that_is_in_flight_already_is_returned_with_nothing() {
    let (mut rig, mut front) = attached(Bugs::head());
    rig.hold(1);
    let head = front.scsi(&mut rig, 0, &read_10(0, 1), Data::In(512));
    rig.ms(1);
    front.publish(&mut rig, REQ, head);
    rig.ms(1);
    assert_eq!(front.used(REQ), [(u32::from(head), 0)]);
    rig.release();
    assert_eq!(front.used(REQ), [(u32::from(head), 620)]);
    rig.clean();
}

#[test]
fn the_gone_answers_depend_on_what_is_addressed() {
    let (mut rig, mut front) = attached(Bugs::head());
    let gone = (5, 0x25, 0);
    for (lun, byte, sense) in [
        ([2, 0, 0, 0, 0, 0, 0, 0], 3, None),
        ([1, 8, 0, 0, 0, 0, 0, 0], 3, None),
        ([1, 3, 0, 0, 0, 0, 0, 0], 3, None),
        ([1, 0, 0x40, 1, 0, 0, 0, 0], 0, Some(gone)),
        ([1, 0, 0x40, 0, 0, 0, 0, 0], 0, None),
    ] {
        front.scsi_lun(&mut rig, lun, &[0; 6], Data::None);
        rig.ms(1);
        let used = front.finished().remove(0);
        assert_eq!(used.byte(), byte, "{lun:?}");
        assert_eq!((used.status() == 2).then(|| used.sense()), sense, "{lun:?}");
    }
}

#[test]
fn task_management_other_than_lun_reset_is_aborted_or_a_bad_target() {
    let (mut rig, mut front) = attached(Bugs::head());
    for subtype in [0, 1, 2, 3, 4, 6, 7] {
        front.tmf(&mut rig, 0, subtype, LUN_0);
        rig.ms(6);
        assert_eq!(front.used(CTRL), [(0, 1)]);
        assert_eq!(front.tmf_response(0), 2);
        front.tmf(&mut rig, 10, subtype, [1, 4, 0, 0, 0, 0, 0, 0]);
        rig.ms(6);
        assert_eq!(front.used(CTRL), [(10, 1)]);
        assert_eq!(front.tmf_response(10), 3);
    }
    rig.clean();
}

#[test]
fn a_lun_reset_aborts_what_the_bdev_holds_and_is_answered_after_it() {
    let (mut rig, mut front) = attached(Bugs::head());
    rig.hold(1);
    front.scsi(&mut rig, 0, &read_10(0, 1), Data::In(512));
    rig.ms(1);
    front.tmf(&mut rig, 0, RESET, LUN_0);
    rig.ms(7);
    let read = front.finished().remove(0);
    assert_eq!((read.status(), read.sense()), (2, (0xb, 0, 0)));
    assert_eq!(front.used(CTRL), [(0, 0)]);
    assert_eq!(front.tmf_response(0), 0);
    assert_eq!(front.ready(&mut rig, 0), Answer::Good);
    rig.clean();
}

#[test]
fn a_lun_reset_with_no_lun_kills_head_and_is_answered_as_intended() {
    let lun_1 = [1, 0, 0x40, 1, 0, 0, 0, 0];
    let (mut rig, mut front) = attached(Bugs::head());
    front.tmf(&mut rig, 0, RESET, lun_1);
    rig.ms(7);
    assert_eq!(rig.died.map(|crash| crash.signal), Some("SIGSEGV"));

    let (mut rig, mut front) = attached(Bugs::INTENDED);
    front.tmf(&mut rig, 0, RESET, lun_1);
    rig.ms(7);
    assert_eq!(front.tmf_response(0), 12);
    rig.hold(1);
    front.scsi(&mut rig, 0, &read_10(0, 1), Data::In(512));
    rig.send_detach(0);
    rig.ms(20);
    front.tmf(&mut rig, 0, RESET, LUN_0);
    rig.ms(7);
    assert_eq!(front.tmf_response(0), 3);
}

#[test]
fn a_badly_addressed_tmf_is_answered_by_the_head_s_previous_device_on_head_only() {
    for (bugs, answer) in [(Bugs::head(), 2), (Bugs::INTENDED, 3)] {
        let (mut rig, mut front) = attached(bugs);
        let nowhere = [1, 9, 0, 0, 0, 0, 0, 0];
        let mut said = Vec::new();
        for lun in [nowhere, LUN_0, nowhere, [1, 3, 0, 0, 0, 0, 0, 0], nowhere] {
            front.tmf(&mut rig, 0, 0, lun);
            rig.ms(6);
            said.push(front.tmf_response(0));
        }
        assert_eq!(said, [3, 2, answer, 3, 3]);
    }
}

#[test]
fn calls_wait_for_the_driver_but_on_head_those_of_control_and_event_queue_are_lost() {
    for (bugs, lost) in [(Bugs::head(), true), (Bugs::INTENDED, false)] {
        let (mut rig, mut front) = attached(bugs);
        rig.ms(20);
        rig.calls.clear();
        front.no_interrupt(REQ, true);
        front.no_interrupt(CTRL, true);
        front.scsi(&mut rig, 0, &[0; 6], Data::None);
        front.tmf(&mut rig, 0, 0, LUN_0);
        rig.ms(20);
        assert_eq!(rig.calls, []);
        front.no_interrupt(REQ, false);
        front.no_interrupt(CTRL, false);
        front.look(&mut rig, REQ);
        front.look(&mut rig, CTRL);
        rig.ms(20);
        let called: Vec<u16> = rig.calls.iter().map(|(_, vring)| *vring).collect();
        assert_eq!(called, if lost { vec![REQ] } else { vec![REQ, CTRL] });
    }
}

#[test]
fn a_failed_read_says_so_unless_good_was_set_early() {
    let early = Bugs::INTENDED.with(Bug::StatusGoodEarly);
    for (bugs, status) in [(Bugs::INTENDED, 2), (early, 0)] {
        let (mut rig, mut front) = attached(bugs);
        let params = serde_json::json!({
            "name": "EE_Malloc2", "io_type": "read", "error_type": "failure", "num": 1,
        });
        rig.done("bdev_error_inject_error", params);
        let read = front.command(&mut rig, 0, &read_10(0, 1), Data::In(512));
        assert_eq!(read.status(), status);
    }
}
