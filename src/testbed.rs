//! Makes the testbed and the judge of a run: the one place that knows which there are.

use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};

use scenarios::check::{Facts, Judge};
use scenarios::testbed::{Evidence, Testbed};
use scenarios::{ControllerId, VmId};
use sim::linux::Digests;
use sim::world::TurnRecord;
use sim::{Bug, Bugs};
use sim::{LinkedDisks, Sim, SimOptions, linked};

use crate::job_files::parse_jobs;
use crate::on_sockets;
use crate::options::{GuestKind, LinkedOptions, RunError, RunOptions, TargetKind};

/// Where the turns of a run are written, a line each.
#[derive(Clone)]
pub struct Turns(Arc<Mutex<TurnFile>>);

struct TurnFile {
    out: Box<dyn Write + Send>,
    written: io::Result<()>,
}

impl Turns {
    /// Writes to `out`.
    pub fn new(out: Box<dyn Write + Send>) -> Self {
        let written = Ok(());
        Self(Arc::new(Mutex::new(TurnFile { out, written })))
    }

    fn write(&self, turn: &TurnRecord) {
        let mut file = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if file.written.is_ok() {
            file.written = writeln!(file.out, "{turn}");
        }
    }

    /// Writes what is left.
    ///
    /// # Errors
    ///
    /// Some turn could not be written.
    pub fn finish(&self) -> Result<(), RunError> {
        let mut file = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let written = std::mem::replace(&mut file.written, Ok(()));
        let written = written.and_then(|()| file.out.flush());
        written.map_err(|error| RunError(format!("cannot write the turns: {error}")))
    }
}

/// The testbed that `options` name. Writes each turn of the simulator to `turns`, a line each.
///
/// # Errors
///
/// A job file is wrong, or the testbed does not come up.
pub fn make(options: &RunOptions, turns: Option<Turns>) -> Result<Box<dyn Testbed>, RunError> {
    match (&options.target, &options.guests) {
        (TargetKind::Model, GuestKind::Model) => simulator(options, turns),
        (TargetKind::Linked(linked), GuestKind::Model) => linked_simulator(options, linked, turns),
        (TargetKind::Spdk(_), GuestKind::Model) | (_, GuestKind::Qemu(_)) => {
            on_sockets::make(options)
        }
    }
}

/// The simulator: model target, model guest, virtual time. Writes each turn to `turns`, a line each.
///
/// # Errors
///
/// A job file is wrong.
fn simulator(options: &RunOptions, turns: Option<Turns>) -> Result<Box<dyn Testbed>, RunError> {
    let mut sim = Sim::new(sim_options(options)?);
    if let Some(turns) = turns {
        sim.record_turns(Box::new(move |turn| turns.write(turn)));
    }
    Ok(sim.boxed())
}

/// How long a request of a linked target's disk takes: the model's device's middle, and that of its slow one.
const USUAL_MICROS: u32 = 60;
const SLOW_MICROS: u32 = 5000;

/// The simulator with SPDK's own code as its target.
///
/// # Errors
///
/// A job file is wrong, or the library is not there or does not start.
fn linked_simulator(
    options: &RunOptions,
    linked: &LinkedOptions,
    turns: Option<Turns>,
) -> Result<Box<dyn Testbed>, RunError> {
    let config = linked::Config {
        cores: 1,
        socket_dir: "/var/tmp/".to_owned(),
    };
    let target = linked::Target::boot(&linked.library, &config);
    let target = target.map_err(|error| {
        let library = linked.library.display();
        RunError(format!(
            "--target linked: {library}: {error}\n  = make -C sim/linked/shim SPDK_DIR=… links it, against a built SPDK tree"
        ))
    })?;
    let sim_options = sim_options(options)?;
    let slow = sim_options.volume.is_some_and(|volume| volume.scale > 1);
    let micros = if slow { SLOW_MICROS } else { USUAL_MICROS };
    let mut sim = Sim::with(target, Box::new(LinkedDisks { micros }), sim_options);
    if let Some(turns) = turns {
        sim.record_turns(Box::new(move |turn| turns.write(turn)));
    }
    Ok(sim.boxed())
}

fn sim_options(options: &RunOptions) -> Result<SimOptions, RunError> {
    Ok(SimOptions {
        seed: options.seed,
        bugs: options.all_bugs(),
        volume: options.volume.of_a_job(),
        jobs: parse_jobs(&options.jobs, &options.guests)?,
        strategy: options.schedule.strategy(options.seed),
        per_io: true,
        digests: digests(),
        disturb_at: options.disturb_at,
    })
}

thread_local! {
    /// Digests of payloads, as fio's seeds come again in every run.
    static DIGESTS: Digests = Digests::default();
}

/// Digests for one more simulator of this thread. No run depends on what is in them, but for its price.
pub fn digests() -> Digests {
    DIGESTS.with(Arc::clone)
}

/// The judge that reads what a testbed with `evidence` shows of these VMs, under `bugs`.
pub fn judge(evidence: Evidence, vms: Vec<(VmId, Vec<ControllerId>)>, bugs: Bugs) -> Judge {
    Judge::new(Facts {
        evidence,
        events_may_drop: bugs.has(Bug::EventsMissedUnsaid),
        vms,
    })
}
