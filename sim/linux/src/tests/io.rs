//! Requests of applications through the whole stack.

use std::time::Duration;

use fio_model::Volume;
use scenarios::{CheckId, Observation, Time};

use super::back_end::ScriptedBackEnd;
use crate::driver::layout::THREADS_MAX;
use crate::testing::chain::Sent;
use crate::testing::scsi::{Reaction, Says, Slot};
use wire::message::GuestAct;

fn job(rw: &str, depth: u32) -> String {
    format!("[global]\nioengine=libaio\nrw={rw}\nbs=4k\niodepth={depth}\ndirect=1\n")
}

fn verified(depth: u32) -> String {
    job("randwrite", depth) + "verify=crc32c\ndo_verify=1\n"
}

/// A guest with one disk and a volume of `blocks`.
fn guest(blocks: u64) -> ScriptedBackEnd {
    let mut back_end = ScriptedBackEnd::new(1, |config| {
        config.volume = Some(Volume { blocks, scale: 1 })
    });
    back_end.slots.insert(0, Slot::Present);
    back_end.boot();
    back_end.forget();
    back_end
}

/// One read whose first tries get `reactions`: its result and the tries.
fn one_read(reactions: &[Reaction]) -> (Result<u32, u16>, u8) {
    let mut back_end = guest(1);
    back_end
        .reactions
        .insert(0, reactions.iter().copied().collect());
    back_end.start_fio(1, &job("randread", 1), &[0]);
    back_end.rest();
    assert!(back_end.ended(1).is_some());
    let (write, result, tries) = back_end.results()[0];
    assert!(!write);
    assert_eq!(
        back_end.sent.iter().filter(|s| s.is_rw()).count(),
        usize::from(tries)
    );
    (result, tries)
}

/// Reads and writes of 3 MiB, of a disk that moves 1280 KiB at once.
fn long(more: &str) -> String {
    job("randwrite", 2) + "bs=3m\nsize=12m\n" + more
}

#[test]
fn a_request_longer_than_a_transfer_is_sent_in_parts_at_once() {
    let mut back_end = guest(4);
    back_end.start_fio(1, &long("verify=crc32c\n"), &[0]);
    back_end.rest();
    let end = &back_end.ended(1).unwrap()[0];
    assert_eq!((end.error, end.written, end.verified), (0, 4, 4));
    let blocks = |sent: &Sent| u16::from_be_bytes([sent.cdb[7], sent.cdb[8]]);
    let sent = back_end.sent.iter().filter(|sent| sent.is_rw());
    let sent: Vec<_> = sent.map(|sent| (sent.cdb[0], blocks(sent))).collect();
    assert_eq!(sent.len(), 24);
    assert_eq!(sent[..3], [(0x2a, 2560), (0x2a, 2560), (0x2a, 1024)]);
    assert_eq!(back_end.results().len(), 8, "one end a request");
    assert_eq!(back_end.most, 6);
}

#[test]
fn a_part_that_fails_fails_the_request_when_all_are_over() {
    let mut back_end = guest(4);
    let bad = Reaction::Says(Says::check(3, 0x11, 0));
    let reactions = [Reaction::Normal, bad, Reaction::Hold];
    back_end.reactions.insert(0, reactions.into());
    back_end.start_fio(1, &(long("") + "iodepth=1\n"), &[0]);
    back_end.rest();
    assert_eq!(back_end.held(), 1);
    assert!(back_end.results().is_empty(), "one part is under way");
    back_end.release();
    back_end.rest();
    assert_eq!(back_end.results(), [(true, Err(61), 1)]);
    assert_eq!(back_end.ended(1).unwrap()[0].error, 61);
    // Nothing is left behind.
    back_end.reactions.clear();
    back_end.start_fio(2, &long("verify=md5\n"), &[0]);
    back_end.rest();
    assert_eq!(back_end.ended(2).unwrap()[0].verified, 4);
    assert_eq!(back_end.guest.left(), [""; 0]);
    assert!(back_end.all_disks().all(|disk| disk.in_flight() == 0));
}

#[test]
fn parts_keep_to_the_queue_depth() {
    let mut back_end = guest(24);
    let job = job("randwrite", 16) + "bs=3m\n" + "numjobs=5\n";
    back_end.hold_io(&job);
    assert_eq!(back_end.held(), 126, "another would have parts 127 to 129");
    back_end.release();
    back_end.rest();
    let ends = back_end.ended(1).unwrap();
    assert!(ends.iter().all(|end| (end.error, end.written) == (0, 21)));
}

/// Two disks of an HBA share its rings: 127 places of the one are taken by the first disk, and a request of
/// three parts to the second waits until all of them have a place.
#[test]
fn parts_wait_for_a_place_each_in_a_ring_that_another_disk_fills() {
    let mut back_end = ScriptedBackEnd::new(1, |config| {
        config.volume = Some(Volume {
            blocks: 127,
            scale: 1,
        })
    });
    for target in [0, 1] {
        back_end.slots.insert(target, Slot::Present);
    }
    back_end.boot();
    back_end.forget();
    back_end.hold_io(&verified(127));
    assert_eq!(back_end.held(), 127);
    let shared = back_end.sent[0].vring;
    // Threads are on CPU 0 and 1 in turn: the second clone shares the ring.
    back_end.start_fio(2, &(long("") + "iodepth=1\nnumjobs=2\n"), &[1]);
    back_end.rest();
    let parts = |back_end: &ScriptedBackEnd, mine: bool| {
        let sent = back_end.sent.iter().filter(|sent| sent.target == 1);
        sent.filter(|sent| (sent.vring == shared) == mine).count()
    };
    assert_eq!(parts(&back_end, false), 12);
    let early = parts(&back_end, true);
    assert_eq!(early, 0, "one place is not enough for three parts");
    back_end.release();
    back_end.rest();
    assert_eq!(parts(&back_end, true), 12);
    for fio in [1, 2] {
        let ends = back_end.ended(fio).unwrap();
        assert!(ends.iter().all(|end| end.error == 0), "{ends:?}");
    }
}

#[test]
fn direct_io_that_is_not_in_whole_blocks_is_invalid() {
    for options in ["bs=1000", "bs=4k\noffset=100", "bs=4k\noffset=256"] {
        for rw in ["write", "randread"] {
            let mut back_end = guest(8);
            let job = job(rw, 1) + options + "\n";
            back_end.start_fio(1, &job, &[0]);
            back_end.rest();
            let end = &back_end.ended(1).unwrap()[0];
            assert_eq!((end.error, end.written), (22, 0), "{rw}, {options}");
            let said = "fio: io_u error on file /dev/sda: Invalid argument: ";
            assert!(end.messages[0].starts_with(said), "{:?}", end.messages);
            assert_eq!(back_end.results(), [(rw == "write", Err(22), 0)]);
            assert!(!back_end.sent.iter().any(|sent| sent.is_rw()), "{options}");
        }
    }
    let mut back_end = guest(8);
    back_end.start_fio(1, &(job("randwrite", 1) + "bs=512\nverify=md5\n"), &[0]);
    back_end.rest();
    let end = &back_end.ended(1).unwrap()[0];
    assert_eq!((end.error, end.verified), (0, 8));
}

#[test]
fn what_is_written_is_read_back() {
    let mut back_end = guest(64);
    back_end.start_fio(1, &verified(16), &[0]);
    back_end.rest();
    let end = &back_end.ended(1).unwrap()[0];
    assert_eq!((end.error, end.written, end.verified), (0, 64, 64));
    assert!(back_end.most >= 16);
    assert!(end.strict.is_empty());
}

#[test]
fn each_answer_becomes_the_recorded_errno_after_the_recorded_tries() {
    let (response, status) = (Says::response, Says::status);
    let rows = [
        (Says::default(), Ok(4096), 1),
        (response(1), Err(5), 6),
        (response(2), Err(5), 1),
        (response(3), Err(5), 1),
        (response(5), Err(5), 6),
        (response(6), Err(5), 6),
        (response(7), Err(5), 1),
        (response(8), Err(52), 1),
        (response(9), Err(5), 6),
        (response(12), Err(5), 6),
        (response(200), Err(5), 6),
        (status(0x18), Err(52), 1),
        (status(0x40), Err(5), 6),
        (Says::check(5, 0x25, 0), Err(5), 1),
        (Says::check(5, 0x21, 0), Err(121), 1),
        (Says::check(5, 0x24, 0), Err(121), 1),
        (Says::check(7, 0x27, 0), Err(121), 1),
        (Says::check(4, 0x44, 0), Err(121), 1),
        (Says::check(3, 0x11, 0), Err(61), 1),
        (Says::check(3, 0x0c, 0), Err(5), 6),
        (Says::check(0xb, 0, 0), Err(5), 6),
    ];
    for (says, result, tries) in rows {
        assert_eq!(
            one_read(&[Reaction::Says(says)]),
            (result, tries),
            "{says:?}"
        );
    }
}

#[test]
fn a_disk_that_does_not_know_read_10_is_asked_for_read_6_for_good() {
    let mut back_end = guest(4);
    let unknown = Reaction::Says(Says::check(5, 0x20, 0));
    back_end
        .reactions
        .insert(0, [unknown, Reaction::Normal].into());
    // The back-end does not know READ(6) either: each fio ends with its first request.
    for fio in [1, 2] {
        back_end.start_fio(fio, &job("randread", 1), &[0]);
        back_end.rest();
    }
    let opcodes: Vec<u8> = back_end.sent.iter().map(|sent| sent.cdb[0]).collect();
    assert_eq!(opcodes, [0x28, 0x08, 0x08]);
    assert_eq!(
        back_end.results(),
        [(false, Err(121), 2), (false, Err(121), 1)]
    );
}

#[test]
fn what_passes_is_tried_until_it_has_passed() {
    let says = [
        Says::response(4),
        Says::status(0x08),
        Says::status(0x28),
        Says::check(6, 0x29, 0),
        Says::check(6, 0x2a, 9),
        Says::check(2, 4, 1),
    ];
    for says in says {
        let mut reactions = vec![Reaction::Says(says); 20];
        reactions.push(Reaction::Normal);
        assert_eq!(one_read(&reactions), (Ok(4096), 21), "{says:?}");
    }
}

#[test]
fn what_never_passes_fails_when_it_is_180_s_old() {
    let mut back_end = guest(1);
    back_end
        .reactions
        .insert(0, [Reaction::Says(Says::status(0x08))].into());
    back_end.start_fio(1, &job("randread", 1), &[0]);
    back_end.run_for(Duration::from_secs(179));
    assert!(back_end.results().is_empty());
    back_end.run_for(Duration::from_secs(2));
    assert_eq!(back_end.results()[0].1, Err(5));
}

#[test]
fn tries_that_do_not_count_leave_the_others() {
    let unit_attention = Reaction::Says(Says::check(6, 0x29, 0));
    let aborted = Reaction::Says(Says::check(0xb, 0, 0));
    let mut reactions = vec![unit_attention; 4];
    reactions.extend([aborted; 5]);
    reactions.push(Reaction::Normal);
    assert_eq!(one_read(&reactions), (Ok(4096), 10));
}

#[test]
fn a_residual_is_asked_for_again() {
    let short = Says {
        resid: 3000,
        ..Says::default()
    };
    let mut back_end = guest(1);
    back_end
        .reactions
        .insert(0, [Reaction::Says(short), Reaction::Normal].into());
    back_end.start_fio(1, &verified(1), &[0]);
    back_end.rest();
    // 3000 bytes are rounded up to six blocks.
    let lbas: Vec<_> = back_end.sent.iter().map(|s| (s.cdb[0], s.cdb[8])).collect();
    assert_eq!(lbas, [(0x2a, 8), (0x2a, 6), (0x28, 8)]);
    assert_eq!(back_end.results()[0], (true, Ok(4096), 2));
    let end = &back_end.ended(1).unwrap()[0];
    assert_eq!((end.error, end.verified), (0, 1));
}

#[test]
fn a_residual_of_everything_is_no_endless_loop() {
    let nothing = Says {
        resid: u32::MAX,
        ..Says::default()
    };
    assert_eq!(one_read(&[Reaction::Says(nothing)]), (Err(5), 6));
}

#[test]
fn a_disk_has_128_requests_in_flight_at_most() {
    let mut back_end = guest(600);
    let two = verified(300) + "numjobs=2\n";
    back_end.hold_io(&two);
    assert_eq!(back_end.held(), 128);
    back_end.release();
    back_end.rest();
    assert!(back_end.most <= 128);
    assert!(back_end.ended(1).is_some(), "both went on");
}

/// What the strict oracle says of a second fio all of whose writes are lost, or none.
fn strict(more: &str, lost: bool) -> Vec<usize> {
    let mut back_end = guest(64);
    // `time_based`: fio compares no count of writes.
    let job = verified(16) + "time_based\nruntime=10\n";
    back_end.start_fio(1, &job, &[0]);
    back_end.rest();
    let old = back_end.store.clone();
    back_end.start_fio(2, &(job + more), &[0]);
    while back_end.ended(2).is_none() {
        assert!(back_end.step(Time(u64::MAX)), "it ends");
        if lost {
            back_end.store.clone_from(&old);
        }
    }
    let ends = back_end.ended(2).unwrap();
    let all = ends.iter().all(|end| (end.error, end.verified) == (0, 64));
    assert!(all, "fio sees nothing: {ends:?}");
    ends.iter().map(|end| end.strict.len()).collect()
}

#[test]
fn only_the_one_thread_that_writes_to_a_disk_is_judged_strictly() {
    assert_eq!(strict("", false), [0]);
    assert_ne!(strict("", true), [0], "lost writes are seen");
    assert_eq!(strict("numjobs=2\n", false), [0, 0]);
    assert_eq!(strict("numjobs=2\n", true), [0, 0], "nobody can tell");
}

#[test]
fn two_fios_on_a_disk_are_no_stale_data_to_each_other() {
    let mut back_end = guest(64);
    let job = verified(16) + "time_based\nruntime=10\n";
    for fio in [1, 2] {
        back_end.start_fio(fio, &job, &[0]);
        back_end.run_for(Duration::from_micros(30));
    }
    assert!(back_end.ended(1).is_none(), "they run at the same time");
    back_end.rest();
    for fio in [1, 2] {
        let end = &back_end.ended(fio).unwrap()[0];
        assert_eq!((end.error, end.strict.len()), (0, 0), "{end:?}");
    }
}

#[test]
fn requests_that_wait_for_another_try_keep_their_place() {
    let mut back_end = guest(400);
    let mut reactions = vec![Reaction::Says(Says::status(0x08)); 300];
    reactions.push(Reaction::Normal);
    back_end.reactions.insert(0, reactions.into());
    back_end.start_fio(1, &verified(200), &[0]);
    back_end.rest();
    let end = &back_end.ended(1).unwrap()[0];
    assert_eq!((end.error, end.verified), (0, 400));
    assert!(back_end.most <= 128);
}

#[test]
fn a_used_id_that_is_no_head_breaks_that_queue_alone() {
    let mut back_end = guest(4);
    back_end.push_used(2, 500, 0);
    back_end.rest();
    for check in [CheckId::G1, CheckId::I1] {
        let is = |what: &Observation| matches!(what, Observation::Broken { check: c, .. } if *c == check);
        assert!(back_end.has(is));
    }
    // Threads are on CPU 0 and 1 in turn, each with its own queue.
    back_end.start_fio(1, &(verified(1) + "numjobs=2\n"), &[0]);
    back_end.rest();
    let mut errors: Vec<_> = back_end
        .ended(1)
        .unwrap()
        .iter()
        .map(|end| end.error)
        .collect();
    errors.sort_unstable();
    assert_eq!(errors, [0, 5]);
    assert!(back_end.sent.iter().all(|sent| sent.vring == 3));
}

#[test]
fn a_response_that_was_never_written_reads_as_good_and_is_told() {
    let mut back_end = guest(1);
    back_end.hold_io(&job("randread", 1));
    let sent = back_end.sent.last().unwrap().clone();
    back_end.push_used(sent.vring, u32::from(sent.head), 0);
    back_end.rest();
    assert_eq!(back_end.results()[0].1, Ok(4096));
    let is = |what: &Observation| {
        matches!(
            what,
            Observation::Broken {
                check: CheckId::G2,
                ..
            }
        )
    };
    assert!(back_end.has(is));
}

#[test]
fn a_fio_that_hangs_is_given_up_and_its_memory_is_not_used_again() {
    let mut back_end = guest(16);
    back_end.hold_io(&job("randread", 8));
    assert!(back_end.ended(1).is_none());
    back_end.act(GuestAct::GiveUp);
    back_end.rest();
    assert!(back_end.ended(1).unwrap()[0].hung);
    // Another one starts; then what the first one waited for comes after all.
    let held = back_end.held();
    assert_eq!(held, 8);
    back_end.reactions.insert(0, [Reaction::Normal].into());
    back_end.start_fio(2, &verified(8), &[0]);
    back_end.run_for(Duration::from_micros(50));
    back_end.release();
    back_end.rest();
    let end = &back_end.ended(2).unwrap()[0];
    assert_eq!((end.error, end.verified), (0, 16));
    assert_eq!(back_end.guest.left(), [""; 0]);
}

#[test]
fn more_threads_than_there_are_places_begin_as_others_end() {
    let mut back_end = guest(4);
    let jobs = format!("{}numjobs={}\n", job("randread", 1), THREADS_MAX + 2);
    back_end.start_fio(1, &jobs, &[0]);
    back_end.rest();
    let errors = back_end.ended(1).unwrap().iter().map(|end| end.error);
    assert!(errors.eq([0; THREADS_MAX + 2]));
}
