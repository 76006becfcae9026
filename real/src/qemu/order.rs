//! What a machine can be told, and what it cannot.
//!
//! Does nothing.

use std::time::Duration;

use scenarios::driver::{self, Boots, NotHere};
use scenarios::{FioId, Ticket};

use crate::testbed::guests::{Ask, FioStart, Hba};

/// What a machine can be told.
#[derive(Debug)]
pub(super) enum Order {
    /// Power on with these devices, or with those of the last time if there are none; `reboot` if it runs.
    Boot(Vec<Hba>),
    /// List the disks.
    ListDisks,
    /// Give a sign of life.
    Ping,
    /// Run a fio.
    StartFio(FioStart),
    /// Let a fio begin its I/O.
    Go(FioId),
    /// Answer at this time of a fio's clock.
    WaitJobClock {
        ticket: Ticket,
        fio: FioId,
        at: Duration,
    },
    /// A command of QEMU's monitor that has no arguments.
    Monitor(&'static str, Ticket),
    /// Plug memory in.
    AddMemory(Ticket),
    /// End the process.
    Kill(Ticket),
}

/// What a machine is told to do what a guest is asked for.
///
/// # Errors
///
/// It cannot do that.
pub(super) fn order(ask: Ask) -> Result<Order, NotHere> {
    let not_here = |why: &str| Err(NotHere(why.to_owned()));
    Ok(match ask {
        Ask::Boot(hbas, Boots::System) => Order::Boot(hbas),
        Ask::Boot(_, Boots::FirmwareOnly) => {
            return not_here("a guest without a system cannot say when its firmware is done");
        }
        Ask::StartFio(start) => Order::StartFio(start),
        Ask::Go(fio) => Order::Go(fio),
        Ask::WaitJobClock { ticket, fio, at } => Order::WaitJobClock { ticket, fio, at },
        Ask::Do(driver::Ask::Reboot) => Order::Boot(Vec::new()),
        Ask::Do(driver::Ask::ListDisks) => Order::ListDisks,
        Ask::Do(driver::Ask::Ping) => Order::Ping,
        Ask::Do(driver::Ask::Pause(ticket)) => Order::Monitor("stop", ticket),
        Ask::Do(driver::Ask::Continue(ticket)) => Order::Monitor("cont", ticket),
        Ask::Do(driver::Ask::AddMemory(ticket)) => Order::AddMemory(ticket),
        Ask::Do(driver::Ask::Kill(ticket)) => Order::Kill(ticket),
        Ask::Do(driver::Ask::Reconnect(..)) => {
            return not_here("QEMU's vhost-user-scsi connects anew from 8.2 on");
        }
        Ask::Do(driver::Ask::Manage(_, _, function)) => {
            let why = format!("nothing in the guest's image sends {function}");
            return Err(NotHere(why));
        }
    })
}
