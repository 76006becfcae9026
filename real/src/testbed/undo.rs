//! What takes away again what a run has made on a target that goes on without it.
//!
//! Knows JSON-RPC; knows not what the calls mean.

use std::fmt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::socket::{getsockopt, sockopt};
use serde_json::{Value, json};
use thiserror::Error;

use super::process_id::ProcessId;
use crate::rpc::client::{RpcClient, RpcError};

/// How long a run takes away what it made, at its end.
pub const CLEAN_MAX: Duration = Duration::from_secs(10);
/// How long what another run has left is taken away.
pub const CLEAN_LATER_MAX: Duration = Duration::from_secs(30);
/// Whoever does not answer a call within this is asked for the next thing meanwhile, and for this one again.
const PATIENCE: Duration = Duration::from_secs(2);
/// `EBUSY`, as SPDK's `spdk_strerror` has it.
const BUSY: &str = "resource busy";
/// How often it is tried again at once what is refused so: a session that has just ended keeps its controller for a
/// moment.
const TRIES_MAX: u32 = 80;
/// Between two tries.
const PAUSE: Duration = Duration::from_millis(25);

/// Something of this process stays on a target.
static STAYS: AtomicBool = AtomicBool::new(false);

/// Why something stays on a target.
#[derive(Debug, Error)]
#[error("{left} of {all} things stay on the target at {}: {why}", rpc_socket.display())]
pub struct Stays {
    left: usize,
    all: usize,
    rpc_socket: PathBuf,
    why: RpcError,
}

/// What became of a call.
enum Called {
    /// What it takes away is not there any more.
    Gone,
    /// It is to be tried again.
    Later(RpcError),
}

/// Notes that something of this process stays on a target.
pub(super) fn note_that_something_stays() {
    STAYS.store(true, Ordering::Relaxed);
}

/// Whether a run of this process could not take away all that it made.
#[must_use]
pub fn something_stays() -> bool {
    STAYS.load(Ordering::Relaxed)
}

/// Calls on a target, the last of which is made first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Undo {
    /// Where the target listens.
    pub rpc_socket: PathBuf,
    /// The process that listened there: another one has nothing of it.
    target: Option<ProcessId>,
    calls: Vec<(String, Option<Value>)>,
}

impl Undo {
    /// Nothing to undo yet, on the target that listens there now.
    #[must_use]
    pub fn new(rpc_socket: &Path) -> Self {
        Self {
            rpc_socket: rpc_socket.to_owned(),
            target: listener(rpc_socket),
            calls: Vec::new(),
        }
    }

    /// Whether there is nothing to undo.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.calls.is_empty()
    }

    /// Adds a call, to be made before those that were added earlier.
    pub fn push(&mut self, method: &str, params: Option<Value>) {
        self.calls.push((method.to_owned(), params));
    }

    /// As a text that [`Undo::parse`] reads.
    #[must_use]
    pub fn text(&self) -> String {
        let target = self.target.map(|process| (process.id, process.started));
        json!({"rpc_socket": self.rpc_socket, "target": target, "calls": self.calls}).to_string()
    }

    /// Reads a text; `None` if it is none.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let file: Value = serde_json::from_str(text).ok()?;
        let target: Option<(u32, u64)> = serde_json::from_value(file["target"].clone()).ok()?;
        Some(Self {
            rpc_socket: file["rpc_socket"].as_str()?.into(),
            target: target.map(|(id, started)| ProcessId { id, started }),
            calls: serde_json::from_value(file["calls"].clone()).ok()?,
        })
    }

    /// Makes the calls, if it is still the same process that listens, until `limit` is over. One that is refused was
    /// made before. What is done is taken off, and `note` is told.
    ///
    /// # Errors
    ///
    /// Some could not be made: they are still here.
    pub fn run(&mut self, limit: Duration, mut note: impl FnMut(&Self)) -> Result<(), Stays> {
        let until = Instant::now() + limit;
        let all = self.calls.len();
        let mut client = None;
        loop {
            if self.target.is_some() && self.target != listener(&self.rpc_socket) {
                // It has gone, and all that was made on it.
                self.calls.clear();
            }
            let mut why = None;
            for at in (0..self.calls.len()).rev() {
                match self.call(at, &mut client, until) {
                    Called::Gone => {
                        self.calls.remove(at);
                        note(self);
                    }
                    Called::Later(error) => why = Some(error),
                }
            }
            let Some(why) = why.filter(|_| !self.calls.is_empty()) else {
                return Ok(());
            };
            if Instant::now() >= until {
                return Err(Stays {
                    left: self.calls.len(),
                    all,
                    rpc_socket: self.rpc_socket.clone(),
                    why,
                });
            }
            thread::sleep(PAUSE);
        }
    }

    /// Makes one of the calls.
    fn call(&self, at: usize, connected: &mut Option<RpcClient>, until: Instant) -> Called {
        let (method, params) = &self.calls[at];
        let mut tries = 0;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let client = match connected.take() {
                Some(client) => Ok(client),
                None => RpcClient::connect(&self.rpc_socket, PATIENCE.min(left).max(PAUSE)),
            };
            let mut client = match client {
                Ok(client) => client,
                Err(error) => return Called::Later(error.into()),
            };
            match client.call(method, params.clone()) {
                Err(error @ RpcError::Refused { .. }) if error.to_string().contains(BUSY) => {
                    *connected = Some(client);
                    tries += 1;
                    if tries >= TRIES_MAX || left.is_zero() {
                        return Called::Later(error);
                    }
                    thread::sleep(PAUSE);
                }
                Ok(_) | Err(RpcError::Refused { .. }) => {
                    *connected = Some(client);
                    return Called::Gone;
                }
                // The answer may come yet: another connection does not take it for another's.
                Err(error) => return Called::Later(error),
            }
        }
    }
}

/// The process that listens at a socket, if that can be seen from here.
fn listener(rpc_socket: &Path) -> Option<ProcessId> {
    let stream = UnixStream::connect(rpc_socket).ok()?;
    let peer = getsockopt(&stream, sockopt::PeerCredentials).ok()?;
    ProcessId::running(u32::try_from(peer.pid()).ok()?)
}

impl fmt::Display for Undo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "on the target at {}:", self.rpc_socket.display())?;
        for (method, params) in self.calls.iter().rev() {
            write!(f, " {method}")?;
            let named = params.as_ref().and_then(Value::as_object);
            for value in named.into_iter().flat_map(|params| params.values()) {
                write!(f, " {}", value.as_str().unwrap_or_default())?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn what_was_noted_is_read_again_and_said_the_last_first() {
        let mut undo = Undo::new(Path::new("/run/rpc"));
        undo.push("bdev_malloc_delete", Some(json!({"name": "A"})));
        undo.push("vhost_delete_controller", Some(json!({"ctrlr": "vhost.1"})));
        assert_eq!(Undo::parse(&undo.text()), Some(undo.clone()));
        let said =
            "on the target at /run/rpc: vhost_delete_controller vhost.1 bdev_malloc_delete A";
        assert_eq!(undo.to_string(), said);
        assert_eq!(Undo::parse("{}"), None);
    }

    #[test]
    fn a_target_that_was_started_since_is_left_alone() {
        let path = std::env::temp_dir().join(format!("plugfest-undo-{}", std::process::id()));
        let target = UnixListener::bind(&path).expect("it listens");
        let mut undo = Undo::new(&path);
        undo.push("vhost_delete_controller", Some(json!({"ctrlr": "vhost.1"})));
        assert_eq!(
            undo.target.map(|process| process.id),
            Some(std::process::id())
        );
        let another = undo.target.map(|process| ProcessId {
            started: process.started + 1,
            ..process
        });
        undo.target = another;
        undo.run(CLEAN_MAX, |_| ()).expect("there is nothing to do");
        // Both times somebody only looked who listens.
        for _ in 0..2 {
            let (mut client, _) = target.accept().expect("it was looked at");
            let mut asked = String::new();
            client.read_to_string(&mut asked).expect("it was closed");
            assert_eq!(asked, "");
        }
        std::fs::remove_file(&path).expect("it is there");
    }

    /// Answers calls, each with what `answer` says of it: none is no answer at all.
    fn target(path: &Path, answer: impl Fn(usize, &str) -> Option<Value> + Send + 'static) {
        let target = UnixListener::bind(path).expect("it listens");
        let serve = move || {
            let mut calls = 0;
            for client in target.incoming() {
                let mut client = client.expect("a client");
                let mut bytes = [0; 4096];
                while let Ok(count @ 1..) = client.read(&mut bytes) {
                    let call: Value = serde_json::from_slice(&bytes[..count]).expect("a call");
                    let answered = answer(calls, call["method"].as_str().expect("a method"));
                    calls += 1;
                    let Some(mut answered) = answered else { break };
                    answered["id"] = call["id"].clone();
                    client
                        .write_all(answered.to_string().as_bytes())
                        .expect("it waits");
                }
            }
        };
        thread::spawn(serve);
    }

    fn undo_on(path: &Path) -> Undo {
        let mut undo = Undo::new(path);
        for name in ["A", "B"] {
            undo.push("bdev_malloc_delete", Some(json!({"name": name})));
        }
        undo.push("vhost_delete_controller", Some(json!({"ctrlr": "vhost.1"})));
        undo
    }

    #[test]
    fn who_does_not_answer_once_is_asked_again() {
        let path = std::env::temp_dir().join(format!("plugfest-again-{}", std::process::id()));
        target(&path, |call, method| match (call, method) {
            // It hangs up on the first, is busy at the second, and has not what the others take away.
            (0, _) => None,
            (1, _) => Some(json!({"error": {"code": -16, "message": "Device or resource busy"}})),
            (_, "bdev_malloc_delete") => {
                Some(json!({"error": {"code": -19, "message": "No such device"}}))
            }
            _ => Some(json!({"result": true})),
        });
        let mut undo = undo_on(&path);
        let mut left = Vec::new();
        undo.run(CLEAN_MAX, |undo| left.push(undo.calls.len()))
            .expect("all of it is gone");
        assert_eq!((left, undo.is_empty()), (vec![2, 1, 0], true));
        std::fs::remove_file(&path).expect("it is there");
    }

    #[test]
    fn what_a_target_does_not_give_up_stays_on_the_list() {
        let path = std::env::temp_dir().join(format!("plugfest-stays-{}", std::process::id()));
        target(&path, |_, method| match method {
            "vhost_delete_controller" => {
                Some(json!({"error": {"code": -16, "message": "Device or resource busy"}}))
            }
            _ => Some(json!({"result": true})),
        });
        let mut undo = undo_on(&path);
        let stays = undo.run(Duration::from_millis(200), |_| ()).unwrap_err();
        let text = stays.to_string();
        assert!(
            text.starts_with("1 of 3 things stay on the target at "),
            "{text}"
        );
        assert!(text.ends_with("Device or resource busy (-16)"), "{text}");
        let said = undo.to_string();
        assert!(
            said.ends_with(": vhost_delete_controller vhost.1"),
            "{said}"
        );
        std::fs::remove_file(&path).expect("it is there");
    }
}
