//! `plugfest run`: one seed with everything it has to say, or many and only what failed.

use std::io::Write;
use std::path::Path;

use fio_model::JobFile;
use plugfest::command::{Outputs, asked, run_with};
use plugfest::{GuestKind, JobText, QemuOptions, Report, RunOptions, Verdict};
use scenarios::report::{progress_line, render_partial, shell_quoted};
use scenarios::run::Progress;

use crate::campaign;
use crate::cli::{Format, GuestWord, IoCountWord, RunArguments};
use crate::junit::Junit;
use crate::log;
use crate::lookup::{self, Target};
use crate::output::{Printer, Stop, can_be_written, first_of, is_same_file, tell};
use crate::run_outputs::{json_lines, keep, printer};
use crate::sink::{Fault, Sink};
use crate::target_arguments::{BehaviourWord, TargetWord, note_repeated};
use crate::words::ScheduleWord;

/// Carries out what the arguments name.
pub fn run(arguments: &RunArguments) -> Result<u8, Stop> {
    let mut targets = lookup::targets(&arguments.plans)?;
    let guests = guests(arguments)?;
    let kind = arguments.target.kind()?;
    apart(arguments, &targets)?;
    for target in &mut targets {
        target.take_ends(&kind, &guests);
    }
    let job = arguments.job.as_deref().map(lookup::job).transpose()?;
    // A job file that cannot be read is an error of the run.
    let read = job
        .as_ref()
        .and_then(|job| JobFile::parse(&job.file, &job.text).ok());
    for remark in read.iter().flat_map(JobFile::remarks) {
        let file = job.as_ref().map_or("", |job| &job.file);
        tell(&format!("plugfest: {file}: {remark}\n"));
    }
    let options = |target: &Target, seed| options(target, seed, arguments, job.as_ref());
    let mut behaviours = Vec::new();
    for target in &targets {
        let options = options(target, target.seed(arguments.seed));
        plugfest::command::check(&target.plan, &options).map_err(Stop::error)?;
        if !behaviours.contains(&options.behaviour) {
            behaviours.push(options.behaviour);
        }
    }
    for behaviour in behaviours {
        note_repeated(behaviour, &arguments.bug);
    }
    if let Some(seeds) = &arguments.seeds {
        return campaign::run(&targets, seeds.clone(), &options, arguments);
    }
    one_plan_a_file("--trace", arguments.trace.as_deref(), &targets)?;
    one_plan_a_file("--turns", arguments.turns.as_deref(), &targets)?;
    let mut reports = Vec::new();
    let mut kept = Ok(());
    let mut out = printer(arguments);
    for target in &targets {
        if asked() {
            break;
        }
        let options = options(target, target.seed(arguments.seed));
        let (report, written) = match one(target, &options, arguments, &mut out) {
            Ok(done) => done,
            // What the plans before it came to is told all the same.
            Err(stop) => {
                kept = first_of(kept, Err(stop));
                break;
            }
        };
        // What was found shall not get lost beside what cannot be written.
        kept = first_of(kept, written);
        let unkept = reports
            .iter()
            .all(|kept: &Report| kept.verdict() != Verdict::Failed);
        if report.verdict() == Verdict::Failed && unkept {
            kept = first_of(kept, keep(target, &options, arguments, &mut out));
        }
        reports.push(report);
    }
    finish(arguments, &targets, &reports, kept, out)
}

/// What a plan is run with: what is given goes before what its file records.
fn options(
    target: &Target,
    seed: u64,
    arguments: &RunArguments,
    job: Option<&JobText>,
) -> RunOptions {
    let own = &target.options;
    let (behaviour, mut bugs) = match arguments.target_behaviour {
        None => (own.behaviour, own.bugs.clone()),
        Some(behaviour) => (behaviour.into(), Vec::new()),
    };
    for bug in &arguments.bug {
        if !bugs.contains(bug) {
            bugs.push(*bug);
        }
    }
    let mut options = RunOptions {
        seed,
        only: target.only.clone(),
        volume: arguments.io_count.map_or(own.volume, Into::into),
        behaviour,
        bugs,
        schedule: arguments.schedule.map_or(own.schedule, Into::into),
        disturb_at: arguments.disturb_at,
        runtime_s: arguments.runtime,
        plan_argument: Some(target.argument.clone()),
        ..own.clone()
    };
    if let Some(job) = job {
        options.repeat_more = format!(" --job {}", shell_quoted(&job.file));
        options.jobs.insert(target.plan.job.clone(), job.clone());
    }
    options
}

/// Says what all plans came to, writes what is written at the end, and only then what could not be done.
fn finish(
    arguments: &RunArguments,
    targets: &[Target],
    reports: &[Report],
    mut kept: Result<(), Stop>,
    mut out: Printer,
) -> Result<u8, Stop> {
    if arguments.format == Format::Text && !reports.is_empty() {
        let left = cases_of(&targets[reports.len()..]);
        out.print(&render_partial(reports, left))?;
    }
    if let Some(path) = &arguments.junit {
        let mut junit = Junit::default();
        reports.iter().for_each(|report| junit.add(report));
        for target in &targets[reports.len()..] {
            let case = target.only.as_ref();
            let which = case.map_or(String::new(), |case| format!("/{case}"));
            let plan = &target.plan.name;
            junit.add_missing(plan, &format!("{plan}{which} did not begin"));
        }
        kept = first_of(kept, junit.write(path));
    }
    kept?;
    let verdict = reports.iter().map(Report::verdict).max();
    let verdict = verdict.max(cut_short(reports, targets));
    out.end(verdict.unwrap_or(Verdict::Failed).exit())
}

/// If somebody wanted it to end before all cases were begun: says how many were.
fn cut_short(reports: &[Report], targets: &[Target]) -> Option<Verdict> {
    let begun = reports.iter().flat_map(|report| &report.rows);
    let begun = begun.filter(|row| row.begun).count();
    let all = cases_of(targets);
    if !asked() || begun == all {
        return None;
    }
    let open = all - begun;
    tell(&format!(
        "interrupted: {begun} of {all} cases were begun, {open} were not\n"
    ));
    Some(Verdict::Inconclusive)
}

/// How many cases `targets` have.
fn cases_of(targets: &[Target]) -> usize {
    targets.iter().map(Target::cases).sum()
}

/// What means something in the simulator only, and whether it was given.
fn simulated(arguments: &RunArguments) -> [(&'static str, bool); 5] {
    [
        (
            "--io-count",
            arguments
                .io_count
                .is_some_and(|of| of != IoCountWord::Default),
        ),
        (
            "--schedule",
            arguments
                .schedule
                .is_some_and(|of| of != ScheduleWord::Timed),
        ),
        ("--turns", arguments.turns.is_some()),
        ("--repro", arguments.repro.is_some()),
        ("--disturb-at", arguments.disturb_at.is_some()),
    ]
}

/// Refuses what the target cannot take.
fn target_takes(arguments: &RunArguments, simulated: &[(&'static str, bool)]) -> Result<(), Stop> {
    let behaviour = arguments.target_behaviour;
    let modelled = [
        (
            "--target-behaviour",
            behaviour.is_some_and(|of| of != BehaviourWord::Head),
        ),
        ("--bug", !arguments.bug.is_empty()),
    ];
    // A recorded run is replayed on the model.
    let recorded = ("--repro", arguments.repro.is_some());
    let foreign: Vec<(&str, bool)> = match arguments.target.target {
        TargetWord::Model => Vec::new(),
        TargetWord::Linked => modelled.into_iter().chain([recorded]).collect(),
        TargetWord::Spdk => simulated[1..].iter().chain(&modelled).copied().collect(),
    };
    match foreign.iter().find(|(_, given)| *given) {
        Some((option, _)) => Err(Stop::Error(format!(
            "{option} means something with --target model only"
        ))),
        None => Ok(()),
    }
}

/// Who the guests are; an option that means nothing with them is an error.
fn guests(arguments: &RunArguments) -> Result<GuestKind, Stop> {
    let real = [
        (
            "--runtime",
            arguments.runtime.is_some() && arguments.target.target == TargetWord::Model,
        ),
        ("--guest-image", arguments.guest_image.is_some()),
        ("--emulate", arguments.emulate),
    ];
    let simulated = simulated(arguments);
    target_takes(arguments, &simulated)?;
    if arguments.workers.is_some() && arguments.seeds.is_none() {
        let alone = "--workers means something with --seeds only";
        return Err(Stop::Error(alone.to_owned()));
    }
    if arguments.workers.is_some_and(|workers| workers > 1) {
        let one = match arguments.target.target {
            TargetWord::Model => None,
            TargetWord::Linked => Some("--workers: SPDK's own code is there once a process"),
            TargetWord::Spdk => Some("--workers: one run at a time on a target that runs"),
        };
        if let Some(one) = one {
            return Err(Stop::Error(one.to_owned()));
        }
    }
    let (guests, strange, other) = match arguments.guest {
        GuestWord::Model => (GuestKind::Model, &real[..], "qemu"),
        GuestWord::Qemu => {
            let qemu = QemuOptions {
                image: arguments.guest_image.clone(),
                emulate: arguments.emulate,
            };
            (GuestKind::Qemu(qemu), &simulated[..], "model")
        }
    };
    match strange.iter().find(|(_, given)| *given) {
        Some((option, _)) => Err(Stop::Error(format!(
            "{option} means something with --guest {other} only{}",
            if *option == "--runtime" {
                ", or with --target spdk"
            } else {
                ""
            }
        ))),
        None => Ok(guests),
    }
}

/// That each file that is written is one of its own, and none that is read.
fn apart(arguments: &RunArguments, targets: &[Target]) -> Result<(), Stop> {
    let plans = targets.iter().filter(|target| target.is_file());
    let plans = plans.map(|target| Path::new(&target.argument));
    let mut taken: Vec<(&str, &Path)> = plans.map(|path| ("the plan", path)).collect();
    taken.extend(arguments.job.as_deref().map(|path| ("--job", path)));
    let written = [
        ("--trace", &arguments.trace),
        ("--turns", &arguments.turns),
        ("--junit", &arguments.junit),
        ("--repro", &arguments.repro),
    ];
    for (option, path) in written {
        let Some(path) = path.as_deref() else {
            continue;
        };
        if let Some((other, _)) = taken.iter().find(|(_, taken)| is_same_file(taken, path)) {
            return Err(Stop::Error(format!(
                "{option} and {other} name the same file, {}\n  = expected a file of its own for each",
                path.display()
            )));
        }
        if matches!(option, "--junit" | "--repro") {
            can_be_written(path)?;
        }
        taken.push((option, path));
    }
    Ok(())
}

/// Carries out one plan with one seed, and prints what there is to say on the way; says whether the trace and
/// the turns could be written.
fn one(
    target: &Target,
    options: &RunOptions,
    arguments: &RunArguments,
    out: &mut Printer,
) -> Result<(Report, Result<(), Stop>), Stop> {
    let mut printed = Ok(());
    let mut tell = |progress: &Progress<'_>| {
        if arguments.format == Format::Text && printed.is_ok() {
            printed = out.print(&progress_line(&target.plan.name, progress));
        }
    };
    let mut trace = arguments.trace.as_deref().map(Sink::create).transpose()?;
    let turns = arguments.turns.as_deref().map(Sink::create).transpose()?;
    let faults = [&trace, &turns].map(|sink| sink.as_ref().map(|sink| sink.fault.clone()));
    log::write_turns(turns);
    let outputs = Outputs {
        trace: trace.as_mut().map(|sink| sink as &mut dyn Write),
    };
    let report = run_with(&target.plan, options, &mut tell, outputs);
    // What is left of them is written when they go.
    drop(trace);
    log::write_turns(None);
    let written = faults.iter().flatten().try_for_each(Fault::result);
    let report = report.map_err(Stop::error)?;
    printed?;
    if arguments.format == Format::Json {
        out.print(&json_lines(&report))?;
    }
    Ok((report, written))
}

/// That an output file is asked for with one plan only.
fn one_plan_a_file(option: &str, path: Option<&Path>, targets: &[Target]) -> Result<(), Stop> {
    let Some(path) = path.filter(|_| targets.len() != 1) else {
        return Ok(());
    };
    let (path, count) = (path.display(), targets.len());
    Err(Stop::Error(format!(
        "{option} {path} takes one plan, not {count}\n  = name it: plugfest run hotattach {option} {path}"
    )))
}
