//! What the command says while it works: `--log`, `--log-format`, `PLUGFEST_LOG`, and `--turns`, which is a listener
//! like any other.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

const QUICK: [&str; 4] = ["run", "hotattach/1", "--io-count", "quick"];

/// Runs the first case: output and errors.
fn run(more: &[&str], filter: Option<&str>) -> (String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_plugfest"));
    command.args(QUICK).args(more).env_remove("PLUGFEST_LOG");
    command.envs(filter.map(|filter| ("PLUGFEST_LOG", filter)));
    let said = command.output().expect("it runs");
    let text = |bytes| String::from_utf8(bytes).expect("text");
    let (out, err) = (text(said.stdout), text(said.stderr));
    assert_eq!(said.status.code(), Some(0), "{out}{err}");
    (out, err)
}

#[test]
fn what_is_said_goes_to_standard_error_by_the_simulators_clock() {
    let (silent, nothing) = run(&[], None);
    assert_eq!(nothing, "");
    let filter = "run=info,rpc=debug,spdk=info,observation=debug,vm=debug";
    let (out, err) = run(&["--log", filter], None);
    assert_eq!(out, silent, "the report is what it was");
    let line = |words: &[&str]| {
        let found = err
            .lines()
            .find(|line| words.iter().all(|word| line.contains(word)));
        found.unwrap_or_else(|| panic!("{words:?} in {err}"))
    };
    line(&["INFO", "run{plan=hotattach seed=0}", "case{id=1}", "step{"]);
    line(&["rpc{id=", "vhost_scsi_controller_add_target", "called"]);
    line(&["rpc{id=", "vhost_scsi_controller_add_target", "answered"]);
    line(&["INFO", "spdk: ", "added SCSI target 0"]);
    line(&["DEBUG", "vm{id=1 boot=1}", "observation: DiskAppeared"]);
    // The time is virtual: the same again, to the nanosecond.
    assert_eq!(run(&[], Some(filter)).1, err, "and so PLUGFEST_LOG does");
    let times = err.lines().map(|line| {
        let word = line.split_whitespace().next().expect("a time");
        word.parse::<f64>().expect("seconds")
    });
    assert!(times.is_sorted(), "{err}");
}

#[test]
fn as_json_each_event_is_an_object() {
    let (_, err) = run(&["--log", "info", "--log-format", "json"], None);
    let events: Vec<Value> = err
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|why| panic!("{why}: {line}")))
        .collect();
    let targets: Vec<&str> = events
        .iter()
        .filter_map(|event| event["target"].as_str())
        .collect();
    assert!(
        targets.contains(&"spdk") && targets.contains(&"run"),
        "{err}"
    );
    let whole = |event: &Value| event["timestamp"].is_string() && event["level"] == "INFO";
    assert!(events.iter().all(whole), "{err}");
    let in_case = |event: &Value| event["spans"].to_string().contains(r#""name":"case""#);
    assert!(events.iter().any(in_case), "{err}");
}

#[test]
fn turns_are_said_with_names_and_written_the_same_whoever_listens() {
    let path = |name: &str| -> PathBuf { Path::new(env!("CARGO_TARGET_TMPDIR")).join(name) };
    let [alone, beside] = ["turns-alone", "turns-beside"].map(path);
    let show = |path: &Path| path.to_str().expect("text").to_owned();
    run(&["--turns", &show(&alone)], None);
    let (_, err) = run(&["--turns", &show(&beside), "--log", "turn=trace"], None);
    let read = |path: &Path| std::fs::read_to_string(path).expect("it was written");
    let turns = read(&alone);
    assert_eq!(turns, read(&beside));
    for name in [
        "(target: app thread)",
        "(VM 1: QEMU)",
        "(VM 1: scans of HBA 0)",
    ] {
        assert!(turns.contains(name), "{name}");
    }
    assert_eq!(err.lines().count(), turns.lines().count());
    assert!(err.lines().all(|line| line.contains(" TRACE ")), "{err}");
}

#[test]
fn a_filter_that_is_none_is_refused() {
    let said = Command::new(env!("CARGO_BIN_EXE_plugfest"))
        .args(["run", "--log", "rpc=loud"])
        .output()
        .expect("it runs");
    assert_eq!(said.status.code(), Some(2));
    let err = String::from_utf8_lossy(&said.stderr);
    assert!(err.contains("--log <FILTER>"), "{err}");
}
