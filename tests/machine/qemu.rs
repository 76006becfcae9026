//! Real guests: what `plugfest run --guest qemu` passes, and what is left when it is killed.
//!
//! Needs qemu-system-x86_64, busybox (static), fio and a kernel, all by apt-get; no KVM, no root. By hand:
//! `cargo test --release --test machine -- --ignored --test-threads 1 qemu::`.

#![expect(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "processes take their time, and are waited for"
)]

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use plugfest::{GuestKind, QemuOptions, RunOptions, Verdict, render, run, shipped};
use real::testbed::run_dir;
use sim::Rng;

/// A short run.
const RUN: [&str; 7] = [
    "run",
    "hotattach/1",
    "--guest",
    "qemu",
    "--runtime",
    "30",
    "--emulate",
];
/// Seconds that each job runs.
const RUNTIME_S: u32 = 3;

fn passes(plan: &str, only: Option<&str>) {
    let options = RunOptions {
        only: only.map(str::to_owned),
        guests: GuestKind::Qemu(QemuOptions {
            emulate: true,
            ..QemuOptions::default()
        }),
        runtime_s: Some(RUNTIME_S),
        ..RunOptions::default()
    };
    let plan = shipped(plan).expect("it ships");
    let report = run(&plan, &options).expect("a testbed");
    let verdict = report.verdict();
    assert_eq!(verdict, Verdict::Passed, "{}", render(&[report]));
}

#[test]
#[ignore = "needs qemu-system-x86_64, busybox, fio and a kernel; two minutes"]
fn disks_come_to_real_guests() {
    passes("hotattach", None);
}

#[test]
#[ignore = "needs qemu-system-x86_64, busybox, fio and a kernel; four minutes"]
fn disks_go_from_real_guests() {
    passes("hotdetach", None);
}

/// The processes whose command line has this word.
fn processes(word: &str) -> Vec<PathBuf> {
    let all = std::fs::read_dir("/proc").expect("processes").flatten();
    let named = all.filter(|entry| {
        let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let mut words = line.split(|byte| *byte == 0);
        words.any(|found| String::from_utf8_lossy(found).contains(word))
    });
    named.map(|entry| entry.path()).collect()
}

fn until(what: &str, limit: Duration, mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < limit, "{what}: not within {limit:?}");
        thread::sleep(Duration::from_millis(20));
    }
}

/// Whether the run with this directory has left it behind.
fn is_left(own: &str) -> bool {
    let left = run_dir::leftovers();
    left.iter()
        .any(|left| left.dir.ends_with(own.trim_matches('/')))
}

/// Kills a run of plugfest with `signal` once its guests run: nothing of it stays.
fn leaves_nothing(signal: &str) {
    let mut run = Command::new(env!("CARGO_BIN_EXE_plugfest"))
        .args(RUN)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("it starts");
    let own = format!("/{}-0/", run.id());
    let two_guests = || processes(&format!("{own}vm")).len() >= 2;
    until("guests", Duration::from_secs(60), two_guests);
    let kill = Command::new("kill")
        .args([signal, &run.id().to_string()])
        .status();
    assert!(kill.expect("kill runs").success());
    let status = run.wait().expect("it ends");
    assert!(!status.success(), "{status}");
    let gone = || processes(&own).is_empty();
    until("the guests' end", Duration::from_secs(10), gone);
    if signal == "-KILL" {
        assert!(is_left(&own), "its directory is found");
        // The next run removes it.
        let refused = Command::new(env!("CARGO_BIN_EXE_plugfest"))
            .args([
                "run",
                "hotattach",
                "--guest",
                "qemu",
                "--guest-image",
                "/nonexistent",
            ])
            .output()
            .expect("it starts");
        assert_eq!(refused.status.code(), Some(2));
    }
    assert!(!is_left(&own), "nothing is left");
}

/// How many kills at drawn moments: `PLUGFEST_KILLS`, or a few.
fn kills() -> u64 {
    let asked = std::env::var("PLUGFEST_KILLS").ok();
    asked.and_then(|asked| asked.parse().ok()).unwrap_or(5)
}

/// Guests boot, fio starts and fio writes within so many milliseconds; it goes on for as many again.
const KILLED_WITHIN_MS: u32 = 15_000;

#[test]
#[ignore = "needs qemu-system-x86_64, busybox, fio and a kernel; fifteen seconds a kill: PLUGFEST_KILLS, or 5"]
fn a_guest_that_is_killed_at_any_moment_says_nothing() {
    let mut rng = Rng::new(3, sim::Stream::Directed);
    for kill in 0..kills() {
        let run = Command::new(env!("CARGO_BIN_EXE_plugfest"))
            .args(RUN)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("it starts");
        let own = format!("/{}-0/", run.id());
        let (vm, moment) = (rng.between(1, 2), rng.below(KILLED_WITHIN_MS));
        let guest = format!("{own}vm{vm}.qmp");
        let runs = || !processes(&guest).is_empty();
        until("a guest", Duration::from_secs(60), runs);
        thread::sleep(Duration::from_millis(moment.into()));
        let found = processes(&guest);
        assert_eq!(found.len(), 1, "kill {kill}: {guest} after {moment} ms");
        let id = found[0].file_name().expect("a process").to_owned();
        let sent = Command::new("kill").arg("-KILL").arg(id).status();
        assert!(sent.expect("kill runs").success());
        let done = run.wait_with_output().expect("it ends");
        let said = String::from_utf8_lossy(&done.stdout);
        let at = format!("kill {kill}: VM {vm} after {moment} ms");
        println!("{at}: {}", fate(&said));
        assert_eq!(done.status.code(), Some(3), "{at}:\n{said}");
        assert!(
            said.contains("QEMU ended by itself: SIGKILL"),
            "{at}:\n{said}"
        );
        assert!(processes(&own).is_empty() && !is_left(&own), "{at}");
    }
}

/// The last step that was begun, and the verdicts.
fn fate(said: &str) -> String {
    let lines = || said.lines().rev();
    let last = lines().find(|line| line.starts_with("  "));
    let verdict = lines().find(|line| line.starts_with("hotattach/1 "));
    let verdict = verdict.and_then(|line| line.split_whitespace().next_back());
    let last = last.unwrap_or_default().trim();
    format!("{} ({last})", verdict.unwrap_or("no verdict"))
}

#[test]
#[ignore = "needs qemu-system-x86_64, busybox, fio and a kernel"]
fn a_run_that_is_interrupted_takes_its_guests_with_it() {
    leaves_nothing("-INT");
}

#[test]
#[ignore = "needs qemu-system-x86_64, busybox, fio and a kernel"]
fn a_run_that_is_killed_takes_its_guests_with_it() {
    leaves_nothing("-KILL");
}
