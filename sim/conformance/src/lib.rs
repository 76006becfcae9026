//! Conformance: recordings of a real SPDK, played to a target and compared observation by
//! observation.
//!
//! [`transcript`] and [`stimulus`] are the format; [`player`] with `perform`, [`front_end`],
//! [`ring`], [`request`], [`memory`] and [`rpc`] is the recorder's other half; [`peer`] is all that
//! they know of a target. [`compare`] judges, [`report`] shows, [`differences`] confesses. Reads no
//! file: texts are handed in.
#![forbid(unsafe_code)]

pub mod answer;
pub mod compare;
pub mod differences;
pub mod front_end;
pub mod guest;
pub mod memory;
pub mod model_peer;
pub mod model_target;
pub mod names;
pub mod peer;
mod perform;
pub mod player;
pub mod posted;
pub mod report;
pub mod request;
pub mod ring;
pub mod rpc;
pub mod stimulus;
#[cfg(test)]
mod tests;
pub mod transcript;

use peer::Peer;
use player::Player;
use report::{FileReport, Outcome, Shown};
use transcript::Transcript;

/// Plays the transcript in `text` to `peer`, from a fresh process on.
#[must_use]
pub fn conform(file: &str, text: &str, peer: &mut dyn Peer) -> FileReport {
    let transcript = match Transcript::parse(file, text) {
        Ok(transcript) => transcript,
        Err(bad) => {
            return FileReport {
                file: file.to_owned(),
                case: String::new(),
                outcome: Outcome::Bad(bad.to_string()),
            };
        }
    };
    FileReport {
        file: file.to_owned(),
        case: transcript.case.clone(),
        outcome: play(&transcript, peer),
    }
}

fn play(transcript: &Transcript, peer: &mut dyn Peer) -> Outcome {
    let played = Player::new(transcript, peer).and_then(|mut player| player.play());
    match played {
        Ok(None) => Outcome::Held,
        Ok(Some(mismatch)) => Outcome::Mismatch(Box::new(Shown::new(transcript, &mismatch))),
        Err(why) => Outcome::Broke(format!("{}: {why}", transcript.file)),
    }
}
