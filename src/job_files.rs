//! The job files of a run, parsed, as far as plans can use them.
//!
//! Knows fio's options by name; runs nothing.

use std::collections::BTreeMap;
use std::sync::Arc;

use fio_model::JobFile;

use crate::options::{GuestKind, JobText};
use crate::run_error::RunError;

/// The job files, parsed.
///
/// # Errors
///
/// One is wrong.
pub fn parse_jobs(
    jobs: &BTreeMap<String, JobText>,
    guests: &GuestKind,
) -> Result<BTreeMap<String, Arc<JobFile>>, RunError> {
    let parsed = jobs.iter().map(|(name, job)| {
        let file = JobFile::parse(&job.file, &job.text)?;
        // A section a disk is added to [global]; what others say would be lost.
        if let Some(own) = file.jobs.first() {
            return Err(RunError::Input(format!(
                "{}: it has a section [{}] of its own\n  = expected [global] only: a section is added for each disk",
                place(job, &[&format!("[{}]", own.name)]),
                own.name
            )));
        }
        let global = file.template();
        if let Some(filename) = &global.filename {
            return Err(RunError::Input(format!(
                "{}: filename={filename}\n  = expected none: each disk has a section, with the name that its guest gives it",
                place(job, &["filename"])
            )));
        }
        if !global.direct && matches!(guests, GuestKind::Model) {
            return Err(RunError::Input(format!(
                "{}: the I/O is buffered\n  = expected direct=1: guests that are modelled have no page cache",
                place(job, &["direct", "buffered"])
            )));
        }
        Ok((name.clone(), Arc::new(file)))
    });
    parsed.collect()
}

/// The job file, with its last line that gives one of these, if one does.
fn place(job: &JobText, given: &[&str]) -> String {
    let gives = |line: &str| {
        let key = line.split('=').next().unwrap_or_default();
        given.contains(&key.trim())
    };
    let lines = job.text.lines().zip(1..);
    match lines.filter(|(line, _)| gives(line)).last() {
        Some((_, number)) => format!("{}:{number}", job.file),
        None => job.file.clone(),
    }
}
