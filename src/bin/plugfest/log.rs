//! What the command says while it works, through `tracing`: where that goes, how much of it, and `--turns`, which is
//! one more listener.
//!
//! Nothing reads it back; with no option nobody listens.

use std::fmt;
use std::io::Write as _;
use std::sync::{Mutex, PoisonError};

use clap::{Args, ValueEnum};
use real::testbed::clock;
use scenarios::said;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::layer::{Context, SubscriberExt as _};
use tracing_subscriber::registry::Registry;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::sink::Sink;

/// How the events are called that `--turns` writes.
const TURN: &str = "turn";

#[derive(Debug, Args)]
pub struct LogArguments {
    /// Say on standard error what goes on: a level (error, warn, info, debug, trace), or levels by target, as in
    /// info,rpc=debug; targets are run, observation, invariant, rpc, vhost_user, spdk, vm, turn
    #[arg(
        long,
        value_name = "FILTER",
        env = "PLUGFEST_LOG",
        global = true,
        hide_env_values = true
    )]
    pub log: Option<Targets>,

    /// How it is said
    #[arg(
        long,
        value_name = "FORMAT",
        value_enum,
        default_value = "text",
        global = true
    )]
    pub log_format: LogFormat,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// A line an event: time, level, spans, target, text
    Text,
    /// One JSON object an event, one a line
    Json,
}

/// What the time of an event is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clock {
    /// The testbed's, in seconds: virtual in the simulator, else since the start.
    Testbed,
    /// The calendar's, as a daemon writes it.
    Calendar,
}

/// Listens from now on: as the arguments say, or else to `usual`. `turns`: whether the turns of the simulator will be
/// written, too ([`write_turns`]).
pub fn listen(arguments: &LogArguments, usual: Option<Level>, clock: Clock, turns: bool) {
    let usual = || usual.map(|level| Targets::new().with_default(level));
    let filter = arguments.log.clone().or_else(usual);
    if filter.is_none() && !turns {
        return;
    }
    clock::start();
    let log = filter.map(|filter| {
        let writer = tracing_subscriber::fmt::layer()
            .with_writer(std::io::stderr)
            .with_ansi(false);
        match (arguments.log_format, clock) {
            (LogFormat::Text, Clock::Testbed) => writer.with_timer(TestbedTime).boxed(),
            (LogFormat::Text, Clock::Calendar) => writer.with_timer(SystemTime).boxed(),
            (LogFormat::Json, Clock::Testbed) => {
                let json = writer.json().flatten_event(true);
                json.with_timer(TestbedTime).boxed()
            }
            (LogFormat::Json, Clock::Calendar) => {
                let json = writer.json().flatten_event(true);
                json.with_timer(SystemTime).boxed()
            }
        }
        .with_filter(filter)
    });
    let of_turns = Targets::new().with_target(TURN, Level::TRACE);
    let turns = turns.then(|| TurnWriter.with_filter(of_turns));
    // Nobody listened before: this is said once, at the start.
    let _ = Registry::default().with(log).with(turns).try_init();
}

/// The testbed's time: in the simulator, that of what is said.
struct TestbedTime;

impl FormatTime for TestbedTime {
    fn format_time(&self, w: &mut Writer<'_>) -> fmt::Result {
        write!(w, "{}", said::time().unwrap_or_else(clock::time))
    }
}

/// Where the turns of the run at hand go.
static TURNS: Mutex<Option<Sink>> = Mutex::new(None);

/// Writes the turns to `sink` from now on, or to nothing any more; what was not written yet is.
pub fn write_turns(sink: Option<Sink>) {
    *TURNS.lock().unwrap_or_else(PoisonError::into_inner) = sink;
}

/// Writes turns, a line each.
struct TurnWriter;

impl<S: Subscriber> Layer<S> for TurnWriter {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        event.record(&mut Line);
    }
}

struct Line;

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let mut turns = TURNS.lock().unwrap_or_else(PoisonError::into_inner);
        if let (Some(sink), "message") = (turns.as_mut(), field.name()) {
            // A sink notes what is wrong with it.
            let _ = writeln!(sink, "{value:?}");
        }
    }
}
