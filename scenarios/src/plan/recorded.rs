//! What a plan file says of a run of it: under what it was carried out, and what came of it.
//!
//! Such a file is a *repro*: it happens again, whatever becomes of the seeds and of what drew it. Knows no bug and
//! no schedule by name: whoever carries it out does.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::Position;
use super::error::{PlanError, one_of};
use super::node::Node;
use super::print::quoted;
use crate::check_id::CheckId;
use crate::testbed::Ending;

/// The version that is written. A newer one is refused; 2 and older are JSON.
pub const RECORDED_SCHEMA: u32 = 3;

/// Targets that a host of virtio-scsi can have at most: its addresses have a byte for them.
const TARGETS_MAX: u16 = 256;

/// What may stand in `recorded`.
const NODES: &[&str] = &[
    "seed",
    "schedule",
    "io-count",
    "targets-asked",
    "bugs",
    "job",
    "finding",
    "ended",
    "choices",
];

/// Under what a plan was carried out, and what came of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recorded {
    /// Where it stands in the plan file.
    pub at: Position,
    /// Feeds the accidents of the world, and the schedule.
    pub seed: u64,
    /// Who goes next: "timed" or "random".
    pub schedule: String,
    /// How much each fio writes and verifies: "full".
    pub io_count: String,
    /// Targets that guests ask for in each host when they scan it; `None`: as many as QEMU says that there are.
    pub targets_asked: Option<u16>,
    /// The names of the bugs in force, all of them.
    pub bugs: Vec<String>,
    /// The job files, by the names that the plan uses.
    pub jobs: BTreeMap<String, JobText>,
    /// What the checks said.
    pub findings: Vec<Finding>,
    /// Hashes and counts at the end.
    pub ending: Option<Ending>,
    /// Who went, turn by turn: actors, a run of the same one as `ACTOR*TURNS`. Empty: not noted.
    pub choices: String,
}

/// A fio job file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobText {
    /// Its name in errors.
    pub file: String,
    /// Its text.
    pub text: String,
}

/// What a check said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// The check.
    pub check: CheckId,
    /// What it expected.
    pub expected: String,
    /// What it saw.
    pub seen: String,
}

impl Recorded {
    /// Reads the node `recorded`.
    pub(super) fn read(node: &mut Node<'_>) -> Result<Self, PlanError> {
        let schema = node.required("schema", 1, u32::MAX)?;
        if schema != RECORDED_SCHEMA {
            let age = if schema > RECORDED_SCHEMA {
                "newer"
            } else {
                "older"
            };
            return Err(node.error(
                format!("schema {schema} is {age} than this program"),
                format!("expected schema={RECORDED_SCHEMA}"),
            ));
        }
        let mut recorded = Self {
            at: node.at(),
            schedule: "timed".to_owned(),
            io_count: "default".to_owned(),
            ..Self::default()
        };
        let mut read = Vec::new();
        for child in node.children() {
            let mut child = Node::new(node.text, child);
            let name = child.name();
            if read.contains(&name) && !matches!(name, "job" | "finding") {
                return Err(child.error(format!("`{name}` is there already"), "keep one"));
            }
            read.push(name);
            recorded.part(&mut child)?;
            child.finish()?;
        }
        Ok(recorded)
    }

    fn part(&mut self, node: &mut Node<'_>) -> Result<(), PlanError> {
        match node.name() {
            "seed" => self.seed = node.number_argument("a number", 0, u64::MAX)?,
            "schedule" => self.schedule = node.text_argument("who goes next")?,
            "io-count" => self.io_count = node.text_argument("how much")?,
            "targets-asked" => {
                self.targets_asked = Some(node.number_argument("a number", 1, TARGETS_MAX)?);
            }
            "bugs" => self.bugs = node.text_arguments("the name of a bug")?,
            "job" => {
                let name = node.text_argument("its name")?;
                let file = node.text("file")?.unwrap_or_else(|| name.clone());
                let mut text = String::new();
                for line in node.children() {
                    text += Node::new(node.text, line).line()?;
                    text.push('\n');
                }
                self.jobs.insert(name, JobText { file, text });
            }
            "finding" => {
                let name = node.text_argument("a check")?;
                let unknown = || node.error(format!("there is no check {name:?}"), "see README");
                let check = CheckId::named(&name).ok_or_else(unknown)?;
                let expected = node.text("expected")?.unwrap_or_default();
                let seen = node.text("seen")?.unwrap_or_default();
                self.findings.push(Finding {
                    check,
                    expected,
                    seen,
                });
            }
            "ended" => {
                let turns = node.number("turns", 0, u64::MAX)?;
                self.ending = Some(Ending {
                    trace_hash: hash(node, "trace-hash")?,
                    order_hash: hash(node, "order-hash")?,
                    turns: turns.ok_or_else(|| node.missing("turns", "how many"))?,
                });
            }
            "choices" => self.choices = node.text_argument("actors")?,
            name => {
                let what = format!("`recorded` has no `{name}`");
                return Err(node.error(what, one_of(name, NODES)));
            }
        }
        Ok(())
    }
}

/// The hash of `key`.
fn hash(node: &mut Node<'_>, key: &'static str) -> Result<u64, PlanError> {
    let digits = "sixteen hexadecimal digits";
    let hash = node.read(key, digits, |text| u64::from_str_radix(text, 16).ok())?;
    hash.ok_or_else(|| node.missing(key, digits))
}

impl fmt::Display for Recorded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "    recorded schema={RECORDED_SCHEMA} {{")?;
        writeln!(f, "        seed {}", self.seed)?;
        writeln!(f, "        schedule {}", quoted(&self.schedule))?;
        writeln!(f, "        io-count {}", quoted(&self.io_count))?;
        if let Some(targets) = self.targets_asked {
            writeln!(f, "        targets-asked {targets}")?;
        }
        if !self.bugs.is_empty() {
            let bugs: Vec<String> = self.bugs.iter().map(|name| quoted(name)).collect();
            writeln!(f, "        bugs {}", bugs.join(" "))?;
        }
        for finding in &self.findings {
            let (expected, seen) = (quoted(&finding.expected), quoted(&finding.seen));
            let check = finding.check;
            writeln!(
                f,
                "        finding \"{check}\" expected={expected} seen={seen}"
            )?;
        }
        if let Some(ending) = &self.ending {
            let (trace, order) = (ending.trace_hash, ending.order_hash);
            let turns = ending.turns;
            writeln!(
                f,
                "        ended trace-hash=\"{trace:016x}\" order-hash=\"{order:016x}\" turns={turns}"
            )?;
        }
        for (name, job) in &self.jobs {
            let (name, file) = (quoted(name), quoted(&job.file));
            writeln!(f, "        job {name} file={file} {{")?;
            for line in job.text.lines() {
                writeln!(f, "            - {}", quoted(line))?;
            }
            writeln!(f, "        }}")?;
        }
        if !self.choices.is_empty() {
            writeln!(f, "        choices {}", quoted(&self.choices))?;
        }
        writeln!(f, "    }}")
    }
}
