//! Compares how fio's jobs ended with how they had to.

use crate::concretise::{Job, JobMust};
use crate::observation::FioJobEnd;

use super::StepResult;

/// What fio 3.33 reports for a disk that was detached under it: EIO, ENODEV, ENOSPC, EILSEQ. Which
/// one depends only on where its next request meets the removal (observed with SPDK and Linux 6.1).
/// ENOENT comes where fio opens the disk again, before it verifies what is left (fio's
/// `clear_io_state`), and the node has gone.
pub const GONE_ERRORS: [u16; 5] = [2, 5, 19, 28, 84];

/// Compares the jobs of one fio; `late` are those that had ended before the detach came.
pub(super) fn compare(jobs: &[Job], ended: &[FioJobEnd], late: bool) -> StepResult {
    let mut expected = Vec::new();
    let mut seen = Vec::new();
    let mut fine = Vec::new();
    for job in jobs {
        let end = ended
            .iter()
            .find(|end| end.disk == job.disk && end.place == job.place);
        let wrong = match end {
            None => Some("did not run".to_owned()),
            Some(end) => wrong(job.must, end),
        };
        match (wrong, end) {
            (Some(wrong), _) => {
                expected.push(format!("{} {}", job.disk, must(job.must)));
                seen.push(format!("{} {wrong}", job.disk));
            }
            (None, Some(end)) => fine.push(end),
            (None, None) => {}
        }
    }
    if seen.is_empty() {
        return StepResult::Held {
            seen: sum_up(jobs, &fine),
        };
    }
    if late && jobs.iter().any(|job| job.must == JobMust::FailGone) {
        return StepResult::Inconclusive {
            reason: format!("fio had ended before the detach: {}", seen.join("; ")),
        };
    }
    StepResult::Violated {
        expected: expected.join("; "),
        seen: seen.join("; "),
    }
}

fn must(must: JobMust) -> &'static str {
    match must {
        JobMust::Pass => "error 0 and its volume verified",
        JobMust::Fail => "an error",
        JobMust::FailGone => "an error of a removed disk (2, 5, 19, 28 or 84)",
    }
}

/// What is wrong with an end, if anything.
fn wrong(must: JobMust, end: &FioJobEnd) -> Option<String> {
    if end.hung {
        return Some("never ended".into());
    }
    let fits = match must {
        JobMust::Pass => end.error == 0,
        JobMust::Fail => end.error != 0,
        JobMust::FailGone => GONE_ERRORS.contains(&end.error),
    };
    if !fits {
        let mut said = format!("error {}", end.error);
        if let Some(message) = end.messages.first() {
            said.push_str(&format!(" ({message})"));
        }
        return Some(said);
    }
    if let Some(strict) = end.unseen_by_fio(must == JobMust::FailGone) {
        return Some(format!("strict oracle: {strict}"));
    }
    let enough = end.volume.max(1);
    if must == JobMust::Pass && end.verified < enough {
        return Some(format!("{} of {enough} blocks verified", end.verified));
    }
    None
}

/// "4096 blocks verified a disk; disk 9: error 5".
fn sum_up(jobs: &[Job], fine: &[&FioJobEnd]) -> String {
    let mut parts = Vec::new();
    let passed = fine.iter().filter(|end| end.error == 0);
    if let Some(least) = passed.clone().map(|end| end.verified).min() {
        let disks = passed.count();
        let plural = if disks == 1 { "" } else { "s" };
        parts.push(format!(
            "{disks} disk{plural} passed, at least {least} blocks verified on each"
        ));
    }
    for (job, end) in jobs.iter().zip(fine) {
        if end.error != 0 {
            parts.push(format!("{} failed with error {}", job.disk, end.error));
        }
    }
    parts.join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::{ControllerId, DiskId, Place, TargetId};

    #[test]
    fn only_a_disk_that_was_to_go_may_read_nothing() {
        let end = |error, strict: &[&str], no_data: &[&str]| FioJobEnd {
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
        };
        assert_eq!(wrong(JobMust::FailGone, &end(5, &[], &["nothing"])), None);
        assert!(wrong(JobMust::FailGone, &end(5, &["stale"], &[])).is_some());
        assert_eq!(wrong(JobMust::Pass, &end(0, &[], &[])), None);
        assert!(wrong(JobMust::Pass, &end(0, &[], &["nothing"])).is_some());
    }
}
