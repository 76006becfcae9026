//! Real guests: QEMU with the distribution's Linux and fio, and an agent of ours.
//!
//! ```text
//!  image ─▶ process ──virtio-serial──▶ agent.sh   (agent: what is said on that line)
//!              │  └────QMP────▶ qmp
//!              └─ console: read for oopses
//! ```
//!
//! Knows QEMU and Linux; knows no plan, and of the target nothing but the paths of its sockets.

mod agent;
mod command;
mod console;
mod cpio;
mod fio_end;
pub mod image;
pub mod kernel;
mod lines;
mod listing;
mod pipe;
mod process;
mod qmp;
mod vm;

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use scenarios::driver::{self, Boots, NotHere, Refusal};
use scenarios::{Evidence, TestbedError, VmId};
use thiserror::Error;
use tokio::runtime::Runtime;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::task::JoinHandle;

pub use image::{Image, ImageOptions};
pub use process::{Accelerator, accelerator};

use crate::huge_pages::Pages;
use crate::testbed::guests::{Ask, Guests, LastWords, Serials, Tell};
use crate::testbed::run_dir::RunDir;
use vm::{Mail, Vm};

/// A QEMU that is killed has ended within this, if the system is well.
const END_MAX: Duration = Duration::from_secs(5);

/// What all machines of a run share.
#[derive(Clone, Debug)]
pub struct Shared {
    /// What they boot.
    pub image: Image,
    /// What runs them.
    pub accelerator: Accelerator,
    /// What their memory is made of.
    pub pages: Pages,
    /// Where their sockets are.
    pub dir: Arc<RunDir>,
    /// How their disks are known.
    pub serials: Serials,
    /// Where what they see goes.
    pub tell: Tell,
}

/// QEMU guests.
#[derive(Debug)]
pub struct QemuGuests {
    shared: Shared,
    runtime: Rc<Runtime>,
    vms: BTreeMap<VmId, Running>,
}

/// A machine's task.
#[derive(Debug)]
struct Running {
    mail: UnboundedSender<Mail>,
    task: JoinHandle<()>,
}

impl QemuGuests {
    /// No machine runs yet; they will in `runtime`.
    #[must_use]
    pub fn new(shared: Shared, runtime: Rc<Runtime>) -> Self {
        Self {
            shared,
            runtime,
            vms: BTreeMap::new(),
        }
    }

    fn machine(&mut self, id: VmId) -> Result<&Running, TestbedError> {
        if !self.vms.contains_key(&id) {
            let (mail, inbox) = unbounded_channel();
            let vm = Vm::new(id, self.shared.clone(), mail.clone());
            let (who, tell) = (id.to_string(), self.shared.tell.clone());
            let words = LastWords { who, tell };
            let task = self.runtime.spawn(async move {
                let _words = words;
                vm.run(inbox).await;
            });
            self.vms.insert(id, Running { mail, task });
        }
        self.vms
            .get(&id)
            .ok_or_else(|| TestbedError(format!("{id} is not there")))
    }
}

impl Guests for QemuGuests {
    fn evidence(&self) -> Evidence {
        Evidence::GUEST_DISKS.union(Evidence::FIO_REPORT)
    }

    fn ask(&mut self, vm: VmId, ask: Ask) -> Result<(), Refusal> {
        can_do(&ask)?;
        let lost = |_| TestbedError(format!("the task of {vm} has ended"));
        let sent = self.machine(vm)?.mail.send(Mail::Ask(ask));
        Ok(sent.map_err(lost)?)
    }
}

/// Whether a machine can do that.
fn can_do(ask: &Ask) -> Result<(), NotHere> {
    use driver::Ask as Do;
    Err(NotHere(match ask {
        Ask::Boot(_, Boots::FirmwareOnly) => {
            "a guest without a system cannot say when its firmware is done".to_owned()
        }
        Ask::Do(Do::Reconnect(..)) => "QEMU's vhost-user-scsi connects anew from 8.2 on".to_owned(),
        Ask::Do(Do::Manage(_, _, function)) => {
            format!("nothing in the guest's image sends {function}")
        }
        Ask::Boot(_, Boots::System)
        | Ask::StartFio(_)
        | Ask::Go(_)
        | Ask::WaitJobClock { .. }
        | Ask::Do(Do::Reboot | Do::ListDisks | Do::Ping | Do::Pause(_) | Do::Continue(_))
        | Ask::Do(Do::AddMemory(_) | Do::Kill(_)) => return Ok(()),
    }))
}

impl Drop for QemuGuests {
    fn drop(&mut self) {
        for running in self.vms.values() {
            // It may have ended.
            let _ = running.mail.send(Mail::Stop);
        }
        self.runtime.block_on(async {
            for running in std::mem::take(&mut self.vms).into_values() {
                // A panic of it was reported when it happened; what does not end in time goes with its parent.
                let _ = tokio::time::timeout(END_MAX, running.task).await;
            }
        });
    }
}

/// Why there is no image for guests.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ImageError {
    /// A file cannot be used.
    #[error("{}: {why}", file.display())]
    File {
        /// The file.
        file: PathBuf,
        /// Why.
        why: String,
    },
    /// Something has to be installed or given.
    #[error("{0}")]
    Missing(String),
    /// A program that makes a part of it failed.
    #[error("{0}")]
    Program(String),
}

impl ImageError {
    fn at(file: &Path, why: &dyn fmt::Display) -> Self {
        let (file, why) = (file.to_owned(), why.to_string());
        Self::File { file, why }
    }
}
