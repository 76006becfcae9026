//! The files that fio leaves in its directory (`verify_state_save`), for a later fio of this guest.
//!
//! They are on the guest's own disk: a reboot loses none. A fio that its guest takes along leaves none.
//! Knows nothing of what is in them.

use std::collections::BTreeMap;

use fio_model::{FioThread, VerifyState};

use super::Guest;

/// Files by name.
pub(super) type StateFiles = BTreeMap<String, Vec<u8>>;

impl Guest {
    /// What an earlier fio left for this thread of a job, if it left anything.
    pub(super) fn state_file(&self, job: &str, thread_number: u32) -> Option<&[u8]> {
        let name = VerifyState::file_name(job, thread_number);
        self.state_files.get(&name).map(Vec::as_slice)
    }

    /// Keeps what a thread leaves that has ended.
    pub(super) fn keep_state(&mut self, thread: &FioThread) {
        if let Some(file) = thread.verify_state() {
            let result = thread.result();
            let name = VerifyState::file_name(&result.name, result.thread_number);
            self.state_files.insert(name, file);
        }
    }
}
