//! Words that several commands take: a schedule, a known bug, seeds.

use std::ops::Range;

use clap::ValueEnum;
use plugfest::Schedule;
use scenarios::plan::nearest;
use sim::Bug;

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ScheduleWord {
    /// Whoever is ready first, by the latencies of devices and threads
    Timed,
    /// Anybody who is ready soon, drawn from the seed: rarer orders
    Random,
}

impl From<ScheduleWord> for Schedule {
    fn from(word: ScheduleWord) -> Self {
        match word {
            ScheduleWord::Timed => Self::Timed,
            ScheduleWord::Random => Self::Random,
        }
    }
}

/// A bug, by name or number.
pub fn bug(text: &str) -> Result<Bug, String> {
    Bug::named(text).ok_or_else(|| {
        let names: Vec<&str> = Bug::ALL.iter().map(|known| known.name()).collect();
        match nearest(text, &names) {
            Some(near) => format!("no such bug; is {near} meant? (plugfest list names them)"),
            None => "no such bug (plugfest list names them)".to_owned(),
        }
    })
}

/// A seed.
pub fn seed(text: &str) -> Result<u64, String> {
    let expected = |_| format!("expected a whole number from 0 to {}", u64::MAX);
    text.parse().map_err(expected)
}

/// "A..B", A below B.
pub fn seeds(text: &str) -> Result<Range<u64>, String> {
    let expected = || "expected two numbers, as in 0..1000".to_owned();
    let (from, to) = text.split_once("..").ok_or_else(expected)?;
    let from: u64 = from.parse().map_err(|_| expected())?;
    let to: u64 = to.parse().map_err(|_| expected())?;
    if from >= to {
        return Err(format!(
            "{from}..{to} holds no seed: the end is not included"
        ));
    }
    Ok(from..to)
}
