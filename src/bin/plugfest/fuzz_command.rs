//! `plugfest fuzz`: stories from seeds, until one breaks a check; then the smallest that does.

use std::path::{Path, PathBuf};

use plugfest::property::{Hunt, Told};
use plugfest::{Failure, Property};
use scenarios::report::shell_quoted;

use crate::cli::FuzzArguments;
use crate::output::{Printer, Stop, can_be_written, print, write_whole};
use crate::progress::Progress;
use crate::target_arguments::note_repeated;

/// No story broke a check.
const EXIT_HELD: u8 = 0;
/// One did.
const EXIT_FAILED: u8 = 1;
/// Somebody wanted it to end before.
const EXIT_INTERRUPTED: u8 = 3;

/// Tells stories, each under the schedule of its seed.
pub fn run(arguments: &FuzzArguments) -> Result<u8, Stop> {
    let first = arguments.seed;
    if first.checked_add(arguments.stories).is_none() {
        let stories = arguments.stories;
        return Err(Stop::Error(format!(
            "there are no {stories} seeds from {first} on"
        )));
    }
    can_be_written(match &arguments.repro {
        Some(path) => path,
        None => Path::new("plugfest-story.json"),
    })?;
    note_repeated(arguments.target_behaviour, &arguments.bug);
    let property = Property {
        seeds: first..first + arguments.stories,
        behaviour: arguments.target_behaviour.into(),
        bugs: arguments.bug.clone(),
        schedule: arguments.schedule.into(),
    };
    print(&format!(
        "stories of seeds {first}..{}\n",
        property.seeds.end
    ))?;
    // What is found from now on is written down, whoever reads.
    let mut out = Printer::new(true);
    let mut printed = Ok(());
    let mut progress = Some(Progress::new(arguments.stories, "stories"));
    let result = property.check_with(&mut |hunt| match hunt {
        Hunt::Broken { seed, check } => {
            // How many smaller ones are tried is not known before.
            progress.take().into_iter().for_each(Progress::finish);
            printed = out.print(&format!("seed {seed} breaks {check}; making it smaller\n"));
        }
        Hunt::Told(told) => {
            if let Some(progress) = &mut progress {
                progress.step(|| format!("{} blocks verified", told.verified));
            }
        }
    });
    progress.into_iter().for_each(Progress::finish);
    printed?;
    match result {
        Ok(told) => {
            out.print(&format!("{}: no check was broken\n", count(told)))?;
            out.end(EXIT_HELD)
        }
        Err(Failure::Interrupted(told)) => {
            let told = count(told);
            out.print(&format!("interrupted: {told}, no check was broken\n"))?;
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
        None => PathBuf::from(format!("plugfest-{check}-{seed}.json")),
    };
    // Whatever becomes of the file, the finding is told.
    out.print(&failure.to_string())?;
    write_whole(&path, repro.text().as_bytes())?;
    let path = path.display().to_string();
    out.print(&format!("again: plugfest replay {}\n", shell_quoted(&path)))?;
    out.end(EXIT_FAILED)
}

fn count(told: Told) -> String {
    let Told { stories, verified } = told;
    format!("{stories} stories, {verified} blocks verified")
}
