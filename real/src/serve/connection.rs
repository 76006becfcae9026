//! A front-end's connection as the target's thread knows it: its memory, its rings, its descriptors.
//!
//! Follows what the target has accepted; knows no message's meaning but where rings are and when they run.

use std::fs::File;
use std::io;
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::JoinHandle;

use sim::Memory;
use sim::wire::message::{ConnId, VhostUser, VhostUserReply, VringIndex};

use super::ring::{Ring, Watch, is_eventfd};
use super::wake::{Bell, Mail, Wake};
use crate::vhost_user::backend::{self, Answers};

/// `SPDK_VHOST_MAX_VQUEUES`.
const RINGS_MAX: u16 = 256;
/// The thread of a connection holds one message at a time.
const STACK: usize = 256 << 10;

/// A connection.
#[derive(Debug)]
pub struct Connection {
    /// The controller that it is to.
    pub controller: String,
    stream: UnixStream,
    answers: Sender<VhostUserReply>,
    thread: JoinHandle<()>,
    memory: Option<Memory>,
    rings: Vec<Ring>,
    asked: Asked,
}

/// What an accepted request changes here.
#[derive(Debug, Default)]
enum Asked {
    #[default]
    Nothing,
    Memory(Memory),
    Address {
        vring: VringIndex,
        avail: u64,
        used: u64,
    },
    Kick(VringIndex, Option<File>),
    Call(VringIndex, Option<File>),
    Base(VringIndex),
}

impl Connection {
    /// Begins to serve a front-end, on a thread of its own.
    ///
    /// # Errors
    ///
    /// The system refuses.
    pub fn open(
        stream: UnixStream,
        conn: ConnId,
        controller: String,
        bell: &Bell,
    ) -> io::Result<Self> {
        let (answers, answered) = mpsc::channel();
        let mut asks = Asks {
            conn,
            bell: bell.clone(),
            answered,
        };
        let socket = stream.try_clone()?;
        let named = std::thread::Builder::new().name(format!("vhost-user {}", conn.0));
        let thread = named.stack_size(STACK).spawn(move || {
            let served = backend::serve(&socket, &mut asks);
            // The front-end may have closed it first.
            let _ = socket.shutdown(Shutdown::Both);
            let why = served.err().map(|error| error.to_string());
            asks.bell.send(Mail::Gone { conn, why });
        })?;
        Ok(Self {
            controller,
            stream,
            answers,
            thread,
            memory: None,
            rings: Vec::new(),
            asked: Asked::Nothing,
        })
    }

    /// A request goes to the target.
    pub fn asks(&mut self, message: &VhostUser, descriptor: Option<File>) {
        self.asked = match message {
            VhostUser::SetMemTable(memory) => Asked::Memory(memory.clone()),
            VhostUser::SetVringAddr {
                vring, avail, used, ..
            } => Asked::Address {
                vring: *vring,
                avail: *avail,
                used: *used,
            },
            VhostUser::SetVringKick { vring } => Asked::Kick(*vring, descriptor),
            VhostUser::SetVringCall { vring } => Asked::Call(*vring, descriptor),
            VhostUser::GetVringBase { vring } => {
                // It stops the session, and with it all rings.
                let running = self.rings.iter_mut();
                for ring in running.filter(|ring| ring.watch == Watch::Runs) {
                    ring.watch = Watch::Read;
                }
                Asked::Base(*vring)
            }
            VhostUser::GetFeatures
            | VhostUser::SetFeatures(_)
            | VhostUser::GetProtocolFeatures
            | VhostUser::SetProtocolFeatures(_)
            | VhostUser::GetQueueNum
            | VhostUser::SetOwner
            | VhostUser::SetVringNum { .. }
            | VhostUser::SetVringBase { .. }
            | VhostUser::SetVringErr { .. }
            | VhostUser::SetVringEnable { .. }
            | VhostUser::GetInflightFd { .. }
            | VhostUser::SetInflightFd { .. }
            | VhostUser::SetStatus(_)
            | VhostUser::GetStatus => Asked::Nothing,
        };
    }

    /// The target has answered; the front-end is told.
    pub fn answered(&mut self, reply: VhostUserReply, wake: &Wake) {
        let asked = std::mem::take(&mut self.asked);
        match (&reply, asked) {
            (VhostUserReply::Ack { ok: true }, Asked::Memory(memory)) => self.memory = Some(memory),
            (VhostUserReply::Ack { ok: true }, Asked::Address { vring, avail, used }) => {
                if let Some(ring) = self.ring(vring) {
                    (ring.avail, ring.used) = (avail, used);
                }
            }
            (VhostUserReply::Ack { ok: true }, Asked::Kick(vring, kick)) => {
                self.kick(vring, kick, wake);
            }
            (VhostUserReply::Ack { ok: true }, Asked::Call(vring, call)) => {
                if let Some(ring) = self.ring(vring) {
                    ring.call = call.filter(is_eventfd);
                }
            }
            (VhostUserReply::VringBase { .. }, Asked::Base(vring)) => {
                if let Some(ring) = self.ring(vring) {
                    ring.watch = Watch::Off;
                }
            }
            _ => {}
        }
        // Its thread ends if the connection does.
        let _ = self.answers.send(reply);
    }

    fn kick(&mut self, vring: VringIndex, kick: Option<File>, wake: &Wake) {
        let Some(ring) = self.ring(vring) else {
            return;
        };
        if let Some(old) = ring.kick.take() {
            wake.remove(&old);
        }
        ring.kick = kick.filter(|kick| wake.add_edge(kick).is_ok());
        ring.start();
    }

    fn ring(&mut self, vring: VringIndex) -> Option<&mut Ring> {
        if vring.0 >= RINGS_MAX {
            return None;
        }
        let index = usize::from(vring.0);
        if self.rings.len() <= index {
            self.rings.resize_with(index + 1, Ring::default);
        }
        self.rings.get_mut(index)
    }

    /// Calls `moved` with each ring in which the driver has changed something.
    pub fn look(&mut self, mut moved: impl FnMut(VringIndex)) {
        let Some(memory) = &self.memory else {
            return;
        };
        for (index, ring) in self.rings.iter_mut().enumerate() {
            if ring.moved(memory) {
                moved(VringIndex(index as u16));
            }
        }
    }

    /// Asks for kicks, or says that none are needed.
    pub fn want_kicks(&self, wanted: bool) {
        if let Some(memory) = &self.memory {
            for ring in &self.rings {
                ring.want_kicks(memory, wanted);
            }
        }
    }

    /// Whether something may change without a kick.
    #[must_use]
    pub fn is_silent(&self) -> bool {
        self.rings.iter().any(Ring::is_silent)
    }

    /// Calls the driver.
    pub fn call(&self, vring: VringIndex) {
        if let Some(ring) = self.rings.get(usize::from(vring.0)) {
            ring.call();
        }
    }

    /// Ends the connection: its thread will say that it is gone.
    pub fn shut(&self) {
        // The front-end may have closed it first.
        let _ = self.stream.shutdown(Shutdown::Both);
    }

    /// Forgets a connection that is gone, and waits for its thread.
    pub fn close(self, wake: &Wake) {
        for kick in self.rings.iter().filter_map(|ring| ring.kick.as_ref()) {
            wake.remove(kick);
        }
        self.shut();
        drop(self.answers);
        // Had it panicked, it would have said so itself.
        let _ = self.thread.join();
    }
}

/// The target, as the thread of a connection knows it.
struct Asks {
    conn: ConnId,
    bell: Bell,
    answered: Receiver<VhostUserReply>,
}

impl Answers for &mut Asks {
    fn answer(&mut self, message: VhostUser, descriptor: Option<File>) -> Option<VhostUserReply> {
        let conn = self.conn;
        self.bell.send(Mail::Request {
            conn,
            message,
            descriptor,
        });
        self.answered.recv().ok()
    }
}
