//! Ctrl-C: noted once, looked at by whoever can stop.
//!
//! The second one ends the process at once, as if nobody had asked.

use std::sync::atomic::{AtomicBool, Ordering};

use scenarios::testbed::{Action, Ending, Evidence, Performed, Testbed, TestbedError};
use scenarios::{Seen, Time};

/// Whether somebody wants it to end.
static ASKED: AtomicBool = AtomicBool::new(false);

/// The exit status of a shell's command that SIGINT ended.
const EXIT_SIGINT: i32 = 130;

/// Listens for Ctrl-C (SIGINT) and SIGTERM from now on.
///
/// # Errors
///
/// Somebody else listens already.
pub fn listen() -> Result<(), String> {
    let asked = || {
        if ASKED.swap(true, Ordering::Relaxed) {
            std::process::exit(EXIT_SIGINT);
        }
    };
    ctrlc::set_handler(asked).map_err(|error| format!("cannot listen for Ctrl-C: {error}"))
}

/// Whether somebody wants it to end.
#[must_use]
pub fn asked() -> bool {
    ASKED.load(Ordering::Relaxed)
}

/// A testbed that is lost once somebody wants the run to end.
pub struct Interruptible<'a>(pub &'a mut dyn Testbed);

impl Testbed for Interruptible<'_> {
    fn evidence(&self) -> Evidence {
        self.0.evidence()
    }

    fn now(&self) -> Time {
        self.0.now()
    }

    fn perform(&mut self, action: &Action) -> Result<Performed, TestbedError> {
        self.0.perform(action)
    }

    fn observe(&mut self, deadline: Time, seen: &mut Vec<Seen>) -> Result<(), TestbedError> {
        if asked() {
            return Err(TestbedError("interrupted".into()));
        }
        self.0.observe(deadline, seen)
    }

    fn ending(&self) -> Ending {
        self.0.ending()
    }
}
