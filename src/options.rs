//! What a run is made from, besides the plan: the words of [`crate::RunOptions`].
//!
//! Knows no testbed and carries nothing out.

use crate::run_error::RunError;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use real::testbed::disks::{Bdevs, MALLOC_MIB};
pub use scenarios::plan::JobText;
use scenarios::plan::{Plan, Recorded};
use scenarios::report::shell_quoted;
use scenarios::shipped::{self, FORMER_JOBS, JOBS};
use sim::linux::QEMU_TARGETS;
use sim::world::Strategy;
use sim::{Bug, Bugs};

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
    /// Targets that model guests ask for in each host when they scan it: as many as QEMU says that there are, unless
    /// a generated scenario's had fewer.
    pub targets_asked: u16,
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
        let now = JOBS.iter().map(|job| job.name);
        let former = FORMER_JOBS.iter().map(|(former, _)| *former);
        let shipped = now.chain(former).filter_map(|name| {
            let job = shipped::job(name)?;
            let text = JobText {
                file: job.file.to_owned(),
                text: job.text.to_owned(),
            };
            Some((name.to_owned(), text))
        });
        Self {
            seed: 0,
            only: None,
            volume: Volume::Default,
            behaviour: Behaviour::Head,
            bugs: Vec::new(),
            schedule: Schedule::Timed,
            targets_asked: QEMU_TARGETS,
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

impl RunOptions {
    /// How the model target is wrong.
    pub(crate) fn all_bugs(&self) -> Bugs {
        bugs(self.behaviour, &self.bugs)
    }

    /// Those that a plan file records.
    ///
    /// # Errors
    ///
    /// A word that this program does not know.
    pub fn recorded(recorded: &Recorded) -> Result<Self, RunError> {
        let all = recorded_bugs(recorded)?;
        let (behaviour, preset) = if Bugs::head().iter().all(|bug| all.has(bug)) {
            (Behaviour::Head, Bugs::head())
        } else {
            (Behaviour::Intended, Bugs::INTENDED)
        };
        let mut usual = Self::default();
        usual.jobs.extend(recorded.jobs.clone());
        Ok(Self {
            seed: recorded.seed,
            volume: volume(recorded)?,
            behaviour,
            bugs: all.iter().filter(|bug| !preset.has(*bug)).collect(),
            schedule: schedule(recorded)?,
            targets_asked: recorded.targets_asked.unwrap_or(QEMU_TARGETS),
            ..usual
        })
    }
}

impl RunOptions {
    /// What a bare `plugfest run FILE` takes: what the plan's file records, or what is usual.
    ///
    /// # Errors
    ///
    /// A recorded word that this program does not know.
    pub fn of_plan(plan: &Plan) -> Result<Self, RunError> {
        plan.recorded
            .as_ref()
            .map_or_else(|| Ok(Self::default()), Self::recorded)
    }

    /// These, with this target and these guests. What means something in the simulator only is as usual elsewhere:
    /// as plan files call it, if it was not.
    #[must_use]
    pub fn with_ends(self, target: TargetKind, guests: GuestKind) -> (Self, Vec<&'static str>) {
        let usual = Self::default();
        let mut own = Self {
            target,
            guests,
            ..self
        };
        let mut lost = Vec::new();
        if own.target != TargetKind::Model {
            if own.all_bugs() != usual.all_bugs() {
                lost.push("bugs");
            }
            (own.behaviour, own.bugs) = (usual.behaviour, usual.bugs);
        }
        let on_sockets = matches!(own.target, TargetKind::Spdk(_));
        if own.guests != GuestKind::Model || on_sockets {
            if own.schedule != usual.schedule {
                lost.push("schedule");
            }
            own.schedule = usual.schedule;
        }
        if own.guests != GuestKind::Model {
            if own.volume != usual.volume {
                lost.push("io-count");
            }
            own.volume = usual.volume;
        }
        (own, lost)
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
    /// SPDK's own code, in this process and in virtual time.
    Linked(LinkedOptions),
    /// One that runs, on sockets. Model guests are then on sockets too, and go by the wall clock.
    Spdk(SpdkOptions),
}

/// Where SPDK's own code is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkedOptions {
    /// The library that `make -C sim/linked/shim SPDK_DIR=…` links.
    pub library: PathBuf,
}

impl LinkedOptions {
    /// Where `make` puts it, from the repository's root.
    pub const USUAL: &str = "sim/linked/shim/build/libplugfest_spdk.so";

    /// The options of a command line that say so.
    pub(crate) fn arguments(&self) -> String {
        let mut words = " --target linked".to_owned();
        if self.library != Path::new(Self::USUAL) {
            let library = self.library.display().to_string();
            words += &format!(" --linked-library {}", shell_quoted(&library));
        }
        words
    }
}

impl Default for LinkedOptions {
    fn default() -> Self {
        Self {
            library: Self::USUAL.into(),
        }
    }
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

    /// What each disk of a job writes and verifies; `None`: as the job says.
    pub(crate) fn of_a_job(self) -> Option<fio_model::Volume> {
        let (blocks, scale) = match self {
            Self::Quick => (256, 8),
            Self::Default => (4096, 1),
            Self::Full => return None,
        };
        Some(fio_model::Volume { blocks, scale })
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
    /// What goes so; `seed` draws what is left to chance.
    pub(crate) fn strategy(self, seed: u64) -> Strategy {
        match self {
            Self::Timed => Strategy::Timed,
            Self::Random => Strategy::random(seed),
        }
    }

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

/// How the target was wrong.
///
/// # Errors
///
/// A bug that this program does not know.
pub(crate) fn recorded_bugs(recorded: &Recorded) -> Result<Bugs, RunError> {
    let mut all = Bugs::INTENDED;
    for name in &recorded.bugs {
        let unknown = || {
            RunError::Input(format!(
                "no bug is called {name:?} (plugfest list names them)"
            ))
        };
        all = all.with(Bug::named(name).ok_or_else(unknown)?);
    }
    Ok(all)
}

/// How much each fio wrote.
///
/// # Errors
///
/// A word that this program does not know.
pub(crate) fn volume(recorded: &Recorded) -> Result<Volume, RunError> {
    let all = [Volume::Quick, Volume::Default, Volume::Full];
    let found = all.into_iter().find(|of| of.word() == recorded.io_count);
    let word = &recorded.io_count;
    let unknown = || {
        RunError::Input(format!(
            "io-count {word:?}: expected quick, default or full"
        ))
    };
    found.ok_or_else(unknown)
}

/// Who went next.
///
/// # Errors
///
/// A word that this program does not know.
pub(crate) fn schedule(recorded: &Recorded) -> Result<Schedule, RunError> {
    let all = [Schedule::Timed, Schedule::Random];
    let found = all.into_iter().find(|of| of.word() == recorded.schedule);
    let word = &recorded.schedule;
    found.ok_or_else(|| RunError::Input(format!("schedule {word:?}: expected timed or random")))
}
