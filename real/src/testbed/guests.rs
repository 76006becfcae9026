//! The guests' end of a real testbed: what it is asked, and how it says what it saw.
//!
//! Knows no QEMU: a guest may be a model as well, on the sockets of a real target.

use std::path::PathBuf;
use std::sync::{Arc, RwLock};
use std::thread;
use std::time::Duration;

use scenarios::driver::{self, Boots, Refusal};
use scenarios::{ControllerId, DiskId, Evidence, FioId, Observation, Place, Ticket, VmId};
use tokio::sync::mpsc::UnboundedSender;

use crate::serve::News;

/// Which disk says that it has which serial number; filled when the disks are prepared.
pub type Serials = Arc<RwLock<driver::Serials>>;

/// Guests of one kind. What they see they send through the [`Tell`] that they were made with.
pub trait Guests {
    /// What they can show.
    fn evidence(&self) -> Evidence;

    /// Asks one of them. Returns at once.
    ///
    /// # Errors
    ///
    /// Guests of this kind cannot do that, or the machine refuses.
    fn ask(&mut self, vm: VmId, ask: Ask) -> Result<(), Refusal>;
}

/// What a guest is asked to do.
#[derive(Clone, Debug)]
pub enum Ask {
    /// Power on; as [`driver::Ask::Reboot`], if it runs.
    Boot(Vec<Hba>, Boots),
    /// Run a fio. Observed: `FioEnded`, with this guest's jobs.
    StartFio(FioStart),
    /// Let a fio begin its I/O that waits for that ([`Told::Armed`]).
    Go(FioId),
    /// Answer the ticket when it is `at` since all disks of the fio were seen to do I/O, and they still do; with
    /// an error, at once, if it has ended.
    WaitJobClock {
        /// The ticket.
        ticket: Ticket,
        /// The fio.
        fio: FioId,
        /// By the wall clock.
        at: Duration,
    },
    /// What is asked of the guests of any testbed. A ping is answered with [`Told::Alive`]; a guest that boots
    /// because it was asked to needs no more than run.
    Do(driver::Ask),
}

/// A virtio-scsi device of a guest.
#[derive(Clone, Debug)]
pub struct Hba {
    /// Its controller.
    pub controller: ControllerId,
    /// The controller's socket.
    pub socket: PathBuf,
}

/// A fio to run.
#[derive(Clone, Debug)]
pub struct FioStart {
    /// Its number.
    pub fio: FioId,
    /// Its job file: `[global]` only.
    pub globals: String,
    /// Bytes of a block.
    pub block: u32,
    /// The disks, a section each.
    pub on: Vec<(DiskId, Place)>,
    /// For each disk the blocks that it must hold, when the job reads back what others wrote.
    pub must_hold: Option<Vec<u64>>,
}

/// What a guest, or those who watch it, say.
#[derive(Debug)]
pub enum Told {
    /// Something was seen. What several guests answer together becomes one.
    Saw(VmId, Observation),
    /// A fio is about to begin its I/O, and waits until it has come so far in all guests: how long a fio
    /// takes to start differs from guest to guest by more than some jobs last.
    Armed(VmId, FioId),
    /// The answer to a [ping](driver::Ask::Ping).
    Alive(VmId),
    /// The machine failed.
    Lost(String),
    /// Bytes from the target's JSON-RPC socket; none: it was closed.
    Rpc(Vec<u8>),
    /// What a target in this process says.
    Target(News),
}

/// Where [`Told`] goes.
pub type Tell = UnboundedSender<Told>;

/// Says that a guest is lost, if the thread or the task that has this panics: nobody else would.
#[derive(Debug)]
pub struct LastWords {
    /// Who.
    pub who: String,
    /// Where to say it.
    pub tell: Tell,
}

impl Drop for LastWords {
    fn drop(&mut self) {
        if thread::panicking() {
            let who = &self.who;
            // The run may be over.
            let _ = self
                .tell
                .send(Told::Lost(format!("{who}: its thread panicked")));
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc;

    use super::*;

    #[test]
    fn a_thread_that_panics_says_so_and_one_that_ends_does_not() {
        for panics in [true, false] {
            let (tell, mut told) = mpsc::unbounded_channel();
            let who = "VM 1".to_owned();
            let words = LastWords { who, tell };
            let thread = thread::spawn(move || {
                let _words = words;
                assert!(!panics);
            });
            assert_eq!(thread.join().is_err(), panics);
            let last: Vec<Told> = std::iter::from_fn(|| told.blocking_recv()).collect();
            match last.as_slice() {
                [Told::Lost(why)] if panics => assert_eq!(why, "VM 1: its thread panicked"),
                [] if !panics => {}
                other => panic!("{other:?}"),
            }
        }
    }
}
