//! Who goes next among those who could: the strategies, and the choices they made.
//!
//! `timed` takes the earliest; `random` any actor that is ready within a slack; `replay` follows
//! choices that were recorded. Knows ready times and numbers of actors, not what an actor is.

use std::collections::VecDeque;
use std::fmt;
use std::num::NonZeroU32;
use std::time::Duration;

use scenarios::Time;

use super::Schedule;
use wire::component::ACTORS_MAX;
use wire::{ActorId, Rng, Stream};

/// How far from now a random schedule may go on; one is drawn for each schedule.
/// The longest stays far below SPDK's time-out of a stop (4 s), which no schedule should invent.
const SLACKS: [Duration; 4] = [
    Duration::ZERO,
    Duration::from_micros(50),
    Duration::from_millis(5),
    Duration::from_millis(100),
];

/// Of a target whose turns can be stopped, a random schedule stops one turn in so many.
const PREEMPT_ONE_IN: u32 = 2;
/// The last preemption point of a turn that a random schedule stops at.
const PREEMPT_POINT_MAX: u32 = 16;

/// Who goes next.
#[derive(Clone, Debug, Default)]
pub enum Strategy {
    /// The earliest; among equals the next one round the table.
    #[default]
    Timed,
    /// Any that is ready within a slack from now on, or, if none is, from the earliest on; each as likely.
    Random {
        /// Nanoseconds.
        slack: u64,
        /// What it draws from.
        rng: Box<Rng>,
    },
    /// What was recorded; then as timed.
    Replay(Choices),
}

/// What comes of asking who goes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pick {
    /// This actor, which has been ready since then.
    Goes(usize, Time),
    /// Nobody before the limit.
    Later,
    /// Nobody at all.
    AtRest,
    /// The actor of a recorded choice is blocked, or is none.
    Diverged,
}

impl Strategy {
    /// A random schedule, with the slack that `seed` draws.
    #[must_use]
    pub fn random(seed: u64) -> Self {
        let mut rng = Rng::new(seed, Stream::Schedule);
        let slack = SLACKS[rng.below(SLACKS.len() as u32) as usize].as_nanos() as u64;
        let rng = Box::new(rng);
        Self::Random { slack, rng }
    }

    /// Who goes next, not later than `limit`, and since when that actor has been ready.
    pub fn next(
        &mut self,
        schedule: &mut Schedule,
        now: Time,
        limit: Time,
    ) -> Option<(usize, Time)> {
        match self.pick(schedule, now, limit) {
            Pick::Goes(actor, since) => Some((actor, since)),
            Pick::Later | Pick::AtRest | Pick::Diverged => None,
        }
    }

    /// Who goes next, not later than `limit`, or why nobody does.
    #[inline]
    pub(super) fn pick(&mut self, schedule: &mut Schedule, now: Time, limit: Time) -> Pick {
        if let Self::Random { slack, rng } = self
            && now <= limit
        {
            // Mostly somebody is ready in time: who is the earliest need not be known.
            let horizon = Time(now.0.saturating_add(*slack)).min(limit);
            if let Some((actor, since)) = schedule.any_until(horizon, rng) {
                return Pick::Goes(actor, since);
            }
        }
        let Some(soonest) = schedule.soonest() else {
            return Pick::AtRest;
        };
        if soonest > limit {
            return Pick::Later;
        }
        let timed = || {
            let next = schedule.next_at(soonest);
            next.map_or(Pick::AtRest, |actor| Pick::Goes(actor, soonest))
        };
        match self {
            Self::Timed => timed(),
            Self::Random { slack, rng } => {
                let horizon = Time(now.max(soonest).0.saturating_add(*slack)).min(limit);
                let any = schedule.any_until(horizon, rng);
                any.map_or(Pick::AtRest, |(actor, since)| Pick::Goes(actor, since))
            }
            Self::Replay(choices) => match choices.next() {
                None => timed(),
                Some(actor) => match schedule.ready(usize::from(actor.0)) {
                    Some(since) => Pick::Goes(usize::from(actor.0), since),
                    None => Pick::Diverged,
                },
            },
        }
    }

    /// At which of its preemption points the turn of the actor that was picked last is to end; `None`: at none.
    /// Asked only of a target that has such points, so that the others' schedules draw nothing for it.
    pub(super) fn preemption(&mut self) -> Option<NonZeroU32> {
        match self {
            Self::Timed => None,
            Self::Random { rng, .. } => {
                let stops = rng.chance(1, PREEMPT_ONE_IN);
                let point = stops.then(|| 1 + rng.below(PREEMPT_POINT_MAX));
                point.and_then(NonZeroU32::new)
            }
            Self::Replay(choices) => choices.point,
        }
    }
}

/// Who went, and how far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Choice {
    /// Who went.
    pub actor: ActorId,
    /// The preemption point at which the turn was to end, if at one.
    pub point: Option<NonZeroU32>,
}

/// The choices of a schedule, in order, as runs of the same one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Choices {
    runs: VecDeque<(Choice, u32)>,
    /// The preemption point of the choice that was taken last.
    point: Option<NonZeroU32>,
}

impl Choices {
    /// Notes a choice.
    pub fn push(&mut self, choice: Choice) {
        match self.runs.back_mut() {
            Some((last, count)) if *last == choice && *count < u32::MAX => *count += 1,
            _ => self.runs.push_back((choice, 1)),
        }
    }

    /// Choices that are left.
    #[must_use]
    pub fn turns(&self) -> u64 {
        self.runs.iter().map(|(_, count)| u64::from(*count)).sum()
    }

    /// The run that is empty, if one is.
    pub(super) fn empty_run(&self) -> Option<String> {
        let empty = self.runs.iter().position(|(_, count)| *count == 0)?;
        Some(format!("run {empty} of {} is", self.runs.len()))
    }

    #[cfg(test)]
    pub(super) fn spoil(&mut self) {
        let actor = ActorId(0);
        self.runs.push_back((Choice { actor, point: None }, 0));
    }

    fn next(&mut self) -> Option<ActorId> {
        self.point = None;
        let (choice, count) = self.runs.front_mut()?;
        let choice = *choice;
        *count -= 1;
        if *count == 0 {
            self.runs.pop_front();
        }
        self.point = choice.point;
        Some(choice.actor)
    }

    /// Reads what [`Display`](fmt::Display) writes.
    ///
    /// # Errors
    ///
    /// Which word is no choice, and what was expected.
    pub fn parse(text: &str) -> Result<Self, String> {
        let run = |word: &str| {
            let (choice, count) = word.split_once('*').unwrap_or((word, "1"));
            let (actor, point) = match choice.split_once('/') {
                Some((actor, point)) => (actor, Some(point.parse().ok()?)),
                None => (choice, None),
            };
            let actor = actor.parse().ok().map(ActorId);
            let actor = actor.filter(|actor| usize::from(actor.0) < ACTORS_MAX)?;
            let count = count.parse().ok().filter(|count| *count > 0)?;
            Some((Choice { actor, point }, count))
        };
        let read = |word: &str| {
            let expected = "ACTOR, ACTOR/POINT, or one of them and *TURNS";
            run(word).ok_or_else(|| {
                format!("expected {expected}, ACTOR below {ACTORS_MAX}, in place of {word:?}")
            })
        };
        let runs: Result<_, String> = text.split_ascii_whitespace().map(read).collect();
        let (runs, point) = (runs?, None);
        Ok(Self { runs, point })
    }
}

impl fmt::Display for Choices {
    /// "3 0*2 7/4": actor 3 once, actor 0 twice, actor 7 up to its turn's fourth preemption point.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, (choice, count)) in self.runs.iter().enumerate() {
            let gap = if n == 0 { "" } else { " " };
            write!(f, "{gap}{}", choice.actor.0)?;
            if let Some(point) = choice.point {
                write!(f, "/{point}")?;
            }
            if *count > 1 {
                write!(f, "*{count}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::component::When;

    fn schedule(times: &[u64]) -> Schedule {
        let mut schedule = Schedule::default();
        schedule.add(times.len());
        let times = times.iter().enumerate();
        times.for_each(|(actor, time)| schedule.set(actor, When::At(Time(*time))));
        schedule
    }

    #[test]
    fn a_random_pick_is_any_within_the_slack_and_the_limit() {
        let mut schedule = schedule(&[100, 130, 160, 900]);
        let mut strategy = Strategy::Random {
            slack: 60,
            rng: Box::new(Rng::new(1, Stream::Schedule)),
        };
        let mut picked = [0; 4];
        for _ in 0..3000 {
            let Pick::Goes(actor, since) = strategy.pick(&mut schedule, Time(0), Time(1000)) else {
                panic!("three are ready");
            };
            assert_eq!(Some(since), schedule.ready(actor));
            picked[actor] += 1;
        }
        assert!(
            picked[..3].iter().all(|n| (900..1100).contains(n)),
            "{picked:?}"
        );
        assert_eq!(picked[3], 0, "it is later than the slack");
        for _ in 0..100 {
            let pick = strategy.pick(&mut schedule, Time(0), Time(140));
            assert!(
                matches!(pick, Pick::Goes(0 | 1, _)),
                "{pick:?} is after the limit"
            );
        }
        assert_eq!(strategy.pick(&mut schedule, Time(0), Time(99)), Pick::Later);
        let mut nobody = Schedule::default();
        assert_eq!(strategy.pick(&mut nobody, Time(0), Time(99)), Pick::AtRest);
    }

    #[test]
    fn recorded_choices_are_followed_until_one_is_blocked() {
        let mut schedule = schedule(&[100, 130]);
        let choices = Choices::parse("1*2 0 5").expect("well formed");
        assert_eq!(choices.turns(), 4);
        let mut strategy = Strategy::Replay(choices);
        let mut pick = || strategy.pick(&mut schedule, Time(0), Time(1000));
        assert_eq!(pick(), Pick::Goes(1, Time(130)));
        assert_eq!(pick(), Pick::Goes(1, Time(130)));
        assert_eq!(pick(), Pick::Goes(0, Time(100)));
        assert_eq!(pick(), Pick::Diverged, "there is no actor 5");
        assert_eq!(pick(), Pick::Goes(0, Time(100)), "then as timed");
    }

    #[test]
    fn where_a_turn_was_stopped_is_followed_too() {
        let mut schedule = schedule(&[100, 130]);
        let choices = Choices::parse("1/3*2 0").expect("well formed");
        let mut strategy = Strategy::Replay(choices);
        let points = [3, 3, 0, 0].map(|point| {
            strategy.pick(&mut schedule, Time(0), Time(1000));
            assert_eq!(strategy.preemption(), NonZeroU32::new(point));
            strategy.preemption().map(NonZeroU32::get)
        });
        assert_eq!(points, [Some(3), Some(3), None, None]);
    }

    #[test]
    fn a_random_schedule_stops_turns_at_each_of_their_first_points_and_a_timed_one_at_none() {
        let mut random = Strategy::random(3);
        let mut stops = [0; PREEMPT_POINT_MAX as usize + 1];
        for _ in 0..10_000 {
            stops[random.preemption().map_or(0, |point| point.get() as usize)] += 1;
        }
        assert!((4500..5500).contains(&stops[0]), "{stops:?}");
        assert!(stops.iter().all(|stops| *stops > 200), "{stops:?}");
        assert_eq!(Strategy::Timed.preemption(), None);
    }

    #[test]
    fn choices_are_written_and_read() {
        let mut choices = Choices::default();
        for (actor, point) in [(3, 0), (0, 0), (0, 0), (0, 2), (0, 2), (7, 4)] {
            let (actor, point) = (ActorId(actor), NonZeroU32::new(point));
            choices.push(Choice { actor, point });
        }
        assert_eq!(choices.to_string(), "3 0*2 0/2*2 7/4");
        assert_eq!(Choices::parse("3 0*2 0/2*2 7/4"), Ok(choices));
        assert_eq!(Choices::parse(""), Ok(Choices::default()));
        for wrong in [
            "65536", "x", "3*0", "3*", "*3", "3**2", "-1", "3/0", "3/", "/3", "3*2/1",
        ] {
            let error = Choices::parse(&format!("1 {wrong}")).expect_err(wrong);
            assert!(error.contains(wrong), "{error}");
        }
    }
}
