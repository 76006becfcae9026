//! The target's end of a real testbed: whoever speaks SPDK's JSON-RPC, and how its disks are made.
//!
//! Knows sockets and names; knows no plan.

use std::io::{self, Read as _, Write as _};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use scenarios::{ControllerId, DiskId, DiskKind};
use sim::world::DISK_BYTES;
use sim::world::calls::{self, Call};

use super::guests::{Tell, Told};
use crate::serve::{Ended, ServeOptions, Server};

/// How the disks of a plan are made on a target.
pub trait Disks {
    /// What makes a disk; the reason, if this target cannot.
    ///
    /// # Errors
    ///
    /// It has no such disk.
    fn insert(&self, disk: DiskId, kind: DiskKind) -> Result<Vec<Call>, String>;

    /// What takes a disk away.
    ///
    /// # Errors
    ///
    /// It cannot.
    fn remove(&self, disk: DiskId, kind: DiskKind) -> Result<Call, String>;

    /// The name of its bdev, which is the serial number that guests see (SPDK's `bdev_scsi_inquiry`).
    fn bdev(&self, disk: DiskId, kind: DiskKind) -> String;
}

/// The modelled NVMe devices, named as in *sim*.
#[derive(Clone, Copy, Debug)]
pub struct ModelledDisks;

impl Disks for ModelledDisks {
    fn insert(&self, disk: DiskId, kind: DiskKind) -> Result<Vec<Call>, String> {
        Ok(calls::insert(disk, kind, DISK_BYTES))
    }

    fn remove(&self, disk: DiskId, kind: DiskKind) -> Result<Call, String> {
        Ok(calls::remove(disk, kind))
    }

    fn bdev(&self, disk: DiskId, kind: DiskKind) -> String {
        calls::bdev(disk, kind)
    }
}

/// A target that runs.
#[derive(Debug)]
pub struct Target {
    rpc: UnixStream,
    vhost_sockets: PathBuf,
    /// The model, if it is ours.
    server: Option<Server>,
}

impl Target {
    /// Serves the model in this process.
    ///
    /// # Errors
    ///
    /// It does not come up.
    pub fn model(options: ServeOptions, tell: &Tell) -> io::Result<Self> {
        crate::vhost_user::cut::survive()?;
        let (rpc, vhost) = (options.rpc_socket.clone(), options.vhost_sockets.clone());
        let news = tell.clone();
        let server = Server::start(options, move |what| {
            // The run is over.
            let _ = news.send(Told::Target(what));
        });
        let server = server.map_err(|error| io::Error::other(error.to_string()))?;
        let mut target = Self::connect(&rpc, vhost, tell)?;
        target.server = Some(server);
        Ok(target)
    }

    /// Connects to one that runs.
    ///
    /// # Errors
    ///
    /// Nobody listens at `rpc_socket`.
    fn connect(rpc_socket: &Path, vhost_sockets: PathBuf, tell: &Tell) -> io::Result<Self> {
        let rpc = UnixStream::connect(rpc_socket)?;
        let (mut theirs, tell) = (rpc.try_clone()?, tell.clone());
        let read = move || {
            let mut bytes = vec![0; 64 << 10];
            loop {
                // An error is an end as well: the connection is of no more use.
                let count = theirs.read(&mut bytes).unwrap_or(0);
                if tell.send(Told::Rpc(bytes[..count].to_vec())).is_err() || count == 0 {
                    return;
                }
            }
        };
        thread::Builder::new().name("rpc".to_owned()).spawn(read)?;
        Ok(Self {
            rpc,
            vhost_sockets,
            server: None,
        })
    }

    /// Sends bytes of JSON-RPC.
    ///
    /// # Errors
    ///
    /// It has gone.
    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.rpc.write_all(bytes)
    }

    /// Where a controller's socket is.
    #[must_use]
    pub fn socket(&self, controller: ControllerId) -> PathBuf {
        self.vhost_sockets.join(calls::controller(controller))
    }

    /// Why it has closed its connection, as far as that can be known.
    #[must_use]
    pub fn why_closed(&self, patience: Duration) -> Option<Ended> {
        self.server.as_ref()?.wait(patience)
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        // It may have gone.
        let _ = self.rpc.shutdown(Shutdown::Both);
        if let Some(server) = self.server.take() {
            // How it ends is of no more interest.
            let _ = server.stop();
        }
    }
}
