//! The JSON-RPC socket of a target, and the connections to it.
//!
//! Moves bytes; what they say is the target's to read. Never blocks. Sources: `spdk_rpc_listen`
//! (lib/rpc/rpc.c), `spdk_jsonrpc_server_poll` (lib/jsonrpc/jsonrpc_server_tcp.c).

use std::collections::BTreeMap;
use std::fs::{self, File, TryLockError};
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::FileTypeExt as _;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use bytes::Bytes;

/// `SPDK_JSONRPC_RECV_BUF_SIZE`: what a connection is read of between two looks of the target.
const RECEIVE_MAX: usize = 32 << 10;
/// `SPDK_JSONRPC_MAX_CONNS`: further ones wait.
const CLIENTS_MAX: usize = 64;
/// Answers that a client may leave unread.
///
/// # Divergence from SPDK
///
/// SPDK keeps them all.
const UNREAD_MAX: usize = 64 << 20;

/// The socket.
#[derive(Debug)]
pub struct RpcSocket {
    path: PathBuf,
    listener: UnixListener,
    /// Held while we listen: `<path>.lock`.
    _lock: File,
    clients: BTreeMap<u32, Client>,
    next: u32,
}

#[derive(Debug)]
struct Client {
    stream: UnixStream,
    /// What it may still send before the target looks again.
    quota: usize,
    to_send: Vec<u8>,
    /// It is to be closed when it has been sent everything.
    closing: bool,
}

/// What came from a client.
#[derive(Debug, PartialEq, Eq)]
pub enum Heard {
    /// Bytes, cut anywhere.
    Bytes(Bytes),
    /// It is gone.
    Closed,
}

impl RpcSocket {
    /// Listens at `path`. As in SPDK, a lock file beside it tells a socket in use from a stale one, which
    /// is removed.
    ///
    /// # Divergence from SPDK
    ///
    /// SPDK removes whatever is there; here only a socket is.
    ///
    /// # Errors
    ///
    /// Somebody listens there, or there is something else; the path is too long for a socket; the system
    /// refuses.
    pub fn listen(path: &Path) -> io::Result<Self> {
        // Before anything is touched.
        SocketAddr::from_pathname(path)?;
        check_is_socket(path)?;
        let in_use = || io::Error::new(ErrorKind::AddrInUse, "another process listens there");
        let lock = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(lock_path(path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(in_use()),
            Err(TryLockError::Error(error)) => return Err(error),
        }
        // Not everybody locks.
        if UnixStream::connect(path).is_ok() {
            return Err(in_use());
        }
        if check_is_socket(path)? {
            fs::remove_file(path)?;
        }
        let listener = UnixListener::bind(path)?;
        listener.set_nonblocking(true)?;
        Ok(Self {
            path: path.to_owned(),
            listener,
            _lock: lock,
            clients: BTreeMap::new(),
            next: 0,
        })
    }

    /// Takes a new connection, if there is one: its number, which is never used again.
    ///
    /// # Errors
    ///
    /// There are too many, or the system refuses: it has to wait.
    pub fn accept(&mut self) -> io::Result<Option<(u32, BorrowedFd<'_>)>> {
        if self.clients.len() >= CLIENTS_MAX {
            return Err(io::Error::other("too many connections"));
        }
        let stream = match self.listener.accept() {
            Ok((stream, _)) => stream,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
            Err(error) => return Err(error),
        };
        stream.set_nonblocking(true)?;
        let id = self.next;
        let next = id.checked_add(1);
        self.next = next.ok_or_else(|| io::Error::other("no number is left"))?;
        let client = self.clients.entry(id).or_insert(Client {
            stream,
            quota: RECEIVE_MAX,
            to_send: Vec::new(),
            closing: false,
        });
        Ok(Some((id, client.stream.as_fd())))
    }

    /// What a client has sent, if anything; a client that is gone is forgotten.
    pub fn hear(&mut self, id: u32) -> Option<Heard> {
        let client = self.clients.get_mut(&id)?;
        client.flush();
        if client.quota == 0 && !client.closing {
            return None;
        }
        let mut bytes = vec![0; RECEIVE_MAX.min(client.quota.max(1))];
        match client.stream.read(&mut bytes) {
            Ok(count) if count > 0 => {
                client.quota = client.quota.saturating_sub(count);
                bytes.truncate(count);
                Some(Heard::Bytes(bytes.into()))
            }
            Err(error)
                if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) =>
            {
                None
            }
            _ => {
                self.clients.remove(&id);
                Some(Heard::Closed)
            }
        }
    }

    /// The target has looked at everything: clients may send on.
    pub fn looked(&mut self) {
        for client in self.clients.values_mut() {
            client.quota = RECEIVE_MAX;
        }
    }

    /// Sends bytes to a client, now or when it reads; `false` if it is gone, or given up on.
    pub fn send(&mut self, id: u32, bytes: &[u8]) -> bool {
        let Some(client) = self.clients.get_mut(&id) else {
            return false;
        };
        client.to_send.extend_from_slice(bytes);
        client.flush();
        let here = client.to_send.len() <= UNREAD_MAX;
        if !here {
            self.clients.remove(&id);
        }
        here
    }

    /// Sends what clients did not read yet; whether some is left.
    pub fn flush(&mut self) -> bool {
        for client in self.clients.values_mut() {
            client.flush();
        }
        self.clients
            .retain(|_, client| !client.closing || !client.to_send.is_empty());
        let mut clients = self.clients.values();
        clients.any(|client| !client.to_send.is_empty())
    }

    /// Closes a connection once it has been sent everything.
    pub fn close(&mut self, id: u32) {
        if let Some(client) = self.clients.get_mut(&id) {
            client.closing = true;
        }
        self.flush();
    }

    /// Stops listening: the socket and its lock file are gone.
    ///
    /// # Errors
    ///
    /// They cannot be removed.
    pub fn remove(&mut self) -> io::Result<()> {
        fs::remove_file(&self.path)?;
        fs::remove_file(lock_path(&self.path))
    }
}

impl AsFd for RpcSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.listener.as_fd()
    }
}

impl Client {
    /// Sends what the client has room for; what cannot be sent any more is dropped.
    fn flush(&mut self) {
        let mut sent = 0;
        while sent < self.to_send.len() {
            match self.stream.write(&self.to_send[sent..]) {
                Ok(count) if count > 0 => sent += count,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                _ => sent = self.to_send.len(),
            }
        }
        self.to_send.drain(..sent);
    }
}

/// Whether there is a socket at `path`.
///
/// # Errors
///
/// There is something else.
fn check_is_socket(path: &Path) -> io::Result<bool> {
    match fs::symlink_metadata(path) {
        Ok(about) if about.file_type().is_socket() => Ok(true),
        Ok(_) => Err(io::Error::new(ErrorKind::AlreadyExists, "it is no socket")),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

fn lock_path(path: &Path) -> PathBuf {
    let mut lock = path.as_os_str().to_owned();
    lock.push(".lock");
    lock.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_socket_is_left_alone_and_so_is_its_directory() {
        let id = std::process::id();
        let dir = std::env::temp_dir().join(format!("plugfest-rpc-{id}"));
        fs::create_dir(&dir).expect("a fresh directory");
        let file = dir.join("file");
        fs::write(&file, "precious").expect("written");
        std::os::unix::fs::symlink(&file, dir.join("link")).expect("linked");
        let long = dir.join("x".repeat(120));
        for path in [&file, &dir.join("link"), &dir, &long] {
            let listens = RpcSocket::listen(path);
            assert!(listens.is_err(), "{}", path.display());
        }
        assert_eq!(fs::read_to_string(&file).expect("still there"), "precious");
        assert_eq!(
            fs::read_dir(&dir).expect("entries").count(),
            2,
            "no lock is left"
        );
        fs::remove_dir_all(&dir).expect("ours");
    }
}
