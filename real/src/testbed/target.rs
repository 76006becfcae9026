//! The target's end of a real testbed: whoever speaks SPDK's JSON-RPC.
//!
//! Knows sockets and names; knows no plan.

use std::io;
use std::os::unix::net::UnixStream as Connected;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use scenarios::ControllerId;
use scenarios::driver::calls::{self, Call};
use thiserror::Error;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;

use super::guests::{Tell, Told};
use super::run_dir::RunDir;
use super::undo::{CLEAN_MAX, Undo, note_that_something_stays};
use crate::rpc::client::{RpcClient, RpcError};
use crate::serve::{Ended, ServeOptions, Server};

/// An answer of the target takes less.
const PATIENCE: Duration = Duration::from_secs(10);

/// Why nothing is made on a target.
#[derive(Debug, Error)]
pub enum NotFree {
    /// What is to be made is somebody else's.
    #[error(
        "the target has a {what} {name} already\n  = expected none of that name: take it away first"
    )]
    Taken {
        /// "bdev", "controller".
        what: &'static str,
        /// Its name.
        name: String,
    },
    /// It does not say what it has.
    #[error(transparent)]
    Unsaid(#[from] RpcError),
}

/// A target that runs.
#[derive(Debug)]
pub struct Target {
    /// `None`: it is being dropped.
    rpc: Option<OwnedWriteHalf>,
    /// Reads what it answers.
    reads: JoinHandle<()>,
    runtime: Rc<Runtime>,
    rpc_socket: PathBuf,
    vhost_sockets: PathBuf,
    /// The model, if it is ours.
    server: Option<Server>,
    /// What takes away what was made on one that is not ours, and where that is written down.
    undo: Option<(Arc<RunDir>, Undo)>,
}

impl Target {
    /// Serves the model in this process.
    ///
    /// # Errors
    ///
    /// It does not come up.
    pub fn model(options: ServeOptions, tell: &Tell, runtime: &Rc<Runtime>) -> io::Result<Self> {
        crate::vhost_user::cut::survive()?;
        let (rpc, vhost) = (options.rpc_socket.clone(), options.vhost_sockets.clone());
        let news = tell.clone();
        let server = Server::start(options, move |what| {
            // The run is over.
            let _ = news.send(Told::Target(what));
        });
        let server = server.map_err(|error| io::Error::other(error.to_string()))?;
        let mut target = Self::connect(&rpc, &vhost, tell, runtime)?;
        target.server = Some(server);
        Ok(target)
    }

    /// Connects to one that is not ours, whose controllers' sockets are made in `vhost_sockets`. `dir`: where
    /// it is written down what is made there.
    ///
    /// # Errors
    ///
    /// Nobody listens at `rpc_socket`.
    pub fn given(
        rpc_socket: &Path,
        vhost_sockets: &Path,
        dir: Arc<RunDir>,
        tell: &Tell,
        runtime: &Rc<Runtime>,
    ) -> io::Result<Self> {
        let mut target = Self::connect(rpc_socket, vhost_sockets, tell, runtime)?;
        target.undo = Some((dir, Undo::new(rpc_socket)));
        Ok(target)
    }

    fn connect(
        rpc_socket: &Path,
        vhost_sockets: &Path,
        tell: &Tell,
        runtime: &Rc<Runtime>,
    ) -> io::Result<Self> {
        let rpc = Connected::connect(rpc_socket)?;
        rpc.set_nonblocking(true)?;
        let (theirs, ours) = {
            let _context = runtime.enter();
            UnixStream::from_std(rpc)?.into_split()
        };
        Ok(Self {
            rpc: Some(ours),
            reads: runtime.spawn(read(theirs, tell.clone())),
            runtime: runtime.clone(),
            rpc_socket: rpc_socket.to_owned(),
            vhost_sockets: vhost_sockets.to_owned(),
            server: None,
            undo: None,
        })
    }

    /// Sends bytes of JSON-RPC.
    ///
    /// # Errors
    ///
    /// It has gone.
    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        let rpc = self.rpc.as_mut().ok_or(io::ErrorKind::BrokenPipe)?;
        self.runtime.block_on(rpc.write_all(bytes))
    }

    /// Where a controller's socket is.
    #[must_use]
    pub fn socket(&self, controller: ControllerId) -> PathBuf {
        self.vhost_sockets.join(calls::controller(controller))
    }

    /// Notes what takes away again what is about to be made: it is done at the end, if the target goes on
    /// without us, or by the next run of this user if this one is killed.
    ///
    /// # Errors
    ///
    /// It cannot be written down.
    pub fn undo_later(&mut self, calls: impl IntoIterator<Item = Call>) -> io::Result<()> {
        let Some((dir, undo)) = &mut self.undo else {
            return Ok(());
        };
        for (method, params) in calls {
            undo.push(method, params);
        }
        dir.record_undo(undo)
    }

    /// That a target which is not ours has none of these controllers and bdevs, so that nobody else's are
    /// used or taken away.
    ///
    /// # Errors
    ///
    /// It has one, or does not answer. That it has died is not said here: it is seen, or will be.
    pub fn must_not_have(
        &self,
        controllers: &[ControllerId],
        bdevs: &[String],
    ) -> Result<(), NotFree> {
        if self.undo.is_none() {
            return Ok(());
        }
        let controllers = controllers.iter().map(|of| calls::controller(*of));
        match find_none(&self.rpc_socket, &controllers.collect::<Vec<_>>(), bdevs) {
            Err(NotFree::Unsaid(RpcError::Io(error))) if has_gone(&error) => Ok(()),
            found => found,
        }
    }

    /// Why it has closed its connection, as far as that can be known.
    #[must_use]
    pub fn why_closed(&self, patience: Duration) -> Option<Ended> {
        self.server.as_ref()?.wait(patience)
    }
}

/// Hands on what the target answers, until it closes the connection.
async fn read(mut theirs: OwnedReadHalf, tell: Tell) {
    let mut bytes = vec![0; 64 << 10];
    loop {
        // An error is an end as well: the connection is of no more use.
        let count = theirs.read(&mut bytes).await.unwrap_or(0);
        if tell.send(Told::Rpc(bytes[..count].to_vec())).is_err() || count == 0 {
            return;
        }
    }
}

/// That a target has none of these.
fn find_none(rpc_socket: &Path, controllers: &[String], bdevs: &[String]) -> Result<(), NotFree> {
    let mut client = RpcClient::connect(rpc_socket, PATIENCE).map_err(RpcError::Io)?;
    let asked = [
        ("vhost_get_controllers", "ctrlr", controllers, "controller"),
        ("bdev_get_bdevs", "name", bdevs, "bdev"),
    ];
    for (method, key, wanted, what) in asked {
        let has = client.call(method, None)?;
        let mut names = has.as_array().into_iter().flatten();
        let taken = names.find_map(|one| wanted.iter().find(|wanted| one[key] == **wanted));
        if let Some(name) = taken {
            let name = name.clone();
            return Err(NotFree::Taken { what, name });
        }
    }
    Ok(())
}

/// Whether an error on a target's socket means that nobody is behind it any more.
fn has_gone(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::UnexpectedEof
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::BrokenPipe
            | io::ErrorKind::NotFound
    )
}

impl Drop for Target {
    fn drop(&mut self) {
        // The target sees the end of what is asked, and closes the connection.
        self.rpc = None;
        self.reads.abort();
        if let Some(server) = self.server.take() {
            // How it ends is of no more interest.
            let _ = server.stop();
        } else if let Some((dir, mut undo)) = self.undo.take() {
            // The list before is there if the new one cannot be written: what was taken away is not there any more.
            let cleaned = undo.run(CLEAN_MAX, |undo| drop(dir.record_undo(undo)));
            if let Err(stays) = cleaned {
                dir.keep();
                note_that_something_stays();
                eprintln!(
                    "plugfest: {stays}\n  = `plugfest clean` takes it away, and so does the next run"
                );
            }
        }
    }
}
