//! `plugfest run --seeds A..B`: many runs, of which only what failed is printed.
//!
//! Workers take seeds as they come; what is printed is in order of the seeds, so that neither output
//! nor verdict depends on how many workers there are.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread;

use plugfest::command::asked;
use plugfest::{RunOptions, Verdict};
use scenarios::report::row_line;

use crate::cli::{Format, RunArguments};
use crate::junit::Junit;
use crate::lookup::Target;
use crate::output::{Printer, Stop, first_of, tell};
use crate::progress::Progress;
use crate::run_outputs::{json_lines, keep, printer};

/// What is kept of a seed.
struct Seed {
    /// What is printed of it.
    text: String,
    /// Cases, and those of them that did not pass.
    cases: u64,
    open: u64,
    /// The order hash of each plan; none where there are no turns.
    orders: Vec<Option<u64>>,
    verdict: Verdict,
    /// The command that repeats what did not pass.
    repeat: Option<String>,
    /// The first target that failed.
    failed: Option<usize>,
    junit: Junit,
    /// Somebody wanted it to end before it had ended.
    interrupted: bool,
    /// Why what is missing could not be carried out.
    stopped: Option<Stop>,
}

/// What is kept of all seeds.
struct Sum {
    /// Seeds that were asked for, and those that were carried out.
    all: u64,
    seeds: u64,
    cases: u64,
    open: u64,
    orders: Vec<BTreeSet<u64>>,
    verdict: Verdict,
    repeat: Option<String>,
    /// The first target that failed, and the seed.
    failed: Option<(usize, u64)>,
    junit: Junit,
    /// Why the last of them, or the one after it, could not be carried out.
    stopped: Option<Stop>,
}

/// Carries out `targets` with every seed.
pub fn run(
    targets: &[Target],
    seeds: Range<u64>,
    options: &(dyn Fn(&Target, u64) -> RunOptions + Sync),
    arguments: &RunArguments,
) -> Result<u8, Stop> {
    let mut out = printer(arguments);
    let next = AtomicU64::new(seeds.start);
    let stop = AtomicBool::new(false);
    let (send, receive) = mpsc::channel();
    let mut sum = thread::scope(|scope| {
        for _ in 0..arguments.workers.unwrap_or(1) {
            let (send, next, stop, end) = (send.clone(), &next, &stop, seeds.end);
            scope.spawn(move || {
                let take = |seed: u64| (seed < end).then(|| seed + 1);
                while !stop.load(Ordering::Relaxed) && !asked() {
                    let taken = next.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take);
                    let Ok(seed) = taken else { return };
                    let result = one(targets, seed, options, arguments);
                    if send.send((seed, result)).is_err() {
                        return;
                    }
                }
            });
        }
        drop(send);
        let sum = gather(targets.len(), &seeds, &receive, &mut out);
        stop.store(true, Ordering::Relaxed);
        sum
    })?;
    out.print(&summary(targets, &sum, arguments))?;
    let all = sum.all;
    let mut kept = Ok(());
    if let Some(path) = &arguments.junit {
        let mut junit = std::mem::take(&mut sum.junit);
        if sum.seeds < all {
            let what = format!("{} of {all} seeds were not carried out", all - sum.seeds);
            let plans: BTreeSet<_> = targets.iter().map(|target| &target.plan.name).collect();
            plans.iter().for_each(|plan| junit.add_missing(plan, &what));
        }
        kept = junit.write(path);
    }
    if sum.seeds < all && sum.stopped.is_none() {
        let (seeds, cases) = (sum.seeds, sum.cases);
        let each: usize = targets.iter().map(Target::cases).sum();
        let all_cases = u128::from(all) * each as u128;
        tell(&format!(
            "interrupted: {seeds} of {all} seeds were carried out, {cases} of {all_cases} cases\n"
        ));
        sum.verdict = sum.verdict.max(Verdict::Inconclusive);
    }
    if let Some((target, seed)) = sum.failed {
        let target = &targets[target];
        let written = keep(target, &options(target, seed), arguments, &mut out);
        kept = first_of(kept, written);
    }
    first_of(sum.stopped.map_or(Ok(()), Err), kept)?;
    out.end(sum.verdict.exit())
}

/// Takes in what workers send, and prints it in order of the seeds.
fn gather(
    plans: usize,
    seeds: &Range<u64>,
    receive: &mpsc::Receiver<(u64, Seed)>,
    out: &mut Printer,
) -> Result<Sum, Stop> {
    let mut sum = Sum {
        all: seeds.end - seeds.start,
        seeds: 0,
        cases: 0,
        open: 0,
        orders: vec![BTreeSet::new(); plans],
        verdict: Verdict::Passed,
        repeat: None,
        failed: None,
        junit: Junit::default(),
        stopped: None,
    };
    let mut next = seeds.start;
    let mut progress = Progress::new(sum.all, "seeds");
    let mut early = BTreeMap::new();
    'all: for (number, seed) in receive {
        early.insert(number, seed);
        while let Some(seed) = early.remove(&next) {
            if sum.take(next, seed, out)? {
                progress.step(|| match sum.open {
                    0 => "all passed so far".to_owned(),
                    1 => "1 case did not pass".to_owned(),
                    open => format!("{open} cases did not pass"),
                });
            }
            if sum.stopped.is_some() {
                break 'all;
            }
            next += 1;
        }
    }
    for (number, seed) in early {
        sum.take(number, seed, out)?;
    }
    progress.finish();
    Ok(sum)
}

impl Sum {
    /// Takes a seed in, and prints what there is to say of it; whether it was carried out to its end. One that
    /// somebody wanted to end says nothing, unless something had failed by then.
    fn take(&mut self, number: u64, seed: Seed, out: &mut Printer) -> Result<bool, Stop> {
        if seed.interrupted && seed.verdict != Verdict::Failed {
            return Ok(false);
        }
        out.print(&seed.text)?;
        let is_whole = !seed.interrupted && seed.stopped.is_none();
        self.seeds += u64::from(is_whole);
        self.cases += seed.cases;
        self.open += seed.open;
        self.junit.append(seed.junit);
        self.failed = self.failed.or(seed.failed.map(|target| (target, number)));
        self.verdict = self.verdict.max(seed.verdict);
        self.repeat = self.repeat.take().or(seed.repeat);
        for (all, order) in self.orders.iter_mut().zip(seed.orders) {
            all.extend(order.filter(|_| is_whole));
        }
        self.stopped = self.stopped.take().or(seed.stopped);
        Ok(is_whole)
    }
}

/// Carries out every target with one seed.
fn one(
    targets: &[Target],
    seed: u64,
    options: &dyn Fn(&Target, u64) -> RunOptions,
    arguments: &RunArguments,
) -> Seed {
    let mut kept = Seed {
        text: String::new(),
        cases: 0,
        open: 0,
        orders: Vec::new(),
        verdict: Verdict::Passed,
        repeat: None,
        failed: None,
        junit: Junit::default(),
        interrupted: false,
        stopped: None,
    };
    for (number, target) in targets.iter().enumerate() {
        let options = options(target, seed);
        let report = match plugfest::run(&target.plan, &options) {
            Ok(report) => report,
            Err(error) => {
                kept.interrupted = asked();
                kept.stopped = Some(Stop::error(error)).filter(|_| !kept.interrupted);
                return kept;
            }
        };
        kept.interrupted |= asked();
        if arguments.junit.is_some() {
            kept.junit.add(&report);
        }
        kept.cases += report.rows.len() as u64;
        let ending = Some(report.ending).filter(|ending| ending.turns > 0);
        kept.orders.push(ending.map(|ending| ending.order_hash));
        kept.verdict = kept.verdict.max(report.verdict());
        if report.verdict() == Verdict::Failed {
            kept.failed.get_or_insert(number);
        }
        for row in report
            .rows
            .iter()
            .filter(|row| row.verdict != Verdict::Passed)
        {
            kept.open += 1;
            if arguments.format == Format::Text {
                kept.text.push_str(&row_line(&report, row));
                kept.text.push('\n');
            }
        }
        if arguments.format == Format::Json {
            kept.text.push_str(&json_lines(&report));
        }
        kept.repeat = kept.repeat.or_else(|| report.repeat());
    }
    kept
}

fn summary(targets: &[Target], sum: &Sum, arguments: &RunArguments) -> String {
    if arguments.format == Format::Json {
        return String::new();
    }
    let Sum {
        seeds, cases, open, ..
    } = sum;
    let all = sum.all;
    let of = if *seeds < all {
        format!(" of {all}")
    } else {
        String::new()
    };
    let mut text = format!(
        "{seeds}{of} seeds: {} of {cases} cases passed\n",
        cases - open
    );
    let known = targets.iter().zip(&sum.orders);
    for (target, orders) in known.filter(|(_, orders)| !orders.is_empty()) {
        let only = target
            .only
            .as_ref()
            .map_or(String::new(), |case| format!("/{case}"));
        let (argument, orders) = (&target.argument, orders.len());
        text.push_str(&format!(
            "{argument}{only}: {orders} distinct order hashes\n"
        ));
    }
    if let Some(command) = &sum.repeat {
        text.push_str(&format!(
            "\nto repeat the first that did not pass:\n{command}\n"
        ));
    }
    text
}
