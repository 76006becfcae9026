//! `plugfest conform --guest`: recordings of a real guest, done over by the model guest.
//!
//! Reads files and prints; playing and judging are `sim::conformance::guest`'s.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use sim::conformance::guest::{Texts, Verdict, judge};

use crate::input::read_bytes;

/// What is expected.
const WHAT: &str = ".scenario files, each with a .target.log and a .guest.log beside it";
/// Differences of a recording that are printed.
const SHOWN_MAX: usize = 8;

/// Does each recording of `paths` over (a directory stands for the `.scenario` files in it, and one of
/// those for the `.target.log` and `.guest.log` beside it), prints a line for each, with the first
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
            let name = file.file_stem().unwrap_or_default().to_string_lossy();
            let judged = read(&file).and_then(|texts| judge(&name, &texts));
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

/// The scenarios that a path stands for, in the order of their names.
fn scenarios(path: &Path) -> Result<Vec<PathBuf>, String> {
    if !path.is_dir() {
        let is_scenario = path.extension().is_some_and(|end| end == "scenario");
        return if is_scenario {
            Ok(vec![path.to_owned()])
        } else {
            Err(format!(
                "it is no recording of a guest\n  = expected {WHAT}"
            ))
        };
    }
    let entries = std::fs::read_dir(path).and_then(Iterator::collect::<io::Result<Vec<_>>>);
    let files = entries
        .map_err(|error| error.to_string())?
        .into_iter()
        .map(|entry| entry.path());
    let mut files: Vec<PathBuf> = files
        .filter(|file| file.extension().is_some_and(|end| end == "scenario"))
        .collect();
    if files.is_empty() {
        return Err(format!(
            "it has no recording of a guest\n  = expected {WHAT}"
        ));
    }
    files.sort();
    Ok(files)
}

/// Consoles are not always text.
fn read(scenario: &Path) -> Result<Texts, String> {
    let read = |end: &str| {
        let path = scenario.with_extension(end);
        let bytes = read_bytes(&path, &format!("a recording's .{end}"))
            .map_err(|error| format!("{}: {error}", path.display()))?;
        Ok::<_, String>(String::from_utf8_lossy(&bytes).into_owned())
    };
    Ok(Texts {
        scenario: read("scenario")?,
        target_log: read("target.log")?,
        guest_log: read("guest.log")?,
    })
}
