//! Compares how fio's jobs ended with how they had to.

use std::collections::BTreeSet;

use crate::names::DiskId;
use crate::observation::FioJobEnd;
use crate::script::{Job, JobMust};

use super::StepResult;
use super::equal::{Said, together};

/// What fio 3.33 reports for a disk that was detached under it: EIO, ENODEV, ENOSPC, EILSEQ. Which
/// one depends only on where its next request meets the removal (observed with SPDK and Linux 6.1).
/// ENOENT comes where fio opens the disk again, before it verifies what is left (fio's
/// `clear_io_state`), and the node has gone.
pub const GONE_ERRORS: [u16; 5] = [2, 5, 19, 28, 84];

/// Why a job may have ended as it did on a disk that does nothing wrong, if it may.
pub(super) type Doubt<'a> = dyn Fn(&FioJobEnd) -> Option<&'a str> + 'a;

/// Compares the jobs of one fio; `late`: the detach that it was to meet may have come after its end. Then a job
/// that was to fail by it and passed says nothing; everything else that is wrong is. Nor does an end that is in
/// `doubt` say anything, whatever it had to be.
pub(super) fn compare(
    jobs: &[Job],
    ended: &[FioJobEnd],
    late: bool,
    doubt: &Doubt<'_>,
) -> StepResult {
    let mut found = Found::default();
    // Whether all that is wrong is that nobody noticed the detach.
    let mut excused = true;
    for job in jobs {
        let mine = |end: &&FioJobEnd| end.disk == job.disk && end.place == job.place;
        let ends: Vec<&FioJobEnd> = ended.iter().filter(mine).collect();
        // By the wall clock there is no volume: a fio that was starved accuses nobody. Nor does a
        // job that verifies nothing, whoever asked for it.
        if job.must == JobMust::Pass && !ends.is_empty() && verified_too_little(&ends) {
            found.unverified.push(job.disk);
        }
        if ends.is_empty() {
            excused = false;
            found.wrong(job, "did not run".to_owned(), None);
        }
        for end in &ends {
            if let Some(why) = doubt(end) {
                found.doubted(end, why);
                continue;
            }
            match wrong(job.must, end) {
                Some(_) if job.must == JobMust::FailGone && had_ended(end, &ends) => {
                    found.fine.push(end);
                }
                Some((what, detail)) => {
                    excused &= job.must == JobMust::FailGone && passed(end);
                    found.wrong(job, what, detail);
                }
                None => found.fine.push(end),
            }
        }
    }
    found.result(late && excused)
}

fn passed(end: &FioJobEnd) -> bool {
    end.error == 0 && !end.hung && end.strict.is_empty()
}

/// Whether nothing was verified on a disk, or nothing by one clone of a section whose others did.
fn verified_too_little(on_disk: &[&FioJobEnd]) -> bool {
    let nothing = |end: &FioJobEnd| end.volume == 0 && end.verified == 0;
    let starved = |end: &FioJobEnd| {
        let mut clones = on_disk.iter().filter(|other| other.section == end.section);
        nothing(end) && clones.any(|other| !nothing(other))
    };
    on_disk.iter().all(|end| nothing(end)) || on_disk.iter().any(|end| starved(end))
}

/// Whether this job may have ended before its disk was detached: another section of its file met the detach,
/// and its own clones (`numjobs`), which run as long as it does, did not.
fn had_ended(end: &FioJobEnd, on_disk: &[&FioJobEnd]) -> bool {
    let met = |other: &FioJobEnd| other.error != 0 && wrong(JobMust::FailGone, other).is_none();
    let mut clones = on_disk.iter().filter(|other| other.section == end.section);
    let mut others = on_disk.iter().filter(|other| other.section != end.section);
    clones.all(|clone| passed(clone)) && others.any(|other| met(other))
}

/// What the ends of jobs come to.
#[derive(Default)]
struct Found<'a> {
    expected: Vec<Said>,
    seen: Vec<Said>,
    fine: Vec<&'a FioJobEnd>,
    in_doubt: Vec<Said>,
    reasons: BTreeSet<&'a str>,
    unverified: Vec<DiskId>,
}

impl<'a> Found<'a> {
    fn wrong(&mut self, job: &Job, what: String, detail: Option<String>) {
        let disk = job.disk;
        self.seen.push(Said { disk, what, detail });
        let (what, detail) = (must(job.must).to_owned(), None);
        self.expected.push(Said { disk, what, detail });
    }

    fn doubted(&mut self, end: &FioJobEnd, why: &'a str) {
        self.in_doubt.push(Said {
            disk: end.disk,
            what: format!("error {}", end.error),
            detail: end.messages.first().cloned(),
        });
        self.reasons.insert(why);
    }

    fn result(self, late: bool) -> StepResult {
        let inconclusive = |reason| StepResult::Inconclusive { reason };
        if late && !self.seen.is_empty() {
            let seen = together(&self.seen);
            return inconclusive(format!("fio had ended by the time of the detach: {seen}"));
        }
        if !self.seen.is_empty() {
            return StepResult::Violated {
                expected: together(&self.expected),
                seen: together(&self.seen),
            };
        }
        if !self.in_doubt.is_empty() {
            let reasons: Vec<&str> = self.reasons.into_iter().collect();
            let (seen, why) = (together(&self.in_doubt), reasons.join("; "));
            return inconclusive(format!("{seen}; this job can do that by itself ({why})"));
        }
        if !self.unverified.is_empty() {
            let disks: Vec<String> = self.unverified.iter().map(ToString::to_string).collect();
            return inconclusive(format!("fio verified no block on {}", disks.join(", ")));
        }
        StepResult::Held {
            seen: sum_up(&self.fine),
        }
    }
}

fn must(must: JobMust) -> &'static str {
    match must {
        JobMust::Pass => "error 0 and every block of it verified",
        JobMust::Fail => "an error",
        JobMust::FailGone => "an error of a removed disk (2, 5, 19, 28 or 84)",
    }
}

/// What is wrong with an end, if anything, and what is said more about it.
pub(super) fn wrong(must: JobMust, end: &FioJobEnd) -> Option<(String, Option<String>)> {
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
    use crate::names::{ControllerId, Place, TargetId};

    fn end(error: u16, strict: &[&str], no_data: &[&str]) -> FioJobEnd {
        FioJobEnd {
            disk: DiskId(9),
            place: Place {
                controller: ControllerId(5),
                target: TargetId(0),
            },
            section: 0,
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
        compare(&[job], ends, false, &|_| None)
    }

    #[test]
    fn every_clone_of_a_job_has_to_hold() {
        let good = || end(0, &[], &[]);
        assert!(matches!(passes(&[good(), good()]), StepResult::Held { .. }));
        let wrong = passes(&[good(), end(0, &["stale"], &[]), good()]);
        assert!(matches!(wrong, StepResult::Violated { .. }), "{wrong:?}");
    }

    fn has_to_meet(ends: &[FioJobEnd]) -> StepResult {
        let job = Job {
            disk: DiskId(9),
            place: ends[0].place,
            must: JobMust::FailGone,
        };
        compare(&[job], ends, false, &|_| None)
    }

    #[test]
    fn a_section_may_have_ended_before_the_detach_but_no_clone_alone() {
        let of = |section, error| FioJobEnd {
            section,
            ..end(error, &[], &[])
        };
        let held = |ends: &[FioJobEnd]| matches!(has_to_meet(ends), StepResult::Held { .. });
        assert!(held(&[of(0, 5), of(0, 19)]));
        assert!(held(&[of(0, 0), of(1, 5)]));
        assert!(!held(&[of(0, 0), of(0, 5)]));
        assert!(!held(&[of(0, 0), of(1, 0)]));
        assert!(!held(&[of(0, 0), of(0, 5), of(1, 5)]));
        assert!(!held(&[of(0, 0), of(1, 22)]));
    }

    #[test]
    fn a_section_may_verify_nothing_beside_another_but_no_clone() {
        let of = |section, blocks| FioJobEnd {
            section,
            volume: blocks,
            verified: blocks,
            ..end(0, &[], &[])
        };
        let held = |ends: &[FioJobEnd]| matches!(passes(ends), StepResult::Held { .. });
        assert!(held(&[of(0, 0), of(1, 7)]));
        assert!(!held(&[of(0, 0), of(0, 7)]));
        assert!(!held(&[of(0, 0), of(1, 0)]));
    }

    #[test]
    fn an_end_in_doubt_says_nothing_whatever_it_had_to_be() {
        let job = |must| Job {
            disk: DiskId(9),
            place: end(0, &[], &[]).place,
            must,
        };
        let doubt = |end: &FioJobEnd| (end.error == 84).then_some("numjobs=2");
        for must in [JobMust::Pass, JobMust::Fail, JobMust::FailGone] {
            let result = compare(&[job(must)], &[end(84, &[], &[])], false, &doubt);
            let StepResult::Inconclusive { reason } = &result else {
                panic!("{result:?}");
            };
            assert!(reason.contains("by itself (numjobs=2)"), "{reason}");
        }
        let both = [end(84, &[], &[]), end(5, &[], &[])];
        let wrong = compare(&[job(JobMust::Pass)], &both, false, &doubt);
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
