//! A property: whatever happens to it, a target breaks no invariant. Many stories, all checks on.
//!
//! Knows nothing of arguments and files.

use std::fmt;
use std::ops::Range;

use scenarios::CheckId;
use scenarios::story::Story;
use sim::Bug;
use sim::world::Strategy;

use crate::interrupt::asked;
use crate::repro::{Finding, Repro, What};
use crate::run::{Behaviour, RunError, Schedule, bugs};
use crate::shrink::shrink;
use crate::story::{StoryOptions, drawn, tell};

/// Which stories are told, and of what target.
///
/// ```
/// use plugfest::{Behaviour, Property};
///
/// let hot_plug = Property { seeds: 0..50, ..Property::default() };
/// let told = hot_plug.check().expect("an intended target keeps every invariant");
/// assert!(told.verified > 0, "some of the stories wrote and read back");
///
/// let head = Property { seeds: 0..500, behaviour: Behaviour::Head, ..Property::default() };
/// let failure = head.check().expect_err("SPDK's head answers remove_target too early, for one");
/// println!("{failure}"); // the few steps that are left, what was expected, and what was seen
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Property {
    /// A story and a schedule each.
    pub seeds: Range<u64>,
    /// How the model target behaves.
    pub behaviour: Behaviour,
    /// Bugs beside those of `behaviour`.
    pub bugs: Vec<Bug>,
    /// Who goes next.
    pub schedule: Schedule,
}

impl Default for Property {
    /// 100 stories of a target as it should be, under random schedules.
    fn default() -> Self {
        Self {
            seeds: 0..100,
            behaviour: Behaviour::Intended,
            bugs: Vec::new(),
            schedule: Schedule::Random,
        }
    }
}

/// What was told without a violation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// Stories.
    pub stories: u64,
    /// Blocks that fio found right.
    pub verified: u64,
}

/// Where a property stands.
#[derive(Clone, Copy, Debug)]
pub enum Hunt {
    /// So much was told.
    Told(Told),
    /// The story of this seed breaks a check; a smaller one is looked for.
    Broken {
        /// The seed.
        seed: u64,
        /// The check.
        check: CheckId,
    },
}

/// Why a property does not hold, or is not known to.
#[derive(Clone)]
pub enum Failure {
    /// A story breaks a check: the smallest that was found.
    Violated {
        /// The seed that drew the story, before it was made smaller.
        seed: u64,
        /// The check.
        check: CheckId,
        /// The story, its schedule and what was seen: `repro.text()` is a file for `plugfest replay`.
        repro: Box<Repro>,
    },
    /// Somebody wanted it to end before (Ctrl-C, where [`interrupt::listen`](crate::interrupt::listen)
    /// is in use).
    Interrupted(Told),
    /// A story could not be carried out.
    Error(RunError),
}

impl Property {
    /// Tells the stories until one breaks a check, and makes that one smaller.
    ///
    /// # Errors
    ///
    /// The first violation, or that there are no seeds.
    pub fn check(&self) -> Result<Told, Failure> {
        self.check_with(&mut |_| {})
    }

    /// Like [`check`](Self::check), and tells `progress` while it goes on.
    ///
    /// # Errors
    ///
    /// As [`check`](Self::check).
    pub fn check_with(&self, progress: &mut dyn FnMut(Hunt)) -> Result<Told, Failure> {
        if self.seeds.is_empty() {
            let Range { start, end } = self.seeds;
            let none =
                format!("there are no seeds from {start} up to {end}: nothing would be shown");
            return Err(Failure::Error(RunError(none)));
        }
        let mut told = Told::default();
        for seed in self.seeds.clone() {
            if asked() {
                return Err(Failure::Interrupted(told));
            }
            let (story, options) = (drawn(seed), self.options(seed));
            let report = tell(&story, options.clone()).map_err(Failure::Error)?;
            told.verified += report.verified;
            if let Some(broken) = report.violated().next() {
                let check = broken.id;
                progress(Hunt::Broken { seed, check });
                return Err(smallest(seed, check, story, options));
            }
            told.stories += 1;
            progress(Hunt::Told(told));
        }
        Ok(told)
    }

    fn options(&self, seed: u64) -> StoryOptions {
        StoryOptions {
            seed,
            bugs: bugs(self.behaviour, &self.bugs),
            strategy: match self.schedule {
                Schedule::Timed => Strategy::Timed,
                Schedule::Random => Strategy::random(seed),
            },
            record: false,
        }
    }
}

fn smallest(seed: u64, check: CheckId, story: Story, options: StoryOptions) -> Failure {
    let repro =
        shrink(story, options, check).and_then(|(story, options)| Repro::of_story(&story, options));
    match repro {
        Ok(repro) => Failure::Violated {
            seed,
            check,
            repro: Box::new(repro),
        },
        Err(error) => Failure::Error(error),
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Violated { repro, .. } => {
                if let What::Story(story) = &repro.what {
                    f.write_str(&story_lines(story))?;
                }
                f.write_str(&finding_lines(&repro.findings))
            }
            Self::Interrupted(told) => write!(f, "interrupted after {} stories", told.stories),
            Self::Error(error) => error.fmt(f),
        }
    }
}

/// As people read it, since that is what `unwrap` and a test that returns it print: a repro is long.
impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Self::Violated { seed, check, .. } = self {
            writeln!(
                f,
                "{check} is violated by the story of seed {seed}, made smaller:"
            )?;
        }
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for Failure {}

/// What happens in a story, a line a beat.
pub fn story_lines(story: &Story) -> String {
    let mut text = String::new();
    for vm in &story.vms {
        let controllers: Vec<String> = vm.controllers.iter().map(ToString::to_string).collect();
        let boots = if vm.firmware_only {
            "stays in its firmware"
        } else if vm.awaited {
            "boots"
        } else {
            "is still booting"
        };
        text += &format!("  {} on {} {boots}\n", vm.vm, controllers.join(" and "));
    }
    for (number, beat) in story.beats.iter().enumerate() {
        let waits = if beat.awaited { ", and wait" } else { "" };
        let gap = beat.gap();
        text += &format!("  {:>3}. +{gap:?} {}{waits}\n", number + 1, beat.does);
    }
    text
}

/// What was violated, a block a finding.
pub fn finding_lines(findings: &[Finding]) -> String {
    let lines = findings.iter().map(|finding| {
        let Finding {
            check,
            expected,
            seen,
        } = finding;
        format!("FAIL {check}\n     expected {expected}\n     got      {seen}\n")
    });
    lines.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_shown_by_no_seeds() {
        let seeds = 9..9;
        let none = Property {
            seeds,
            ..Property::default()
        };
        let failure = none.check().expect_err("it would show nothing");
        let said = "there are no seeds from 9 up to 9: nothing would be shown";
        assert_eq!(failure.to_string(), said);
        assert_eq!(format!("{failure:?}"), said);
    }
}
