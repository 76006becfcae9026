//! What a run leaves behind besides its report: JSON lines, a repro, files that are written as it goes.

use std::io::{self, BufWriter, IntoInnerError, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use plugfest::command::Repro;
use plugfest::{Report, RunOptions};
use scenarios::report::{case_json, shell_quoted};

use crate::cli::RunArguments;
use crate::lookup::Target;
use crate::output::{NewFile, Printer, Stop, unwritable, write_whole};

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
    write_whole(path, repro.text().unwrap_or_default().as_bytes())?;
    let path = path.display().to_string();
    out.print(&format!("again: plugfest replay {}\n", shell_quoted(&path)))
}

/// The judged cases, one object a line.
pub fn json_lines(report: &Report) -> String {
    let rows = report.rows.iter();
    rows.map(|row| format!("{}\n", case_json(report, row)))
        .collect()
}

/// A file that is written as long as it can be: what is wrong with it is told at the end, and is no reason to
/// end a run.
pub struct Sink {
    /// Taken away when it is kept.
    file: Option<BufWriter<NewFile>>,
    pub fault: Fault,
}

/// Why a file could not be written, if it could not.
#[derive(Clone)]
pub struct Fault {
    path: PathBuf,
    first: Arc<Mutex<Option<io::Error>>>,
}

impl Fault {
    fn note(&self, error: io::Error) {
        let mut first = self.first.lock().unwrap_or_else(PoisonError::into_inner);
        first.get_or_insert(error);
    }

    fn is_noted(&self) -> bool {
        let first = self.first.lock().unwrap_or_else(PoisonError::into_inner);
        first.is_some()
    }

    /// What came of writing, so far.
    pub fn result(&self) -> Result<(), Stop> {
        let first = self.first.lock().unwrap_or_else(PoisonError::into_inner);
        match &*first {
            Some(error) => Err(unwritable(&self.path, error)),
            None => Ok(()),
        }
    }
}

impl Sink {
    /// Opens the file to write it anew.
    pub fn create(path: &Path) -> Result<Self, Stop> {
        let file = NewFile::create(path).map_err(|error| unwritable(path, &error))?;
        let fault = Fault {
            path: path.to_owned(),
            first: Arc::default(),
        };
        Ok(Self {
            file: Some(BufWriter::new(file)),
            fault,
        })
    }
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if let Some(file) = self.file.as_mut().filter(|_| !self.fault.is_noted()) {
            file.write_all(bytes)
                .unwrap_or_else(|error| self.fault.note(error));
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if let Some(file) = self.file.as_mut().filter(|_| !self.fault.is_noted()) {
            file.flush().unwrap_or_else(|error| self.fault.note(error));
        }
        Ok(())
    }
}

/// What could be written whole is kept.
impl Drop for Sink {
    fn drop(&mut self) {
        // It notes what is wrong.
        let _ = self.flush();
        if self.fault.is_noted() || std::thread::panicking() {
            return;
        }
        let file = self.file.take().map(BufWriter::into_inner);
        let kept = file.map(|file| file.map_err(IntoInnerError::into_error)?.keep());
        if let Some(Err(error)) = kept {
            self.fault.note(error);
        }
    }
}
