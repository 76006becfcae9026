//! Standard output, and why a command stops before its end.

use std::fmt;
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use tempfile::{Builder, TempPath};

/// Why a command stops before its end.
#[derive(Debug)]
pub enum Stop {
    /// Something is wrong with what it was given.
    Error(String),
    /// The reader of the output has gone (`plugfest run | head`).
    NobodyReads,
}

impl Stop {
    /// An error.
    pub fn error(what: impl fmt::Display) -> Self {
        Self::Error(what.to_string())
    }
}

/// Writes a file; what was there is replaced only by a whole one.
pub fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), Stop> {
    let written = NewFile::create(path).and_then(|mut file| {
        file.write_all(bytes)?;
        file.keep()
    });
    written.map_err(|error| unwritable(path, &error))
}

/// Why a command cannot write a file.
pub fn unwritable(path: &Path, error: &io::Error) -> Stop {
    Stop::Error(format!("cannot write {}: {error}", path.display()))
}

/// A file that takes its place only when it is kept: until then, what was there stays there, and what is dropped
/// was never there. A device takes what comes.
pub struct NewFile {
    file: File,
    /// Where it is until it is kept, and where it goes.
    part: Option<(TempPath, PathBuf)>,
}

impl NewFile {
    /// Opens it, beside its place.
    ///
    /// # Errors
    ///
    /// The folder takes no files, or the device cannot be opened.
    pub fn create(path: &Path) -> io::Result<Self> {
        if path.is_dir() || path.as_os_str().as_encoded_bytes().ends_with(b"/") {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        // A device is no file that could be replaced.
        if path.exists() && !path.is_file() {
            let file = open_device(path)?;
            return Ok(Self { file, part: None });
        }
        let name = path.file_name().ok_or(io::ErrorKind::InvalidFilename)?;
        let mut prefix = name.to_owned();
        prefix.push(".");
        let folder = path.parent().filter(|at| !at.as_os_str().is_empty());
        let mut part = Builder::new();
        let part = part.prefix(&prefix).suffix(".part");
        let part = part.make_in(folder.unwrap_or(Path::new(".")), |at| File::create_new(at))?;
        let (file, part) = part.into_parts();
        let part = Some((part, path.to_owned()));
        Ok(Self { file, part })
    }

    /// It is whole.
    ///
    /// # Errors
    ///
    /// Not all of it could be written, or it could not be put into its place.
    pub fn keep(mut self) -> io::Result<()> {
        self.file.flush()?;
        let Some((part, path)) = self.part else {
            return Ok(());
        };
        self.file.sync_all()?;
        part.persist(path).map_err(|error| error.error)
    }
}

impl Write for NewFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// Opens what is no file to write to it. A pipe has to have its reader: nobody knows how long one would be waited
/// for.
fn open_device(path: &Path) -> io::Result<File> {
    let is_pipe = std::fs::metadata(path).is_ok_and(|what| what.file_type().is_fifo());
    if !is_pipe {
        return File::create(path);
    }
    let mut at_once = File::options();
    at_once.write(true).custom_flags(OFlag::O_NONBLOCK.bits());
    let file = at_once.open(path).map_err(|error| {
        if error.raw_os_error() == Some(Errno::ENXIO as i32) {
            io::Error::other("it is a pipe that nobody reads")
        } else {
            error
        }
    })?;
    fcntl(&file, FcntlArg::F_SETFL(OFlag::empty()))?;
    Ok(file)
}

/// That [`write_whole`] could write there now: better known before hours of work than after.
pub fn can_be_written(path: &Path) -> Result<(), Stop> {
    if path.exists() && !path.is_file() && !path.is_dir() {
        return Ok(());
    }
    let tried = NewFile::create(path).map(drop);
    tried.map_err(|error| unwritable(path, &error))
}

/// Whether writing both would mix them up; a device takes what comes.
pub fn is_same_file(one: &Path, other: &Path) -> bool {
    let is_device = |path: &Path| path.exists() && !path.is_file();
    // What does not exist yet is known by its directory and its name.
    let place = |path: &Path| {
        let whole = path.canonicalize();
        whole.or_else(|error| match (path.parent(), path.file_name()) {
            (Some(parent), Some(name)) if parent == Path::new("") => {
                Path::new(".").canonicalize().map(|at| at.join(name))
            }
            (Some(parent), Some(name)) => parent.canonicalize().map(|at| at.join(name)),
            _ => Err(error),
        })
    };
    if is_device(one) || is_device(other) {
        return false;
    }
    match (place(one), place(other)) {
        (Ok(one), Ok(other)) => one == other,
        _ => one == other,
    }
}

/// Standard output of a command that writes files, too: they are written whatever becomes of it.
#[derive(Debug)]
pub struct Printer {
    /// There are files.
    goes_on: bool,
    failed: Option<Stop>,
}

impl Printer {
    /// Nothing is printed yet; `goes_on` if there are files to write.
    pub const fn new(goes_on: bool) -> Self {
        Self {
            goes_on,
            failed: None,
        }
    }

    /// As [`print`], but if the command goes on, an error is kept and nothing more printed.
    pub fn print(&mut self, text: &str) -> Result<(), Stop> {
        if self.failed.is_some() {
            return Ok(());
        }
        match print(text) {
            Err(stop) if self.goes_on => {
                self.failed = Some(stop);
                Ok(())
            }
            other => other,
        }
    }

    /// The exit status of a command that came to `exit`; or the error that was kept.
    pub fn end(self, exit: u8) -> Result<u8, Stop> {
        match self.failed {
            Some(error @ Stop::Error(_)) => Err(error),
            // The files tell what nobody read.
            Some(Stop::NobodyReads) | None => Ok(exit),
        }
    }
}

/// The first reason to stop; the second, if there are two, is told here.
pub fn first_of(first: Result<(), Stop>, second: Result<(), Stop>) -> Result<(), Stop> {
    if let (Err(_), Err(Stop::Error(text))) = (&first, &second) {
        tell(&format!("plugfest: {text}\n"));
    }
    first.and(second)
}

/// Writes text to standard error, if that can be written: there is nowhere to say that it cannot.
pub fn tell(text: &str) {
    let _ = io::stderr().lock().write_all(text.as_bytes());
}

/// Writes text to standard output at once.
pub fn print(text: &str) -> Result<(), Stop> {
    printed(io::stdout().lock().write_all(text.as_bytes()))
}

/// What came of writing to standard output, all of which is written now.
pub fn printed(written: io::Result<()>) -> Result<(), Stop> {
    let flushed = written.and_then(|()| io::stdout().lock().flush());
    flushed.map_err(|error| match error.kind() {
        io::ErrorKind::BrokenPipe => Stop::NobodyReads,
        _ => Stop::Error(format!("cannot write the output: {error}")),
    })
}
