//! A guest whose front-end connects anew scans nothing: it is excused for what moved meanwhile, and for
//! nothing else.

use super::*;

fn connected(conn: u32) -> Observation {
    Observation::Connected {
        vm: VM,
        controller: C1,
        conn,
    }
}

/// Session `session` of connection `conn` starts with or without the target.
fn starts(session: u32, conn: u32, with: bool) -> Vec<Observation> {
    let slot = slot(Some(session), Empty, Present);
    let started = Observation::Inside(Inside::SessionStarted {
        controller: C1,
        session,
        conn,
        hotplug: true,
        eventq: true,
    });
    with.then_some(slot).into_iter().chain([started]).collect()
}

/// The session of the first connection ends, and so does its connection.
fn lost(with: bool) -> Vec<Observation> {
    let closed = Observation::Inside(Inside::SessionClosed {
        controller: C1,
        session: 0,
    });
    let emptied = with.then(|| slot(Some(0), Present, Empty));
    emptied.into_iter().chain([stopped(), closed]).collect()
}

fn v3(shown: &[Observation]) -> CheckOutcome {
    let results = outcomes(judge(false), shown);
    let v3 = results.into_iter().find(|result| result.id == CheckId::V3);
    v3.expect("V3 is judged").outcome
}

/// A guest boots with or without the target, and loses its connection; `meanwhile`; it starts again with the
/// target; `later`.
fn anew(with: bool, meanwhile: &[Observation], later: &[Observation]) -> Vec<Observation> {
    let here = [slot(None, Empty, Adding), slot(None, Adding, Present)];
    let seen = [disk(true)];
    let ready = Observation::VmReady { vm: VM, boot: 1 };
    shown(&[
        if with { &here } else { &[] },
        &[connected(0)],
        &starts(0, 0, with),
        if with { &seen } else { &[] },
        &[ready],
        &lost(with),
        meanwhile,
        &[connected(1)],
        &starts(1, 1, true),
        later,
        &[quiet(&[])],
    ])
}

#[test]
fn what_did_not_move_has_to_be_there() {
    assert_eq!(v3(&anew(true, &[], &[])), CheckOutcome::Held);
    let gone = v3(&anew(true, &[], &[disk(false)]));
    assert!(matches!(gone, CheckOutcome::Violated { .. }), "{gone:?}");
}

#[test]
fn what_moved_meanwhile_is_waived() {
    let moved = [slot(None, Empty, Adding), slot(None, Adding, Present)];
    let cause = "session_paused (1)".into();
    let waived = CheckOutcome::Waived { cause };
    assert_eq!(v3(&anew(false, &moved, &[])), waived);
}

#[test]
fn what_goes_before_the_start_excuses_nothing() {
    let [found, gone] = [slot(Some(1), Empty, Present), slot(Some(1), Present, Empty)];
    let seen = v3(&shown(&[
        &[connected(0)],
        &starts(0, 0, false),
        &[Observation::VmReady { vm: VM, boot: 1 }],
        // The session runs, and is not told.
        &[slot(None, Empty, Adding), slot(None, Adding, Present)],
        &lost(false),
        &[connected(1), found, gone],
        &starts(1, 1, false),
        &[quiet(&[])],
    ]));
    assert!(matches!(seen, CheckOutcome::Violated { .. }), "{seen:?}");
}
