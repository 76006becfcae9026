//! The world: one target, its guests, virtual time, a seed, and who goes next.
//!
//! One loop takes turns; each message goes straight into the other end's queue. Knows what connects
//! to what; knows neither end, but what [`wire::inside`] asks of both, and nothing of plans or checks.
#![forbid(unsafe_code)]

mod frozen;
mod hash;
mod invariants;
mod route;
mod schedule;
mod snapshot;
mod strategy;
mod turn_log;

use bytes::Bytes;
use scenarios::{ControllerId, Observation, Seen, Time, VmId};

pub use hash::RunHash;
pub use schedule::Schedule;
pub use snapshot::Snapshot;
pub use strategy::{Choice, Choices, Strategy};
pub use turn_log::{Difference, Record, TurnRecord, first_difference};

use invariants::Checked;
use strategy::Pick;
use wire::component::{ActorId, Cx, Memory, TurnInfo};
use wire::message::{ClientId, ConnId, FromGuest, FromTarget, HbaId, ToGuest, ToTarget};
use wire::{BackEnd, FrontEnd, Rng};

/// The target's number in the turn log; guest n is n + 1.
const TARGET: usize = 0;

/// What came of one step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Somebody took a turn.
    Turn,
    /// The next turn is later than the limit: it is now the limit.
    Limit,
    /// Nobody can ever take a turn again unless something is put in.
    AtRest,
}

/// A device of a guest: the controller that it is on, and the name of that controller's socket.
#[derive(Clone, Debug)]
pub struct Device {
    controller: ControllerId,
    socket: Box<str>,
    /// Its connection, while that is open.
    conn: Option<ConnId>,
}

impl Device {
    /// A device that is not connected.
    #[must_use]
    pub fn new(controller: ControllerId, socket: impl Into<Box<str>>) -> Self {
        let socket = socket.into();
        Self {
            controller,
            socket,
            conn: None,
        }
    }
}

/// A guest, and what the world knows of it.
struct Vm<G> {
    id: VmId,
    guest: G,
    /// Its first actor in the schedule.
    first: usize,
    devices: Vec<Device>,
}

/// One target and its guests.
pub struct World<T, G> {
    now: Time,
    schedule: Schedule,
    strategy: Strategy,
    /// The choices so far, if they are recorded.
    choices: Option<Choices>,
    /// The first turn at which a recorded choice could not be followed, if any.
    diverged: Option<u64>,
    /// Which end an actor belongs to, by number of the actor.
    owner: Vec<usize>,
    rng: Rng,
    target: T,
    died: bool,
    vms: Vec<Vm<G>>,
    /// Who is at the other end of each connection.
    conns: Vec<(usize, HbaId)>,
    from_target: Vec<FromTarget>,
    from_guest: Vec<FromGuest>,
    saw: Vec<Seen>,
    rpc: Vec<(ClientId, Bytes)>,
    trace: RunHash,
    order: RunHash,
    turns: u64,
    record: Option<Record>,
    /// Snapshots that were taken.
    snapshots: u64,
    /// Room to put memory back.
    pages: Vec<usize>,
    /// When the invariants were checked last, and how often this world went back to a snapshot.
    checked: Checked,
    restores: u64,
}

impl<T: BackEnd, G: FrontEnd> World<T, G> {
    /// A world with `target` and no guest yet; `rng` are its accidents.
    #[must_use]
    pub fn new(target: T, rng: Rng) -> Self {
        let mut schedule = Schedule::default();
        schedule.add(usize::from(target.actors()));
        let owner = vec![TARGET; usize::from(target.actors())];
        let checked = Checked::of(rng.peek());
        Self {
            now: Time::ZERO,
            schedule,
            strategy: Strategy::Timed,
            choices: None,
            diverged: None,
            owner,
            rng,
            target,
            died: false,
            vms: Vec::new(),
            conns: Vec::new(),
            from_target: Vec::new(),
            from_guest: Vec::new(),
            saw: Vec::new(),
            rpc: Vec::new(),
            trace: RunHash::default(),
            order: RunHash::default(),
            turns: 0,
            record: None,
            snapshots: 0,
            pages: Vec::new(),
            checked,
            restores: 0,
        }
    }

    /// Adds a guest, powered off, with its devices in their order.
    pub fn add_guest(&mut self, id: VmId, guest: G, devices: Vec<Device>) {
        let first = self.schedule.add(usize::from(guest.actors()));
        self.owner
            .resize(first + usize::from(guest.actors()), self.vms.len() + 1);
        self.vms.push(Vm {
            id,
            guest,
            first,
            devices,
        });
    }

    /// Says who goes next, from now on.
    pub fn follow(&mut self, strategy: Strategy) {
        self.strategy = strategy;
    }

    /// Notes every choice from now on.
    pub fn record_choices(&mut self) {
        self.choices = Some(Choices::default());
    }

    /// The choices that were noted.
    #[must_use]
    pub fn choices(&self) -> Option<&Choices> {
        self.choices.as_ref()
    }

    /// The first turn at which the actor of a recorded choice was blocked: what is replayed is not
    /// what was recorded.
    #[must_use]
    pub fn diverged(&self) -> Option<u64> {
        self.diverged
    }

    /// Calls `record` after every turn.
    pub fn record_turns(&mut self, record: Record) {
        self.record = Some(record);
    }

    /// The world as it is now; one that was taken before cannot be gone back to any more. `None` if one of the ends
    /// makes no marks.
    pub fn snapshot(&mut self) -> Option<Snapshot<T, G>> {
        Snapshot::of(self)
    }

    /// Becomes what it was, strategy, rng and hashes included; who records its turns stays.
    ///
    /// It then takes the very turns that it took, or would have taken, after the snapshot.
    ///
    /// # Panics
    ///
    /// If `to` is not the last snapshot of this world.
    pub fn restore(&mut self, to: &Snapshot<T, G>) {
        to.put_back(self);
        self.check_restored(&to.memories);
    }

    /// Draws its accidents from `rng` from now on.
    pub fn reseed(&mut self, rng: Rng) {
        self.rng = rng;
    }

    /// Draws once more from the world's rng: an accident that no seed asked for.
    pub fn disturb(&mut self) {
        self.rng.bits();
    }

    /// Actors in use.
    #[must_use]
    pub fn actors(&self) -> usize {
        self.owner.len()
    }

    /// The time now.
    #[must_use]
    pub fn now(&self) -> Time {
        self.now
    }

    /// Turns taken.
    #[must_use]
    pub fn turns(&self) -> u64 {
        self.turns
    }

    /// The trace hash and the order hash so far.
    #[must_use]
    pub fn hashes(&self) -> (u64, u64) {
        (self.trace.value(), self.order.value())
    }

    /// Whether the target's process has died.
    #[must_use]
    pub fn target_died(&self) -> bool {
        self.died
    }

    /// What was seen since the last call, appended to `seen`.
    pub fn take_seen(&mut self, seen: &mut Vec<Seen>) {
        if seen.is_empty() {
            std::mem::swap(seen, &mut self.saw);
        } else {
            seen.append(&mut self.saw);
        }
    }

    /// What was seen and not yet taken.
    #[must_use]
    pub fn seen(&self) -> &[Seen] {
        &self.saw
    }

    /// Notes an observation of the world's own.
    pub fn see(&mut self, what: Observation) {
        self.saw.push(Seen { at: self.now, what });
    }

    /// Whether the target sent something to an RPC client that was not taken.
    #[must_use]
    pub fn has_rpc(&self) -> bool {
        !self.rpc.is_empty()
    }

    /// Whether nothing was seen beyond the first `looked` observations, and nobody was answered.
    #[inline]
    pub fn shows_nothing(&self, looked: usize) -> bool {
        self.saw.len() == looked && self.rpc.is_empty()
    }

    /// Bytes that the target sent to RPC clients since the last call.
    pub fn take_rpc(&mut self) -> Vec<(ClientId, Bytes)> {
        std::mem::take(&mut self.rpc)
    }

    /// Sends bytes to the target's RPC socket.
    pub fn send_rpc(&mut self, client: ClientId, bytes: Bytes) {
        self.put_target(ToTarget::Rpc { client, bytes });
    }

    /// Asks the guest of `vm` to do something; false if there is none.
    pub fn tell_guest(&mut self, vm: VmId, message: ToGuest) -> bool {
        let Some(vm) = self.vms.iter().position(|known| known.id == vm) else {
            return false;
        };
        self.put_guest(vm, message);
        true
    }

    /// The guests, in the order in which they were added.
    pub fn guests(&mut self) -> impl Iterator<Item = (VmId, &mut G)> {
        self.vms.iter_mut().map(|vm| (vm.id, &mut vm.guest))
    }

    /// Lets the ends look for what no request shows: responses written after they were given back, and,
    /// if everything is at rest, what will never happen though somebody waits for it.
    pub fn audit(&mut self, at_rest: bool) {
        let now = self.now;
        for vm in &mut self.vms {
            let (rng, saw) = (&mut self.rng, &mut self.saw);
            let out = &mut self.from_guest;
            vm.guest.audit(at_rest, &mut Cx { now, rng, out, saw });
        }
        let (rng, saw) = (&mut self.rng, &mut self.saw);
        let out = &mut self.from_target;
        self.target.audit(at_rest, &mut Cx { now, rng, out, saw });
    }

    /// What should be nothing when nothing is going on, as "what: count", of all ends that show it. A target that
    /// has died has nothing.
    #[must_use]
    pub fn left(&self) -> Vec<String> {
        let mut left = Vec::new();
        if !self.died {
            left.extend(self.target.left().into_iter().flatten());
        }
        for vm in &self.vms {
            let of_guest = vm.guest.left().into_iter().flatten();
            left.extend(of_guest.map(|what| format!("{}: {what}", vm.id)));
        }
        left
    }

    /// Bytes of guest memory that were ever written, and of the devices' contents, if those are seen.
    #[must_use]
    pub fn bytes_touched(&self) -> (u64, Option<u64>) {
        let (mut pages, mut counted) = (0, Vec::<Memory>::new());
        self.each_memory(&mut |memory| {
            // Both ends know an inflight buffer.
            if !counted.iter().any(|of| std::sync::Arc::ptr_eq(of, memory)) {
                pages += frozen::pages_touched(memory);
                counted.push(memory.clone());
            }
        });
        let page = wire::dirty::PAGE as u64;
        (pages * page, self.target.stored_bytes())
    }

    fn each_memory(&self, f: &mut dyn FnMut(&Memory)) {
        for vm in &self.vms {
            vm.guest.memories(f);
        }
        self.target.memories(f);
    }

    /// The target.
    #[must_use]
    pub fn target(&self) -> &T {
        &self.target
    }

    /// Lets time pass in which nobody can take a turn.
    ///
    /// # Panics
    ///
    /// If somebody can take one before `until`.
    pub fn pass(&mut self, until: Time) {
        let first = self.schedule.soonest();
        assert!(
            first.is_none_or(|first| first >= until),
            "a turn at {first:?} comes before {until}"
        );
        self.now = self.now.max(until);
    }

    /// Takes the next turn, unless it is later than `limit`.
    pub fn step(&mut self, limit: Time) -> Step {
        let mut pick = self.strategy.pick(&mut self.schedule, self.now, limit);
        if pick == Pick::Diverged {
            self.diverged.get_or_insert(self.turns);
            self.strategy = Strategy::Timed;
            pick = self.strategy.pick(&mut self.schedule, self.now, limit);
        }
        let Pick::Goes(actor, ready) = pick else {
            if pick == Pick::AtRest {
                return Step::AtRest;
            }
            self.now = self.now.max(limit);
            return Step::Limit;
        };
        let is_checked = self.is_checked();
        if is_checked {
            self.check_pick(actor, ready, limit);
        }
        let end = self.owner[actor];
        let point = if T::PREEMPTIBLE && end == TARGET {
            self.strategy.preemption()
        } else {
            None
        };
        if let Some(choices) = &mut self.choices {
            let actor = ActorId(actor as u16);
            choices.push(Choice { actor, point });
        }
        self.now = self.now.max(ready);
        self.schedule.went(actor);
        if end == TARGET {
            if let Some(point) = point {
                self.target.preempt_at(point);
            }
            let turn = self.target_turn(actor);
            self.note_turn(actor, end, &turn);
        } else {
            let turn = self.guest_turn(end - 1, actor);
            self.note_turn(actor, end, &turn);
        }
        if is_checked {
            self.check_turn(end);
        }
        Step::Turn
    }

    #[inline]
    fn target_turn(&mut self, actor: usize) -> T::Turn {
        let mut cx = Cx {
            now: self.now,
            rng: &mut self.rng,
            out: &mut self.from_target,
            saw: &mut self.saw,
        };
        let turn = self.target.turn(ActorId(actor as u16), &mut cx);
        self.refresh_target();
        if !self.from_target.is_empty() {
            self.deliver_from_target();
        }
        turn
    }

    #[inline]
    fn guest_turn(&mut self, vm: usize, actor: usize) -> G::Turn {
        let mut cx = Cx {
            now: self.now,
            rng: &mut self.rng,
            out: &mut self.from_guest,
            saw: &mut self.saw,
        };
        let local = ActorId((actor - self.vms[vm].first) as u16);
        let turn = self.vms[vm].guest.turn(local, &mut cx);
        self.refresh_guest(vm);
        if !self.from_guest.is_empty() {
            self.deliver_from_guest(vm);
        }
        turn
    }

    #[inline]
    fn note_turn(&mut self, actor: usize, end: usize, turn: &impl TurnInfo) {
        let words = turn.words();
        self.turns += 1;
        self.trace
            .fold_turn((actor as u64).rotate_left(56) ^ self.now.0, words);
        if turn.is_hotplug() {
            self.order.fold((end as u64).rotate_left(56) ^ words[0]);
        }
        if self.record.is_some() {
            self.record_turn(actor, end, turn.kind(), words);
        }
    }

    /// Tells whoever is told of every turn.
    #[cold]
    fn record_turn(&mut self, actor: usize, end: usize, kind: &'static str, words: [u64; 3]) {
        let name = if end == TARGET {
            format!("target: {}", self.target.name(ActorId(actor as u16)))
        } else {
            let vm = &self.vms[end - 1];
            let local = ActorId((actor - vm.first) as u16);
            format!("{}: {}", vm.id, vm.guest.name(local))
        };
        let turn = TurnRecord {
            turn: self.turns,
            at: self.now,
            actor: ActorId(actor as u16),
            kind,
            name,
            words,
            hash: self.trace.value(),
        };
        if let Some(record) = &mut self.record {
            record(&turn);
        }
    }
}
