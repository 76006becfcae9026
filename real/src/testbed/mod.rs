//! The testbed on this machine: a target and guests that are processes or threads, and the wall clock.
//!
//! ```text
//!  Action ─▶ driver ─▶ JSON-RPC ─▶ target        (target; disks: how disks are made)
//!              └─────▶ Ask ──────▶ guests        (guests)
//!  Observation ◀── one channel ◀── what both say
//! ```
//!
//! Waits for what both say. Knows no plan and no check; what actions and answers mean is the driver's to know.

pub mod clock;
pub mod disks;
mod ends;
pub mod erase;
pub mod guests;
pub mod interrupt;
mod jobs;
mod process_id;
pub mod run_dir;
pub mod target;
pub mod undo;

use std::collections::BTreeMap;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use fio_model::JobFile;
use scenarios::driver::{Disks, Driver, Ends as _, Limits, Refusal, Share};
use scenarios::{
    Action, CheckId, Ending, Evidence, FioId, Observation, Performed, Seen, Testbed, TestbedError,
    Time, VmId,
};

use tokio::runtime::{Builder, Runtime};
use tokio::sync::mpsc::UnboundedReceiver;

use crate::serve::{Ended, News};
use ends::RealEnds;
use guests::{Guests, Serials, Told};
use interrupt::Interrupt;
use target::Target;

/// A target that has closed its connection says how it died within this.
const DEATH_MAX: Duration = Duration::from_secs(2);
/// How long a busy guest may take to give a sign of life.
pub const ALIVE_MAX: Duration = Duration::from_secs(20);
/// Everything comes to rest within this.
const SETTLE_MAX: Duration = Duration::from_secs(50);
/// Between two questions what is in flight.
const IN_FLIGHT_PERIOD: Duration = Duration::from_millis(50);

/// What a testbed is made of.
pub struct Parts {
    /// The guests. They go first: a target that ends under them would be a fault.
    pub guests: Box<dyn Guests>,
    /// The target.
    pub target: Target,
    /// How its disks are made.
    pub disks: Box<dyn Disks>,
    /// Where both say what they see.
    pub told: UnboundedReceiver<Told>,
    /// Filled with the disks' serial numbers before a guest boots.
    pub serials: Serials,
    /// In which their tasks are.
    pub runtime: Rc<Runtime>,
}

/// What else it is to know.
pub struct RealOptions {
    /// The job files, by the names that plans use.
    pub jobs: BTreeMap<String, Arc<JobFile>>,
    /// How long a time-based job runs; as it is written, if not given.
    pub runtime: Option<Duration>,
    /// A sign of life comes within this, or not at all ([`ALIVE_MAX`]).
    pub alive_max: Duration,
    /// Whether somebody wants the run to end.
    pub interrupt: Interrupt,
    /// What it means that a target which is not ours closes its JSON-RPC socket.
    pub closing: Closing,
}

/// What it means that a target which is not ours closes its JSON-RPC socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closing {
    /// Nothing is learned, since somebody may have stopped it.
    SaysNothing,
    /// It has died: for runs that are to show just that.
    IsDeath,
}

/// A target and guests on this machine.
pub struct RealTestbed {
    driver: Driver<RealEnds>,
}

/// What is waited for.
enum Next {
    /// Somebody said something.
    Told(Told),
    /// Nobody did in that time.
    Passed,
    /// Nobody ever will.
    Over,
    /// Somebody wants the run to end.
    Interrupted,
}

/// Where the tasks of a testbed are: they go on while its thread waits, and their child processes die with it
/// (`PR_SET_PDEATHSIG` is about the thread that made them).
///
/// # Errors
///
/// The system refuses.
pub fn runtime() -> io::Result<Rc<Runtime>> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    Ok(Rc::new(runtime))
}

impl RealTestbed {
    /// A testbed in which nothing was done yet.
    #[must_use]
    pub fn new(parts: Parts, options: RealOptions) -> Self {
        let limits = Limits {
            alive: options.alive_max,
            settle: SETTLE_MAX,
            ask_every: Some(IN_FLIGHT_PERIOD),
        };
        Self {
            driver: Driver::new(RealEnds::new(parts, options), limits),
        }
    }

    /// Waits until somebody says something, but no longer than `patience`.
    fn next(&mut self, patience: Duration) -> Next {
        let RealEnds { parts, options, .. } = &mut self.driver.ends;
        parts.runtime.block_on(async {
            tokio::select! {
                biased;
                () = options.interrupt.wait() => Next::Interrupted,
                told = parts.told.recv() => told.map_or(Next::Over, Next::Told),
                () = tokio::time::sleep(patience) => Next::Passed,
            }
        })
    }

    fn take(&mut self, told: Told) -> Result<(), TestbedError> {
        match told {
            Told::Saw(vm, what) => self.saw(vm, what)?,
            Told::Alive(vm) => self.driver.lives(vm),
            Told::Armed(vm, fio) => {
                self.driver.ends.arm(fio, vm);
                self.let_go(fio)?;
            }
            Told::Lost(why) => return Err(TestbedError(why)),
            Told::Rpc(bytes) if bytes.is_empty() => return self.closed(),
            Told::Rpc(bytes) => self.driver.read(&bytes)?,
            Told::Target(News::Broken(text)) => {
                let (check, text) = check_of(&text);
                self.driver.ends.see(Observation::Broken { check, text });
            }
            Told::Target(News::Listening { .. }) => {}
        }
        Ok(())
    }

    /// Hands on what a guest saw: what several answer becomes one answer.
    fn saw(&mut self, vm: VmId, mut what: Observation) -> Result<(), TestbedError> {
        let share = self.driver.complete(Some(vm), &mut what);
        if let Observation::FioEnded { fio, jobs, .. } = &what {
            match share {
                Share::Whole => self.driver.ends.ended(*fio, jobs),
                Share::Part => self.let_go(*fio)?,
            }
        }
        if share == Share::Whole {
            self.driver.ends.see(what);
        }
        Ok(())
    }

    /// Lets a fio begin its I/O, once it can in all guests in which it still runs.
    fn let_go(&mut self, fio: FioId) -> Result<(), TestbedError> {
        let running = self.driver.running(fio).to_vec();
        match self.driver.ends.let_go(fio, &running) {
            // Guests that say that a fio waits can let it go.
            Err(Refusal::NotHere(why)) => Err(TestbedError(why.0)),
            Err(Refusal::Broke(error)) => Err(error),
            Ok(()) => Ok(()),
        }
    }

    /// The target has closed its connection: one of ours says whether it died. Another one may have been
    /// killed, and that says nothing of it.
    fn closed(&mut self) -> Result<(), TestbedError> {
        let how = match (
            self.driver.ends.parts.target.why_closed(DEATH_MAX),
            self.driver.ends.options.closing,
        ) {
            (Some(Ended::Died(crash)), _) => format!("{} in {}", crash.signal, crash.place),
            (Some(Ended::Failed(why)), _) => return Err(TestbedError(why)),
            (None, Closing::IsDeath) => "it has closed its JSON-RPC socket".to_owned(),
            (Some(Ended::Stopped), _) | (None, Closing::SaysNothing) => {
                let closed = "the target has closed its JSON-RPC socket";
                return Err(TestbedError(closed.to_owned()));
            }
        };
        if !std::mem::replace(&mut self.driver.ends.target_died, true) {
            let who = "target".into();
            self.driver.ends.see(Observation::Crashed { who, how });
        }
        Ok(())
    }
}

/// The check that a target names as broken, and what it says of it.
fn check_of(text: &str) -> (CheckId, String) {
    let (name, rest) = text.split_once(": ").unwrap_or(("", text));
    let known = CheckId::JUDGED
        .iter()
        .find(|check| check.to_string() == name);
    // What names none that we know is the target's own bug all the same.
    known.map_or((CheckId::I11, text.to_owned()), |check| {
        (*check, rest.to_owned())
    })
}

impl Testbed for RealTestbed {
    fn evidence(&self) -> Evidence {
        self.driver.ends.parts.guests.evidence()
    }

    fn now(&self) -> Time {
        self.driver.ends.now()
    }

    fn perform(&mut self, action: &Action) -> Result<Performed, TestbedError> {
        self.driver.perform(action)
    }

    fn observe(&mut self, deadline: Time, seen: &mut Vec<Seen>) -> Result<(), TestbedError> {
        loop {
            self.driver.pass()?;
            if !self.driver.ends.fresh.is_empty() || self.now() >= deadline {
                seen.append(&mut self.driver.ends.fresh);
                return Ok(());
            }
            let until = self.driver.due().map_or(deadline, |due| due.min(deadline));
            let patience = until.since(self.now());
            match self.next(patience) {
                Next::Told(told) => self.take(told)?,
                Next::Passed => {}
                Next::Over => return Err(TestbedError("target and guests have all ended".into())),
                Next::Interrupted => return Err(TestbedError("interrupted".into())),
            }
            while let Ok(told) = self.driver.ends.parts.told.try_recv() {
                self.take(told)?;
            }
        }
    }

    fn ending(&self) -> Ending {
        Ending::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_target_finds_broken_names_its_check() {
        assert_eq!(
            check_of("I3: a handle"),
            (CheckId::I3, "a handle".to_owned())
        );
        assert_eq!(
            check_of("odd: text"),
            (CheckId::I11, "odd: text".to_owned())
        );
    }
}
