//! `plugfest conform`: recordings of a real SPDK, played to the model target, or to a process of
//! `plugfest serve` over its sockets.
//!
//! Reads files and prints; playing and judging are `sim::conformance`'s.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use plugfest::command::asked;
use real::socket_peer::{SocketPeer, fresh_dir};
use sim::Bugs;
use sim::conformance::model_peer::ModelPeer;
use sim::conformance::model_target::TargetMaker;
use sim::conformance::report::{FileReport, Outcome, Report};
use sim::conformance::{conform, differences};

use crate::input::read_text;

/// Every file held.
const EXIT_HELD: u8 = 0;
/// One did not.
const EXIT_FAILED: u8 = 1;
/// One could not be read, is not a transcript, or could not be played to its end.
const EXIT_ERROR: u8 = 2;
/// Somebody wanted it to end: what is printed is what was played by then.
const EXIT_INTERRUPTED: u8 = 3;

/// What is expected of a file.
const WHAT: &str = "a transcript (.jsonl)";

/// How transcripts are played.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConformOptions {
    /// To the target as it should be, not to SPDK head as it is.
    pub intended: bool,
    /// One JSON object a file instead of text.
    pub json: bool,
    /// To processes of this `plugfest`, over their sockets; as head only.
    pub serve: Option<PathBuf>,
}

/// Plays each transcript of `paths` (a directory stands for the `.jsonl` files in it) from a fresh
/// target on, prints what came of it, and says the exit status: 0 only if every file held. What is no
/// transcript is an error in `err`; as JSON it is an object like the others.
///
/// # Errors
///
/// The output cannot be written.
pub fn conform_command(
    paths: &[PathBuf],
    options: ConformOptions,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> io::Result<u8> {
    let (bugs, list) = match (options.intended, &options.serve) {
        (true, _) => (Bugs::INTENDED, differences::UNDER_INTENDED),
        (false, None) => (Bugs::head(), differences::UNDER_HEAD),
        (false, Some(_)) => (Bugs::head(), differences::OVER_SOCKETS),
    };
    let mut files = Vec::new();
    for path in paths {
        match transcripts(path) {
            Ok(found) => {
                let plays = found.iter().take_while(|_| !asked());
                files.extend(plays.map(|file| play(file, bugs, &options)));
            }
            Err(why) => files.push(unreadable(path, &why)),
        }
    }
    // What was being played when somebody wanted it to end says nothing; what was before does.
    if asked() {
        files.pop();
    }
    let all = Report { files, list };
    if options.json {
        out.write_all(all.json().as_bytes())?;
    } else {
        print(&all, out, err)?;
    }
    Ok(if asked() {
        EXIT_INTERRUPTED
    } else if all.any_broke() {
        EXIT_ERROR
    } else if all.all_held() {
        EXIT_HELD
    } else {
        EXIT_FAILED
    })
}

/// Prints what is no transcript to `err`, and the report on the others, if there are any.
fn print(all: &Report, out: &mut dyn Write, err: &mut dyn Write) -> io::Result<()> {
    let mut played = Vec::new();
    for file in &all.files {
        match &file.outcome {
            Outcome::Bad(why) => writeln!(err, "plugfest: {why}")?,
            _ => played.push(file.clone()),
        }
    }
    if played.is_empty() {
        return Ok(());
    }
    let report = Report {
        files: played,
        list: all.list,
    };
    out.write_all(report.text().as_bytes())
}

/// The transcripts that a path stands for, in the order of their names.
fn transcripts(path: &Path) -> Result<Vec<PathBuf>, String> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let entries = std::fs::read_dir(path).and_then(Iterator::collect::<io::Result<Vec<_>>>);
    let mut files: Vec<PathBuf> = entries
        .map_err(|e| e.to_string())?
        .into_iter()
        .map(|entry| entry.path())
        .filter(|file| file.extension().is_some_and(|end| end == "jsonl"))
        .collect();
    if files.is_empty() {
        return Err("it has no transcript\n  = expected .jsonl files in it".into());
    }
    files.sort();
    Ok(files)
}

fn play(path: &Path, bugs: Bugs, options: &ConformOptions) -> FileReport {
    let text = match read_text(path, WHAT) {
        Ok(text) => text,
        Err(error) => return unreadable(path, &error),
    };
    let file = path.display().to_string();
    let Some(program) = &options.serve else {
        let mut peer = ModelPeer::new(TargetMaker::new(bugs));
        return conform(&file, &text, &mut peer);
    };
    match fresh_dir("conform") {
        Ok(dir) => {
            let head = ["--target-behaviour", "head"].map(str::to_owned);
            let mut peer = SocketPeer::new(program.clone(), head.to_vec(), dir);
            conform(&file, &text, &mut peer)
        }
        Err(error) => unreadable(path, &error.to_string()),
    }
}

fn unreadable(path: &Path, why: &str) -> FileReport {
    let file = path.display().to_string();
    FileReport {
        outcome: Outcome::Bad(format!("{file}: {why}")),
        file,
        case: String::new(),
    }
}
