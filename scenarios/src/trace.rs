//! A trace: everything that was asked and seen in a run, as JSON lines, to be judged again later.
//!
//! ```text
//! {"plugfest_trace":1,"plan":"hotdetach","only":null,"seed":7,"behaviour":"head","evidence":31}
//! {"asked":{"attach":{…}},"ticket":3}              an action, and its ticket or why it cannot be done
//! {"at":12000,"seen":"answered","ticket":3,…}      an observation
//! {"now":12000,"trace_hash":…}                     the end of one look at the testbed
//! ```
//!
//! [`Recorder`] is a testbed that writes down another one; [`Player`] is a testbed that plays what
//! was written down. So a saved trace is judged by the very code that judged the run.

use std::io::{BufRead, Write};

use serde::{Deserialize, Serialize};

use crate::names::Ticket;
use crate::observation::Seen;
use crate::plan::Plan;
use crate::resolve::{Options, resolve};
use crate::run::{Judge, RunOutcome, run};
use crate::testbed::{Action, Ending, Evidence, Performed, Testbed, TestbedError};
use crate::time::Time;

/// The version of the schema; a reader refuses any other.
pub const TRACE_VERSION: u32 = 1;

/// The first line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// The version of the schema.
    pub plugfest_trace: u32,
    /// The plan's name.
    pub plan: String,
    /// The one case that was judged; `None` for all.
    pub only: Option<String>,
    /// The seed of the stimulus.
    pub seed: u64,
    /// How the target behaved, in words: for reports only.
    pub behaviour: String,
    /// What the testbed could show.
    pub evidence: Evidence,
}

/// A line behind the first.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(untagged)]
enum Line {
    Asked {
        asked: Action,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        ticket: Option<Ticket>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        not_here: Option<String>,
    },
    Now {
        now: Time,
        #[serde(flatten)]
        ending: Ending,
    },
    Seen(Seen),
}

/// Judges a saved trace of `plan` again.
///
/// # Errors
///
/// The trace is not one of this plan.
pub fn judge_trace<R: BufRead>(
    player: &mut Player<R>,
    plan: &Plan,
    judge: &mut dyn Judge,
) -> Result<RunOutcome, TestbedError> {
    let options = Options {
        only: player.header.only.clone(),
    };
    let script = resolve(plan, player.header.seed, &options)
        .map_err(|error| TestbedError(format!("trace: {error}")))?;
    run(&script, player, judge, &mut |_| {})
}

/// A testbed that writes down another one.
pub struct Recorder<'a> {
    testbed: &'a mut dyn Testbed,
    sink: &'a mut dyn Write,
    written: Time,
}

impl<'a> Recorder<'a> {
    /// Writes the first line.
    ///
    /// # Errors
    ///
    /// `sink` cannot be written to.
    pub fn new(
        testbed: &'a mut dyn Testbed,
        sink: &'a mut dyn Write,
        header: &Header,
    ) -> Result<Self, TestbedError> {
        let mut recorder = Self {
            testbed,
            sink,
            written: Time::ZERO,
        };
        recorder.line(header)?;
        Ok(recorder)
    }

    fn line(&mut self, line: &impl Serialize) -> Result<(), TestbedError> {
        let failed =
            |error: std::io::Error| TestbedError(format!("cannot write the trace: {error}"));
        serde_json::to_writer(&mut *self.sink, line).map_err(|error| failed(error.into()))?;
        self.sink.write_all(b"\n").map_err(failed)
    }

    fn look(&mut self) -> Result<(), TestbedError> {
        self.written = self.testbed.now();
        let line = Line::Now {
            now: self.written,
            ending: self.testbed.ending(),
        };
        self.line(&line)
    }
}

impl Testbed for Recorder<'_> {
    fn evidence(&self) -> Evidence {
        self.testbed.evidence()
    }

    fn now(&self) -> Time {
        // What a player can know: the time of the last line.
        self.written
    }

    fn perform(&mut self, action: &Action) -> Result<Performed, TestbedError> {
        let performed = self.testbed.perform(action)?;
        let (ticket, not_here) = match &performed {
            Performed::Asked(ticket) => (Some(*ticket), None),
            Performed::NotHere(reason) => (None, Some(reason.clone())),
        };
        self.line(&Line::Asked {
            asked: action.clone(),
            ticket,
            not_here,
        })?;
        Ok(performed)
    }

    fn observe(&mut self, deadline: Time, seen: &mut Vec<Seen>) -> Result<(), TestbedError> {
        let first = seen.len();
        self.testbed.observe(deadline, seen)?;
        for one in &seen[first..] {
            self.line(one)?;
        }
        self.look()
    }

    fn ending(&self) -> Ending {
        self.testbed.ending()
    }
}

/// A testbed that plays a trace. It can do exactly what was done then, in that order.
pub struct Player<R> {
    header: Header,
    lines: std::io::Lines<R>,
    number: usize,
    now: Time,
    ending: Ending,
}

impl<R: BufRead> Player<R> {
    /// Reads the first line.
    ///
    /// # Errors
    ///
    /// The text cannot be read, is no trace, or is one of another version.
    pub fn new(source: R) -> Result<Self, TestbedError> {
        let mut lines = source.lines();
        let first = match lines.next() {
            Some(line) => line.map_err(|error| TestbedError(format!("trace: {error}")))?,
            None => return Err(TestbedError("trace: the file is empty".into())),
        };
        let header: Header = serde_json::from_str(&first)
            .map_err(|error| TestbedError(format!("trace: line 1 is no header: {error}")))?;
        if header.plugfest_trace != TRACE_VERSION {
            return Err(TestbedError(format!(
                "trace: version {}, expected {TRACE_VERSION}",
                header.plugfest_trace
            )));
        }
        Ok(Self {
            header,
            lines,
            number: 1,
            now: Time::ZERO,
            ending: Ending::default(),
        })
    }

    /// What was run.
    #[must_use]
    pub fn header(&self) -> &Header {
        &self.header
    }

    fn next(&mut self) -> Result<Line, TestbedError> {
        self.number += 1;
        let number = self.number;
        let text = match self.lines.next() {
            Some(text) => text.map_err(|error| TestbedError(format!("trace: {error}")))?,
            None => return Err(TestbedError(format!("trace: it ends before line {number}"))),
        };
        serde_json::from_str(&text)
            .map_err(|error| TestbedError(format!("trace: line {number}: {error}")))
    }

    fn unexpected(&self, expected: &str) -> TestbedError {
        let number = self.number;
        TestbedError(format!(
            "trace: line {number}: expected {expected}; was the plan changed since?"
        ))
    }
}

impl<R: BufRead> Testbed for Player<R> {
    fn evidence(&self) -> Evidence {
        self.header.evidence
    }

    fn now(&self) -> Time {
        self.now
    }

    fn perform(&mut self, action: &Action) -> Result<Performed, TestbedError> {
        match self.next()? {
            Line::Asked {
                asked,
                ticket,
                not_here,
            } if asked == *action => match (ticket, not_here) {
                (Some(ticket), None) => Ok(Performed::Asked(ticket)),
                (None, Some(reason)) => Ok(Performed::NotHere(reason)),
                _ => Err(self.unexpected("a ticket or a reason")),
            },
            _ => Err(self.unexpected(&format!("{action:?}"))),
        }
    }

    fn observe(&mut self, _deadline: Time, seen: &mut Vec<Seen>) -> Result<(), TestbedError> {
        loop {
            match self.next()? {
                Line::Seen(one) => seen.push(one),
                Line::Now { now, ending } => {
                    self.now = now;
                    self.ending = ending;
                    return Ok(());
                }
                Line::Asked { .. } => return Err(self.unexpected("an observation")),
            }
        }
    }

    fn ending(&self) -> Ending {
        self.ending
    }
}
