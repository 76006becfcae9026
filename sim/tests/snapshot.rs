//! A restored simulation takes the very turns that a fresh one takes.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex};

use fio_model::{JobFile, Volume};
use scenarios::{
    Action, ControllerId, DiskId, FioId, Observation, Performed, Place, Seen, TargetId, Testbed,
    Time, VmId,
};
use sim::Bugs;
use sim::linux::{Digests, QEMU_TARGETS};
use sim::world::{Strategy, first_difference};
use sim::{Sim, SimOptions};

/// What is done: how two actions follow upon each other is part of it.
#[derive(Clone, Copy, Debug)]
enum Scenario {
    /// fio on two disks, one of which is detached under it; a re-attach, and fio again.
    Detach,
    /// fio on a disk under which the guest reboots, then again.
    Reboot,
    /// The guest is killed under fio.
    Kill,
    /// Nothing but a random schedule of an attach and a detach.
    Random,
}

const SCENARIOS: [Scenario; 4] = [
    Scenario::Detach,
    Scenario::Reboot,
    Scenario::Kill,
    Scenario::Random,
];

struct Rig {
    sim: Sim,
    turns: Arc<Mutex<String>>,
    seen: String,
    fios: u16,
}

/// What came of a scenario: its turns, what was seen, and the hashes.
type Outcome = (String, String, (u64, u64));

fn place(controller: u8) -> Place {
    Place {
        controller: ControllerId(controller),
        target: TargetId(0),
    }
}

impl Rig {
    /// A target with two controllers, and a guest that has booted on both.
    fn booted(attached: bool) -> Self {
        let shipped = scenarios::shipped::JOBS.iter();
        let mut jobs = shipped.filter(|job| job.name == "default_integrity");
        let text = jobs.next().expect("the documented job ships").text;
        let job = JobFile::parse("job.fio", text).expect("it parses");
        let volume = Some(Volume {
            blocks: 128,
            scale: 8,
        });
        let sim = Sim::new(SimOptions {
            seed: 4,
            bugs: Bugs::head(),
            volume,
            jobs: BTreeMap::from([("job".to_owned(), Arc::new(job))]),
            disks: sim::DISKS_MAX,
            targets: QEMU_TARGETS,
            per_io: true,
            digests: Digests::default(),
            strategy: Strategy::Timed,
            disturb_at: None,
        });
        let turns = Arc::default();
        let mut rig = Self {
            sim,
            turns,
            seen: String::new(),
            fios: 0,
        };
        rig.perform(Action::StartTarget {
            controllers: vec![ControllerId(1), ControllerId(2)],
            disks: (1..=3).map(DiskId).collect(),
            kinds: Vec::new(),
        });
        rig.until(|what| matches!(what, Observation::Answered { .. }));
        rig.perform(Action::BootVm {
            vm: VmId(1),
            controllers: vec![ControllerId(1), ControllerId(2)],
        });
        rig.until(|what| matches!(what, Observation::VmReady { .. }));
        if attached {
            rig.attach(1, 1);
            rig.start_fio(&[1]);
            rig.until(|what| matches!(what, Observation::FioEnded { .. }));
            rig.start_fio(&[1]);
            rig.sim
                .observe(Time::NEVER, &mut Vec::new())
                .expect("it goes on");
        }
        rig
    }

    fn record(&mut self) {
        let log = self.turns.clone();
        self.sim.record_turns(Box::new(move |turn| {
            let mut log = log.lock().expect("one thread writes");
            writeln!(log, "{turn}").expect("a string takes it");
        }));
    }

    fn perform(&mut self, action: Action) {
        let asked = self.sim.perform(&action).expect("the simulator goes on");
        assert!(matches!(asked, Performed::Asked(_)));
    }

    fn until(&mut self, wanted: impl Fn(&Observation) -> bool) {
        let mut seen: Vec<Seen> = Vec::new();
        while !seen.drain(..).any(|seen| wanted(&seen.what)) {
            self.sim
                .observe(Time::NEVER, &mut seen)
                .expect("the simulator goes on");
            assert!(!seen.is_empty(), "nothing can happen any more");
            for seen in &seen {
                writeln!(self.seen, "{seen:?}").expect("a string takes it");
            }
        }
    }

    fn attach(&mut self, disk: u8, controller: u8) {
        self.perform(Action::Attach {
            disk: DiskId(disk),
            controller: ControllerId(controller),
            target: Some(TargetId(0)),
        });
        self.until(|what| matches!(what, Observation::DiskAppeared(_)));
    }

    /// fio on disks, each on the controller of its number.
    fn start_fio(&mut self, disks: &[u8]) {
        self.fios += 1;
        self.perform(Action::StartFio {
            fio: FioId(self.fios),
            job: "job".to_owned(),
            on: disks.iter().map(|n| (DiskId(*n), place(*n))).collect(),
        });
    }

    fn half_of_fio(&mut self) {
        self.perform(Action::WaitJobClock {
            fio: FioId(self.fios),
            at: std::time::Duration::from_secs(5),
        });
        self.until(|what| matches!(what, Observation::Answered { .. }));
    }

    fn carry_out(&mut self, scenario: Scenario) -> Outcome {
        self.turns.lock().expect("one thread writes").clear();
        self.seen.clear();
        let (fios, vm) = (self.fios, VmId(1));
        let ended = |what: &Observation| matches!(what, Observation::FioEnded { .. });
        match scenario {
            Scenario::Detach => {
                self.attach(2, 2);
                self.start_fio(&[2]);
                self.half_of_fio();
                self.perform(Action::Detach { place: place(2) });
                self.until(ended);
                self.perform(Action::Settle);
                self.until(|what| matches!(what, Observation::Quiet { .. }));
                self.attach(2, 2);
                self.start_fio(&[2]);
                self.until(ended);
            }
            Scenario::Reboot => {
                self.attach(2, 2);
                self.start_fio(&[2]);
                self.half_of_fio();
                self.perform(Action::RebootVm { vm });
                self.until(|what| matches!(what, Observation::VmReady { .. }));
                self.start_fio(&[2]);
                self.until(ended);
            }
            Scenario::Kill => {
                self.attach(3, 2);
                self.perform(Action::KillVm { vm });
                self.perform(Action::Settle);
                self.until(|what| matches!(what, Observation::Quiet { .. }));
            }
            Scenario::Random => {
                self.sim.reseed(9, Strategy::random(9));
                self.attach(2, 2);
                self.perform(Action::Detach { place: place(2) });
                self.until(|what| matches!(what, Observation::DiskVanished(_)));
            }
        }
        self.fios = fios;
        let ending = self.sim.ending();
        let turns = self.turns.lock().expect("one thread writes").clone();
        let hashes = (ending.trace_hash, ending.order_hash);
        (turns, std::mem::take(&mut self.seen), hashes)
    }
}

fn restored_is_fresh(attached: bool) {
    let fresh = SCENARIOS.map(|scenario| {
        let mut rig = Rig::booted(attached);
        rig.record();
        rig.carry_out(scenario)
    });
    let mut rig = Rig::booted(attached);
    rig.record();
    let booted = rig.sim.snapshot();
    // Each scenario after each other one, itself included.
    let orders = SCENARIOS.iter().enumerate().flat_map(|first| {
        let both = SCENARIOS
            .iter()
            .enumerate()
            .flat_map(move |second| [first, second]);
        both.collect::<Vec<_>>()
    });
    for (n, scenario) in orders {
        rig.sim.restore(&booted);
        let outcome = rig.carry_out(*scenario);
        let (turns, seen, hashes) = &fresh[n];
        assert!(turns.lines().count() > 100, "{scenario:?} shows little");
        if let Some(difference) = first_difference(turns, &outcome.0) {
            panic!("{scenario:?}: {difference}");
        }
        assert!(*seen == outcome.1, "{scenario:?} was seen otherwise");
        assert_eq!(*hashes, outcome.2, "{scenario:?}");
    }
}

#[test]
fn a_restored_simulation_takes_the_turns_of_a_fresh_one() {
    restored_is_fresh(false);
}

#[test]
fn also_if_it_was_taken_in_the_midst_of_io() {
    restored_is_fresh(true);
}

#[test]
#[should_panic(expected = "a later snapshot was taken")]
fn only_the_last_snapshot_can_be_gone_back_to() {
    let mut rig = Rig::booted(false);
    let first = rig.sim.snapshot();
    let _second = rig.sim.snapshot();
    rig.sim.restore(&first);
}
