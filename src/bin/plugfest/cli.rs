//! The arguments, as `--help` shows them.

use std::ops::Range;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

use sim::Bug;

use plugfest::Volume;

use crate::fuzz_arguments::{self, FuzzArguments};
use crate::log::LogArguments;
use crate::target_arguments::{BehaviourWord, TargetArguments};
use crate::words::{ScheduleWord, bug, seed, seeds};

/// Tests hot-attach and hot-detach of SCSI targets on a vhost-user target, such as SPDK's, with no
/// hardware: guests write and verify while disks come and go, in an order that a seed decides.
#[derive(Debug, Parser)]
#[command(version, arg_required_else_help = true, after_help = EXAMPLES)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,

    #[command(flatten)]
    pub log: LogArguments,
}

const EXAMPLES: &str = "\
Begin with:
  plugfest run                      the documented test plan, nine cases
  plugfest list                     what else there is
  plugfest run hotdetach/3 --seed 7 one case, in another order of events

Exit status: 0 all passed, 1 something failed, 2 bad arguments or files, 3 inconclusive.";

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Carry out plans, and judge them.
    #[command(after_help = RUN_EXAMPLES)]
    Run(Box<RunArguments>),
    /// Carry out scenarios that are drawn from seeds; make what breaks a check small, name it, and go on.
    #[command(after_help = fuzz_arguments::EXAMPLES)]
    Fuzz(Box<FuzzArguments>),
    /// Do a recorded failure once more: turn by turn in the simulator, or in its order on a target that runs.
    #[command(after_help = REPLAY_EXIT)]
    Replay(Box<ReplayArguments>),
    /// Play recordings of a real target to the model target, and compare every answer.
    #[command(after_help = CONFORM_EXAMPLES)]
    Conform(ConformArguments),
    /// Make what real guests boot.
    Guest {
        /// What.
        #[command(subcommand)]
        command: GuestCommand,
    },
    /// Serve the model target on sockets: vhost-user for guests, JSON-RPC as SPDK's rpc.py speaks it.
    #[command(after_help = SERVE_EXAMPLES)]
    Serve(ServeArguments),
    /// Take away what runs of yours have left that were killed or could not clean up: processes, and what they made
    /// on a target; never anything of a run that is alive.
    #[command(after_help = CLEAN_EXIT)]
    Clean(CleanArguments),
    /// List the plans, their cases, and the jobs.
    List,
    /// Print completions for a shell.
    Completions {
        /// The shell
        #[arg(value_enum)]
        shell: Shell,
    },
    /// Print the manual page.
    Man,
    /// Say which testbeds can run on this machine, and what is missing for the others; the status is 0.
    Doctor(DoctorArguments),
}

const RUN_EXAMPLES: &str = "\
Examples:
  plugfest run                                   hotattach and hotdetach, every case
  plugfest run hotattach/3                       one case; those before it are set-up
  plugfest run mine.kdl                          a plan of your own
  plugfest run --guest qemu --runtime 3          with real guests
  plugfest run --seeds 0..1000 --io-count quick  a thousand seeds; prints what failed
  plugfest run hotplug --format json             one JSON object a case

Exit status: 0 all cases passed, 1 one failed, 2 bad arguments or files, 3 inconclusive, or interrupted (Ctrl-C
leaves a report of what was done).";

const REPLAY_EXIT: &str = "\
On a target that runs, each action waits for the answers that came before it in the recording, and for as many
requests of applications; for what was not answered then, it does not wait.

Exit status: 0 the same run (or order), and no check is broken; 1 one is; 2 the file is refused; 3 another run (or
order) than the one recorded, or the file does not record how its run ended.

Examples:
  plugfest replay plugfest-I6-12.kdl
  plugfest replay plugfest-I11-8010.kdl --target spdk --times 10";

const CONFORM_EXAMPLES: &str = "\
Examples:
  plugfest conform tests/transcripts             all that are in a directory
  plugfest conform --serve tests/transcripts     over sockets; takes a minute
  plugfest conform --guest tests/guest_traces    what a real guest did, done over by the model guest

Exit status: 0 all hold, 1 one differs, 2 one cannot be read or played, 3 interrupted.";

#[derive(Debug, Args)]
pub struct RunArguments {
    /// Plans, or single cases of them, by name or as the path of a .kdl file [default: hotattach
    /// hotdetach]
    #[arg(value_name = "PLAN[/CASE]")]
    pub plans: Vec<String>,

    /// A number that decides everything that is left to chance: the same seed, the same run
    /// [default: 0, or what the plan file records]
    #[arg(long, value_name = "N", conflicts_with = "seeds", value_parser = seed,
          allow_negative_numbers = true)]
    pub seed: Option<u64>,

    /// Many runs: every seed from A up to but not including B
    #[arg(long, value_name = "A..B", value_parser = seeds, allow_hyphen_values = true)]
    pub seeds: Option<Range<u64>>,

    /// How many of --seeds run at a time, 1 to 256; output and verdicts do not depend on it [default: 1]
    #[arg(long, alias = "jobs", value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256),
          allow_negative_numbers = true)]
    pub workers: Option<u16>,

    /// A fio job file to run instead of each plan's own: its [global] section, to which one section a disk
    /// is added
    #[arg(long, value_name = "FILE")]
    pub job: Option<PathBuf>,

    /// Who the guests are
    #[arg(long, value_name = "WHO", value_enum, default_value = "model")]
    pub guest: GuestWord,

    #[command(flatten)]
    pub target: TargetArguments,

    /// On sockets: seconds that a time-based job runs, and waits inside it shortened alike
    /// [default: as the job says]
    #[arg(long, value_name = "SECONDS", value_parser = seconds, allow_negative_numbers = true)]
    pub runtime: Option<u32>,

    /// With --guest qemu: what `plugfest guest build --output` made [default: made when needed, and kept]
    #[arg(long, value_name = "DIR")]
    pub guest_image: Option<PathBuf>,

    /// With --guest qemu: emulate the CPU, even if KVM works
    #[arg(long)]
    pub emulate: bool,

    /// How many blocks each fio writes and verifies on each disk, of the job's smallest block size
    /// [default: default, or what the plan file records]
    #[arg(long, alias = "volume", value_name = "HOW_MUCH", value_enum)]
    pub io_count: Option<IoCountWord>,

    /// How the model target behaves [default: head, or with the bugs that the plan file records]
    #[arg(long, value_name = "HOW", value_enum)]
    pub target_behaviour: Option<BehaviourWord>,

    /// A known bug, switched on beside those, by its name or number in `plugfest list`; can be given several times
    #[arg(long, alias = "deviation", value_name = "NAME", value_parser = bug)]
    pub bug: Vec<Bug>,

    /// Whose turn is next in the simulator [default: timed, or what the plan file records]
    #[arg(long, value_name = "WHO", value_enum)]
    pub schedule: Option<ScheduleWord>,

    /// What is printed
    #[arg(long, value_enum, default_value = "text")]
    pub format: Format,

    /// Write everything that was asked and seen to this file, as JSON lines with times in nanoseconds; for
    /// one plan and one seed
    #[arg(long, value_name = "FILE", conflicts_with = "seeds")]
    pub trace: Option<PathBuf>,

    /// Write every turn of the simulator to this file, a line each; for one plan and one seed
    #[arg(long, value_name = "FILE", conflicts_with = "seeds")]
    pub turns: Option<PathBuf>,

    /// Write the report that CI systems read to this file (JUnit XML): a test case a case and seed, an error for
    /// what was not carried out
    #[arg(long, value_name = "FILE")]
    pub junit: Option<PathBuf>,

    /// Write the first run that fails, if one does, to this file, for `plugfest replay`
    #[arg(long, value_name = "FILE")]
    pub repro: Option<PathBuf>,

    /// Disturb the simulator at this turn, to see that a difference is found
    #[arg(long, value_name = "N", hide = true)]
    pub disturb_at: Option<u64>,
}

#[derive(Debug, Args)]
pub struct ReplayArguments {
    /// What `fuzz` or `run --repro` wrote
    #[arg(value_name = "FILE")]
    pub file: PathBuf,

    #[command(flatten)]
    pub target: TargetArguments,

    /// With --target spdk: how often. Between two times it waits for a target that has died to be started
    /// again
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..), allow_negative_numbers = true)]
    pub times: Option<u32>,
}

#[derive(Debug, Subcommand)]
pub enum GuestCommand {
    /// Make a kernel and an initramfs of the distribution's kernel package, busybox and fio; kept, and made
    /// again when one of them has changed.
    Build(GuestBuildArguments),
}

#[derive(Debug, Args)]
pub struct GuestBuildArguments {
    /// Where to put them [default: plugfest/guest in the user's cache]
    #[arg(long, value_name = "DIR")]
    pub output: Option<PathBuf>,

    /// A kernel in place of the distribution's; its modules are in /lib/modules, or in --initrd
    #[arg(long, value_name = "FILE")]
    pub kernel: Option<PathBuf>,

    /// An initramfs with that kernel's modules, for modprobe; ours is laid over it
    #[arg(long, value_name = "FILE", requires = "kernel")]
    pub initrd: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct DoctorArguments {
    /// Where SPDK listens for JSON-RPC
    #[arg(long, value_name = "PATH", default_value = "/var/tmp/spdk.sock")]
    pub rpc_socket: PathBuf,

    /// List what runs of yours that have ended left behind instead, which `clean` and the next run remove; exit status 1 if
    /// there is any
    #[arg(long)]
    pub leftovers: bool,
}

const CLEAN_EXIT: &str = "\
The next run does the same by itself. `plugfest doctor --leftovers` only lists what there is.

Exit status: 0 nothing is left, 1 something stays.";

#[derive(Debug, Args)]
pub struct CleanArguments {
    /// Only what was made on the target that listens there for JSON-RPC [default: all that is left]
    #[arg(long, value_name = "PATH")]
    pub rpc_socket: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct ConformArguments {
    /// Transcripts (.jsonl), or directories of them; with --guest, recordings of guests (.steps.json)
    #[arg(value_name = "PATH", required = true)]
    pub paths: Vec<PathBuf>,

    /// How the model target behaves
    #[arg(long, value_name = "HOW", value_enum, default_value = "head")]
    pub target_behaviour: BehaviourWord,

    /// Play them to a process of `plugfest serve` over its sockets, not to the model itself
    #[arg(long, conflicts_with = "target_behaviour")]
    pub serve: bool,

    /// Do recordings of a real guest over with the model guest, and compare
    #[arg(long, conflicts_with_all = ["target_behaviour", "serve", "format"])]
    pub guest: bool,

    /// What is printed
    #[arg(long, value_name = "FORMAT", value_enum, default_value = "text")]
    pub format: ConformFormat,
}

const SERVE_EXAMPLES: &str = "\
A controller's socket is DIR/NAME from vhost_create_scsi_controller until vhost_delete_controller. Ctrl-C ends it,
with status 0; where SPDK would crash it dies of the same signal.

Examples:
  plugfest serve --rpc-socket /tmp/spdk.sock --vhost-sockets /tmp
  rpc.py -s /tmp/spdk.sock bdev_malloc_create -b Malloc0 64 512
  rpc.py -s /tmp/spdk.sock bdev_nvme_attach_controller -b Nvme0 -t PCIe -a 0000:01:00.0
  rpc.py -s /tmp/spdk.sock vhost_create_scsi_controller vhost.0
  rpc.py -s /tmp/spdk.sock vhost_scsi_controller_add_target vhost.0 0 Malloc0";

#[derive(Debug, Args)]
pub struct ServeArguments {
    /// Where to listen for JSON-RPC
    #[arg(long, value_name = "PATH", default_value = "/var/tmp/spdk.sock")]
    pub rpc_socket: PathBuf,

    /// Where the controllers' vhost-user sockets appear
    #[arg(long, value_name = "DIR", default_value = "/var/tmp")]
    pub vhost_sockets: PathBuf,

    /// How the model target behaves
    #[arg(long, value_name = "HOW", value_enum, default_value = "head")]
    pub target_behaviour: BehaviourWord,

    /// A known bug, switched on beside those, by its name or number in `plugfest list`; can be given several times
    #[arg(long, alias = "deviation", value_name = "NAME", value_parser = bug)]
    pub bug: Vec<Bug>,

    /// Reactors, 1 or 2: with two, the controllers' threads have one of their own
    #[arg(long, value_name = "N", default_value_t = 1,
          value_parser = clap::value_parser!(u8).range(1..=2), allow_negative_numbers = true)]
    pub cores: u8,

    /// Decides what hardware leaves to chance: how long each request of a bdev takes
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = seed,
          allow_negative_numbers = true)]
    pub seed: u64,

    /// Write what the target sees of its guests to this file: messages, commands, events, a line each with
    /// seconds since the start
    #[arg(long, value_name = "FILE")]
    pub record: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum IoCountWord {
    /// 256, with depth, batch and backlog divided by eight
    Quick,
    /// 4096
    Default,
    /// As the job says: as many as fit into its run time, which is virtual; takes minutes
    Full,
}

impl From<IoCountWord> for Volume {
    fn from(word: IoCountWord) -> Self {
        match word {
            IoCountWord::Quick => Self::Quick,
            IoCountWord::Default => Self::Default,
            IoCountWord::Full => Self::Full,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum GuestWord {
    /// A model of Linux and fio: in a simulator with virtual time; on sockets with --target spdk
    Model,
    /// Linux and fio in QEMU, on real sockets
    Qemu,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ConformFormat {
    /// The first mismatch of each file that does not hold, and a table of how many do
    Text,
    /// One JSON object a file, one a line
    Json,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// A line a step, a table, a verdict
    Text,
    /// One JSON object a case, one a line
    Json,
}

/// A time.
fn seconds(text: &str) -> Result<u32, String> {
    let some = text.parse().ok().filter(|seconds| *seconds > 0);
    some.ok_or_else(|| format!("expected whole seconds, from 1 to {}", u32::MAX))
}
