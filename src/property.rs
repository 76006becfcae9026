//! A property: whatever happens to it, a target breaks no invariant. Many generated scenarios, all checks on.
//!
//! Knows nothing of arguments and files.

use std::fmt;
use std::ops::Range;

use scenarios::CheckId;
use scenarios::plan::{Finding, Plan};
use sim::Bug;

use crate::interrupt::asked;
use crate::options::{Behaviour, Schedule, bugs};
use crate::repro::Repro;
use crate::run_error::RunError;
use crate::scenario::{ScenarioOptions, carry_out, drawn, targets_asked};
use crate::shrink::{THOROUGHLY, breaks_check, shrink};

/// Which scenarios are carried out, and on what target.
///
/// ```
/// use plugfest::{Behaviour, Property};
///
/// let hot_plug = Property { seeds: 0..50, ..Property::default() };
/// let tried = hot_plug.check().expect("an intended target keeps every invariant");
/// assert!(tried.verified > 0, "some of the scenarios wrote and read back");
///
/// let head = Property { seeds: 0..500, behaviour: Behaviour::Head, ..Property::default() };
/// let failure = head.check().expect_err("SPDK's head answers remove_target too early, for one");
/// println!("{failure}"); // the few steps that are left, what was expected, and what was seen
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Property {
    /// A scenario and a schedule each.
    pub seeds: Range<u64>,
    /// How the model target behaves.
    pub behaviour: Behaviour,
    /// Bugs beside those of `behaviour`.
    pub bugs: Vec<Bug>,
    /// Who goes next.
    pub schedule: Schedule,
}

impl Default for Property {
    /// 100 scenarios on a target as it should be, under random schedules.
    fn default() -> Self {
        Self {
            seeds: 0..100,
            behaviour: Behaviour::Intended,
            bugs: Vec::new(),
            schedule: Schedule::Random,
        }
    }
}

/// What was carried out without a violation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tried {
    /// Scenarios.
    pub scenarios: u64,
    /// Blocks that fio found right.
    pub verified: u64,
}

/// Where a property stands.
#[derive(Clone, Copy, Debug)]
pub enum FuzzProgress {
    /// So much was carried out.
    Tried(Tried),
    /// The scenario of this seed breaks a check; a smaller one is looked for.
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
    /// A scenario breaks a check: the smallest that was found.
    Violated {
        /// The seed that drew the scenario, before it was made smaller.
        seed: u64,
        /// The check.
        check: CheckId,
        /// The scenario, its schedule and what was seen: `repro.text()` is a file for `plugfest replay`.
        repro: Box<Repro>,
    },
    /// Somebody wanted it to end before (Ctrl-C, where [`listen`](crate::command::listen)
    /// is in use).
    Interrupted(Tried),
    /// A scenario could not be carried out.
    Error(RunError),
}

impl Property {
    /// Carries scenarios out until one breaks a check, and makes that one smaller.
    ///
    /// # Errors
    ///
    /// The first violation, or that there are no seeds.
    pub fn check(&self) -> Result<Tried, Failure> {
        self.check_with(&mut |_| {})
    }

    /// Like [`check`](Self::check), and tells `progress` while it goes on.
    ///
    /// # Errors
    ///
    /// As [`check`](Self::check).
    pub fn check_with(&self, progress: &mut dyn FnMut(FuzzProgress)) -> Result<Tried, Failure> {
        if self.seeds.is_empty() {
            let Range { start, end } = self.seeds;
            let none =
                format!("there are no seeds from {start} up to {end}: nothing would be shown");
            return Err(Failure::Error(RunError::Input(none)));
        }
        let mut tried = Tried::default();
        for seed in self.seeds.clone() {
            if asked() {
                return Err(Failure::Interrupted(tried));
            }
            let (plan, options) = (drawn(seed), self.options(seed));
            let report = carry_out(&plan, options.clone()).map_err(Failure::Error)?;
            tried.verified += report.verified;
            if let Some(broken) = report.violated().next() {
                let check = broken.id;
                progress(FuzzProgress::Broken { seed, check });
                return Err(smallest(seed, check, plan, options));
            }
            tried.scenarios += 1;
            progress(FuzzProgress::Tried(tried));
        }
        Ok(tried)
    }

    /// The scenario of a seed, as the property carries it out: `text()` is a plan file.
    ///
    /// # Errors
    ///
    /// It cannot be carried out.
    pub fn scenario(&self, seed: u64) -> Result<Repro, RunError> {
        Repro::of_scenario(&drawn(seed), self.options(seed))
    }

    fn options(&self, seed: u64) -> ScenarioOptions {
        ScenarioOptions {
            seed,
            bugs: bugs(self.behaviour, &self.bugs),
            strategy: self.schedule.strategy(seed),
            targets_asked: targets_asked(seed),
            record: false,
        }
    }
}

fn smallest(seed: u64, check: CheckId, plan: Plan, options: ScenarioOptions) -> Failure {
    let (plan, options) = shrink(plan, options, &breaks_check(check), THOROUGHLY);
    match Repro::of_scenario(&plan, options) {
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
                f.write_str(&repro.script.lines())?;
                f.write_str(&finding_lines(&repro.recorded.findings))
            }
            Self::Interrupted(tried) => {
                write!(f, "interrupted after {} scenarios", tried.scenarios)
            }
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
                "{check} is violated by the scenario of seed {seed}, made smaller:"
            )?;
        }
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for Failure {}

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
