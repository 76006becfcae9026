//! The plan language, what a testbed may be asked and may show, and the judge.
//!
//! ```text
//! plans/*.kdl ──parse──▶ Plan ──concretise(seed)──▶ steps ──run──▶ Trace ──judge──▶ Report
//! ```
//!
//! Knows nothing of which testbeds exist.
#![forbid(unsafe_code)]

mod action_words;
pub mod check;
pub mod concretise;
pub mod driver;
pub mod names;
pub mod observation;
pub mod plan;
pub mod report;
pub mod rng;
pub mod run;
pub mod shipped;
pub mod story;
pub mod testbed;
pub mod time;
pub mod trace;

pub use check::CheckId;
pub use concretise::{Concrete, concretise};
pub use names::{
    ControllerId, DiskId, FioId, IoId, Place, TARGETS_PER_CONTROLLER_MAX, TargetId, Ticket, VmId,
};
pub use observation::{EventKind, FioJobEnd, GuestDisk, Inside, Io, Observation, Seen, SlotState};
pub use plan::{Plan, PlanError};
pub use testbed::{
    Action, DiskKind, Ending, Evidence, Performed, TaskFunction, Testbed, TestbedError,
};
pub use time::Time;
