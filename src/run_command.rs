//! `plugfest run`: one seed with everything it has to say, or many and only what failed.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use plugfest::{Report, RunOptions, Verdict, render, run_recorded};
use scenarios::report::{case_json, progress_line};
use scenarios::run::Progress;

use crate::campaign;
use crate::cli::{Format, RunArguments};
use crate::lookup::{self, Target};
use crate::output::{Stop, print};

/// Carries out what the arguments name.
pub fn run(arguments: &RunArguments) -> Result<u8, Stop> {
    let targets = lookup::targets(&arguments.plans)?;
    let job = arguments.job.as_deref().map(lookup::job).transpose()?;
    let options = |target: &Target, seed: u64| {
        let mut options = RunOptions {
            seed,
            only: target.only.clone(),
            volume: arguments.volume.into(),
            behaviour: arguments.target_behaviour.into(),
            plan_argument: Some(target.argument.clone()),
            ..RunOptions::default()
        };
        if let Some(job) = &job {
            options.repeat_more = format!(" --job {}", job.file);
            options.jobs.insert(target.plan.job.clone(), job.clone());
        }
        options
    };
    if let Some(seeds) = &arguments.seeds {
        return campaign::run(&targets, seeds.clone(), &options, arguments);
    }
    if let Some(path) = &arguments.trace
        && targets.len() != 1
    {
        let path = path.display();
        return Err(Stop::Error(format!(
            "--trace {path} takes one plan, not {}\n  = name it: plugfest run hotattach --trace {path}",
            targets.len()
        )));
    }
    let mut reports = Vec::new();
    for target in &targets {
        let options = options(target, arguments.seed);
        reports.push(one(target, &options, arguments)?);
    }
    if arguments.format == Format::Text {
        print(&render(&reports))?;
    }
    Ok(reports
        .iter()
        .map(Report::verdict)
        .max()
        .unwrap_or(Verdict::Failed)
        .exit())
}

/// Carries out one plan with one seed, and prints what there is to say on the way.
fn one(target: &Target, options: &RunOptions, arguments: &RunArguments) -> Result<Report, Stop> {
    let mut printed = Ok(());
    let mut tell = |progress: &Progress<'_>| {
        if arguments.format == Format::Text && printed.is_ok() {
            printed = print(&progress_line(&target.plan.name, progress));
        }
    };
    let report = match &arguments.trace {
        None => plugfest::run(&target.plan, options, &mut tell).map_err(Stop::error)?,
        Some(path) => recorded(target, options, path, &mut tell)?,
    };
    printed?;
    if arguments.format == Format::Json {
        print(&json_lines(&report))?;
    }
    Ok(report)
}

fn recorded(
    target: &Target,
    options: &RunOptions,
    path: &Path,
    tell: &mut dyn FnMut(&Progress<'_>),
) -> Result<Report, Stop> {
    let failed =
        |error: io::Error| Stop::Error(format!("cannot write {}: {error}", path.display()));
    let mut sink = Sink {
        file: BufWriter::new(File::create(path).map_err(failed)?),
        failed: None,
    };
    let report = run_recorded(&target.plan, options, tell, &mut sink);
    let flushed = sink.flush();
    match sink.failed.take().or(flushed.err()) {
        Some(error) => Err(failed(error)),
        None => report.map_err(Stop::error),
    }
}

/// The judged cases, one object a line.
pub fn json_lines(report: &Report) -> String {
    let rows = report.rows.iter();
    rows.map(|row| format!("{}\n", case_json(report, row)))
        .collect()
}

/// A file that remembers why it could not be written, since the run only sees a lost testbed.
struct Sink {
    file: BufWriter<File>,
    failed: Option<io::Error>,
}

impl Sink {
    fn keep<T>(&mut self, result: io::Result<T>) -> io::Result<T> {
        result.map_err(|error| {
            let copy = io::Error::new(error.kind(), error.to_string());
            self.failed.get_or_insert(error);
            copy
        })
    }
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let result = self.file.write(bytes);
        self.keep(result)
    }

    fn flush(&mut self) -> io::Result<()> {
        let result = self.file.flush();
        self.keep(result)
    }
}
