//! When each actor of the target is due.
//!
//! Knows the reactors, and no actor's work.

use scenarios::Time;

use crate::handles::{APP, BDEV, DPDK, VDEV};
use crate::mail::{NO_MESSAGE, Stamp};
use wire::component::When;

/// On which cores the threads run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reactors {
    /// The app thread and the controllers' threads share one, and take turns on it.
    One,
    /// Each controller's thread is on its own.
    Many,
}

/// When each actor is due.
#[derive(Clone, Debug)]
pub struct Agenda {
    due: Vec<Time>,
    messages: Vec<Stamp>,
    /// The actors that have a message.
    mail: u64,
    /// The actors that are due at all.
    active: u64,
    changed: u64,
    one_reactor: bool,
    stalled: Time,
}

impl Agenda {
    /// Nobody is due.
    pub fn new(actors: usize, reactors: Reactors) -> Self {
        Self {
            due: vec![Time::NEVER; actors],
            messages: vec![NO_MESSAGE; actors],
            mail: 0,
            active: 0,
            changed: 0,
            one_reactor: reactors == Reactors::One,
            stalled: Time::ZERO,
        }
    }

    /// When `actor` was last said to be due.
    #[inline]
    pub fn due(&self, actor: usize) -> Time {
        self.due[actor]
    }

    /// Notes when `actor` is due: at all, and for a message.
    #[inline]
    pub fn set(&mut self, actor: usize, due: Time, message: Stamp) {
        if self.due[actor] == due && self.messages[actor] == message {
            return;
        }
        self.due[actor] = due;
        self.active &= !(1 << actor);
        self.active |= u64::from(due != Time::NEVER) << actor;
        if self.messages[actor] != message {
            self.changed |= if self.one_reactor {
                self.active
            } else {
                1 << BDEV
            };
            self.mail &= !(1 << actor);
            self.mail |= u64::from(message != NO_MESSAGE) << actor;
            self.messages[actor] = message;
        }
        self.changed |= 1 << actor;
    }

    /// Notes that `actor` is due at `due`, if it was not due sooner; its messages are those that they were.
    #[inline]
    pub fn sooner(&mut self, actor: usize, due: Time) {
        if due < self.due[actor] {
            self.due[actor] = due;
            self.active |= 1 << actor;
            self.changed |= 1 << actor;
        }
    }

    /// The reactor of the app thread stands still until `until`.
    pub fn stall(&mut self, until: Time) {
        self.stalled = self.stalled.max(until);
        self.changed |= self.active;
    }

    /// When `actor` can take a turn.
    ///
    /// On one reactor, threads take turns: no thread acts while another has an older message. The devices end
    /// tasks on the controllers' threads, which take their messages before they poll.
    #[inline]
    pub fn when(&self, actor: usize) -> When {
        let mut due = self.due[actor];
        if due == Time::NEVER {
            return When::Blocked;
        }
        if actor == APP || (actor >= VDEV && self.one_reactor) {
            due = due.max(self.stalled);
        }
        let mut others = match actor {
            DPDK => 0,
            _ if self.one_reactor => self.mail & !(1 << actor),
            BDEV => self.mail & !(1 << APP),
            _ => 0,
        };
        if others != 0 {
            let mine = self.messages[actor].min((self.due[actor], u64::MAX));
            while others != 0 {
                if self.messages[others.trailing_zeros() as usize] < mine {
                    return When::Blocked;
                }
                others &= others - 1;
            }
        }
        When::At(due)
    }

    /// What `actor` was last said to have for a message.
    pub fn message(&self, actor: usize) -> Stamp {
        self.messages[actor]
    }

    /// An actor whose bit says something else than its times do.
    pub fn masked_wrongly(&self) -> Option<String> {
        (0..self.due.len()).find_map(|actor| {
            let (due, message) = (self.due[actor], self.messages[actor]);
            let says = |mask: u64| mask >> actor & 1 == 1;
            let (active, mail) = (says(self.active), says(self.mail));
            (active != (due != Time::NEVER) || mail != (message != NO_MESSAGE)).then(|| {
                format!(
                    "actor {actor} is due at {due:?}, {message:?}: active {active}, mail {mail}"
                )
            })
        })
    }

    /// The actors whose time may have changed since the last call.
    #[inline]
    pub fn take_changed(&mut self) -> u64 {
        std::mem::take(&mut self.changed)
    }
}

/// A change to a target that breaks the invariant of this name.
#[cfg(test)]
pub const MUTANTS: crate::tests::Mutants = &[
    ("who_is_due_has_its_bit", |t| t.agenda.active ^= 1 << APP),
    ("who_is_due_has_its_bit", |t| t.agenda.mail ^= 1 << VDEV),
    ("messages_are_noted", |t| {
        t.agenda.messages[APP] = (Time(1), 1);
        t.agenda.mail |= 1 << APP;
    }),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_wait_for_the_older_messages_of_a_controllers_thread() {
        for reactors in [Reactors::One, Reactors::Many] {
            let one_reactor = reactors == Reactors::One;
            let mut agenda = Agenda::new(VDEV + 2, reactors);
            agenda.set(BDEV, Time(10), NO_MESSAGE);
            let message = |agenda: &mut Agenda, actor, at| {
                agenda.take_changed();
                agenda.set(actor, at, (at, 1));
                assert!(agenda.take_changed() & 1 << BDEV != 0, "it is asked again");
                let when = agenda.when(BDEV);
                agenda.set(actor, Time::NEVER, NO_MESSAGE);
                when
            };
            assert_eq!(message(&mut agenda, VDEV, Time(9)), When::Blocked);
            assert_eq!(message(&mut agenda, VDEV, Time(11)), When::At(Time(10)));
            // The app thread's do not matter to a controller's thread on a reactor of its own.
            let app = if one_reactor {
                When::Blocked
            } else {
                When::At(Time(10))
            };
            assert_eq!(message(&mut agenda, APP, Time(9)), app);
            assert_eq!(agenda.when(BDEV), When::At(Time(10)));
        }
    }
}
