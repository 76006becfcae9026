//! Compares how fio's jobs ended with how they had to.

use std::collections::BTreeSet;

use crate::concretise::{Job, JobMust};
use crate::observation::FioJobEnd;

use super::StepResult;
use super::equal::{Said, together};

/// What fio 3.33 reports for a disk that was detached under it: EIO, ENODEV, ENOSPC, EILSEQ. Which
/// one depends only on where its next request meets the removal (observed with SPDK and Linux 6.1).
/// ENOENT comes where fio opens the disk again, before it verifies what is left (fio's
/// `clear_io_state`), and the node has gone.
pub const GONE_ERRORS: [u16; 5] = [2, 5, 19, 28, 84];

/// Compares the jobs of one fio; `late`: the detach that it was to meet may have come after its end. Then a job
/// that was to fail by it and passed says nothing; everything else that is wrong is.
pub(super) fn compare(jobs: &[Job], ended: &[FioJobEnd], late: bool) -> StepResult {
    let mut expected = Vec::new();
    let mut seen = Vec::new();
    let mut fine = Vec::new();
    let mut unverified = Vec::new();
    // Whether all that is wrong is that nobody noticed the detach.
    let mut excused = true;
    for job in jobs {
        // A job with numjobs= ends as often as it was cloned.
        let mine = |end: &&FioJobEnd| end.disk == job.disk && end.place == job.place;
        let mut ends = ended.iter().filter(mine).peekable();
        let mut wrongs = Vec::new();
        let passed = |end: &FioJobEnd| end.error == 0 && !end.hung && end.strict.is_empty();
        // A section may have ended before the detach that another one met.
        let met = job.must == JobMust::FailGone
            && (ended.iter().filter(mine))
                .any(|end| end.error != 0 && wrong(job.must, end).is_none());
        // By the wall clock there is no volume: a fio that was starved accuses nobody. Nor does a
        // job that verifies nothing, whoever asked for it.
        let mut none = ended.iter().filter(mine).peekable();
        let is_asked = job.must == JobMust::Pass && none.peek().is_some();
        if is_asked && none.all(|end| end.volume == 0 && end.verified == 0) {
            unverified.push(job.disk);
        }
        if ends.peek().is_none() {
            excused = false;
            wrongs.push(("did not run".to_owned(), None));
        }
        for end in ends {
            match wrong(job.must, end) {
                Some(_) if met && passed(end) => fine.push(end),
                Some(wrong) => {
                    excused &= job.must == JobMust::FailGone && passed(end);
                    wrongs.push(wrong);
                }
                None => fine.push(end),
            }
        }
        let disk = job.disk;
        for (what, detail) in wrongs {
            seen.push(Said { disk, what, detail });
            let (what, detail) = (must(job.must).to_owned(), None);
            expected.push(Said { disk, what, detail });
        }
    }
    if seen.is_empty() && !unverified.is_empty() {
        let disks: Vec<String> = unverified.iter().map(ToString::to_string).collect();
        let reason = format!("fio verified no block on {}", disks.join(", "));
        return StepResult::Inconclusive { reason };
    }
    if seen.is_empty() {
        return StepResult::Held {
            seen: sum_up(&fine),
        };
    }
    if late && excused {
        return StepResult::Inconclusive {
            reason: format!(
                "fio had ended by the time of the detach: {}",
                together(&seen)
            ),
        };
    }
    StepResult::Violated {
        expected: together(&expected),
        seen: together(&seen),
    }
}

fn must(must: JobMust) -> &'static str {
    match must {
        JobMust::Pass => "error 0 and its volume verified",
        JobMust::Fail => "an error",
        JobMust::FailGone => "an error of a removed disk (2, 5, 19, 28 or 84)",
    }
}

/// What is wrong with an end, if anything, and what is said more about it.
fn wrong(must: JobMust, end: &FioJobEnd) -> Option<(String, Option<String>)> {
    if end.hung {
        return Some(("never ended".into(), None));
    }
    let fits = match must {
        JobMust::Pass => end.error == 0,
        JobMust::Fail => end.error != 0,
        JobMust::FailGone => GONE_ERRORS.contains(&end.error),
    };
    if !fits {
        let message = end.messages.first().cloned();
        return Some((format!("error {}", end.error), message));
    }
    if let Some(strict) = end.unseen_by_fio(must == JobMust::FailGone) {
        return Some(("strict oracle".into(), Some(strict.to_owned())));
    }
    let enough = end.volume;
    if must == JobMust::Pass && end.verified < enough {
        let some = format!("{} of {enough} blocks verified", end.verified);
        return Some((some, None));
    }
    None
}

/// "4096 blocks verified a disk; disk 9: error 5".
fn sum_up(fine: &[&FioJobEnd]) -> String {
    let mut parts = Vec::new();
    let passed = fine.iter().filter(|end| end.error == 0);
    if let Some(least) = passed.clone().map(|end| end.verified).min() {
        let disks: BTreeSet<_> = passed.map(|end| (end.disk, end.place)).collect();
        let disks = disks.len();
        let plural = if disks == 1 { "" } else { "s" };
        parts.push(format!(
            "{disks} disk{plural} passed, at least {least} blocks verified on each"
        ));
    }
    let failed = fine.iter().filter(|end| end.error != 0);
    let failed = failed.map(|end| Said {
        disk: end.disk,
        what: format!("failed with error {}", end.error),
        detail: None,
    });
    let failed: Vec<Said> = failed.collect();
    if !failed.is_empty() {
        parts.push(together(&failed));
    }
    parts.join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::{ControllerId, DiskId, Place, TargetId};

    fn end(error: u16, strict: &[&str], no_data: &[&str]) -> FioJobEnd {
        FioJobEnd {
            disk: DiskId(9),
            place: Place {
                controller: ControllerId(5),
                target: TargetId(0),
            },
            error,
            hung: false,
            written: 7,
            verified: 7,
            volume: 7,
            messages: Vec::new(),
            strict: strict.iter().map(ToString::to_string).collect(),
            no_data: no_data.iter().map(ToString::to_string).collect(),
        }
    }

    fn passes(ends: &[FioJobEnd]) -> StepResult {
        let job = Job {
            disk: DiskId(9),
            place: ends[0].place,
            must: JobMust::Pass,
        };
        compare(&[job], ends, false)
    }

    #[test]
    fn every_clone_of_a_job_has_to_hold() {
        let good = || end(0, &[], &[]);
        assert!(matches!(passes(&[good(), good()]), StepResult::Held { .. }));
        let wrong = passes(&[good(), end(0, &["stale"], &[]), good()]);
        assert!(matches!(wrong, StepResult::Violated { .. }), "{wrong:?}");
    }

    #[test]
    fn a_volume_has_to_be_verified_and_without_one_nothing_shows_nothing() {
        let verified = |verified| FioJobEnd {
            verified,
            ..end(0, &[], &[])
        };
        let few = passes(&[verified(6)]);
        assert!(matches!(few, StepResult::Violated { .. }), "{few:?}");
        let none = passes(&[verified(0)]);
        assert!(matches!(none, StepResult::Violated { .. }), "{none:?}");
        let starved = passes(&[FioJobEnd {
            volume: 0,
            ..verified(0)
        }]);
        assert!(
            matches!(starved, StepResult::Inconclusive { .. }),
            "{starved:?}"
        );
        // What a job only reads, or writes again, is not of the volume that it has to verify.
        let repeated = |verified| FioJobEnd {
            written: 9,
            volume: 5,
            verified,
            ..end(0, &[], &[])
        };
        assert!(matches!(passes(&[repeated(5)]), StepResult::Held { .. }));
        let short = passes(&[repeated(4)]);
        assert!(matches!(short, StepResult::Violated { .. }), "{short:?}");
        // All that was written is not yet all that was to be.
        let ended_early = passes(&[FioJobEnd {
            written: 3,
            ..verified(3)
        }]);
        assert!(
            matches!(ended_early, StepResult::Violated { .. }),
            "{ended_early:?}"
        );
    }

    #[test]
    fn only_a_disk_that_was_to_go_may_read_nothing() {
        assert_eq!(wrong(JobMust::FailGone, &end(5, &[], &["nothing"])), None);
        assert!(wrong(JobMust::FailGone, &end(5, &["stale"], &[])).is_some());
        assert_eq!(wrong(JobMust::Pass, &end(0, &[], &[])), None);
        assert!(wrong(JobMust::Pass, &end(0, &[], &["nothing"])).is_some());
    }
}
