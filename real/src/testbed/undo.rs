//! What takes away again what a run has made on a target that goes on without it.
//!
//! Knows JSON-RPC; knows not what the calls mean.

use std::fmt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

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
    calls: Vec<(String, Option<Value>)>,
}

impl Undo {
    /// Nothing to undo yet.
    #[must_use]
    pub fn new(rpc_socket: &Path) -> Self {
        Self {
            rpc_socket: rpc_socket.to_owned(),
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
        json!({"rpc_socket": self.rpc_socket, "calls": self.calls}).to_string()
    }

    /// Reads a text; `None` if it is none.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let file: Value = serde_json::from_str(text).ok()?;
        Some(Self {
            rpc_socket: file["rpc_socket"].as_str()?.into(),
            calls: serde_json::from_value(file["calls"].clone()).ok()?,
        })
    }

    /// Makes the calls. One that is refused was made before.
    ///
    /// # Errors
    ///
    /// The target has gone, or does not answer.
    pub fn run(self) -> Result<(), RpcError> {
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
}
