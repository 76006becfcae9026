//! What a run leaves behind besides its report: JSON lines, a repro.

use plugfest::command::Repro;
use plugfest::{Report, RunOptions};
use scenarios::report::{case_json, shell_quoted};

use crate::cli::RunArguments;
use crate::lookup::Target;
use crate::output::{Printer, Stop, write_whole};

/// Standard output; if there are files to write beside it, they are written in any case.
pub fn printer(arguments: &RunArguments) -> Printer {
    let files = [
        &arguments.junit,
        &arguments.repro,
        &arguments.trace,
        &arguments.turns,
    ];
    Printer::new(files.iter().any(|file| file.is_some()))
}

/// Writes a run that failed down, if that is asked for.
pub fn keep(
    target: &Target,
    options: &RunOptions,
    arguments: &RunArguments,
    out: &mut Printer,
) -> Result<(), Stop> {
    let Some(path) = &arguments.repro else {
        return Ok(());
    };
    let repro = Repro::of_run(&target.plan, options).map_err(Stop::error)?;
    let text = repro.text().expect("a run of a plan is written as one");
    write_whole(path, text.as_bytes())?;
    let path = path.display().to_string();
    out.print(&format!("again: plugfest replay {}\n", shell_quoted(&path)))
}

/// The judged cases, one object a line.
pub fn json_lines(report: &Report) -> String {
    let rows = report.rows.iter();
    rows.map(|row| format!("{}\n", case_json(report, row)))
        .collect()
}
