//! Ctrl-C: noted and said at once, looked at or waited for by whoever can stop.
//!
//! The second one ends the process at once, whatever it has under way.

use std::io;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use real::testbed::interrupt::Interrupt;
use scenarios::testbed::{Action, Ending, Evidence, Performed, Testbed, TestbedError};
use scenarios::{Seen, Time};
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch::Sender;

/// Whether somebody wants it to end: for those who look at it often.
static ASKED: AtomicBool = AtomicBool::new(false);

/// The same, for those who wait for it.
static TOLD: LazyLock<(Sender<bool>, Interrupt)> = LazyLock::new(Interrupt::new);

/// The exit status of a shell's command that SIGINT ended.
const EXIT_SIGINT: i32 = 130;

/// Said at the first.
const STOPPING: &str = "plugfest: stopping: nothing more is started, and what was made is taken away, \
    which takes 10 s at most; Ctrl-C again leaves at once";
/// Said at the second.
const LEFT: &str = "plugfest: left at once: `plugfest clean` takes away what stays";

/// Listens for Ctrl-C (SIGINT) and SIGTERM from now on, on a thread of its own: the others may be at work.
///
/// # Errors
///
/// The system refuses.
pub fn listen() -> Result<(), String> {
    let listening = || -> io::Result<()> {
        let runtime = Builder::new_current_thread().enable_io().build()?;
        let signals = {
            let _context = runtime.enter();
            let listen = |kind| signal(kind);
            (
                listen(SignalKind::interrupt())?,
                listen(SignalKind::terminate())?,
            )
        };
        let named = thread::Builder::new().name("signals".to_owned());
        named.spawn(move || hear(&runtime, signals))?;
        Ok(())
    };
    listening().map_err(|error| format!("cannot listen for Ctrl-C: {error}"))
}

/// Waits for the first signal, and for the second.
fn hear(runtime: &Runtime, (mut interrupt, mut terminate): (Signal, Signal)) {
    let mut next = || {
        runtime.block_on(async {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
        });
    };
    next();
    eprintln!("{STOPPING}");
    ASKED.store(true, Ordering::Relaxed);
    TOLD.0.send_replace(true);
    next();
    eprintln!("{LEFT}");
    std::process::exit(EXIT_SIGINT);
}

/// Whether somebody wants it to end.
#[must_use]
pub fn asked() -> bool {
    ASKED.load(Ordering::Relaxed)
}

/// The same, to be waited for.
#[must_use]
pub fn interrupt() -> Interrupt {
    TOLD.1.clone()
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
        still_wanted()?;
        self.0.perform(action)
    }

    fn observe(&mut self, deadline: Time, seen: &mut Vec<Seen>) -> Result<(), TestbedError> {
        still_wanted()?;
        self.0.observe(deadline, seen)
    }

    fn ending(&self) -> Ending {
        self.0.ending()
    }
}

/// That nobody wants it to end.
fn still_wanted() -> Result<(), TestbedError> {
    if asked() {
        return Err(TestbedError("interrupted".into()));
    }
    Ok(())
}
