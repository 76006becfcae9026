//! The ends of the simulator, as a driver reaches them: everything goes into the world at once.
//!
//! Knows no plan and no check.

use std::time::Duration;

use scenarios::driver::{Ask, Boots, Disks, DisksByVm, Ends, Refusal, Serials};
use scenarios::{ControllerId, FioId, Observation, TestbedError, Ticket, Time, VmId};

use linux::{Guest, GuestConfig};
use scenarios::driver::calls::controller;
use wire::component::{ACTORS_MAX, COMPONENT_ACTORS_MAX, Component as _};
use wire::message::{ClientId, GuestAct, ToGuest};
use world::Device;

use crate::ModelWorld;
use crate::disks::ModelledDisks;
use crate::options::SimOptions;

/// The one connection to the target's RPC socket.
const CLIENT: ClientId = ClientId(0);

/// The world, and what its guests are made of.
pub(crate) struct SimEnds {
    pub(crate) world: ModelWorld,
    pub(crate) options: SimOptions,
    pub(crate) disks: ModelledDisks,
}

impl SimEnds {
    fn tell(&mut self, vm: VmId, act: GuestAct) -> Result<(), TestbedError> {
        if self.world.tell_guest(vm, ToGuest::Do(act)) {
            return Ok(());
        }
        Err(TestbedError(format!("{vm} was never booted")))
    }

    /// Does what QEMU's monitor answers at once.
    fn at_once(&mut self, vm: VmId, act: GuestAct, ticket: Ticket) -> Result<(), TestbedError> {
        self.tell(vm, act)?;
        let result = Ok(0);
        self.see(Observation::Answered { ticket, result });
        Ok(())
    }

    /// Counters of both ends that are zero when everything is at rest; `settled`: it is.
    pub(crate) fn left(&mut self, settled: bool) -> Vec<String> {
        self.world.audit(settled);
        self.world.left()
    }
}

impl Ends for SimEnds {
    fn now(&self) -> Time {
        self.world.now()
    }

    fn see(&mut self, what: Observation) {
        self.world.see(what);
    }

    fn disks(&mut self) -> &mut dyn Disks {
        &mut self.disks
    }

    fn send(&mut self, text: String) -> Result<(), TestbedError> {
        self.world.send_rpc(CLIENT, text.into());
        Ok(())
    }

    fn target_died(&self) -> bool {
        self.world.target_died()
    }

    fn boot(
        &mut self,
        vm: VmId,
        controllers: &[ControllerId],
        boots: Boots,
        serials: &Serials,
    ) -> Result<(), Refusal> {
        if self.world.guests().any(|(known, _)| known == vm) {
            return Ok(self.tell(vm, GuestAct::Boot)?);
        }
        let config = GuestConfig {
            per_io: self.options.per_io,
            bootable: boots == Boots::System,
            digests: self.options.digests.clone(),
            ..GuestConfig::new(
                vm,
                controllers.to_vec(),
                serials.clone(),
                self.options.volume,
            )
        };
        let guest = Guest::new(config);
        let actors = self.world.actors() + usize::from(guest.actors());
        if actors > ACTORS_MAX || usize::from(guest.actors()) > COMPONENT_ACTORS_MAX {
            let limit = format!("{vm} makes {actors} actors, and the simulator has {ACTORS_MAX}");
            return Err(TestbedError(limit).into());
        }
        let devices = controllers.iter();
        let devices = devices.map(|of| Device::new(*of, controller(*of)));
        self.world.add_guest(vm, guest, devices.collect());
        Ok(self.tell(vm, GuestAct::Boot)?)
    }

    fn ask(&mut self, vm: VmId, ask: Ask) -> Result<(), Refusal> {
        let told = match ask {
            Ask::Reboot => self.tell(vm, GuestAct::Boot),
            // Who lists its disks lives.
            Ask::ListDisks | Ask::Ping => self.tell(vm, GuestAct::ListDisks),
            Ask::Pause(ticket) => self.at_once(vm, GuestAct::Pause, ticket),
            Ask::Continue(ticket) => self.at_once(vm, GuestAct::Continue, ticket),
            Ask::AddMemory(ticket) => self.at_once(vm, GuestAct::AddMemory, ticket),
            Ask::Kill(ticket) => self.at_once(vm, GuestAct::Kill, ticket),
            Ask::Reconnect(ticket, controller) => {
                self.tell(vm, GuestAct::Reconnect { ticket, controller })
            }
            Ask::Manage(ticket, place, function) => {
                let act = GuestAct::Manage {
                    ticket,
                    place,
                    function,
                };
                self.tell(vm, act)
            }
        };
        Ok(told?)
    }

    fn start_fio(&mut self, fio: FioId, job: &str, on: DisksByVm) -> Result<(), Refusal> {
        let file = self.options.jobs.get(job).cloned();
        let file = file.ok_or_else(|| TestbedError(format!("no job is called {job:?}")))?;
        for (vm, on) in on {
            let job = file.clone();
            self.tell(vm, GuestAct::StartFio { fio, job, on })?;
        }
        Ok(())
    }

    fn wait_job_clock(
        &mut self,
        ticket: Ticket,
        fio: FioId,
        at: Duration,
        running: &[VmId],
    ) -> Result<usize, Refusal> {
        for vm in running {
            self.tell(*vm, GuestAct::WaitJobClock { ticket, fio, at })?;
        }
        Ok(running.len())
    }
}
