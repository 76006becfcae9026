//! The ends of a real testbed, as a driver reaches them: a socket to the target, and guests that are asked.
//!
//! Knows not what kind of target and guests they are.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::PoisonError;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use scenarios::driver::{self, Boots, Disks, DisksByVm, Ends, NotHere, Refusal, calls};
use scenarios::{
    ControllerId, DiskId, Evidence, FioId, FioJobEnd, Observation, Seen, TestbedError, Ticket,
    Time, VmId,
};

use super::guests::{Ask, FioStart, Guests, Hba, Serials, Told};
use super::jobs::{self, GuestJob, Written};
use super::target::Target;
use super::{Parts, RealOptions};

/// A fio that runs.
struct Run {
    job: GuestJob,
    /// The guests in which it was started.
    vms: Vec<VmId>,
}

/// A target and guests on this machine.
pub(super) struct RealEnds {
    // Guests go first: a target that ends under them would be a fault.
    pub(super) guests: Box<dyn Guests>,
    pub(super) target: Target,
    disks: Box<dyn Disks>,
    pub(super) told: Receiver<Told>,
    serials: Serials,
    pub(super) options: RealOptions,
    began: Instant,
    runs: BTreeMap<FioId, Run>,
    /// The guests in which a fio waits to begin its I/O.
    armed: BTreeMap<FioId, BTreeSet<VmId>>,
    written: BTreeMap<DiskId, Written>,
    pub(super) target_died: bool,
    /// Seen, and not handed on yet.
    pub(super) fresh: Vec<Seen>,
}

impl RealEnds {
    pub(super) fn new(parts: Parts, options: RealOptions) -> Self {
        Self {
            guests: parts.guests,
            target: parts.target,
            disks: parts.disks,
            told: parts.told,
            serials: parts.serials,
            options,
            began: Instant::now(),
            runs: BTreeMap::new(),
            armed: BTreeMap::new(),
            written: BTreeMap::new(),
            target_died: false,
            fresh: Vec::new(),
        }
    }

    /// A fio waits in a guest to begin its I/O.
    pub(super) fn arm(&mut self, fio: FioId, vm: VmId) {
        self.armed.entry(fio).or_default().insert(vm);
    }

    /// Lets a fio begin its I/O, once it can in all guests in which it still runs.
    pub(super) fn let_go(&mut self, fio: FioId, running: &[VmId]) -> Result<(), Refusal> {
        let armed = self.armed.get(&fio);
        if armed.is_some_and(|armed| running.iter().all(|vm| armed.contains(vm))) {
            self.armed.remove(&fio);
            for vm in running {
                self.guests.ask(*vm, Ask::Go(fio))?;
            }
        }
        Ok(())
    }

    /// A fio has ended in all guests: notes what it wrote.
    pub(super) fn ended(&mut self, fio: FioId, jobs: &[FioJobEnd]) {
        if let Some(run) = self.runs.remove(&fio) {
            jobs::note(&mut self.written, &run.job, jobs);
        }
        self.armed.remove(&fio);
    }

    /// The devices on these controllers, which the target has made by now.
    fn hbas(&self, controllers: &[ControllerId]) -> Result<Vec<Hba>, TestbedError> {
        let hbas = controllers.iter().map(|of| {
            let socket = self.target.socket(*of);
            if !socket.exists() {
                return Err(TestbedError(format!(
                    "{}: there is no such socket: the target has it elsewhere (--vhost-sockets says where), or has died",
                    socket.display()
                )));
            }
            Ok(Hba { controller: *of, socket })
        });
        hbas.collect()
    }
}

impl Ends for RealEnds {
    fn now(&self) -> Time {
        Time::ZERO + self.began.elapsed()
    }

    fn see(&mut self, what: Observation) {
        let at = self.now();
        self.fresh.push(Seen { at, what });
    }

    fn disks(&mut self) -> &mut dyn Disks {
        self.disks.as_mut()
    }

    fn begin(
        &mut self,
        serials: &driver::Serials,
        controllers: &[ControllerId],
    ) -> Result<(), TestbedError> {
        let names: Vec<String> = controllers
            .iter()
            .map(|of| calls::controller(*of))
            .collect();
        let free = self.target.must_not_have(&names, &self.disks.made());
        free.map_err(TestbedError)?;
        let undo = self.disks.undo().into_iter().rev();
        let undo = undo.chain(controllers.iter().map(|of| calls::delete(*of)));
        let noted = self.target.undo_later(undo);
        noted.map_err(|error| TestbedError(error.to_string()))?;
        let mut known = self.serials.write().unwrap_or_else(PoisonError::into_inner);
        known.clone_from(serials);
        Ok(())
    }

    fn send(&mut self, text: String) -> Result<(), TestbedError> {
        match self.target.send(text.as_bytes()) {
            Ok(()) => Ok(()),
            // Its death is seen, or will be.
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
            Err(error) => Err(TestbedError(format!("cannot reach the target: {error}"))),
        }
    }

    fn target_died(&self) -> bool {
        self.target_died
    }

    fn boot(
        &mut self,
        vm: VmId,
        controllers: &[ControllerId],
        boots: Boots,
        _: &driver::Serials,
    ) -> Result<(), Refusal> {
        let hbas = self.hbas(controllers)?;
        self.guests.ask(vm, Ask::Boot(hbas, boots))
    }

    fn ask(&mut self, vm: VmId, ask: driver::Ask) -> Result<(), Refusal> {
        self.guests.ask(vm, Ask::Do(ask))
    }

    fn start_fio(&mut self, fio: FioId, job: &str, by_vm: DisksByVm) -> Result<(), Refusal> {
        let file = self.options.jobs.get(job).cloned();
        let file = file.ok_or_else(|| TestbedError(format!("no job is called {job:?}")))?;
        // Who sees every request needs no other job to know what was read.
        let reads_back =
            jobs::reads_back(&file) && !self.guests.evidence().covers(Evidence::PER_IO);
        let job = if reads_back {
            let mut on = by_vm.values().flatten();
            let written = on.find_map(|(disk, _)| self.written.get(disk));
            let nothing = "no fio of this run has written blocks there that can be checked";
            let written = written.ok_or_else(|| NotHere(nothing.to_owned()))?;
            jobs::to_read_back(&file, written)
        } else {
            jobs::to_run(&file, self.options.runtime)
        };
        let vms = by_vm.keys().copied().collect();
        let (globals, block) = (job.globals.clone(), job.block);
        self.runs.insert(fio, Run { job, vms });
        for (vm, on) in by_vm {
            let must_hold = reads_back.then(|| {
                let blocks = |disk| self.written.get(disk).map_or(0, |written| written.blocks);
                on.iter().map(|(disk, _)| blocks(disk)).collect()
            });
            let start = FioStart {
                fio,
                globals: globals.clone(),
                block,
                on,
                must_hold,
            };
            self.guests.ask(vm, Ask::StartFio(start))?;
        }
        Ok(())
    }

    /// Asks all guests in which it was started: one in which it has ended says so.
    fn wait_job_clock(
        &mut self,
        ticket: Ticket,
        fio: FioId,
        at: Duration,
        _: &[VmId],
    ) -> Result<usize, Refusal> {
        let Some(run) = self.runs.get(&fio) else {
            return Ok(0);
        };
        let at = at.mul_f64(run.job.scale);
        for vm in &run.vms {
            self.guests
                .ask(*vm, Ask::WaitJobClock { ticket, fio, at })?;
        }
        Ok(run.vms.len())
    }
}
