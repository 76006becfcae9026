//! The controllers' sockets: each appears with its controller, and goes with it.
//!
//! Follows the target; knows no connection. Source: `vhost_register_unix_socket`
//! (lib/vhost/rte_vhost_user.c): what is in the way is removed if it is a socket.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileTypeExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use sim::spdk::Target;
use tracing::warn;

use super::News;
use super::wake::{Token, Wake};

/// The sockets.
#[derive(Debug)]
pub struct Sockets {
    dir: PathBuf,
    /// By name of the controller.
    bound: BTreeMap<String, Socket>,
    next: u32,
}

#[derive(Debug)]
struct Socket {
    number: u32,
    /// `None`: it could not be bound.
    listener: Option<UnixListener>,
}

impl Sockets {
    /// No sockets yet, in `dir`.
    #[must_use]
    pub fn new(dir: PathBuf) -> Self {
        Self {
            dir,
            bound: BTreeMap::new(),
            next: 0,
        }
    }

    /// Binds and removes sockets, so that they are those of the target.
    pub fn follow(&mut self, target: &Target, wake: &Wake, tell: &mut dyn FnMut(News)) {
        let gone = |name: &String| !target.sockets().any(|(_, controller)| controller == name);
        let names: Vec<String> = self
            .bound
            .keys()
            .filter(|name| gone(name))
            .cloned()
            .collect();
        for name in names {
            self.remove(&name);
        }
        for (path, controller) in target.sockets() {
            if self.bound.contains_key(controller) {
                continue;
            }
            let number = self.next;
            self.next = self.next.wrapping_add(1);
            let listener = bind(Path::new(path)).and_then(|listener| {
                wake.add(&listener, Token::Socket(number))?;
                Ok(listener)
            });
            match &listener {
                Ok(_) => tell(News::Listening {
                    what: controller.to_owned(),
                    path: path.into(),
                }),
                Err(error) => warn!(target: "vhost_user", "{controller}: {path}: {error}"),
            }
            let listener = listener.ok();
            self.bound
                .insert(controller.to_owned(), Socket { number, listener });
        }
    }

    /// Looks for new front-ends, or does not for now.
    pub fn listen(&self, wake: &Wake, on: bool) {
        for socket in self.bound.values() {
            let Some(listener) = &socket.listener else {
                continue;
            };
            wake.remove(listener);
            // It was there before, and so it can be again.
            if on && wake.add(listener, Token::Socket(socket.number)).is_err() {
                return;
            }
        }
    }

    /// A new front-end at the socket with this number, if there is one, and the controller it is for.
    pub fn accept(&self, number: u32) -> Option<io::Result<(UnixStream, String)>> {
        let (name, socket) = self
            .bound
            .iter()
            .find(|(_, socket)| socket.number == number)?;
        match socket.listener.as_ref()?.accept() {
            Ok((stream, _)) => Some(Ok((stream, name.clone()))),
            Err(error) if error.kind() == ErrorKind::WouldBlock => None,
            Err(error) => Some(Err(error)),
        }
    }

    /// Removes all of them.
    pub fn remove_all(&mut self) {
        let names: Vec<String> = self.bound.keys().cloned().collect();
        for name in names {
            self.remove(&name);
        }
    }

    /// Removes a socket by the controller's full path: one that was cut stays behind (N6).
    fn remove(&mut self, name: &str) {
        let socket = self.bound.remove(name);
        if socket.is_some_and(|socket| socket.listener.is_some()) {
            // Somebody may have removed it before.
            let _ = fs::remove_file(self.dir.join(name));
        }
    }
}

fn bind(path: &Path) -> io::Result<UnixListener> {
    match fs::symlink_metadata(path) {
        Ok(about) if !about.file_type().is_socket() => {
            return Err(io::Error::new(ErrorKind::AlreadyExists, "it is no socket"));
        }
        Ok(_) => fs::remove_file(path)?,
        Err(_) => {}
    }
    let listener = UnixListener::bind(path)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}
