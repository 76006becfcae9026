//! Actions that no documented plan asks for: faults, and the rest of a target's life.
//!
//! Translates them; knows no story and no check.

use scenarios::{Action, DiskId, Observation, Place, TaskFunction, TestbedError, Ticket};

use super::{Held, Sim};
use crate::calls;
use crate::calls::DISK_BYTES;
use wire::message::GuestAct;

impl Sim {
    /// What no documented plan asks for: faults, and the rest of a target's life.
    pub(super) fn perform_rare(
        &mut self,
        ticket: Ticket,
        action: &Action,
    ) -> Result<(), TestbedError> {
        let kind = |disk: &DiskId| self.kind(*disk);
        let name = |disk: &DiskId| calls::bdev(*disk, kind(disk));
        let calls = match action {
            Action::Remove { disk } => vec![calls::remove(*disk, kind(disk))],
            Action::Insert { disk } => calls::insert(*disk, kind(disk), DISK_BYTES),
            Action::Resize { disk, mib } => vec![calls::resize(&name(disk), *mib)],
            Action::Hold { disk, requests } => {
                let call = calls::inject(&name(disk), "pending", *requests);
                self.held.insert(Held::Disk(*disk));
                vec![call]
            }
            Action::Fail { disk, requests } => {
                vec![calls::inject(&name(disk), "failure", *requests)]
            }
            Action::Delay { disk, micros } => calls::latency(&name(disk), *micros),
            Action::Release { disk } => {
                let name = name(disk);
                self.held.remove(&Held::Disk(*disk));
                vec![calls::inject(&name, "clear", 0), calls::resume(&name)]
            }
            Action::CreateController { controller } => vec![calls::create(*controller)],
            Action::DeleteController { controller } => vec![calls::delete(*controller)],
            Action::SaveConfig => vec![calls::save_config()],
            guest => return self.tell_rare(ticket, guest),
        };
        self.call_all(ticket, calls);
        Ok(())
    }

    fn tell_rare(&mut self, ticket: Ticket, action: &Action) -> Result<(), TestbedError> {
        let (vm, act) = match action {
            Action::PauseVm { vm } => {
                self.held.insert(Held::Vm(*vm));
                (*vm, GuestAct::Pause)
            }
            Action::ContinueVm { vm } => {
                self.held.remove(&Held::Vm(*vm));
                (*vm, GuestAct::Continue)
            }
            Action::KillVm { vm } => {
                self.held.remove(&Held::Vm(*vm));
                (*vm, GuestAct::Kill)
            }
            Action::AddMemory { vm } => (*vm, GuestAct::AddMemory),
            Action::Reconnect { vm, controller } => {
                let controller = *controller;
                return self.tell(*vm, GuestAct::Reconnect { ticket, controller });
            }
            Action::Manage { place, function } => return self.manage(ticket, *place, *function),
            other => unreachable!("{other:?} is carried out above"),
        };
        self.tell(vm, act)?;
        self.world.see(Observation::Answered {
            ticket,
            result: Ok(0),
        });
        Ok(())
    }

    fn manage(
        &mut self,
        ticket: Ticket,
        place: Place,
        function: TaskFunction,
    ) -> Result<(), TestbedError> {
        let mut guests = self.world.guests();
        let vm =
            guests.find_map(|(vm, guest)| guest.has_controller(place.controller).then_some(vm));
        drop(guests);
        let vm = vm.ok_or_else(|| TestbedError(format!("no VM has {place}")))?;
        let act = GuestAct::Manage {
            ticket,
            place,
            function,
        };
        self.tell(vm, act)
    }
}
