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
        // To a real guest's job a section a disk is added; what others say would be lost.
        let is_model = matches!(guests, GuestKind::Model);
        if let Some(own) = file.jobs.first().filter(|_| !is_model) {
            return Err(RunError::Input(format!(
                "{}: it has a section [{}] of its own\n  = expected [global] only: in a real guest a section is added for each disk",
                place(job, &format!("[{}]", own.name)),
                own.name
            )));
        }
        Ok((name.clone(), Arc::new(file)))
    });
    parsed.collect()
}

/// The job file, with the line of that section, if there is one.
fn place(job: &JobText, section: &str) -> String {
    let mut lines = job.text.lines().zip(1..);
    match lines.find(|(line, _)| line.trim().starts_with(section)) {
        Some((_, number)) => format!("{}:{number}", job.file),
        None => job.file.clone(),
    }
}
