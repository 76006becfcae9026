//! The model target behind real sockets: a vhost-user socket a controller, and a JSON-RPC socket.
//!
//! ```text
//!  JSON-RPC clients ──▶ rpc::server ─┐                       ┌─ kick, call descriptors
//!                                    ├─▶ the target's thread ┤
//!  front-ends ──▶ a thread each ─────┘   (turns by the clock)└─ guest memory
//! ```
//!
//! Knows sockets and the clock; how the target behaves is [`sim::spdk`]'s, the very same as in *sim*.
//!
//! # Divergence from SPDK
//!
//! * SPDK polls; this polls while there is something to do, then asks drivers for kicks
//!   (`VIRTQ_USED_F_NO_NOTIFY` off) and sleeps until one comes, or a message, or a timer.
//! * A controller whose socket cannot be bound is created nevertheless, and says so in the log.
//! * When a process is told to end, its sessions have a second to finish what is in flight, not 4 s each.

mod connection;
mod engine;
mod private;
mod record;
mod ring;
mod sockets;
mod wake;

use std::fmt;
use std::path::PathBuf;
use std::thread::JoinHandle;
use std::time::Duration;

use sim::spdk::TargetConfig;
use sim::wire::message::Crash;
use tokio::runtime::Builder;
use tokio::sync::watch::{self, Receiver};
use tokio::time::timeout;

use crate::rpc::server::RpcSocket;
use engine::Engine;
use wake::{Bell, Mail};

/// What to serve, and where.
#[derive(Clone, Debug)]
pub struct ServeOptions {
    /// Where to listen for JSON-RPC.
    pub rpc_socket: PathBuf,
    /// Where the controllers' sockets are to be.
    pub vhost_sockets: PathBuf,
    /// The target; its `socket_dir` is set from `vhost_sockets`.
    pub target: TargetConfig,
    /// Decides what SPDK's hardware leaves to chance: latencies.
    pub seed: u64,
    /// Where what the target sees of its guests is written, if anywhere.
    pub record: Option<PathBuf>,
}

/// Something to tell whoever watches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    /// A socket is there.
    Listening {
        /// "JSON-RPC", or the controller's name.
        what: String,
        /// Its path.
        path: PathBuf,
    },
    /// An invariant of the modelled system was broken.
    Broken(String),
}

/// How it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It was told to.
    Stopped,
    /// The modelled process died. Its sockets stay as they are, and nobody answers, until it is stopped:
    /// then they are stale.
    Died(Crash),
    /// Something of this machine failed.
    Failed(String),
}

/// It does not come up.
#[derive(Debug)]
pub struct ServeError(String);

/// A target that is being served.
#[derive(Debug)]
pub struct Server {
    thread: JoinHandle<()>,
    bell: Bell,
    /// How it ended, once it has.
    ended: Receiver<Option<Ended>>,
}

impl Server {
    /// Starts a target; `tell` hears what there is to tell, on the target's thread.
    ///
    /// # Errors
    ///
    /// Another process listens on the JSON-RPC socket, there is no directory for the controllers' sockets,
    /// or the system refuses.
    pub fn start(
        options: ServeOptions,
        mut tell: impl FnMut(News) + Send + 'static,
    ) -> Result<Self, ServeError> {
        let at = |path: &std::path::Path, error: &dyn fmt::Display| {
            ServeError(format!("{}: {error}", path.display()))
        };
        let dir = &options.vhost_sockets;
        let about = std::fs::metadata(dir).map_err(|error| at(dir, &error))?;
        if !about.is_dir() {
            return Err(at(dir, &"not a directory"));
        }
        let path = &options.rpc_socket;
        let rpc = RpcSocket::listen(path).map_err(|error| at(path, &error))?;
        tell(News::Listening {
            what: "JSON-RPC".to_owned(),
            path: path.clone(),
        });
        let started = Bell::new().and_then(|(bell, inbox)| {
            let mut engine = Engine::new(options, rpc, bell.clone(), inbox, Box::new(tell))?;
            let (say, ended) = watch::channel(None);
            let run = move || {
                let ended = engine.run();
                let died = matches!(ended, Ended::Died(_));
                // Whoever waits for it may have gone.
                let _ = say.send(Some(ended));
                if died {
                    engine.stand_still();
                    engine.close_all();
                }
            };
            let named = std::thread::Builder::new().name("target".to_owned());
            let thread = named.spawn(run)?;
            Ok(Self {
                thread,
                bell,
                ended,
            })
        });
        started.map_err(|error| ServeError(error.to_string()))
    }

    /// Waits until it has ended by itself.
    pub async fn ended(&self) -> Ended {
        let mut ended = self.ended.clone();
        let said = ended.wait_for(Option::is_some).await;
        let said = said.ok().and_then(|said| said.clone());
        said.unwrap_or_else(panicked)
    }

    /// Waits until it has ended by itself, but no longer than `patience`.
    #[must_use]
    pub fn wait(&self, patience: Duration) -> Option<Ended> {
        let runtime = Builder::new_current_thread().enable_time().build();
        let wait = async { timeout(patience, self.ended()).await.ok() };
        match runtime {
            Ok(runtime) => runtime.block_on(wait),
            Err(error) => Some(Ended::Failed(error.to_string())),
        }
    }

    /// Tells it to end, and waits for that: the sockets are gone.
    #[must_use]
    pub fn stop(self) -> Ended {
        self.bell.send(Mail::Stop);
        let joined = self.thread.join();
        let ended = self.ended.borrow().clone();
        let ended = ended.filter(|_| joined.is_ok());
        ended.unwrap_or_else(panicked)
    }
}

fn panicked() -> Ended {
    Ended::Failed("the target's thread panicked".to_owned())
}

impl fmt::Display for ServeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ServeError {}
