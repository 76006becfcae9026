//! Files that are written as a run goes on.

use std::io::{self, BufWriter, IntoInnerError, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use crate::output::{NewFile, Stop, unwritable};

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
