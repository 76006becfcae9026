//! What takes away again what a run has made on a target that goes on without it.
//!
//! Knows JSON-RPC; knows not what the calls mean.

use std::fmt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use nix::sys::socket::{getsockopt, sockopt};
use serde_json::{Value, json};

use super::process_id::ProcessId;
use crate::rpc::client::{RpcClient, RpcError};

/// An answer of the target takes less.
const PATIENCE: Duration = Duration::from_secs(10);
/// `EBUSY`, as SPDK's `spdk_strerror` has it.
const BUSY: &str = "resource busy";
/// How often it is tried again what is refused so.
const TRIES_MAX: u32 = 200;
/// Between two tries.
const PAUSE: Duration = Duration::from_millis(25);

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

    /// Makes the calls, if it is still the same process that listens. One that is refused was made before.
    ///
    /// # Errors
    ///
    /// The target has gone, or does not answer.
    pub fn run(self) -> Result<(), RpcError> {
        if self.target.is_some() && self.target != listener(&self.rpc_socket) {
            return Ok(());
        }
        let mut client = RpcClient::connect(&self.rpc_socket, PATIENCE).map_err(RpcError::Io)?;
        for (method, params) in self.calls.into_iter().rev() {
            let mut tries = 0;
            loop {
                match client.call(&method, params.clone()) {
                    // A session that has just ended keeps its controller for a moment.
                    Err(RpcError::Refused { message, .. })
                        if message.contains(BUSY) && tries < TRIES_MAX =>
                    {
                        tries += 1;
                        thread::sleep(PAUSE);
                    }
                    Ok(_) | Err(RpcError::Refused { .. }) => break,
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(())
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
    use std::io::Read as _;
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
        undo.run().expect("there is nothing to do");
        // Both times somebody only looked who listens.
        for _ in 0..2 {
            let (mut client, _) = target.accept().expect("it was looked at");
            let mut asked = String::new();
            client.read_to_string(&mut asked).expect("it was closed");
            assert_eq!(asked, "");
        }
        std::fs::remove_file(&path).expect("it is there");
    }
}
