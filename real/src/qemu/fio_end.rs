//! fio's report (`--output-format=json`), as the ends of its jobs.
//!
//! Knows fio's words; knows no guest. A job that only reads was given `verify=` and goes on after an error:
//! each block that it reads is one that was never written, one that is whole, or one that is damaged.

use scenarios::FioJobEnd;
use serde_json::Value;

use super::agent::FioEnd;
use crate::testbed::guests::FioStart;

/// No such file: what is said of a disk that the guest does not have.
pub const ENOENT: u16 = 2;
/// What fio says of a damaged block.
const EILSEQ: u16 = 84;
/// There is no report to read an error from.
const NO_REPORT: u16 = u16::MAX;

/// All jobs of a fio, ended with one error.
#[must_use]
pub fn all(start: &FioStart, error: u16, message: &str) -> Vec<FioJobEnd> {
    let jobs = start.on.iter();
    let jobs = jobs.map(|(disk, place)| FioJobEnd {
        disk: *disk,
        place: *place,
        section: 0,
        error,
        hung: false,
        written: 0,
        verified: 0,
        volume: 0,
        messages: vec![message.to_owned()],
        strict: Vec::new(),
        no_data: Vec::new(),
    });
    jobs.collect()
}

/// The jobs of a fio that has ended.
#[must_use]
pub fn jobs(start: &FioStart, end: &FioEnd) -> Vec<FioJobEnd> {
    let report: Value = serde_json::from_str(&end.json).unwrap_or_default();
    let Some(reported) = report["jobs"].as_array() else {
        let said = end.complaints.join("; ");
        return all(start, NO_REPORT, &format!("fio gave no report: {said}"));
    };
    let mut ends = all(start, NO_REPORT, "fio does not report it");
    for (number, ended) in ends.iter_mut().enumerate() {
        let name = format!("disk{}", ended.disk.0);
        let Some(job) = reported.iter().find(|job| job["jobname"] == name.as_str()) else {
            continue;
        };
        let blocks =
            |way: &str| job[way]["io_bytes"].as_u64().unwrap_or(0) / u64::from(start.block);
        ended.error = job["error"]
            .as_u64()
            .and_then(|n| u16::try_from(n).ok())
            .unwrap_or(NO_REPORT);
        (ended.written, ended.verified) = (blocks("write"), blocks("read"));
        let node = end.names.get(number).map(|name| format!("/dev/{name}"));
        let about = |text: &&String| {
            node.as_ref()
                .is_some_and(|node| text.contains(node.as_str()))
        };
        ended.messages = end.complaints.iter().filter(about).cloned().collect();
        if let Some(must_hold) = &start.must_hold {
            read_back(ended, job, end, must_hold.get(number).copied().unwrap_or(0));
        }
    }
    ends
}

/// What a job came to that read back what others wrote.
fn read_back(ended: &mut FioJobEnd, job: &Value, end: &FioEnd, must_hold: u64) {
    // fio counts the first error twice: as a failure of the job, and in `total_err`.
    let errors = job["total_err"].as_u64().unwrap_or(0);
    let failed = errors.saturating_sub(u64::from(errors > 0));
    let damaged = failed.saturating_sub(end.unwritten);
    // A fio that has written every block begins again: all that were read must be there, and no more.
    let must_hold = must_hold.min(ended.verified);
    ended.verified = ended.verified.saturating_sub(end.unwritten + damaged);
    if matches!(ended.error, 0 | EILSEQ) {
        ended.error = if damaged > 0 { EILSEQ } else { 0 };
    }
    if ended.error == 0 && ended.verified < must_hold {
        let held = ended.verified;
        ended.strict.push(format!(
            "{held} of {must_hold} blocks that were written are there"
        ));
    }
}

#[cfg(test)]
mod tests {
    use scenarios::{ControllerId, DiskId, FioId, Place, TargetId};

    use super::*;

    fn start(must_hold: Option<u64>) -> FioStart {
        let place = |target| Place {
            controller: ControllerId(5),
            target: TargetId(target),
        };
        FioStart {
            fio: FioId(0),
            globals: String::new(),
            block: 4096,
            on: vec![(DiskId(9), place(0)), (DiskId(10), place(1))],
            must_hold: must_hold.map(|blocks| vec![blocks, 0]),
        }
    }

    fn end(error: u16, total: u64, read: u64) -> FioEnd {
        let job = |name: &str, error: u16, total: u64, read: u64| {
            serde_json::json!({"jobname": name, "error": error, "total_err": total,
                "read": {"io_bytes": read * 4096}, "write": {"io_bytes": 40_960}})
        };
        let report =
            serde_json::json!({"jobs": [job("disk9", error, total, read), job("disk10", 0, 0, 7)]});
        FioEnd {
            exit: u8::from(error > 0),
            names: vec!["sda".into(), "sdb".into()],
            json: report.to_string(),
            unwritten: 0,
            complaints: vec!["fio: io_u error on file /dev/sda: Input/output error".into()],
        }
    }

    #[test]
    fn each_job_has_its_own_error_and_messages() {
        let jobs = jobs(&start(None), &end(5, 3, 12));
        let short: Vec<_> = jobs
            .iter()
            .map(|job| (job.error, job.written, job.verified, job.messages.len()))
            .collect();
        assert_eq!(short, [(5, 10, 12, 1), (0, 10, 7, 0)]);
    }

    #[test]
    fn no_report_is_a_failure_of_every_job() {
        let end = FioEnd {
            json: "fio: bad option".into(),
            ..FioEnd::default()
        };
        assert!(
            jobs(&start(None), &end)
                .iter()
                .all(|job| job.error == NO_REPORT)
        );
        let end = FioEnd {
            json: r#"{"jobs": []}"#.into(),
            ..FioEnd::default()
        };
        assert!(
            jobs(&start(None), &end)
                .iter()
                .all(|job| job.error == NO_REPORT)
        );
    }

    #[test]
    fn blocks_that_were_never_written_are_none_that_are_lost() {
        let unwritten = |total, unwritten, read, must_hold| {
            let end = FioEnd {
                unwritten,
                ..end(if total > 0 { 84 } else { 0 }, total, read)
            };
            let job = jobs(&start(Some(must_hold)), &end).remove(0);
            (job.error, job.verified, job.strict.len())
        };
        assert_eq!(unwritten(91, 90, 100, 10), (0, 10, 0));
        assert_eq!(unwritten(91, 90, 100, 11), (0, 10, 1), "one is lost");
        assert_eq!(unwritten(92, 90, 100, 9), (84, 9, 0), "one is damaged");
        assert_eq!(unwritten(0, 0, 100, 100), (0, 100, 0));
        assert_eq!(
            unwritten(0, 0, 100, 250),
            (0, 100, 0),
            "it was written more than once"
        );
        assert_eq!(unwritten(2, 1, 100, 250), (0, 99, 1));
    }
}
