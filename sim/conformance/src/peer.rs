//! What a transcript is played to: anything that takes a target's messages and gives its answers.
//!
//! The player knows a target only through this. Time is the peer's: virtual for the model, a clock
//! behind sockets.

use scenarios::Time;
use thiserror::Error;

use super::memory::{Region, anonymous};
use wire::message::{FromTarget, ToTarget};

/// The peer broke, or cannot do what a transcript asks.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PeerError {
    /// It has no reactors on the cores of this mask.
    #[error("no reactors on cores {0}")]
    Cores(String),
    /// It has no such thread, or none that could be stopped.
    #[error("no thread {0} can be stopped")]
    Thread(String),
    /// Nothing was started.
    #[error("nothing runs")]
    NotStarted,
    /// Its process has ended; with the status.
    #[error("the target has ended: {0}")]
    Ended(String),
    /// The system, or the target's own answer, is in the way.
    #[error("{0}")]
    Refused(String),
}

/// A target, model or real.
pub trait Peer {
    /// The time now.
    fn now(&self) -> Time;

    /// Hands it a message.
    fn send(&mut self, message: ToTarget);

    /// Lets it run until something may have changed, at most until `until`, and appends what it
    /// said. Time has passed up to the last thing that happened, or up to `until` if nothing did.
    ///
    /// # Errors
    ///
    /// The peer broke.
    fn run(&mut self, until: Time, said: &mut Vec<FromTarget>) -> Result<(), PeerError>;

    /// Starts a fresh process: without bdevs, controllers and connections, and with reactors on
    /// the cores of `core_mask`. Whatever ran before is killed.
    ///
    /// # Errors
    ///
    /// It cannot.
    fn restart(&mut self, core_mask: Option<&str>) -> Result<(), PeerError>;

    /// Lets a thread run no longer, or again.
    ///
    /// # Errors
    ///
    /// There is no such thread, or no means to stop it.
    fn freeze(&mut self, thread: &str, frozen: bool) -> Result<(), PeerError>;

    /// A zeroed region of a front-end's memory, such as this peer can see.
    ///
    /// # Errors
    ///
    /// The host has no memory left.
    fn region(&self, addr: u64, len: usize) -> Result<Region, String> {
        anonymous(addr, len)
    }

    /// Lets it stand still, or go on: what it is sent meanwhile comes to it at once, as stimuli do that follow
    /// each other without a wait. Asked of a peer that goes on by itself, and of no thread that is stopped.
    ///
    /// # Errors
    ///
    /// The peer broke.
    fn hold(&mut self, _still: bool) -> Result<(), PeerError> {
        Ok(())
    }

    /// Whether it goes on while the player does nothing, as a process does. Then a machine that lets the
    /// player wait shifts what was recorded: it comes later, and what is said on two connections comes in
    /// another order.
    fn goes_on(&self) -> bool {
        false
    }

    /// The directory of its sockets: `<S>` in transcripts.
    fn socket_dir(&self) -> &str;

    /// What it knows of its slots, a line each; for people who read a mismatch.
    fn slots(&self) -> Vec<String>;
}
