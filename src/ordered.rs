//! The order in which actions are asked for and answered: noted on one testbed, imposed on another.
//!
//! An order point is an action: those before it that had been answered, how many requests of
//! applications had been submitted, and how many disks had come to guests or gone. Knows no plan.

use std::time::Duration;

use scenarios::script::is_answer;
use scenarios::testbed::{Evidence, Testbed, TestbedError};
use scenarios::{Action, Ending, Observation, Performed, Seen, Ticket, Time};

/// The longest time between two actions that is kept: what a real target is to do between them takes
/// less.
pub const GAP_MAX: Duration = Duration::from_secs(1);
/// What has to come first comes within this, or the point is not enforced: SPDK gives up waiting for an NVMe
/// controller to go after 10 s (`bdev_nvme_detach_controller`).
const PATIENCE: Duration = Duration::from_secs(15);

/// What was under way when a target died is heard of within this, or not at all: nobody waits out the limits
/// of answers that cannot come.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// An action, and what came before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Point {
    /// The action.
    pub action: Action,
    /// When it was asked for.
    pub at: Time,
    /// Which of the points before it had been answered.
    pub answered: Vec<bool>,
    /// Requests of applications that had been submitted.
    pub submitted: u64,
    /// Disks that had come to guests, or gone from them.
    pub moved: u64,
}

impl Point {
    /// What is not as it was here, if `other` did not come after as much as this one, and before as much.
    #[must_use]
    pub fn missed_by(&self, other: Option<&Self>) -> Option<String> {
        let Some(other) = other.filter(|other| other.action == self.action) else {
            return Some(format!("{} was not asked for", self.action));
        };
        let answered = self.answered.iter().zip(&other.answered);
        if let Some(n) = answered.clone().position(|(then, now)| then != now) {
            let was = if self.answered[n] { "after" } else { "before" };
            return Some(format!("{} {was} the answer to {}", self.action, n + 1));
        }
        if other.submitted < self.submitted {
            let (then, now) = (self.submitted, other.submitted);
            return Some(format!(
                "{} with {now} requests submitted, not {then}",
                self.action
            ));
        }
        (other.moved != self.moved).then(|| {
            let (then, now) = (self.moved, other.moved);
            format!(
                "{} when {now} disks had come or gone, not {then}",
                self.action
            )
        })
    }
}

/// A testbed whose order is noted, and imposed if there is one to impose.
pub struct Ordered<'a> {
    inner: &'a mut dyn Testbed,
    wanted: &'a [Point],
    points: Vec<Point>,
    tickets: Vec<Ticket>,
    answered: Vec<bool>,
    submitted: u64,
    moved: u64,
    /// Seen while an action had to wait, and not handed on yet.
    unread: Vec<Seen>,
    died: bool,
}

impl<'a> Ordered<'a> {
    /// Notes the order on `inner`, and imposes that of `wanted`.
    pub fn new(inner: &'a mut dyn Testbed, wanted: &'a [Point]) -> Self {
        Self {
            inner,
            wanted,
            points: Vec::new(),
            tickets: Vec::new(),
            answered: Vec::new(),
            submitted: 0,
            moved: 0,
            unread: Vec::new(),
            died: false,
        }
    }

    /// What was noted.
    #[must_use]
    pub fn into_points(self) -> Vec<Point> {
        self.points
    }

    /// Waits for what came before the next action in the order that is imposed.
    fn wait(&mut self) -> Result<(), TestbedError> {
        let wanted = self.wanted;
        let next = self.points.len();
        let Some(point) = wanted.get(next) else {
            return Ok(());
        };
        let before = next.checked_sub(1).map(|last| {
            let gap = point.at.since(wanted[last].at).min(GAP_MAX);
            self.points[last].at + gap
        });
        let begin = before.unwrap_or(Time::ZERO);
        while self.inner.now() < begin && !self.died {
            self.look(begin)?;
        }
        let deadline = self.inner.now() + PATIENCE;
        let missing = |of: &Self| {
            let answers = point.answered.iter().zip(&of.answered);
            of.submitted < point.submitted
                || of.moved < point.moved
                || answers.clone().any(|(then, now)| *then && !now)
        };
        while missing(self) && self.inner.now() < deadline && !self.died {
            self.look(deadline)?;
        }
        Ok(())
    }

    fn look(&mut self, deadline: Time) -> Result<(), TestbedError> {
        let before = self.unread.len();
        let mut unread = std::mem::take(&mut self.unread);
        let observed = self.inner.observe(deadline, &mut unread);
        self.unread = unread;
        self.note(before);
        observed
    }

    /// Notes what was seen from number `from` on.
    fn note(&mut self, from: usize) {
        for seen in &self.unread[from..] {
            match &seen.what {
                Observation::IoSubmitted(_) => self.submitted += 1,
                Observation::DiskAppeared(_) | Observation::DiskVanished(_) => self.moved += 1,
                Observation::Crashed { .. } => self.died = true,
                what => {
                    let points = self.points.iter().zip(&self.tickets);
                    for ((point, ticket), answered) in points.zip(&mut self.answered) {
                        *answered |= is_answer(what, &point.action, *ticket);
                    }
                }
            }
        }
    }
}

/// Whether an action is one whose order counts: questions are asked as often as somebody is curious.
fn counts(action: &Action) -> bool {
    let asks = matches!(action, Action::ListDisks { .. } | Action::CheckAlive);
    let waits = matches!(action, Action::Settle | Action::WaitJobClock { .. });
    !asks && !waits
}

impl Testbed for Ordered<'_> {
    fn evidence(&self) -> Evidence {
        self.inner.evidence()
    }

    fn now(&self) -> Time {
        self.inner.now()
    }

    fn perform(&mut self, action: &Action) -> Result<Performed, TestbedError> {
        if matches!(action, Action::Settle) && self.died {
            // A target that has died leaves everything as it was.
            self.unread.push(Seen {
                at: self.now(),
                what: Observation::Quiet {
                    settled: false,
                    left: Vec::new(),
                },
            });
            return Ok(Performed::Asked(Ticket(u32::MAX)));
        }
        if !counts(action) {
            return self.inner.perform(action);
        }
        if !self.died {
            self.wait()?;
        }
        self.points.push(Point {
            action: action.clone(),
            at: self.inner.now(),
            answered: self.answered.clone(),
            submitted: self.submitted,
            moved: self.moved,
        });
        self.answered.push(false);
        let performed = if self.died {
            // Nobody waits for what a target that has died does not answer.
            Performed::NotHere("the target has died".to_owned())
        } else {
            self.inner.perform(action)?
        };
        self.tickets.push(match performed {
            Performed::Asked(ticket) => ticket,
            Performed::NotHere(_) => Ticket(u32::MAX),
        });
        Ok(performed)
    }

    fn observe(&mut self, deadline: Time, seen: &mut Vec<Seen>) -> Result<(), TestbedError> {
        if self.unread.is_empty() {
            let last = self.inner.now() + LAST_WORDS;
            let deadline = if self.died {
                deadline.min(last)
            } else {
                deadline
            };
            self.look(deadline)?;
        }
        seen.append(&mut self.unread);
        Ok(())
    }

    fn ending(&self) -> Ending {
        self.inner.ending()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A testbed whose target dies after a second, and in which nothing happens any more.
    #[derive(Default)]
    struct Dying {
        now: Time,
        died: bool,
    }

    impl Testbed for Dying {
        fn evidence(&self) -> Evidence {
            Evidence::default()
        }

        fn now(&self) -> Time {
            self.now
        }

        fn perform(&mut self, _: &Action) -> Result<Performed, TestbedError> {
            Ok(Performed::Asked(Ticket(1)))
        }

        fn observe(&mut self, deadline: Time, seen: &mut Vec<Seen>) -> Result<(), TestbedError> {
            if std::mem::replace(&mut self.died, true) {
                self.now = deadline;
                return Ok(());
            }
            self.now = Time::ZERO + Duration::from_secs(1);
            seen.push(Seen {
                at: self.now,
                what: Observation::Crashed {
                    who: "target".into(),
                    how: "SIGSEGV".into(),
                },
            });
            Ok(())
        }

        fn ending(&self) -> Ending {
            Ending::default()
        }
    }

    /// SPDK's death is seen late: a request that is sent meanwhile, for which somebody waits, has no answer.
    #[test]
    fn nobody_waits_long_for_an_answer_of_a_target_that_has_died() {
        let mut dying = Dying::default();
        let mut ordered = Ordered::new(&mut dying, &[]);
        let limit = Time::ZERO + Duration::from_secs(30);
        let asked = ordered.perform(&Action::SaveConfig).expect("it is asked");
        assert_eq!(asked, Performed::Asked(Ticket(1)));
        let mut seen = Vec::new();
        ordered.observe(limit, &mut seen).expect("it dies");
        assert_eq!(seen.len(), 1);
        ordered.observe(limit, &mut seen).expect("nothing comes");
        assert_eq!(seen.len(), 1);
        assert_eq!(ordered.now(), Time::ZERO + Duration::from_secs(2));
    }
}
