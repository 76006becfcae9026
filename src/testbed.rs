//! Makes the testbed and the judge of a run: the one place that knows which there are.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};

use fio_model::JobFile;
use scenarios::check::{Facts, Judge};
use scenarios::plan::Plan;
use scenarios::testbed::{Evidence, Testbed};
use sim::Deviations;
use sim::world::{Sim, SimOptions, Strategy, TurnRecord};

use crate::run::{Behaviour, RunError, RunOptions, Schedule, Volume};

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

/// The simulator: model target, model guest, virtual time. Writes each turn to `turns`, a line each.
///
/// # Errors
///
/// A job file is wrong.
pub fn simulator(options: &RunOptions, turns: Option<Turns>) -> Result<Box<dyn Testbed>, RunError> {
    let jobs = parse_jobs(options)?;
    let mut sim = Sim::new(SimOptions {
        seed: options.seed,
        deviations: match options.behaviour {
            Behaviour::Head => Deviations::head(),
            Behaviour::Intended => Deviations::INTENDED,
        },
        volume: match options.volume {
            Volume::Quick => Some(fio_model::Volume {
                blocks: 256,
                scale: 8,
            }),
            Volume::Default => Some(fio_model::Volume {
                blocks: 4096,
                scale: 1,
            }),
            Volume::Full => None,
        },
        jobs,
        strategy: match options.schedule {
            Schedule::Timed => Strategy::Timed,
            Schedule::Random => Strategy::random(options.seed),
        },
        per_io: true,
        disturb_at: options.disturb_at,
    });
    if let Some(turns) = turns {
        sim.record_turns(Box::new(move |turn| turns.write(turn)));
    }
    Ok(Box::new(sim))
}

/// The job files of `options`.
///
/// # Errors
///
/// One is wrong.
pub fn parse_jobs(options: &RunOptions) -> Result<BTreeMap<String, Arc<JobFile>>, RunError> {
    let parsed = options.jobs.iter().map(|(name, job)| {
        let file = JobFile::parse(&job.file, &job.text).map_err(|e| RunError(e.to_string()))?;
        Ok((name.clone(), Arc::new(file)))
    });
    parsed.collect()
}

/// The judge that reads what a testbed with `evidence` shows of `plan`, under `behaviour`.
pub fn judge(evidence: Evidence, plan: &Plan, behaviour: Behaviour) -> Judge {
    let vms = plan
        .vms
        .iter()
        .map(|vm| (vm.vm, vm.controllers.clone()))
        .collect();
    Judge::new(Facts {
        evidence,
        events_may_drop: behaviour == Behaviour::Head,
        vms,
    })
}
