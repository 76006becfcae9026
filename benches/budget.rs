//! The performance budget: each row beside its bound, in CPU time or as a ratio to the floor.
//!
//! Trace hash, observations and all checks are on. Bounds are printed, not asserted: machines differ,
//! and ratios are read by people.

mod support;

use std::collections::BTreeMap;
use std::sync::Arc;

use fio_model::{JobFile, Volume};
use plugfest::{RunOptions, run};
use scenarios::check::{Facts, Judge};
use scenarios::run::Judge as _;
use scenarios::{
    Action, ControllerId, DiskId, FioId, Observation, Place, Seen, TargetId, Testbed, Time, VmId,
};
use sim::Deviations;
use sim::world::{Sim, SimOptions};
use support::cpu::{per_unit, spread};
use support::floor::Floor;

const ROUNDS: usize = 7;
const BLOCKS: u64 = 4096;

/// A simulation with disks attached and nothing running, and its judge.
struct Bench {
    sim: Sim,
    judge: Judge,
    seen: Vec<Seen>,
    on: Vec<(DiskId, Place)>,
    fios: u16,
}

impl Bench {
    fn new(vms: u8, disks_per_vm: u8, verify: &str) -> Self {
        let documented = scenarios::shipped::JOBS
            .iter()
            .find(|job| job.name == "default_integrity");
        let text = documented.expect("the documented job ships").text;
        let text = text.replace("verify=md5", &format!("verify={verify}"));
        let job = JobFile::parse("bench.fio", &text).expect("the documented job");
        let mut sim = Sim::new(SimOptions {
            seed: 1,
            deviations: Deviations::INTENDED,
            volume: Some(Volume {
                blocks: BLOCKS,
                scale: 1,
            }),
            jobs: BTreeMap::from([("bench".to_owned(), Arc::new(job))]),
            per_io: true,
            strategy: sim::world::Strategy::Timed,
            disturb_at: None,
        });
        let owned = |vm: u8| vec![ControllerId(2 * vm + 1), ControllerId(2 * vm + 2)];
        let facts = Facts {
            evidence: sim.evidence(),
            events_may_drop: false,
            vms: (0..vms).map(|vm| (VmId(vm + 1), owned(vm))).collect(),
        };
        let controllers = (1..=8).map(ControllerId).collect();
        let disks = (1..=16).map(DiskId).collect();
        let mut on = Vec::new();
        for vm in 0..vms {
            for n in 0..disks_per_vm {
                let controller = owned(vm)[usize::from(n % 2)];
                let place = Place {
                    controller,
                    target: TargetId(n / 2),
                };
                on.push((DiskId(vm * disks_per_vm + n + 1), place));
            }
        }
        let judge = Judge::new(facts);
        sim.perform(&Action::StartTarget {
            controllers,
            disks,
            kinds: Vec::new(),
        })
        .expect("it starts");
        let mut bench = Self {
            sim,
            judge,
            seen: Vec::new(),
            on,
            fios: 0,
        };
        for (disk, place) in bench.on.clone() {
            let (controller, target) = (place.controller, Some(place.target));
            let attach = Action::Attach {
                disk,
                controller,
                target,
            };
            bench.sim.perform(&attach).expect("it is asked");
            bench.until(|what| matches!(what, Observation::Answered { .. }));
        }
        for vm in 0..vms {
            let (vm, controllers) = (VmId(vm + 1), owned(vm));
            bench
                .sim
                .perform(&Action::BootVm { vm, controllers })
                .expect("it boots");
            bench.until(|what| matches!(what, Observation::VmReady { .. }));
        }
        bench
    }

    fn until(&mut self, wanted: impl Fn(&Observation) -> bool) -> Observation {
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

    /// One fio on all disks; returns the verified I/Os.
    fn fio(&mut self) -> u64 {
        let fio = FioId(self.fios);
        self.fios += 1;
        let start = Action::StartFio {
            fio,
            job: "bench".into(),
            on: self.on.clone(),
        };
        self.sim.perform(&start).expect("fio starts");
        let ended = self.until(|what| matches!(what, Observation::FioEnded { .. }));
        let Observation::FioEnded { jobs, .. } = ended else {
            unreachable!("it was asked for")
        };
        assert!(
            jobs.iter()
                .all(|job| job.error == 0 && job.strict.is_empty())
        );
        jobs.iter().map(|job| job.verified).sum()
    }
}

fn row(what: &str, floor: &mut Floor, mut work: impl FnMut() -> u64, must: f64, aim: f64) {
    work();
    let mut ratios = Vec::new();
    let mut costs = Vec::new();
    for _ in 0..ROUNDS {
        let base = per_unit(&mut || floor.run(20_000));
        let cost = per_unit(&mut work);
        ratios.push(cost / base);
        costs.push(cost);
    }
    let (least, ratio, most) = spread(&ratios);
    let (_, cost, _) = spread(&costs);
    println!(
        "{what:<46} {cost:>7.0} ns  {ratio:>5.2} × F ({least:.2}..{most:.2})  must {must} aim {aim}"
    );
}

/// CPU seconds of the whole documented plan at the default volume.
fn plan() -> f64 {
    let mut total = 0.0;
    for name in scenarios::shipped::DOCUMENTED {
        let shipped = scenarios::shipped::PLANS
            .iter()
            .find(|plan| plan.name == *name);
        let shipped = shipped.expect("a documented plan ships");
        let plan = plugfest::parse(shipped.file, shipped.text).expect("it parses");
        total += per_unit(&mut || {
            let report = run(&plan, &RunOptions::default(), &mut |_| {}).expect("it runs");
            assert_eq!(report.verdict(), plugfest::Verdict::Passed);
            1
        });
    }
    total / 1e9
}

fn main() {
    let mut floor = Floor::new();
    floor.run(50_000);
    let mut one = Bench::new(1, 1, "crc32c");
    row(
        "verified I/O, 1 VM, 1 disk, crc32c",
        &mut floor,
        || one.fio(),
        2.3,
        1.6,
    );
    let mut many = Bench::new(4, 4, "crc32c");
    row(
        "verified I/O, 4 VMs, 16 disks, crc32c",
        &mut floor,
        || many.fio(),
        4.5,
        3.0,
    );
    let mut md5 = Bench::new(4, 4, "md5");
    row(
        "verified I/O, 4 VMs, 16 disks, md5",
        &mut floor,
        || md5.fio(),
        6.0,
        4.0,
    );
    let plans: Vec<f64> = (0..3).map(|_| plan()).collect();
    let (least, median, most) = spread(&plans);
    println!(
        "{:<46} {median:>7.2} s  ({least:.2}..{most:.2})  must 2.5 aim 1",
        "the documented plan, default volume, md5"
    );
}
