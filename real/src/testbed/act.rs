//! Actions: what of the target and of the guests each one asks.
//!
//! Translates them; sees nothing.

use std::time::Duration;

use scenarios::{
    Action, ControllerId, DiskId, DiskKind, Evidence, FioId, Place, TestbedError, Ticket, VmId,
};
use sim::calls::{self, Call};

use super::guests::{Ask, FioStart, Hba};
use super::{Pending, RealTestbed, Run, jobs};

/// The reason, if an action cannot be done here.
type Refused = Option<String>;

impl RealTestbed {
    /// Does `action`; the reason, if it cannot be done here.
    pub(super) fn act(&mut self, ticket: Ticket, action: &Action) -> Result<Refused, TestbedError> {
        match action {
            Action::StartTarget {
                controllers,
                disks,
                kinds,
            } => self.start_target(ticket, controllers, disks, kinds),
            Action::BootVm { vm, controllers } => {
                self.vms.insert(*vm, controllers.clone());
                let hbas = self.hbas(controllers)?;
                self.guests.ask(*vm, Ask::Boot(hbas))
            }
            Action::BootFirmware { vm, controllers } => {
                let hbas = self.hbas(controllers)?;
                self.guests.ask(*vm, Ask::BootFirmware(hbas))
            }
            Action::RebootVm { vm } => self.guests.ask(*vm, Ask::Boot(Vec::new())),
            Action::PauseVm { vm } => self.guests.ask(*vm, Ask::Pause(ticket)),
            Action::ContinueVm { vm } => self.guests.ask(*vm, Ask::Continue(ticket)),
            Action::AddMemory { vm } => self.guests.ask(*vm, Ask::AddMemory(ticket)),
            Action::KillVm { vm } => self.guests.ask(*vm, Ask::Kill(ticket)),
            Action::ListDisks { vm } => self.guests.ask(*vm, Ask::ListDisks),
            Action::Reconnect { vm, controller } => {
                self.guests.ask(*vm, Ask::Reconnect(ticket, *controller))
            }
            Action::Manage { place, function } => match self.vm_with(place.controller) {
                Some(vm) => self.guests.ask(vm, Ask::Manage(ticket, *place, *function)),
                None => Err(TestbedError(format!("no VM has {place}"))),
            },
            Action::StartFio { fio, job, on } => self.start_fio(*fio, job, on),
            Action::WaitJobClock { fio, at } => self.wait_job_clock(ticket, *fio, *at),
            Action::CheckAlive => self.check_alive(),
            Action::Settle => {
                self.begin_settling();
                Ok(None)
            }
            target => self.ask_target(ticket, target),
        }
    }

    fn ask_target(&mut self, ticket: Ticket, action: &Action) -> Result<Refused, TestbedError> {
        let kind = |disk: &DiskId| self.kinds.get(disk).copied().unwrap_or_default();
        let name = |disk: &DiskId| self.disks.bdev(*disk, kind(disk));
        let calls = match action {
            Action::Attach {
                disk,
                controller,
                target,
            } => {
                let target = target.map_or(-1, |target| i64::from(target.0));
                let call = calls::attach_bdev(&name(disk), *controller, target);
                self.unanswered += 1;
                self.call(call, Pending::Attach { ticket })?;
                return Ok(None);
            }
            Action::Detach { place } => {
                self.unanswered += 1;
                self.call(calls::detach(*place), Pending::Detach { ticket })?;
                return Ok(None);
            }
            Action::Remove { disk } => match self.disks.remove(*disk, kind(disk)) {
                Ok(call) => vec![call],
                Err(reason) => return Ok(Some(reason)),
            },
            Action::Insert { disk } => match self.disks.insert(*disk, kind(disk)) {
                Ok(calls) => calls,
                Err(reason) => return Ok(Some(reason)),
            },
            Action::Resize { disk, mib } => vec![calls::resize(&name(disk), *mib)],
            Action::Hold { disk, requests } => {
                vec![calls::inject(&name(disk), "pending", *requests)]
            }
            Action::Fail { disk, requests } => {
                vec![calls::inject(&name(disk), "failure", *requests)]
            }
            Action::Delay { disk, micros } => calls::latency(&name(disk), *micros),
            Action::Release { disk } => {
                let name = name(disk);
                vec![calls::inject(&name, "clear", 0), calls::resume(&name)]
            }
            Action::CreateController { controller } => vec![calls::create(*controller)],
            Action::DeleteController { controller } => vec![calls::delete(*controller)],
            Action::SaveConfig => vec![calls::save_config()],
            guest => unreachable!("{guest:?} is asked of guests"),
        };
        self.call_all(ticket, calls)
    }

    fn start_target(
        &mut self,
        ticket: Ticket,
        controllers: &[ControllerId],
        disks: &[DiskId],
        kinds: &[(DiskId, DiskKind)],
    ) -> Result<Refused, TestbedError> {
        self.kinds = disks.iter().map(|disk| (*disk, DiskKind::Nvme)).collect();
        self.kinds.extend(kinds.iter().copied());
        let all: Vec<_> = self
            .kinds
            .iter()
            .map(|(disk, kind)| (*disk, *kind))
            .collect();
        let mut calls = self.disks.prepare(&all).map_err(TestbedError)?;
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
        let mut serials = self
            .serials
            .write()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        for (disk, kind) in &self.kinds {
            serials.insert(self.disks.bdev(*disk, *kind), *disk);
        }
        drop(serials);
        calls.extend(controllers.iter().map(|of| calls::create(*of)));
        self.call_all(ticket, calls)
    }

    /// Makes `calls`; the last one answers the ticket.
    fn call_all(&mut self, ticket: Ticket, calls: Vec<Call>) -> Result<Refused, TestbedError> {
        let count = calls.len();
        for (number, call) in (1..).zip(calls) {
            self.unanswered += 1;
            self.call(
                call,
                Pending::Done {
                    ticket,
                    last: number == count,
                },
            )?;
        }
        Ok(None)
    }

    pub(super) fn call(
        &mut self,
        (method, params): Call,
        pending: Pending,
    ) -> Result<(), TestbedError> {
        let (_, bytes) = self.rpc.call(method, params, pending);
        match self.target.send(&bytes) {
            Ok(()) => Ok(()),
            // Its death is seen, or will be.
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
            Err(error) => Err(TestbedError(format!("cannot reach the target: {error}"))),
        }
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

    /// The VM that has a controller.
    fn vm_with(&self, controller: ControllerId) -> Option<VmId> {
        let mut vms = self.vms.iter();
        vms.find_map(|(vm, controllers)| controllers.contains(&controller).then_some(*vm))
    }

    fn start_fio(
        &mut self,
        fio: FioId,
        job: &str,
        on: &[(DiskId, Place)],
    ) -> Result<Refused, TestbedError> {
        let file = self.options.jobs.get(job).cloned();
        let file = file.ok_or_else(|| TestbedError(format!("no job is called {job:?}")))?;
        // Who sees every request needs no other job to know what was read.
        let reads_back =
            jobs::reads_back(&file) && !self.guests.evidence().covers(Evidence::PER_IO);
        let job = if reads_back {
            let written = on.iter().find_map(|(disk, _)| self.written.get(disk));
            let Some(written) = written else {
                let nothing = "no fio of this run has written blocks there that can be checked";
                return Ok(Some(nothing.to_owned()));
            };
            jobs::to_read_back(&file, written)
        } else {
            jobs::to_run(&file, self.options.runtime)
        };
        let mut running = Vec::new();
        let mut starts = Vec::new();
        for (vm, controllers) in &self.vms {
            let mine = on
                .iter()
                .filter(|(_, place)| controllers.contains(&place.controller));
            let mine: Vec<_> = mine.copied().collect();
            if mine.is_empty() {
                continue;
            }
            let must_hold = reads_back.then(|| {
                let blocks = |disk| self.written.get(disk).map_or(0, |written| written.blocks);
                mine.iter().map(|(disk, _)| blocks(disk)).collect()
            });
            let globals = job.globals.clone();
            running.push(*vm);
            starts.push((
                *vm,
                FioStart {
                    fio,
                    globals,
                    block: job.block,
                    on: mine,
                    must_hold,
                },
            ));
        }
        self.together.start(fio, running.clone());
        self.runs.insert(fio, Run { job, vms: running });
        for (vm, start) in starts {
            if let Some(reason) = self.guests.ask(vm, Ask::StartFio(start))? {
                return Ok(Some(reason));
            }
        }
        Ok(None)
    }

    /// Asks the guests in which `fio` was started for its clock; one in which it has ended says so.
    fn wait_job_clock(
        &mut self,
        ticket: Ticket,
        fio: FioId,
        at: Duration,
    ) -> Result<Refused, TestbedError> {
        let (scale, vms) = match self.runs.get(&fio) {
            Some(run) => (run.job.scale, run.vms.clone()),
            // It has ended: any guest will say so.
            None => (1.0, self.vms.keys().take(1).copied().collect()),
        };
        let at = at.mul_f64(scale);
        self.together.expect(ticket, vms.len());
        for vm in vms {
            if let Some(reason) = self.guests.ask(vm, Ask::WaitJobClock { ticket, fio, at })? {
                return Ok(Some(reason));
            }
        }
        Ok(None)
    }
}
