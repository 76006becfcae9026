//! `plugfest replay --target spdk`: failures found in the simulator, shown by a target in another process.
#![expect(
    clippy::disallowed_methods,
    reason = "somebody starts a target again that has died"
)]

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use real::socket_peer::fresh_dir;

const PLUGFEST: &str = env!("CARGO_BIN_EXE_plugfest");

/// `plugfest serve`, started again whenever it dies.
struct Watched {
    dir: PathBuf,
    over: Arc<AtomicBool>,
    process: Arc<Mutex<Option<Child>>>,
    watcher: Option<JoinHandle<()>>,
}

impl Watched {
    fn start(behaviour: &'static str) -> Self {
        let dir = fresh_dir("replay-test").expect("a directory");
        let over = Arc::new(AtomicBool::new(false));
        let process = Arc::new(Mutex::new(None));
        let watcher = thread::spawn({
            let (dir, over, process) = (dir.clone(), over.clone(), process.clone());
            move || {
                while !over.load(Ordering::SeqCst) {
                    let mut child = serve(&dir, behaviour);
                    let out = child.stdout.take().expect("its output is ours");
                    let mut kept = process.lock().unwrap_or_else(PoisonError::into_inner);
                    if over.load(Ordering::SeqCst) {
                        // Who ended it has found nobody to end.
                        let _ = child.kill();
                    }
                    *kept = Some(child);
                    drop(kept);
                    // It says nothing more until it dies.
                    let _ = BufReader::new(out).lines().count();
                    let child = process
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .take();
                    let _ = child.map(|mut child| child.wait());
                }
            }
        });
        Self {
            dir,
            over,
            process,
            watcher: Some(watcher),
        }
    }

    /// Imposes a repro on it: what was printed, and the exit status.
    fn replay(&self, repro: &Path, times: &str) -> (String, Option<i32>) {
        let output = Command::new(PLUGFEST)
            .arg("replay")
            .arg(repro)
            .args(["--target", "spdk", "--times", times, "--rpc-socket"])
            .arg(self.dir.join("rpc"))
            .arg("--vhost-sockets")
            .arg(&self.dir)
            .args(["--bdevs", "nvme:0000:01:00.0", "--erase", "0000:01:00.0"])
            .output()
            .expect("it is built");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let said = said + &String::from_utf8_lossy(&output.stderr);
        (said, output.status.code())
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.over.store(true, Ordering::SeqCst);
        if let Some(child) = &mut *self.process.lock().unwrap_or_else(PoisonError::into_inner) {
            // It may have died.
            let _ = child.kill();
        }
        if let Some(watcher) = self.watcher.take() {
            let _ = watcher.join();
        }
        // A directory of our own.
        let _ = fs::remove_dir_all(&self.dir);
    }
}

fn serve(dir: &Path, behaviour: &str) -> Child {
    Command::new(PLUGFEST)
        .args(["serve", "--target-behaviour", behaviour, "--rpc-socket"])
        .arg(dir.join("rpc"))
        .arg("--vhost-sockets")
        .arg(dir)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("it is built")
}

/// A finding of the simulator: `repros` holds one of each.
fn found(bug: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/sockets/repros/{bug}.kdl"))
}

fn is_shown(bug: &str) {
    let served = Watched::start("head");
    let repro = found(bug);
    let (said, code) = served.replay(&repro, "3");
    let all = "shown 3 of 3 times; its whole order was enforced 3 times";
    assert!(said.contains(all), "{said}");
    assert_eq!(code, Some(1), "{said}");
}

#[test]
#[ignore = "needs ten seconds, and two CPUs for itself"]
fn a_reset_while_a_target_drains_ends_a_target_like_spdk() {
    is_shown("tmf_null_lun");
}

#[test]
#[ignore = "needs forty seconds, and two CPUs for itself"]
fn a_configuration_dump_while_a_bdev_goes_ends_a_target_like_spdk() {
    is_shown("save_config_null_lun");
}

/// A target that is right is not accused.
#[test]
#[ignore = "needs twenty seconds, and two CPUs for itself"]
fn what_is_not_shown_is_not_said_to_be() {
    let served = Watched::start("intended");
    let repro = found("tmf_null_lun");
    let (said, code) = served.replay(&repro, "1");
    assert!(said.contains("shown 0 of 1 times"), "{said}");
    assert_ne!(code, Some(1), "{said}");
}
