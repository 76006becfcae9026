//! Plays a transcript to a peer and compares every observation, step by step.
//!
//! The rules of waiting are the recorder's: after a stimulus until its own answer came (or its
//! patience ran out, which is an observation), then until it was quiet. One look goes over the
//! request queues, the control queue and the event queue of every front-end, then over vhost-user
//! answers, then over RPC answers.

use std::time::Duration;

use scenarios::Time;
use serde_json::{Value, json};

use super::compare::{Difference, compare_step};
use super::front_end::FrontEnd;
use super::peer::Peer;
use super::rpc::Clients;
use super::stimulus::Timing;
use super::transcript::{Step, Transcript};
use crate::message::{Crash, FromTarget};

/// A transcript could not be played on: its file or the peer is to blame, not the target's answers.
pub type PlayError = String;

/// The first observation that differs.
#[derive(Clone, Debug)]
pub struct Mismatch {
    /// Which step, from 0.
    pub step: usize,
    /// Where in the step, and how.
    pub difference: Difference,
    /// All that was seen in the step.
    pub seen: Vec<Value>,
    /// The state of the target's slots then.
    pub slots: Vec<String>,
}

/// What a stimulus waits for.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Awaited {
    /// The answer to a request with this id.
    Rpc(Value),
    /// The request of this tag comes back to this front-end.
    Tag(usize, u64),
    /// This front-end's message sequence of this number ends.
    Message(usize, u64),
}

/// Plays a transcript.
pub struct Player<'a> {
    pub(super) peer: &'a mut dyn Peer,
    pub(super) transcript: &'a Transcript,
    pub(super) front_ends: Vec<FrontEnd>,
    pub(super) clients: Clients,
    pub(super) watch_calls: bool,
    pub(super) next_conn: u32,
    /// What was seen in this step.
    pub(super) seen: Vec<Value>,
    said: Vec<FromTarget>,
    crashed: bool,
}

impl<'a> Player<'a> {
    /// A player with the set-up of `transcript` not carried out yet.
    ///
    /// # Errors
    ///
    /// The set-up cannot be built.
    pub fn new(transcript: &'a Transcript, peer: &'a mut dyn Peer) -> Result<Self, PlayError> {
        let front_ends = transcript
            .setup
            .frontends
            .iter()
            .map(|setup| FrontEnd::new(setup, peer))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            peer,
            transcript,
            front_ends,
            clients: Clients::default(),
            watch_calls: false,
            next_conn: 0,
            seen: Vec::new(),
            said: Vec::new(),
            crashed: false,
        })
    }

    /// Plays it; says where it first differs, if it does.
    ///
    /// # Errors
    ///
    /// It cannot be played on.
    pub fn play(&mut self) -> Result<Option<Mismatch>, PlayError> {
        self.start_peer()?;
        self.start_front_ends()?;
        for (number, step) in self.transcript.steps.iter().enumerate() {
            self.seen.clear();
            if !self.crashed {
                self.step(step)
                    .map_err(|why| format!("line {}: {why}", step.line))?;
            }
            let compared = compare_step(&step.expected, &self.seen, self.peer.socket_dir());
            if let Err(difference) = compared {
                return Ok(Some(Mismatch {
                    step: number,
                    difference,
                    seen: std::mem::take(&mut self.seen),
                    slots: self.peer.slots(),
                }));
            }
        }
        Ok(None)
    }

    fn step(&mut self, step: &Step) -> Result<(), PlayError> {
        let awaited = self.perform(&step.stimulus)?;
        self.pump()?;
        if step.timing.nowait {
            return Ok(());
        }
        self.wait(&awaited, step.timing)
    }

    /// Waits for the answers, then for silence.
    pub(super) fn wait(&mut self, awaited: &[Awaited], timing: Timing) -> Result<(), PlayError> {
        let deadline = self.peer.now() + Duration::from_millis(timing.patience_ms);
        self.run_until(deadline, |player| player.all_answered(awaited))?;
        if self.crashed {
            return Ok(());
        }
        for one in awaited {
            if !self.is_answered(one) {
                let name = |n: usize| self.front_ends[n].setup.name.clone();
                let within = timing.patience_ms;
                let missing = match one {
                    Awaited::Rpc(id) => json!({"rpc": id, "within_ms": within}),
                    Awaited::Tag(n, tag) => {
                        json!({"frontend": name(*n), "tag": tag, "within_ms": within})
                    }
                    Awaited::Message(n, _) => {
                        json!({"frontend": name(*n), "message": true, "within_ms": within})
                    }
                };
                self.seen.push(json!({ "no_answer": missing }));
            }
        }
        self.be_quiet(Duration::from_millis(timing.quiet_ms))
    }

    /// Waits until nothing has been seen for so long.
    fn be_quiet(&mut self, quiet: Duration) -> Result<(), PlayError> {
        let mut count = self.seen.len();
        loop {
            let until = self.peer.now() + quiet;
            self.run_until(until, |player| player.seen.len() > count)?;
            if self.crashed || self.seen.len() == count {
                return Ok(());
            }
            count = self.seen.len();
        }
    }

    /// Lets the peer run until `until` or until `enough`, looking at everything as it goes.
    pub(super) fn run_until(
        &mut self,
        until: Time,
        mut enough: impl FnMut(&Self) -> bool,
    ) -> Result<(), PlayError> {
        self.look()?;
        while !self.crashed && !enough(self) && self.peer.now() < until {
            self.peer
                .run(until, &mut self.said)
                .map_err(|e| e.to_string())?;
            self.look()?;
        }
        Ok(())
    }

    fn all_answered(&self, awaited: &[Awaited]) -> bool {
        awaited.iter().all(|one| self.is_answered(one))
    }

    fn is_answered(&self, awaited: &Awaited) -> bool {
        match awaited {
            Awaited::Message(n, number) => self.front_ends[*n].has_done(*number),
            Awaited::Rpc(id) => self.seen.iter().any(|seen| {
                let answer = seen.get("rpc");
                answer.is_some_and(|rpc| rpc.get("id") == Some(id))
            }),
            Awaited::Tag(n, tag) => {
                let name = &self.front_ends[*n].setup.name;
                self.seen.iter().any(|seen| {
                    seen.get("used").is_some_and(|used| {
                        used["frontend"] == name.as_str() && used["tag"] == *tag
                    })
                })
            }
        }
    }

    /// One look at everything.
    fn look(&mut self) -> Result<(), PlayError> {
        for front_end in &mut self.front_ends {
            for queue in front_end.look_order() {
                front_end.collect(queue, &mut self.seen);
            }
        }
        let said = std::mem::take(&mut self.said);
        self.look_at_calls(&said);
        let mut crash = None;
        let mut rpc = Vec::new();
        for message in said {
            match message {
                FromTarget::Answer { conn, reply } => {
                    if let Some(n) = self.front_end_of(conn) {
                        self.front_ends[n].answered(reply, &mut self.seen);
                        self.front_ends[n].pump(self.peer, &mut self.seen)?;
                    }
                }
                FromTarget::Closed { conn } => {
                    if let Some(n) = self.front_end_of(conn) {
                        self.front_ends[n].conn = None;
                    }
                }
                FromTarget::Rpc { .. } | FromTarget::RpcClosed { .. } => rpc.push(message),
                FromTarget::Died(how) => crash = Some(how),
                FromTarget::Call { .. } | FromTarget::Log(_) => {}
            }
        }
        for message in rpc {
            match message {
                FromTarget::Rpc { client, bytes } => {
                    self.clients.received(client, &bytes, &mut self.seen);
                }
                FromTarget::RpcClosed { client } => self.clients.closed(client, &mut self.seen),
                _ => {}
            }
        }
        if let Some(crash) = crash {
            self.see_crash(&crash);
        }
        Ok(())
    }

    /// A process that hangs is only silent; one that dies is seen to.
    fn see_crash(&mut self, crash: &Crash) {
        if crash.signal != "hang" {
            self.seen
                .push(json!({"peer_crashed": {"signal": crash.signal}}));
            self.crashed = true;
        }
    }

    /// Calls are read once a look, in the order of the queues of a look.
    fn look_at_calls(&mut self, said: &[FromTarget]) {
        if !self.watch_calls {
            return;
        }
        for front_end in &self.front_ends {
            for queue in front_end.look_order() {
                let called = said.iter().any(|message| {
                    matches!(message, FromTarget::Call { conn, vring }
                        if Some(*conn) == front_end.conn && vring.0 == queue)
                });
                if called {
                    self.seen.push(json!({"call":
                        {"frontend": front_end.setup.name, "queue": queue}}));
                }
            }
        }
    }

    fn front_end_of(&self, conn: crate::message::ConnId) -> Option<usize> {
        self.front_ends.iter().position(|f| f.conn == Some(conn))
    }

    /// Sends what the front-ends have to send.
    pub(super) fn pump(&mut self) -> Result<(), PlayError> {
        for front_end in &mut self.front_ends {
            front_end.pump(self.peer, &mut self.seen)?;
        }
        Ok(())
    }

    /// The target of the last process is gone, and all that it had.
    pub(super) fn forget_connections(&mut self) {
        for front_end in &mut self.front_ends {
            front_end.lose_connection();
        }
        self.clients.lose_all();
        self.said.clear();
        self.crashed = false;
    }
}
