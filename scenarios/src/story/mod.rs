//! A story: what happens to a target and its guests, beat by beat, with no expectation but the checks.
//!
//! Where a plan says what must come of each step, a story only stirs: whatever it does, no invariant
//! may break. It is plain data, so that one that broke something can be kept, made smaller, and
//! carried out on any testbed. Knows no testbed and no schedule.

mod choose;
mod run;
mod untouched;

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::names::{ControllerId, DiskId, VmId};
use crate::testbed::{Action, DiskKind};

pub use choose::{BeatBytes, ShapeBytes, choose};
pub use run::{StoryOutcome, is_answer, run};

/// The jobs that a story runs: one that verifies, and one for disks that keep no data.
pub const VERIFY_JOB: &str = "story";
/// See [`VERIFY_JOB`].
pub const WRITE_JOB: &str = "story_writes";

/// What happens, from a cold start until everything is at rest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Story {
    /// Controllers, all empty at first.
    pub controllers: Vec<ControllerId>,
    /// Disks, none attached at first.
    pub disks: Vec<(DiskId, DiskKind)>,
    /// VMs, booted before the first beat.
    pub vms: Vec<StoryVm>,
    /// What is done.
    pub beats: Vec<Beat>,
}

/// A VM of a story.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoryVm {
    /// Its number.
    pub vm: VmId,
    /// One virtio-scsi device a controller.
    pub controllers: Vec<ControllerId>,
    /// It has nothing to boot from and stays in its firmware: a session without event queue.
    pub firmware_only: bool,
    /// The first beat waits until it is ready.
    pub awaited: bool,
}

/// One thing that is done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Beat {
    /// Nanoseconds after the beat before, or after its answer if that was awaited.
    pub after: u64,
    /// Whether the next beat waits for the answer.
    pub awaited: bool,
    /// What is done.
    pub does: Action,
}

impl Beat {
    /// The time before it.
    #[must_use]
    pub const fn gap(&self) -> Duration {
        Duration::from_nanos(self.after)
    }
}
