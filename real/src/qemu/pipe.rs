//! What is written to a guest's sockets: it waits here until they take it.
//!
//! Knows no line's meaning.

use std::io;

use tokio::io::AsyncWriteExt as _;
use tokio::net::unix::OwnedWriteHalf;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

/// The way into a socket.
#[derive(Clone, Debug)]
pub struct Pipe(UnboundedSender<Vec<u8>>);

impl Pipe {
    /// Writes to `socket`, in a task of its own, until that is closed.
    #[must_use]
    pub fn new(mut socket: OwnedWriteHalf) -> Self {
        let (pipe, mut written) = unbounded_channel::<Vec<u8>>();
        tokio::spawn(async move {
            while let Some(bytes) = written.recv().await {
                // Who closes it says so on the way back.
                if socket.write_all(&bytes).await.is_err() {
                    return;
                }
            }
        });
        Self(pipe)
    }

    /// Writes `text`.
    ///
    /// # Errors
    ///
    /// It is closed.
    pub fn write(&self, text: &str) -> io::Result<()> {
        let sent = self.0.send(text.as_bytes().to_vec());
        sent.map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}
