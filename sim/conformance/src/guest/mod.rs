//! Recordings of a real guest, done over by the model guest, and compared.
//!
//! A recording is three texts: [`scenario`], what was done; [`log`], what the target saw;
//! [`console`], what the guest printed. [`play()`] does the scenario over, [`compare()`] says what differs,
//! [`known`] confesses what is known to. Reads no file: texts are handed in.
//!
//! A recording is one run of those that a real guest might have made: who takes a mutex first is drawn.
//! So the model has a few runs, too, and holds if one of them is the recording's.

pub mod compare;
pub mod console;
mod iot;
pub mod known;
pub mod play;
pub mod scenario;

use std::ops::Range;

pub use linux::testing::{log, message};

use compare::{Difference, Recorded, compare};
use known::Known;
use log::LogError;
use play::{Ending, PlayError, play};
use scenario::{Scenario, ScenarioError};

/// Runs that the model has.
const SEEDS: u64 = 64;

/// The texts of a recording.
#[derive(Clone, Debug)]
pub struct Texts {
    /// `NAME.steps.json`.
    pub steps: String,
    /// `NAME.target.log`.
    pub target_log: String,
    /// `NAME.guest.log`.
    pub guest_log: String,
}

/// Why there is no verdict on a recording.
#[derive(Debug, thiserror::Error)]
pub enum GuestError {
    #[error("{0}.{ending}: {1}", ending = Scenario::EXTENSION)]
    Scenario(String, ScenarioError),
    #[error("{0}.target.log: {1}")]
    TargetLog(String, LogError),
    #[error("{0}.guest.log: no scenario was begun")]
    GuestLog(String),
    #[error("{0}: seed {1}: {2}")]
    Play(String, u64, PlayError),
    #[error("{0}: nothing was played")]
    Nothing(String),
}

/// What came of a recording.
#[derive(Clone, Debug)]
pub struct Verdict {
    /// The seed of the run that is most like it.
    pub seed: u64,
    /// Differences on the list.
    pub known: Vec<(Difference, &'static Known)>,
    /// Differences that are not.
    pub unknown: Vec<Difference>,
}

impl Verdict {
    /// Whether nothing differs but what is known to.
    #[must_use]
    pub fn held(&self) -> bool {
        self.unknown.is_empty()
    }
}

/// Does a recording over and compares.
///
/// # Errors
///
/// A text is not what it should be, or the model does not come to the scenario's end.
pub fn judge(name: &str, texts: &Texts) -> Result<Verdict, GuestError> {
    judge_runs(name, texts, 0..SEEDS)
}

/// Does a recording over with these seeds, up to the first that holds.
///
/// # Errors
///
/// A text is not what it should be, or the model does not come to the scenario's end.
pub fn judge_runs(name: &str, texts: &Texts, seeds: Range<u64>) -> Result<Verdict, GuestError> {
    let named = || name.to_owned();
    let scenario = Scenario::parse(&texts.steps);
    let scenario = scenario.map_err(|why| GuestError::Scenario(named(), why))?;
    let log = log::parse(&log::unabridged(&texts.target_log));
    let log = log.map_err(|why| GuestError::TargetLog(named(), why))?;
    let (printed, killed) = console::parse(&texts.guest_log);
    let runs = console::runs(&texts.guest_log);
    if runs == 0 {
        return Err(GuestError::GuestLog(named()));
    }
    let ending = Ending {
        runs,
        goes_down: scenario.reboots || !killed,
        boots: scenario.reboots,
    };
    let recorded = Recorded {
        log,
        printed,
        killed,
    };
    let mut best: Option<Verdict> = None;
    for seed in seeds {
        let played = play(&scenario, ending, seed);
        let played = played.map_err(|why| GuestError::Play(named(), seed, why))?;
        let verdict = sort_out(name, seed, compare(&recorded, &played));
        if best
            .as_ref()
            .is_none_or(|best| verdict.unknown.len() < best.unknown.len())
        {
            best = Some(verdict);
        }
        if best.as_ref().is_some_and(Verdict::held) {
            break;
        }
    }
    best.ok_or_else(|| GuestError::Nothing(named()))
}

fn sort_out(name: &str, seed: u64, differences: Vec<Difference>) -> Verdict {
    let (mut known, mut unknown) = (Vec::new(), Vec::new());
    for difference in differences {
        match known::KNOWN
            .iter()
            .find(|known| known.is(name, &difference))
        {
            Some(on_list) => known.push((difference, on_list)),
            None => unknown.push(difference),
        }
    }
    Verdict {
        seed,
        known,
        unknown,
    }
}
