//! Makes the testbed and the judge of a run: the one place that knows which there are.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::Duration;

use fio_model::JobFile;
use real::qemu::{
    Accelerator, Image, ImageOptions, QemuGuests, Serials, Shared, accelerator, image,
};
use real::serve::ServeOptions;
use real::testbed::run_dir::RunDir;
use real::testbed::target::{ModelledDisks, Target};
use real::testbed::{ALIVE_MAX, Parts, RealOptions, RealTestbed};
use scenarios::check::{Facts, Judge};
use scenarios::plan::Plan;
use scenarios::testbed::{Evidence, Testbed};
use scenarios::{ControllerId, VmId};
use sim::target::TargetConfig;
use sim::world::calls::nvme_devices;
use sim::world::{Sim, SimOptions, Strategy, TurnRecord};
use sim::{Deviation, Deviations};

use crate::run::{GuestKind, JobText, QemuOptions, RunError, RunOptions, Schedule, Volume};

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
    match &options.guests {
        GuestKind::Model => simulator(options, turns),
        GuestKind::Qemu(qemu) => served(options, qemu),
    }
}

/// The model target behind sockets in this process, and guests in QEMU.
fn served(options: &RunOptions, qemu: &QemuOptions) -> Result<Box<dyn Testbed>, RunError> {
    fn broken(error: impl std::fmt::Display) -> RunError {
        RunError(error.to_string())
    }
    let jobs = parse_jobs(&options.jobs)?;
    // First, for it removes what killed runs left.
    let dir = Arc::new(RunDir::create().map_err(broken)?);
    let image = match &qemu.image {
        Some(dir) => Image::in_dir(dir),
        None => image::build(&ImageOptions::default()),
    };
    let image = image.map_err(broken)?;
    let (tell, told) = mpsc::channel();
    let serve = ServeOptions {
        rpc_socket: dir.path().join("rpc"),
        vhost_sockets: dir.path().to_owned(),
        target: TargetConfig {
            deviations: deviations(options),
            nvme: nvme_devices(),
            ..TargetConfig::default()
        },
        seed: options.seed,
    };
    let target = Target::model(serve, &tell).map_err(broken)?;
    let serials = Serials::default();
    let guests = QemuGuests::new(Shared {
        image,
        accelerator: if qemu.emulate {
            Accelerator::Tcg
        } else {
            accelerator()
        },
        dir,
        serials: serials.clone(),
        tell,
    });
    let parts = Parts {
        target,
        disks: Box::new(ModelledDisks),
        guests: Box::new(guests),
        told,
        serials,
    };
    let runtime = qemu.runtime_s.map(|s| Duration::from_secs(s.into()));
    let asked_to_end = crate::interrupt::asked;
    let more = RealOptions {
        jobs,
        runtime,
        alive_max: ALIVE_MAX,
        asked_to_end,
    };
    Ok(Box::new(RealTestbed::new(parts, more)))
}

/// The simulator: model target, model guest, virtual time. Writes each turn to `turns`, a line each.
///
/// # Errors
///
/// A job file is wrong.
fn simulator(options: &RunOptions, turns: Option<Turns>) -> Result<Box<dyn Testbed>, RunError> {
    let jobs = parse_jobs(&options.jobs)?;
    let mut sim = Sim::new(SimOptions {
        seed: options.seed,
        deviations: deviations(options),
        volume: volume(options.volume),
        jobs,
        strategy: strategy(options),
        per_io: true,
        disturb_at: options.disturb_at,
    });
    if let Some(turns) = turns {
        sim.record_turns(Box::new(move |turn| turns.write(turn)));
    }
    Ok(Box::new(sim))
}

/// How the target of `options` is wrong.
pub fn deviations(options: &RunOptions) -> Deviations {
    crate::run::deviations(options.behaviour, &options.deviations)
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
) -> Result<BTreeMap<String, Arc<JobFile>>, RunError> {
    let parsed = jobs.iter().map(|(name, job)| {
        let file = JobFile::parse(&job.file, &job.text).map_err(|e| RunError(e.to_string()))?;
        // A section a disk is added to [global]; what others say would be lost.
        if let Some(own) = file.jobs.first() {
            return Err(RunError(format!(
                "{}: it has a section [{}] of its own\n  = expected [global] only: a section is added for each disk",
                job.file, own.name
            )));
        }
        Ok((name.clone(), Arc::new(file)))
    });
    parsed.collect()
}

/// The judge that reads what a testbed with `evidence` shows of these VMs, under `deviations`.
pub fn judge(
    evidence: Evidence,
    vms: Vec<(VmId, Vec<ControllerId>)>,
    deviations: Deviations,
) -> Judge {
    Judge::new(Facts {
        evidence,
        events_may_drop: deviations.has(Deviation::EventsMissedUnsaid),
        vms,
    })
}

/// The VMs of a plan, and their controllers.
pub fn vms(plan: &Plan) -> Vec<(VmId, Vec<ControllerId>)> {
    let vms = plan.vms.iter();
    vms.map(|vm| (vm.vm, vm.controllers.clone())).collect()
}
