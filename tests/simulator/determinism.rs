//! Same plan, seed and build: same turns. Run first; without it no other failure can be trusted.
//!
//! Compares whole processes, from outside: the hashes that a run prints, and its turn log.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Command;

use sim::world::first_difference;

/// Runs `plugfest run --io-count quick` with `args` and returns what it printed.
fn run(args: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_plugfest"))
        .args(["run", "--io-count", "quick", "--format", "json"])
        .args(args)
        .output()
        .expect("plugfest starts");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).expect("the report is text")
}

/// Runs with a turn log and returns the log.
fn turns(name: &str, args: &[&str]) -> String {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    let shown = path.to_str().expect("a path in the target directory");
    run(&[&["hotattach/2", "--seed", "7", "--turns", shown], args].concat());
    std::fs::read_to_string(&path).expect("the turn log was written")
}

#[test]
fn two_processes_take_the_same_turns() {
    let first = turns("first.turns", &[]);
    let second = turns("second.turns", &[]);
    assert!(
        first.lines().count() > 1_000,
        "a run of {} turns shows little",
        first.lines().count()
    );
    if let Some(difference) = first_difference(&first, &second) {
        panic!("{difference}");
    }
}

#[test]
fn a_planted_difference_is_named() {
    let first = turns("straight.turns", &[]);
    let second = turns("disturbed.turns", &["--disturb-at", "500"]);
    let difference = first_difference(&first, &second).expect("one more draw changes the run");
    assert!(
        difference.turn > 500,
        "nothing differs before it: {difference}"
    );
    let turns = first.lines().count() as u64;
    assert!(
        difference.turn < turns,
        "a later draw shows it: {difference}"
    );
}

#[test]
fn workers_do_not_matter() {
    let one = run(&["--seeds", "0..4", "--workers", "1"]);
    let two = run(&["--seeds", "0..4", "--workers", "2"]);
    assert!(one.contains("trace_hash"), "{one}");
    assert_eq!(one, two);
}

#[test]
fn seeds_differ() {
    assert_ne!(
        run(&["hotattach/2", "--seed", "1"]),
        run(&["hotattach/2", "--seed", "2"])
    );
}

/// The trace hash of a run of one case with a job of these options, and how many turns it took.
fn hash_and_turns(options: &str) -> (String, String) {
    let name = format!("{}.fio", options.replace(['\n', '='], "_"));
    let job = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    let text = format!("[global]\nioengine=libaio\ndirect=1\nbs=4k\niodepth=8\n{options}\n");
    std::fs::write(&job, text).expect("a job file");
    let shown = job.to_str().expect("a path in the target directory");
    let report = run(&["hotattach/1", "--seed", "7", "--job", shown]);
    let field = |name: &str| {
        let at = report.find(name).expect("the report has it");
        report[at..].chars().take_while(|c| *c != ',').collect()
    };
    (field("\"trace_hash\":"), field("\"turns\":"))
}

/// The jobs take as many turns each, so only what the requests are can tell their hashes apart.
#[test]
fn what_is_asked_of_a_disk_and_where_counts() {
    let jobs = [
        "rw=write\nverify=md5",
        "rw=randwrite\nverify=md5",
        "rw=write\noffset=1m\nverify=md5",
    ];
    let runs = jobs.map(hash_and_turns);
    let turns: BTreeSet<&str> = runs.iter().map(|(_, turns)| turns.as_str()).collect();
    assert_eq!(turns.len(), 1, "{runs:?}");
    let hashes: BTreeSet<&str> = runs.iter().map(|(hash, _)| hash.as_str()).collect();
    assert_eq!(hashes.len(), jobs.len(), "{runs:?}");
    assert_eq!(hash_and_turns(jobs[0]), runs[0]);
}
