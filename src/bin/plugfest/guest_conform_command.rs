//! `plugfest conform --guest`: recordings of a real guest, done over by the model guest.
//!
//! Reads files and prints; playing and judging are `sim::conformance::guest`'s.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use sim::conformance::guest::scenario::Scenario;
use sim::conformance::guest::{Texts, Verdict, judge};

use crate::input::read_bytes;

/// What is expected.
const WHAT: &str =
    "NAME.steps.json files, each with a NAME.target.log and a NAME.guest.log beside it";
/// Differences of a recording that are printed.
const SHOWN_MAX: usize = 8;

/// Does each recording of `paths` over (a directory stands for the recordings in it, and one of a recording's
/// files, `NAME.steps.json` or the `NAME.scenario` that it was made of, for the others beside it), prints a line for each, with the first
/// differences below it, and says the exit status: 0 all held, 1 one differs, 2 one could not be read or
/// carried out, which is an error in `err`.
///
/// # Errors
///
/// The output cannot be written.
pub fn guest_conform_command(
    paths: &[PathBuf],
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> io::Result<u8> {
    let mut status = 0;
    for path in paths {
        let files = match scenarios(path) {
            Ok(files) => files,
            Err(why) => {
                writeln!(err, "plugfest: {}: {why}", path.display())?;
                status = 2;
                continue;
            }
        };
        for file in files {
            let name = file.file_name().unwrap_or_default().to_string_lossy();
            let judged = read(&file);
            let judged =
                judged.and_then(|texts| judge(&name, &texts).map_err(|why| why.to_string()));
            status = status.max(match judged {
                Ok(verdict) => say(&name, &verdict, out)?,
                Err(why) => {
                    writeln!(err, "plugfest: {why}")?;
                    2
                }
            });
        }
    }
    Ok(status)
}

fn say(name: &str, verdict: &Verdict, out: &mut dyn Write) -> io::Result<u8> {
    let (seed, listed) = (verdict.seed, verdict.known.len());
    if verdict.held() {
        writeln!(out, "held {name}: seed {seed}, {listed} listed differences")?;
        return Ok(0);
    }
    let unknown = verdict.unknown.len();
    writeln!(
        out,
        "differs {name}: seed {seed}, {unknown} differences, {listed} listed"
    )?;
    for difference in verdict.unknown.iter().take(SHOWN_MAX) {
        writeln!(out, "  {name}.{difference}")?;
    }
    Ok(1)
}

/// The recordings that a path stands for, without what their files end with, in the order of their names.
fn scenarios(path: &Path) -> Result<Vec<PathBuf>, String> {
    if !path.is_dir() {
        let recording = recording(path);
        let none = || format!("it is no recording of a guest\n  = expected {WHAT}");
        return Ok(vec![recording.ok_or_else(none)?]);
    }
    let entries = std::fs::read_dir(path).and_then(Iterator::collect::<io::Result<Vec<_>>>);
    let entries = entries.map_err(|error| error.to_string())?.into_iter();
    let files = entries.filter_map(|entry| recording(&entry.path()));
    let mut files: Vec<PathBuf> = files.collect();
    if files.is_empty() {
        return Err(format!(
            "it has no recording of a guest\n  = expected {WHAT}"
        ));
    }
    files.sort();
    files.dedup();
    Ok(files)
}

/// The recording that a file is of: its path without `.steps.json` or `.scenario`.
fn recording(file: &Path) -> Option<PathBuf> {
    let name = file.file_name()?.to_str()?;
    let mut ends = ["scenario", Scenario::EXTENSION].into_iter();
    let name = ends.find_map(|end| name.strip_suffix(end)?.strip_suffix('.'))?;
    Some(file.with_file_name(name))
}

/// Consoles are not always text.
fn read(recording: &Path) -> Result<Texts, String> {
    let path = |end: &str| {
        let mut path = recording.as_os_str().to_owned();
        path.push(".");
        path.push(end);
        PathBuf::from(path)
    };
    let script = path("scenario");
    if script.exists() && !path(Scenario::EXTENSION).exists() {
        let dir = recording.parent().filter(|dir| !dir.as_os_str().is_empty());
        return Err(format!(
            "{}: it is not converted\n  = run: cargo xtask guest-trace {}",
            script.display(),
            dir.unwrap_or(Path::new(".")).display()
        ));
    }
    let read = |end: &str| {
        let path = path(end);
        let bytes = read_bytes(&path, &format!("a recording's .{end}"))
            .map_err(|error| format!("{}: {error}", path.display()))?;
        Ok::<_, String>(String::from_utf8_lossy(&bytes).into_owned())
    };
    Ok(Texts {
        steps: read(Scenario::EXTENSION)?,
        target_log: read("target.log")?,
        guest_log: read("guest.log")?,
    })
}
