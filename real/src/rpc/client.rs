//! A JSON-RPC client as SPDK's rpc.py is one: a request, and its answer, on a Unix socket.
//!
//! Who calls waits for the answer, or until his patience is over. Knows no method.

use std::collections::VecDeque;
use std::io;
use std::os::unix::net::UnixStream as Connected;
use std::path::Path;
use std::time::Duration;

use scenarios::driver::json_rpc::{Client, Refused, Unreadable};
use serde_json::Value;
use thiserror::Error;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::runtime::{Builder, Runtime};
use tokio::time::timeout;

/// A connection.
#[derive(Debug)]
pub struct RpcClient {
    stream: UnixStream,
    patience: Duration,
    client: Client<u64>,
    calls: u64,
    /// Answers that came with another one.
    unread: VecDeque<Answer>,
    /// Behind the stream, which is registered with it.
    runtime: Runtime,
}

/// Why a call has no result.
#[derive(Debug, Error)]
pub enum RpcError {
    /// The target says no.
    #[error("{message} ({code})")]
    Refused {
        /// JSON-RPC's or SPDK's code.
        code: i64,
        /// SPDK's text.
        message: String,
    },
    /// The connection failed, or nothing came in time.
    #[error("JSON-RPC: {0}")]
    Io(#[from] io::Error),
    /// What came is no answer.
    #[error("not JSON-RPC: {0}")]
    Unreadable(#[from] Unreadable),
    /// The answer is that to another call.
    #[error("not JSON-RPC: call {call} is answered as {answered}")]
    Another {
        /// What was asked.
        call: u64,
        /// What was answered.
        answered: u64,
    },
}

impl From<Refused> for RpcError {
    fn from(Refused { code, message }: Refused) -> Self {
        Self::Refused { code, message }
    }
}

/// An answer: the number of its call, and the result.
pub type Answer = (u64, Result<Value, RpcError>);

impl RpcClient {
    /// Connects to the socket at `path`; an answer that takes longer than `patience` is an error.
    ///
    /// # Errors
    ///
    /// Nobody listens there.
    pub fn connect(path: &Path, patience: Duration) -> io::Result<Self> {
        let runtime = Builder::new_current_thread()
            .enable_io()
            .enable_time()
            .build()?;
        // Waits for its turn where many connect at once, which one that does not block cannot.
        let stream = Connected::connect(path)?;
        stream.set_nonblocking(true)?;
        let stream = {
            let _context = runtime.enter();
            UnixStream::from_std(stream)?
        };
        Ok(Self {
            stream,
            patience,
            client: Client::default(),
            calls: 0,
            unread: VecDeque::new(),
            runtime,
        })
    }

    /// Calls a method and waits for its answer.
    ///
    /// # Errors
    ///
    /// See [`RpcError`].
    pub fn call(&mut self, method: &str, params: Option<Value>) -> Result<Value, RpcError> {
        let call = self.send(method, params)?;
        match self.receive()? {
            (answered, result) if answered == call => result,
            (answered, _) => Err(RpcError::Another { call, answered }),
        }
    }

    /// Sends a call: its number. Several may be sent before the first is received.
    ///
    /// # Errors
    ///
    /// The connection fails.
    pub fn send(&mut self, method: &str, params: Option<Value>) -> io::Result<u64> {
        self.calls += 1;
        let text = self.client.call(method, params.as_ref(), self.calls);
        let written = self.stream.write_all(text.as_bytes());
        let written = async { timeout(self.patience, written).await };
        self.runtime.block_on(written)??;
        Ok(self.calls)
    }

    /// Waits for the next answer: the number of its call, and what it says.
    ///
    /// # Errors
    ///
    /// Nothing came, or nothing that is an answer.
    pub fn receive(&mut self) -> Result<Answer, RpcError> {
        loop {
            if let Some(answer) = self.unread.pop_front() {
                return Ok(answer);
            }
            let mut bytes = [0; 16 << 10];
            let read = self.stream.read(&mut bytes);
            let read = async { timeout(self.patience, read).await };
            match self.runtime.block_on(read).map_err(io::Error::from)?? {
                0 => return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
                count => {
                    let answers = self.client.read(&bytes[..count])?.into_iter();
                    let answers = answers.map(|(call, said)| (call, said.map_err(RpcError::from)));
                    self.unread.extend(answers);
                }
            }
        }
    }
}
