//! Boots, reboots, pauses and kills.

use std::collections::BTreeMap;
use std::time::Duration;

use scenarios::{CheckId, ControllerId, Observation, Ticket, Time, VmId};

use super::bench::Bench;
use crate::bench::scsi::{Reaction, Slot};
use crate::transfer::Transfers;
use crate::{Guest, GuestConfig};
use wire::component::Cx;
use wire::message::GuestAct;
use wire::{Rng, Stream};

const WRITES: &str = "[global]\nioengine=libaio\nrw=randwrite\nbs=4k\niodepth=8\ndirect=1\n\
    verify=crc32c\ndo_verify=1\n";

#[test]
fn no_command_is_sent_before_the_messages_that_start_its_session() {
    let bench = Bench::booted(&[0]);
    let mut last_call = false;
    for line in &bench.log {
        if line.starts_with("CMD") {
            assert!(last_call, "a command before SET_VRING_CALL 3");
        } else {
            last_call = line == "MSG SET_VRING_CALL 3";
        }
    }
}

#[test]
fn linux_posts_eight_buffers_and_the_firmware_none() {
    let mut bench = Bench::booted(&[0]);
    assert_eq!(bench.buffers(), 8);
    let mut without = Bench::new(1, |config| config.hotplug = false);
    without.slots.insert(0, Slot::Present);
    without.boot();
    assert_eq!(without.buffers(), 0);
    assert!(
        without
            .log
            .contains(&"MSG SET_FEATURES 0x150000004".to_owned())
    );
    assert_eq!(bench.targets(), without.targets());
}

#[test]
fn names_differ_from_boot_to_boot() {
    let mut names = std::collections::BTreeSet::new();
    for seed in 0..32 {
        let mut bench = Bench::new(seed, |_| {});
        bench.slots = [0, 2, 7].map(|t| (t, Slot::Present)).into();
        bench.boot();
        names.insert([0, 2, 7].map(|target| bench.node(target)));
    }
    assert!(names.len() > 3, "{names:?}");
}

#[test]
fn a_reboot_ends_fio_and_finds_what_is_there_then() {
    let mut bench = Bench::booted(&[0, 1]);
    bench.reactions.insert(0, [Reaction::Hold].into());
    bench.start_fio(1, WRITES, &[0]);
    bench.rest();
    assert_eq!(bench.held(), 8);
    bench.slots.insert(1, Slot::Absent);
    bench.act(GuestAct::Boot);
    bench.run_for(Duration::from_millis(1));
    assert_eq!(bench.ended(1).unwrap()[0].error, 4);
    bench.release();
    bench.rest();
    assert!(bench.has(|what| matches!(what, Observation::VmReady { boot: 2, .. })));
    assert_eq!(bench.targets(), [0]);
    assert_eq!(bench.guest.left(), [""; 0]);
}

#[test]
fn a_reboot_does_not_wait_for_a_removal() {
    let mut bench = Bench::booted(&[0, 1]);
    bench.reactions.insert(0, [Reaction::Hold].into());
    bench.start_fio(1, WRITES, &[0]);
    bench.rest();
    bench.detach(0);
    bench.rest();
    bench.detach(1);
    bench.rest();
    bench.forget();
    bench.boot();
    assert_eq!(bench.targets(), [0u8; 0]);
    assert_eq!(bench.buffers(), 8);
    assert_eq!(bench.guest.left(), [""; 0]);
    assert!(!bench.has(|what| matches!(what, Observation::Broken { .. })));
}

#[test]
fn a_device_that_is_reset_leaves_the_others_their_disks() {
    let controllers = vec![ControllerId(0), ControllerId(1)];
    let config = GuestConfig::new(VmId(1), controllers, BTreeMap::new(), None);
    let mut guest = Guest::new(config);
    guest.found(0, 5, "", (36, Transfers::default()));
    guest.found(1, 5, "", (36, Transfers::default()));
    let (mut out, mut saw) = (Vec::new(), Vec::new());
    let mut cx = Cx {
        now: Time(0),
        rng: &mut Rng::new(1, Stream::Accidents),
        out: &mut out,
        saw: &mut saw,
    };
    guest.reset_device(0, &mut cx);
    assert_eq!((guest.disk_at(0, 5), guest.disk_at(1, 5)), (None, Some(1)));
}

#[test]
fn a_fio_that_is_started_in_a_guest_that_is_down_finds_no_disk() {
    let mut bench = Bench::booted(&[0]);
    bench.act(GuestAct::Boot);
    bench.start_fio(1, WRITES, &[0]);
    bench.rest();
    assert_eq!(bench.ended(1).unwrap()[0].error, 2);
}

#[test]
fn a_pause_stops_the_rings_and_goes_on_from_the_same_index() {
    let mut bench = Bench::booted(&[0]);
    bench.start_fio(1, WRITES, &[0]);
    bench.run_for(Duration::from_micros(60));
    bench.forget();
    bench.act(GuestAct::Pause);
    bench.rest();
    assert!(bench.ended(1).is_none(), "it stands still");
    let stop: Vec<_> = bench
        .log
        .iter()
        .filter(|l| l.contains("GET_VRING_BASE"))
        .collect();
    assert_eq!(stop.len(), 4);
    bench.act(GuestAct::ListDisks);
    bench.rest();
    assert!(!bench.has(|what| matches!(what, Observation::DisksListed { .. })));
    bench.act(GuestAct::Continue);
    bench.rest();
    let bases: Vec<_> = bench
        .log
        .iter()
        .filter(|l| l.contains("SET_VRING_BASE"))
        .collect();
    assert_eq!(bases.len(), 4);
    assert!(!bases[2].ends_with(" 0"), "{bases:?}");
    let end = &bench.ended(1).expect("it went on")[0];
    assert_eq!((end.error, end.verified), (0, 16));
    assert!(!bench.has(|what| matches!(what, Observation::Broken { .. })));
}

#[test]
fn a_pause_in_the_middle_of_a_boot_only_delays_it() {
    for at in [1, 5, 12, 50, 301, 305, 310] {
        let mut bench = Bench::new(1, |_| {});
        bench.slots.insert(0, Slot::Present);
        bench.act(GuestAct::Boot);
        bench.run_for(Duration::from_millis(at));
        bench.act(GuestAct::Pause);
        bench.rest();
        assert!(!bench.has(|what| matches!(what, Observation::VmReady { .. })));
        bench.act(GuestAct::Continue);
        bench.rest();
        assert!(
            bench.has(|what| matches!(what, Observation::VmReady { .. })),
            "{at} ms"
        );
        assert_eq!(bench.targets(), [0]);
    }
}

#[test]
fn a_killed_guest_drains_nothing_and_boots_again() {
    let mut bench = Bench::booted(&[0]);
    bench.reactions.insert(0, [Reaction::Hold].into());
    bench.start_fio(1, WRITES, &[0]);
    bench.rest();
    bench.forget();
    bench.act(GuestAct::Kill);
    bench.rest();
    assert!(!bench.connected);
    assert!(bench.log.is_empty(), "{:?}", bench.log);
    assert_eq!(bench.ended(1).unwrap()[0].error, 4);
    assert!(bench.has(|what| matches!(what, Observation::VmDown { .. })));
    bench.reactions.clear();
    bench.boot();
    assert_eq!(bench.targets(), [0]);
    assert_eq!(bench.guest.left(), [""; 0]);
}

#[test]
fn a_response_that_is_written_after_it_was_given_back_is_found_once() {
    let mut bench = Bench::booted(&[0]);
    let last = bench.sent.last().expect("a probe").clone();
    bench.audit();
    assert!(!bench.has(|what| matches!(what, Observation::Broken { .. })));
    bench.scribble(&last);
    bench.audit();
    bench.audit();
    let broken = bench.seen.iter().filter(|seen| {
        matches!(
            seen.what,
            Observation::Broken {
                check: CheckId::G3,
                ..
            }
        )
    });
    assert_eq!(broken.count(), 1);
}

/// What a guest answers when its connection to this controller is to be made anew.
fn reconnect(bench: &mut Bench, ticket: u32, controller: u8) -> Result<u8, String> {
    let (ticket, controller) = (Ticket(ticket), ControllerId(controller));
    bench.act(GuestAct::Reconnect { ticket, controller });
    bench.run_for(Duration::from_millis(1));
    let answer = bench.seen.iter().find_map(|seen| match &seen.what {
        Observation::Answered { ticket: of, result } if *of == ticket => Some(result.clone()),
        _ => None,
    });
    answer.expect("it is answered at once")
}

#[test]
fn a_connection_is_made_anew_or_it_is_said_why_not() {
    let refused = |why: &str| Err(why.to_owned());
    let mut bench = Bench::new(1, |_| {});
    let down = reconnect(&mut bench, 1, 0);
    assert_eq!(down, refused("the VM does not run"));
    bench.boot();
    let other = reconnect(&mut bench, 2, 7);
    assert_eq!(other, refused("the VM has no such controller"));
    assert_eq!(reconnect(&mut bench, 3, 0), Ok(0));
    let again = reconnect(&mut bench, 4, 0);
    assert_eq!(again, refused("the VM makes a connection anew already"));
    bench.rest();
    bench.act(GuestAct::Pause);
    let paused = reconnect(&mut bench, 5, 0);
    assert_eq!(paused, refused("the VM does not run"));
    bench.act(GuestAct::Continue);
    bench.rest();
    assert_eq!(reconnect(&mut bench, 6, 0), Ok(0));
    bench.rest();
}
