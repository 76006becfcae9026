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

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::names::{ControllerId, VmId};
use crate::observation::{Observation, Seen};
use crate::run::CheckResult;
use crate::testbed::Evidence;
use tally::Tally;

/// An invariant. `I…` are the target's, `G…` and `V…` the guest's view of safety and liveness.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum CheckId {
    /// Every submitted head is returned exactly once, while its ring lives.
    I1,
    /// A read returns the last acknowledged write; detached data survive a re-attach.
    I2,
    /// Nobody touches what was freed.
    I3,
    /// One io-channel reference a session slot with a device.
    I4,
    /// Every RPC answers exactly once, a removal only when drained.
    I5,
    /// `true` from a remove means gone for every session.
    I6,
    /// One event for every change that a session should be told.
    I7,
    /// The sessions' targets converge to the controller's.
    I8,
    /// A target is only refused when it is not there.
    I9,
    /// A stop finishes, and leaves no residue.
    I10,
    /// Task management is answered as it should be; nothing that comes in kills the target.
    I11,
    /// Every used entry is called for, unless the driver wants no calls.
    I12,
    /// Nobody waits for ever for a lock, and no step takes long.
    I13,
    /// Counters return to zero.
    I14,
    /// The work of a request is bounded.
    I15,
    /// A deleted controller goes once nobody holds it.
    I16,
    /// The residual is no more than the payload; the used length is what was written.
    I17,
    /// Slots move only along the table.
    I18,
    /// Each used entry names a head that is in flight.
    G1,
    /// The response is there when the used index moves.
    G2,
    /// Guest memory is not written for a head that was used, or for a stopped ring.
    G3,
    /// Nothing outside the memory table is touched.
    G4,
    /// Acknowledged writes are readable while the disk is attached.
    G5,
    /// No read returns another disk's data.
    G6,
    /// Events only with HOTPLUG, and only into posted buffers.
    G7,
    /// The target's state changes before its event is sent.
    G8,
    /// A detach is answered once its commands are.
    V1,
    /// Every command completes.
    V2,
    /// When nothing more happens, guest and target agree.
    V3,
    /// GET_VRING_BASE is answered.
    V4,
    /// What the plan expects.
    Plan,
    /// fio's verdict and the strict oracle's.
    Fio,
}

impl CheckId {
    /// The checks that read observations; `Plan` and `Fio` are the plan's own steps.
    pub const JUDGED: [Self; 30] = [
        Self::I1,
        Self::I2,
        Self::I3,
        Self::I4,
        Self::I5,
        Self::I6,
        Self::I7,
        Self::I8,
        Self::I9,
        Self::I10,
        Self::I11,
        Self::I12,
        Self::I13,
        Self::I14,
        Self::I15,
        Self::I16,
        Self::I17,
        Self::I18,
        Self::G1,
        Self::G2,
        Self::G3,
        Self::G4,
        Self::G5,
        Self::G6,
        Self::G7,
        Self::G8,
        Self::V1,
        Self::V2,
        Self::V3,
        Self::V4,
    ];

    /// What a testbed must show for it.
    #[must_use]
    pub const fn needs(self) -> Evidence {
        match self {
            Self::I2 | Self::G5 | Self::G6 | Self::V2 => Evidence::PER_IO,
            Self::I9 => Evidence::PER_IO.and(Evidence::TARGET_INSIDE),
            Self::I1 | Self::G1 | Self::G2 | Self::G3 | Self::G4 => Evidence::RINGS,
            Self::I12 | Self::I17 | Self::V4 => Evidence::RINGS,
            Self::I13 | Self::I15 | Self::I16 => Evidence::TARGET_INSIDE,
            Self::I3 | Self::I4 | Self::I5 | Self::I6 | Self::I7 | Self::I8 | Self::I10 => {
                Evidence::TARGET_INSIDE
            }
            Self::I14 | Self::I18 | Self::G7 | Self::G8 | Self::V1 => Evidence::TARGET_INSIDE,
            Self::V3 => Evidence::TARGET_INSIDE.and(Evidence::GUEST_DISKS),
            Self::I11 | Self::Plan | Self::Fio => Evidence::NONE,
        }
    }
}

impl fmt::Display for CheckId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Plan => f.write_str("plan"),
            Self::Fio => f.write_str("fio"),
            other => write!(f, "{other:?}"),
        }
    }
}

/// What the judge is told beside observations.
#[derive(Clone, Debug)]
pub struct Facts {
    /// What the testbed shows.
    pub evidence: Evidence,
    /// The target drops events without EVENTS_MISSED when no buffer is posted, as SPDK head does: what
    /// comes of it is explained, not violated.
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

impl crate::run::Judge for Judge {
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
        if self.evidence.covers(CheckId::V3.needs()) {
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
