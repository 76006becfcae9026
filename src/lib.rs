//! Tests hot-attach and hot-detach of SCSI targets on a vhost-user target, deterministically.
//!
//! The public face: enough to carry out a plan in a `#[test]` of your own.
//!
//! ```no_run
//! let plan = plugfest::parse("mine.kdl", &std::fs::read_to_string("mine.kdl")?)?;
//! let report = plugfest::run(&plan, &plugfest::RunOptions::default(), &mut |_| {})?;
//! assert_eq!(report.verdict(), plugfest::Verdict::Passed, "{}", plugfest::render(&[report]));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Everything else is in the crates that this one is made of: `scenarios` (plans, checks, reports),
//! `sim` (the two models), `fio_model`, and `real` (what touches the machine).
#![forbid(unsafe_code)]

mod conform_command;
pub mod interrupt;
pub mod repro;
mod run;
mod shrink;
pub mod story;
mod testbed;

pub use conform_command::{ConformOptions, conform_command};
pub use run::{Behaviour, JobText, Outputs, RunError, RunOptions, Schedule, Volume, run, run_with};
pub use scenarios::plan::{Plan, PlanError, parse};
pub use scenarios::report::{Report, Verdict, render};
pub use shrink::shrink;
