//! `plugfest fuzz`: scenarios from seeds, until one breaks a check; then the smallest that does.

use std::ops::Range;
use std::path::{Path, PathBuf};

use plugfest::command::{FuzzProgress, Tried};
use plugfest::{Failure, Property};
use scenarios::report::shell_quoted;

use crate::cli::FuzzArguments;
use crate::output::{Printer, Stop, can_be_written, print, write_whole};
use crate::progress::Progress;
use crate::target_arguments::note_repeated;

/// No scenario broke a check.
const EXIT_HELD: u8 = 0;
/// One did.
const EXIT_FAILED: u8 = 1;
/// Somebody wanted it to end before.
const EXIT_INTERRUPTED: u8 = 3;

/// Carries scenarios out, each under the schedule of its seed.
pub fn run(arguments: &FuzzArguments) -> Result<u8, Stop> {
    note_repeated(arguments.target_behaviour, &arguments.bug);
    let property = Property {
        seeds: seeds(arguments)?,
        behaviour: arguments.target_behaviour.into(),
        bugs: arguments.bug.clone(),
        schedule: arguments.schedule.into(),
    };
    if arguments.print {
        return print_plan(&property);
    }
    can_be_written(match &arguments.repro {
        Some(path) => path,
        None => Path::new("plugfest-scenario.kdl"),
    })?;
    let Range { start, end } = property.seeds;
    print(&format!("scenarios of seeds {start}..{end}\n"))?;
    // What is found from now on is written down, whoever reads.
    let mut out = Printer::new(true);
    let mut printed = Ok(());
    let mut progress = Some(Progress::new(end - start, "scenarios"));
    let result = property.check_with(&mut |stands| match stands {
        FuzzProgress::Broken { seed, check } => {
            // How many smaller ones are tried is not known before.
            progress.take().into_iter().for_each(Progress::finish);
            printed = out.print(&format!("seed {seed} breaks {check}; making it smaller\n"));
        }
        FuzzProgress::Tried(tried) => {
            if let Some(progress) = &mut progress {
                progress.step(|| format!("{} blocks verified", tried.verified));
            }
        }
    });
    progress.into_iter().for_each(Progress::finish);
    printed?;
    match result {
        Ok(tried) => {
            out.print(&format!("{}: no check was broken\n", count(tried)))?;
            out.end(EXIT_HELD)
        }
        Err(Failure::Interrupted(tried)) => {
            let tried = count(tried);
            out.print(&format!("interrupted: {tried}, no check was broken\n"))?;
            out.end(EXIT_INTERRUPTED)
        }
        Err(failure) => found(arguments, &failure, out),
    }
}

/// Writes a violation down, and prints it.
fn found(arguments: &FuzzArguments, failure: &Failure, mut out: Printer) -> Result<u8, Stop> {
    let Failure::Violated { seed, check, repro } = failure else {
        return Err(Stop::error(failure));
    };
    let path = match &arguments.repro {
        Some(path) => path.clone(),
        None => PathBuf::from(format!("plugfest-{check}-{seed}.kdl")),
    };
    // Whatever becomes of the file, the finding is told.
    out.print(&failure.to_string())?;
    write_whole(&path, repro.text().unwrap_or_default().as_bytes())?;
    let path = path.display().to_string();
    out.print(&format!("again: plugfest replay {}\n", shell_quoted(&path)))?;
    out.end(EXIT_FAILED)
}

fn count(tried: Tried) -> String {
    let Tried {
        scenarios,
        verified,
    } = tried;
    format!("{scenarios} scenarios, {verified} blocks verified")
}

/// The seeds that are asked for.
fn seeds(arguments: &FuzzArguments) -> Result<Range<u64>, Stop> {
    if let Some(seeds) = &arguments.seeds {
        return Ok(seeds.clone());
    }
    let (first, count) = (arguments.seed, arguments.scenarios);
    let end = first.checked_add(count);
    let none = || Stop::Error(format!("there are no {count} seeds from {first} on"));
    Ok(first..end.ok_or_else(none)?)
}

/// Prints the scenario of the only seed as a plan file.
fn print_plan(property: &Property) -> Result<u8, Stop> {
    let Range { start, end } = property.seeds;
    if end - start != 1 {
        return Err(Stop::Error(format!(
            "--print takes one seed\n  = expected --seeds {start}..{}",
            start + 1
        )));
    }
    let mut repro = property.scenario(start).map_err(Stop::error)?;
    // Who went is for `replay`, and long.
    repro.recorded.choices.clear();
    print(&repro.text().unwrap_or_default())?;
    Ok(EXIT_HELD)
}
