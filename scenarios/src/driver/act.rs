//! Actions: what of the target and of the guests each one asks.
//!
//! Sees nothing.

use std::sync::Arc;
use std::time::Duration;

use super::answers::Pending;
use super::calls::{self, Call, Inject};
use super::{Ask, Boots, DisksByVm, Driver, Ends, Held, Refusal, Serials};
use crate::names::{ControllerId, DiskId, FioId, Place, Ticket, VmId};
use crate::observation::Observation;
use crate::testbed::{Action, DiskKind, Performed, TestbedError};

impl Driver {
    /// Asks for `action`.
    ///
    /// # Errors
    ///
    /// The testbed broke.
    pub fn perform(
        &mut self,
        ends: &mut impl Ends,
        action: &Action,
    ) -> Result<Performed, TestbedError> {
        self.tickets += 1;
        let ticket = Ticket(self.tickets);
        match self.act(ends, ticket, action) {
            Ok(()) => Ok(Performed::Asked(ticket)),
            Err(Refusal::NotHere(why)) => Ok(Performed::NotHere(why.0)),
            Err(Refusal::Broke(error)) => Err(error),
        }
    }

    /// What acts on the target comes last.
    fn act(
        &mut self,
        ends: &mut impl Ends,
        ticket: Ticket,
        action: &Action,
    ) -> Result<(), Refusal> {
        let calls = match action {
            Action::BootVm { vm, controllers } => {
                return self.boot(ends, *vm, controllers, Boots::System);
            }
            Action::BootFirmware { vm, controllers } => {
                return self.boot(ends, *vm, controllers, Boots::FirmwareOnly);
            }
            Action::StartFio { fio, job, on } => return self.start_fio(ends, *fio, job, on),
            Action::WaitJobClock { fio, at } => {
                return self.wait_job_clock(ends, ticket, *fio, *at);
            }
            Action::RebootVm { vm } => return ends.ask(*vm, Ask::Reboot),
            Action::PauseVm { vm } => {
                self.held.insert(Held::Vm(*vm));
                return ends.ask(*vm, Ask::Pause(ticket));
            }
            Action::ContinueVm { vm } => {
                self.held.remove(&Held::Vm(*vm));
                return ends.ask(*vm, Ask::Continue(ticket));
            }
            Action::KillVm { vm } => {
                self.held.remove(&Held::Vm(*vm));
                return ends.ask(*vm, Ask::Kill(ticket));
            }
            Action::AddMemory { vm } => return ends.ask(*vm, Ask::AddMemory(ticket)),
            Action::Reconnect { vm, controller } => {
                return ends.ask(*vm, Ask::Reconnect(ticket, *controller));
            }
            Action::Manage { place, function } => {
                let vm = self.vm_with(*place)?;
                return ends.ask(vm, Ask::Manage(ticket, *place, *function));
            }
            Action::ListDisks { vm } => return ends.ask(*vm, Ask::ListDisks),
            Action::CheckAlive => return self.check_alive(ends),
            Action::Settle => return self.settle(ends),
            Action::Attach {
                disk,
                controller,
                target,
            } => {
                let call = calls::attach(&self.bdev(ends, *disk), *controller, *target);
                return Ok(self.call(ends, call, Pending::Attach { ticket })?);
            }
            Action::Detach { place } => {
                return Ok(self.call(ends, calls::detach(*place), Pending::Detach { ticket })?);
            }
            Action::StartTarget {
                controllers,
                disks,
                kinds,
            } => self.start_target(ends, controllers, disks, kinds)?,
            Action::Remove { disk } => vec![ends.disks().remove(*disk, self.kind(*disk))?],
            Action::Insert { disk } => ends.disks().insert(*disk, self.kind(*disk))?,
            Action::Resize { disk, mib } => vec![calls::resize(&self.bdev(ends, *disk), *mib)],
            Action::Hold { disk, requests } => {
                self.held.insert(Held::Disk(*disk));
                self.inject(ends, *disk, Inject::Pending, *requests)
            }
            Action::Fail { disk, requests } => self.inject(ends, *disk, Inject::Failure, *requests),
            Action::Delay { disk, micros } => calls::latency(&self.bdev(ends, *disk), *micros),
            Action::Release { disk } => {
                self.held.remove(&Held::Disk(*disk));
                calls::release(&self.bdev(ends, *disk))
            }
            Action::CreateController { controller } => vec![calls::create(*controller)],
            Action::DeleteController { controller } => vec![calls::delete(*controller)],
            Action::SaveConfig => vec![calls::save_config()],
        };
        Ok(self.call_all(ends, ticket, calls)?)
    }

    /// What makes the disks and the controllers, in that order.
    fn start_target(
        &mut self,
        ends: &mut impl Ends,
        controllers: &[ControllerId],
        disks: &[DiskId],
        kinds: &[(DiskId, DiskKind)],
    ) -> Result<Vec<Call>, TestbedError> {
        self.kinds = disks.iter().map(|disk| (*disk, DiskKind::Nvme)).collect();
        self.kinds.extend(kinds.iter().copied());
        let all: Vec<_> = self.kinds.iter().map(|(of, kind)| (*of, *kind)).collect();
        let mut calls = ends.disks().prepare(&all)?;
        let named = all.iter().map(|(disk, _)| (self.bdev(ends, *disk), *disk));
        let serials: Serials = named.collect();
        ends.begin(&serials, controllers)?;
        self.serials = Arc::new(serials);
        calls.extend(controllers.iter().map(|of| calls::create(*of)));
        Ok(calls)
    }

    fn boot(
        &mut self,
        ends: &mut impl Ends,
        vm: VmId,
        controllers: &[ControllerId],
        boots: Boots,
    ) -> Result<(), Refusal> {
        ends.boot(vm, controllers, boots, &self.serials)?;
        if self.vms().all(|known| known != vm) {
            self.vms.push((vm, controllers.to_vec()));
        }
        Ok(())
    }

    /// Starts a fio in the VMs that have its disks, found by their controllers.
    fn start_fio(
        &mut self,
        ends: &mut impl Ends,
        fio: FioId,
        job: &str,
        on: &[(DiskId, Place)],
    ) -> Result<(), Refusal> {
        let mut by_vm = DisksByVm::new();
        for (vm, controllers) in &self.vms {
            let mine = on.iter();
            let mine = mine.filter(|(_, place)| controllers.contains(&place.controller));
            let mine: Vec<_> = mine.copied().collect();
            if !mine.is_empty() {
                by_vm.insert(*vm, mine);
            }
        }
        let running = by_vm.keys().copied().collect();
        ends.start_fio(fio, job, by_vm)?;
        self.fan_in.start(fio, running);
        Ok(())
    }

    /// Asks the guests of a fio for its clock. If there is none to ask, it has ended.
    fn wait_job_clock(
        &mut self,
        ends: &mut impl Ends,
        ticket: Ticket,
        fio: FioId,
        at: Duration,
    ) -> Result<(), Refusal> {
        match ends.wait_job_clock(ticket, fio, at, self.running(fio))? {
            0 => {
                let result = Ok(0);
                ends.see(Observation::Answered { ticket, result });
            }
            guests => self.fan_in.expect(ticket, guests),
        }
        Ok(())
    }

    /// The VM that was powered on first of those with a place's controller.
    fn vm_with(&self, place: Place) -> Result<VmId, TestbedError> {
        let mut vms = self.vms.iter();
        let vm = vms.find(|(_, controllers)| controllers.contains(&place.controller));
        let none = || TestbedError(format!("no VM has {place}"));
        vm.map(|(vm, _)| *vm).ok_or_else(none)
    }

    fn inject(&self, ends: &mut impl Ends, disk: DiskId, what: Inject, requests: u32) -> Vec<Call> {
        vec![calls::inject(&self.bdev(ends, disk), what, requests)]
    }

    fn bdev(&self, ends: &mut impl Ends, disk: DiskId) -> String {
        ends.disks().bdev(disk, self.kind(disk))
    }

    pub(super) fn call(
        &mut self,
        ends: &mut impl Ends,
        (method, params): Call,
        pending: Pending,
    ) -> Result<(), TestbedError> {
        ends.send(self.rpc.call(method, params.as_ref(), pending))
    }

    /// Makes `calls`; the last one answers the ticket.
    fn call_all(
        &mut self,
        ends: &mut impl Ends,
        ticket: Ticket,
        calls: Vec<Call>,
    ) -> Result<(), TestbedError> {
        let mut calls = calls.into_iter().peekable();
        while let Some(call) = calls.next() {
            let pending = match calls.peek() {
                Some(_) => Pending::Part { ticket },
                None => Pending::Last { ticket },
            };
            self.call(ends, call, pending)?;
        }
        Ok(())
    }
}
