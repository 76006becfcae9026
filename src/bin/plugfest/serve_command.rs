//! `plugfest serve`: the model target behind real sockets, until somebody ends it.
//!
//! Tells on stdout where it listens, on stderr, as a daemon, what SPDK would log; ends as the modelled process ends.

use std::io::Write as _;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{Signal, raise};
use real::serve::{Ended, News, ServeOptions, Server};
use real::vhost_user::cut;
use sim::spdk::TargetConfig;
use sim::wire::message::Crash;
use sim::{DISKS_MAX, nvme_devices};
use tokio::runtime::Builder;
use tracing::warn;

use plugfest::command::interrupt;

use crate::cli::ServeArguments;
use crate::output::Stop;
use crate::target_arguments::note_repeated;

/// It was told to end.
const EXIT_STOPPED: u8 = 0;

/// Serves until somebody ends it.
pub fn run(arguments: &ServeArguments) -> Result<u8, Stop> {
    let (behaviour, more) = (arguments.target_behaviour, &arguments.bug);
    note_repeated(behaviour, more);
    let options = ServeOptions {
        rpc_socket: arguments.rpc_socket.clone(),
        vhost_sockets: arguments.vhost_sockets.clone(),
        target: TargetConfig {
            bugs: plugfest::command::bugs(behaviour.into(), more),
            nvme: nvme_devices(DISKS_MAX),
            cores: arguments.cores,
            ..TargetConfig::default()
        },
        seed: arguments.seed,
        record: arguments.record.clone(),
    };
    // Every ring of every front-end brings descriptors.
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).map_err(Stop::error)?;
    setrlimit(Resource::RLIMIT_NOFILE, most, most).map_err(Stop::error)?;
    cut::survive().map_err(Stop::error)?;
    let server = Server::start(options, tell).map_err(Stop::error)?;
    let mut interrupt = interrupt();
    let runtime = Builder::new_current_thread().build().map_err(Stop::error)?;
    let ended = runtime.block_on(async {
        tokio::select! {
            ended = server.ended() => Some(ended),
            () = interrupt.wait() => None,
        }
    });
    match ended.unwrap_or_else(|| server.stop()) {
        Ended::Stopped => Ok(EXIT_STOPPED),
        Ended::Died(crash) => die(&crash),
        Ended::Failed(why) => Err(Stop::error(why)),
    }
}

/// One line, at once. Whoever does not read it any more misses nothing else.
fn tell(news: News) {
    let _ = match news {
        News::Listening { what, path } => {
            let mut out = std::io::stdout().lock();
            writeln!(out, "{what} listens at {}", path.display()).and_then(|()| out.flush())
        }
        News::Broken(what) => return warn!(target: "invariant", "{what}"),
    };
}

/// Ends as the modelled process ends.
fn die(crash: &Crash) -> Result<u8, Stop> {
    let text = format!("{} in {}", crash.signal, crash.place);
    // Nobody may read it.
    let _ = writeln!(std::io::stderr(), "{text}");
    let signal: Signal = crash.signal.parse().map_err(Stop::error)?;
    // Rust's own handler of SIGSEGV takes the first one: it finds no fault of the stack, and steps aside.
    for _ in 0..2 {
        raise(signal).map_err(Stop::error)?;
    }
    Err(Stop::error(text))
}
