//! The files that fio leaves in its directory (`verify_state_save`), for a later fio of this guest.
//!
//! They are on the guest's own disk: a reboot loses none. A fio that its guest takes along leaves none.
//! Knows nothing of what is in them.

use std::collections::BTreeMap;

use fio_model::{FioThread, VerifyState};

/// Files by name.
#[derive(Clone, Debug, Default)]
pub struct StateFiles(BTreeMap<String, Vec<u8>>);

impl StateFiles {
    /// What an earlier fio left for this thread of a job, if it left anything.
    pub fn of(&self, job: &str, thread_number: u32) -> Option<&[u8]> {
        let name = VerifyState::file_name(job, thread_number);
        self.0.get(&name).map(Vec::as_slice)
    }

    /// Keeps what a thread leaves that has ended.
    pub fn keep(&mut self, thread: &FioThread) {
        if let Some(file) = thread.verify_state() {
            let result = thread.result();
            let name = VerifyState::file_name(&result.name, result.thread_number);
            self.0.insert(name, file);
        }
    }
}
