//! What a case came to so far: for each check how much it looked at, and what was wrong first.

use std::collections::BTreeMap;

use super::CheckId;
use crate::evidence::Evidence;
use crate::time::Time;
use crate::verdict::{CheckOutcome, CheckResult};

#[derive(Clone, Debug)]
struct Violation {
    at: Time,
    expected: String,
    seen: String,
    /// How many more there were.
    more: u64,
}

/// The results of a case, as they grow.
#[derive(Clone, Debug)]
pub struct Tally {
    /// By number of the check.
    counted: [u64; CheckId::Fio as usize + 1],
    violations: BTreeMap<CheckId, Violation>,
    waived: BTreeMap<CheckId, (&'static str, u64)>,
}

impl Default for Tally {
    fn default() -> Self {
        let counted = [0; CheckId::Fio as usize + 1];
        Self {
            counted,
            violations: BTreeMap::new(),
            waived: BTreeMap::new(),
        }
    }
}

impl Tally {
    /// `check` looked at something.
    pub fn count(&mut self, check: CheckId) {
        self.counted[check as usize] += 1;
    }

    /// `check` does not hold.
    pub fn violated(
        &mut self,
        check: CheckId,
        at: Time,
        expected: impl Into<String>,
        seen: impl Into<String>,
    ) {
        if let Some(first) = self.violations.get_mut(&check) {
            first.more += 1;
            return;
        }
        let (expected, seen) = (expected.into(), seen.into());
        self.violations.insert(
            check,
            Violation {
                at,
                expected,
                seen,
                more: 0,
            },
        );
    }

    /// `check` does not hold, for a reason that nobody in the run can mend.
    pub fn waived(&mut self, check: CheckId, cause: &'static str) {
        self.waived.entry(check).or_insert((cause, 0)).1 += 1;
    }

    /// What `check` came to.
    pub fn result(&self, id: CheckId, evidence: Evidence) -> CheckResult {
        let outcome = if let Some(violation) = self.violations.get(&id) {
            let more = match violation.more {
                0 => String::new(),
                more => format!(" (and {more} more)"),
            };
            let (at, expected) = (violation.at, violation.expected.clone());
            CheckOutcome::Violated {
                expected,
                seen: format!("{}{more}", violation.seen),
                at,
            }
        } else if !evidence.contains(id.needs()) {
            CheckOutcome::NotSeen { needs: id.needs() }
        } else if let Some((cause, count)) = self.waived.get(&id) {
            CheckOutcome::Waived {
                cause: format!("{cause} ({count})"),
            }
        } else {
            CheckOutcome::Held
        };
        CheckResult {
            id,
            outcome,
            observations: self.counted[id as usize],
        }
    }
}
