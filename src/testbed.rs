//! Makes the testbed and the judge of a run: the one place that knows which there are.

use std::sync::Arc;

use scenarios::check::{Facts, Judge};
use scenarios::testbed::{Evidence, Testbed};
use scenarios::{ControllerId, VmId};
use sim::linux::Digests;
use sim::{Bug, Bugs};
use sim::{DISKS_MAX, LinkedDisks, Sim, SimOptions, linked};

use crate::job_files::parse_jobs;
use crate::on_sockets;
use crate::options::{GuestKind, LinkedOptions, RunOptions, TargetKind};
use crate::run_error::RunError;

/// The testbed that `options` name.
///
/// # Errors
///
/// A job file is wrong, or the testbed does not come up.
pub fn make(options: &RunOptions) -> Result<Box<dyn Testbed>, RunError> {
    match (&options.target, &options.guests) {
        (TargetKind::Model, GuestKind::Model) => simulator(options),
        (TargetKind::Linked(linked), GuestKind::Model) => linked_simulator(options, linked),
        (TargetKind::Spdk(_), GuestKind::Model) | (_, GuestKind::Qemu(_)) => {
            on_sockets::make(options)
        }
    }
}

/// The simulator: model target, model guest, virtual time.
///
/// # Errors
///
/// A job file is wrong.
fn simulator(options: &RunOptions) -> Result<Box<dyn Testbed>, RunError> {
    let sim = Sim::new(sim_options(options)?);
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
) -> Result<Box<dyn Testbed>, RunError> {
    let config = linked::Config {
        cores: 1,
        socket_dir: "/var/tmp/".to_owned(),
    };
    let target = linked::Target::boot(&linked.library, &config);
    let target = target.map_err(|error| {
        let library = linked.library.display();
        RunError::NoTestbed(format!(
            "--target linked: {library}: {error}\n  = make -C sim/linked/shim SPDK_DIR=… links it, against a built SPDK tree"
        ))
    })?;
    let sim_options = sim_options(options)?;
    let slow = sim_options.volume.is_some_and(|volume| volume.scale > 1);
    let micros = if slow { SLOW_MICROS } else { USUAL_MICROS };
    let sim = Sim::with(target, Box::new(LinkedDisks { micros }), sim_options);
    Ok(sim.boxed())
}

fn sim_options(options: &RunOptions) -> Result<SimOptions, RunError> {
    Ok(SimOptions {
        seed: options.seed,
        bugs: options.all_bugs(),
        volume: options.volume.of_a_job(),
        jobs: parse_jobs(&options.jobs, &options.guests)?,
        strategy: options.schedule.strategy(options.seed),
        disks: DISKS_MAX,
        targets: options.targets_asked,
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
