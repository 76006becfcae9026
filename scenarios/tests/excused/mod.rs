//! What came too late, or was not done, and what that excuses.

use super::*;

#[test]
fn a_removal_that_nobody_waits_for_may_be_too_late_too() {
    use Quirk::{FioEndsEarly, FioNotices, ShowsInside};
    for removal in ["detach", "remove"] {
        let steps = format!(
            r#"fio "all" on="disk 1" expect="gone" {{ alive; {removal} disk=1 wait=#false; }}"#
        );
        for (quirks, verdict) in [
            (&[ShowsInside][..], Verdict::Passed),
            (&[ShowsInside, FioNotices(false)], Verdict::Failed),
            (&[ShowsInside, FioEndsEarly], Verdict::Inconclusive),
            // Nobody knows what was first.
            (&[], Verdict::Passed),
            (&[FioNotices(false)], Verdict::Inconclusive),
            (&[FioEndsEarly], Verdict::Inconclusive),
        ] {
            let (text, report) = came_of(&steps, quirks);
            assert_eq!(report.verdict(), verdict, "{removal} {quirks:?}: {text}");
        }
    }
}

#[test]
fn what_the_testbed_could_not_do_is_not_blamed_on_the_target() {
    use Quirk::{BlockMissing, DiskStays, NoRemove, TargetCrashes};
    let removed = r#"fio "all" on="disk 1" expect="gone" { alive; remove disk=1; }"#;
    let gone = format!("{removed}; gone disk=1; failed fio=\"all\" disk=1");
    let before = format!(r#"fio "first" expect="pass"; {removed}"#);
    let crashes = format!("{removed}; detach disk=2");
    let stays = "detach disk=2; gone disk=2; remove disk=1";
    for (steps, quirks, verdict) in [
        (removed, &[][..], Verdict::Passed),
        (removed, &[NoRemove], Verdict::Inconclusive),
        (&gone, &[], Verdict::Passed),
        (&gone, &[NoRemove], Verdict::Inconclusive),
        // What was before it, and a crash, cannot come of it.
        (&before, &[NoRemove, BlockMissing], Verdict::Failed),
        (stays, &[NoRemove, DiskStays], Verdict::Failed),
        (&crashes, &[NoRemove, TargetCrashes], Verdict::Failed),
    ] {
        let (text, report) = came_of(steps, quirks);
        assert_eq!(report.verdict(), verdict, "{quirks:?}: {text}");
        let says_why = text.contains("\"remove disk 1\" was not done: expected disk 1 ");
        let excused = verdict == Verdict::Inconclusive;
        assert!(says_why || !excused, "{quirks:?}: {text}");
    }
}

/// What was left undone is no excuse for another disk, nor for data that is wrong.
#[test]
fn what_was_not_done_excuses_only_what_it_would_have_changed() {
    use Quirk::{BlockMissing, ChecksReads, DiskStays, Loses, NoPerIo, NoRemove};
    let written = r#"fio "w" on="disk 1" expect="pass""#;
    let kept = |step: &str| format!("{written}; {step}; kept disk=1");
    let harmless = [
        r#"tmf "lun-reset" controller=1 target=0"#,
        "add-memory vm=1",
        "reconnect vm=1 controller=1",
    ];
    let damaged = [NoPerIo, ChecksReads, Loses(Oracle::Fio)];
    for step in harmless {
        let (text, report) = came_of(&kept(step), &damaged);
        assert_eq!(report.verdict(), Verdict::Failed, "{text}");
    }
    let lost = [NoRemove, NoPerIo, ChecksReads, Loses(Oracle::Strict)];
    for (steps, quirks, verdict) in [
        (
            "remove disk=1; gone disk=1",
            &[NoRemove][..],
            Verdict::Inconclusive,
        ),
        (
            "remove disk=1; detach disk=2; gone disk=2",
            &[NoRemove, DiskStays],
            Verdict::Failed,
        ),
        (
            r#"remove disk=1; fio "f" on="disk 2" expect="pass""#,
            &[NoRemove, BlockMissing],
            Verdict::Failed,
        ),
        // The slot of what was not removed is taken, so the other disk comes to another one.
        (
            r#"remove disk=1; detach disk=2; attach disk=2 controller=1 target="any"; present"#,
            &[NoRemove],
            Verdict::Inconclusive,
        ),
        (
            &kept(r#"remove disk=1; insert disk=1; attach disk=1 controller=1 target=0"#),
            &lost[..1],
            Verdict::Inconclusive,
        ),
        (
            &kept(r#"remove disk=1; insert disk=1; attach disk=1 controller=1 target=0"#),
            &lost,
            Verdict::Failed,
        ),
    ] {
        let (text, report) = came_of(steps, quirks);
        assert_eq!(report.verdict(), verdict, "{steps} {quirks:?}: {text}");
    }
}
