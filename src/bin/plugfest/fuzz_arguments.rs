//! The arguments of `plugfest fuzz`, as `--help` shows them.

use std::ops::Range;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use sim::Bug;

use crate::target_arguments::BehaviourWord;
use crate::words::{ScheduleWord, bug, seed, seeds};

pub const EXAMPLES: &str = "\
A scenario attaches, detaches, writes, removes, resets, pauses, kills; no check may break, whatever it does. What
breaks one is made smaller, named if the ledger knows it, and written to a file; the campaign goes on.

Examples:
  plugfest fuzz                                  2000 scenarios on a target as it should be
  plugfest fuzz --bug early_finish               one that is wrong in one way
  plugfest fuzz --target-behaviour head --for 2m SPDK as it is; what is known is named
  plugfest fuzz hotdetach --scenarios 500        a plan, its steps at other moments
  plugfest fuzz --seed $(git rev-parse HEAD)     other seeds with every commit
  plugfest fuzz --seeds 12..13 --print           one as a plan file, for `run` and for people
  plugfest replay target/plugfest/I6-12.kdl      what was found, again

Exit status: 0 nothing was found that the ledger does not know, 1 something was, 2 bad arguments or files,
3 interrupted, or the campaign is not to be trusted.";

#[derive(Debug, Args)]
pub struct FuzzArguments {
    /// Plans whose steps come at other moments with each seed, by name or as the path of a .kdl file
    /// [default: scenarios that are drawn]
    #[arg(value_name = "PLAN")]
    pub plans: Vec<String>,

    /// The first seed, of the scenario, its schedule and its accidents: a number, or the hash of a git commit
    #[arg(long, value_name = "N|HASH", default_value = "0", value_parser = seed_or_hash,
          allow_negative_numbers = true)]
    pub seed: u64,

    /// How many seeds
    #[arg(long, alias = "stories", value_name = "N", default_value_t = 2000,
          value_parser = scenarios, allow_negative_numbers = true)]
    pub scenarios: u64,

    /// The seeds: from A up to but not including B
    #[arg(long, value_name = "A..B", value_parser = seeds, allow_hyphen_values = true,
          conflicts_with_all = ["seed", "scenarios"])]
    pub seeds: Option<Range<u64>>,

    /// As many seeds as there is time for: 90s, 2m, 1h
    #[arg(long = "for", value_name = "TIME", value_parser = span,
          conflicts_with_all = ["seeds", "scenarios"])]
    pub for_time: Option<Duration>,

    /// Schedules of each scenario
    #[arg(long, value_name = "N", default_value_t = 1,
          value_parser = clap::value_parser!(u64).range(1..=1_000_000), allow_negative_numbers = true)]
    pub schedules: u64,

    /// How many at a time, 1 to 256; what is printed does not depend on it [default: one a core]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256),
          allow_negative_numbers = true)]
    pub workers: Option<u16>,

    /// Go on after a finding; that is the default
    #[arg(long, conflicts_with = "stop_at")]
    pub keep_going: bool,

    /// Stop after so many findings that are not known
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..),
          allow_negative_numbers = true)]
    pub stop_at: Option<u64>,

    /// The findings that are known [default: with --target-behaviour head those that ship, else none]
    #[arg(long, value_name = "FILE")]
    pub ledger: Option<PathBuf>,

    /// A directory of scenarios that come first, such as `fuzz` wrote [default: tests/corpus, if it is there]
    #[arg(long, value_name = "DIR")]
    pub corpus: Option<PathBuf>,

    /// Keep only what can be seen from outside of a target, so that one that runs could show it
    #[arg(long)]
    pub observable: bool,

    /// Print the scenario of one seed as a plan file, with what its run comes to; nothing is looked for
    #[arg(long, conflicts_with_all = ["repro", "plans", "for_time", "without"])]
    pub print: bool,

    /// How the model target behaves
    #[arg(long, value_name = "HOW", value_enum, default_value = "intended")]
    pub target_behaviour: BehaviourWord,

    /// A known bug, switched on beside those, by its name or number in `plugfest list`; can be given several times
    #[arg(long, alias = "deviation", value_name = "NAME", value_parser = bug)]
    pub bug: Vec<Bug>,

    /// A known bug, switched off; can be given several times
    #[arg(long, value_name = "NAME", value_parser = bug)]
    pub without: Vec<Bug>,

    /// Who goes next in the simulator
    #[arg(long, value_name = "WHO", value_enum, default_value = "random")]
    pub schedule: ScheduleWord,

    /// What is printed
    #[arg(long, value_enum, default_value = "text")]
    pub format: FuzzFormat,

    /// Where findings are written, a file each [default: target/plugfest]
    #[arg(long, value_name = "DIR")]
    pub output: Option<PathBuf>,

    /// Where the first finding that is not known is written instead
    #[arg(long, value_name = "FILE")]
    pub repro: Option<PathBuf>,

    /// Write the report that CI systems read to this file (JUnit XML): a test case a finding
    #[arg(long, value_name = "FILE")]
    pub junit: Option<PathBuf>,

    /// The known bug that every worker has to find, to see that not finding it is noticed
    #[arg(long, value_name = "NAME", value_parser = bug, hide = true)]
    pub canary: Option<Bug>,

    /// Let the simulator panic at this turn of each run, to see that it is noticed
    #[arg(long, value_name = "N", hide = true)]
    pub panic_at: Option<u64>,

    /// Disturb the second of two equal runs at this turn, to see that a difference is found
    #[arg(long, value_name = "N", hide = true)]
    pub disturb_at: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum FuzzFormat {
    /// A block a finding, and a sum
    Text,
    /// One JSON object a finding, and one for the campaign, one a line
    Json,
}

/// A seed, or the hash of a git commit, SHA-1 or SHA-256: its first twelve digits are the first seed.
fn seed_or_hash(text: &str) -> Result<u64, String> {
    let is_hash =
        [40, 64].contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    if is_hash {
        return u64::from_str_radix(&text[..12], 16).map_err(|error| error.to_string());
    }
    seed(text)
}

/// A span of time: "90s".
fn span(text: &str) -> Result<Duration, String> {
    let expected = || "expected a time, as in 90s, 2m or 1h".to_owned();
    let unit = text.chars().last().ok_or_else(expected)?;
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        _ => return Err(expected()),
    };
    let number: u32 = text[..text.len() - 1].parse().map_err(|_| expected())?;
    if number == 0 {
        return Err(expected());
    }
    Ok(Duration::from_secs(u64::from(number) * seconds))
}

/// A number of scenarios.
fn scenarios(text: &str) -> Result<u64, String> {
    let some = text.parse().ok().filter(|stories| *stories > 0);
    some.ok_or_else(|| format!("expected a whole number from 1 to {}", u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_of_a_commit_is_a_seed() {
        let sha1 = "0000000000ff45e00ba3a3a5dcd3f3a5dcd3f3a5";
        assert_eq!(seed_or_hash(sha1), Ok(0xff));
        assert_eq!(seed_or_hash(&"f".repeat(64)), Ok(0xffff_ffff_ffff));
        assert_eq!(seed_or_hash("12"), Ok(12));
        // All digits, and still a hash.
        assert_eq!(seed_or_hash(&"1".repeat(40)), Ok(0x1111_1111_1111));
        assert!(seed_or_hash("0ff45e0").is_err());
    }

    #[test]
    fn a_span_of_time_has_a_unit() {
        for (text, seconds) in [("90s", 90), ("2m", 120), ("1h", 3600)] {
            assert_eq!(span(text), Ok(Duration::from_secs(seconds)));
        }
        for text in ["", "s", "0s", "-1s", "90", "1d", "1.5m", "\u{e9}"] {
            assert!(span(text).is_err(), "{text}");
        }
    }
}
