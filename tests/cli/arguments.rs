//! Arguments that mean nothing, or not what they seem to, are said to; and output that cannot be written is
//! no success.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use plugfest::command::Repro;
use plugfest::{Behaviour, RunOptions, Volume};
use sim::Bug;

const QUICK: [&str; 4] = ["run", "hotattach/1", "--io-count", "quick"];

fn program(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_plugfest"));
    command.args(arguments);
    command
}

/// Runs `plugfest`: its exit status, output and errors.
fn plugfest(arguments: &[&str]) -> (Option<i32>, String, String) {
    said(program(arguments).output().unwrap())
}

fn said(output: Output) -> (Option<i32>, String, String) {
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (
        output.status.code(),
        text(output.stdout),
        text(output.stderr),
    )
}

fn file(name: &str, text: &str) -> PathBuf {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("arguments");
    std::fs::create_dir_all(&directory).unwrap();
    let path = directory.join(name);
    std::fs::write(&path, text).unwrap();
    path
}

#[test]
fn output_that_cannot_be_written_is_an_error() {
    for arguments in [
        &["--help"][..],
        &["--version"],
        &["help", "run"],
        &["run", "--help"],
        &["guest", "--help"],
        &["list"],
        &["man"],
        &["doctor"],
        &QUICK,
    ] {
        let full = File::options().write(true).open("/dev/full").unwrap();
        let (exit, _, err) = said(program(arguments).stdout(full).output().unwrap());
        assert_eq!(exit, Some(2), "{arguments:?}: {err}");
        let why = "plugfest: cannot write the output: No space left on device (os error 28)\n";
        assert_eq!(err, why, "{arguments:?}");
    }
    // What is wrong is known by the status, even if nothing can be said.
    for arguments in [&["run", "nonsense"][..], &["nonsense"]] {
        let full = File::options().write(true).open("/dev/full").unwrap();
        let (exit, ..) = said(program(arguments).stderr(full).output().unwrap());
        assert_eq!(exit, Some(2), "{arguments:?}");
    }
}

#[test]
fn jobs_are_of_many_seeds() {
    for jobs in ["1", "2"] {
        let (exit, out, err) = plugfest(&[&QUICK[..], &["--workers", jobs]].concat());
        assert_eq!((exit, out.as_str()), (Some(2), ""));
        assert_eq!(
            err,
            "plugfest: --workers means something with --seeds only\n"
        );
    }
    let many = ["--workers", "2", "--seeds", "0..2"];
    let (exit, out, err) = plugfest(&[&QUICK[..], &many].concat());
    assert_eq!(exit, Some(0), "{out}{err}");
}

#[test]
fn a_number_that_is_none_is_told_its_range() {
    let seed = "expected a whole number from 0 to 18446744073709551615";
    for (arguments, expected) in [
        (&["run", "--seed", "-1"][..], seed),
        (&["run", "--seed=-1"], seed),
        (&["run", "--seed", "18446744073709551616"], seed),
        (&["fuzz", "--seed", "-1"], seed),
        (&["serve", "--seed", "-1"], seed),
        (
            &["run", "--seeds", "-1..3"],
            "expected two numbers, as in 0..1000",
        ),
        (
            &["run", "--seeds", "0..2", "--workers", "-1"],
            "-1 is not in 1..=256",
        ),
        (
            &["fuzz", "--scenarios", "-1"],
            "expected a whole number from 1 to 18446744073709551615",
        ),
        (
            &["fuzz", "--scenarios", "0"],
            "expected a whole number from 1 to 18446744073709551615",
        ),
        (&["serve", "--cores", "-1"], "-1 is not in 1..=2"),
    ] {
        let (exit, _, err) = plugfest(arguments);
        assert_eq!(exit, Some(2), "{err}");
        let first = err.lines().next().unwrap();
        assert!(first.starts_with("error: invalid value '"), "{err}");
        assert!(first.ends_with(&format!(": {expected}")), "{err}");
        assert!(!err.contains("tip: "), "{err}");
    }
}

#[test]
fn a_bug_that_the_behaviour_has_already_is_noted() {
    let note = "note: --bug early_finish adds nothing: --target-behaviour head does it already\n";
    let twice = ["--bug", "early_finish", "--bug", "shared_cursor"];
    let (_, _, err) = plugfest(&[&QUICK[..], &twice].concat());
    assert_eq!(err, note);
    let intended = ["--target-behaviour", "intended"];
    let (_, _, err) = plugfest(&[&QUICK[..], &twice, &intended].concat());
    assert_eq!(err, "");
    let fuzz = ["fuzz", "--scenarios", "1", "--target-behaviour", "head"];
    let (_, _, err) = plugfest(&[&fuzz[..], &twice].concat());
    assert!(err.starts_with(note), "{err}");
}

#[test]
fn a_replay_names_the_behaviour_and_what_differs_from_it() {
    let plan = plugfest::shipped("hotattach").unwrap();
    let replayed = |behaviour, bugs: &[Bug]| {
        let options = RunOptions {
            only: Some("1".into()),
            volume: Volume::Quick,
            behaviour,
            bugs: bugs.to_vec(),
            ..RunOptions::default()
        };
        let repro = Repro::of_run(&plan, &options).unwrap();
        let path = file("replayed.kdl", &repro.text().unwrap());
        let (_, out, err) = plugfest(&["replay", path.to_str().unwrap()]);
        let first = out.lines().next().unwrap_or(&err).to_owned();
        first.split_once("seed 0, ").unwrap().1.to_owned()
    };
    let (head, intended) = (Behaviour::Head, Behaviour::Intended);
    assert_eq!(replayed(head, &[]), "SPDK head");
    assert_eq!(
        replayed(head, &[Bug::SharedCursor]),
        "SPDK head with shared_cursor"
    );
    assert_eq!(replayed(intended, &[]), "an intended target");
    assert_eq!(
        replayed(intended, &[Bug::EarlyFinish]),
        "a target with early_finish"
    );
}

#[test]
fn a_slot_that_a_plan_names_is_in_the_report() {
    let plan = r#"plan "slots" {
        about "A slot by its number, and any."
        controllers 1
        disks 2 from="any"
        job "default_integrity"
        vm 1 controllers="1"
        prerequisites { boot vm=1; }
        case "1" "Two disks" {
            attach disk=1 controller=1 target=5
            attach disk=2 controller=1
            fio "both" on="attached" expect="pass"
        }
    }"#;
    let path = file("slots.kdl", plan);
    let run = ["run", path.to_str().unwrap(), "--io-count", "quick"];
    let (exit, out, err) = plugfest(&run);
    assert_eq!(exit, Some(0), "{out}{err}");
    assert!(
        out.contains("  attach disk 1 to controller 1, target 5\n"),
        "{out}"
    );
    assert!(out.contains("  attach disk 2 to controller 1\n"), "{out}");
}

#[test]
fn options_under_their_earlier_names_mean_the_same() {
    let run = ["run", "hotattach/1", "--seeds", "0..2"];
    let earlier = [
        "--volume",
        "quick",
        "--jobs",
        "2",
        "--deviation",
        "early_finish",
    ];
    let now = [
        "--io-count",
        "quick",
        "--workers",
        "2",
        "--bug",
        "early_finish",
    ];
    let [earlier, now] = [earlier, now].map(|options| plugfest(&[&run[..], &options].concat()));
    assert_eq!(earlier, now);
    assert_eq!(now.0, Some(0), "{}{}", now.1, now.2);
    let earlier = ["--stories", "3", "--deviation", "early_finish"];
    let now = ["--scenarios", "3", "--bug", "early_finish"];
    let fuzz = |options: [&str; 4]| {
        let mut command = program(&[&["fuzz"], &options[..]].concat());
        // There is no corpus, and three scenarios are done before anybody asks how far they are.
        command.current_dir(env!("CARGO_TARGET_TMPDIR"));
        said(command.output().unwrap())
    };
    let [earlier, now] = [earlier, now].map(fuzz);
    assert_eq!(earlier, now);
    assert_eq!(now.0, Some(0), "{}{}", now.1, now.2);
}
