//! The header of a vhost-user message, read before the crate `vhost` reads it: vhost 0.18 ends a connection
//! at GET_STATUS and SET_STATUS, which SPDK offers and QEMU sends.
//!
//! Knows framing (vhost-user specification, "Message Specification"), and no message's meaning.

use std::io::{self, Read as _, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::net::UnixStream;
use std::thread::sleep;
use std::time::Duration;

use nix::sys::socket::{MsgFlags, recv};

/// VHOST_USER_SET_STATUS.
pub const SET_STATUS: u32 = 39;
/// VHOST_USER_GET_STATUS.
pub const GET_STATUS: u32 = 40;

/// Bytes of a header.
const SIZE: usize = 12;
/// Protocol version 1, in every header.
const VERSION: u32 = 1;
const REPLY: u32 = 1 << 2;
const NEED_REPLY: u32 = 1 << 3;
/// A header comes in one piece, or its pieces come within as many milliseconds.
const PIECES_MAX: u32 = 100;

/// A header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Which request.
    pub request: u32,
    /// Version, REPLY, NEED_REPLY.
    pub flags: u32,
    /// Bytes that follow.
    pub size: u32,
}

impl Header {
    /// A request's header.
    #[must_use]
    pub const fn of(request: u32, need_reply: bool, size: u32) -> Self {
        let flags = if need_reply {
            VERSION | NEED_REPLY
        } else {
            VERSION
        };
        Self {
            request,
            flags,
            size,
        }
    }

    /// Whether the sender waits for an acknowledgement.
    #[must_use]
    pub const fn needs_reply(self) -> bool {
        self.flags & NEED_REPLY != 0
    }

    /// The header of the next message, which stays where it is; `None`: the connection is over.
    ///
    /// # Errors
    ///
    /// The socket fails, or the header does not come to its end.
    pub fn peek(stream: &UnixStream) -> io::Result<Option<Self>> {
        let mut bytes = [0; SIZE];
        for _ in 0..PIECES_MAX {
            match recv(stream.as_raw_fd(), &mut bytes, MsgFlags::MSG_PEEK) {
                Ok(0) => return Ok(None),
                Ok(SIZE) => return Ok(Some(Self::read(bytes))),
                Ok(_) => sleep(Duration::from_millis(1)),
                Err(nix::Error::EINTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(io::Error::new(
            io::ErrorKind::UnexpectedEof,
            "a message ends within its header",
        ))
    }

    /// Reads the message that was peeked at: a header and a number, if it has one.
    ///
    /// # Errors
    ///
    /// It is not of that form, or the socket fails.
    pub fn take(self, stream: &mut &UnixStream) -> io::Result<Option<u64>> {
        let mut bytes = [0; SIZE];
        stream.read_exact(&mut bytes)?;
        if self.flags & !NEED_REPLY != VERSION || !matches!(self.size, 0 | 8) {
            let wrong = format!("request {}: {} bytes", self.request, self.size);
            return Err(io::Error::new(io::ErrorKind::InvalidData, wrong));
        }
        if self.size == 0 {
            return Ok(None);
        }
        let mut number = [0; 8];
        stream.read_exact(&mut number)?;
        Ok(Some(u64::from_ne_bytes(number)))
    }

    /// Answers the message with a number.
    ///
    /// # Errors
    ///
    /// The socket fails.
    pub fn answer(self, stream: &mut &UnixStream, number: u64) -> io::Result<()> {
        let header = Self {
            request: self.request,
            flags: VERSION | REPLY,
            size: 8,
        };
        header.send(stream, &number.to_ne_bytes())
    }

    /// Sends a message with this header.
    ///
    /// # Errors
    ///
    /// The socket fails.
    pub fn send(self, stream: &mut &UnixStream, body: &[u8]) -> io::Result<()> {
        let mut bytes = Vec::with_capacity(SIZE + body.len());
        for field in [self.request, self.flags, self.size] {
            bytes.extend(field.to_ne_bytes());
        }
        bytes.extend(body);
        stream.write_all(&bytes)
    }

    /// Reads the answer to a message with this header: a number.
    ///
    /// # Errors
    ///
    /// Something else came, or the socket fails.
    pub fn answered(self, stream: &mut &UnixStream) -> io::Result<u64> {
        let mut bytes = [0; SIZE + 8];
        stream.read_exact(&mut bytes)?;
        let (header, number) = bytes.split_at(SIZE);
        let header = Self::read(header.try_into().expect("as long as a header"));
        let expected = Self {
            request: self.request,
            flags: VERSION | REPLY,
            size: 8,
        };
        if header != expected {
            let wrong = format!("{header:?} is no answer to request {}", self.request);
            return Err(io::Error::new(io::ErrorKind::InvalidData, wrong));
        }
        Ok(u64::from_ne_bytes(number.try_into().expect("eight bytes")))
    }

    fn read(bytes: [u8; SIZE]) -> Self {
        let field = |at: usize| {
            let bytes = bytes[at..at + 4].try_into().expect("four bytes");
            u32::from_ne_bytes(bytes)
        };
        Self {
            request: field(0),
            flags: field(4),
            size: field(8),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_that_is_peeked_at_stays_and_one_that_never_ends_is_an_error() {
        let (here, there) = UnixStream::pair().expect("a pair");
        Header::of(SET_STATUS, true, 8)
            .send(&mut &there, &15u64.to_ne_bytes())
            .expect("sent");
        let header = Header::peek(&here).expect("whole").expect("there");
        assert_eq!(header, Header::of(SET_STATUS, true, 8));
        assert!(header.needs_reply());
        assert_eq!(header.take(&mut &here).expect("a status"), Some(15));
        (&there).write_all(&[1, 0, 0]).expect("sent");
        drop(there);
        assert!(Header::peek(&here).is_err());
    }

    #[test]
    fn a_connection_that_is_closed_has_no_header() {
        let (here, there) = UnixStream::pair().expect("a pair");
        drop(there);
        assert_eq!(Header::peek(&here).expect("no error"), None);
    }
}
