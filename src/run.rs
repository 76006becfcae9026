//! One run: a plan, a seed, and what they are carried out on.
//!
//! Knows nothing of arguments and files; of testbeds only that `testbed` makes them.

use std::collections::BTreeMap;
use std::fmt;
use std::io::Write;
use std::path::PathBuf;

use fio_model::JobFile;
use scenarios::concretise::{Concrete, Options, concretise};
use scenarios::plan::{NamedJob, Plan, nearest};
use scenarios::report::{Report, RunHeader, shell_quoted};
use scenarios::run::Progress;
use scenarios::shipped::JOBS;
use scenarios::testbed::Testbed;
use scenarios::trace::{Header, Recorder, TRACE_VERSION};
use sim::{Bug, Bugs};

use crate::interrupt::Interruptible;
use crate::testbed::{self, Turns};
use real::testbed::disks::{Bdevs, MALLOC_MIB};

/// What a run is made from, besides the plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunOptions {
    /// Decides everything that is left to chance.
    pub seed: u64,
    /// The one case to judge; those before it are set-up. `None`: all.
    pub only: Option<String>,
    /// How much each fio writes and verifies.
    pub volume: Volume,
    /// How the model target behaves.
    pub behaviour: Behaviour,
    /// Bugs beside those of `behaviour`.
    pub bugs: Vec<Bug>,
    /// Who goes next in the simulator.
    pub schedule: Schedule,
    /// Draw once more from the world's rng at this turn: to show that a difference is found.
    pub disturb_at: Option<u64>,
    /// Who the guests are.
    pub guests: GuestKind,
    /// What the target is.
    pub target: TargetKind,
    /// On sockets: seconds that a time-based job runs, and its clock with it; as it is written, if not given.
    /// Model guests then go by time, and not by the volume.
    pub runtime_s: Option<u32>,
    /// The job files, by the names that plans use.
    pub jobs: BTreeMap<String, JobText>,
    /// What names the plan on a command line, if not its name.
    pub plan_argument: Option<String>,
    /// What else a command line must say to repeat the run: " --job mine.fio".
    pub repeat_more: String,
}

impl Default for RunOptions {
    /// Seed 0, every case, the default volume, SPDK as it is, the jobs that ship.
    fn default() -> Self {
        let shipped = JOBS.iter().map(|job| {
            let text = JobText {
                file: job.file.to_owned(),
                text: job.text.to_owned(),
            };
            (job.name.to_owned(), text)
        });
        Self {
            seed: 0,
            only: None,
            volume: Volume::Default,
            behaviour: Behaviour::Head,
            bugs: Vec::new(),
            schedule: Schedule::Timed,
            disturb_at: None,
            guests: GuestKind::Model,
            target: TargetKind::Model,
            runtime_s: None,
            jobs: shipped.collect(),
            plan_argument: None,
            repeat_more: String::new(),
        }
    }
}

/// Who the guests of a run are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GuestKind {
    /// The model, in the simulator.
    Model,
    /// Linux in QEMU, on the model target behind real sockets. Volume, schedule and disturbance are the
    /// simulator's, and mean nothing here.
    Qemu(QemuOptions),
}

/// What the target of a run is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TargetKind {
    /// The model, in this process: in the simulator, or behind sockets for real guests.
    Model,
    /// One that runs, on sockets. Model guests are then on sockets too, and go by the wall clock.
    Spdk(SpdkOptions),
}

/// Where a target is that runs, and what the disks are made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpdkOptions {
    /// Where it listens for JSON-RPC.
    pub rpc_socket: PathBuf,
    /// Where its controllers' vhost-user sockets appear.
    pub vhost_sockets: PathBuf,
    /// What the plan's disks are.
    pub bdevs: Bdevs,
}

impl Default for SpdkOptions {
    /// SPDK's own places, and disks in its memory.
    fn default() -> Self {
        Self {
            rpc_socket: "/var/tmp/spdk.sock".into(),
            vhost_sockets: "/var/tmp".into(),
            bdevs: Bdevs::Malloc(MALLOC_MIB),
        }
    }
}

impl SpdkOptions {
    /// As a command line says them, with a space before each.
    pub(crate) fn arguments(&self) -> String {
        let quoted = |path: &PathBuf| shell_quoted(&path.display().to_string()).into_owned();
        let mut text = " --target spdk".to_owned();
        let default = Self::default();
        if self.rpc_socket != default.rpc_socket {
            text += &format!(" --rpc-socket {}", quoted(&self.rpc_socket));
        }
        if self.vhost_sockets != default.vhost_sockets {
            text += &format!(" --vhost-sockets {}", quoted(&self.vhost_sockets));
        }
        if self.bdevs != default.bdevs {
            text += &format!(" --bdevs {}", shell_quoted(&self.bdevs.to_string()));
        }
        if !self.bdevs.erased().is_empty() {
            let erased = self.bdevs.erased().join(",");
            text += &format!(" --erase {}", shell_quoted(&erased));
        }
        text
    }
}

/// What real guests are to be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QemuOptions {
    /// A directory that `plugfest guest build --output` filled; the user's cache, if not given.
    pub image: Option<PathBuf>,
    /// Emulate even where the CPU could run guests.
    pub emulate: bool,
}

/// A fio job file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobText {
    /// Its name in errors.
    pub file: String,
    /// Its text.
    pub text: String,
}

/// How much each fio writes and verifies on each disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Volume {
    /// 256 blocks, with depth, batch and backlog divided by eight.
    Quick,
    /// 4096 blocks.
    Default,
    /// As the job says, in virtual time.
    Full,
}

impl Volume {
    /// "quick".
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Quick => "quick",
            Self::Default => "default",
            Self::Full => "full",
        }
    }
}

/// Who goes next in the simulator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Schedule {
    /// Whoever is ready first, by the latencies of devices and threads.
    Timed,
    /// Anybody who is ready soon, drawn from the seed.
    Random,
}

impl Schedule {
    /// "timed".
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Timed => "timed",
            Self::Random => "random",
        }
    }
}

/// How the model target behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Behaviour {
    /// As SPDK 3230130e6a does, its bugs included.
    Head,
    /// As it should: no bug.
    Intended,
}

impl Behaviour {
    /// "head".
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Head => "head",
            Self::Intended => "intended",
        }
    }
}

/// How a target that behaves so, with `more` bugs, is wrong.
#[must_use]
pub fn bugs(behaviour: Behaviour, more: &[Bug]) -> Bugs {
    let preset = match behaviour {
        Behaviour::Head => Bugs::head(),
        Behaviour::Intended => Bugs::INTENDED,
    };
    more.iter().fold(preset, |all, one| all.with(*one))
}

/// Why a run said nothing at all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunError(pub String);

impl fmt::Display for RunError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for RunError {}

/// What a run writes down besides its report.
#[derive(Default)]
pub struct Outputs<'a> {
    /// Everything that was asked and seen, from which the run can be judged again
    /// (`scenarios::trace`).
    pub trace: Option<&'a mut dyn Write>,
    /// Every turn of the simulator, a line each, to compare two runs.
    pub turns: Option<Box<dyn Write + Send>>,
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
/// As [`run`], and if the trace cannot be begun. If writing it fails later, the report says so;
/// a turn that cannot be written is an error at the end.
pub fn run_with(
    plan: &Plan,
    options: &RunOptions,
    progress: &mut dyn FnMut(&Progress<'_>),
    outputs: Outputs<'_>,
) -> Result<Report, RunError> {
    let concrete = concrete(plan, options)?;
    let turns = outputs.turns.map(Turns::new);
    let mut testbed = testbed::make(options, turns.clone())?;
    let report = if let Some(sink) = outputs.trace {
        let header = Header {
            plugfest_trace: TRACE_VERSION,
            plan: plan.name.clone(),
            only: options.only.clone(),
            seed: options.seed,
            behaviour: behaviour(options),
            evidence: testbed.evidence(),
        };
        let mut recorder = Recorder::new(testbed.as_mut(), sink, &header)
            .map_err(|error| RunError(error.to_string()))?;
        carry_out(plan, &concrete, options, &mut recorder, progress)?
    } else {
        carry_out(plan, &concrete, options, testbed.as_mut(), progress)?
    };
    turns.map_or(Ok(()), |turns| turns.finish())?;
    Ok(report)
}

/// Whether `plan` can be carried out as `options` say: every job that it names is there and can be read,
/// and what it asks for is possible. [`run`] does the same before anything else.
///
/// # Errors
///
/// The first thing that is wrong, with its place.
pub fn check(plan: &Plan, options: &RunOptions) -> Result<(), RunError> {
    concrete(plan, options)?;
    testbed::parse_jobs(&options.jobs, &options.guests).map(|_| ())
}

pub(crate) fn concrete(plan: &Plan, options: &RunOptions) -> Result<Concrete, RunError> {
    let unknown = |job: &NamedJob<'_>| !options.jobs.contains_key(job.name);
    if let Some(NamedJob { name, at }) = plan.jobs().into_iter().find(unknown) {
        let file = options.plan_argument.as_ref().unwrap_or(&plan.name);
        let known: Vec<&str> = options.jobs.keys().map(String::as_str).collect();
        let near =
            nearest(name, &known).map_or(String::new(), |near| format!("; did you mean `{near}`?"));
        return Err(RunError(format!(
            "{file}:{}:{}: there is no job {name:?}\n  = expected one of {}{near}",
            at.line,
            at.column,
            known.join(", ")
        )));
    }
    let only = options.only.clone();
    let mut concrete = concretise(plan, options.seed, &Options { only })
        .map_err(|error| RunError(error.to_string()))?;
    concrete.doubts = doubts(plan, &options.jobs);
    Ok(concrete)
}

/// Why fio may find blocks of a plan's jobs wrong though the disk is right. A job that cannot be read is
/// somebody else's error.
fn doubts(plan: &Plan, jobs: &BTreeMap<String, JobText>) -> BTreeMap<String, String> {
    let named = plan.jobs().into_iter().map(|job| job.name);
    let doubts = named.filter_map(|name| {
        let job = jobs.get(name)?;
        let file = JobFile::parse(&job.file, &job.text).ok()?;
        let doubt = file.can_spoil_itself()?;
        Some((name.to_owned(), doubt))
    });
    doubts.collect()
}

fn carry_out(
    plan: &Plan,
    concrete: &Concrete,
    options: &RunOptions,
    testbed: &mut dyn Testbed,
    progress: &mut dyn FnMut(&Progress<'_>),
) -> Result<Report, RunError> {
    let mut judge = testbed::judge(
        testbed.evidence(),
        testbed::vms(plan),
        testbed::bugs(options),
    );
    let mut testbed = Interruptible(testbed);
    let outcome = scenarios::run::run(concrete, &mut testbed, &mut judge, progress)
        .map_err(|error| RunError(error.to_string()))?;
    Ok(Report::new(header(plan, options), outcome))
}

fn header(plan: &Plan, options: &RunOptions) -> RunHeader {
    let mut repeat_options = String::new();
    let mut volume = options.volume.word().to_owned();
    if let GuestKind::Qemu(qemu) = &options.guests {
        repeat_options += " --guest qemu";
        volume = "as long as the job says".to_owned();
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
        volume = format!("{seconds} s a job");
    }
    if let TargetKind::Spdk(spdk) = &options.target {
        repeat_options += &spdk.arguments();
    }
    if options.volume != Volume::Default {
        repeat_options += &format!(" --volume {}", options.volume.word());
    }
    if options.behaviour != Behaviour::Head {
        repeat_options += &format!(" --target-behaviour {}", options.behaviour.word());
    }
    for bug in &options.bugs {
        repeat_options += &format!(" --deviation {}", bug.name());
    }
    if options.schedule != Schedule::Timed {
        repeat_options += &format!(" --schedule {}", options.schedule.word());
    }
    repeat_options += &options.repeat_more;
    RunHeader {
        plan: plan.name.clone(),
        plan_argument: options
            .plan_argument
            .clone()
            .unwrap_or_else(|| plan.name.clone()),
        seed: options.seed,
        behaviour: behaviour(options),
        volume,
        repeat_options,
    }
}

/// How the target behaves, in words: its preset, and what is wrong beside that.
fn behaviour(options: &RunOptions) -> String {
    if let TargetKind::Spdk(_) = options.target {
        return "the target's own".to_owned();
    }
    let more: Vec<&str> = options.bugs.iter().map(|bug| bug.name()).collect();
    match more.as_slice() {
        [] => options.behaviour.word().to_owned(),
        more => format!("{} with {}", options.behaviour.word(), more.join(" and ")),
    }
}
