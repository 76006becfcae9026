//! The plan language, what a testbed may be asked and may show, and the judge.
//!
//! ```text
//! plans/*.kdl ──parse───▶ Plan ──resolve(seed)──▶ Script ──run──▶ Trace ──judge──▶ Report
//!       bytes ──choose──▶
//! ```
//!
//! Knows nothing of which testbeds exist.
#![forbid(unsafe_code)]

mod action_words;
pub mod check;
mod check_id;
pub mod driver;
mod evidence;
pub mod generate;
pub mod ledger;
pub mod names;
pub mod observation;
pub mod plan;
mod read;
pub mod report;
pub mod resolve;
pub mod rng;
pub mod run;
pub mod said;
pub mod script;
pub mod shipped;
pub mod testbed;
pub mod time;
pub mod trace;
pub mod verdict;

pub use check_id::CheckId;
pub use evidence::Evidence;
pub use ledger::{Ledger, Signature};
pub use names::{
    ControllerId, DiskId, FioId, IoId, Place, TARGETS_PER_CONTROLLER_MAX, TargetId, Ticket, VmId,
};
pub use observation::{EventKind, FioJobEnd, GuestDisk, Inside, Io, Observation, Seen, SlotState};
pub use plan::{Plan, PlanError};
pub use read::parse;
pub use resolve::resolve;
pub use script::Script;
pub use testbed::{Action, DiskKind, Ending, Performed, TaskFunction, Testbed, TestbedError};
pub use time::Time;
