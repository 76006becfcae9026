//! Connections and their requests (lib/jsonrpc, lib/rpc): framing, envelopes, batches, answers.
//!
//! Knows no socket and no time: the app thread's RPC poller (4 ms) hands in what was received,
//! takes every request with [`RpcServer::next_call`], and fetches what is to be sent with
//! [`RpcServer::flush`], which in SPDK it does before it receives.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use serde_json::Value;

use wire::message::{ClientId, FromTarget};

use super::decode::{self, Field, Kind, UnknownKeys, decode};
use super::json::{self, Fault, Json};
use super::method::{Method, Phase, Spec, TABLE};
use super::{RpcError, code};

/// The receive buffer of a connection (`SPDK_JSONRPC_RECV_BUF_SIZE`): a request that does not fit
/// ends the connection.
const RECEIVE_MAX: usize = 32 << 10;

/// A request that was taken and is to be answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct CallId(u64);

/// The server's side of all connections.
#[derive(Clone, Debug, Default)]
pub struct RpcServer {
    initialized: bool,
    clients: Vec<Client>,
    calls: BTreeMap<CallId, Call>,
    batches: BTreeMap<u64, Batch>,
    /// Calls and batches are numbered by one counter.
    counter: u64,
    /// Some client may have a request that was not taken.
    unread: bool,
    /// Some client may have an answer that was not fetched.
    unsent: bool,
    /// Answers go out twice (X4).
    twice: bool,
}

#[derive(Clone, Debug)]
struct Client {
    id: ClientId,
    received: Vec<u8>,
    /// What is left of a batch that was taken off `received`.
    rest_of_batch: VecDeque<(u64, Json)>,
    to_send: Vec<u8>,
    /// The server has given up on it.
    closing: bool,
}

#[derive(Clone, Debug)]
struct Call {
    client: ClientId,
    reply: ReplyTo,
}

/// Where an answer goes within its connection.
#[derive(Clone, Debug)]
struct ReplyTo {
    /// The id as it is to be echoed.
    id: String,
    batch: Option<u64>,
}

#[derive(Clone, Debug)]
struct Batch {
    missing: usize,
    answers: Vec<String>,
}

/// A request whose envelope is right.
struct Request<'a> {
    method: &'a str,
    id: String,
    params: Option<&'a Json>,
}

impl RpcServer {
    /// A server without connections; `initialized` as for
    /// [`set_initialized`](Self::set_initialized).
    pub fn new(initialized: bool) -> Self {
        Self {
            initialized,
            ..Self::default()
        }
    }

    /// The same, but every call is answered twice if `twice` is set (X4).
    pub fn answering_twice(self, twice: bool) -> Self {
        Self { twice, ..self }
    }

    /// Whether the framework is initialised: which methods may be called.
    pub fn set_initialized(&mut self, initialized: bool) {
        self.initialized = initialized;
    }

    /// Bytes from a client, cut anywhere. The first ones of a client connect it.
    pub fn input(&mut self, client: ClientId, bytes: &[u8]) {
        let at = match self.clients.iter().position(|c| c.id == client) {
            Some(at) => at,
            None => {
                self.clients.push(Client::new(client));
                self.clients.len() - 1
            }
        };
        let client = &mut self.clients[at];
        if !client.closing {
            client.received.extend_from_slice(bytes);
            self.unread = true;
        }
    }

    /// A client's connection closed. What was taken of it goes on; answers are dropped. The id is
    /// not used again.
    pub fn closed(&mut self, client: ClientId) {
        let gone = self.clients.extract_if(.., |c| c.id == client);
        for (number, _) in gone.flat_map(|c| c.rest_of_batch) {
            self.batches.remove(&number);
        }
    }

    /// Whether [`next_call`](Self::next_call) or [`flush`](Self::flush) may have something.
    pub fn has_work(&self) -> bool {
        self.unread || self.unsent || self.clients.iter().any(|client| client.closing)
    }

    /// Whether [`flush`](Self::flush) may have something.
    pub fn has_answers(&self) -> bool {
        self.unsent
    }

    /// Requests that were taken and not answered.
    pub fn open_calls(&self) -> usize {
        self.calls.len()
    }

    /// Whether a request was taken and not answered.
    pub fn is_open(&self, call: CallId) -> bool {
        self.calls.contains_key(&call)
    }

    /// The next request: of each client in the order in which they connected, all that it sent.
    ///
    /// Requests that are wrong in themselves, and `rpc_get_methods`, are answered here.
    pub fn next_call(&mut self) -> Option<(CallId, Method)> {
        if !self.unread {
            return None;
        }
        for at in 0..self.clients.len() {
            while let Some((batch, request)) = self.take_request(at) {
                if let Some(call) = self.handle(self.clients[at].id, batch, &request) {
                    return Some(call);
                }
            }
        }
        self.unread = false;
        None
    }

    /// Answers a call, now or later. If its client is gone, the answer is dropped.
    ///
    /// # Panics
    ///
    /// If the call was answered before, or is not this server's.
    pub fn answer(&mut self, call: CallId, result: Result<Value, RpcError>) {
        let call = self.calls.remove(&call);
        let Some(Call { client, reply }) = call else {
            panic!("an RPC is answered once");
        };
        if self.twice && reply.batch.is_none() {
            self.reply(client, reply.clone(), result.clone());
        }
        self.reply(client, reply, result);
    }

    /// What is to be sent: one message a client at most, and the connections that end.
    pub fn flush(&mut self, out: &mut Vec<FromTarget>) {
        self.unsent = false;
        for client in &mut self.clients {
            if !client.to_send.is_empty() {
                let bytes = Bytes::from(std::mem::take(&mut client.to_send));
                let client = client.id;
                out.push(FromTarget::Rpc { client, bytes });
            }
            if client.closing {
                out.push(FromTarget::RpcClosed { client: client.id });
            }
        }
        self.clients.retain(|c| !c.closing);
    }

    /// Takes one request off what a client sent, with the batch that it belongs to.
    fn take_request(&mut self, at: usize) -> Option<(Option<u64>, Json)> {
        loop {
            let client = &mut self.clients[at];
            if let Some((batch, request)) = client.rest_of_batch.pop_front() {
                return Some((Some(batch), request));
            }
            match client.take_value()? {
                Json::Array(requests) if !requests.is_empty() => {
                    self.counter += 1;
                    let number = self.counter;
                    let batch = Batch {
                        missing: requests.len(),
                        answers: Vec::new(),
                    };
                    self.batches.insert(number, batch);
                    let requests = requests.into_iter().map(|r| (number, r));
                    client.rest_of_batch.extend(requests);
                }
                request => return Some((None, request)),
            }
        }
    }

    /// Answers what can be answered at once; else opens a call.
    fn handle(
        &mut self,
        client: ClientId,
        batch: Option<u64>,
        request: &Json,
    ) -> Option<(CallId, Method)> {
        let (id, method) = match envelope(request) {
            Ok(request) => (request.id.clone(), self.dispatch(&request)),
            Err(id) => {
                let error = RpcError::new(code::INVALID_REQUEST, "Invalid request");
                (id, Err(Err(error)))
            }
        };
        let reply = ReplyTo { id, batch };
        match method {
            Ok(method) => {
                self.counter += 1;
                let call = CallId(self.counter);
                self.calls.insert(call, Call { client, reply });
                Some((call, method))
            }
            Err(result) => {
                self.reply(client, reply, result);
                None
            }
        }
    }

    /// The method (`jsonrpc_handler`), or the answer that needs none.
    fn dispatch(&self, request: &Request) -> Result<Method, Result<Value, RpcError>> {
        if request.method == "rpc_get_methods" {
            return Err(self.methods(request.params));
        }
        let Some(spec) = Spec::find(request.method) else {
            let error = RpcError::new(code::METHOD_NOT_FOUND, "Method not found");
            return Err(Err(error));
        };
        let too = match (spec.when, self.initialized) {
            (Phase::Runtime, false) => {
                "Method may only be called after framework is initialized using \
                 framework_start_init RPC."
            }
            (Phase::Startup, true) => {
                "Method may only be called before framework is initialized. Use --wait-for-rpc \
                 command line parameter and then issue this RPC before the framework_start_init \
                 RPC."
            }
            (Phase::Runtime, true) | (Phase::Startup, false) | (Phase::Any, _) => {
                return spec.decode(request.params).map_err(Err);
            }
        };
        Err(Err(RpcError::new(code::INVALID_STATE, too)))
    }

    /// `rpc_get_methods`: with `current`, those that may be called now. There are no aliases.
    fn methods(&self, params: Option<&Json>) -> Result<Value, RpcError> {
        let flag = |name| Field {
            name,
            kind: Kind::Flag,
            required: false,
        };
        let fields = [flag("current"), flag("include_aliases")];
        let Some(values) = decode(&fields, params, UnknownKeys::Refused) else {
            return Err(RpcError::new(code::INVALID_PARAMS, "Invalid parameters"));
        };
        let current = matches!(values[0], Some(decode::Value::Flag(true)));
        let wrong = if self.initialized {
            Phase::Startup
        } else {
            Phase::Runtime
        };
        let shown = TABLE.iter().filter(|spec| !current || spec.when != wrong);
        let names = shown.map(|spec| spec.name).chain(["rpc_get_methods"]);
        Ok(names.map(Value::from).collect())
    }

    fn reply(&mut self, client: ClientId, to: ReplyTo, result: Result<Value, RpcError>) {
        let id = to.id;
        let text = match result {
            Ok(value) => format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{value}}}"#),
            Err(error) => format!(
                r#"{{"jsonrpc":"2.0","id":{id},"error":{{"code":{},"message":{}}}}}"#,
                error.code,
                Value::from(error.message)
            ),
        };
        let text = match to.batch {
            None => text,
            Some(number) => match self.fill_batch(number, text) {
                Some(text) => text,
                None => return,
            },
        };
        if let Some(client) = self.clients.iter_mut().find(|c| c.id == client)
            && !client.closing
        {
            client.to_send.extend_from_slice(text.as_bytes());
            client.to_send.push(b'\n');
            self.unsent = true;
        }
    }

    /// Adds an answer to its batch; the whole array if it was the last.
    ///
    /// The one recording of a batch (T-A19) has the answers of two equal requests in reverse, so
    /// the latest stands first here.
    fn fill_batch(&mut self, number: u64, answer: String) -> Option<String> {
        let batch = self.batches.get_mut(&number)?;
        batch.answers.push(answer);
        batch.missing -= 1;
        if batch.missing > 0 {
            return None;
        }
        let mut batch = self.batches.remove(&number)?;
        batch.answers.reverse();
        Some(format!("[{}]", batch.answers.join(",")))
    }
}

impl Client {
    fn new(id: ClientId) -> Self {
        Self {
            id,
            received: Vec::new(),
            rest_of_batch: VecDeque::new(),
            to_send: Vec::new(),
            closing: false,
        }
    }

    /// Takes a whole value off the buffer. There is no way on from malformed text: the connection
    /// ends, and answers not yet sent with it.
    fn take_value(&mut self) -> Option<Json> {
        if self.closing {
            return None;
        }
        match json::parse(&self.received) {
            Ok((value, len)) => {
                self.received.drain(..len);
                return Some(value);
            }
            Err(Fault::Incomplete) => {
                let blanks = json::blanks(&self.received);
                self.received.drain(..blanks);
                self.closing = self.received.len() >= RECEIVE_MAX;
            }
            Err(Fault::Malformed) => self.closing = true,
        }
        if self.closing {
            self.to_send.clear();
            self.received.clear();
        }
        None
    }
}

/// The members of a request (`parse_single_request`), or the id for the refusal: null unless only
/// `params` is wrong.
fn envelope(request: &Json) -> Result<Request<'_>, String> {
    let null = || "null".to_owned();
    let Json::Object(members) = request else {
        return Err(null());
    };
    let [mut version, mut method, mut id, mut params] = [None; 4];
    for (key, value) in members {
        let place = match key.as_str() {
            "jsonrpc" => &mut version,
            "method" => &mut method,
            "id" => &mut id,
            "params" => &mut params,
            _ => return Err(null()),
        };
        if place.replace(value).is_some() {
            return Err(null());
        }
    }
    match version {
        None => {}
        Some(Json::String(version)) if version == "2.0" => {}
        Some(_) => return Err(null()),
    }
    let Some(Json::String(method)) = method else {
        return Err(null());
    };
    let id = match id {
        None | Some(Json::Null) => null(),
        Some(Json::Number(number)) => number.clone(),
        Some(Json::String(text)) => Value::from(text.as_str()).to_string(),
        Some(_) => return Err(null()),
    };
    let params = match params {
        None | Some(Json::Null) => None,
        Some(params @ (Json::Object(_) | Json::Array(_))) => Some(params),
        Some(_) => return Err(id),
    };
    Ok(Request { method, id, params })
}
