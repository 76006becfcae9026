//! Makes the testbed and the judge of a run: the one place that knows which there are.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};

use fio_model::JobFile;
use scenarios::check::{Facts, Judge};
use scenarios::plan::Plan;
use scenarios::testbed::{Evidence, Testbed};
use scenarios::{ControllerId, VmId};
use sim::linux::Digests;
use sim::world::{Strategy, TurnRecord};
use sim::{Bug, Bugs};
use sim::{Sim, SimOptions};

use crate::on_sockets;
use crate::run::{GuestKind, JobText, RunError, RunOptions, Schedule, TargetKind, Volume};

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
        _ => on_sockets::make(options),
    }
}

/// The simulator: model target, model guest, virtual time. Writes each turn to `turns`, a line each.
///
/// # Errors
///
/// A job file is wrong.
fn simulator(options: &RunOptions, turns: Option<Turns>) -> Result<Box<dyn Testbed>, RunError> {
    let jobs = parse_jobs(&options.jobs, &options.guests)?;
    let mut sim = Sim::new(SimOptions {
        seed: options.seed,
        bugs: bugs(options),
        volume: volume(options.volume),
        jobs,
        strategy: strategy(options),
        per_io: true,
        digests: digests(),
        disturb_at: options.disturb_at,
    });
    if let Some(turns) = turns {
        sim.record_turns(Box::new(move |turn| turns.write(turn)));
    }
    Ok(Box::new(sim))
}

thread_local! {
    /// Digests of payloads, as fio's seeds come again in every run.
    static DIGESTS: Digests = Digests::default();
}

/// Digests for one more simulator of this thread. No run depends on what is in them, but for its price.
pub fn digests() -> Digests {
    DIGESTS.with(Arc::clone)
}

/// How the target of `options` is wrong.
pub fn bugs(options: &RunOptions) -> Bugs {
    crate::run::bugs(options.behaviour, &options.bugs)
}

/// What each disk of a job writes and verifies.
pub fn volume(volume: Volume) -> Option<fio_model::Volume> {
    let (blocks, scale) = match volume {
        Volume::Quick => (256, 8),
        Volume::Default => (4096, 1),
        Volume::Full => return None,
    };
    Some(fio_model::Volume { blocks, scale })
}

/// Who goes next.
pub fn strategy(options: &RunOptions) -> Strategy {
    match options.schedule {
        Schedule::Timed => Strategy::Timed,
        Schedule::Random => Strategy::random(options.seed),
    }
}

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
        let file = JobFile::parse(&job.file, &job.text).map_err(|e| RunError(e.to_string()))?;
        let is_model = matches!(guests, GuestKind::Model);
        // To a real guest's job a section a disk is added; what others say would be lost.
        if let Some(own) = file.jobs.first().filter(|_| !is_model) {
            return Err(RunError(format!(
                "{}: it has a section [{}] of its own\n  = expected [global] only: in a real guest a section is added for each disk",
                place(job, &[&format!("[{}]", own.name)]),
                own.name
            )));
        }
        Ok((name.clone(), Arc::new(file)))
    });
    parsed.collect()
}

/// The job file, with its last line that gives one of these, if one does.
fn place(job: &JobText, given: &[&str]) -> String {
    let gives = |line: &str| {
        let key = line.split('=').next().unwrap_or_default();
        given.contains(&key.trim())
    };
    let lines = job.text.lines().zip(1..);
    match lines.filter(|(line, _)| gives(line)).last() {
        Some((_, number)) => format!("{}:{number}", job.file),
        None => job.file.clone(),
    }
}

/// The judge that reads what a testbed with `evidence` shows of these VMs, under `bugs`.
pub fn judge(evidence: Evidence, vms: Vec<(VmId, Vec<ControllerId>)>, bugs: Bugs) -> Judge {
    Judge::new(Facts {
        evidence,
        events_may_drop: bugs.has(Bug::EventsMissedUnsaid),
        vms,
    })
}

/// The VMs of a plan, and their controllers.
pub fn vms(plan: &Plan) -> Vec<(VmId, Vec<ControllerId>)> {
    let vms = plan.vms.iter();
    vms.map(|vm| (vm.vm, vm.controllers.clone())).collect()
}
