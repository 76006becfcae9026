//! What a run on a target that was there before would erase: looked at, and refused, before anything is made.
//!
//! Asks the target for its bdevs; knows not how a device is found to be in use.

use std::fmt;
use std::io;
use std::path::Path;
use std::time::Duration;

use super::disks::Bdevs;
use crate::hardware::{Erased, Known, Machine, Refused, USERS};
use crate::rpc::client::{RpcClient, RpcError};

/// An answer of the target takes less.
const PATIENCE: Duration = Duration::from_secs(10);
/// JSON-RPC 2.0, 5.1.
const METHOD_NOT_FOUND: i64 = -32601;

/// Why nothing may be erased.
#[derive(Debug)]
pub enum NotErased {
    /// Nobody listens.
    NoTarget(io::Error),
    /// The target does not say what it has.
    Unsaid(RpcError),
    /// Something is in use, or is not there.
    Refused(Refused),
}

impl fmt::Display for NotErased {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoTarget(error) => error.fmt(f),
            Self::Unsaid(error) => write!(f, "the target does not say what it has: {error}"),
            Self::Refused(refused) => refused.fmt(f),
        }
    }
}

impl std::error::Error for NotErased {}

/// What a run with `bdevs` on the target at `rpc_socket` erases.
///
/// # Errors
///
/// See [`NotErased`].
pub fn erased(
    bdevs: &Bdevs,
    rpc_socket: &Path,
    machine: &Machine,
) -> Result<Vec<Erased>, NotErased> {
    let ask = || {
        let target = RpcClient::connect(rpc_socket, PATIENCE);
        let mut target = target.map_err(NotErased::NoTarget)?;
        let bdevs = target.call("bdev_get_bdevs", None);
        let bdevs = bdevs.map_err(NotErased::Unsaid)?;
        let mut users = Vec::new();
        for method in USERS {
            match target.call(method, None) {
                Ok(answer) => users.push(answer),
                // A target without such a method has no such users.
                Err(RpcError::Refused { code, .. }) if code == METHOD_NOT_FOUND => {}
                Err(error) => return Err(NotErased::Unsaid(error)),
            }
        }
        Ok(Known { bdevs, users })
    };
    let erased: Result<Vec<Erased>, Refused> = match bdevs {
        Bdevs::Malloc(_) => return Ok(Vec::new()),
        Bdevs::Names(names) => {
            let known = ask()?;
            names
                .iter()
                .map(|name| machine.bdev(name, &known))
                .collect()
        }
        Bdevs::Nvme(addresses) => {
            let known = ask()?;
            let attached = |address| machine.attached(address, &known);
            addresses.iter().map(attached).collect()
        }
    };
    erased.map_err(NotErased::Refused)
}
