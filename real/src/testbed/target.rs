//! The target's end of a real testbed: whoever speaks SPDK's JSON-RPC.
//!
//! Knows sockets and names; knows no plan.

use std::io::{self, Read as _, Write as _};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use scenarios::ControllerId;
use sim::world::calls::{self, Call};

use super::guests::{Tell, Told};
use crate::rpc::client::{RpcClient, RpcError};
use crate::serve::{Ended, ServeOptions, Server};

/// An answer of the target takes less.
const PATIENCE: Duration = Duration::from_secs(10);
/// `EBUSY`, as SPDK's `spdk_strerror` has it.
const BUSY: &str = "resource busy";
/// How often it is tried again what is refused so.
const TRIES_MAX: u32 = 200;
/// Between two tries.
const PAUSE: Duration = Duration::from_millis(25);

/// A target that runs.
#[derive(Debug)]
pub struct Target {
    rpc: UnixStream,
    rpc_socket: PathBuf,
    vhost_sockets: PathBuf,
    /// The model, if it is ours.
    server: Option<Server>,
    /// What takes away what was made on one that is not ours, the last first.
    undo: Vec<Call>,
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
        let mut target = Self::connect(&rpc, &vhost, tell)?;
        target.server = Some(server);
        Ok(target)
    }

    /// Connects to one that runs, whose controllers' sockets are made in `vhost_sockets`.
    ///
    /// # Errors
    ///
    /// Nobody listens at `rpc_socket`.
    pub fn connect(rpc_socket: &Path, vhost_sockets: &Path, tell: &Tell) -> io::Result<Self> {
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
            rpc_socket: rpc_socket.to_owned(),
            vhost_sockets: vhost_sockets.to_owned(),
            server: None,
            undo: Vec::new(),
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

    /// Notes what takes away again what is about to be made: it is done at the end, if the target goes on
    /// without us.
    pub fn undo_later(&mut self, calls: impl IntoIterator<Item = Call>) {
        self.undo.extend(calls);
    }

    /// Takes away what was made.
    fn clean(&mut self) -> Result<(), RpcError> {
        let mut client = RpcClient::connect(&self.rpc_socket, PATIENCE).map_err(RpcError::Io)?;
        for (method, params) in std::mem::take(&mut self.undo).into_iter().rev() {
            let mut tries = 0;
            loop {
                match client.call(method, params.clone()) {
                    // A session that has just ended keeps its controller for a moment.
                    Err(RpcError::Refused { message, .. })
                        if message.contains(BUSY) && tries < TRIES_MAX =>
                    {
                        tries += 1;
                        thread::sleep(PAUSE);
                    }
                    // It may have been taken away before.
                    Ok(_) | Err(RpcError::Refused { .. }) => break,
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(())
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
        } else if !self.undo.is_empty()
            && let Err(error) = self.clean()
        {
            eprintln!("the target keeps what was made on it: {error}");
        }
    }
}
