//! A simulation with its judge, driven as a run drives it.
//!
//! Observations and all checks are on, so that what is measured is what a run costs.

use std::collections::BTreeMap;
use std::sync::Arc;

use fio_model::{JobFile, Volume};
use scenarios::check::{Facts, Judge};
use scenarios::run::Judge as _;
use scenarios::{
    Action, ControllerId, DiskId, FioId, Observation, Place, Seen, TargetId, Testbed, Time, VmId,
};
use sim::Bugs;
use sim::linux::{Digests, QEMU_TARGETS};
use sim::world::Strategy;
use sim::{Sim, SimOptions, SimSnapshot};

/// A simulation, and its judge.
pub struct Rig {
    pub sim: Sim,
    judge: Judge,
    seen: Vec<Seen>,
    fios: u16,
}

/// A simulation, and what its judge had seen, at a moment.
pub struct Start {
    sim: SimSnapshot,
    judge: Judge,
}

/// The devices of a VM (from 0): two controllers.
fn owned(vm: u8) -> Vec<ControllerId> {
    vec![ControllerId(2 * vm + 1), ControllerId(2 * vm + 2)]
}

/// `disks_per_vm` disks for each VM, spread over its two controllers.
pub fn places(vms: u8, disks_per_vm: u8) -> Vec<(DiskId, Place)> {
    let all = (0..vms).flat_map(|vm| (0..disks_per_vm).map(move |n| (vm, n)));
    let place = |(vm, n): (u8, u8)| {
        let controller = owned(vm)[usize::from(n % 2)];
        let target = TargetId(n / 2);
        (
            DiskId(vm * disks_per_vm + n + 1),
            Place { controller, target },
        )
    };
    all.map(place).collect()
}

impl Rig {
    /// A target with two controllers for each VM and `disks` disks, and no VM yet. Its job is the
    /// documented one with another `verify`, and `volume`.
    pub fn new(vms: u8, disks: u8, verify: &str, volume: Volume) -> Self {
        let documented = scenarios::shipped::JOBS
            .iter()
            .find(|job| job.name == "default_integrity");
        let text = documented.expect("the documented job ships").text;
        let text = text.replace("verify=md5", &format!("verify={verify}"));
        let job = JobFile::parse("bench.fio", &text).expect("the documented job");
        let sim = Sim::new(SimOptions {
            seed: 1,
            bugs: Bugs::INTENDED,
            volume: Some(volume),
            jobs: BTreeMap::from([("bench".to_owned(), Arc::new(job))]),
            disks: sim::DISKS_MAX,
            targets: QEMU_TARGETS,
            per_io: true,
            digests: Digests::default(),
            strategy: Strategy::Timed,
            disturb_at: None,
        });
        let facts = Facts {
            evidence: sim.evidence(),
            events_may_drop: false,
            vms: (0..vms).map(|vm| (VmId(vm + 1), owned(vm))).collect(),
        };
        let mut rig = Self {
            sim,
            judge: Judge::new(facts),
            seen: Vec::new(),
            fios: 0,
        };
        rig.perform(&Action::StartTarget {
            controllers: (0..vms).flat_map(owned).collect(),
            disks: (1..=disks).map(DiskId).collect(),
            kinds: Vec::new(),
        });
        rig.until(|what| matches!(what, Observation::Answered { .. }));
        rig
    }

    /// The same with the disks of `on` attached and all VMs booted.
    pub fn booted(
        vms: u8,
        disks: u8,
        on: &[(DiskId, Place)],
        verify: &str,
        volume: Volume,
    ) -> Self {
        let mut rig = Self::new(vms, disks, verify, volume);
        for (disk, place) in on {
            rig.ask_attach(*disk, *place);
            rig.until(|what| matches!(what, Observation::Answered { .. }));
        }
        for vm in 0..vms {
            rig.boot(vm);
        }
        rig
    }

    /// What to go back to.
    pub fn snapshot(&mut self) -> Start {
        Start {
            sim: self.sim.snapshot(),
            judge: self.judge.clone(),
        }
    }

    /// Goes back, and on with the accidents of `seed`.
    pub fn restore(&mut self, to: &Start, seed: u64) {
        self.sim.restore(&to.sim);
        self.sim.reseed(seed, Strategy::Timed);
        self.judge.clone_from(&to.judge);
        self.fios = 0;
    }

    /// Panics if a check does not hold.
    pub fn end(&mut self) {
        for result in self.judge.end_case() {
            let held = !matches!(
                result.outcome,
                scenarios::run::CheckOutcome::Violated { .. }
            );
            assert!(held, "{}: {:?}", result.id, result.outcome);
        }
    }

    pub fn perform(&mut self, action: &Action) {
        self.sim.perform(action).expect("the simulator goes on");
    }

    /// Boots a VM (from 0).
    pub fn boot(&mut self, vm: u8) {
        let (vm, controllers) = (VmId(vm + 1), owned(vm));
        self.perform(&Action::BootVm { vm, controllers });
        self.until(|what| matches!(what, Observation::VmReady { .. }));
    }

    pub fn ask_attach(&mut self, disk: DiskId, place: Place) {
        let (controller, target) = (place.controller, Some(place.target));
        self.perform(&Action::Attach {
            disk,
            controller,
            target,
        });
    }

    /// Goes on until something is seen, and says what.
    pub fn until(&mut self, wanted: impl Fn(&Observation) -> bool) -> Observation {
        loop {
            self.sim
                .observe(Time::NEVER, &mut self.seen)
                .expect("the simulator goes on");
            assert!(!self.seen.is_empty(), "nothing can happen any more");
            let mut found = None;
            for seen in self.seen.drain(..) {
                self.judge.see(&seen);
                if wanted(&seen.what) {
                    found = Some(seen.what);
                }
            }
            if let Some(found) = found {
                return found;
            }
        }
    }

    pub fn start_fio(&mut self, on: &[(DiskId, Place)]) {
        let fio = FioId(self.fios);
        self.fios += 1;
        self.perform(&Action::StartFio {
            fio,
            job: "bench".into(),
            on: on.to_vec(),
        });
    }

    /// One fio on all disks; returns the verified I/Os.
    pub fn fio(&mut self, on: &[(DiskId, Place)]) -> u64 {
        self.start_fio(on);
        let ended = self.until(|what| matches!(what, Observation::FioEnded { .. }));
        verified(&ended)
    }
}

/// The verified I/Os of a fio that has ended, without an error.
pub fn verified(ended: &Observation) -> u64 {
    let Observation::FioEnded { jobs, .. } = ended else {
        unreachable!("it was asked for")
    };
    assert!(
        jobs.iter()
            .all(|job| job.error == 0 && job.strict.is_empty())
    );
    jobs.iter().map(|job| job.verified).sum()
}
