//! Letters to the guests' thread: what it is asked, and what main loops tell it.

use std::sync::Arc;
use std::sync::mpsc::Sender;

use scenarios::VmId;
use sim::wire::message::{HbaId, VhostUserReply};
use vmm_sys_util::eventfd::EventFd;

use crate::testbed::guests::Ask;

/// A letter to the guests' thread.
#[derive(Debug)]
pub enum Mail {
    /// Something to do.
    Ask(VmId, Ask),
    /// What a main loop says of connection `conn` of a device.
    Said {
        /// The machine.
        vm: VmId,
        /// Its device.
        hba: HbaId,
        /// The connection's number.
        conn: u32,
        /// What.
        said: Said,
    },
    /// End.
    Stop,
}

/// What a main loop says of a connection.
#[derive(Debug)]
pub enum Said {
    /// An answer.
    Reply(VhostUserReply),
    /// The target has closed it.
    Closed,
    /// It cannot be used, and not because the target closed it.
    Broken(String),
}

/// Sends letters to the guests' thread, and wakes it.
#[derive(Clone, Debug)]
pub struct Post {
    letters: Sender<Mail>,
    /// Rings with each letter.
    pub bell: Arc<EventFd>,
}

impl Post {
    /// To the thread that has the other end of `letters` and waits for `bell`.
    pub const fn new(letters: Sender<Mail>, bell: Arc<EventFd>) -> Self {
        Self { letters, bell }
    }

    /// Sends a letter; `false` if the thread has ended.
    pub fn send(&self, mail: Mail) -> bool {
        let sent = self.letters.send(mail).is_ok();
        // A counter that is full wakes as well.
        let _ = self.bell.write(1);
        sent
    }
}
