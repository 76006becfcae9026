//! Processes by id and time of start, which no later process shares.
//!
//! Knows not what they are.

use std::fs;
use std::path::Path;

/// A process, by id and by when it started (field 22 of `/proc/PID/stat`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProcessId {
    /// Its id.
    pub id: u32,
    pub(super) started: u64,
}

impl ProcessId {
    pub(super) fn running(id: u32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
        // The second field is a name in parentheses, which may hold anything.
        let rest = stat.rsplit_once(')')?.1;
        let mut fields = rest.split_whitespace();
        let state = fields.next()?;
        let started = fields.nth(18)?.parse().ok()?;
        (state != "Z").then_some(Self { id, started })
    }

    pub(super) fn read(file: &Path) -> Option<Self> {
        let text = fs::read_to_string(file).ok()?;
        let (id, started) = text.trim().split_once(' ')?;
        Some(Self {
            id: id.parse().ok()?,
            started: started.parse().ok()?,
        })
    }

    pub(super) fn is_alive(self) -> bool {
        Self::running(self.id) == Some(self)
    }
}
