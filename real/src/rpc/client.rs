//! A JSON-RPC client as SPDK's rpc.py is one: a request, and its answer.
//!
//! Knows JSON-RPC 2.0; knows no method.

use std::fmt;
use std::io::{self, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

/// A connection.
#[derive(Debug)]
pub struct RpcClient {
    stream: UnixStream,
    next: u64,
    unread: Vec<u8>,
}

/// Why a call has no result.
#[derive(Debug)]
pub enum RpcError {
    /// The target says no.
    Refused {
        /// JSON-RPC's or SPDK's code.
        code: i64,
        /// SPDK's text.
        message: String,
    },
    /// The connection failed, or nothing came in time.
    Io(io::Error),
    /// What came is no JSON-RPC, or the answer to another call.
    Garbled(String),
}

impl RpcClient {
    /// Connects to the socket at `path`; an answer that takes longer than `patience` is an error.
    ///
    /// # Errors
    ///
    /// Nobody listens there.
    pub fn connect(path: &Path, patience: Duration) -> io::Result<Self> {
        let stream = UnixStream::connect(path)?;
        stream.set_read_timeout(Some(patience))?;
        stream.set_write_timeout(Some(patience))?;
        Ok(Self {
            stream,
            next: 1,
            unread: Vec::new(),
        })
    }

    /// Calls a method and waits for its answer.
    ///
    /// # Errors
    ///
    /// See [`RpcError`].
    pub fn call(&mut self, method: &str, params: Option<Value>) -> Result<Value, RpcError> {
        let id = self.send(method, params).map_err(RpcError::Io)?;
        let (answered, result) = self.receive()?;
        if answered != Some(id) {
            return Err(RpcError::Garbled(format!(
                "call {id} is answered as {answered:?}"
            )));
        }
        result
    }

    /// Sends a call: its id. Several may be sent before the first is received.
    ///
    /// # Errors
    ///
    /// The connection fails.
    pub fn send(&mut self, method: &str, params: Option<Value>) -> io::Result<u64> {
        let id = self.next;
        self.next += 1;
        let mut request = json!({"jsonrpc": "2.0", "id": id, "method": method});
        if let Some(params) = params {
            request["params"] = params;
        }
        self.stream.write_all(request.to_string().as_bytes())?;
        Ok(id)
    }

    /// Waits for the next answer: the id of its call, and what it says.
    ///
    /// # Errors
    ///
    /// Nothing came, or nothing that is an answer.
    pub fn receive(&mut self) -> Result<Answer, RpcError> {
        loop {
            if let Some(answer) = self.take()? {
                return Ok(answer);
            }
            let mut bytes = [0; 16 << 10];
            match self.stream.read(&mut bytes).map_err(RpcError::Io)? {
                0 => return Err(RpcError::Io(io::ErrorKind::UnexpectedEof.into())),
                count => self.unread.extend_from_slice(&bytes[..count]),
            }
        }
    }

    fn take(&mut self) -> Result<Option<Answer>, RpcError> {
        let mut answers = serde_json::Deserializer::from_slice(&self.unread).into_iter::<Value>();
        let answer = match answers.next() {
            None => return Ok(None),
            Some(Err(error)) if error.is_eof() => return Ok(None),
            Some(Err(error)) => return Err(RpcError::Garbled(error.to_string())),
            Some(Ok(answer)) => answer,
        };
        let read = answers.byte_offset();
        self.unread.drain(..read);
        let result = match answer.get("error") {
            None => Ok(answer["result"].clone()),
            Some(error) => Err(RpcError::Refused {
                code: error["code"].as_i64().unwrap_or_default(),
                message: error["message"].as_str().unwrap_or_default().to_owned(),
            }),
        };
        Ok(Some((answer["id"].as_u64(), result)))
    }
}

/// An answer: the id of its call, and the result.
pub type Answer = (Option<u64>, Result<Value, RpcError>);

impl fmt::Display for RpcError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused { code, message } => write!(f, "{message} ({code})"),
            Self::Io(error) => write!(f, "JSON-RPC: {error}"),
            Self::Garbled(what) => write!(f, "not JSON-RPC: {what}"),
        }
    }
}

impl std::error::Error for RpcError {}
