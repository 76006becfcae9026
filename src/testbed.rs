//! Makes the testbed and the judge of a run: the one place that knows which there are.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::Arc;

use fio_model::JobFile;
use scenarios::check::{Facts, Judge};
use scenarios::plan::Plan;
use scenarios::testbed::{Evidence, Testbed};
use sim::Deviations;
use sim::world::{Sim, SimOptions};

use crate::run::{Behaviour, RunError, RunOptions, Volume};

/// The simulator: model target, model guest, virtual time. Writes each turn to `turns`, a line each.
///
/// # Errors
///
/// A job file is wrong.
pub fn simulator(
    options: &RunOptions,
    turns: Option<Box<dyn Write + Send>>,
) -> Result<Box<dyn Testbed>, RunError> {
    let mut jobs = BTreeMap::new();
    for (name, job) in &options.jobs {
        let file = JobFile::parse(&job.file, &job.text).map_err(|e| RunError(e.to_string()))?;
        jobs.insert(name.clone(), Arc::new(file));
    }
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
        per_io: true,
        disturb_at: options.disturb_at,
    });
    if let Some(mut out) = turns {
        sim.record_turns(Box::new(move |turn| {
            let _ = writeln!(out, "{turn}");
        }));
    }
    Ok(Box::new(sim))
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
