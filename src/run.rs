//! One run: a plan, a seed, and what they are carried out on.
//!
//! Knows nothing of arguments and files; of testbeds only that `testbed` makes them.

use std::collections::BTreeMap;
use std::io::Write;

use fio_model::JobFile;
use scenarios::Script;
use scenarios::plan::{NamedJob, Plan, nearest};
use scenarios::report::{Report, RunHeader, shell_quoted};
use scenarios::resolve::{Options, resolve};
use scenarios::run::Progress;
use scenarios::script::Doubts;
use scenarios::shipped::FORMER_JOBS;
use scenarios::testbed::Testbed;
use scenarios::trace::{Header, Recorder, TRACE_VERSION};
use tracing::info_span;

use crate::interrupt::Interruptible;
use crate::job_files::parse_jobs;
use crate::options::{GuestKind, JobText, RunOptions, TargetKind};
use crate::run_error::RunError;
use crate::testbed;

/// What a run writes down besides its report.
#[derive(Default)]
pub struct Outputs<'a> {
    /// Everything that was asked and seen, from which the run can be judged again
    /// (`scenarios::trace`).
    pub trace: Option<&'a mut dyn Write>,
}

/// Carries out `plan`.
///
/// # Errors
///
/// The plan asks for something impossible, a job file is wrong, or the testbed did not come up.
pub fn run(plan: &Plan, options: &RunOptions) -> Result<Report, RunError> {
    run_with(plan, options, &mut |_| {}, Outputs::default())
}

/// Like [`run`], tells `progress` while it goes on, and writes down what `outputs` asks for.
///
/// # Errors
///
/// As [`run`], and if the trace cannot be begun. If writing it fails later, the report says so.
pub fn run_with(
    plan: &Plan,
    options: &RunOptions,
    progress: &mut dyn FnMut(&Progress<'_>),
    outputs: Outputs<'_>,
) -> Result<Report, RunError> {
    let script = script(plan, options)?;
    let span = info_span!(target: "run", "run", plan = %plan.name, seed = options.seed);
    let _run = span.enter();
    let mut testbed = testbed::make(options)?;
    if let Some(sink) = outputs.trace {
        let header = Header {
            plugfest_trace: TRACE_VERSION,
            plan: plan.name.clone(),
            only: options.only.clone(),
            seed: options.seed,
            behaviour: behaviour(options),
            evidence: testbed.evidence(),
        };
        let mut recorder = Recorder::new(testbed.as_mut(), sink, &header)?;
        carry_out(plan, &script, options, &mut recorder, progress)
    } else {
        carry_out(plan, &script, options, testbed.as_mut(), progress)
    }
}

/// Whether `plan` can be carried out as `options` say: every job that it names is there and can be read,
/// and what it asks for is possible. [`run`] does the same before anything else.
///
/// # Errors
///
/// The first thing that is wrong, with its place.
pub fn check(plan: &Plan, options: &RunOptions) -> Result<(), RunError> {
    script(plan, options)?;
    parse_jobs(&options.jobs, &options.guests).map(|_| ())
}

fn script(plan: &Plan, options: &RunOptions) -> Result<Script, RunError> {
    let unknown = |job: &NamedJob<'_>| !options.jobs.contains_key(job.name);
    if let Some(NamedJob { name, at }) = plan.jobs().into_iter().find(unknown) {
        let file = options.plan_argument.as_ref().unwrap_or(&plan.name);
        let is_former = |name: &&str| FORMER_JOBS.iter().any(|(former, _)| former == name);
        let known = options.jobs.keys().map(String::as_str);
        let known: Vec<&str> = known.filter(|name| !is_former(name)).collect();
        let near =
            nearest(name, &known).map_or(String::new(), |near| format!("; did you mean `{near}`?"));
        return Err(RunError::Input(format!(
            "{file}:{}:{}: there is no job {name:?}\n  = expected one of {}{near}",
            at.line,
            at.column,
            known.join(", ")
        )));
    }
    let only = options.only.clone();
    let mut script = resolve(plan, options.seed, &Options { only })?;
    script.doubts = doubts(plan, &options.jobs);
    Ok(script)
}

/// What a plan's jobs may fail with though the disk is right. A job that cannot be read is somebody else's
/// error.
pub(crate) fn doubts(plan: &Plan, jobs: &BTreeMap<String, JobText>) -> BTreeMap<String, Doubts> {
    let named = plan.jobs().into_iter().map(|job| job.name);
    let doubts = named.filter_map(|name| {
        let job = jobs.get(name)?;
        let file = JobFile::parse(&job.file, &job.text).ok()?;
        let doubts = Doubts {
            spoils: file.can_spoil_itself(),
            unwritten: file.reads_unwritten(),
            refused: file.can_be_refused(),
        };
        Some((name.to_owned(), doubts))
    });
    doubts.collect()
}

fn carry_out(
    plan: &Plan,
    script: &Script,
    options: &RunOptions,
    testbed: &mut dyn Testbed,
    progress: &mut dyn FnMut(&Progress<'_>),
) -> Result<Report, RunError> {
    let header = header(plan, options)?;
    let mut judge = testbed::judge(testbed.evidence(), script.vms.clone(), options.all_bugs());
    let mut testbed = Interruptible(testbed);
    let outcome = scenarios::run::run(script, &mut testbed, &mut judge, progress)?;
    Ok(Report::new(header, outcome))
}

fn header(plan: &Plan, options: &RunOptions) -> Result<RunHeader, RunError> {
    let mut repeat_options = String::new();
    let mut volume = options.volume.word().to_owned();
    if let GuestKind::Qemu(qemu) = &options.guests {
        repeat_options += " --guest qemu";
        volume = "as the job says".to_owned();
        if let Some(image) = &qemu.image {
            let image = image.display().to_string();
            repeat_options += &format!(" --guest-image {}", shell_quoted(&image));
        }
        if qemu.emulate {
            repeat_options += " --emulate";
        }
    }
    if let Some(seconds) = options.runtime_s {
        repeat_options += &format!(" --runtime {seconds}");
        volume = format!("what fits in {seconds} s");
    }
    match &options.target {
        TargetKind::Model => {}
        TargetKind::Linked(linked) => repeat_options += &linked.arguments(),
        TargetKind::Spdk(spdk) => repeat_options += &spdk.arguments(),
    }
    let (target, guests) = (options.target.clone(), options.guests.clone());
    let (bare, _) = RunOptions::of_plan(plan)?.with_ends(target, guests);
    repeat_options += &beside(&bare, options);
    repeat_options += &options.repeat_more;
    Ok(RunHeader {
        plan: plan.name.clone(),
        plan_argument: options
            .plan_argument
            .clone()
            .unwrap_or_else(|| plan.name.clone()),
        seed: options.seed,
        behaviour: behaviour(options),
        volume,
        repeat_options,
    })
}

/// What a command line must say of the simulator for `options`, if saying nothing means `bare`.
fn beside(bare: &RunOptions, options: &RunOptions) -> String {
    let mut words = String::new();
    if options.volume != bare.volume {
        words += &format!(" --io-count {}", options.volume.word());
    }
    // Without a behaviour, the bugs that are given come to those that are there anyway.
    let more = options.bugs.strip_prefix(bare.bugs.as_slice());
    let more = more.filter(|_| options.behaviour == bare.behaviour);
    if more.is_none() {
        words += &format!(" --target-behaviour {}", options.behaviour.word());
    }
    for bug in more.unwrap_or(&options.bugs) {
        words += &format!(" --bug {}", bug.name());
    }
    if options.schedule != bare.schedule {
        words += &format!(" --schedule {}", options.schedule.word());
    }
    words
}

/// How the target behaves, in words: its preset, and what is wrong beside that.
fn behaviour(options: &RunOptions) -> String {
    if options.target != TargetKind::Model {
        return "as it is".to_owned();
    }
    let more: Vec<&str> = options.bugs.iter().map(|bug| bug.name()).collect();
    match more.as_slice() {
        [] => options.behaviour.word().to_owned(),
        more => format!("{} with {}", options.behaviour.word(), more.join(" and ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::{Behaviour, Schedule, SpdkOptions, Volume};

    /// A command that is refused repeats nothing.
    #[test]
    fn the_command_says_nothing_that_other_ends_cannot_be_given() {
        let text = r#"plan "p" {
            about "recorded"
            controllers 1
            disks 1 from="any"
            job "default_integrity"
            vm 1 controllers="1"
            case "1" "one" { boot vm=1; }
            recorded schema=3 { schedule "random"; io-count "full"; bugs "early_finish"; }
        }"#;
        let plan = scenarios::parse("p.kdl", text).expect("it is a plan");
        let own = RunOptions::of_plan(&plan).expect("its words are known");
        let spdk = TargetKind::Spdk(SpdkOptions::default());
        let (options, _) = own.with_ends(spdk, GuestKind::Model);
        let repeat =
            |options: &RunOptions| header(&plan, options).map(|header| header.repeat_options);
        assert_eq!(repeat(&options).as_deref(), Ok(" --target spdk"));
        let other = RunOptions {
            volume: Volume::Default,
            ..options.clone()
        };
        let words = " --target spdk --io-count default";
        assert_eq!(repeat(&other).as_deref(), Ok(words));
        let simulated = " --io-count default --target-behaviour head --schedule timed";
        let usual = RunOptions::default();
        assert_eq!(
            (usual.behaviour, usual.schedule),
            (Behaviour::Head, Schedule::Timed)
        );
        assert_eq!(repeat(&usual).as_deref(), Ok(simulated));
    }
}
