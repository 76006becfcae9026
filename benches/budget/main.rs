//! The performance budget: each row beside its bound, in CPU time or as a ratio to the floor.
//!
//! Trace hash, observations and all checks are on. Bounds are printed, not asserted: machines differ,
//! and ratios are read by people. Each row is warmed up by a run that does not count, and is the median
//! of several, with their spread. `cargo bench --bench budget -- schedule` takes the rows whose name
//! holds that word; `-- profile one 60` runs one workload 60 times, for a profiler to look at
//! (`benches/instructions.sh`).

mod process;
mod rig;
mod schedule;
#[path = "../support/mod.rs"]
mod support;

use std::thread;

use fio_model::Volume;
use plugfest::{RunOptions, run};
use rig::{Rig, places};
use schedule::Schedules;
use support::cpu::{per_unit, spread};
use support::floor::Floor;

const ROUNDS: usize = 7;
/// Fios of one measurement.
const TIMES: u32 = 4;
/// Schedules of one measurement.
const SCHEDULES: u64 = 200;
/// Schedules over which page faults are counted.
const MANY: u64 = 10_000;
/// A page that is one block of fio's is kept as its head; one with two headers is kept whole.
const TWO_HEADERS: &str = "crc32c\nverify_interval=2048";
/// The documented plan's volume.
const DEFAULT: Volume = Volume {
    blocks: 4096,
    scale: 1,
};

/// A row whose unit is a verified I/O: a ratio to the floor (infinite: no bound), which is measured before and after each
/// round, as the machine's speed changes from one second to the next.
fn of_floor(what: &str, floor: &mut Floor, mut work: impl FnMut() -> u64, must: f64, aim: f64) {
    work();
    let mut ratios = Vec::new();
    let mut costs = Vec::new();
    for _ in 0..ROUNDS {
        let before = per_unit(&mut || floor.run(20_000));
        let cost = per_unit(&mut || (0..TIMES).map(|_| work()).sum());
        let after = per_unit(&mut || floor.run(20_000));
        ratios.push(cost / f64::midpoint(before, after));
        costs.push(cost);
    }
    let (least, ratio, most) = spread(&ratios);
    let (_, cost, _) = spread(&costs);
    let bound = bound(ratio, must, aim);
    println!("{what:<48} {cost:>7.0} ns  {ratio:>5.2} × F ({least:.2}..{most:.2})  {bound}");
}

/// A row whose unit is a schedule: microseconds, over `count` of them (infinite `must`: no bound).
fn of_schedules(what: &str, count: u64, mut schedule: impl FnMut(), must: f64, aim: f64) {
    let mut some = || {
        (0..count).for_each(|_| schedule());
        count
    };
    some();
    let costs: Vec<f64> = (0..ROUNDS).map(|_| per_unit(&mut some) / 1e3).collect();
    let (least, cost, most) = spread(&costs);
    let bound = bound(cost, must, aim);
    println!("{what:<48} {cost:>7.1} µs  ({least:.1}..{most:.1})  {bound}");
}

/// A figure's bound, and whether it is met.
fn bound(figure: f64, must: f64, aim: f64) -> String {
    if must.is_finite() {
        format!("must {must} {}, aim {aim}", met(figure, must))
    } else {
        "no bound".to_owned()
    }
}

/// Whether a figure is within its bound, in words.
fn met(figure: f64, must: f64) -> &'static str {
    if figure <= must { "met" } else { "NOT met" }
}

/// CPU seconds of the whole documented plan at the default volume. In a thread of its own, as what a thread
/// remembers of digests would make the next one cheaper.
fn plan() -> f64 {
    let measured = thread::scope(|scope| scope.spawn(whole_plan).join());
    measured.expect("it passes")
}

fn whole_plan() -> f64 {
    let mut total = 0.0;
    for name in scenarios::shipped::DOCUMENTED {
        let shipped = scenarios::shipped::PLANS
            .iter()
            .find(|plan| plan.name == *name);
        let shipped = shipped.expect("a documented plan ships");
        let plan = plugfest::parse(shipped.file, shipped.text).expect("it parses");
        total += per_unit(&mut || {
            let report = run(&plan, &RunOptions::default()).expect("it runs");
            assert_eq!(report.verdict(), plugfest::Verdict::Passed);
            1
        });
    }
    total / 1e9
}

fn plans() {
    let plans: Vec<f64> = (0..3).map(|_| plan()).collect();
    let (least, median, most) = spread(&plans);
    println!(
        "{:<48} {median:>7.2} s   ({least:.2}..{most:.2})  must 2.5 {}, aim 1",
        "the documented plan, default volume, md5",
        met(median, 2.5)
    );
}

/// The most memory that this process had so far, which is for 4 VMs and 16 disks.
fn memory() {
    let base = process::peak_resident();
    let on = places(4, 4);
    let mut rig = Rig::booted(4, 16, &on, "crc32c", DEFAULT);
    rig.fio(&on);
    let (guests, written) = rig.sim.bytes_touched();
    let kept = rig.sim.bytes_kept();
    let peak = process::peak_resident();
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    // The budget's own, and the same over what is really kept of the blocks.
    for (what, disks) in [("written", written), ("kept", kept)] {
        let bound = 1.25 * mib(guests + disks) + 16.0;
        println!(
            "{:<48} {:>7.0} MiB peak ({:.0} before it began)  must {bound:.0} {} (guests touched {:.0}, blocks {what} {:.0})",
            "memory, 4 VMs, 16 disks",
            mib(peak),
            mib(base),
            met(mib(peak), bound),
            mib(guests),
            mib(disks)
        );
    }
}

/// Page faults over many schedules, after a warm-up.
fn page_faults() {
    let mut booted = Schedules::booted();
    (0..MANY / 10).for_each(|_| booted.full());
    (0..MANY / 10).for_each(|_| booted.short());
    let peak = process::peak_resident();
    let before = process::page_faults();
    (0..MANY).for_each(|n| {
        if n % 10 == 0 {
            booted.full();
        } else {
            booted.short();
        }
    });
    let faults = process::page_faults() - before;
    println!(
        "{:<48} {faults:>7} page faults, {} bytes more at the peak  must 10 {}",
        "10 000 schedules, a tenth of them full, warmed up",
        process::peak_resident() - peak,
        met(faults as f64, 10.0)
    );
}

/// CPU time of a schedule with two workers, as a ratio to that with one.
fn workers() {
    let work = || {
        let mut booted = Schedules::booted();
        (0..SCHEDULES / 4).for_each(|_| booted.full());
        let before = process::thread_time();
        (0..SCHEDULES).for_each(|_| booted.full());
        (process::thread_time() - before).as_nanos() as f64 / SCHEDULES as f64
    };
    let ratios: Vec<f64> = (0..ROUNDS)
        .map(|_| {
            let alone = thread::scope(|scope| ended(scope.spawn(work)));
            let both = thread::scope(|scope| [scope.spawn(work), scope.spawn(work)].map(ended));
            both.iter().sum::<f64>() / 2.0 / alone
        })
        .collect();
    let (least, ratio, most) = spread(&ratios);
    println!(
        "{:<48} {ratio:>7.2} × one worker's CPU ({least:.2}..{most:.2})  must 1.1 {}, aim 1",
        "two workers, full schedules",
        met(ratio, 1.1)
    );
}

fn ended(worker: thread::ScopedJoinHandle<'_, f64>) -> f64 {
    worker.join().expect("it ends")
}

/// What one run of a workload is, of those of the rows that are measured in CPU time.
fn workload(what: &str) -> Box<dyn FnMut()> {
    let fio = |vms: u8, disks: u8, verify: &str| -> Box<dyn FnMut()> {
        let on = places(vms, disks);
        let mut rig = Rig::booted(vms, vms * disks, &on, verify, DEFAULT);
        Box::new(move || assert!(rig.fio(&on) > 0))
    };
    let schedule = |mut from: Schedules, run: fn(&mut Schedules)| -> Box<dyn FnMut()> {
        Box::new(move || run(&mut from))
    };
    match what {
        "one" => fio(1, 1, "crc32c"),
        "many" => fio(4, 4, "crc32c"),
        "many-md5" => fio(4, 4, "md5"),
        "two-headers" => fio(1, 1, TWO_HEADERS),
        "plan" => Box::new(|| assert!(plan() > 0.0)),
        "full" => schedule(Schedules::booted(), Schedules::full),
        "hotplugs" => schedule(Schedules::booted(), Schedules::hotplugs),
        "ios" => schedule(Schedules::booted(), Schedules::ios),
        "short" => schedule(Schedules::booted(), Schedules::short),
        "empty" => schedule(Schedules::booted(), Schedules::empty),
        "boots" => schedule(Schedules::off(), Schedules::boots),
        other => panic!("no workload is called {other:?}: benches/instructions.sh has them all"),
    }
}

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let words: Vec<&str> = words.into_iter().filter(|w| !w.starts_with("--")).collect();
    if let ["profile", what, times] = words[..] {
        let mut run = workload(what);
        let times: u32 = times.parse().expect("a number of times");
        return (0..times).for_each(|_| run());
    }
    let wanted = |name: &str| words.is_empty() || words.iter().any(|word| name.contains(word));
    if wanted("memory") {
        memory();
    }
    let mut floor = Floor::new();
    floor.run(50_000);
    for (vms, disks, verify, must, aim) in [
        (1, 1, "crc32c", 2.3, 1.6),
        (4, 4, "crc32c", 4.5, 3.0),
        (4, 4, "md5", 6.0, 4.0),
        (1, 1, TWO_HEADERS, f64::INFINITY, 0.0),
    ] {
        let on = places(vms, disks);
        let words = verify.replace('\n', ", ");
        let name = format!("verified I/O, VMs: {vms}, disks: {}, {words}", on.len());
        if wanted(&name) {
            let mut rig = Rig::booted(vms, vms * disks, &on, verify, DEFAULT);
            of_floor(&name, &mut floor, || rig.fio(&on), must, aim);
        }
    }
    if wanted("plan") {
        plans();
    }
    if wanted("schedule") {
        let mut booted = Schedules::booted();
        let what = "schedule: 20 hot-plugs, 200 verified I/Os, crc32c";
        of_schedules(what, SCHEDULES, || booted.full(), 450.0, 300.0);
        let (none, alone) = (f64::INFINITY, "schedule: its 20 hot-plugs alone");
        of_schedules(alone, SCHEDULES, || booted.hotplugs(), none, 0.0);
        let alone = "schedule: its 200 verified I/Os alone";
        of_schedules(alone, SCHEDULES, || booted.ios(), none, 0.0);
        let mut off = Schedules::off();
        of_schedules(
            "schedule: a boot and a reboot",
            SCHEDULES,
            || off.boots(),
            1200.0,
            800.0,
        );
        of_schedules("schedule: empty", MANY, || booted.empty(), 10.0, 2.0);
        page_faults();
        workers();
    }
}
