//! Events: attaches, detaches, and the orders that go wrong.

use std::time::Duration;

use scenarios::{DiskId, Observation};

use super::bench::Bench;
use crate::bench::scsi::{Reaction, Slot};
use crate::{FlowStep, GuestTurn};
use wire::message::GuestAct;

/// One request at a time, again and again.
const WRITES: &str = "[global]\nioengine=libaio\nrw=randwrite\nbs=4k\niodepth=1\ndirect=1\n";
const READS: &str = "[global]\nioengine=libaio\nrw=randread\nbs=4k\niodepth=1\ndirect=1\n";

/// The steps of flows, in the order in which they were taken.
fn steps(bench: &Bench) -> Vec<FlowStep> {
    let steps = bench.turns.iter().filter_map(|(_, turn)| match turn {
        GuestTurn::Flow(_, _, step) => Some(*step),
        _ => None,
    });
    steps.collect()
}

fn count(bench: &Bench, start: &str) -> usize {
    bench
        .log
        .iter()
        .filter(|line| line.starts_with(start))
        .count()
}

#[test]
fn a_disk_that_is_attached_appears_with_its_identity() {
    let mut bench = Bench::booted(&[0]);
    bench.attach(3);
    bench.rest();
    assert_eq!(bench.disks(), [(0, Some(DiskId(1))), (3, Some(DiskId(4)))]);
    assert_eq!(bench.buffers(), 8);
}

#[test]
fn a_rescan_of_a_known_disk_asks_nothing_but_its_luns() {
    let mut bench = Bench::booted(&[0]);
    bench.forget();
    bench.attach(0);
    bench.rest();
    assert_eq!(bench.log.len(), 1);
    assert!(bench.log[0].starts_with("CMD 0 0 a0"));
}

/// A guest whose fio has one request after the other under way on target 0, for a long time.
fn busy(job: &str) -> Bench {
    let mut bench = Bench::new(1, |config| {
        config.volume.as_mut().expect("it has one").blocks = 15_000;
    });
    bench.slots.insert(0, Slot::Present);
    bench.boot();
    bench.start_fio(1, job, &[0]);
    bench.run_for(Duration::from_millis(1));
    bench.forget();
    bench
}

/// The target is told to be gone, though it answers: what the guest alone makes of it.
fn removed(bench: &mut Bench) {
    assert!(bench.event(1, [1, 0, 0, 0], 2));
}

/// Results without repetitions.
fn kinds(bench: &Bench) -> Vec<Result<u32, u16>> {
    let results = bench.results();
    let mut kinds: Vec<_> = results.iter().map(|(_, result, _)| *result).collect();
    kinds.dedup();
    kinds
}

#[test]
fn a_request_that_is_dispatched_while_its_disk_goes_gets_enodev() {
    for job in [WRITES, READS] {
        let mut bench = busy(job);
        removed(&mut bench);
        bench.rest();
        assert_eq!(kinds(&bench), [Ok(4096), Err(19)]);
        assert_eq!(bench.ended(1).unwrap()[0].error, 19);
        let vanished = bench.has(|what| matches!(what, Observation::DiskVanished(_)));
        assert!(vanished && bench.targets().is_empty());
    }
}

#[test]
fn a_request_that_comes_when_the_capacity_is_0_gets_enospc_or_reads_nothing() {
    for (job, after) in [(WRITES, Err(28)), (READS, Ok(0))] {
        let mut bench = busy(job);
        bench.reactions.insert(0, [Reaction::Hold].into());
        removed(&mut bench);
        bench.rest();
        bench.release();
        bench.rest();
        assert_eq!(kinds(&bench), [Ok(4096), after]);
    }
}

#[test]
fn a_request_that_meets_a_target_that_goes_gets_eio() {
    let mut bench = busy(WRITES);
    bench.slots.insert(0, Slot::Removed);
    bench.rest();
    assert_eq!(kinds(&bench), [Ok(4096), Err(5)]);
}

#[test]
fn a_removal_goes_from_cancel_to_capacity_0_to_the_drain_to_three_tries_of_sync() {
    let mut bench = Bench::booted(&[0]);
    bench.reactions.insert(0, [Reaction::Hold].into());
    bench.start_fio(1, WRITES, &[0]);
    bench.rest();
    bench.forget();
    bench.detach(0);
    bench.rest();
    let order = [
        FlowStep::LookUp(0),
        FlowStep::Locked(0),
        FlowStep::Cancelled(0),
        FlowStep::Dead(0),
    ];
    assert_eq!(steps(&bench)[..4], order);
    assert_eq!(count(&bench, "CMD 0 0 35"), 0, "the drain has no time-out");
    assert!(bench.targets().is_empty(), "but the node is gone");
    bench.release();
    bench.rest();
    assert_eq!(bench.results()[0], (true, Ok(4096), 1));
    assert_eq!(count(&bench, "CMD 0 0 35"), 3);
    assert!(steps(&bench).contains(&FlowStep::Deleted(0)));
    assert_eq!(bench.guest.left(), [""; 0]);
}

#[test]
fn a_held_command_holds_up_all_later_events_of_its_host() {
    let mut bench = Bench::booted(&[0, 1]);
    bench.reactions.insert(0, [Reaction::Hold].into());
    bench.start_fio(1, WRITES, &[0]);
    bench.rest();
    bench.detach(0);
    bench.rest();
    bench.attach(2);
    bench.detach(1);
    bench.rest();
    assert_eq!(bench.targets(), [1]);
    assert_eq!(bench.buffers(), 5, "three handlers keep theirs");
    bench.release();
    bench.rest();
    assert_eq!(bench.targets(), [2]);
    assert_eq!(bench.buffers(), 8);
}

#[test]
fn a_ninth_event_finds_no_buffer() {
    let mut bench = Bench::booted(&[]);
    for target in 0..8 {
        bench.attach(target);
    }
    assert!(!bench.event(1, [1, 8, 0, 0], 1));
    bench.rest();
    assert_eq!(bench.targets(), [0, 1, 2, 3, 4, 5, 6, 7]);
}

#[test]
fn buffers_come_back_as_their_handlers_end_not_as_they_began() {
    let mut bench = Bench::booted(&[0, 1]);
    bench.reactions.insert(0, [Reaction::Hold].into());
    bench.start_fio(1, WRITES, &[0]);
    bench.rest();
    bench.forget();
    bench.detach(0);
    // Handled without the mutex.
    assert!(bench.event(3, [1, 1, 0, 0], 0x92a));
    assert!(bench.event(2, [1, 1, 0, 0], 0));
    bench.rest();
    bench.release();
    bench.rest();
    let posted: Vec<_> = steps(&bench)
        .into_iter()
        .filter(|step| matches!(step, FlowStep::Posted(_)))
        .collect();
    assert_eq!(posted.len(), 3);
    assert_eq!(posted[2], FlowStep::Posted(0), "{posted:?}");
}

#[test]
fn handlers_start_in_the_order_of_their_events() {
    for seed in 0..50 {
        let mut bench = Bench::new(seed, |_| {});
        bench.boot();
        bench.forget();
        for target in [5, 1, 7, 0, 3, 2, 6, 4] {
            bench.attach(target);
        }
        bench.rest();
        let steps = steps(&bench);
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
            let mut bench = Bench::new(*seed, |config| config.steal_one_in = steal_one_in);
            bench.slots = [0, 2].map(|t| (t, Slot::Present)).into();
            bench.boot();
            bench.forget();
            // REMOVED of 2 holds the mutex, REMOVED of 0 waits for it, RESCAN of 0 may pass.
            bench.detach(2);
            bench.detach(0);
            bench.attach(0);
            bench.rest();
            let gone = bench.targets().is_empty();
            // The wire signature: REPORT LUNS, SYNCHRONIZE CACHE and no INQUIRY.
            let of_0: Vec<_> = bench
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
    let mut bench = Bench::booted(&[]);
    bench.attach(0);
    while !bench.log.iter().any(|line| line.starts_with("CMD 0 0 9e")) {
        bench.run_for(Duration::from_micros(5));
    }
    bench.detach(0);
    bench.rest();
    // As recorded: no caching page was read, so that nothing is synchronised.
    assert_eq!(count(&bench, "CMD 0 0 35"), 0);
    assert!(bench.targets().is_empty());
    assert!(!bench.has(|what| matches!(what, Observation::DiskAppeared(_))));
    assert_eq!(bench.guest.left(), [""; 0]);
    bench.attach(0);
    bench.rest();
    assert_eq!(bench.targets(), [0]);
}

#[test]
fn an_open_file_keeps_the_name_of_its_disk() {
    let mut bench = Bench::booted(&[0]);
    assert_eq!(bench.node(0), "/dev/sda");
    bench.detach(0);
    bench.rest();
    bench.attach(0);
    bench.rest();
    assert_eq!(bench.node(0), "/dev/sda", "nobody had it open");
    // Reads of a disk that is gone go on and on.
    let mut bench = busy(READS);
    bench.reactions.insert(0, [Reaction::Hold].into());
    removed(&mut bench);
    bench.rest();
    bench.release();
    bench.run_for(Duration::from_millis(2));
    bench.attach(0);
    bench.run_for(Duration::from_millis(2));
    assert!(bench.ended(1).is_none(), "it still has the old disk");
    assert_eq!(bench.node(0), "/dev/sdb");
    bench.rest();
    bench.detach(0);
    bench.rest();
    bench.attach(0);
    bench.rest();
    assert_eq!(bench.node(0), "/dev/sda", "it is free again");
}

#[test]
fn missed_events_are_made_up_for() {
    let mut bench = Bench::booted(&[0, 1, 2]);
    bench.slots.insert(1, Slot::Removed);
    bench.slots.insert(2, Slot::Absent);
    bench.slots.insert(5, Slot::Present);
    assert!(bench.event(0x8000_0000, [0; 4], 0));
    bench.rest();
    assert_eq!(bench.targets(), [0, 5]);
    assert_eq!(bench.buffers(), 8);
}

#[test]
fn a_storm_of_missed_events_makes_one_scan_at_a_time() {
    let mut bench = Bench::booted(&[0]);
    for _ in 0..40 {
        while bench.event(0x8000_0001, [1, 3, 0, 0], 1) {}
        bench.run_for(Duration::from_millis(1));
    }
    bench.slots.insert(3, Slot::Present);
    bench.rest();
    assert_eq!(bench.guest.left(), [""; 0]);
    assert_eq!(bench.buffers(), 8);
}

#[test]
fn a_change_of_capacity_is_seen() {
    let mut bench = Bench::booted(&[0]);
    bench.blocks = 1 << 18;
    assert!(bench.event(3, [1, 0, 0, 0], 0x92a));
    bench.rest();
    let disk = bench.guest.disk_at(0, 0).unwrap();
    assert_eq!(bench.guest.disks[disk].capacity, 512 << 18);
}

#[test]
fn an_event_for_a_masked_lun_or_of_another_kind_changes_nothing() {
    let mut bench = Bench::booted(&[0]);
    bench.forget();
    for (event, lun, reason) in [
        (1, [1, 0, 0x40, 0], 2),
        (1, [1, 0, 0, 0], 0),
        (1, [1, 9, 0, 0], 2),
        (2, [1, 0, 0, 0], 0),
        (3, [1, 0, 0, 0], 0x3f),
        (77, [255; 4], 255),
    ] {
        assert!(bench.event(event, lun, reason));
    }
    bench.rest();
    assert!(bench.log.is_empty(), "{:?}", bench.log);
    assert_eq!(bench.targets(), [0]);
    assert_eq!(bench.buffers(), 8);
}

#[test]
fn a_fio_on_a_disk_that_is_not_there_ends_with_enoent() {
    let mut bench = Bench::booted(&[0]);
    bench.start_fio(1, WRITES, &[4]);
    bench.rest();
    assert_eq!(bench.ended(1).unwrap()[0].error, 2);
    bench.act(GuestAct::GiveUp);
    bench.rest();
}
