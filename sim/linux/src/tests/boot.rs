//! Boots, reboots, pauses and kills.

use std::collections::BTreeMap;
use std::time::Duration;

use scenarios::{CheckId, ControllerId, Observation, Ticket, Time, VmId};

use super::back_end::ScriptedBackEnd;
use crate::ids::DiskNo;
use crate::scsi::Scsi;
use crate::testing::scsi::Slot;
use crate::{Guest, GuestConfig};
use wire::component::Cx;
use wire::message::{GuestAct, HbaId};
use wire::{Rng, Stream};

const WRITES: &str = "[global]\nioengine=libaio\nrw=randwrite\nbs=4k\niodepth=8\ndirect=1\n\
    verify=crc32c\ndo_verify=1\n";

#[test]
fn no_command_is_sent_before_the_messages_that_start_its_session() {
    let back_end = ScriptedBackEnd::booted(&[0]);
    let mut last_call = false;
    for line in &back_end.log {
        if line.starts_with("CMD") {
            assert!(last_call, "a command before SET_VRING_CALL 3");
        } else {
            last_call = line == "MSG SET_VRING_CALL 3";
        }
    }
}

#[test]
fn linux_posts_eight_buffers_and_the_firmware_none() {
    let mut back_end = ScriptedBackEnd::booted(&[0]);
    assert_eq!(back_end.buffers(), 8);
    let mut without = ScriptedBackEnd::new(1, |config| config.hotplug = false);
    without.slots.insert(0, Slot::Present);
    without.boot();
    assert_eq!(without.buffers(), 0);
    assert!(
        without
            .log
            .contains(&"MSG SET_FEATURES 0x150000004".to_owned())
    );
    assert_eq!(back_end.targets(), without.targets());
}

#[test]
fn names_differ_from_boot_to_boot() {
    let mut names = std::collections::BTreeSet::new();
    for seed in 0..32 {
        let mut back_end = ScriptedBackEnd::new(seed, |_| {});
        back_end.slots = [0, 2, 7].map(|t| (t, Slot::Present)).into();
        back_end.boot();
        names.insert([0, 2, 7].map(|target| back_end.node(target)));
    }
    assert!(names.len() > 3, "{names:?}");
}

#[test]
fn a_reboot_ends_fio_and_finds_what_is_there_then() {
    let mut back_end = ScriptedBackEnd::with_held_io(&[0, 1], WRITES);
    assert_eq!(back_end.held(), 8);
    back_end.slots.insert(1, Slot::Absent);
    back_end.act(GuestAct::Boot);
    back_end.run_for(Duration::from_millis(1));
    assert_eq!(back_end.ended(1).unwrap()[0].error, 4);
    back_end.release();
    back_end.rest();
    assert!(back_end.has(|what| matches!(what, Observation::VmReady { boot: 2, .. })));
    assert_eq!(back_end.targets(), [0]);
    assert_eq!(back_end.guest.left(), [""; 0]);
}

#[test]
fn a_reboot_does_not_wait_for_a_removal() {
    let mut back_end = ScriptedBackEnd::with_held_io(&[0, 1], WRITES);
    back_end.detach(0);
    back_end.rest();
    back_end.detach(1);
    back_end.rest();
    back_end.forget();
    back_end.boot();
    assert_eq!(back_end.targets(), [0u8; 0]);
    assert_eq!(back_end.buffers(), 8);
    assert_eq!(back_end.guest.left(), [""; 0]);
    assert!(!back_end.has(|what| matches!(what, Observation::Broken { .. })));
}

#[test]
fn a_device_that_is_reset_leaves_the_others_their_disks() {
    let controllers = vec![ControllerId(0), ControllerId(1)];
    let config = GuestConfig::new(VmId(1), controllers, BTreeMap::new(), None);
    let mut guest = Guest::new(config);
    for hba in [HbaId(0), HbaId(1)] {
        Scsi::find_disk(hba, 5, &mut guest.shared);
    }
    let (mut out, mut saw) = (Vec::new(), Vec::new());
    let mut cx = Cx {
        now: Time(0),
        rng: &mut Rng::new(1, Stream::Accidents),
        out: &mut out,
        saw: &mut saw,
    };
    guest.reset_device(HbaId(0), &mut cx);
    let disks = &guest.shared.disks;
    let left = [HbaId(0), HbaId(1)].map(|hba| disks.at(hba, 5));
    assert_eq!(left, [None, Some(DiskNo(1))]);
}

#[test]
fn a_fio_that_is_started_in_a_guest_that_is_down_finds_no_disk() {
    let mut back_end = ScriptedBackEnd::booted(&[0]);
    back_end.act(GuestAct::Boot);
    back_end.start_fio(1, WRITES, &[0]);
    back_end.rest();
    assert_eq!(back_end.ended(1).unwrap()[0].error, 2);
}

#[test]
fn a_pause_stops_the_rings_and_goes_on_from_the_same_index() {
    let mut back_end = ScriptedBackEnd::booted(&[0]);
    back_end.start_fio(1, WRITES, &[0]);
    back_end.run_for(Duration::from_micros(60));
    back_end.forget();
    back_end.act(GuestAct::Pause);
    back_end.rest();
    assert!(back_end.ended(1).is_none(), "it stands still");
    let stop: Vec<_> = back_end
        .log
        .iter()
        .filter(|l| l.contains("GET_VRING_BASE"))
        .collect();
    assert_eq!(stop.len(), 4);
    back_end.act(GuestAct::ListDisks);
    back_end.rest();
    assert!(!back_end.has(|what| matches!(what, Observation::DisksListed { .. })));
    back_end.act(GuestAct::Continue);
    back_end.rest();
    let bases: Vec<_> = back_end
        .log
        .iter()
        .filter(|l| l.contains("SET_VRING_BASE"))
        .collect();
    assert_eq!(bases.len(), 4);
    assert!(!bases[2].ends_with(" 0"), "{bases:?}");
    let end = &back_end.ended(1).expect("it went on")[0];
    assert_eq!((end.error, end.verified), (0, 16));
    assert!(!back_end.has(|what| matches!(what, Observation::Broken { .. })));
}

#[test]
fn a_pause_in_the_middle_of_a_boot_only_delays_it() {
    for at in [1, 5, 12, 50, 301, 305, 310] {
        let mut back_end = ScriptedBackEnd::new(1, |_| {});
        back_end.slots.insert(0, Slot::Present);
        back_end.act(GuestAct::Boot);
        back_end.run_for(Duration::from_millis(at));
        back_end.act(GuestAct::Pause);
        back_end.rest();
        assert!(!back_end.has(|what| matches!(what, Observation::VmReady { .. })));
        back_end.act(GuestAct::Continue);
        back_end.rest();
        assert!(
            back_end.has(|what| matches!(what, Observation::VmReady { .. })),
            "{at} ms"
        );
        assert_eq!(back_end.targets(), [0]);
    }
}

#[test]
fn a_killed_guest_drains_nothing_and_boots_again() {
    let mut back_end = ScriptedBackEnd::with_held_io(&[0], WRITES);
    back_end.forget();
    back_end.act(GuestAct::Kill);
    back_end.rest();
    assert!(!back_end.connected);
    assert!(back_end.log.is_empty(), "{:?}", back_end.log);
    assert_eq!(back_end.ended(1).unwrap()[0].error, 4);
    assert!(back_end.has(|what| matches!(what, Observation::VmDown { .. })));
    back_end.reactions.clear();
    back_end.boot();
    assert_eq!(back_end.targets(), [0]);
    assert_eq!(back_end.guest.left(), [""; 0]);
}

#[test]
fn a_response_that_is_written_after_it_was_given_back_is_found_once() {
    let mut back_end = ScriptedBackEnd::booted(&[0]);
    let last = back_end.sent.last().expect("a probe").clone();
    back_end.audit();
    assert!(!back_end.has(|what| matches!(what, Observation::Broken { .. })));
    back_end.scribble(&last);
    back_end.audit();
    back_end.audit();
    let broken = back_end.seen.iter().filter(|seen| {
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
fn reconnect(back_end: &mut ScriptedBackEnd, ticket: u32, controller: u8) -> Result<u8, String> {
    let (ticket, controller) = (Ticket(ticket), ControllerId(controller));
    back_end.act(GuestAct::Reconnect { ticket, controller });
    back_end.run_for(Duration::from_millis(1));
    let answer = back_end.seen.iter().find_map(|seen| match &seen.what {
        Observation::Answered { ticket: of, result } if *of == ticket => Some(result.clone()),
        _ => None,
    });
    answer.expect("it is answered at once")
}

#[test]
fn a_connection_is_made_anew_or_it_is_said_why_not() {
    let refused = |why: &str| Err(why.to_owned());
    let mut back_end = ScriptedBackEnd::new(1, |_| {});
    let down = reconnect(&mut back_end, 1, 0);
    assert_eq!(down, refused("the VM does not run"));
    back_end.boot();
    let other = reconnect(&mut back_end, 2, 7);
    assert_eq!(other, refused("the VM has no such controller"));
    assert_eq!(reconnect(&mut back_end, 3, 0), Ok(0));
    let again = reconnect(&mut back_end, 4, 0);
    assert_eq!(again, refused("the VM makes a connection anew already"));
    back_end.rest();
    back_end.act(GuestAct::Pause);
    let paused = reconnect(&mut back_end, 5, 0);
    assert_eq!(paused, refused("the VM does not run"));
    back_end.act(GuestAct::Continue);
    back_end.rest();
    assert_eq!(reconnect(&mut back_end, 6, 0), Ok(0));
    back_end.rest();
}
