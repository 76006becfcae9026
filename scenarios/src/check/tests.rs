//! Each check is tripped by a short sequence of observations, and holds on a good one like it.

mod reconnect;
use super::*;
use crate::names::{DiskId, FioId, IoId, Place, TargetId, Ticket};
use crate::observation::{EventKind, GuestDisk, Inside, Io, Observation, SlotState};
use crate::time::Time;
use crate::verdict::{CheckOutcome, Judge as _};
use EventKind::{Removed as RemovedEvent, Rescan};
use SlotState::{Adding, Empty, Present, Removed, Removing};

const VM: VmId = VmId(1);
const C1: ControllerId = ControllerId(1);
const HERE: Place = Place {
    controller: C1,
    target: TargetId(0),
};

fn judge(events_may_drop: bool) -> Judge {
    let evidence = Evidence::all();
    Judge::new(Facts {
        evidence,
        events_may_drop,
        vms: vec![(VM, vec![C1])],
    })
}

/// What the checks come to on `shown`, an observation a microsecond.
fn outcomes(mut judge: Judge, shown: &[Observation]) -> Vec<CheckResult> {
    judge.begin_case();
    for (n, what) in shown.iter().enumerate() {
        judge.see(&Seen {
            at: Time::from_micros(n as u64),
            what: what.clone(),
        });
    }
    judge.end_case()
}

/// The checks that `shown` violates.
fn violated(shown: &[Observation]) -> Vec<CheckId> {
    let results = outcomes(judge(false), shown);
    let wrong = results
        .iter()
        .filter(|r| matches!(r.outcome, CheckOutcome::Violated { .. }));
    wrong.map(|result| result.id).collect()
}

fn slot(session: Option<u32>, from: SlotState, to: SlotState) -> Observation {
    Observation::Inside(Inside::Slot {
        place: HERE,
        session,
        from,
        to,
        device: 7,
    })
}

fn started(hotplug: bool) -> Observation {
    let (controller, session, eventq) = (C1, 0, hotplug);
    Observation::Inside(Inside::SessionStarted {
        controller,
        session,
        conn: 0,
        hotplug,
        eventq,
    })
}

fn stopped() -> Observation {
    Observation::Inside(Inside::SessionStopped {
        controller: C1,
        session: 0,
    })
}

fn event(kind: EventKind, delivered: bool, missed: bool) -> Observation {
    let (controller, session, target) = (C1, 0, TargetId(0));
    Observation::Inside(Inside::Event {
        controller,
        session,
        target,
        kind,
        delivered,
        missed,
    })
}

fn took_remove() -> Observation {
    Observation::Inside(Inside::RpcTook {
        place: HERE,
        attach: false,
        device: 7,
    })
}

fn remove_answered(referrers: u8, tasks: u32) -> Observation {
    Observation::Inside(Inside::RemoveAnswered {
        place: HERE,
        device: 7,
        referrers,
        tasks,
    })
}

fn lun_closed(references: u32) -> Observation {
    Observation::Inside(Inside::LunClosed {
        device: 7,
        references,
    })
}

fn disk(appears: bool) -> Observation {
    let disk = GuestDisk {
        vm: VM,
        place: HERE,
        disk: Some(DiskId(1)),
    };
    if appears {
        Observation::DiskAppeared(disk)
    } else {
        Observation::DiskVanished(disk)
    }
}

fn io(id: u64, disk: u8, write: bool, wrote: u64) -> Io {
    let (fio, disk) = (FioId(0), DiskId(disk));
    Io {
        id: IoId(id),
        fio,
        disk,
        place: HERE,
        write,
        trim: false,
        offset: 4096,
        len: 4096,
        wrote,
    }
}

fn done(io: Io, result: Result<u32, u16>, read: u64) -> Observation {
    Observation::IoDone {
        io,
        result,
        read,
        tries: 1,
        answer: Some((0, 0, 0)),
    }
}

fn write(id: u64, disk: u8, wrote: u64) -> [Observation; 2] {
    let io = io(id, disk, true, wrote);
    [Observation::IoSubmitted(io), done(io, Ok(4096), 0)]
}

fn read(id: u64, disk: u8, got: u64) -> [Observation; 2] {
    let io = io(id, disk, false, 0);
    [Observation::IoSubmitted(io), done(io, Ok(4096), got)]
}

/// A request that the target refuses, as if there were no such target.
fn refused(id: u64) -> [Observation; 2] {
    let io = io(id, 1, false, 0);
    let refused = Observation::IoDone {
        io,
        result: Err(5),
        read: 0,
        tries: 1,
        answer: Some((3, 0, 0)),
    };
    [Observation::IoSubmitted(io), refused]
}

fn crashed(how: &str) -> Observation {
    Observation::Crashed {
        who: "target".into(),
        how: how.into(),
    }
}

fn quiet(left: &[&str]) -> Observation {
    Observation::Quiet {
        settled: true,
        left: left.iter().map(ToString::to_string).collect(),
    }
}

fn broken(check: CheckId) -> Observation {
    Observation::Broken {
        check,
        text: "noted".into(),
    }
}

fn shown(parts: &[&[Observation]]) -> Vec<Observation> {
    parts.concat()
}

/// A session that starts, is given a target by an attach, and a guest that sees the disk.
fn attached() -> Vec<Observation> {
    vec![
        Observation::VmReady { vm: VM, boot: 1 },
        started(true),
        slot(None, Empty, Adding),
        slot(Some(0), Empty, Present),
        event(Rescan, true, false),
        slot(None, Adding, Present),
        disk(true),
    ]
}

/// A clean detach of that target.
fn detached() -> Vec<Observation> {
    vec![
        took_remove(),
        slot(None, Present, Removing),
        slot(Some(0), Present, Removing),
        event(RemovedEvent, true, false),
        disk(false),
        slot(Some(0), Removing, Removed),
        slot(None, Removing, Empty),
        lun_closed(0),
        remove_answered(0, 0),
    ]
}

/// A stop that leaves no tombstone.
fn reset() -> Vec<Observation> {
    vec![slot(Some(0), Removed, Empty), stopped()]
}

/// Everything that the target and the guest should do: attach, data, detach, stop.
fn good() -> Vec<Observation> {
    let data = shown(&[
        &write(0, 1, 11),
        &write(1, 1, 12),
        &read(2, 1, 12),
        &write(3, 2, 22),
    ]);
    shown(&[&attached(), &data, &detached(), &reset(), &[quiet(&[])]])
}

#[test]
fn a_good_run_holds_and_every_check_looks_at_it() {
    assert_eq!(violated(&good()), []);
    for result in outcomes(judge(false), &good()) {
        assert!(
            result.observations > 0 || result.id == CheckId::I8,
            "{} saw nothing",
            result.id
        );
    }
    let attached = shown(&[&attached(), &[quiet(&[])]]);
    let i8 = outcomes(judge(false), &attached)
        .into_iter()
        .find(|r| r.id == CheckId::I8);
    assert!(i8.is_some_and(|result| result.observations > 0));
}

/// For each check, observations that trip it; other checks may be tripped by it too.
fn bad() -> Vec<(CheckId, Vec<Observation>)> {
    use CheckId::*;
    let with = |what: Observation| shown(&[&attached(), &[what]]);
    let detached_but = |n: usize, what: Observation| {
        let mut shown = shown(&[&attached(), &detached(), &[quiet(&[])]]);
        shown[attached().len() + n] = what;
        shown
    };
    let write_1 = io(0, 1, true, 11);
    vec![
        (I1, with(broken(I1))),
        (
            I2,
            shown(&[&write(0, 1, 11), &write(1, 1, 12), &read(2, 1, 11)]),
        ),
        (I3, with(broken(I3))),
        (I4, detached_but(7, lun_closed(1))),
        (I5, detached_but(8, remove_answered(0, 1))),
        (I6, detached_but(8, remove_answered(1, 0))),
        (I7, shown(&[&attached()[..4], &[quiet(&[])]])),
        (
            I8,
            shown(&[&attached()[..3], &[slot(None, Adding, Present), quiet(&[])]]),
        ),
        (I9, shown(&[&attached(), &refused(0)])),
        (I10, shown(&[&attached(), &detached(), &[stopped()]])),
        (I11, with(crashed("SIGSEGV in scsi_lun_append_mgmt_task"))),
        (I12, with(broken(I12))),
        (I13, with(broken(I13))),
        (I14, with(quiet(&["tasks: 1"]))),
        (I15, with(crashed("hang in vhost_log_req_desc"))),
        (I16, with(broken(I16))),
        (I17, with(broken(I17))),
        (I18, with(slot(None, Adding, Removing))),
        (G1, with(broken(G1))),
        (G2, with(broken(G2))),
        (G3, with(broken(G3))),
        (G4, with(broken(G4))),
        (G5, shown(&[&write(0, 1, 11), &read(1, 1, 0)])),
        (
            G6,
            shown(&[&write(0, 1, 11), &write(1, 2, 22), &read(2, 1, 22)]),
        ),
        (
            G7,
            vec![
                started(false),
                slot(Some(0), Empty, Present),
                event(Rescan, true, false),
            ],
        ),
        (G8, vec![started(true), event(Rescan, true, false)]),
        (V1, shown(&[&attached(), &detached()[..4], &[quiet(&[])]])),
        (V2, vec![Observation::IoSubmitted(write_1), quiet(&[])]),
        (V3, shown(&[&attached()[..6], &[quiet(&[])]])),
        (V4, with(broken(V4))),
    ]
}

#[test]
fn each_check_is_tripped_with_every_other_check_off() {
    let bad = bad();
    for id in CheckId::JUDGED {
        let (_, shown) = bad
            .iter()
            .find(|(check, _)| *check == id)
            .expect("bad observations for each");
        let results = outcomes(judge(false).only(&[id]), shown);
        assert_eq!(results.len(), 1);
        let tripped = matches!(results[0].outcome, CheckOutcome::Violated { .. });
        assert!(tripped, "{id} is not tripped: {:?}", results[0].outcome);
    }
}

#[test]
fn a_read_may_return_a_write_in_flight_failed_or_aborted() {
    let open = io(1, 1, true, 12);
    let in_flight = [&write(0, 1, 11)[..], &[Observation::IoSubmitted(open)]].concat();
    assert_eq!(violated(&shown(&[&in_flight, &read(2, 1, 12)])), []);
    assert_eq!(violated(&shown(&[&in_flight, &read(2, 1, 11)])), []);
    let failed = shown(&[&in_flight, &[done(open, Err(5), 0)]]);
    assert_eq!(violated(&shown(&[&failed, &read(2, 1, 12)])), []);
    let aborted = shown(&[&in_flight, &[Observation::VmDown { vm: VM }]]);
    assert_eq!(violated(&shown(&[&aborted, &read(2, 1, 12)])), []);
    // Once a later write was acknowledged, the failed one is gone for good.
    let later = shown(&[&failed, &write(3, 1, 13)]);
    assert_eq!(violated(&shown(&[&later, &read(4, 1, 12)])), [CheckId::I2]);
}

#[test]
fn a_read_under_way_may_return_what_was_acknowledged_before() {
    let early = io(1, 1, false, 0);
    let shown = shown(&[
        &write(0, 1, 11),
        &[Observation::IoSubmitted(early)],
        &write(2, 1, 12),
        &[done(early, Ok(4096), 11)],
    ]);
    assert_eq!(violated(&shown), []);
}

#[test]
fn a_dropped_event_is_waived_on_head_and_must_be_confessed_on_intended() {
    let mut lost = attached();
    lost[4] = event(Rescan, false, false);
    lost.truncate(6);
    let shown = shown(&[&lost, &[quiet(&[])]]);
    let waived = |results: Vec<CheckResult>, id| {
        let result = results.into_iter().find(|result| result.id == id);
        matches!(result.map(|r| r.outcome), Some(CheckOutcome::Waived { .. }))
    };
    assert!(waived(outcomes(judge(true), &shown), CheckId::I7));
    assert!(waived(outcomes(judge(true), &shown), CheckId::V3));
    assert!(violated(&shown).contains(&CheckId::I7));
    assert!(violated(&shown).contains(&CheckId::V3));
}

#[test]
fn a_dropped_event_is_no_excuse_once_another_has_arrived() {
    let mut lost = attached();
    lost[4] = event(Rescan, false, false);
    lost.truncate(6);
    let arrived = [
        slot(Some(0), Present, Removing),
        event(RemovedEvent, true, false),
        slot(Some(0), Removing, Removed),
        slot(Some(0), Removed, Present),
        event(Rescan, true, false),
    ];
    let shown = shown(&[&lost, &arrived, &[quiet(&[])]]);
    let results = outcomes(judge(true), &shown);
    let v3 = results.into_iter().find(|result| result.id == CheckId::V3);
    let outcome = v3.map(|result| result.outcome);
    assert!(matches!(outcome, Some(CheckOutcome::Violated { .. })));
}

#[test]
fn a_refusal_is_right_from_when_the_target_begins_to_go() {
    let going = Observation::Inside(Inside::LunGoing { device: 7 });
    for gone in [slot(None, Present, Removing), going] {
        let late = shown(&[&attached(), std::slice::from_ref(&gone), &refused(0)]);
        assert_eq!(violated(&late), []);
        let under_way = shown(&[
            &attached(),
            &refused(0)[..1],
            std::slice::from_ref(&gone),
            &refused(0)[1..],
        ]);
        assert_eq!(violated(&under_way), []);
    }
}

#[test]
fn what_moved_while_nobody_listened_is_waived() {
    let paused = [
        Observation::VmReady { vm: VM, boot: 1 },
        started(true),
        stopped(),
        slot(None, Empty, Adding),
        slot(None, Adding, Present),
        slot(Some(0), Empty, Present),
        started(true),
        quiet(&[]),
    ];
    let results = outcomes(judge(false), &paused);
    let v3 = results
        .into_iter()
        .find(|result| result.id == CheckId::V3)
        .expect("V3 is judged");
    assert_eq!(
        v3.outcome,
        CheckOutcome::Waived {
            cause: "session_paused (1)".into()
        }
    );
}

/// A disk in the slot; `None`: one that keeps no data.
fn holds(disk: Option<u8>) -> Observation {
    Observation::Attached {
        place: HERE,
        device: 7,
        bdev: "b".into(),
        disk: disk.map(DiskId),
    }
}

#[test]
fn a_disk_that_keeps_no_data_may_return_anything() {
    let nothing = |disk| shown(&[&[holds(disk)], &write(0, 1, 11), &read(1, 1, 13)]);
    assert_eq!(violated(&nothing(None)), []);
    assert_eq!(violated(&nothing(Some(1))), [CheckId::I2]);
}

#[test]
fn a_write_to_the_disk_that_was_there_before_may_be_on_the_one_that_is() {
    let stale = |wrote| {
        let exchanged = [holds(None), holds(Some(2))];
        shown(&[&exchanged, &write(0, 1, wrote), &read(1, 2, 11)])
    };
    assert_eq!(violated(&stale(11)), []);
    assert_eq!(violated(&stale(12)), [CheckId::I2]);
}

#[test]
fn an_answer_that_comes_twice_is_seen() {
    let answer = Observation::Answered {
        ticket: Ticket(4),
        result: Ok(0),
    };
    assert_eq!(violated(&[answer.clone(), answer]), [CheckId::I5]);
}

#[test]
fn without_evidence_a_check_is_not_seen() {
    let facts = Facts {
        evidence: Evidence::empty(),
        events_may_drop: false,
        vms: Vec::new(),
    };
    for result in outcomes(Judge::new(facts), &[]) {
        let needs = result.id.needs();
        assert!(needs == Evidence::empty() || result.outcome == CheckOutcome::NotSeen { needs });
    }
}

#[test]
fn a_disk_is_not_compared_with_slots_that_nobody_sees() {
    let guests_only = Judge {
        evidence: Evidence::GUEST_DISKS,
        ..judge(false)
    };
    let results = outcomes(guests_only, &[disk(true), quiet(&[])]);
    let v3 = results.iter().find(|result| result.id == CheckId::V3);
    let needs = CheckId::V3.needs();
    let seen = v3.map(|v3| v3.outcome.clone());
    assert_eq!(seen, Some(CheckOutcome::NotSeen { needs }));
}
