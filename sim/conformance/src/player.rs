//! Plays a transcript to a peer and compares every observation, step by step.
//!
//! The rules of waiting are the recorder's: after a stimulus until its own answer came (or its
//! patience ran out, which is an observation), then until it was quiet. One look goes over the
//! request queues, the control queue and the event queue of every front-end, then over vhost-user
//! answers, then over RPC answers.
//!
//! # Divergence from the recorder
//!
//! A peer that goes on by itself ([`Peer::goes_on`]) is given the time that the machine takes from the
//! player: what was recorded of a step is waited for, however late it is; stimuli that follow each other at
//! once come to it at once ([`Peer::hold`]); and the order counts within a conversation and against the
//! rings, not between conversations ([`as_recorded`]).

use std::time::Duration;

use scenarios::Time;
use serde_json::{Value, json};

use super::compare::{Difference, as_recorded, compare_step};
use super::front_end::FrontEnd;
use super::peer::Peer;
use super::rpc::Clients;
use super::transcript::{Step, Transcript};
use wire::message::{Crash, FromTarget};

/// What was recorded has come within this, or is missing, if the peer goes on by itself.
pub(super) const LATE_MAX: Duration = Duration::from_secs(10);

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
    /// The peer stands still while more is sent.
    held: bool,
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
            held: false,
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
                self.hold(number)
                    .and_then(|()| self.step(step))
                    .map_err(|why| format!("line {}: {why}", step.line))?;
            }
            if let Err(difference) = self.compare(step) {
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

    /// Compares what was seen with what was recorded. What a peer that goes on by itself said is put in the
    /// recorded order first, as far as it may be.
    fn compare(&mut self, step: &Step) -> Result<(), Difference> {
        let socket_dir = self.peer.socket_dir();
        if self.peer.goes_on() {
            let fits = |seen: &Vec<Value>| compare_step(&step.expected, seen, socket_dir).is_ok();
            let lists = step.expected.iter();
            let orders: Vec<_> = lists.map(|list| as_recorded(list, &self.seen)).collect();
            let order = orders.iter().find(|seen| fits(seen)).or(orders.first());
            self.seen
                .clone_from(order.expect("a step has at least one list"));
        }
        compare_step(&step.expected, &self.seen, socket_dir)
    }

    /// Lets a peer that goes on by itself stand still before the first of the stimuli that follow each other at
    /// once, and go on before one that takes its time.
    fn hold(&mut self, number: usize) -> Result<(), PlayError> {
        let [step, next @ ..] = &self.transcript.steps[number..] else {
            return Ok(());
        };
        if step.stimulus.takes_time() {
            return self.release();
        }
        let follows = next.first().is_some_and(|next| !next.stimulus.takes_time());
        if self.peer.goes_on() && !self.held && step.timing.nowait && follows {
            self.peer.hold(true).map_err(|error| error.to_string())?;
            self.held = true;
        }
        Ok(())
    }

    fn release(&mut self) -> Result<(), PlayError> {
        if std::mem::take(&mut self.held) {
            self.peer.hold(false).map_err(|error| error.to_string())?;
        }
        Ok(())
    }

    fn step(&mut self, step: &Step) -> Result<(), PlayError> {
        let awaited = self.perform(&step.stimulus)?;
        self.pump()?;
        if step.timing.nowait {
            return Ok(());
        }
        self.release()?;
        let deadline = self.peer.now() + Duration::from_millis(step.timing.patience_ms);
        let no_answer = |see: &Value| see.get("no_answer").is_some();
        let before = |list: &Vec<Value>| list.iter().position(no_answer).unwrap_or(list.len());
        self.wait_for_late(step.expected.iter().map(before).min())?;
        self.wait_for_answers(&awaited, deadline, step.timing.patience_ms)?;
        self.wait_for_late(step.expected.iter().map(Vec::len).min())?;
        self.be_quiet(Duration::from_millis(step.timing.quiet_ms))
    }

    /// Waits until as much has been seen as was recorded, if the peer goes on by itself.
    fn wait_for_late(&mut self, recorded: Option<usize>) -> Result<(), PlayError> {
        if !self.peer.goes_on() {
            return Ok(());
        }
        let deadline = self.peer.now() + LATE_MAX;
        let recorded = recorded.unwrap_or(0);
        self.run_until(deadline, |player| player.seen.len() >= recorded)
    }

    /// Waits for the answers, and notes those that have not come.
    fn wait_for_answers(
        &mut self,
        awaited: &[Awaited],
        deadline: Time,
        within: u64,
    ) -> Result<(), PlayError> {
        self.run_until(deadline, |player| player.all_answered(awaited))?;
        if self.crashed {
            return Ok(());
        }
        for one in awaited {
            if !self.is_answered(one) {
                let name = |n: usize| self.front_ends[n].setup.name.clone();
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
        Ok(())
    }

    /// Waits until nothing has been seen for so long.
    pub(super) fn be_quiet(&mut self, quiet: Duration) -> Result<(), PlayError> {
        let mut count = self.seen.len();
        while !self.crashed {
            let until = self.peer.now() + quiet;
            self.run_until(until, |player| player.seen.len() > count)?;
            if self.seen.len() == count {
                break;
            }
            count = self.seen.len();
        }
        Ok(())
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
                FromTarget::Rpc { client, bytes } => rpc.push((client, Some(bytes))),
                FromTarget::RpcClosed { client } => rpc.push((client, None)),
                FromTarget::Died(how) => crash = Some(how),
                FromTarget::Call { .. } | FromTarget::Log(_) => {}
            }
        }
        for (client, bytes) in rpc {
            match bytes {
                Some(bytes) => self.clients.received(client, &bytes, &mut self.seen),
                None => self.clients.closed(client, &mut self.seen),
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

    fn front_end_of(&self, conn: wire::message::ConnId) -> Option<usize> {
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
        self.held = false;
        self.said.clear();
        self.crashed = false;
    }
}
