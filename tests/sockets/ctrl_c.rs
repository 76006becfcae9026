//! Ctrl-C: what is said, in which order, and that neither processes nor anything on a target stays behind.
//!
//! The times are ten times what is promised, for a machine that is busy with other things.
#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "another process says what it does in its own time"
)]

use std::io::{BufRead as _, BufReader, PipeReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use real::rpc::client::RpcClient;
use real::socket_peer::fresh_dir;

const PLUGFEST: &str = env!("CARGO_BIN_EXE_plugfest");
/// It says that it stops within this.
const SAID_MAX: Duration = Duration::from_secs(3);
/// It has ended within this, clean.
const CLEAN_MAX: Duration = Duration::from_secs(100);
/// It has come so far within this.
const START_MAX: Duration = Duration::from_secs(300);
/// What it says then.
const STOPPING: &str = "plugfest: stopping: ";

/// A command, and what it says on both outputs, in order.
struct Watched {
    child: Child,
    lines: Receiver<String>,
}

impl Watched {
    fn start(command: &mut Command) -> Self {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        command.stdout(writer.try_clone().expect("its other end"));
        let child = command.stderr(writer).spawn().expect("it is built");
        // Else the command keeps the ends to write to, and the lines never end.
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let (say, lines) = mpsc::channel();
        thread::spawn(move || read(reader, &say));
        Self { child, lines }
    }

    /// Waits for a line with `sign`.
    fn until(&mut self, sign: &str, limit: Duration) -> String {
        let began = Instant::now();
        let mut before = Vec::new();
        loop {
            let left = limit.saturating_sub(began.elapsed());
            match self.lines.recv_timeout(left) {
                Ok(line) if line.contains(sign) => return line,
                Ok(line) => before.push(line),
                Err(why) => panic!("no {sign:?} within {limit:?}: {why}: {before:#?}"),
            }
        }
    }

    fn signal(&self, signal: &str) {
        send(self.child.id(), signal);
    }

    /// What it says until it ends, and how it ends.
    fn end(mut self) -> (Option<i32>, Vec<String>) {
        let began = Instant::now();
        let mut rest = Vec::new();
        loop {
            let left = CLEAN_MAX.saturating_sub(began.elapsed());
            match self.lines.recv_timeout(left) {
                Ok(line) => rest.push(line),
                Err(mpsc::RecvTimeoutError::Disconnected) => break,
                Err(why) => panic!("it does not end: {why}: {rest:#?}"),
            }
        }
        (self.child.wait().expect("our child").code(), rest)
    }

    /// Presses Ctrl-C: what it says after it has said that it stops, and how it ends.
    fn interrupted(mut self) -> (Option<i32>, Vec<String>) {
        self.signal("-INT");
        self.until(STOPPING, SAID_MAX);
        self.end()
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        // It has ended, or the test has failed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn read(reader: PipeReader, say: &mpsc::Sender<String>) {
    for line in BufReader::new(reader).lines().map_while(Result::ok) {
        if say.send(line).is_err() {
            return;
        }
    }
}

fn send(id: u32, signal: &str) {
    let sent = Command::new("kill")
        .args([signal, &id.to_string()])
        .status();
    assert!(sent.expect("kill").success());
}

/// `plugfest`, whose runs are nobody else's business.
fn plugfest(dir: &Path) -> Command {
    let mut command = Command::new(PLUGFEST);
    command.env("TMPDIR", dir).stdin(Stdio::null());
    command
}

/// A directory, and a target that is served there.
struct Served {
    dir: PathBuf,
    target: Watched,
}

impl Served {
    fn start() -> Self {
        let dir = fresh_dir("ctrl-c").expect("a directory");
        let mut command = plugfest(&dir);
        command.args(["serve", "--target-behaviour", "intended"]);
        command.args(Self::at(&dir));
        let mut target = Watched::start(&mut command);
        target.until("JSON-RPC listens at", START_MAX);
        Self { dir, target }
    }

    fn at(dir: &Path) -> [String; 4] {
        let show = |path: &Path| path.display().to_string();
        [
            "--rpc-socket".to_owned(),
            show(&dir.join("rpc")),
            "--vhost-sockets".to_owned(),
            show(dir),
        ]
    }

    /// A run that waits for a fio that takes a minute.
    fn run(&self) -> Watched {
        let mut command = plugfest(&self.dir);
        command.args(["run", "hotattach", "--runtime", "60", "--target", "spdk"]);
        let mut run = Watched::start(command.args(Self::at(&self.dir)));
        run.until("start fio", START_MAX);
        run
    }

    /// That nothing was left on the target.
    fn has_nothing(&self) {
        let mut rpc = RpcClient::connect(&self.dir.join("rpc"), START_MAX).expect("it runs");
        for method in ["vhost_get_controllers", "bdev_get_bdevs"] {
            let has = rpc.call(method, None).expect("it answers");
            assert_eq!(has, serde_json::json!([]), "{method}");
        }
    }

    /// A command about what is left: its exit status, and what it says.
    fn left(&self, arguments: &[&str]) -> (Option<i32>, Vec<String>) {
        Watched::start(plugfest(&self.dir).args(arguments)).end()
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        // A directory of our own.
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

fn position(lines: &[String], sign: &str) -> usize {
    let found = lines.iter().position(|line| line.contains(sign));
    found.unwrap_or_else(|| panic!("no {sign:?} in {lines:#?}"))
}

#[test]
fn a_campaign_says_that_it_stops_and_then_how_far_it_came() {
    let dir = fresh_dir("ctrl-c").expect("a directory");
    let mut command = plugfest(&dir);
    command
        .args(["fuzz", "--scenarios", "100000000"])
        .current_dir(&dir);
    let mut fuzz = Watched::start(&mut command);
    fuzz.until("scenarios of seeds", START_MAX);
    let (exit, rest) = fuzz.interrupted();
    assert_eq!(exit, Some(3), "{rest:#?}");
    position(&rest, "interrupted: ");
    std::fs::remove_dir(&dir).expect("nothing was written");
}

#[test]
fn a_target_that_is_served_takes_its_sockets_with_it() {
    let mut served = Served::start();
    let path = served.dir.join("rpc");
    let mut rpc = RpcClient::connect(&path, START_MAX).expect("it runs");
    let params = serde_json::json!({"ctrlr": "vhost.1"});
    rpc.call("vhost_create_scsi_controller", Some(params))
        .expect("it is made");
    assert!(served.dir.join("vhost.1").exists());
    served.target.signal("-INT");
    served.target.until(STOPPING, SAID_MAX);
    let status = served.target.child.wait().expect("our child");
    assert_eq!(status.code(), Some(0));
    let left = std::fs::read_dir(&served.dir).expect("it is ours").count();
    assert_eq!(left, 0);
}

#[test]
fn a_run_on_a_target_starts_nothing_more_and_leaves_nothing() {
    let served = Served::start();
    let (exit, rest) = served.run().interrupted();
    assert_eq!(exit, Some(3), "{rest:#?}");
    let held = |line: &String| line.trim_start().starts_with("ok ");
    assert!(!rest.iter().any(held), "{rest:#?}");
    let lost = position(&rest, "stopped early: interrupted");
    let sum = position(&rest, "interrupted: 1 of ");
    assert!(lost < sum, "{rest:#?}");
    served.has_nothing();
    assert_eq!(
        served.left(&["doctor", "--leftovers"]),
        (Some(0), vec!["nothing is left".to_owned()])
    );
}

#[test]
fn a_second_one_leaves_at_once_and_clean_takes_away_what_stays() {
    let served = Served::start();
    let mut run = served.run();
    // It answers nobody, and what was made there stays.
    served.target.signal("-STOP");
    run.signal("-INT");
    run.until(STOPPING, SAID_MAX);
    run.until("????", SAID_MAX);
    run.signal("-INT");
    run.until("`plugfest clean` takes away what stays", SAID_MAX);
    assert_eq!(run.end().0, Some(130));
    let (exit, left) = served.left(&["doctor", "--leftovers"]);
    assert_eq!(exit, Some(1), "{left:#?}");
    position(&left, "vhost_delete_controller vhost.1");
    served.target.signal("-CONT");
    // Of another target nothing is left.
    let other = served.left(&["clean", "--rpc-socket", "/nowhere"]);
    assert_eq!(other, (Some(0), vec!["nothing is left".to_owned()]));
    let socket = served.dir.join("rpc").display().to_string();
    let (exit, taken) = served.left(&["clean", "--rpc-socket", &socket]);
    assert_eq!(exit, Some(0), "{taken:#?}");
    position(&taken, "taken away: ");
    served.has_nothing();
}

#[test]
fn what_a_target_keeps_is_said_and_the_next_run_takes_it_away() {
    let served = Served::start();
    let run = served.run();
    served.target.signal("-STOP");
    let (exit, rest) = run.interrupted();
    assert_eq!(exit, Some(3), "{rest:#?}");
    position(&rest, "things stay on the target at ");
    served.target.signal("-CONT");
    let (exit, rest) = served.run().interrupted();
    assert_eq!(exit, Some(3), "{rest:#?}");
    served.has_nothing();
}

#[test]
fn a_run_that_is_alive_is_not_cleaned_up() {
    let served = Served::start();
    let run = served.run();
    let nothing = (Some(0), vec!["nothing is left".to_owned()]);
    assert_eq!(served.left(&["clean"]), nothing);
    assert_eq!(run.interrupted().0, Some(3));
    served.has_nothing();
}

#[test]
fn a_replay_on_a_target_leaves_nothing() {
    let served = Served::start();
    let repro = served.dir.join("repro.kdl").display().to_string();
    let drawn = [
        "fuzz",
        "--schedule",
        "timed",
        "--seeds",
        "1182..1183",
        "--bug",
        "tmf_null_lun",
    ];
    let (exit, said) = served.left(&[&drawn[..], &["--repro", &repro]].concat());
    assert_eq!(exit, Some(1), "{said:#?}");
    let mut command = plugfest(&served.dir);
    command.args(["replay", &repro, "--times", "1000", "--target", "spdk"]);
    let mut replay = Watched::start(command.args(Served::at(&served.dir)));
    replay.until("seed 1182", START_MAX);
    let mut rpc = RpcClient::connect(&served.dir.join("rpc"), START_MAX).expect("it runs");
    // It prints nothing before the end of the first time.
    let mut has = || rpc.call("vhost_get_controllers", None).expect("it answers");
    while has() == serde_json::json!([]) {
        thread::yield_now();
    }
    let (exit, rest) = replay.interrupted();
    assert_eq!(exit, Some(3), "{rest:#?}");
    position(&rest, "shown 0 of 0 times");
    served.has_nothing();
}

#[test]
#[ignore = "needs qemu-system-x86_64, busybox, fio and a kernel"]
fn a_run_with_real_guests_takes_them_with_it() {
    let dir = fresh_dir("ctrl-c").expect("a directory");
    let mut command = plugfest(&dir);
    command.args([
        "run",
        "hotattach/1",
        "--guest",
        "qemu",
        "--runtime",
        "60",
        "--emulate",
    ]);
    let mut run = Watched::start(&mut command);
    run.until("start fio", START_MAX);
    let guests = processes(&dir);
    assert!(!guests.is_empty(), "there are guests");
    let (exit, rest) = run.interrupted();
    assert_eq!(exit, Some(3), "{rest:#?}");
    position(&rest, "stopped early: interrupted");
    assert_eq!(processes(&dir), Vec::<u32>::new());
    std::fs::remove_dir_all(&dir).expect("it is ours");
}

/// QEMUs whose sockets are below `dir`.
fn processes(dir: &Path) -> Vec<u32> {
    let dir = dir.display().to_string();
    let all = std::fs::read_dir("/proc").expect("processes").flatten();
    let named = all.filter(|entry| {
        let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).into_owned();
        line.starts_with("qemu") && line.contains(&dir)
    });
    named
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect()
}
