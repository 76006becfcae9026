//! What a run on a target that was there before would erase: looked at, and refused, before anything is made.
//!
//! Asks the target for its bdevs; knows not how a device is found to be in use.

use std::fmt;
use std::io;
use std::path::Path;
use std::time::Duration;

use super::disks::Bdevs;
use crate::hardware::{Erased, Known, Machine, Refused, USERS, own_name};
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

/// What a run with `bdevs` on the target at `rpc_socket` erases; and those bdevs as the target itself calls them: given
/// an alias or a UUID, SPDK's `bdev_split_create` dies.
///
/// # Errors
///
/// See [`NotErased`].
pub fn erased(
    bdevs: &Bdevs,
    rpc_socket: &Path,
    machine: &Machine,
) -> Result<(Vec<Erased>, Bdevs), NotErased> {
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
    let erased: Result<_, Refused> = match bdevs {
        Bdevs::Malloc(_) => return Ok((Vec::new(), bdevs.clone())),
        Bdevs::Names(names) => {
            let known = ask()?;
            let erased = names.iter().map(|name| machine.bdev(name, &known));
            let erased: Result<Vec<Erased>, Refused> = erased.collect();
            erased.and_then(|erased| Ok((erased, Bdevs::Names(own_names(names, &known)?))))
        }
        Bdevs::Nvme(addresses) => {
            let known = ask()?;
            let attached = |address| machine.attached(address, &known);
            let erased: Result<Vec<Erased>, Refused> = addresses.iter().map(attached).collect();
            erased.map(|erased| (erased, bdevs.clone()))
        }
    };
    erased.map_err(NotErased::Refused)
}

/// What the target itself calls these.
fn own_names(names: &[String], known: &Known) -> Result<Vec<String>, Refused> {
    let mut own: Vec<String> = Vec::new();
    for name in names {
        let found = own_name(name, known).unwrap_or_else(|| name.clone());
        if let Some(before) = own.iter().position(|before| *before == found) {
            return Err(Refused {
                what: name.clone(),
                why: format!("it is the same bdev as {}", names[before]),
                way: "expected each bdev once".to_owned(),
            });
        }
        own.push(found);
    }
    Ok(own)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_bdev_is_called_what_its_target_calls_it() {
        let uuid = "b9ae0b0e-2f1f-4b2b-9a7a-8f9e5c0c6d11";
        let bdevs = json!([
            {"name": "A", "aliases": [uuid, "lvs/a"], "uuid": uuid},
            {"name": "B", "aliases": []},
        ]);
        let known = Known {
            bdevs,
            users: Vec::new(),
        };
        let own = |names: &[&str]| {
            let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
            own_names(&names, &known)
        };
        assert_eq!(
            own(&["lvs/a", "B"]),
            Ok(vec!["A".to_owned(), "B".to_owned()])
        );
        assert_eq!(own(&[uuid]), Ok(vec!["A".to_owned()]));
        let twice = own(&["A", uuid]).unwrap_err().to_string();
        assert!(twice.contains("it is the same bdev as A"), "{twice}");
    }
}
