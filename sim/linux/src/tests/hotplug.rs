//! Events: attaches, detaches, and the orders that go wrong.

use std::time::Duration;

use scenarios::{DiskId, Observation};

use super::back_end::ScriptedBackEnd;
use crate::testing::scsi::{Reaction, Slot};
use crate::{FlowStep, GuestTurn};
use wire::message::GuestAct;

/// One request at a time, again and again.
const WRITES: &str = "[global]\nioengine=libaio\nrw=randwrite\nbs=4k\niodepth=1\ndirect=1\n";
const READS: &str = "[global]\nioengine=libaio\nrw=randread\nbs=4k\niodepth=1\ndirect=1\n";

/// The steps of flows, in the order in which they were taken.
fn steps(back_end: &ScriptedBackEnd) -> Vec<FlowStep> {
    let steps = back_end.turns.iter().filter_map(|(_, turn)| match turn {
        GuestTurn::Flow(_, _, step) => Some(*step),
        _ => None,
    });
    steps.collect()
}

fn count(back_end: &ScriptedBackEnd, start: &str) -> usize {
    back_end
        .log
        .iter()
        .filter(|line| line.starts_with(start))
        .count()
}

#[test]
fn a_disk_that_is_attached_appears_with_its_identity() {
    let mut back_end = ScriptedBackEnd::booted(&[0]);
    back_end.attach(3);
    back_end.rest();
    assert_eq!(
        back_end.disks(),
        [(0, Some(DiskId(1))), (3, Some(DiskId(4)))]
    );
    assert_eq!(back_end.buffers(), 8);
}

#[test]
fn a_rescan_of_a_known_disk_asks_nothing_but_its_luns() {
    let mut back_end = ScriptedBackEnd::booted(&[0]);
    back_end.forget();
    back_end.attach(0);
    back_end.rest();
    assert_eq!(back_end.log.len(), 1);
    assert!(back_end.log[0].starts_with("CMD 0 0 a0"));
}

/// A guest whose fio has one request after the other under way on target 0, for a long time.
fn busy(job: &str) -> ScriptedBackEnd {
    let mut back_end = ScriptedBackEnd::new(1, |config| {
        config.volume.as_mut().expect("it has one").blocks = 15_000;
    });
    back_end.slots.insert(0, Slot::Present);
    back_end.boot();
    back_end.start_fio(1, job, &[0]);
    back_end.run_for(Duration::from_millis(1));
    back_end.forget();
    back_end
}

/// The target is told to be gone, though it answers: what the guest alone makes of it.
fn removed(back_end: &mut ScriptedBackEnd) {
    assert!(back_end.event(1, [1, 0, 0, 0], 2));
}

/// Results without repetitions.
fn kinds(back_end: &ScriptedBackEnd) -> Vec<Result<u32, u16>> {
    let results = back_end.results();
    let mut kinds: Vec<_> = results.iter().map(|(_, result, _)| *result).collect();
    kinds.dedup();
    kinds
}

#[test]
fn a_request_that_is_dispatched_while_its_disk_goes_gets_enodev() {
    for job in [WRITES, READS] {
        let mut back_end = busy(job);
        removed(&mut back_end);
        back_end.rest();
        assert_eq!(kinds(&back_end), [Ok(4096), Err(19)]);
        assert_eq!(back_end.ended(1).unwrap()[0].error, 19);
        let vanished = back_end.has(|what| matches!(what, Observation::DiskVanished(_)));
        assert!(vanished && back_end.targets().is_empty());
    }
}

#[test]
fn a_request_that_comes_when_the_capacity_is_0_gets_enospc_or_reads_nothing() {
    for (job, after) in [(WRITES, Err(28)), (READS, Ok(0))] {
        let mut back_end = busy(job);
        back_end.reactions.insert(0, [Reaction::Hold].into());
        removed(&mut back_end);
        back_end.rest();
        back_end.release();
        back_end.rest();
        assert_eq!(kinds(&back_end), [Ok(4096), after]);
    }
}

#[test]
fn a_request_that_meets_a_target_that_goes_gets_eio() {
    let mut back_end = busy(WRITES);
    back_end.slots.insert(0, Slot::Removed);
    back_end.rest();
    assert_eq!(kinds(&back_end), [Ok(4096), Err(5)]);
}

#[test]
fn a_removal_goes_from_cancel_to_capacity_0_to_the_drain_to_three_tries_of_sync() {
    let mut back_end = ScriptedBackEnd::with_held_io(&[0], WRITES);
    back_end.forget();
    back_end.detach(0);
    back_end.rest();
    let order = [
        FlowStep::LookUp(0),
        FlowStep::Locked(0),
        FlowStep::Cancelled(0),
        FlowStep::Dead(0),
    ];
    assert_eq!(steps(&back_end)[..4], order);
    assert_eq!(
        count(&back_end, "CMD 0 0 35"),
        0,
        "the drain has no time-out"
    );
    assert!(back_end.targets().is_empty(), "but the node is gone");
    back_end.release();
    back_end.rest();
    assert_eq!(back_end.results()[0], (true, Ok(4096), 1));
    assert_eq!(count(&back_end, "CMD 0 0 35"), 3);
    assert!(steps(&back_end).contains(&FlowStep::Deleted(0)));
    assert_eq!(back_end.guest.left(), [""; 0]);
}

#[test]
fn a_held_command_holds_up_all_later_events_of_its_host() {
    let mut back_end = ScriptedBackEnd::with_held_io(&[0, 1], WRITES);
    back_end.detach(0);
    back_end.rest();
    back_end.attach(2);
    back_end.detach(1);
    back_end.rest();
    assert_eq!(back_end.targets(), [1]);
    assert_eq!(back_end.buffers(), 5, "three handlers keep theirs");
    back_end.release();
    back_end.rest();
    assert_eq!(back_end.targets(), [2]);
    assert_eq!(back_end.buffers(), 8);
}

#[test]
fn a_ninth_event_finds_no_buffer() {
    let mut back_end = ScriptedBackEnd::booted(&[]);
    for target in 0..8 {
        back_end.attach(target);
    }
    assert!(!back_end.event(1, [1, 8, 0, 0], 1));
    back_end.rest();
    assert_eq!(back_end.targets(), [0, 1, 2, 3, 4, 5, 6, 7]);
}

#[test]
fn buffers_come_back_as_their_handlers_end_not_as_they_began() {
    let mut back_end = ScriptedBackEnd::with_held_io(&[0, 1], WRITES);
    back_end.forget();
    back_end.detach(0);
    // Handled without the mutex.
    assert!(back_end.event(3, [1, 1, 0, 0], 0x92a));
    assert!(back_end.event(2, [1, 1, 0, 0], 0));
    back_end.rest();
    back_end.release();
    back_end.rest();
    let posted: Vec<_> = steps(&back_end)
        .into_iter()
        .filter(|step| matches!(step, FlowStep::Posted(_)))
        .collect();
    assert_eq!(posted.len(), 3);
    assert_eq!(posted[2], FlowStep::Posted(0), "{posted:?}");
}

#[test]
fn handlers_start_in_the_order_of_their_events() {
    for seed in 0..50 {
        let mut back_end = ScriptedBackEnd::new(seed, |_| {});
        back_end.boot();
        back_end.forget();
        for target in [5, 1, 7, 0, 3, 2, 6, 4] {
            back_end.attach(target);
        }
        back_end.rest();
        let steps = steps(&back_end);
        let begun = steps.iter().filter_map(|step| match step {
            FlowStep::LookUp(target) => Some(*target),
            _ => None,
        });
        assert_eq!(
            begun.collect::<Vec<_>>(),
            [5, 1, 7, 0, 3, 2, 6, 4],
            "seed {seed}"
        );
    }
}

#[test]
fn a_disk_that_is_replaced_at_once_is_right_in_the_end_unless_the_mutex_is_stolen() {
    let lost = |steal_one_in: u32| {
        let lost = (0..100).filter(|seed| {
            let mut back_end =
                ScriptedBackEnd::new(*seed, |config| config.steal_one_in = steal_one_in);
            back_end.slots = [0, 2].map(|t| (t, Slot::Present)).into();
            back_end.boot();
            back_end.forget();
            // REMOVED of 2 holds the mutex, REMOVED of 0 waits for it, RESCAN of 0 may pass.
            back_end.detach(2);
            back_end.detach(0);
            back_end.attach(0);
            back_end.rest();
            let gone = back_end.targets().is_empty();
            // The wire signature: REPORT LUNS, SYNCHRONIZE CACHE and no INQUIRY.
            let of_0: Vec<_> = back_end
                .sent
                .iter()
                .filter(|s| s.target == 0)
                .map(|s| s.cdb[0])
                .collect();
            assert_eq!(gone, of_0 == [0xa0, 0x35], "seed {seed}: {of_0:x?}");
            gone
        });
        lost.count()
    };
    assert_eq!(lost(0), 0);
    assert!((10..90).contains(&lost(2)), "{}", lost(2));
}

#[test]
fn a_disk_that_goes_while_it_is_probed_is_asked_nothing_more() {
    let mut back_end = ScriptedBackEnd::booted(&[]);
    back_end.attach(0);
    while !back_end
        .log
        .iter()
        .any(|line| line.starts_with("CMD 0 0 9e"))
    {
        back_end.run_for(Duration::from_micros(5));
    }
    back_end.detach(0);
    back_end.rest();
    // As recorded: no caching page was read, so that nothing is synchronised.
    assert_eq!(count(&back_end, "CMD 0 0 35"), 0);
    assert!(back_end.targets().is_empty());
    assert!(!back_end.has(|what| matches!(what, Observation::DiskAppeared(_))));
    assert_eq!(back_end.guest.left(), [""; 0]);
    back_end.attach(0);
    back_end.rest();
    assert_eq!(back_end.targets(), [0]);
}

#[test]
fn an_open_file_keeps_the_name_of_its_disk() {
    let mut back_end = ScriptedBackEnd::booted(&[0]);
    assert_eq!(back_end.node(0), "/dev/sda");
    back_end.detach(0);
    back_end.rest();
    back_end.attach(0);
    back_end.rest();
    assert_eq!(back_end.node(0), "/dev/sda", "nobody had it open");
    // Reads of a disk that is gone go on and on.
    let mut back_end = busy(READS);
    back_end.reactions.insert(0, [Reaction::Hold].into());
    removed(&mut back_end);
    back_end.rest();
    back_end.release();
    back_end.run_for(Duration::from_millis(2));
    back_end.attach(0);
    back_end.run_for(Duration::from_millis(2));
    assert!(back_end.ended(1).is_none(), "it still has the old disk");
    assert_eq!(back_end.node(0), "/dev/sdb");
    back_end.rest();
    back_end.detach(0);
    back_end.rest();
    back_end.attach(0);
    back_end.rest();
    assert_eq!(back_end.node(0), "/dev/sda", "it is free again");
}

#[test]
fn missed_events_are_made_up_for() {
    let mut back_end = ScriptedBackEnd::booted(&[0, 1, 2]);
    back_end.slots.insert(1, Slot::Removed);
    back_end.slots.insert(2, Slot::Absent);
    back_end.slots.insert(5, Slot::Present);
    assert!(back_end.event(0x8000_0000, [0; 4], 0));
    back_end.rest();
    assert_eq!(back_end.targets(), [0, 5]);
    assert_eq!(back_end.buffers(), 8);
}

#[test]
fn a_storm_of_missed_events_makes_one_scan_at_a_time() {
    let mut back_end = ScriptedBackEnd::booted(&[0]);
    for _ in 0..40 {
        while back_end.event(0x8000_0001, [1, 3, 0, 0], 1) {}
        back_end.run_for(Duration::from_millis(1));
    }
    back_end.slots.insert(3, Slot::Present);
    back_end.rest();
    assert_eq!(back_end.guest.left(), [""; 0]);
    assert_eq!(back_end.buffers(), 8);
}

#[test]
fn a_change_of_capacity_is_seen() {
    let mut back_end = ScriptedBackEnd::booted(&[0]);
    back_end.blocks = 1 << 18;
    assert!(back_end.event(3, [1, 0, 0, 0], 0x92a));
    back_end.rest();
    let disk = back_end.disk_at(0).unwrap();
    assert_eq!(back_end.disk(disk).capacity(), 512 << 18);
}

#[test]
fn an_event_for_a_masked_lun_or_of_another_kind_changes_nothing() {
    let mut back_end = ScriptedBackEnd::booted(&[0]);
    back_end.forget();
    for (event, lun, reason) in [
        (1, [1, 0, 0x40, 0], 2),
        (1, [1, 0, 0, 0], 0),
        (1, [1, 9, 0, 0], 2),
        (2, [1, 0, 0, 0], 0),
        (3, [1, 0, 0, 0], 0x3f),
        (77, [255; 4], 255),
    ] {
        assert!(back_end.event(event, lun, reason));
    }
    back_end.rest();
    assert!(back_end.log.is_empty(), "{:?}", back_end.log);
    assert_eq!(back_end.targets(), [0]);
    assert_eq!(back_end.buffers(), 8);
}

#[test]
fn a_fio_on_a_disk_that_is_not_there_ends_with_enoent() {
    let mut back_end = ScriptedBackEnd::booted(&[0]);
    back_end.start_fio(1, WRITES, &[4]);
    back_end.rest();
    assert_eq!(back_end.ended(1).unwrap()[0].error, 2);
    back_end.act(GuestAct::GiveUp);
    back_end.rest();
}
