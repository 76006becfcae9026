//! Actions: what of the target and of the guests each one asks.
//!
//! Sees nothing.

use std::sync::Arc;
use std::time::Duration;

use super::answers::Pending;
use super::calls::{self, Call, Inject};
use super::{Ask, Boots, DisksByVm, Driver, Ends, Held, Refusal, Serials, disks};
use crate::names::{ControllerId, DiskId, FioId, Place, Ticket, VmId};
use crate::observation::Observation;
use crate::said;
use crate::testbed::{Action, DiskKind, Performed, TestbedError};

impl<E: Ends> Driver<E> {
    /// Asks for `action`.
    ///
    /// # Errors
    ///
    /// The testbed broke.
    pub fn perform(&mut self, action: &Action) -> Result<Performed, TestbedError> {
        self.run.tickets += 1;
        let ticket = Ticket(self.run.tickets);
        match self.act(ticket, action) {
            Ok(()) => Ok(Performed::Asked(ticket)),
            Err(Refusal::NotHere(why)) => Ok(Performed::NotHere(why.0)),
            Err(Refusal::Broke(error)) => Err(error),
        }
    }

    /// What acts on the target comes last.
    fn act(&mut self, ticket: Ticket, action: &Action) -> Result<(), Refusal> {
        let calls = match action {
            Action::BootVm { vm, controllers } => {
                return self.boot(*vm, controllers, Boots::System);
            }
            Action::BootFirmware { vm, controllers } => {
                return self.boot(*vm, controllers, Boots::FirmwareOnly);
            }
            Action::StartFio { fio, job, on } => return self.start_fio(*fio, job, on),
            Action::WaitJobClock { fio, at } => return self.wait_job_clock(ticket, *fio, *at),
            Action::RebootVm { vm } => return self.ends.ask(*vm, Ask::Reboot),
            Action::PauseVm { vm } => {
                self.run.held.insert(Held::Vm(*vm));
                return self.ends.ask(*vm, Ask::Pause(ticket));
            }
            Action::ContinueVm { vm } => {
                self.run.held.remove(&Held::Vm(*vm));
                return self.ends.ask(*vm, Ask::Continue(ticket));
            }
            Action::KillVm { vm } => {
                self.run.held.remove(&Held::Vm(*vm));
                return self.ends.ask(*vm, Ask::Kill(ticket));
            }
            Action::AddMemory { vm } => return self.ends.ask(*vm, Ask::AddMemory(ticket)),
            Action::Reconnect { vm, controller } => {
                return self.ends.ask(*vm, Ask::Reconnect(ticket, *controller));
            }
            Action::Manage { place, function } => {
                let vm = self.vm_with(*place)?;
                return self.ends.ask(vm, Ask::Manage(ticket, *place, *function));
            }
            Action::ListDisks { vm } => return self.ends.ask(*vm, Ask::ListDisks),
            Action::CheckAlive => return self.check_alive(),
            Action::Settle => {
                self.settle();
                return Ok(());
            }
            Action::Attach {
                disk,
                controller,
                target,
            } => {
                let call = calls::attach(&self.bdev(*disk), *controller, *target);
                return Ok(self.call(call, Pending::Attach { ticket })?);
            }
            Action::Detach { place } => {
                return Ok(self.call(calls::detach(*place), Pending::Detach { ticket })?);
            }
            Action::StartTarget {
                controllers,
                disks,
                kinds,
            } => self.start_target(controllers, disks, kinds)?,
            Action::Remove { disk } => vec![self.ends.disks().remove(*disk, self.kind(*disk))?],
            Action::Insert { disk } => self.ends.disks().insert(*disk, self.kind(*disk))?,
            Action::Resize { disk, mib } => vec![calls::resize(&self.bdev(*disk), *mib)],
            Action::Hold { disk, requests } => {
                self.run.held.insert(Held::Disk(*disk));
                self.inject(*disk, Inject::Pending, *requests)
            }
            Action::Fail { disk, requests } => self.inject(*disk, Inject::Failure, *requests),
            Action::Delay { disk, micros } => calls::latency(&self.bdev(*disk), *micros),
            Action::Release { disk } => {
                self.run.held.remove(&Held::Disk(*disk));
                calls::release(&self.bdev(*disk))
            }
            Action::CreateController { controller } => vec![calls::create(*controller)],
            Action::DeleteController { controller } => vec![calls::delete(*controller)],
            Action::SaveConfig => vec![calls::save_config()],
        };
        Ok(self.call_all(ticket, calls)?)
    }

    /// What makes the disks and the controllers, in that order.
    fn start_target(
        &mut self,
        controllers: &[ControllerId],
        disks: &[DiskId],
        kinds: &[(DiskId, DiskKind)],
    ) -> Result<Vec<Call>, TestbedError> {
        self.run.kinds = disks.iter().map(|disk| (*disk, DiskKind::Nvme)).collect();
        self.run.kinds.extend(kinds.iter().copied());
        let kinds = self.run.kinds.iter().map(|(disk, kind)| (*disk, *kind));
        let kinds: Vec<_> = kinds.collect();
        let mut calls = self.ends.begin(&kinds, controllers)?;
        self.run.serials = Arc::new(self.serials(&kinds)?);
        calls.extend(controllers.iter().map(|of| calls::create(*of)));
        Ok(calls)
    }

    /// The disks by what guests see of their bdevs' names.
    fn serials(&self, kinds: &[(DiskId, DiskKind)]) -> Result<Serials, TestbedError> {
        let mut serials = Serials::new();
        for (disk, kind) in kinds {
            let bdev = self.ends.disks().bdev(*disk, *kind);
            if let Some(other) = serials.insert(disks::serial(&bdev).to_owned(), *disk) {
                let most = disks::SERIAL_MAX;
                return Err(TestbedError(format!(
                    "guests cannot tell {disk} from {other}: the first {most} bytes of their bdevs' names, which are \
                     their serial numbers, are the same ({bdev})"
                )));
            }
        }
        Ok(serials)
    }

    fn boot(
        &mut self,
        vm: VmId,
        controllers: &[ControllerId],
        boots: Boots,
    ) -> Result<(), Refusal> {
        self.ends.boot(vm, controllers, boots, &self.run.serials)?;
        if self.vms().all(|known| known != vm) {
            self.run.vms.push((vm, controllers.to_vec()));
        }
        Ok(())
    }

    /// Starts a fio in the VMs that have its disks, found by their controllers.
    fn start_fio(&mut self, fio: FioId, job: &str, on: &[(DiskId, Place)]) -> Result<(), Refusal> {
        let mut by_vm = DisksByVm::new();
        for (vm, controllers) in &self.run.vms {
            let mine = on.iter();
            let mine = mine.filter(|(_, place)| controllers.contains(&place.controller));
            let mine: Vec<_> = mine.copied().collect();
            if !mine.is_empty() {
                by_vm.insert(*vm, mine);
            }
        }
        let running = by_vm.keys().copied().collect();
        self.ends.start_fio(fio, job, by_vm)?;
        self.run.fan_in.start(fio, running);
        Ok(())
    }

    /// Asks the guests of a fio for its clock. If there is none to ask, it has ended.
    fn wait_job_clock(&mut self, ticket: Ticket, fio: FioId, at: Duration) -> Result<(), Refusal> {
        match self
            .ends
            .wait_job_clock(ticket, fio, at, self.run.fan_in.running(fio))?
        {
            0 => {
                let result = Ok(0);
                self.ends.see(Observation::Answered { ticket, result });
            }
            guests => self.run.fan_in.expect(ticket, guests),
        }
        Ok(())
    }

    /// Asks everybody for a sign of life.
    fn check_alive(&mut self) -> Result<(), Refusal> {
        let vms: Vec<VmId> = self.vms().collect();
        for vm in &vms {
            self.ends.ask(*vm, Ask::Ping)?;
        }
        let deadline = self.ends.now() + self.limits.alive;
        self.run.quiesce.await_life(deadline, vms);
        Ok(self.call(calls::controllers(), Pending::Alive)?)
    }

    /// From now on somebody waits for everything to come to rest.
    fn settle(&mut self) {
        let now = self.ends.now();
        let deadline = now + self.limits.settle;
        let due = self.limits.ask_every.map_or(deadline, |_| now);
        self.run.quiesce.await_rest(deadline, due);
    }

    /// Does what is due by now.
    ///
    /// # Errors
    ///
    /// The target cannot be reached.
    pub fn pass(&mut self) -> Result<(), TestbedError> {
        let now = self.ends.now();
        if let Some(alive) = self.signs_of_life() {
            self.ends.see(alive);
        }
        if let Some(left) = self.run.quiesce.never_rests(now) {
            let settled = false;
            self.ends.see(Observation::Quiet { settled, left });
        }
        if !self.run.quiesce.is_to_ask(now) {
            return Ok(());
        }
        let left = self.left_open();
        if !left.is_empty() {
            self.go_on_settling(left);
            return Ok(());
        }
        self.run.quiesce.await_answer();
        self.call(calls::controllers(), Pending::InFlight)
    }

    /// What the target need not be asked for to know that something is in flight.
    fn left_open(&self) -> Vec<String> {
        let fios = self.run.fan_in.fios();
        let mut left: Vec<String> = fios.map(|fio| format!("{fio} runs")).collect();
        let open = self.run.rpc.open().filter(|pending| pending.is_of_action());
        let open = open.count();
        if open > 0 && !self.ends.target_died() {
            left.push(format!("RPCs without an answer: {open}"));
        }
        left
    }

    /// This is in flight, so somebody waits on for everything to come to rest.
    pub(super) fn go_on_settling(&mut self, left: Vec<String>) {
        if let Some(every) = self.limits.ask_every {
            self.run.quiesce.go_on(left, self.ends.now() + every);
        }
    }

    /// The VM that was powered on first of those with a place's controller.
    fn vm_with(&self, place: Place) -> Result<VmId, TestbedError> {
        let mut vms = self.run.vms.iter();
        let vm = vms.find(|(_, controllers)| controllers.contains(&place.controller));
        let none = || TestbedError(format!("no VM has {place}"));
        vm.map(|(vm, _)| *vm).ok_or_else(none)
    }

    fn inject(&self, disk: DiskId, what: Inject, requests: u32) -> Vec<Call> {
        vec![calls::inject(&self.bdev(disk), what, requests)]
    }

    fn bdev(&self, disk: DiskId) -> String {
        self.ends.disks().bdev(disk, self.kind(disk))
    }

    pub(super) fn call(
        &mut self,
        (method, params): Call,
        pending: Pending,
    ) -> Result<(), TestbedError> {
        let rpc = &mut self.run.rpc;
        let call = || rpc.call(method, params.as_ref(), pending);
        let text = said::at(self.ends.now(), call);
        self.ends.send(text)
    }

    /// Makes `calls`; the last one answers the ticket.
    fn call_all(&mut self, ticket: Ticket, calls: Vec<Call>) -> Result<(), TestbedError> {
        let mut calls = calls.into_iter().peekable();
        while let Some(call) = calls.next() {
            let pending = match calls.peek() {
                Some(_) => Pending::Part { ticket },
                None => Pending::Last { ticket },
            };
            self.call(call, pending)?;
        }
        Ok(())
    }
}
