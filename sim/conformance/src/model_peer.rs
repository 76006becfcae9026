//! The model target as a peer: its actors take turns in the order of virtual time.
//!
//! Knows the target only as a [`Component`], and by the names of its threads. Actors that are due at
//! the same time go by their number.

use std::collections::BTreeMap;
use std::time::Duration;

use scenarios::{Inside, Observation, Seen, SlotState, Time};

use super::peer::{Peer, PeerError};
use wire::component::{ActorId, Component, Cx, When};
use wire::message::{FromTarget, ToTarget};
use wire::{Rng, Stream};

/// How much of the target's work one look sees: the recorder looked about so often.
const LOOK: Duration = Duration::from_micros(100);
/// Turns in one look, before the target counts as spinning: a bug of the model.
const TURNS_MAX: u32 = 1_000_000;

/// How a transcript's target is made, and its threads are named.
pub trait Maker {
    /// What it makes.
    type Target: Component<In = ToTarget, Out = FromTarget>;

    /// A fresh target with reactors on the cores of `core_mask`.
    ///
    /// # Errors
    ///
    /// No such mask.
    fn make(&self, core_mask: Option<&str>) -> Result<Self::Target, PeerError>;

    /// The actors that stand still while the thread of this name is stopped.
    ///
    /// # Errors
    ///
    /// There is no such thread.
    fn actors_of(&self, target: &Self::Target, thread: &str) -> Result<u128, PeerError>;

    /// The directory of its sockets.
    fn socket_dir(&self) -> &str;
}

/// A model target that is played to.
pub struct ModelPeer<M: Maker> {
    maker: M,
    target: Option<M::Target>,
    rng: Rng,
    now: Time,
    frozen: u128,
    dead: bool,
    saw: Vec<Seen>,
    slots: BTreeMap<(u8, u8, Option<u32>), (SlotState, u32)>,
}

impl<M: Maker> ModelPeer<M> {
    /// Nothing runs yet.
    pub fn new(maker: M) -> Self {
        Self {
            maker,
            target: None,
            rng: Rng::new(0, Stream::Directed),
            now: Time::ZERO,
            frozen: 0,
            dead: false,
            saw: Vec::new(),
            slots: BTreeMap::new(),
        }
    }

    /// The actor that is due first, unless it is stopped.
    fn first_due(&self) -> Option<(Time, ActorId)> {
        let target = self.target.as_ref().filter(|_| !self.dead)?;
        (0..target.actors())
            .filter(|actor| self.frozen >> actor & 1 == 0)
            .filter_map(|actor| match target.when(ActorId(actor)) {
                When::At(time) => Some((time.max(self.now), ActorId(actor))),
                When::Blocked => None,
            })
            .min()
    }

    fn take_note(&mut self) {
        for seen in self.saw.drain(..) {
            if let Observation::Inside(Inside::Slot {
                place,
                session,
                to,
                device,
                ..
            }) = seen.what
            {
                let key = (place.controller.0, place.target.0, session);
                self.slots.insert(key, (to, device));
            }
        }
    }
}

impl<M: Maker> Peer for ModelPeer<M> {
    fn now(&self) -> Time {
        self.now
    }

    fn send(&mut self, message: ToTarget) {
        if let Some(target) = self.target.as_mut().filter(|_| !self.dead) {
            target.input(self.now, message);
        }
    }

    fn run(&mut self, until: Time, said: &mut Vec<FromTarget>) -> Result<(), PeerError> {
        let first = self.first_due().map_or(Time::NEVER, |(time, _)| time);
        if first > until {
            self.now = self.now.max(until);
            return Ok(());
        }
        let end = until.min(first + LOOK);
        let mut turns = 0;
        while let Some((time, actor)) = self.first_due().filter(|(time, _)| *time <= end) {
            self.now = time;
            turns += 1;
            assert!(turns < TURNS_MAX, "the model spins at {time}: {actor:?}");
            let Some(target) = self.target.as_mut() else {
                break;
            };
            let before = said.len();
            target.turn(
                actor,
                &mut Cx {
                    now: self.now,
                    rng: &mut self.rng,
                    out: said,
                    saw: &mut self.saw,
                },
            );
            let died = |message: &FromTarget| matches!(message, FromTarget::Died(_));
            self.dead |= said[before..].iter().any(died);
            self.take_note();
            // A front-end waits in `recv` and sends its next message at once, not at the next look.
            let answer = |message: &FromTarget| matches!(message, FromTarget::Answer { .. });
            if self.dead || said[before..].iter().any(answer) {
                break;
            }
        }
        Ok(())
    }

    fn restart(&mut self, core_mask: Option<&str>) -> Result<(), PeerError> {
        self.target = Some(self.maker.make(core_mask)?);
        self.frozen = 0;
        self.dead = false;
        self.slots.clear();
        Ok(())
    }

    fn freeze(&mut self, thread: &str, frozen: bool) -> Result<(), PeerError> {
        let target = self.target.as_ref();
        let target = target.ok_or(PeerError::NotStarted)?;
        let actors = self.maker.actors_of(target, thread)?;
        if frozen {
            self.frozen |= actors;
        } else {
            self.frozen &= !actors;
        }
        Ok(())
    }

    fn socket_dir(&self) -> &str {
        self.maker.socket_dir()
    }

    fn slots(&self) -> Vec<String> {
        self.slots
            .iter()
            .map(|((controller, target, session), (state, device))| {
                let view = match session {
                    Some(session) => format!("session {session}"),
                    None => "controller".to_owned(),
                };
                let state = format!("{state:?}").to_uppercase();
                format!(
                    "controller {controller} target {target}, {view}: {state} (device {device})"
                )
            })
            .collect()
    }
}
