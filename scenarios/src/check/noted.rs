//! I1, I3, I11 to I17, G1–G4, V4: what only an end itself can see, and says.
//!
//! A ring, a handle, a byte of memory, a lock: the ends look at each as they go, and once more when
//! nothing moves any more, and note what is wrong. Here the notes become violations, and what was
//! looked at is counted. Who dies breaks I11, who spins for ever I15.

use super::CheckId;
use super::tally::Tally;
use crate::observation::{Inside, Observation, Seen};

/// What is expected of who dies or hangs: what comes after it comes of it.
pub const NOBODY_CRASHES: &str = "nobody crashes";

/// Looked at with every answer of the target to a request.
const BY_ANSWER: [CheckId; 6] = [
    CheckId::I1,
    CheckId::I17,
    CheckId::G1,
    CheckId::G2,
    CheckId::G3,
    CheckId::G4,
];
/// Looked at when nothing moves any more.
const AT_REST: [CheckId; 6] = [
    CheckId::I11,
    CheckId::I12,
    CheckId::I13,
    CheckId::I14,
    CheckId::I15,
    CheckId::I16,
];

/// Takes an observation.
pub fn see(seen: &Seen, tally: &mut Tally) {
    match &seen.what {
        Observation::IoDone {
            answer: Some(_), ..
        } => BY_ANSWER.iter().for_each(|check| tally.count(*check)),
        Observation::Inside(Inside::Slot { .. } | Inside::LunClosed { .. }) => {
            tally.count(CheckId::I3);
        }
        Observation::Inside(Inside::SessionStopped { .. }) => tally.count(CheckId::V4),
        Observation::Quiet { settled, left } => {
            AT_REST.iter().for_each(|check| tally.count(*check));
            if !settled {
                let limit = "everything at rest within the limit";
                tally.violated(CheckId::I14, seen.at, limit, "turns are still being taken");
            } else if !left.is_empty() {
                tally.violated(
                    CheckId::I14,
                    seen.at,
                    "all counters zero at rest",
                    left.join(", "),
                );
            }
        }
        Observation::Alive { .. } => tally.count(CheckId::I11),
        Observation::Crashed { who, how } => {
            let check = if how.starts_with("hang") {
                CheckId::I15
            } else {
                CheckId::I11
            };
            let crash = format!("{who} crashed: {how}");
            tally.violated(check, seen.at, NOBODY_CRASHES, crash);
        }
        Observation::Broken { check, text } => {
            tally.count(*check);
            tally.violated(*check, seen.at, holds_if(*check), text.clone());
        }
        Observation::Answered { .. }
        | Observation::VmReady { .. }
        | Observation::Connected { .. }
        | Observation::VmDown { .. }
        | Observation::DiskAppeared(_)
        | Observation::DiskVanished(_)
        | Observation::StaleDisk(_)
        | Observation::DisksListed { .. }
        | Observation::FioEnded { .. }
        | Observation::IoSubmitted(_)
        | Observation::IoDone { .. }
        | Observation::Attached { .. }
        | Observation::Inside(_) => {}
    }
}

/// What a check that ends note themselves asks for, in a sentence.
fn holds_if(check: CheckId) -> &'static str {
    match check {
        CheckId::I1 | CheckId::G1 => "every request head to be returned once, while its ring lives",
        CheckId::I3 => "nothing freed to be touched",
        CheckId::I4 => "no reference to what is closed, and each closed by its own thread",
        CheckId::I5 => "every RPC to be answered once",
        CheckId::I10 => "slots to move as SPDK's table has it, and a stop to leave nothing",
        CheckId::I11 => "the target to live, and task management to be answered",
        CheckId::I12 => "a call for what came back, where one is wanted",
        CheckId::I13 => "RPCs to be read while sessions stop and controllers go",
        CheckId::I14 => "all counters zero at rest",
        CheckId::I15 => "work for a request to be bounded",
        CheckId::I16 => "a deleted controller to go",
        CheckId::I17 => "used length and residual of what was moved",
        CheckId::G2 => "a whole response when the used index moves",
        CheckId::G3 => "nothing to be written after it was given back",
        CheckId::G4 => "nothing outside the memory table to be touched",
        CheckId::G7 => "events only with HOTPLUG, and only into posted buffers",
        CheckId::I18 => "slots to move only as SPDK's table has it",
        CheckId::V2 => "every request to come back",
        CheckId::V4 => "every stop to end",
        // Found by checks that look at several observations, in words of their own.
        CheckId::I2
        | CheckId::I6
        | CheckId::I7
        | CheckId::I8
        | CheckId::I9
        | CheckId::G5
        | CheckId::G6
        | CheckId::G8
        | CheckId::V1
        | CheckId::V3
        | CheckId::Plan
        | CheckId::Fio => "what the check asks for",
    }
}
