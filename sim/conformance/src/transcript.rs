//! A recording of a real target as read from its file: set-up, stimuli, and what was seen after each.
//!
//! Knows the format (`tests/transcripts/README.md`) and nothing of how it is played. Every field
//! must be known: a transcript that is not understood in full is an error, never a pass.

use std::fmt;

use serde::Deserialize;
use serde_json::Value;

use super::stimulus::{Stimulus, Timing};

/// A recorded case.
#[derive(Clone, Debug)]
pub struct Transcript {
    /// The file it was read from, for messages.
    pub file: String,
    /// Its name: `T-` family, number, finding, words.
    pub case: String,
    /// What it shows, in one sentence.
    pub about: String,
    /// What existed before the first stimulus.
    pub setup: Setup,
    /// Stimuli and what followed each.
    pub steps: Vec<Step>,
}

/// A stimulus and what was seen after it.
#[derive(Clone, Debug)]
pub struct Step {
    /// Its line in the file, from 1.
    pub line: usize,
    /// Its text.
    pub text: String,
    /// What to do.
    pub stimulus: Stimulus,
    /// How long to wait.
    pub timing: Timing,
    /// Every list of observations that was recorded for it; the first is the body of the file, the
    /// rest come from `variants`. Any of them is right.
    pub expected: Vec<Vec<Value>>,
}

/// What exists before the first stimulus.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Setup {
    /// Block devices, in order of creation.
    #[serde(default)]
    pub bdevs: Vec<BdevSetup>,
    /// Controllers, in order of creation.
    #[serde(default)]
    pub controllers: Vec<ControllerSetup>,
    /// Targets, attached before any front-end starts.
    #[serde(default)]
    pub targets: Vec<TargetSetup>,
    /// Front-ends.
    #[serde(default)]
    pub frontends: Vec<FrontEndSetup>,
    /// The cores of the target's reactors; one reactor if absent.
    #[serde(default)]
    pub core_mask: Option<String>,
}

/// A block device of the set-up; malloc unless one of the marks says otherwise.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BdevSetup {
    /// Its name; for `split_of` a pattern that names the parts.
    pub name: String,
    /// Bytes in a block.
    pub block_size: Option<u32>,
    /// Blocks.
    pub num_blocks: Option<u64>,
    /// A null bdev.
    pub null: bool,
    /// A `bdev_error` on this base, which holds I/O on demand.
    pub hold_of: Option<String>,
    /// A `bdev_delay` on this base.
    pub delay_of: Option<String>,
    /// Its latency.
    pub us: Option<u64>,
    /// Parts of this base.
    pub split_of: Option<String>,
    /// How many parts.
    pub count: Option<u32>,
}

/// A controller of the set-up.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub enum ControllerSetup {
    /// A vhost-scsi controller with no cores asked for.
    Name(String),
    /// A controller with more said about it.
    Full(ControllerFull),
}

/// A controller with more said about it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ControllerFull {
    /// Its name.
    pub ctrlr: String,
    /// `scsi` if absent, or `blk`.
    #[serde(default)]
    pub kind: Option<String>,
    /// The bdev of a blk controller.
    #[serde(default)]
    pub dev_name: Option<String>,
    /// The cores asked for.
    #[serde(default)]
    pub cpumask: Option<String>,
}

/// A target of the set-up.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TargetSetup {
    /// The controller.
    pub ctrlr: String,
    /// The slot.
    pub slot: i64,
    /// The bdev.
    pub bdev: String,
}

/// A front-end of the set-up.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FrontEndSetup {
    /// Its name in the transcript.
    pub name: String,
    /// The controller it connects to.
    pub ctrlr: String,
    /// Request queues, beside control and event queue.
    pub request_queues: u16,
    /// Entries of each ring.
    pub ring_size: u16,
    /// Feature bits it accepts, by name.
    pub features: Vec<String>,
    /// Event buffers that it posts when it starts afresh.
    pub event_buffers: u16,
    /// It starts before the first stimulus.
    #[serde(default = "yes")]
    pub started: bool,
    /// It connects before the first stimulus.
    #[serde(default = "yes")]
    pub connected: bool,
    /// It uses an inflight buffer.
    #[serde(default)]
    pub inflight: bool,
}

fn yes() -> bool {
    true
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    case: String,
    about: String,
    #[expect(
        dead_code,
        reason = "says who was recorded; every peer must answer alike"
    )]
    peer: String,
    setup: Setup,
    #[serde(default)]
    #[expect(dead_code, reason = "how often it was recorded")]
    runs: u32,
    #[serde(default = "yes")]
    stable: bool,
    #[serde(default)]
    variants: Vec<StepVariants>,
    #[serde(default)]
    #[expect(dead_code, reason = "for people")]
    note: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StepVariants {
    step: usize,
    seen: Vec<SeenVariant>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SeenVariant {
    #[expect(dead_code, reason = "how many runs; one is enough to be right")]
    n: u32,
    see: Vec<Value>,
}

/// How a transcript begins.
const BEGINNING: &str =
    r#"a recording of a target, whose first line is {"case":…,"about":…,"peer":…,"setup":{…}}"#;

/// A file that is not a transcript, or not one that this player knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadTranscript {
    /// The file.
    pub file: String,
    /// The line, from 1.
    pub line: usize,
    /// What is wrong with it.
    pub why: String,
}

impl fmt::Display for BadTranscript {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.file, self.line, self.why)
    }
}

impl std::error::Error for BadTranscript {}

impl Transcript {
    /// Reads a transcript.
    ///
    /// # Errors
    ///
    /// A line that is not understood in full.
    pub fn parse(file: &str, text: &str) -> Result<Self, BadTranscript> {
        let bad = |line: usize, why: String| BadTranscript {
            file: file.to_owned(),
            line,
            why,
        };
        let no_transcript = |line: usize, why: &dyn fmt::Display| {
            let why = format!("it is no transcript: {why}\n  = expected {BEGINNING}");
            bad(line, why)
        };
        let mut lines = (1..)
            .zip(text.lines())
            .filter(|(_, line)| !line.trim().is_empty());
        let first = lines.next();
        let (number, first) = first.ok_or_else(|| no_transcript(1, &"it is empty"))?;
        let header: Header = serde_json::from_str(first).map_err(|e| no_transcript(number, &e))?;
        let mut steps: Vec<Step> = Vec::new();
        for (number, line) in lines {
            let record: Value =
                serde_json::from_str(line).map_err(|e| bad(number, e.to_string()))?;
            match only_member(record).map_err(|why| bad(number, why))? {
                (what, value) if what == "do" => {
                    steps.push(read_step(number, line, value).map_err(|why| bad(number, why))?)
                }
                (what, value) if what == "see" => {
                    let Some(step) = steps.last_mut() else {
                        return Err(bad(number, "an observation before any stimulus".into()));
                    };
                    only_member(value.clone()).map_err(|why| bad(number, why))?;
                    step.expected[0].push(value);
                }
                (what, _) => return Err(bad(number, format!("`{what}` is neither do nor see"))),
            }
        }
        if header.stable != header.variants.is_empty() {
            return Err(bad(1, "`stable` and `variants` disagree".into()));
        }
        for variants in header.variants {
            // A step that the most frequent run did not reach (it crashed before) cannot be played.
            let Some(step) = variants.step.checked_sub(1).and_then(|n| steps.get_mut(n)) else {
                continue;
            };
            // The body is itself one of the runs. Checked, or a body that was tampered with would
            // pass by its own copy.
            let lists: Vec<_> = variants.seen.into_iter().map(|seen| seen.see).collect();
            if !lists.contains(&step.expected[0]) {
                let why = "what follows is none of the recorded `variants` of this step".into();
                return Err(bad(step.line, why));
            }
            let others = lists.into_iter().filter(|list| *list != step.expected[0]);
            let others: Vec<_> = others.collect();
            step.expected.extend(others);
        }
        Ok(Self {
            file: file.to_owned(),
            case: header.case,
            about: header.about,
            setup: header.setup,
            steps,
        })
    }

    /// The family: `A` to `F`, or `?`.
    #[must_use]
    pub fn family(&self) -> char {
        family_of(&self.case)
    }
}

/// The family in a case's name.
#[must_use]
pub fn family_of(case: &str) -> char {
    case.strip_prefix("T-")
        .and_then(|rest| rest.chars().next())
        .unwrap_or('?')
}

fn read_step(line: usize, text: &str, value: Value) -> Result<Step, String> {
    let (kind, body) = only_member(value)?;
    let Value::Object(mut body) = body else {
        return Err(format!("`{kind}` takes an object"));
    };
    let timing = Timing::take(&mut body)?;
    Ok(Step {
        line,
        text: text.to_owned(),
        stimulus: Stimulus::read(&kind, body)?,
        timing,
        expected: vec![Vec::new()],
    })
}

/// The one member of an object that must have just one.
fn only_member(value: Value) -> Result<(String, Value), String> {
    match value {
        Value::Object(map) if map.len() == 1 => {
            Ok(map.into_iter().next().expect("it has one member"))
        }
        _ => Err("expected an object with one member".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &str =
        r#"{"case":"T-X01-a","about":"b","peer":"p","setup":{},"runs":1,"stable":true}"#;

    #[test]
    fn observations_belong_to_the_stimulus_before_them() {
        let text = format!(
            "{HEADER}\n{}\n{}\n{}\n",
            r#"{"do":{"settle":{"ms":5}}}"#,
            r#"{"see":{"rpc_closed":{"conn":0}}}"#,
            r#"{"do":{"settle":{"ms":6}}}"#
        );
        let transcript = Transcript::parse("x.jsonl", &text).unwrap();
        assert_eq!(transcript.family(), 'X');
        assert_eq!(transcript.steps.len(), 2);
        assert_eq!(transcript.steps[0].expected[0].len(), 1);
        assert_eq!(transcript.steps[1].line, 4);
        assert!(transcript.steps[1].expected[0].is_empty());
    }

    #[test]
    fn what_is_not_understood_is_an_error_with_its_line() {
        let text = format!("{HEADER}\n{}\n", r#"{"do":{"settle":{"ms":5,"shy":1}}}"#);
        let error = Transcript::parse("x.jsonl", &text).unwrap_err();
        assert_eq!(error.line, 2);
        assert!(error.why.contains("shy"), "{error}");
        let text = format!("{HEADER}\n{}\n", r#"{"do":{"dance":{}}}"#);
        let error = Transcript::parse("x.jsonl", &text).unwrap_err();
        assert!(error.to_string().starts_with("x.jsonl:2: "), "{error}");
    }

    fn unstable(body: &str) -> Result<Transcript, BadTranscript> {
        let header = r#"{"case":"T-X01-a","about":"b","peer":"p","setup":{},"runs":5,"stable":false,"variants":[{"step":1,"seen":[{"n":1,"see":[{"rpc_closed":{"conn":1}}]},{"n":4,"see":[{"rpc_closed":{"conn":0}}]}]},{"step":9,"seen":[]}]}"#;
        let stimulus = r#"{"do":{"settle":{"ms":5}}}"#;
        Transcript::parse("x.jsonl", &format!("{header}\n{stimulus}\n{body}\n"))
    }

    #[test]
    fn variants_are_more_right_answers() {
        let transcript = unstable(r#"{"see":{"rpc_closed":{"conn":0}}}"#).unwrap();
        assert_eq!(transcript.steps[0].expected.len(), 2);
        assert_ne!(
            transcript.steps[0].expected[0],
            transcript.steps[0].expected[1]
        );
    }

    #[test]
    fn a_body_that_no_run_showed_is_an_error() {
        let error = unstable(r#"{"see":{"rpc_closed":{"conn":2}}}"#).unwrap_err();
        assert_eq!(error.line, 2);
    }
}
