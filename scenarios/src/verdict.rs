//! What the runner needs of a judge: it shows it everything that was seen, case by case.

use crate::check_id::CheckId;
use crate::evidence::Evidence;
use crate::observation::Seen;
use crate::time::Time;

/// Reads observations, and says at the end of a case which invariants they kept.
pub trait Judge {
    /// What is seen from here on belongs to the next case.
    fn begin_case(&mut self);

    /// Takes one more observation.
    fn see(&mut self, seen: &Seen);

    /// What the observations of the case came to, a result a check, ordered by check.
    fn end_case(&mut self) -> Vec<CheckResult>;
}

/// What the observations of a case came to, for one check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckResult {
    /// The check.
    pub id: CheckId,
    /// What it came to.
    pub outcome: CheckOutcome,
    /// How many observations it looked at; a check that held on none has shown nothing.
    pub observations: u64,
}

/// What a check came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CheckOutcome {
    /// Nothing contradicts it.
    Held,
    /// Something does.
    Violated {
        /// What was expected.
        expected: String,
        /// What was seen.
        seen: String,
        /// When.
        at: Time,
    },
    /// A difference, for a reason that nobody in the run can mend.
    Waived {
        /// The reason.
        cause: String,
    },
    /// The testbed cannot show what it would take.
    NotSeen {
        /// What it would take.
        needs: Evidence,
    },
}
