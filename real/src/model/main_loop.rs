//! QEMU's main loop on real sockets: the vhost-user messages of a machine's devices, one after the other.
//!
//! Blocks on an answer, as QEMU does, while the machine's CPUs go on. Knows connections; knows no guest.

use std::collections::BTreeMap;
use std::io;
use std::sync::mpsc::{self, Sender};
use std::thread;

use scenarios::VmId;
use sim::wire::message::{HbaId, VhostUser};

use super::mail::{Mail, Post, Said};
use crate::vhost_user::frontend::{FrontEnd, FrontEndError};

/// What a main loop is told.
#[derive(Debug)]
pub enum Order {
    /// A device has this connection, with its number.
    Connected(HbaId, u32, Box<FrontEnd>),
    /// Send a request on a device's connection.
    Send(HbaId, VhostUser, bool),
    /// A device's connection is over.
    Disconnected(HbaId),
}

/// Starts the main loop of `vm`. It ends when nobody can tell it anything any more.
///
/// # Errors
///
/// The system refuses.
pub fn start(vm: VmId, post: Post) -> io::Result<Sender<Order>> {
    let (orders, inbox) = mpsc::channel();
    let mut connections: BTreeMap<HbaId, (u32, Box<FrontEnd>)> = BTreeMap::new();
    let work = move || {
        for order in inbox {
            match order {
                Order::Connected(hba, conn, front_end) => {
                    connections.insert(hba, (conn, front_end));
                }
                Order::Disconnected(hba) => {
                    connections.remove(&hba);
                }
                Order::Send(hba, message, need_reply) => {
                    let Some((conn, front_end)) = connections.get_mut(&hba) else {
                        continue;
                    };
                    let said = match front_end.send(message, need_reply) {
                        Ok(None) => continue,
                        Ok(Some(reply)) => Said::Reply(reply),
                        Err(FrontEndError::Closed) => Said::Closed,
                        Err(error) => Said::Broken(error.to_string()),
                    };
                    let conn = *conn;
                    if !post.send(Mail::Said {
                        vm,
                        hba,
                        conn,
                        said,
                    }) {
                        return;
                    }
                }
            }
        }
    };
    thread::Builder::new()
        .name(format!("{vm} main loop"))
        .spawn(work)?;
    Ok(orders)
}
