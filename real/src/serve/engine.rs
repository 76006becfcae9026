//! The target's thread: takes the target's turns by the clock, and carries messages to and from it.
//!
//! Knows who sits at the end of each connection; knows no message's meaning.

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{Ordering, fence};
use std::time::{Duration, Instant};

use scenarios::{Observation, Time};
use sim::spdk::{Target, TargetConfig, TargetTurn};
use sim::wire::message::{ClientId, ConnId, Crash, FromTarget, LogLevel, LogLine, ToTarget};
use sim::{ActorId, Component as _, Cx, Rng, Stream, When};
use tracing::{debug, warn};

use super::connection::Connection;
use super::private::Paused;
use super::record::Record;
use super::sockets::Sockets;
use super::wake::{Bell, Inbox, Mail, Token, Wake};
use super::{Ended, News, ServeOptions};
use crate::rpc::server::{Heard, RpcSocket};

/// Something to do, or something that is due, within this: polling costs less than sleeping.
const POLL: Duration = Duration::from_micros(50);
/// Descriptors are looked at no more often than this.
const HEAR_PERIOD: Duration = Duration::from_micros(20);
/// Turns between two looks at rings.
const TURNS_AT_ONCE: usize = 32;
/// The longest sleep while a driver may change something without a kick, or a client does not read.
const SILENT_MAX: Duration = Duration::from_millis(1);
/// Connections at a time (`RTE_MAX_VHOST_DEVICE`).
const CONNECTIONS_MAX: usize = 1024;
/// How a modelled endless loop is told from a signal ([`Crash`]).
const HANG: &str = "hang";
/// Where there is no room for a connection, it is looked for again after this.
const FULL_PERIOD: Duration = Duration::from_millis(10);
/// When it is told to end, sessions may finish what is in flight.
const STOP_MAX: Duration = Duration::from_secs(1);

/// The target's thread.
pub struct Engine {
    started: Instant,
    target: Target,
    rng: Rng,
    out: Vec<FromTarget>,
    saw: Vec<scenarios::Seen>,
    bell: Bell,
    inbox: Inbox,
    wake: Wake,
    tokens: Vec<Token>,
    rpc: RpcSocket,
    rpc_unsent: bool,
    sockets: Sockets,
    connections: BTreeMap<ConnId, Connection>,
    next_conn: u32,
    tell: Box<dyn FnMut(News) + Send>,
    died: Option<Crash>,
    stopping: bool,
    paused: Paused,
    /// When new connections are looked for again, if they are not.
    accepts_at: Option<Time>,
    heard_at: Time,
    record: Option<Record>,
}

impl Engine {
    /// A target that has not taken a turn yet.
    ///
    /// # Errors
    ///
    /// The system refuses.
    pub fn new(
        options: ServeOptions,
        rpc: RpcSocket,
        bell: Bell,
        inbox: Inbox,
        tell: Box<dyn FnMut(News) + Send>,
    ) -> io::Result<Self> {
        let wake = Wake::new(&inbox)?;
        wake.add(&rpc, Token::RpcListener)?;
        let record = options.record.map(Record::new).transpose()?;
        let dir = options.vhost_sockets;
        let config = TargetConfig {
            socket_dir: dir.display().to_string(),
            ..options.target
        };
        Ok(Self {
            started: Instant::now(),
            target: Target::new(config),
            rng: Rng::new(options.seed, Stream::Accidents),
            out: Vec::new(),
            saw: Vec::new(),
            bell,
            inbox,
            wake,
            tokens: Vec::new(),
            rpc,
            rpc_unsent: false,
            sockets: Sockets::new(dir),
            connections: BTreeMap::new(),
            next_conn: 0,
            tell,
            died: None,
            stopping: false,
            paused: Paused::default(),
            accepts_at: None,
            heard_at: Time::ZERO,
            record,
        })
    }

    /// Runs until it is told to stop, or the target dies.
    pub fn run(&mut self) -> Ended {
        let mut busy_at = Time::ZERO;
        while !self.stopping && self.died.is_none() {
            if self.work() {
                busy_at = self.now();
            } else {
                self.rest(busy_at);
            }
        }
        match self.died.take_if(|crash| crash.signal != HANG) {
            Some(crash) => return Ended::Died(crash),
            None if self.died.is_some() => self.stand_still(),
            None => {}
        }
        self.stop()
    }

    /// Does something with the log of guests, if one is written.
    fn record(&mut self, f: impl FnOnce(&mut Record, Duration)) {
        if let Some(record) = &mut self.record {
            f(record, self.started.elapsed());
        }
    }

    fn now(&self) -> Time {
        Time::ZERO + self.started.elapsed()
    }

    /// Does what there is to do; whether there was anything.
    fn work(&mut self) -> bool {
        let heard = self.hear();
        let looked = self.look();
        let took = self.take_turns();
        heard || looked || took
    }

    /// Takes in letters, and what the descriptors have.
    fn hear(&mut self) -> bool {
        let mut any = false;
        let now = self.now();
        if now.since(self.heard_at) >= HEAR_PERIOD {
            self.heard_at = now;
            let mut tokens = std::mem::take(&mut self.tokens);
            self.wake.take(&mut tokens);
            for token in tokens.drain(..) {
                any |= self.woken(token);
            }
            self.tokens = tokens;
            if self.accepts_at.take_if(|at| *at <= now).is_some() {
                self.accept(true);
            }
            if self.rpc_unsent {
                self.rpc_unsent = self.rpc.flush();
            }
        }
        // After the descriptors: what wakes once only is behind us, and its letter is here.
        while let Ok(mail) = self.inbox.letters.try_recv() {
            any = true;
            self.read(mail);
        }
        any
    }

    fn read(&mut self, mail: Mail) {
        match mail {
            Mail::Request {
                conn,
                message,
                descriptor,
            } => {
                message.say(conn);
                self.record(|record, at| record.asks(at, conn, &message));
                if let Some(connection) = self.connections.get_mut(&conn) {
                    connection.asks(&message, descriptor);
                    // An answer to every request: its thread waits for it.
                    let need_reply = true;
                    self.put(ToTarget::VhostUser {
                        conn,
                        message,
                        need_reply,
                    });
                }
            }
            Mail::Gone { conn, why } => {
                let reason = why
                    .as_ref()
                    .map_or("peer disconnected".to_owned(), ToString::to_string);
                self.record(|record, at| record.ended(at, conn, &reason));
                if let Some(connection) = self.connections.remove(&conn) {
                    if let Some(why) = why {
                        let controller = &connection.controller;
                        warn!(target: "vhost_user", conn = conn.0, "{controller}: closed: {why}");
                    }
                    connection.close(&self.wake);
                    self.put(ToTarget::Disconnect { conn });
                }
            }
            Mail::Stop => self.stopping = true,
        }
    }

    fn woken(&mut self, token: Token) -> bool {
        match token {
            Token::Look => return false,
            Token::RpcListener => match self.rpc.accept() {
                Ok(Some((id, client))) => {
                    if let Err(error) = self.wake.add(client, Token::RpcClient(id)) {
                        self.rpc.close(id);
                        warn!(target: "rpc", "a connection: {error}");
                    }
                }
                Ok(None) => return false,
                Err(error) => self.wait_to_accept("JSON-RPC", &error),
            },
            Token::RpcClient(id) => {
                let client = ClientId(id);
                match self.rpc.hear(id) {
                    Some(Heard::Bytes(bytes)) => match self.paused.ask(&bytes) {
                        Some(answer) => self.rpc_unsent |= self.rpc.send(id, answer.as_bytes()),
                        None => self.put(ToTarget::Rpc { client, bytes }),
                    },
                    Some(Heard::Closed) => self.put(ToTarget::RpcClosed { client }),
                    None => return false,
                }
            }
            Token::Socket(number) => match self.sockets.accept(number) {
                Some(Ok((stream, controller))) => self.connect(stream, controller),
                Some(Err(error)) => self.wait_to_accept("vhost-user", &error),
                None => return false,
            },
        }
        true
    }

    /// New connections have to wait for room.
    fn wait_to_accept(&mut self, what: &str, error: &io::Error) {
        warn!(target: "vhost_user", "{what} connections have to wait: {error}");
        self.accept(false);
        self.accepts_at = Some(self.now() + FULL_PERIOD);
    }

    fn accept(&mut self, on: bool) {
        self.wake.remove(&self.rpc);
        if on && let Err(error) = self.wake.add(&self.rpc, Token::RpcListener) {
            warn!(target: "rpc", "no more connections: {error}");
        }
        self.sockets.listen(&self.wake, on);
    }

    fn connect(&mut self, stream: std::os::unix::net::UnixStream, controller: String) {
        let conn = ConnId(self.next_conn);
        let (Some(next), true) = (
            self.next_conn.checked_add(1),
            self.connections.len() < CONNECTIONS_MAX,
        ) else {
            warn!(target: "vhost_user", "{controller}: too many connections");
            return;
        };
        self.next_conn = next;
        let name = controller.clone().into_boxed_str();
        match Connection::open(stream, conn, controller, &self.bell) {
            Ok(connection) => {
                debug!(target: "vhost_user", conn = conn.0, controller = %name, "connected");
                self.record(|record, at| record.connected(at, conn));
                self.connections.insert(conn, connection);
                self.put(ToTarget::Connect {
                    conn,
                    controller: name,
                });
            }
            Err(error) => warn!(target: "vhost_user", conn = conn.0, "{name}: {error}"),
        }
    }

    fn put(&mut self, message: ToTarget) {
        let now = self.now();
        self.target.input(now, message);
    }

    /// Looks at every ring; whether a driver has changed something.
    fn look(&mut self) -> bool {
        self.record(|record, at| record.look_all(at));
        let now = self.now();
        let mut any = false;
        for (conn, connection) in &mut self.connections {
            connection.look(|vring| {
                any = true;
                let conn = *conn;
                self.target.input(now, ToTarget::Doorbell { conn, vring });
            });
        }
        any
    }

    /// The actor that can go first, and when, unless its thread stands still.
    fn first_due(&self) -> Option<(Time, ActorId)> {
        let actors = (0..self.target.actors()).map(ActorId);
        let runs = actors.filter(|actor| !self.paused.holds(Target::thread(*actor)));
        let due = runs.filter_map(|actor| match self.target.when(actor) {
            When::At(at) => Some((at, actor)),
            When::Blocked => None,
        });
        due.min()
    }

    /// Takes turns that are due; whether there were any.
    fn take_turns(&mut self) -> bool {
        for taken in 0..TURNS_AT_ONCE {
            let now = self.now();
            match self.first_due() {
                Some((due, actor)) if due <= now && self.died.is_none() => self.turn(now, actor),
                _ => return taken > 0,
            }
        }
        true
    }

    fn turn(&mut self, now: Time, actor: ActorId) {
        let mut cx = Cx {
            now,
            rng: &mut self.rng,
            out: &mut self.out,
            saw: &mut self.saw,
        };
        let turn = self.target.turn(actor, &mut cx);
        self.record(|record, at| record.look_all(at));
        let mut out = std::mem::take(&mut self.out);
        for message in out.drain(..) {
            self.route(message);
        }
        self.out = out;
        for seen in self.saw.drain(..) {
            if let Observation::Broken { check, text } = seen.what {
                (self.tell)(News::Broken(format!("{check}: {text}")));
            }
        }
        match turn {
            TargetTurn::Poll { .. }
            | TargetTurn::BdevDone { .. }
            | TargetTurn::VhostUser { .. }
            | TargetTurn::Manage { .. } => return,
            TargetTurn::Rpc { .. } => self.rpc.looked(),
            TargetTurn::Foreach { .. }
            | TargetTurn::Start { .. }
            | TargetTurn::StopBegan { .. }
            | TargetTurn::StopEnded { .. }
            | TargetTurn::Lun { .. }
            | TargetTurn::BdevEvent { .. }
            | TargetTurn::Unregister { .. }
            | TargetTurn::Retry { .. }
            | TargetTurn::Idle => {}
        }
        if !self.stopping {
            self.sockets
                .follow(&self.target, &self.wake, &mut self.tell);
        }
    }

    fn route(&mut self, message: FromTarget) {
        match message {
            FromTarget::Answer { conn, reply } => {
                reply.say(conn);
                self.record(|record, at| record.answers(at, conn, &reply));
                if let Some(connection) = self.connections.get_mut(&conn) {
                    connection.answered(reply, &self.wake);
                }
            }
            FromTarget::Closed { conn } => {
                self.record(|record, at| record.ended(at, conn, "the target closed it"));
                if let Some(connection) = self.connections.remove(&conn) {
                    connection.close(&self.wake);
                }
            }
            FromTarget::Call { conn, vring } => {
                if let Some(connection) = self.connections.get(&conn) {
                    connection.call(vring);
                }
            }
            FromTarget::Rpc { client, bytes } => {
                if !self.rpc.send(client.0, &bytes) {
                    self.put(ToTarget::RpcClosed { client });
                }
                self.rpc_unsent = true;
            }
            FromTarget::RpcClosed { client } => self.rpc.close(client.0),
            FromTarget::Log(line) => self.say(line),
            FromTarget::Died(crash) => self.died = Some(crash),
        }
    }

    /// Says a line of SPDK's log; in a whisper, if its levels and flags do not let it through.
    fn say(&self, line: LogLine) {
        let level = if self.target.lets_through(line.level) {
            line.level
        } else {
            LogLevel::Debug
        };
        LogLine { level, ..line }.say();
    }

    /// Waits for something to do: polling at first, then asleep.
    fn rest(&mut self, busy_at: Time) {
        let now = self.now();
        let due = self.first_due().map(|(due, _)| due.since(now));
        if now.since(busy_at) < POLL || due.is_some_and(|due| due < POLL) {
            std::hint::spin_loop();
            return;
        }
        self.record(|record, _| record.flush());
        for connection in self.connections.values() {
            connection.want_kicks(true);
        }
        // Either the driver sees that kicks are wanted, or we see what it published before.
        fence(Ordering::SeqCst);
        if !self.look() {
            let silent = self.connections.values().any(Connection::is_silent);
            let silent = silent || self.rpc_unsent || self.accepts_at.is_some();
            let most = silent.then_some(SILENT_MAX);
            let span = due.into_iter().chain(most).min();
            self.wake.sleep(span);
            self.heard_at = Time::ZERO;
        }
        for connection in self.connections.values() {
            connection.want_kicks(false);
        }
    }

    /// Answers nobody until it is told to end.
    pub fn stand_still(&mut self) {
        while let Ok(mail) = self.inbox.letters.recv() {
            if matches!(mail, Mail::Stop) {
                break;
            }
        }
    }

    fn stop(&mut self) -> Ended {
        self.paused = Paused::default();
        self.sockets.remove_all();
        if let Some(error) = self.record.as_mut().and_then(Record::failure) {
            warn!(target: "vhost_user", "what guests do was not recorded whole: {error}");
        }
        let conns: Vec<ConnId> = self.connections.keys().copied().collect();
        for conn in conns {
            self.put(ToTarget::Disconnect { conn });
        }
        let until = self.now() + STOP_MAX;
        while !self.target.is_dead() && self.target.connections() > 0 && self.now() < until {
            if !self.take_turns() {
                std::thread::sleep(POLL);
            }
        }
        self.close_all();
        if let Some(crash) = self.died.take_if(|crash| crash.signal != HANG) {
            return Ended::Died(crash);
        }
        match self.rpc.remove() {
            Ok(()) => Ended::Stopped,
            Err(error) => Ended::Failed(format!("the JSON-RPC socket: {error}")),
        }
    }

    /// Ends every connection.
    pub fn close_all(&mut self) {
        for (_, connection) in std::mem::take(&mut self.connections) {
            connection.close(&self.wake);
        }
    }
}
