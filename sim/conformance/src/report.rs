//! What came of playing transcripts, for people and for programs.
//!
//! Knows neither format nor target: it shows what the player found.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::compare::short;
use super::differences::Known;
use super::player::Mismatch;
use super::transcript::{Transcript, family_of};

/// What came of one file.
#[derive(Clone, Debug)]
pub struct FileReport {
    /// The file.
    pub file: String,
    /// Its case; empty if it could not be read.
    pub case: String,
    /// What came of it.
    pub outcome: Outcome,
}

/// What came of one file.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// Every observation was as recorded.
    Held,
    /// One was not.
    Mismatch(Box<Shown>),
    /// It could not be played to its end.
    Broke(String),
    /// It is not a transcript.
    Bad(String),
}

/// A mismatch, ready to be shown.
#[derive(Clone, Debug)]
pub struct Shown {
    /// Line of the stimulus in the file.
    pub line: usize,
    /// The stimulus.
    pub stimulus: String,
    /// What was recorded after it.
    pub expected: Vec<String>,
    /// What was seen after it.
    pub got: Vec<String>,
    /// The first that differs.
    pub at: usize,
    /// How it differs.
    pub why: String,
    /// The state of the target's slots.
    pub slots: Vec<String>,
}

impl Shown {
    /// Makes a mismatch ready to be shown.
    #[must_use]
    pub fn new(transcript: &Transcript, mismatch: &Mismatch) -> Self {
        let step = &transcript.steps[mismatch.step];
        Self {
            line: step.line,
            stimulus: step.text.clone(),
            expected: step.expected[0].iter().map(short).collect(),
            got: mismatch.seen.iter().map(short).collect(),
            at: mismatch.difference.at,
            why: mismatch.difference.why.clone(),
            slots: mismatch.slots.clone(),
        }
    }
}

/// A file's verdict, with the list of knowing differences taken into account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// As recorded.
    Held,
    /// Not as recorded.
    Failed,
    /// Not as recorded, and the list says why.
    Known(&'static Known),
    /// As recorded, though the list says otherwise: the list is wrong.
    HeldThoughListed(&'static Known),
    /// Not a transcript, or not playable.
    Broke,
}

impl FileReport {
    /// Its verdict.
    #[must_use]
    pub fn verdict(&self, list: &'static [Known]) -> Verdict {
        let known = list.iter().find(|known| known.case == self.case);
        match (&self.outcome, known) {
            (Outcome::Held, None) => Verdict::Held,
            (Outcome::Held, Some(known)) => Verdict::HeldThoughListed(known),
            (Outcome::Mismatch(_), None) => Verdict::Failed,
            (Outcome::Mismatch(_), Some(known)) => Verdict::Known(known),
            (Outcome::Broke(_) | Outcome::Bad(_), _) => Verdict::Broke,
        }
    }
}

/// What came of all files.
#[derive(Clone, Debug)]
pub struct Report {
    /// Of each, in order.
    pub files: Vec<FileReport>,
    /// The list that applies.
    pub list: &'static [Known],
}

impl Report {
    /// Whether every file held.
    #[must_use]
    pub fn all_held(&self) -> bool {
        let held = |file: &FileReport| file.verdict(self.list) == Verdict::Held;
        self.files.iter().all(held)
    }

    /// Whether a file could not be read or played.
    #[must_use]
    pub fn any_broke(&self) -> bool {
        let broke = |file: &FileReport| file.verdict(self.list) == Verdict::Broke;
        self.files.iter().any(broke)
    }

    /// For people: each file that did not hold, the knowing differences, and a table of families.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::new();
        for file in &self.files {
            show_file(&mut text, file, file.verdict(self.list));
        }
        self.show_known(&mut text);
        self.show_families(&mut text);
        text
    }

    fn show_known(&self, text: &mut String) {
        let mut known = self
            .files
            .iter()
            .filter_map(|file| match file.verdict(self.list) {
                Verdict::Known(known) => Some(known),
                _ => None,
            })
            .peekable();
        if known.peek().is_none() {
            return;
        }
        line(text, "Knowing differences:");
        for known in known {
            let ids: Vec<&str> = known.shows.iter().map(|shown| shown.id()).collect();
            let ids = if ids.is_empty() {
                "model".to_owned()
            } else {
                ids.join(" ")
            };
            line(
                text,
                &format!("  {:<8} {} — {}", ids, known.case, known.why),
            );
        }
        line(text, "");
    }

    fn show_families(&self, text: &mut String) {
        line(text, "family  held  of");
        let mut families: Vec<char> = self.files.iter().map(|f| family_of(&f.case)).collect();
        families.sort_unstable();
        families.dedup();
        let held = |file: &&FileReport| file.verdict(self.list) == Verdict::Held;
        for family in families {
            let files = self.files.iter().filter(|f| family_of(&f.case) == family);
            let count = files.clone().filter(held).count();
            line(
                text,
                &format!("{family:<6}  {count:>4}  {:>2}", files.count()),
            );
        }
        let count = self.files.iter().filter(held).count();
        line(
            text,
            &format!("all     {count:>4}  {:>2}", self.files.len()),
        );
    }

    /// For programs: one object a file, a line each.
    #[must_use]
    pub fn json(&self) -> String {
        self.files
            .iter()
            .map(|file| file_json(file, file.verdict(self.list)).to_string() + "\n")
            .collect()
    }
}

fn line(text: &mut String, what: &str) {
    writeln!(text, "{what}").expect("a string takes everything");
}

fn show_file(text: &mut String, file: &FileReport, verdict: Verdict) {
    match (verdict, &file.outcome) {
        (Verdict::HeldThoughListed(known), _) => line(
            text,
            &format!(
                "{}: holds, though it is listed as a knowing difference ({})\n",
                file.file, known.why
            ),
        ),
        (Verdict::Failed, Outcome::Mismatch(shown)) => show_mismatch(text, file, shown),
        (_, Outcome::Broke(why) | Outcome::Bad(why)) => line(text, &format!("{why}\n")),
        _ => {}
    }
}

fn show_mismatch(text: &mut String, file: &FileReport, shown: &Shown) {
    line(
        text,
        &format!("{}:{}: {}", file.file, shown.line, shown.why),
    );
    line(text, &format!("  stimulus  {}", shown.stimulus));
    let list = |text: &mut String, name: &str, list: &[String]| {
        if list.is_empty() {
            line(text, &format!("  {name:<8}  (nothing)"));
        }
        for (n, item) in list.iter().enumerate() {
            let mark = if n == shown.at { '>' } else { ' ' };
            line(text, &format!("  {name:<8} {mark}{item}"));
        }
    };
    list(text, "expected", &shown.expected);
    list(text, "got", &shown.got);
    for slot in &shown.slots {
        line(text, &format!("  slots     {slot}"));
    }
    line(text, "");
}

fn file_json(file: &FileReport, verdict: Verdict) -> Value {
    let mut object = json!({
        "file": file.file,
        "case": file.case,
        "verdict": match verdict {
            Verdict::Held => "held",
            Verdict::Failed => "mismatch",
            Verdict::Known(_) => "known_difference",
            Verdict::HeldThoughListed(_) => "held_though_listed",
            Verdict::Broke => "broke",
        },
    });
    if let Verdict::Known(known) | Verdict::HeldThoughListed(known) = verdict {
        let ids: Vec<&str> = known.shows.iter().map(|shown| shown.id()).collect();
        object["deviations"] = ids.into();
        object["reason"] = known.why.into();
    }
    match &file.outcome {
        Outcome::Mismatch(shown) => {
            object["line"] = shown.line.into();
            object["why"] = shown.why.as_str().into();
            object["stimulus"] = shown.stimulus.as_str().into();
            object["expected"] = shown.expected.clone().into();
            object["got"] = shown.got.clone().into();
            object["slots"] = shown.slots.clone().into();
        }
        Outcome::Broke(why) | Outcome::Bad(why) => object["why"] = why.as_str().into(),
        Outcome::Held => {}
    }
    object
}
