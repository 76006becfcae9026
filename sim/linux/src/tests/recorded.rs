//! The guest does what the recordings show of a real one.

use std::collections::BTreeMap;

use super::back_end::ScriptedBackEnd;
use crate::testing::scsi::Slot;

/// The lines of a distilled recording.
fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter(|line| !line.starts_with('#'))
}

/// Commands by target, each in order. REPORT LUNS goes last: a real `sd` probes a new disk while the
/// scan asks it for its LUNs, so that its place is free. Those of the firmware come apart.
fn by_target<'a>(lines: impl Iterator<Item = &'a str>) -> BTreeMap<u8, Vec<&'a str>> {
    let mut targets: BTreeMap<u8, Vec<&str>> = BTreeMap::new();
    for line in lines.filter(|line| line.starts_with("CMD")) {
        let target = line.split(' ').nth(1).and_then(|t| t.parse().ok());
        targets
            .entry(target.expect("a target"))
            .or_default()
            .push(line);
    }
    for commands in targets.values_mut() {
        commands.sort_by_key(|line| line.contains(" a0000000000000001"));
    }
    targets
}

fn is_read(line: &str) -> bool {
    line.contains(" 0 28")
}

/// Sessions: from one SET_FEATURES to the next.
fn sessions<'a>(log: impl Iterator<Item = &'a str>) -> Vec<Vec<&'a str>> {
    let mut sessions = vec![Vec::new()];
    for line in log {
        if line.starts_with("MSG SET_FEATURES") {
            sessions.push(Vec::new());
        }
        sessions.last_mut().expect("there is one").push(line);
    }
    sessions
}

#[test]
fn a_boot_sends_the_messages_of_a_real_one_in_their_order() {
    let back_end = ScriptedBackEnd::booted(&[0, 2, 7]);
    let is_message = |line: &&str| line.starts_with("MSG");
    let mine = back_end.log.iter().map(String::as_str).filter(is_message);
    let recorded = lines(include_str!("data/boot.txt")).filter(is_message);
    assert!(
        mine.eq(recorded),
        "{:#?}",
        back_end.log.iter().filter(|l| l.starts_with("MSG"))
    );
}

#[test]
fn a_boot_sends_the_commands_of_a_real_one() {
    let back_end = ScriptedBackEnd::booted(&[0, 2, 7]);
    // Recordings show reads only as numbers: the firmware's three boot sectors, `sd`'s partitions.
    let reads: Vec<_> = back_end.log.iter().filter(|line| is_read(line)).collect();
    assert_eq!(reads.len(), 6);
    let mine = back_end
        .log
        .iter()
        .map(String::as_str)
        .filter(|line| !is_read(line));
    let mine = sessions(mine);
    let recorded = sessions(lines(include_str!("data/boot.txt")));
    assert_eq!(mine.len(), 3);
    let commands = |session: &[&str]| session.iter().filter(|l| l.starts_with("CMD")).count();
    assert_eq!(commands(&mine[1]) + 3, 268, "the firmware's scan");
    let firmware = |session: &[&'static str]| session.to_vec();
    assert_eq!(mine[1], firmware(&recorded[1]), "the firmware's session");
    let of = |session: &Vec<&'static str>| by_target(session.iter().copied());
    let recorded = of(&recorded[2]);
    let mine = by_target(mine[2].iter().copied());
    assert_eq!(mine.len(), 256);
    for (target, commands) in &recorded {
        assert_eq!(mine[target], *commands, "target {target}");
    }
    assert_eq!(mine.len(), recorded.len());
}

#[test]
fn the_scan_of_a_host_goes_target_by_target() {
    let back_end = ScriptedBackEnd::booted(&[0, 2, 7]);
    let scan = back_end
        .log
        .iter()
        .filter(|l| l.contains(" 1200000024"))
        .skip(3);
    let targets: Vec<u16> = scan
        .map(|l| l.split(' ').nth(1).unwrap().parse().unwrap())
        .collect();
    assert!(targets.into_iter().eq(0..256));
}

#[test]
fn three_reboots_send_what_those_of_a_real_guest_send() {
    let mut back_end = ScriptedBackEnd::booted(&[0, 2, 7]);
    for _ in 0..3 {
        back_end.boot();
    }
    let kept = |line: &&str| line.starts_with("MSG") || line.contains(" 0 35");
    let mine: Vec<_> = back_end
        .log
        .iter()
        .map(String::as_str)
        .filter(kept)
        .collect();
    let recorded: Vec<_> = lines(include_str!("data/reboot.txt")).collect();
    // The recording ends in the middle of the last boot.
    assert_eq!(mine[..recorded.len()], recorded[..]);
    let syncs = recorded.iter().filter(|line| line.starts_with("CMD"));
    assert_eq!(syncs.count(), 9);
}

/// Replays the stimuli of a recording and compares, after each, what was asked of each target.
fn replay(back_end: &mut ScriptedBackEnd, text: &'static str) -> usize {
    let mut compared = 0;
    let mut recorded = lines(text).peekable();
    while recorded.peek().is_some() {
        back_end.forget();
        let mut stimuli = Vec::new();
        while let Some(line) = recorded.next_if(|line| !line.starts_with("CMD")) {
            stimuli.push(line);
            stimulate(back_end, line);
        }
        back_end.rest();
        let mut expected = Vec::new();
        while let Some(line) = recorded.next_if(|line| line.starts_with("CMD")) {
            expected.push(line);
        }
        let mine = back_end
            .log
            .iter()
            .map(String::as_str)
            .filter(|line| !is_read(line));
        assert_eq!(
            by_target(mine),
            by_target(expected.into_iter()),
            "{stimuli:?}"
        );
        compared += 1;
    }
    compared
}

fn stimulate(back_end: &mut ScriptedBackEnd, line: &str) {
    let words: Vec<&str> = line.split(' ').collect();
    let hex = |text: &str| u32::from_str_radix(text.trim_start_matches("0x"), 16).unwrap();
    match words[..] {
        ["ATTACH", target] | ["SET", target, "present"] => {
            back_end
                .slots
                .insert(target.parse().unwrap(), Slot::Present);
        }
        ["DETACH", target] | ["SET", target, _] => {
            back_end
                .slots
                .insert(target.parse().unwrap(), Slot::Removed);
        }
        ["EVENT", event, lun, reason] => {
            assert!(back_end.event(hex(event), hex(lun).to_be_bytes(), hex(reason)));
        }
        _ => panic!("no stimulus: {line:?}"),
    }
}

#[test]
fn attaches_and_detaches_ask_what_a_real_guest_asks() {
    let mut back_end = ScriptedBackEnd::booted(&[0, 2, 7]);
    let compared = replay(&mut back_end, include_str!("data/detach.txt"));
    assert_eq!(compared, 7);
    assert_eq!(back_end.targets(), [0, 2, 7]);
}

#[test]
fn events_ask_what_a_real_guest_asks() {
    let text = include_str!("data/events.txt");
    let (back_to_back, _) = text.split_once("SET 1").unwrap();
    let mut back_end = ScriptedBackEnd::booted(&[0, 2, 7]);
    assert_eq!(replay(&mut back_end, back_to_back), 2);
    assert_eq!(back_end.targets(), [2, 7]);
    // What happened in between left disks 0 and 3, and targets 4 to 6 removed.
    for target in [0, 3] {
        back_end.attach(target);
        back_end.rest();
    }
    back_end
        .slots
        .extend([4, 5, 6].map(|target| (target, Slot::Removed)));
    let kinds = &text[back_to_back.len()..];
    assert!(kinds.starts_with("SET 1"));
    let compared = replay(&mut back_end, kinds);
    assert_eq!(compared, 6);
    assert_eq!(back_end.targets(), [0, 1, 3, 7]);
}
