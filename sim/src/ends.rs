//! The ends of the simulator, as a driver reaches them: everything goes into the world at once.
//!
//! Knows no plan and no check.

use std::time::Duration;

use scenarios::driver::calls::{Call, controller};
use scenarios::driver::{Ask, Boots, Disks, DisksByVm, Ends, Refusal, Serials};
use scenarios::{
    ControllerId, DiskId, DiskKind, FioId, Observation, TestbedError, Ticket, Time, VmId,
};

use linux::{Guest, GuestConfig};
use wire::component::{ACTORS_MAX, Component as _};
use wire::inside::BackEnd;
use wire::message::{ClientId, GuestAct, ToGuest};
use world::{Device, World};

use crate::options::SimOptions;

/// The one connection to the target's RPC socket.
const CLIENT: ClientId = ClientId(0);

/// The world, how disks are made in it, and what its guests are made of.
pub(crate) struct SimEnds<T> {
    pub(crate) world: World<T, Guest>,
    pub(crate) disks: Box<dyn Disks>,
    pub(crate) options: SimOptions,
}

/// What a model guest is told, and the ticket that QEMU's monitor answers at once.
#[must_use]
pub fn guest_act(ask: Ask) -> (GuestAct, Option<Ticket>) {
    match ask {
        Ask::Reboot => (GuestAct::Boot, None),
        // Who lists its disks lives.
        Ask::ListDisks | Ask::Ping => (GuestAct::ListDisks, None),
        Ask::Pause(ticket) => (GuestAct::Pause, Some(ticket)),
        Ask::Continue(ticket) => (GuestAct::Continue, Some(ticket)),
        Ask::AddMemory(ticket) => (GuestAct::AddMemory, Some(ticket)),
        Ask::Kill(ticket) => (GuestAct::Kill, Some(ticket)),
        Ask::Reconnect(ticket, controller) => (GuestAct::Reconnect { ticket, controller }, None),
        Ask::Manage(ticket, place, function) => {
            let act = GuestAct::Manage {
                ticket,
                place,
                function,
            };
            (act, None)
        }
    }
}

impl<T: BackEnd> SimEnds<T> {
    fn tell(&mut self, vm: VmId, act: GuestAct) -> Result<(), TestbedError> {
        if self.world.tell_guest(vm, ToGuest::Do(act)) {
            return Ok(());
        }
        Err(TestbedError(format!("{vm} was never booted")))
    }

    /// Counters of both ends that are zero when everything is at rest; `settled`: it is.
    pub(crate) fn left(&mut self, settled: bool) -> Vec<String> {
        self.world.audit(settled);
        self.world.left()
    }
}

impl<T: BackEnd> Ends for SimEnds<T> {
    fn now(&self) -> Time {
        self.world.now()
    }

    fn see(&mut self, what: Observation) {
        self.world.see(what);
    }

    fn disks(&self) -> &dyn Disks {
        self.disks.as_ref()
    }

    fn begin(
        &mut self,
        disks: &[(DiskId, DiskKind)],
        controllers: &[ControllerId],
    ) -> Result<Vec<Call>, TestbedError> {
        let count = controllers.len();
        let most = self.world.target().controllers_max();
        if let Some(most) = most.filter(|most| count > *most) {
            let limit =
                format!("the plan has {count} controllers; the model target has at most {most}");
            return Err(TestbedError(limit));
        }
        self.disks.prepare(disks)
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
            targets: self.options.targets,
            bootable: boots == Boots::System,
            digests: self.options.digests.clone(),
            ..GuestConfig::new(
                vm,
                controllers.to_vec(),
                serials.clone(),
                self.options.volume,
            )
        };
        config.check().map_err(TestbedError)?;
        let guest = Guest::new(config);
        let actors = self.world.actors() + usize::from(guest.actors());
        if actors > ACTORS_MAX {
            let limit = format!("{vm} makes {actors} actors, and the simulator has {ACTORS_MAX}");
            return Err(TestbedError(limit).into());
        }
        let devices = controllers.iter();
        let devices = devices.map(|of| Device::new(*of, controller(*of)));
        self.world.add_guest(vm, guest, devices.collect());
        Ok(self.tell(vm, GuestAct::Boot)?)
    }

    fn ask(&mut self, vm: VmId, ask: Ask) -> Result<(), Refusal> {
        let (act, at_once) = guest_act(ask);
        self.tell(vm, act)?;
        if let Some(ticket) = at_once {
            let result = Ok(0);
            self.see(Observation::Answered { ticket, result });
        }
        Ok(())
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

#[cfg(test)]
mod tests {
    use linux::{Digests, HBAS_MAX};
    use spdk::Target;
    use wire::bugs::Bugs;
    use wire::{Rng, Stream};
    use world::Strategy;

    use super::*;
    use crate::disks::ModelledDisks;

    fn ends() -> SimEnds<Target> {
        let options = SimOptions {
            seed: 1,
            bugs: Bugs::INTENDED,
            volume: None,
            jobs: [].into(),
            strategy: Strategy::Timed,
            disks: 1,
            targets: linux::QEMU_TARGETS,
            per_io: true,
            digests: Digests::default(),
            disturb_at: None,
        };
        let rng = Rng::new(1, Stream::Accidents);
        SimEnds {
            world: World::new(Target::new(options.target()), rng),
            disks: Box::new(ModelledDisks),
            options,
        }
    }

    fn controllers(count: usize) -> Vec<ControllerId> {
        (0..count as u8).map(ControllerId).collect()
    }

    #[test]
    fn more_controllers_than_the_model_target_has_are_refused() {
        let begin = |count| ends().begin(&[], &controllers(count)).map(drop);
        assert_eq!(begin(16), Ok(()));
        let refused = "the plan has 17 controllers; the model target has at most 16";
        assert_eq!(begin(17), Err(TestbedError(refused.to_owned())));
    }

    #[test]
    fn a_guest_with_more_devices_than_its_interrupts_tell_apart_is_refused() {
        let boot =
            |count| ends().boot(VmId(1), &controllers(count), Boots::System, &Serials::new());
        assert_eq!(boot(HBAS_MAX), Ok(()));
        let refused = "VM 1 has 17 controllers; a model guest has at most 16";
        let refused = TestbedError(refused.to_owned());
        assert_eq!(boot(HBAS_MAX + 1), Err(Refusal::Broke(refused)));
    }
}
