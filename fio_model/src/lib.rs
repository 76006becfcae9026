//! Placeholder.
#![forbid(unsafe_code)]
/// A job file.
#[derive(Clone, Debug)]
pub struct JobFile;
