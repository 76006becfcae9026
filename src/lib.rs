//! Tests hot-attach and hot-detach of SCSI targets on a vhost-user target, deterministically.
//!
//! The public face: what a `#[test]` of your own needs. A plan, shipped or yours:
//!
//! ```
//! use plugfest::{RunOptions, Verdict, Volume, render, run, shipped};
//!
//! let plan = shipped("hotdetach").expect("it ships");
//! let options = RunOptions { seed: 7, volume: Volume::Quick, ..RunOptions::default() };
//! let report = run(&plan, &options)?;
//! assert_eq!(report.verdict(), Verdict::Passed, "{}", render(&[report]));
//! # Ok::<(), plugfest::RunError>(())
//! ```
//!
//! A plan of your own is a text; what is wrong with it names its place:
//!
//! ```
//! use plugfest::{RunOptions, Verdict, parse, run};
//!
//! let plan = parse("mine.kdl", r#"
//!     plan "mine" {
//!       about "Two disks, one after the other."
//!       controllers 1
//!       disks 2 from="nvme"
//!       job "default_integrity"
//!       vm 1 controllers="1"
//!       prerequisites { boot vm=1 }
//!       case "1" "Two targets on one controller" {
//!         attach disk=1 controller=1
//!         attach disk=2 controller=1
//!         fio "both" on="attached" expect="pass"
//!       }
//!     }
//! "#).expect("it is a plan");
//! assert_eq!(run(&plan, &RunOptions::default())?.verdict(), Verdict::Passed);
//!
//! let error = parse("mine.kdl", r#"plan "mine" { disk 2 }"#).unwrap_err().to_string();
//! assert!(error.contains("mine.kdl:1:"), "{error}");
//! # Ok::<(), plugfest::RunError>(())
//! ```
//!
//! A property: [`Property`].
//!
//! What the `plugfest` command needs besides is in [`command`]. Everything else is in the crates that this one is made of: `scenarios` (plans, checks, reports),
//! `sim` (the two models), `fio_model`, and `real` (what touches the machine).
#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod campaign;
pub mod command;
mod interrupt;
mod job_files;
mod old_repro;
mod on_sockets;
mod options;
mod ordered;
mod property;
mod renumber;
mod replay_on_target;
mod repro;
mod run;
mod run_error;
mod scenario;
mod shrink;
mod testbed;

pub use options::{
    Behaviour, GuestKind, LinkedOptions, QemuOptions, RunOptions, Schedule, SpdkOptions,
    TargetKind, Volume,
};
pub use property::{Failure, Property};
pub use real::testbed::disks::Bdevs;
pub use run::run;
pub use run_error::RunError;
pub use scenarios::CheckId;
pub use scenarios::parse;
pub use scenarios::plan::{JobText, Plan, PlanError};
pub use scenarios::report::{Report, Verdict, render};
pub use sim::{Bug, Bugs};

/// The plan that ships under this name: `hotattach`, `hotdetach`, `hotplug` or `hotremove`.
#[must_use]
pub fn shipped(name: &str) -> Option<Plan> {
    let mut plans = scenarios::shipped::PLANS.iter();
    let plan = plans.find(|plan| plan.name == name)?;
    Some(parse(plan.file, plan.text).expect("what ships is a plan"))
}
