//! The testbed *sim*: a target and model guests in one world, in virtual time.
//!
//! Lets the world take turns until something was seen. Knows no plan and no check; what actions and answers
//! mean is the driver's to know.

use std::time::Duration;

use scenarios::driver::{Disks, Driver, Ends as _, Limits, Share};
use scenarios::{
    Action, Ending, Evidence, Observation, Performed, Seen, Testbed, TestbedError, Time, VmId, said,
};

use linux::Guest;
use spdk::Target;
use wire::inside::{BackEnd, Inside as _};
use wire::message::{GuestAct, ToGuest};
use wire::{Rng, Stream};
use world::{Choices, Record, Step, Strategy, TurnRecord, World};

use crate::disks::ModelledDisks;
use crate::ends::SimEnds;
use crate::options::SimOptions;

/// How long everybody has to answer (virtual time).
const LIMITS: Limits = Limits {
    alive: Duration::from_secs(10),
    settle: Duration::from_secs(120),
    ask_every: None,
};
/// Observations that are handed over in one piece at most.
const SEEN_MAX: usize = 256;

/// The simulated testbed: some target, model guests.
pub struct Sim<T = Target> {
    pub(crate) driver: Driver<SimEnds<T>>,
}

impl Sim {
    /// A testbed with a model target that has not been started yet.
    #[must_use]
    pub fn new(options: SimOptions) -> Self {
        let target = Target::new(options.target());
        Self::with(target, Box::new(ModelledDisks), options)
    }

    /// What a plan is run on: made here, so that its turns are compiled with this crate, which is optimised (and
    /// not inlined, or it would be made there).
    #[must_use]
    #[inline(never)]
    pub fn as_testbed(&mut self) -> &mut dyn Testbed {
        self
    }

    /// As [`Self::as_testbed`].
    #[must_use]
    #[inline(never)]
    pub fn boxed(self) -> Box<dyn Testbed> {
        Box::new(self)
    }

    /// Bytes of guest memory that were ever written, and of the devices' contents.
    #[must_use]
    pub fn bytes_touched(&self) -> (u64, u64) {
        let (guests, devices) = self.driver.ends.world.bytes_touched();
        (guests, devices.expect("the model shows its devices"))
    }

    /// Bytes that the devices' contents take: less than what they hold where that can be made again.
    #[must_use]
    pub fn bytes_kept(&self) -> u64 {
        self.driver.ends.world.target().kept_bytes()
    }
}

impl Sim<linked::Target> {
    /// As [`Sim::as_testbed`].
    #[must_use]
    #[inline(never)]
    pub fn boxed(self) -> Box<dyn Testbed> {
        Box::new(self)
    }
}

impl<T: BackEnd> Sim<T> {
    /// A testbed with a target that has not been started yet, and on which disks are made like this.
    #[must_use]
    pub fn with(target: T, disks: Box<dyn Disks>, options: SimOptions) -> Self {
        let mut world = World::new(target, Rng::new(options.seed, Stream::Accidents));
        world.follow(options.strategy.clone());
        // Asked once, so that turns cost nothing that nobody hears.
        if tracing::enabled!(target: "turn", tracing::Level::TRACE) {
            world.record_turns(Box::new(say_turn));
        }
        let ends = SimEnds {
            world,
            disks,
            options,
        };
        let driver = Driver::new(ends, LIMITS);
        Self { driver }
    }

    /// Goes on with the accidents of another seed, and with another strategy.
    pub fn reseed(&mut self, seed: u64, strategy: Strategy) {
        self.driver
            .ends
            .world
            .reseed(Rng::new(seed, Stream::Accidents));
        self.driver.ends.world.follow(strategy);
    }

    /// Notes who goes, turn by turn ([`Self::choices`]).
    pub fn record_choices(&mut self) {
        self.driver.ends.world.record_choices();
    }

    /// Who went, if that was noted.
    #[must_use]
    pub fn choices(&self) -> Option<&Choices> {
        self.driver.ends.world.choices()
    }

    /// The turn at which recorded choices could not be followed any more.
    #[must_use]
    pub fn diverged(&self) -> Option<u64> {
        self.driver.ends.world.diverged()
    }

    /// Calls `record` after every turn.
    pub fn record_turns(&mut self, record: Record) {
        self.driver.ends.world.record_turns(record);
    }

    /// Whether a difference is to be planted now.
    fn disturbs(&self) -> bool {
        self.driver.ends.options.disturb_at == Some(self.driver.ends.world.turns())
    }

    /// Turns answers on the RPC socket into observations.
    fn read_rpc(&mut self) -> Result<(), TestbedError> {
        for (_, bytes) in self.driver.ends.world.take_rpc() {
            self.driver.read(&bytes)?;
        }
        Ok(())
    }

    /// Takes over what the world saw, appended to `seen`: what several guests answer becomes one answer.
    fn take_seen(&mut self, seen: &mut Vec<Seen>) {
        let old = seen.len();
        self.driver.ends.world.take_seen(seen);
        let mut n = 0;
        seen.retain_mut(|seen| {
            n += 1;
            n <= old || self.driver.complete(None, &mut seen.what) == Share::Whole
        });
    }

    /// Says who is alive, once all have answered or the time is over.
    fn answer_alive(&mut self, seen: &mut Vec<Seen>) {
        let at = self.driver.ends.world.now();
        let alive = self.driver.signs_of_life();
        seen.extend(alive.map(|what| Seen { at, what }));
    }

    /// Nothing can happen any more, so no fio that runs will ever end: it has hung.
    fn give_up(&mut self) {
        // All of them: which of two guests on one controller has ended its share is not known.
        let vms: Vec<VmId> = self.driver.vms().collect();
        for vm in vms {
            let give_up = ToGuest::Do(GuestAct::GiveUp);
            self.driver.ends.world.tell_guest(vm, give_up);
        }
    }

    /// Nothing can happen any more (`settled`), or the limit came: says so to whoever waits for it.
    fn at_rest(&mut self, end: Step) {
        if self.driver.at_rest() {
            let settled = end == Step::AtRest;
            let left = self.driver.ends.left(settled);
            self.driver.ends.see(Observation::Quiet { settled, left });
        }
    }

    /// Whether something was seen that someone may want to act on at once, or that is not handed on as
    /// the world saw it.
    fn is_urgent(seen: &[Seen]) -> bool {
        seen.iter().any(|seen| {
            !matches!(
                seen.what,
                Observation::IoSubmitted(_) | Observation::IoDone { .. } | Observation::Inside(_)
            )
        })
    }
}

/// Says that a turn was taken.
fn say_turn(turn: &TurnRecord) {
    said::at(turn.at, || tracing::trace!(target: "turn", "{turn}"));
}

impl<T: BackEnd> Testbed for Sim<T> {
    fn evidence(&self) -> Evidence {
        let both = T::EVIDENCE.union(Guest::EVIDENCE);
        if self.driver.ends.options.per_io {
            both.union(Evidence::PER_IO)
        } else {
            both
        }
    }

    fn now(&self) -> Time {
        self.driver.ends.world.now()
    }

    fn perform(&mut self, action: &Action) -> Result<Performed, TestbedError> {
        self.driver.perform(action)
    }

    fn observe(&mut self, deadline: Time, seen: &mut Vec<Seen>) -> Result<(), TestbedError> {
        let before = seen.len();
        let mut looked = 0;
        loop {
            let settles_by = self.driver.settles_by();
            let limit = settles_by.map_or(deadline, |settle| settle.min(deadline));
            let step = self.driver.ends.world.step(limit);
            if step == Step::Turn
                && self.driver.ends.world.shows_nothing(looked)
                && !self.disturbs()
            {
                continue;
            }
            if self.driver.ends.world.has_rpc() {
                self.read_rpc()?;
            }
            match step {
                Step::Turn => {
                    if self.disturbs() {
                        self.driver.ends.world.disturb();
                    }
                }
                Step::AtRest if self.driver.waits_for_fio_only() => {
                    self.give_up();
                    continue;
                }
                Step::AtRest => self.at_rest(step),
                Step::Limit if settles_by == Some(limit) => self.at_rest(step),
                Step::Limit => {}
            }
            let fresh = self.driver.ends.world.seen();
            let urgent = Self::is_urgent(&fresh[looked..]);
            looked = fresh.len();
            if step == Step::Turn && !urgent && looked < SEEN_MAX {
                continue;
            }
            if urgent {
                self.take_seen(seen);
            } else {
                self.driver.ends.world.take_seen(seen);
            }
            looked = 0;
            self.answer_alive(seen);
            if step == Step::AtRest && seen.len() == before && deadline != Time::NEVER {
                self.driver.ends.world.pass(deadline);
            }
            if seen.len() > before || step != Step::Turn {
                return Ok(());
            }
        }
    }

    fn ending(&self) -> Ending {
        let (trace_hash, order_hash) = self.driver.ends.world.hashes();
        Ending {
            trace_hash,
            order_hash,
            turns: self.driver.ends.world.turns(),
        }
    }
}
