//! Who can run in a guest, and when.

use std::fmt;

use scenarios::Time;
use wire::component::{ActorId, COMPONENT_ACTORS_MAX, When};
use wire::message::HbaId;

use crate::driver::layout::{CPUS, HBAS_MAX, THREADS_MAX};
use crate::ids::ThreadNo;

/// What can run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Actor {
    /// QEMU's main loop, and the guest's agent.
    Qemu,
    /// A CPU that handles calls.
    Cpu(usize),
    /// The event handlers of a device.
    Events(HbaId),
    /// The scans and probes of a device.
    Scans(HbaId),
    /// A fio thread.
    Fio(ThreadNo),
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Qemu => write!(f, "QEMU"),
            Self::Cpu(cpu) => write!(f, "CPU {cpu}"),
            Self::Events(hba) => write!(f, "events of HBA {}", hba.0),
            Self::Scans(hba) => write!(f, "scans of HBA {}", hba.0),
            Self::Fio(thread) => write!(f, "fio thread {}", thread.0),
        }
    }
}

/// When each of them can go.
#[derive(Clone, Debug)]
pub struct Actors {
    ready: Vec<When>,
    changed: u64,
    hbas: usize,
    /// The machine is stopped: QEMU alone goes.
    paused: bool,
}

const CPU: usize = 1;
const WORKERS: usize = CPU + CPUS;

const _: () = {
    let most = WORKERS + 2 * HBAS_MAX + THREADS_MAX;
    assert!(most <= COMPONENT_ACTORS_MAX, "a guest has too many actors");
};

impl Actors {
    pub fn new(hbas: usize) -> Self {
        Self {
            ready: vec![When::Blocked; WORKERS + 2 * hbas + THREADS_MAX],
            changed: 0,
            hbas,
            paused: false,
        }
    }

    #[inline]
    fn number(&self, actor: Actor) -> usize {
        match actor {
            Actor::Qemu => 0,
            Actor::Cpu(cpu) => CPU + cpu,
            Actor::Events(hba) => WORKERS + 2 * usize::from(hba.0),
            Actor::Scans(hba) => WORKERS + 2 * usize::from(hba.0) + 1,
            Actor::Fio(thread) => WORKERS + 2 * self.hbas + thread.0,
        }
    }

    /// Whose number it is.
    pub fn actor(&self, id: ActorId) -> Actor {
        let number = usize::from(id.0);
        let threads = WORKERS + 2 * self.hbas;
        match number {
            0 => Actor::Qemu,
            _ if number < WORKERS => Actor::Cpu(number - CPU),
            _ if number < threads => {
                let hba = HbaId(((number - WORKERS) / 2) as u8);
                if (number - WORKERS).is_multiple_of(2) {
                    Actor::Events(hba)
                } else {
                    Actor::Scans(hba)
                }
            }
            _ => Actor::Fio(ThreadNo(number - threads)),
        }
    }

    pub fn count(&self) -> u16 {
        self.ready.len() as u16
    }

    pub fn when(&self, id: ActorId) -> When {
        if self.paused && id.0 != 0 {
            When::Blocked
        } else {
            self.ready[usize::from(id.0)]
        }
    }

    /// When an actor could go if the machine were not stopped.
    pub fn ready(&self, actor: Actor) -> When {
        self.ready[self.number(actor)]
    }

    /// Those whose `when` may have changed since this was last asked.
    pub fn take_changed(&mut self) -> u64 {
        std::mem::take(&mut self.changed)
    }

    #[inline]
    pub fn set(&mut self, actor: Actor, when: When) {
        let number = self.number(actor);
        self.ready[number] = when;
        self.changed |= 1 << number;
    }

    pub fn block(&mut self, actor: Actor) {
        self.set(actor, When::Blocked);
    }

    /// Makes `actor` ready at `at`, if it is not ready sooner.
    #[inline]
    pub fn wake(&mut self, actor: Actor, at: Time) {
        match self.ready[self.number(actor)] {
            When::At(sooner) if sooner <= at => {}
            When::At(_) | When::Blocked => self.set(actor, When::At(at)),
        }
    }

    pub fn is_paused(&self) -> bool {
        self.paused
    }

    /// Stops the machine.
    pub fn pause(&mut self) {
        self.paused = true;
        self.all_changed();
    }

    /// Lets the machine go on.
    pub fn go_on(&mut self) {
        self.paused = false;
        self.all_changed();
    }

    fn all_changed(&mut self) {
        self.changed = u64::MAX >> (64 - self.ready.len());
    }
}
