//! A toy workload on the simulator's own engine: its schedule, strategies, ends and trace hash.
//!
//! Four producers and a server with one queue. A producer, a hundred times: sleeps 0 to 9 ms of virtual
//! time, asks, and checks the answer; the server takes 0 to 1 ms for each. 400 exchanges in all, of four
//! turns each: the producer wakes and asks, the server takes the question, wakes and answers, the producer
//! gets the answer. Without sleeps, only the scheduler's choice orders things, and the server, which then
//! has nothing to wake from, answers in the turn in which it takes the question: three turns, as state
//! machines on a bare list take them, where shuttle's threads and channels have five scheduling points.
//! With sleeps of no time there are four again. `benches/toy.rs` has it on other simulators.
#![forbid(unsafe_code)]

use std::collections::VecDeque;

use scenarios::{Seen, Time};
use sim::wire::component::TurnInfo;
use sim::world::{RunHash, Schedule, Strategy};
use sim::{ActorId, Component, Cx, Rng, Stream, When};

/// Producers.
pub const PRODUCERS: u64 = 4;
/// Exchanges of each.
pub const EXCHANGES: u64 = 100;
/// How long everybody sleeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sleeps {
    /// Milliseconds, by virtual time.
    Long,
    /// No time, but to sleep and to wake are turns.
    Zero,
    /// Nobody does.
    Never,
}

/// What came of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ran {
    /// The hash of all turns.
    pub hash: u64,
    /// Nanoseconds of virtual time.
    pub time: u64,
    /// Turns taken.
    pub turns: u64,
}

/// Nanoseconds of a millisecond.
const MS: u64 = 1_000_000;

/// What the server makes of a question.
#[must_use]
pub fn answer(question: u64) -> u64 {
    question.rotate_left(7) ^ 0x5a5a
}

/// xoshiro256++ (Blackman, Vigna), seeded by SplitMix64: the same draws on every simulator.
#[derive(Clone, Debug)]
pub struct Xoshiro([u64; 4]);

impl Xoshiro {
    /// The stream `stream` of `seed`.
    #[must_use]
    pub fn new(seed: u64, stream: u64) -> Self {
        let mut state = seed ^ stream.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        Self(std::array::from_fn(|_| {
            state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
            let mut z = state;
            z = (z ^ z >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            z = (z ^ z >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
            z ^ z >> 31
        }))
    }

    /// 64 bits.
    pub fn bits(&mut self) -> u64 {
        let [a, b, c, d] = self.0;
        let drawn = a.wrapping_add(d).rotate_left(23).wrapping_add(a);
        let (c, d) = (c ^ a, d ^ b);
        self.0 = [a ^ d, b ^ c, c ^ b << 17, d.rotate_left(45)];
        drawn
    }

    /// A number of milliseconds up to `most`.
    pub fn ms(&mut self, most: u64) -> u64 {
        self.bits() % (most + 1)
    }
}

/// A turn: of whom, and what about.
#[derive(Clone, Copy, Debug)]
pub struct ToyTurn(u64, u64);

impl TurnInfo for ToyTurn {
    fn words(&self) -> [u64; 3] {
        [self.0, self.1, 0]
    }

    fn kind(&self) -> &'static str {
        "toy"
    }

    fn is_hotplug(&self) -> bool {
        true
    }
}

#[derive(Clone, Copy, Debug)]
struct Question {
    producer: u16,
    number: u64,
    payload: u64,
}

#[derive(Clone, Copy, Debug)]
struct Answer {
    producer: u16,
    payload: u64,
}

struct Producer {
    draws: Xoshiro,
    asked: u64,
    payload: u64,
    answered: Option<u64>,
    when: When,
}

struct Producers {
    all: Vec<Producer>,
    changed: u64,
    sleeps: Sleeps,
}

impl Component for Producers {
    type In = Answer;
    type Out = Question;
    type Turn = ToyTurn;

    fn input(&mut self, now: Time, message: Answer) {
        let producer = &mut self.all[usize::from(message.producer)];
        producer.answered = Some(message.payload);
        producer.when = When::At(now);
        self.changed |= 1 << message.producer;
    }

    fn when(&self, actor: ActorId) -> When {
        self.all[usize::from(actor.0)].when
    }

    fn actors(&self) -> u16 {
        self.all.len() as u16
    }

    fn changed(&mut self) -> u64 {
        std::mem::take(&mut self.changed)
    }

    fn turn(&mut self, actor: ActorId, cx: &mut Cx<'_, Question>) -> ToyTurn {
        let producer = &mut self.all[usize::from(actor.0)];
        self.changed |= 1 << actor.0;
        if let Some(payload) = producer.answered.take() {
            assert_eq!(payload, answer(producer.payload), "a wrong answer");
            producer.when = if producer.asked == EXCHANGES {
                When::Blocked
            } else if self.sleeps == Sleeps::Long {
                When::At(Time(cx.now.0 + producer.draws.ms(9) * MS))
            } else {
                When::At(cx.now)
            };
        } else {
            producer.payload = producer.draws.bits();
            let (number, payload) = (producer.asked, producer.payload);
            producer.asked += 1;
            producer.when = When::Blocked;
            let producer = actor.0;
            cx.out.push(Question {
                producer,
                number,
                payload,
            });
        }
        let asked = self.all[usize::from(actor.0)].asked;
        ToyTurn(actor.0.into(), asked)
    }
}

struct Server {
    queue: VecDeque<Question>,
    serving: Option<Question>,
    draws: Xoshiro,
    when: When,
    touched: bool,
    sleeps: Sleeps,
}

impl Component for Server {
    type In = Question;
    type Out = Answer;
    type Turn = ToyTurn;

    fn input(&mut self, now: Time, message: Question) {
        self.queue.push_back(message);
        if self.serving.is_none() {
            self.when = When::At(now);
            self.touched = true;
        }
    }

    fn when(&self, _: ActorId) -> When {
        self.when
    }

    fn actors(&self) -> u16 {
        1
    }

    fn changed(&mut self) -> u64 {
        u64::from(std::mem::take(&mut self.touched))
    }

    fn turn(&mut self, _: ActorId, cx: &mut Cx<'_, Answer>) -> ToyTurn {
        self.touched = true;
        if self.serving.is_none() {
            self.serving = self.queue.pop_front();
            let takes = match self.sleeps {
                Sleeps::Long => Some(self.draws.ms(1) * MS),
                Sleeps::Zero => Some(0),
                Sleeps::Never => None,
            };
            if let Some(takes) = takes {
                self.when = When::At(Time(cx.now.0 + takes));
                return ToyTurn(16, self.queue.len() as u64);
            }
        }
        let question = self.serving.take().expect("it is woken for a question");
        let Question {
            producer,
            number,
            payload,
        } = question;
        let payload = answer(payload);
        cx.out.push(Answer { producer, payload });
        self.when = if self.queue.is_empty() {
            When::Blocked
        } else {
            When::At(cx.now)
        };
        ToyTurn(8 + u64::from(producer), number)
    }
}

/// The producers and the server, before anything has happened.
fn ends(seed: u64, sleeps: Sleeps) -> (Producers, Server) {
    let all = (0..PRODUCERS).map(|producer| {
        let mut draws = Xoshiro::new(seed, producer);
        let first = if sleeps == Sleeps::Long {
            draws.ms(9) * MS
        } else {
            0
        };
        let when = When::At(Time(first));
        Producer {
            draws,
            asked: 0,
            payload: 0,
            answered: None,
            when,
        }
    });
    let producers = Producers {
        all: all.collect(),
        changed: (1 << PRODUCERS) - 1,
        sleeps,
    };
    let server = Server {
        queue: VecDeque::new(),
        serving: None,
        draws: Xoshiro::new(seed, PRODUCERS),
        when: When::Blocked,
        touched: true,
        sleeps,
    };
    (producers, server)
}

/// Takes over from an end when its actors can go, as the world does; `first` is the first of them.
fn refresh(end: &mut impl Component, first: usize, schedule: &mut Schedule) {
    let mut changed = end.changed();
    while changed != 0 {
        let actor = changed.trailing_zeros() as u16;
        changed &= changed - 1;
        schedule.set(first + usize::from(actor), end.when(ActorId(actor)));
    }
}

/// An end takes a turn; what comes of it is appended to `out`.
#[inline]
fn turn<E: Component<Turn = ToyTurn>>(
    end: &mut E,
    actor: usize,
    now: Time,
    rng: &mut Rng,
    (out, saw): (&mut Vec<E::Out>, &mut Vec<Seen>),
) -> [u64; 3] {
    let mut cx = Cx { now, rng, out, saw };
    end.turn(ActorId(actor as u16), &mut cx).words()
}

/// What came of a turn goes straight to the other end, as in the world.
#[inline]
fn hand_over<E: Component<In: Copy>>(
    messages: &mut Vec<E::In>,
    to: &mut E,
    first: usize,
    now: Time,
    schedule: &mut Schedule,
) {
    if !messages.is_empty() {
        messages.iter().for_each(|message| to.input(now, *message));
        messages.clear();
        refresh(to, first, schedule);
    }
}

/// Runs the workload with `seed`.
///
/// # Panics
///
/// If an answer is wrong, or not all exchanges were made.
#[must_use]
pub fn run(seed: u64, sleeps: Sleeps) -> Ran {
    let mut strategy = if sleeps == Sleeps::Long {
        Strategy::Timed
    } else {
        Strategy::random(seed)
    };
    let (mut producers, mut server) = ends(seed, sleeps);
    let mut schedule = Schedule::default();
    schedule.add(PRODUCERS as usize + 1);
    refresh(&mut producers, 0, &mut schedule);
    let mut rng = Rng::new(seed, Stream::Accidents);
    let (mut hash, mut now, mut turns) = (RunHash::default(), Time::ZERO, 0);
    let (mut questions, mut answers, mut saw) = (Vec::new(), Vec::new(), Vec::new());
    let served = PRODUCERS as usize;
    while let Some((actor, ready)) = strategy.next(&mut schedule, now, Time::NEVER) {
        now = now.max(ready);
        schedule.went(actor);
        let words = if actor == served {
            let to = (&mut answers, &mut saw);
            let words = turn(&mut server, 0, now, &mut rng, to);
            refresh(&mut server, served, &mut schedule);
            hand_over(&mut answers, &mut producers, 0, now, &mut schedule);
            words
        } else {
            let to = (&mut questions, &mut saw);
            let words = turn(&mut producers, actor, now, &mut rng, to);
            refresh(&mut producers, 0, &mut schedule);
            hand_over(&mut questions, &mut server, served, now, &mut schedule);
            words
        };
        hash.fold_turn((actor as u64) << 56 ^ now.0, words);
        turns += 1;
    }
    let made = producers
        .all
        .iter()
        .all(|producer| producer.asked == EXCHANGES);
    assert!(made, "all exchanges are made");
    Ran {
        hash: hash.value(),
        time: now.0,
        turns,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_is_a_run_and_another_is_another() {
        for (sleeps, turns) in [(Sleeps::Long, 4), (Sleeps::Zero, 4), (Sleeps::Never, 3)] {
            let ran = run(7, sleeps);
            assert_eq!(ran, run(7, sleeps));
            assert_ne!(ran.hash, run(8, sleeps).hash);
            assert_eq!(ran.turns, turns * PRODUCERS * EXCHANGES, "{sleeps:?}");
        }
        let time = run(7, Sleeps::Long).time;
        assert!((300..1_200).contains(&(time / MS)), "{time} ns");
    }
}
