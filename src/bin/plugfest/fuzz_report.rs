//! What `plugfest fuzz` prints and writes: a block or a JSON object a finding, a file each, the sum, and JUnit.
//!
//! Nothing here depends on the time or on the number of workers.

use std::path::{Path, PathBuf};

use plugfest::command::{Campaign, Ended, Found, Origin, Outcome, finding_lines};
use quick_junit::{NonSuccessKind, TestCase, TestCaseStatus};
use scenarios::report::shell_quoted;
use serde_json::{Value, json};

use crate::fuzz_arguments::{FuzzArguments, FuzzFormat};
use crate::junit::Junit;
use crate::output::{Printer, Stop, first_of, print, write_whole};

/// What is printed and written.
pub struct FuzzReport<'a> {
    arguments: &'a FuzzArguments,
    found_in: PathBuf,
    out: Printer,
    /// The first file that could not be written.
    written: Result<(), Stop>,
    is_repro_written: bool,
}

impl<'a> FuzzReport<'a> {
    /// Nothing is printed yet; findings are written into a directory.
    pub fn new(arguments: &'a FuzzArguments, found_in: PathBuf) -> Self {
        Self {
            arguments,
            found_in,
            // What is found is written down, whoever reads.
            out: Printer::new(true),
            written: Ok(()),
            is_repro_written: false,
        }
    }

    fn is_text(&self) -> bool {
        self.arguments.format == FuzzFormat::Text
    }

    /// Says what is carried out, before it is: whatever becomes of it, it can be done again.
    pub fn begin(&self, campaign: &Campaign) -> Result<(), Stop> {
        if !self.is_text() {
            return Ok(());
        }
        let (start, end) = (campaign.seeds.start, campaign.seeds.end);
        let what = match campaign.plans.as_slice() {
            [] => "scenarios".to_owned(),
            plans => {
                let names: Vec<&str> = plans.iter().map(|plan| plan.name.as_str()).collect();
                format!("{} at moments", names.join(", "))
            }
        };
        let seeds = match self.arguments.for_time {
            Some(_) => format!("from seed {start} on"),
            None => format!("of seeds {start}..{end}"),
        };
        let mut text = format!("{what} {seeds}");
        if campaign.schedules > 1 {
            text += &format!(", {} schedules each", campaign.schedules);
        }
        if !campaign.corpus.is_empty() {
            text += &format!(", and {} of the corpus before them", campaign.corpus.len());
        }
        print(&(text + "\n"))
    }

    /// Tells a finding, and writes it down.
    pub fn found(&mut self, found: &Found) -> Result<(), Stop> {
        let path = self.path(found);
        let text = match (self.arguments.format, &found.known) {
            (FuzzFormat::Json, _) => format!("{}\n", finding_json(found, &path)),
            (FuzzFormat::Text, Some(known)) => known_line(found, known, &path),
            (FuzzFormat::Text, None) => new_block(found, &path),
        };
        let printed = self.out.print(&text);
        let written = self.write(found, &path);
        let before = std::mem::replace(&mut self.written, Ok(()));
        self.written = first_of(before, written);
        printed
    }

    /// Where a finding is written.
    fn path(&self, found: &Found) -> PathBuf {
        match &self.arguments.repro {
            Some(path) if found.known.is_none() && !self.is_repro_written => path.clone(),
            _ => self.found_in.join(file_name(found)),
        }
    }

    fn write(&mut self, found: &Found, path: &Path) -> Result<(), Stop> {
        let Some(small) = &found.small else {
            return Ok(());
        };
        if Some(path) == self.arguments.repro.as_deref() {
            self.is_repro_written = true;
        } else {
            let wrong = |error| {
                let directory = self.found_in.display();
                Stop::Error(format!("cannot make {directory}: {error}"))
            };
            std::fs::create_dir_all(&self.found_in).map_err(wrong)?;
        }
        write_whole(path, small.repro.text().unwrap_or_default().as_bytes())
    }

    /// Sums it up; the exit status.
    pub fn end(mut self, campaign: &Campaign, outcome: &Outcome, exit: u8) -> Result<u8, Stop> {
        let text = if self.is_text() {
            summary(campaign, outcome)
        } else {
            format!("{}\n", summary_json(campaign, outcome))
        };
        self.out.print(&text)?;
        let mut written = self.written;
        if let Some(path) = &self.arguments.junit {
            written = first_of(written, junit(outcome).write(path));
        }
        written?;
        self.out.end(exit)
    }
}

/// The name of a finding's file: what it is, and which seed showed it first.
fn file_name(found: &Found) -> String {
    let what = match &found.known {
        Some((id, _)) => id.clone(),
        None => found.signature.what.to_string(),
    };
    let whence = match &found.origin {
        Origin::Seed(seed) => seed.to_string(),
        Origin::Corpus(file) => {
            let stem = Path::new(file).file_stem().unwrap_or_default();
            stem.to_string_lossy().into_owned()
        }
    };
    format!("{what}-{whence}.kdl")
}

/// The command that shows a finding again.
fn again(path: &Path) -> String {
    let path = path.display().to_string();
    format!("plugfest replay {}", shell_quoted(&path))
}

fn known_line(found: &Found, (id, title): &(String, String), path: &Path) -> String {
    let (what, origin) = (found.signature.what, &found.origin);
    let steps = found.small.as_ref().map_or(0, |small| small.steps.1);
    let again = again(path);
    format!("known {id:4} {what}, {origin}, {steps} steps: {title}\n           {again}\n")
}

fn new_block(found: &Found, path: &Path) -> String {
    let (signature, origin) = (&found.signature, &found.origin);
    let mut text = format!("NEW   {signature}\n      {origin}");
    let Some(small) = &found.small else {
        return text + ", interrupted before it was made smaller\n";
    };
    let (before, after) = small.steps;
    text += &format!(", made smaller from {before} steps to {after}\n");
    text += &small.repro.script.lines();
    text += &finding_lines(&small.repro.recorded.findings);
    text += &format!("again: {}\n", again(path));
    text
}

fn finding_json(found: &Found, path: &Path) -> Value {
    let (seed, corpus) = match &found.origin {
        Origin::Seed(seed) => (Some(seed), None),
        Origin::Corpus(file) => (None, Some(file)),
    };
    let small = found.small.as_ref();
    json!({
        "finding": found.signature.what.to_string(),
        "shape": found.signature.shape,
        "turn": found.signature.turn,
        "known": found.known.as_ref().map(|(id, _)| id),
        "title": found.known.as_ref().map(|(_, title)| title),
        "seed": seed,
        "corpus": corpus,
        "run": found.run,
        "steps_before": small.map(|small| small.steps.0),
        "steps": small.map(|small| small.steps.1),
        "violated": small.map(|small| &small.repro.recorded.findings),
        "file": path.display().to_string(),
    })
}

/// "3 findings".
fn counted(number: u64, what: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {what}{plural}")
}

fn summary(campaign: &Campaign, outcome: &Outcome) -> String {
    let tally = outcome.tally;
    let mut text = String::new();
    if outcome.ended != Ended::Whole {
        text += &format!("{}\n", ended(campaign, outcome));
    }
    text += &format!(
        "{}, {} verified, {} of hot-plug turns; {} done twice\n",
        counted(tally.runs, "run"),
        counted(tally.verified, "block"),
        counted(tally.orders, "order"),
        tally.doubled,
    );
    for found in &outcome.found {
        let what = match &found.known {
            Some((id, title)) => format!("known {id}: {title}"),
            None => format!("new   {}", found.signature),
        };
        text += &format!("{:>8}  {what}\n", counted(found.runs, "run"));
    }
    let canary = campaign.canary.name();
    text += &match outcome.doubt() {
        Some(doubt) => format!("not to be trusted: {doubt}\n"),
        None => format!("every worker found the canary, {canary}\n"),
    };
    text += &match (tally.new, tally.known) {
        (0, 0) => "no check was broken\n".to_owned(),
        (0, known) => format!("{}, nothing new\n", counted(known, "known finding")),
        (new, known) => format!("{}, {known} known\n", counted(new, "new finding")),
    };
    text
}

/// Why it ended before its end.
fn ended(campaign: &Campaign, outcome: &Outcome) -> String {
    let first = campaign.seeds.start;
    let corpus = campaign.corpus.len() as u64;
    let end = first + outcome.tally.seeds.saturating_sub(corpus);
    let why = match &outcome.ended {
        Ended::Whole | Ended::TimeOver => "the time is over",
        Ended::Enough => "enough was found",
        Ended::Interrupted => "interrupted",
        Ended::Differs { .. } => "stopped",
    };
    format!("{why}: seeds {first}..{end} were done")
}

fn summary_json(campaign: &Campaign, outcome: &Outcome) -> Value {
    let tally = outcome.tally;
    let ended = match &outcome.ended {
        Ended::Whole => "whole",
        Ended::TimeOver => "time over",
        Ended::Enough => "enough",
        Ended::Interrupted => "interrupted",
        Ended::Differs { .. } => "differs",
    };
    let found = outcome.found.iter().map(|found| {
        json!({
            "finding": found.signature.what.to_string(),
            "shape": found.signature.shape,
            "known": found.known.as_ref().map(|(id, _)| id),
            "runs": found.runs,
        })
    });
    json!({
        "campaign": {
            "first_seed": campaign.seeds.start,
            "seeds": tally.seeds.saturating_sub(campaign.corpus.len() as u64),
            "ended": ended,
            "runs": tally.runs,
            "verified": tally.verified,
            "orders": tally.orders,
            "doubled": tally.doubled,
            "new": tally.new,
            "known": tally.known,
            "canary": outcome.canary,
            "doubt": outcome.doubt(),
            "found": found.collect::<Vec<_>>(),
        }
    })
}

/// A test case a finding, and one that says whether the campaign is to be trusted.
fn junit(outcome: &Outcome) -> Junit {
    let mut junit = Junit::default();
    for found in &outcome.found {
        let status = match &found.known {
            Some(_) => TestCaseStatus::success(),
            None => {
                let mut status = TestCaseStatus::non_success(NonSuccessKind::Failure);
                status.set_message(found.signature.to_string());
                if let Some(small) = &found.small {
                    status.set_description(small.repro.script.lines());
                }
                status
            }
        };
        let name = match &found.known {
            Some((id, title)) => format!("known {id}: {title}"),
            None => found.signature.to_string(),
        };
        junit.push("fuzz", TestCase::new(name, status));
    }
    let status = match outcome.doubt() {
        None => TestCaseStatus::success(),
        Some(doubt) => {
            let mut status = TestCaseStatus::non_success(NonSuccessKind::Error);
            status.set_message(doubt);
            status
        }
    };
    junit.push(
        "fuzz",
        TestCase::new("the campaign is to be trusted", status),
    );
    junit
}
