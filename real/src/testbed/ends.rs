//! The ends of a real testbed, as a driver reaches them: a socket to the target, and guests that are asked.
//!
//! Knows not what kind of target and guests they are.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::sync::PoisonError;
use std::time::{Duration, Instant};

use scenarios::driver::{self, Boots, Call, Disks, DisksByVm, Ends, NotHere, Refusal, calls};
use scenarios::{
    ControllerId, DiskId, DiskKind, Evidence, FioId, FioJobEnd, Observation, Seen, TestbedError,
    Ticket, Time, VmId,
};

use super::guests::{Ask, FioStart, Hba};
use super::jobs::{self, GuestJob, Written};
use super::{Parts, RealOptions, clock};

/// A fio that runs.
struct Run {
    job: GuestJob,
    /// The guests in which it was started.
    vms: Vec<VmId>,
}

/// A target and guests on this machine.
pub(super) struct RealEnds {
    pub(super) parts: Parts,
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
            parts,
            options,
            began: clock::start(),
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
                self.parts.guests.ask(*vm, Ask::Go(fio))?;
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
            let socket = self.parts.target.socket(*of);
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

    fn disks(&self) -> &dyn Disks {
        self.parts.disks.as_ref()
    }

    fn begin(
        &mut self,
        disks: &[(DiskId, DiskKind)],
        controllers: &[ControllerId],
    ) -> Result<Vec<Call>, TestbedError> {
        let Parts {
            target, disks: of, ..
        } = &mut self.parts;
        let calls = of.prepare(disks)?;
        let broke = |error: &dyn Display| TestbedError(error.to_string());
        let free = target.must_not_have(controllers, &of.made());
        free.map_err(|error| broke(&error))?;
        let undo = of.undo().into_iter().rev();
        let noted = target.undo_later(undo.chain(controllers.iter().map(|of| calls::delete(*of))));
        noted.map_err(|error| broke(&error))?;
        Ok(calls)
    }

    fn send(&mut self, text: String) -> Result<(), TestbedError> {
        match self.parts.target.send(text.as_bytes()) {
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
        serials: &driver::Serials,
    ) -> Result<(), Refusal> {
        let known = self.parts.serials.write();
        known
            .unwrap_or_else(PoisonError::into_inner)
            .clone_from(serials);
        let hbas = self.hbas(controllers)?;
        self.parts.guests.ask(vm, Ask::Boot(hbas, boots))
    }

    fn ask(&mut self, vm: VmId, ask: driver::Ask) -> Result<(), Refusal> {
        self.parts.guests.ask(vm, Ask::Do(ask))
    }

    fn start_fio(&mut self, fio: FioId, job: &str, by_vm: DisksByVm) -> Result<(), Refusal> {
        let file = self.options.jobs.get(job).cloned();
        let file = file.ok_or_else(|| TestbedError(format!("no job is called {job:?}")))?;
        // Who sees every request needs no other job to know what was read.
        let reads_back =
            jobs::reads_back(&file) && !self.parts.guests.evidence().contains(Evidence::PER_IO);
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
            self.parts.guests.ask(vm, Ask::StartFio(start))?;
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
            self.parts
                .guests
                .ask(*vm, Ask::WaitJobClock { ticket, fio, at })?;
        }
        Ok(run.vms.len())
    }
}
