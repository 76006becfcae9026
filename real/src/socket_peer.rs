//! A target behind sockets, as transcripts are played to it: a process for each, its JSON-RPC socket, a
//! connection a front-end.
//!
//! Knows how to start the process and what its sockets are called; knows no stimulus.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufRead as _, BufReader, ErrorKind, Write as _};
use std::net::Shutdown;
use std::os::fd::AsRawFd as _;
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use nix::sys::socket::{MsgFlags, recv};
use scenarios::Time;
use serde_json::{Value, json};
use sim::conformance::memory::{QUEUES_MAX, Region};
use sim::conformance::peer::{Peer, PeerError};
use sim::wire::message::{ClientId, ConnId, Crash, FromTarget, ToTarget, VhostUser, VringIndex};
use vm_memory::GuestAddress;
use vmm_sys_util::eventfd::EventFd;

use crate::rpc::client::RpcClient;
use crate::vhost_user::frontend::FrontEnd;
use crate::vhost_user::memory::shared_region;

/// Between two looks.
const LOOK: Duration = Duration::from_micros(100);
/// A process that is on its way out has ended within this.
const DEATH_MAX: Duration = Duration::from_secs(10);
/// The kernel's mark of a task that exits (`PF_EXITING` in its `sched.h`; `flags` in proc(5)'s `stat`).
const PF_EXITING: u32 = 4;
/// A private request is answered within this.
const PATIENCE: Duration = Duration::from_secs(30);

/// A target behind sockets.
#[derive(Debug)]
pub struct SocketPeer {
    program: PathBuf,
    arguments: Vec<String>,
    dir: PathBuf,
    dir_text: String,
    began: Instant,
    process: Option<Child>,
    front_ends: BTreeMap<ConnId, Connected>,
    clients: BTreeMap<ClientId, UnixStream>,
    say: Sender<FromTarget>,
    said: Receiver<FromTarget>,
}

/// A front-end's connection, whose messages a thread of its own sends.
#[derive(Debug)]
struct Connected {
    stream: UnixStream,
    messages: Sender<(VhostUser, bool)>,
    /// Kick and call of each ring.
    rings: Vec<(EventFd, EventFd)>,
}

impl SocketPeer {
    /// Nothing runs yet. `program` with `arguments` is `plugfest serve` with options of its own; `dir` is an
    /// empty directory for its sockets, which is removed at the end.
    #[must_use]
    pub fn new(program: PathBuf, arguments: Vec<String>, dir: PathBuf) -> Self {
        let (say, said) = mpsc::channel();
        Self {
            program,
            arguments,
            dir_text: dir.display().to_string(),
            dir,
            began: Instant::now(),
            process: None,
            front_ends: BTreeMap::new(),
            clients: BTreeMap::new(),
            say,
            said,
        }
    }

    fn rpc_path(&self) -> PathBuf {
        self.dir.join("rpc.sock")
    }

    fn start(&mut self, cores: &str) -> io::Result<()> {
        let mut command = Command::new(&self.program);
        command.arg("serve").args(&self.arguments);
        command.args(["--cores", cores]);
        command.arg("--rpc-socket").arg(self.rpc_path());
        command.arg("--vhost-sockets").arg(&self.dir);
        let log = File::create(self.dir.join("log"))?;
        command.stdout(Stdio::piped()).stderr(log);
        let mut process = command.spawn()?;
        let out = process.stdout.take().map(BufReader::new);
        self.process = Some(process);
        let mut line = String::new();
        out.ok_or(ErrorKind::BrokenPipe)?.read_line(&mut line)?;
        if line.is_empty() {
            let log = fs::read_to_string(self.dir.join("log"))?;
            return Err(io::Error::other(format!("it does not start: {log}")));
        }
        Ok(())
    }

    /// Kills what runs.
    fn end(&mut self) {
        self.front_ends.clear();
        self.clients.clear();
        if let Some(mut process) = self.process.take() {
            // It may have died.
            let _ = process.kill();
            let _ = process.wait();
        }
        let (say, said) = mpsc::channel();
        (self.say, self.said) = (say, said);
    }

    fn connect(&mut self, conn: ConnId, controller: &str) -> io::Result<()> {
        let path = self.dir.join(controller);
        let mut front_end = FrontEnd::connect(&path)?;
        let mut rings = Vec::new();
        for vring in (0..QUEUES_MAX).map(VringIndex) {
            let ring = front_end.ring(vring)?;
            rings.push((ring.kick.try_clone()?, ring.call.try_clone()?));
        }
        let stream = front_end.stream().try_clone()?;
        let (messages, to_send) = mpsc::channel();
        let say = self.say.clone();
        std::thread::Builder::new().spawn(move || {
            for (message, need_reply) in to_send {
                let said = match front_end.send(message, need_reply) {
                    Ok(None) => continue,
                    Ok(Some(reply)) => FromTarget::Answer { conn, reply },
                    Err(_) => FromTarget::Closed { conn },
                };
                // Nobody may be there to hear it.
                let _ = say.send(said);
            }
        })?;
        let connected = Connected {
            stream,
            messages,
            rings,
        };
        self.front_ends.insert(conn, connected);
        Ok(())
    }

    fn request(&mut self, client: ClientId, bytes: &[u8]) -> io::Result<()> {
        let path = self.rpc_path();
        let stream = match self.clients.entry(client) {
            std::collections::btree_map::Entry::Occupied(known) => known.into_mut(),
            std::collections::btree_map::Entry::Vacant(new) => {
                new.insert(UnixStream::connect(path)?)
            }
        };
        stream.write_all(bytes)
    }

    /// Appends what has come.
    fn gather(&mut self, said: &mut Vec<FromTarget>) {
        said.extend(self.said.try_iter());
        for (conn, connected) in &self.front_ends {
            for (vring, (_, call)) in (0..).map(VringIndex).zip(&connected.rings) {
                if call.read().is_ok() {
                    let conn = *conn;
                    said.push(FromTarget::Call { conn, vring });
                }
            }
        }
        self.clients.retain(|client, stream| {
            let client = *client;
            let mut bytes = [0; 16 << 10];
            match recv(stream.as_raw_fd(), &mut bytes, MsgFlags::MSG_DONTWAIT) {
                Ok(count) if count > 0 => {
                    let bytes = bytes[..count].to_vec().into();
                    said.push(FromTarget::Rpc { client, bytes });
                    true
                }
                Err(nix::Error::EAGAIN | nix::Error::EINTR) => true,
                _ => {
                    said.push(FromTarget::RpcClosed { client });
                    false
                }
            }
        });
    }

    /// The signal that has killed the process, if it is dead.
    fn death(&mut self) -> Result<Option<Crash>, PeerError> {
        let Some(process) = &mut self.process else {
            return Ok(None);
        };
        let status = match process.try_wait() {
            Ok(None) => return Ok(None),
            Ok(Some(status)) => status,
            Err(error) => return Err(PeerError::Refused(error.to_string())),
        };
        self.process = None;
        let signal = status.signal().map(Signal::try_from);
        match signal {
            Some(Ok(signal)) => Ok(Some(Crash {
                signal: signal.as_str(),
                place: "the process",
            })),
            _ => Err(PeerError::Ended(status.to_string())),
        }
    }

    /// Asks for what SPDK cannot do, on a connection of its own.
    fn ask_privately(&self, method: &str, params: Option<Value>) -> Result<(), PeerError> {
        let mut client = RpcClient::connect(&self.rpc_path(), PATIENCE)
            .map_err(|error| PeerError::Refused(error.to_string()))?;
        let said = client.call(method, params);
        said.map_err(|error| PeerError::Refused(format!("{method}: {error}")))?;
        Ok(())
    }

    /// Whether the process is on its way out. Its threads are, all of them, before it closes a file because of
    /// that.
    fn is_dying(&self) -> bool {
        let Some(process) = &self.process else {
            return false;
        };
        let stat = fs::read_to_string(format!("/proc/{}/stat", process.id()));
        stat.map_or(true, |stat| exits(&stat))
    }
}

/// Whether a process with this line in `/proc/ID/stat` exits or has ended.
fn exits(stat: &str) -> bool {
    // The name before may hold anything.
    let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields);
    let mut fields = fields.split_whitespace();
    let state = fields.next();
    let flags = fields.nth(5).and_then(|flags| flags.parse::<u32>().ok());
    matches!(state, Some("Z" | "X")) || flags.is_some_and(|flags| flags & PF_EXITING != 0)
}

impl Peer for SocketPeer {
    fn now(&self) -> Time {
        Time::ZERO + self.began.elapsed()
    }

    fn send(&mut self, message: ToTarget) {
        let sent = match message {
            ToTarget::Connect { conn, controller } => {
                let connected = self.connect(conn, &controller);
                if connected.is_err() {
                    // That is how a refused connection looks.
                    let _ = self.say.send(FromTarget::Closed { conn });
                }
                Ok(())
            }
            ToTarget::Disconnect { conn } => match self.front_ends.remove(&conn) {
                Some(connected) => connected.stream.shutdown(Shutdown::Both),
                None => Ok(()),
            },
            ToTarget::VhostUser {
                conn,
                message,
                need_reply,
            } => {
                if let Some(connected) = self.front_ends.get(&conn) {
                    // A connection that is over has said so.
                    let _ = connected.messages.send((message, need_reply));
                }
                Ok(())
            }
            ToTarget::Doorbell { conn, vring } => {
                let connected = self.front_ends.get(&conn);
                let ring = connected.and_then(|conn| conn.rings.get(usize::from(vring.0)));
                ring.map_or(Ok(()), |(kick, _)| kick.write(1))
            }
            ToTarget::Rpc { client, bytes } => {
                if self.request(client, &bytes).is_err() {
                    let _ = self.say.send(FromTarget::RpcClosed { client });
                }
                Ok(())
            }
            ToTarget::RpcClosed { client } => {
                self.clients.remove(&client);
                Ok(())
            }
        };
        // What the peer has closed before needs no closing, and hears no kick.
        let _: io::Result<()> = sent;
    }

    fn run(&mut self, until: Time, said: &mut Vec<FromTarget>) -> Result<(), PeerError> {
        let before = said.len();
        self.gather(said);
        let closed = |message: &FromTarget| {
            matches!(
                message,
                FromTarget::Closed { .. } | FromTarget::RpcClosed { .. }
            )
        };
        let patient = self.began.elapsed() + DEATH_MAX;
        let mut death = self.death()?;
        // A process that dies closes its sockets first.
        while death.is_none()
            && said[before..].iter().any(closed)
            && self.is_dying()
            && self.began.elapsed() < patient
        {
            std::thread::sleep(LOOK);
            death = self.death()?;
        }
        if let Some(crash) = death {
            self.gather(said);
            said.retain(|message| !closed(message));
            said.push(FromTarget::Died(crash));
        }
        if said.len() == before {
            std::thread::sleep(LOOK.min(until.since(self.now())));
        }
        Ok(())
    }

    fn restart(&mut self, core_mask: Option<&str>) -> Result<(), PeerError> {
        let cores = match core_mask {
            None => "1",
            Some("0x3") => "2",
            Some(other) => return Err(PeerError::Cores(other.to_owned())),
        };
        self.end();
        let started = self.start(cores);
        started.map_err(|error| PeerError::Refused(format!("{}: {error}", self.program.display())))
    }

    fn freeze(&mut self, thread: &str, frozen: bool) -> Result<(), PeerError> {
        match (thread, frozen) {
            ("reactor_1", true) => {
                self.ask_privately("plugfest_pause", Some(json!({"thread": "controllers"})))
            }
            ("reactor_1", false) => self.ask_privately("plugfest_resume", None),
            _ => Err(PeerError::Thread(thread.to_owned())),
        }
    }

    fn hold(&mut self, still: bool) -> Result<(), PeerError> {
        let method = if still {
            "plugfest_pause"
        } else {
            "plugfest_resume"
        };
        self.ask_privately(method, None)
    }

    fn region(&self, addr: u64, len: usize) -> Result<Region, String> {
        shared_region(GuestAddress(addr), len).map_err(|error| error.to_string())
    }

    fn goes_on(&self) -> bool {
        true
    }

    fn socket_dir(&self) -> &str {
        &self.dir_text
    }

    /// Nobody sees them from outside.
    fn slots(&self) -> Vec<String> {
        Vec::new()
    }
}

impl Drop for SocketPeer {
    fn drop(&mut self) {
        self.end();
        // A directory of our own, in a temporary place.
        let _ = fs::remove_dir_all(&self.dir);
    }
}

/// A fresh directory for sockets, whose paths are short.
///
/// # Errors
///
/// The system refuses.
pub fn fresh_dir(name: &str) -> io::Result<PathBuf> {
    let id = std::process::id();
    for number in 0.. {
        let dir = std::env::temp_dir().join(format!("plugfest-{name}-{id}-{number}"));
        match fs::create_dir(&dir) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            made => return made.map(|()| dir),
        }
    }
    Err(ErrorKind::AlreadyExists.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_exits_is_told_from_one_that_runs() {
        let runs = "7 (a) Z 4 ) S 1 7 7 0 -1 4194304 98 0 0";
        assert!(!exits(runs));
        assert!(exits(&runs.replace("4194304", "4194308")));
        assert!(exits(&runs.replace(" S 1", " Z 1")));
    }
}
