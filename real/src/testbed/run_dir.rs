//! The directory of a run: its sockets, and a record of the processes that it started, so that what a killed
//! run left behind can be found, and ended.
//!
//! Knows not what the processes are.

use std::fmt;
use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::process;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, getuid};
use tracing::warn;

use super::process_id::ProcessId;
use super::undo::{CLEAN_LATER_MAX, Undo};

/// The record of who owns a directory.
const OWNER: &str = "owner";
/// The owner of a directory whose run has ended: no process.
const ENDED: &str = "0 0\n";
/// The record of what was made on a target.
const UNDO: &str = "undo";
/// Records of processes end so.
const RECORD: &str = ".pid";

/// Runs of this process so far.
static RUNS: AtomicU32 = AtomicU32::new(0);

/// A run's directory; it goes with this.
#[derive(Debug)]
pub struct RunDir {
    path: PathBuf,
    kept: AtomicBool,
}

/// What a run left behind that has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leftover {
    /// Its directory.
    pub dir: PathBuf,
    /// Its processes that still run.
    pub processes: Vec<ProcessId>,
    /// What it has made on a target.
    pub undo: Option<Undo>,
}

impl RunDir {
    /// A directory for a run of this process. Removes first what runs of this user left that have ended.
    ///
    /// # Errors
    ///
    /// The system refuses.
    pub fn create() -> io::Result<Self> {
        let base = base();
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&base)?;
        for leftover in leftovers_in(&base) {
            // Whoever needs what stays will say so.
            if let Err(error) = leftover.remove() {
                warn!(target: "run", dir = %leftover.dir.display(), "not taken away: {error}");
            }
        }
        Self::below(&base)
    }

    fn below(base: &Path) -> io::Result<Self> {
        let number = RUNS.fetch_add(1, Ordering::Relaxed);
        // Short: the path of a socket has at most 107 bytes (unix(7)).
        let path = base.join(format!("{}-{number}", process::id()));
        fs::create_dir(&path)?;
        let kept = AtomicBool::new(false);
        let dir = Self { path, kept };
        dir.record_as(OWNER, process::id())?;
        Ok(dir)
    }

    /// Its path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Notes that this run has started a process.
    ///
    /// # Errors
    ///
    /// The record cannot be written, or there is no such process.
    pub fn record(&self, name: &str, id: u32) -> io::Result<()> {
        self.record_as(&format!("{name}{RECORD}"), id)
    }

    /// Notes what takes away again what this run makes on a target.
    ///
    /// # Errors
    ///
    /// The record cannot be written; the one before is still there.
    pub fn record_undo(&self, undo: &Undo) -> io::Result<()> {
        record_undo(&self.path, undo)
    }

    /// Leaves it to whoever takes away what stays: for him, this run has ended.
    pub fn keep(&self) {
        self.kept.store(true, Ordering::Relaxed);
        // As long as this process lives it is not found otherwise.
        let _ = fs::write(self.path.join(OWNER), ENDED);
    }

    fn record_as(&self, file: &str, id: u32) -> io::Result<()> {
        let process = ProcessId::running(id).ok_or(io::ErrorKind::NotFound)?;
        fs::write(
            self.path.join(file),
            format!("{} {}\n", process.id, process.started),
        )
    }
}

impl Drop for RunDir {
    fn drop(&mut self) {
        if !self.kept.load(Ordering::Relaxed) {
            // What cannot be removed is a leftover, and found as such.
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}

impl fmt::Display for Leftover {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.dir.display())?;
        for process in &self.processes {
            write!(f, ", process {}", process.id)?;
        }
        match &self.undo {
            Some(undo) => write!(f, ", {undo}"),
            None => Ok(()),
        }
    }
}

impl Leftover {
    /// Ends its processes, takes away what it made on a target that still runs, and removes its directory.
    ///
    /// # Errors
    ///
    /// The system refuses, or something stays on the target: then it is still a leftover.
    pub fn remove(&self) -> io::Result<()> {
        for process in self.processes.iter().filter(|process| process.is_alive()) {
            let id = i32::try_from(process.id).map_err(io::Error::other)?;
            kill(Pid::from_raw(id), Signal::SIGKILL)?;
        }
        if let Some(mut undo) = self.undo.clone() {
            // The list before is there if the new one cannot be written: what was taken away is not there any more.
            let done = undo.run(CLEAN_LATER_MAX, |undo| drop(record_undo(&self.dir, undo)));
            done.map_err(io::Error::other)?;
        }
        match fs::remove_dir_all(&self.dir) {
            // Another run removes it too.
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

fn record_undo(dir: &Path, undo: &Undo) -> io::Result<()> {
    // In one step, for the disk may be full, and this process may be killed.
    let new = dir.join(format!("{UNDO}.new"));
    fs::write(&new, undo.text())?;
    fs::rename(new, dir.join(UNDO))
}

/// What runs of this user left behind that have ended.
#[must_use]
pub fn leftovers() -> Vec<Leftover> {
    leftovers_in(&base())
}

fn base() -> PathBuf {
    std::env::temp_dir().join(format!("plugfest-{}", getuid()))
}

fn leftovers_in(base: &Path) -> Vec<Leftover> {
    let mut found = Vec::new();
    for entry in fs::read_dir(base).into_iter().flatten().flatten() {
        let dir = entry.path();
        // No owner yet: it is being made, at this moment.
        let dead = ProcessId::read(&dir.join(OWNER)).is_some_and(|owner| !owner.is_alive());
        if dead {
            let processes = recorded(&dir)
                .into_iter()
                .filter(|process| process.is_alive());
            let undo = fs::read_to_string(dir.join(UNDO)).ok();
            found.push(Leftover {
                processes: processes.collect(),
                undo: undo.and_then(|text| Undo::parse(&text)),
                dir,
            });
        }
    }
    found.sort_by(|a, b| a.dir.cmp(&b.dir));
    found
}

fn recorded(dir: &Path) -> Vec<ProcessId> {
    let files = fs::read_dir(dir).into_iter().flatten().flatten();
    let files = files.map(|entry| entry.path());
    let records = files.filter(|file| file.to_string_lossy().ends_with(RECORD));
    records.filter_map(|file| ProcessId::read(&file)).collect()
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    fn scratch(name: &str) -> PathBuf {
        let dir = std::env::temp_dir().join(format!("plugfest-test-{name}-{}", process::id()));
        fs::create_dir_all(&dir).expect("a scratch directory");
        dir
    }

    #[test]
    fn a_run_takes_its_directory_with_it() {
        let base = scratch("run");
        let dir = RunDir::below(&base).expect("a run directory");
        let path = dir.path().to_owned();
        assert!(path.join(OWNER).is_file());
        assert_eq!(leftovers_in(&base), [], "its owner lives");
        drop(dir);
        assert!(!path.exists());
        fs::remove_dir(&base).expect("nothing is left");
    }

    #[test]
    fn what_a_killed_run_left_is_found_and_ended() {
        let base = scratch("left");
        let dir = RunDir::below(&base).expect("a run directory");
        let mut child = Command::new("sleep").arg("600").spawn().expect("a process");
        dir.record("vm1", child.id()).expect("a record");
        let mut gone = Command::new("true").spawn().expect("a process");
        let id = gone.id();
        gone.wait().expect("it ends");
        fs::write(dir.path().join(OWNER), format!("{id} 1\n")).expect("another owner");
        let left = leftovers_in(&base);
        let processes: Vec<u32> = left
            .iter()
            .flat_map(|left| left.processes.iter().map(|p| p.id))
            .collect();
        assert_eq!(processes, [child.id()]);
        left[0].remove().expect("it can be removed");
        assert!(!child.wait().expect("it ended").success());
        assert_eq!(leftovers_in(&base), []);
        fs::remove_dir(&base).expect("nothing is left");
    }

    #[test]
    fn a_record_that_cannot_be_written_leaves_the_one_before() {
        let base = scratch("undo");
        let dir = RunDir::below(&base).expect("a run directory");
        let mut undo = Undo::new(Path::new("/run/rpc"));
        undo.push("bdev_malloc_delete", None);
        dir.record_undo(&undo).expect("it is written");
        let before = undo.text();
        // Nobody can write there.
        fs::create_dir(dir.path().join("undo.new")).expect("in the way");
        undo.push("vhost_delete_controller", None);
        dir.record_undo(&undo).expect_err("there is no place");
        let kept = fs::read_to_string(dir.path().join(UNDO));
        assert_eq!(kept.expect("it is there"), before);
        drop(dir);
        fs::remove_dir(&base).expect("nothing is left");
    }

    #[test]
    fn what_a_run_could_not_take_away_is_a_leftover_while_its_process_lives() {
        let base = scratch("kept");
        let dir = RunDir::below(&base).expect("a run directory");
        let path = dir.path().to_owned();
        dir.keep();
        drop(dir);
        let left = leftovers_in(&base);
        let dirs: Vec<&Path> = left.iter().map(|left| left.dir.as_path()).collect();
        assert_eq!(dirs, [path]);
        left[0].remove().expect("it can be removed");
        fs::remove_dir(&base).expect("nothing is left");
    }

    #[test]
    fn a_process_that_shares_only_the_id_is_left_alone() {
        let own = ProcessId::running(process::id()).expect("we run");
        assert!(own.is_alive());
        assert!(
            !ProcessId {
                started: own.started + 1,
                ..own
            }
            .is_alive()
        );
    }
}
