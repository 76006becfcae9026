//! Standard output, and why a command stops before its end.

use std::fmt;
use std::io::{self, Write};

/// Why a command stops before its end.
#[derive(Debug)]
pub enum Stop {
    /// Something is wrong with what it was given.
    Error(String),
    /// The reader of the output has gone (`plugfest run | head`).
    NobodyReads,
}

impl Stop {
    /// An error.
    pub fn error(what: impl fmt::Display) -> Self {
        Self::Error(what.to_string())
    }
}

/// Writes text to standard output at once.
pub fn print(text: &str) -> Result<(), Stop> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .map_err(|error| match error.kind() {
            io::ErrorKind::BrokenPipe => Stop::NobodyReads,
            _ => Stop::Error(format!("cannot write the output: {error}")),
        })
}
