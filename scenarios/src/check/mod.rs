//! The judge: invariants of the target and of the guest, checked on what was seen.
//!
//! One family a file. Each reads observations only, as they come, and keeps what it needs of the past:
//! data and slots are remembered over cases, results are per case. Knows no testbed and no plan.
//!
//! | family | checks | what they look at |
//! |---|---|---|
//! | `io` | I2 I9 G5 G6 V2 | requests of applications, and the fingerprints of their data |
//! | `slots` | I4 I6 I10 I18 | slot movements, sessions, closed LUNs |
//! | `events` | I7 G7 G8 | events beside the slot movements that they tell of |
//! | `rpc` | I5 V1 | remove RPCs taken and answered |
//! | `converge` | I8 V3 | slots and disks when nothing moves any more |
//! | `noted` | I1 I3 I11 to I17 G1 to G4 V4 | what only an end itself can see, and says |

mod converge;
mod events;
mod history;
mod io;
mod noted;
mod refusals;
mod rpc;
mod slots;
mod tally;
#[cfg(test)]
mod tests;

use crate::evidence::Evidence;
use crate::names::{ControllerId, VmId};
use crate::observation::{Observation, Seen};
use crate::verdict::CheckResult;
use tally::Tally;

pub use crate::check_id::CheckId;
pub use noted::NOBODY_CRASHES;

/// What the judge is told beside observations.
#[derive(Clone, Debug)]
pub struct Facts {
    /// What the testbed shows.
    pub evidence: Evidence,
    /// The target drops events without EVENTS_MISSED when no buffer is posted, as SPDK head does: what
    /// comes of it is waived, not violated.
    pub events_may_drop: bool,
    /// Which VM has which controllers.
    pub vms: Vec<(VmId, Vec<ControllerId>)>,
}

/// Reads observations and says what they come to.
#[derive(Clone, Debug)]
pub struct Judge {
    evidence: Evidence,
    only: Option<Vec<CheckId>>,
    tally: Tally,
    io: io::Io,
    slots: slots::Slots,
    events: events::Events,
    rpc: rpc::Rpcs,
    converge: converge::Converge,
}

impl Judge {
    /// A judge that has seen nothing yet.
    #[must_use]
    pub fn new(facts: Facts) -> Self {
        Self {
            evidence: facts.evidence,
            only: None,
            tally: Tally::default(),
            io: io::Io::default(),
            slots: slots::Slots::default(),
            events: events::Events::new(facts.events_may_drop),
            rpc: rpc::Rpcs::default(),
            converge: converge::Converge::new(facts.vms, facts.events_may_drop),
        }
    }

    /// The same judge with every other check off.
    #[must_use]
    pub fn only(self, checks: &[CheckId]) -> Self {
        Self {
            only: Some(checks.to_vec()),
            ..self
        }
    }
}

impl crate::verdict::Judge for Judge {
    fn begin_case(&mut self) {
        self.tally = Tally::default();
    }

    fn see(&mut self, seen: &Seen) {
        noted::see(seen, &mut self.tally);
        self.io.see(seen, &mut self.tally);
        // Nearly all of what is seen; the other families do not look at it.
        if matches!(
            seen.what,
            Observation::IoSubmitted(_) | Observation::IoDone { .. }
        ) {
            return;
        }
        // The slots' state before a movement is what the events and the convergence compare with.
        self.events.see(seen, &mut self.tally);
        self.rpc.see(seen, &mut self.tally);
        self.slots.see(seen, &mut self.tally);
        // Half of what it compares is no reason to find fault with the other.
        if self.evidence.contains(CheckId::V3.needs()) {
            self.converge.see(seen, &mut self.tally);
        }
    }

    fn end_case(&mut self) -> Vec<CheckResult> {
        let wanted = |id: &&CheckId| self.only.as_ref().is_none_or(|only| only.contains(id));
        let checks = CheckId::JUDGED.iter().filter(wanted);
        checks
            .map(|id| self.tally.result(*id, self.evidence))
            .collect()
    }
}
