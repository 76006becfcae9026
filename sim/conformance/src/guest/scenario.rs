//! What was done in a recording, as data: `NAME.steps.json`, made of the recorded shell script by
//! `cargo xtask guest-trace DIR`.
//!
//! ```json
//! {"reboots":false,"steps":[
//! {"say":{"words":"=== hold","disks":false}},
//! {"control":["rw 0 hold","stat"]},
//! {"background":[{"iot":{"target":0,"seconds":1.0,"threads":2,"buffered":false}}]},
//! {"sleep":45.0},
//! "wait"
//! ]}
//! ```
//!
//! A step a line. Times are seconds; disks are named by their targets. Knows no guest.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Threads of an `iot` at most: the requests of more would not fit one queue.
pub const THREADS_MAX: usize = 64;
/// Nothing takes longer.
pub const TIME_MAX: Duration = Duration::from_secs(3600);

/// What was done, and whether the guest rebooted at its end.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    pub reboots: bool,
    pub steps: Vec<Step>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// Each word to the target, at once.
    Control(Vec<String>),
    /// Threads of I/O on the disk of a target.
    Iot(IotStep),
    /// Nothing for a while.
    Sleep(#[serde(with = "seconds")] Duration),
    Say(Say),
    /// The disk of a target is held open for a while.
    HoldOpen(HoldOpen),
    /// The disk of a target is deleted through sysfs.
    Delete(u8),
    /// A target is scanned through sysfs.
    Scan(u8),
    /// Steps that go on beside what follows.
    Background(Vec<Step>),
    /// Waits for all that goes on beside.
    Wait,
    /// What nobody can carry out here.
    Unknown(String),
}

/// `iot DEVICE SECONDS THREADS [buf]`: each thread reads, or writes, 4 KiB here and there, and rests for
/// 20 ms after a failure.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IotStep {
    /// Whose disk.
    pub target: u8,
    #[serde(rename = "seconds", with = "seconds")]
    pub time: Duration,
    pub threads: usize,
    /// Through the page cache.
    pub buffered: bool,
}

/// Words; the part up to the first that is not known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Say {
    pub words: String,
    /// Whether the disks are listed.
    pub disks: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HoldOpen {
    pub target: u8,
    #[serde(rename = "seconds", with = "seconds")]
    pub time: Duration,
}

/// Why a text is no scenario.
#[derive(Debug, thiserror::Error)]
pub enum ScenarioError {
    #[error("{0}")]
    Json(#[from] serde_json::Error),
    #[error("{0} threads of an iot, of {THREADS_MAX} at most")]
    Threads(usize),
}

impl Scenario {
    /// How the name of its file ends, after the recording's.
    pub const EXTENSION: &str = "steps.json";

    /// Reads it.
    ///
    /// # Errors
    ///
    /// It is no JSON of this form, or has more threads or time than a guest could take.
    pub fn parse(text: &str) -> Result<Self, ScenarioError> {
        let scenario: Self = serde_json::from_str(text)?;
        let threads = flat(&scenario.steps).find_map(|step| match step {
            Step::Iot(iot) if iot.threads > THREADS_MAX => Some(iot.threads),
            _ => None,
        });
        match threads {
            Some(threads) => Err(ScenarioError::Threads(threads)),
            None => Ok(scenario),
        }
    }

    /// Writes it, a step a line.
    ///
    /// # Panics
    ///
    /// Never: every step can be written as JSON.
    #[must_use]
    pub fn to_text(&self) -> String {
        let line = |step| serde_json::to_string(step).expect("a step can be written");
        let steps: Vec<String> = self.steps.iter().map(line).collect();
        let steps = steps.join(",\n");
        format!("{{\"reboots\":{},\"steps\":[\n{steps}\n]}}\n", self.reboots)
    }

    /// What nobody can carry out.
    pub fn unknown(&self) -> impl Iterator<Item = &str> {
        flat(&self.steps).filter_map(|step| match step {
            Step::Unknown(words) => Some(words.as_str()),
            _ => None,
        })
    }
}

/// All steps, those that go on beside others included.
fn flat(steps: &[Step]) -> impl Iterator<Item = &Step> {
    let mut left: Vec<&Step> = steps.iter().rev().collect();
    std::iter::from_fn(move || {
        let step = left.pop()?;
        if let Step::Background(inside) = step {
            left.extend(inside.iter().rev());
        }
        Some(step)
    })
}

/// A time, as seconds.
mod seconds {
    use std::time::Duration;

    use serde::de::{Deserialize as _, Deserializer, Error as _};
    use serde::ser::Serializer;

    use super::TIME_MAX;

    pub fn serialize<S: Serializer>(time: &Duration, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_f64(time.as_secs_f64())
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        let seconds = f64::deserialize(from)?;
        let time = Duration::try_from_secs_f64(seconds).map_err(D::Error::custom)?;
        if time > TIME_MAX {
            let limit = TIME_MAX.as_secs();
            return Err(D::Error::custom(format!(
                "{seconds} s: expected {limit} at most"
            )));
        }
        Ok(time)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read_again() {
        let iot = IotStep {
            target: 2,
            time: Duration::from_millis(300),
            threads: 6,
            buffered: true,
        };
        let words = "=== at:".to_owned();
        let scenario = Scenario {
            reboots: true,
            steps: vec![
                Step::Say(Say { words, disks: true }),
                Step::Background(vec![Step::Iot(iot), Step::Unknown("dmesg -n 8".to_owned())]),
                Step::Wait,
            ],
        };
        let text = scenario.to_text();
        assert_eq!(text.lines().count(), 5);
        assert_eq!(Scenario::parse(&text).unwrap(), scenario);
        assert!(scenario.unknown().eq(["dmesg -n 8"]));
    }

    #[test]
    fn what_no_guest_could_do_is_refused() {
        let iot = |seconds: &str, threads: &str| {
            format!(
                r#"{{"reboots":false,"steps":[{{"background":[{{"iot":
                {{"target":0,"seconds":{seconds},"threads":{threads},"buffered":false}}}}]}}]}}"#
            )
        };
        assert!(Scenario::parse(&iot("3", "64")).is_ok());
        for bad in [iot("3", "65"), iot("3601", "1"), iot("-1", "1")] {
            assert!(Scenario::parse(&bad).is_err(), "{bad}");
        }
        for bad in ["", "ctl \"", "{}", r#"{"reboots":false,"steps":["go"]}"#] {
            assert!(Scenario::parse(bad).is_err(), "{bad}");
        }
    }
}
