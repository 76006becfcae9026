//! `plugfest fuzz`: scenarios from seeds, on all cores; what they break is told apart, made smaller and named.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use plugfest::Property;
use plugfest::command::{Campaign, Ended, Event, Outcome, Repro, View, bugs, head_ledger};
use real::stopwatch::Stopwatch;
use scenarios::Ledger;

use crate::fuzz_arguments::FuzzArguments;
use crate::fuzz_report::FuzzReport;
use crate::input::read_text;
use crate::lookup;
use crate::output::{Stop, can_be_written, print};
use crate::progress::Progress;
use crate::target_arguments::{BehaviourWord, note_repeated};

/// Nothing was found that is not known.
const EXIT_HELD: u8 = 0;
/// Something was.
const EXIT_FAILED: u8 = 1;
/// Nothing can be said: interrupted, or not to be trusted.
const EXIT_INCONCLUSIVE: u8 = 3;

/// As many seeds as nobody has the time for.
const SEEDS_MAX: u64 = 1 << 62;

/// Where findings are written unless something else is said.
const FOUND_IN: &str = "target/plugfest";
/// Where the scenarios are that come first, if it is there and nothing else is said.
const CORPUS: &str = "tests/corpus";

/// Carries scenarios out, each under the schedules of its seed.
pub fn run(arguments: &FuzzArguments) -> Result<u8, Stop> {
    note_repeated(arguments.target_behaviour, &arguments.bug);
    if arguments.print {
        return print_plan(arguments);
    }
    let campaign = campaign(arguments)?;
    let found_in = arguments.output.clone();
    let found_in = found_in.unwrap_or_else(|| PathBuf::from(FOUND_IN));
    if let Some(path) = &arguments.repro {
        can_be_written(path)?;
    }
    if let Some(path) = &arguments.junit {
        can_be_written(path)?;
    }
    let mut report = FuzzReport::new(arguments, found_in);
    report.begin(&campaign)?;
    let watch = Stopwatch::start();
    let limit = arguments.for_time;
    let is_over =
        move || plugfest::command::asked() || limit.is_some_and(|limit| watch.elapsed() >= limit);
    let mut progress = progress(&campaign, limit);
    let mut printed = Ok(());
    let outcome = campaign.run(&is_over, &mut |event| match event {
        Event::Done(tally) => progress.to(tally, watch.elapsed()),
        Event::Found(found) => {
            if printed.is_ok() {
                printed = progress.suspend(|| report.found(found));
            }
        }
    });
    progress.finish();
    printed?;
    let outcome = outcome.map_err(Stop::error)?;
    report.end(&campaign, &outcome, exit(&outcome))
}

/// What is said of it by the exit status.
fn exit(outcome: &Outcome) -> u8 {
    if outcome.doubt().is_some() {
        return EXIT_INCONCLUSIVE;
    }
    match outcome.ended {
        _ if !outcome.holds() => EXIT_FAILED,
        Ended::Interrupted => EXIT_INCONCLUSIVE,
        Ended::Whole | Ended::TimeOver | Ended::Enough | Ended::Differs { .. } => EXIT_HELD,
    }
}

fn progress(campaign: &Campaign, limit: Option<Duration>) -> Progress {
    match limit {
        Some(limit) => Progress::timed(limit),
        None => {
            let seeds = campaign.seeds.end - campaign.seeds.start;
            Progress::new(campaign.corpus.len() as u64 + seeds, "scenarios")
        }
    }
}

/// What is to be carried out.
fn campaign(arguments: &FuzzArguments) -> Result<Campaign, Stop> {
    let targets = match arguments.plans.as_slice() {
        [] => Vec::new(),
        plans => lookup::targets(plans)?,
    };
    if let Some(one) = targets.iter().find(|target| target.only.is_some()) {
        return Err(Stop::Error(format!(
            "{}: a campaign takes whole plans",
            one.argument
        )));
    }
    let mut all = bugs(arguments.target_behaviour.into(), &arguments.bug);
    for bug in &arguments.without {
        all = all.without(*bug);
    }
    let cores = || thread::available_parallelism().map_or(1, |cores| cores.get() as u16);
    let usual = Campaign::default();
    Ok(Campaign {
        plans: targets.into_iter().map(|target| target.plan).collect(),
        seeds: seeds(arguments)?,
        schedules: arguments.schedules,
        bugs: all,
        schedule: arguments.schedule.into(),
        workers: arguments.workers.unwrap_or_else(cores),
        stop_at: arguments.stop_at,
        ledger: ledger(arguments)?,
        corpus: corpus(arguments)?,
        view: if arguments.observable {
            View::Outside
        } else {
            View::Inside
        },
        canary: arguments.canary.unwrap_or(usual.canary),
        disturb_at: arguments.disturb_at,
        panic_at: arguments.panic_at,
    })
}

/// What is known: the given file, or what ships for SPDK as it is.
fn ledger(arguments: &FuzzArguments) -> Result<Ledger, Stop> {
    if let Some(path) = &arguments.ledger {
        let text = read(path, "a ledger (.kdl)")?;
        return Ledger::parse(&path.display().to_string(), &text).map_err(Stop::error);
    }
    match arguments.target_behaviour {
        BehaviourWord::Intended => Ok(Ledger::default()),
        BehaviourWord::Head => Ok(head_ledger()),
    }
}

/// The scenarios of a directory, by the names of their files.
fn corpus(arguments: &FuzzArguments) -> Result<Vec<(String, Repro)>, Stop> {
    let directory = match &arguments.corpus {
        Some(directory) => directory.as_path(),
        None if !arguments.plans.is_empty() => return Ok(Vec::new()),
        None if Path::new(CORPUS).is_dir() => Path::new(CORPUS),
        None => return Ok(Vec::new()),
    };
    let wrong = |error| Stop::Error(format!("cannot read {}: {error}", directory.display()));
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(directory).map_err(wrong)? {
        let path = entry.map_err(wrong)?.path();
        if path.extension().is_some_and(|extension| extension == "kdl") {
            paths.push(path);
        }
    }
    paths.sort();
    if paths.is_empty() {
        let none = format!("{}: there is no .kdl file in it", directory.display());
        return Err(Stop::Error(none));
    }
    let read = paths.into_iter().map(|path| {
        let text = read(&path, "what `fuzz` wrote")?;
        let file = path.display().to_string();
        let repro = Repro::parse(&file, &text).map_err(Stop::error)?;
        Ok((file, repro))
    });
    read.collect()
}

/// The text of a file.
fn read(path: &Path, what: &str) -> Result<String, Stop> {
    let wrong = |error| Stop::Error(format!("cannot read {}: {error}", path.display()));
    read_text(path, what).map_err(wrong)
}

/// The seeds that are asked for.
fn seeds(arguments: &FuzzArguments) -> Result<Range<u64>, Stop> {
    if let Some(seeds) = &arguments.seeds {
        return Ok(seeds.clone());
    }
    let first = arguments.seed;
    if arguments.for_time.is_some() {
        return Ok(first..first.saturating_add(SEEDS_MAX));
    }
    let count = arguments.scenarios;
    let end = first.checked_add(count);
    let none = || Stop::Error(format!("there are no {count} seeds from {first} on"));
    Ok(first..end.ok_or_else(none)?)
}

/// Prints the scenario of the only seed as a plan file.
fn print_plan(arguments: &FuzzArguments) -> Result<u8, Stop> {
    let property = Property {
        seeds: seeds(arguments)?,
        behaviour: arguments.target_behaviour.into(),
        bugs: arguments.bug.clone(),
        schedule: arguments.schedule.into(),
    };
    let Range { start, end } = property.seeds;
    if end - start != 1 {
        return Err(Stop::Error(format!(
            "--print takes one seed\n  = expected --seeds {start}..{}",
            start + 1
        )));
    }
    let mut repro = property.scenario(start).map_err(Stop::error)?;
    // Who went is for `replay`, and long.
    repro.recorded.choices.clear();
    print(&repro.text().unwrap_or_default())?;
    Ok(EXIT_HELD)
}
