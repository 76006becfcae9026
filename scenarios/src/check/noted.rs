//! I1, I3, I11, I14, G1–G4: what only an end itself can see, and says.
//!
//! A ring, a handle, a byte of memory: the ends look at each as they go and note what is wrong. Here
//! the notes become violations, and what was looked at is counted.

use super::CheckId;
use super::tally::Tally;
use crate::observation::{Inside, Observation, Seen};

/// Takes an observation.
pub fn see(seen: &Seen, tally: &mut Tally) {
    match &seen.what {
        Observation::IoDone {
            answer: Some(_), ..
        } => {
            for check in [
                CheckId::I1,
                CheckId::G1,
                CheckId::G2,
                CheckId::G3,
                CheckId::G4,
            ] {
                tally.count(check);
            }
        }
        Observation::Inside(Inside::Slot { .. } | Inside::LunClosed { .. }) => {
            tally.count(CheckId::I3);
        }
        Observation::Quiet { settled, left } => {
            tally.count(CheckId::I11);
            tally.count(CheckId::I14);
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
            let seen_is = format!("{who} crashed: {how}");
            tally.violated(CheckId::I11, seen.at, "nobody crashes", seen_is);
        }
        Observation::Broken { check, text } => {
            tally.violated(*check, seen.at, "no such thing to be noted", text.clone());
        }
        _ => {}
    }
}
