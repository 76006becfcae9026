//! Model guests on real sockets: the simulator's guest, in shared memory, by the wall clock.
//!
//! ```text
//!  Ask ─▶ machines (one thread, all guests) ──kick, call──▶ target
//!              └─▶ main_loop (a thread a machine) ──vhost-user──▶ target
//! ```
//!
//! Knows sockets and the guest's messages; knows no plan, and of the target nothing but its sockets.
//!
//! # Divergence from Linux
//!
//! What the guest's parts take, a reading of the wall clock decides: the modelled latencies are the least
//! that passes, and a busy machine adds to them.

mod machines;
mod mail;
mod main_loop;

use std::io;
use std::sync::Arc;
use std::sync::mpsc;
use std::thread::{self, JoinHandle};

use fio_model::Volume;
use scenarios::driver::Refusal;
use scenarios::{Evidence, TestbedError, VmId};
use vmm_sys_util::eventfd::{EFD_CLOEXEC, EFD_NONBLOCK, EventFd};

use crate::huge_pages::Pages;
use crate::testbed::guests::{Ask, Guests, LastWords, Serials, Tell};
use machines::Machines;
use mail::{Mail, Post};

/// What all model guests of a run share.
#[derive(Clone, Debug)]
pub struct Shared {
    /// Decides what the guests leave to chance.
    pub seed: u64,
    /// Blocks that each disk of a job covers; `None`: as the job says.
    pub volume: Option<Volume>,
    /// What their memory is made of.
    pub pages: Pages,
    /// How their disks are known.
    pub serials: Serials,
    /// Where what they see goes.
    pub tell: Tell,
}

/// Model guests.
#[derive(Debug)]
pub struct ModelGuests {
    post: Post,
    thread: Option<JoinHandle<()>>,
}

impl ModelGuests {
    /// No machine runs yet.
    ///
    /// # Errors
    ///
    /// The system refuses.
    pub fn new(shared: Shared) -> io::Result<Self> {
        let bell = Arc::new(EventFd::new(EFD_NONBLOCK | EFD_CLOEXEC)?);
        let (letters, inbox) = mpsc::channel();
        let post = Post::new(letters, bell);
        let (who, tell) = ("the guests".to_owned(), shared.tell.clone());
        let words = LastWords { who, tell };
        let machines = Machines::new(shared, post.clone(), inbox)?;
        let named = thread::Builder::new().name("guests".to_owned());
        let thread = named.spawn(move || {
            let _words = words;
            machines.run();
        })?;
        Ok(Self {
            post,
            thread: Some(thread),
        })
    }
}

impl Guests for ModelGuests {
    fn evidence(&self) -> Evidence {
        let seen = Evidence::GUEST_DISKS.union(Evidence::FIO_REPORT);
        seen.union(Evidence::PER_IO)
    }

    fn ask(&mut self, vm: VmId, ask: Ask) -> Result<(), Refusal> {
        if self.post.send(Mail::Ask(vm, ask)) {
            return Ok(());
        }
        Err(TestbedError("the guests' thread has ended".to_owned()).into())
    }
}

impl Drop for ModelGuests {
    fn drop(&mut self) {
        self.post.send(Mail::Stop);
        if let Some(thread) = self.thread.take() {
            // A panic of it was reported when it happened.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use scenarios::ControllerId;
    use scenarios::driver::Boots;
    use sim::linux::HBAS_MAX;

    use super::*;
    use crate::testbed::guests::{Hba, Told};

    #[test]
    fn a_guest_with_more_devices_than_its_interrupts_tell_apart_is_refused() {
        let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
        let shared = Shared {
            seed: 1,
            volume: None,
            pages: Pages::Ordinary,
            serials: Serials::default(),
            tell,
        };
        let mut guests = ModelGuests::new(shared).expect("a thread, and a few descriptors");
        let hbas = (0..=HBAS_MAX as u8).map(|n| Hba {
            controller: ControllerId(n),
            socket: "/nonexistent/vhost".into(),
        });
        let boot = Ask::Boot(hbas.collect(), Boots::System);
        guests.ask(VmId(1), boot).expect("their thread runs");
        let expected = "VM 1 has 17 controllers; a model guest has at most 16";
        match told.blocking_recv() {
            Some(Told::Lost(why)) => assert_eq!(why, expected),
            other => panic!("expected {expected:?}, got {other:?}"),
        }
    }
}
