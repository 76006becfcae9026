//! What wakes the target's thread: letters from other threads, and descriptors.
//!
//! Knows neither what is in a letter nor what a descriptor is for.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::time::TimeSpec;
use sim::wire::message::{ConnId, VhostUser};

/// A letter to the target's thread.
#[derive(Debug)]
pub enum Mail {
    /// A front-end's request, with the descriptor that it brought.
    Request {
        /// Whose.
        conn: ConnId,
        /// The request.
        message: VhostUser,
        /// A kick or call descriptor.
        descriptor: Option<File>,
    },
    /// A connection has ended.
    Gone {
        /// Which.
        conn: ConnId,
        /// Why, if the front-end did not end it.
        why: Option<String>,
    },
    /// End.
    Stop,
}

/// Sends letters to the target's thread, and wakes it.
#[derive(Clone, Debug)]
pub struct Bell {
    letters: Sender<Mail>,
    event: Arc<EventFd>,
}

/// Where the letters arrive.
#[derive(Debug)]
pub struct Inbox {
    /// The letters.
    pub letters: Receiver<Mail>,
    event: Arc<EventFd>,
}

impl Bell {
    /// A bell, and where it rings.
    ///
    /// # Errors
    ///
    /// The system refuses.
    pub fn new() -> io::Result<(Self, Inbox)> {
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        let event = Arc::new(EventFd::from_flags(flags)?);
        let (letters, inbox) = mpsc::channel();
        let bell = Self {
            letters,
            event: event.clone(),
        };
        let letters = inbox;
        Ok((bell, Inbox { letters, event }))
    }

    /// Sends a letter; `false` if the target's thread has ended.
    pub fn send(&self, mail: Mail) -> bool {
        let sent = self.letters.send(mail).is_ok();
        // A counter that is full wakes as well.
        let _ = self.event.write(1);
        sent
    }
}

/// What a descriptor is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Token {
    /// Letters, or kicks: looked for wherever they may be.
    Look,
    /// A new JSON-RPC connection.
    RpcListener,
    /// A JSON-RPC client.
    RpcClient(u32),
    /// A new front-end, at the socket with this number.
    Socket(u32),
}

impl Token {
    fn number(self) -> u64 {
        let (kind, number) = match self {
            Self::Look => (0, 0),
            Self::RpcListener => (1, 0),
            Self::RpcClient(number) => (2, number),
            Self::Socket(number) => (3, number),
        };
        kind << 32 | u64::from(number)
    }

    fn of(number: u64) -> Self {
        let (kind, number) = (number >> 32, number as u32);
        match kind {
            1 => Self::RpcListener,
            2 => Self::RpcClient(number),
            3 => Self::Socket(number),
            _ => Self::Look,
        }
    }
}

/// The descriptors that wake.
#[derive(Debug)]
pub struct Wake {
    epoll: Epoll,
}

impl Wake {
    /// Woken by `inbox`.
    ///
    /// # Errors
    ///
    /// The system refuses.
    pub fn new(inbox: &Inbox) -> io::Result<Self> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        let wake = Self { epoll };
        wake.add_edge(&inbox.event)?;
        Ok(wake)
    }

    /// Woken as long as there is something to read.
    ///
    /// # Errors
    ///
    /// The system refuses.
    pub fn add(&self, of: impl AsFd, token: Token) -> io::Result<()> {
        let event = EpollEvent::new(EpollFlags::EPOLLIN, token.number());
        Ok(self.epoll.add(of, event)?)
    }

    /// Woken once whenever something is written: nobody has to read it, which a peer might have done
    /// before. Says [`Token::Look`].
    ///
    /// # Errors
    ///
    /// A descriptor that nobody can wait for.
    pub fn add_edge(&self, of: impl AsFd) -> io::Result<()> {
        let flags = EpollFlags::EPOLLIN | EpollFlags::EPOLLET;
        let event = EpollEvent::new(flags, Token::Look.number());
        Ok(self.epoll.add(of, event)?)
    }

    /// Not woken any more. To be said before it is closed: a peer may keep it open.
    pub fn remove(&self, of: impl AsFd) {
        // It was added, or could not be.
        let _ = self.epoll.delete(of);
    }

    /// Sleeps until something wakes, or for `span`.
    pub fn sleep(&self, span: Option<Duration>) {
        let mut polled = [PollFd::new(self.epoll.0.as_fd(), PollFlags::POLLIN)];
        let span = span.map(TimeSpec::from_duration);
        // A signal wakes as well.
        let _ = ppoll(&mut polled, span, None);
    }

    /// What has woken, into `tokens`.
    pub fn take(&self, tokens: &mut Vec<Token>) {
        let mut events = [EpollEvent::empty(); 64];
        let count = self
            .epoll
            .wait(&mut events, EpollTimeout::ZERO)
            .unwrap_or(0);
        let found = events[..count].iter();
        tokens.extend(found.map(|event| Token::of(event.data())));
    }
}
