//! A plan file that records a run: what the command line says goes before it, and what is wrong with it has a place.

use std::path::Path;
use std::process::{Command, Output};

use plugfest::command::bugs;
use plugfest::{Behaviour, GuestKind, RunOptions, Schedule, SpdkOptions, TargetKind, Volume};
use sim::Bugs;

/// A plan that never passes, with what is recorded of a run of it.
fn recorded(more: &str) -> String {
    format!(
        r#"plan "r" {{
    about "a slot is free"
    controllers 1
    disks 1 from="any"
    job "default_integrity"
    vm 1 controllers="1"
    prerequisites {{ boot vm=1; }}
    case "1" "an attach" {{ attach disk=1 controller=1 target=0 refused="File exists"; }}
    recorded schema=3 {{
        seed 7
        {more}
    }}
}}
"#
    )
}

const INTENDED: &str = r#"schedule "random"; io-count "full"; bugs "early_finish""#;

fn file(test: &str, more: &str) -> String {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("recorded");
    std::fs::create_dir_all(&directory).expect("a place for files");
    let path = directory.join(format!("{test}.kdl"));
    std::fs::write(&path, recorded(more)).expect("written");
    path.to_str().expect("a path").to_owned()
}

fn plugfest(arguments: &[&str]) -> Output {
    let program = env!("CARGO_BIN_EXE_plugfest");
    let output = Command::new(program).args(arguments).output();
    output.expect("it runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("text")
}

#[test]
fn the_command_that_repeats_a_run_says_what_differs_from_the_file() {
    let file = file("repeat", INTENDED);
    for (given, printed) in [
        ("", ""),
        ("--schedule random --io-count full", ""),
        (
            "--schedule timed --io-count default --target-behaviour head",
            " --io-count default --target-behaviour head --schedule timed",
        ),
        ("--bug log_loop", " --bug log_loop"),
        ("--bug early_finish", ""),
        (
            "--target-behaviour intended",
            " --target-behaviour intended",
        ),
        ("--target-behaviour intended --bug early_finish", ""),
    ] {
        let mut arguments = vec!["run", &file];
        arguments.extend(given.split_whitespace());
        let first = plugfest(&arguments);
        let first = text(&first.stdout);
        let command = first.lines().last().expect("it failed");
        assert!(
            command.ends_with(&format!(" --seed 7{printed}")),
            "{given}: {first}"
        );
        let repeat: Vec<&str> = command.split_whitespace().skip(1).collect();
        let json = |arguments: &[&str]| {
            text(&plugfest(&[arguments, &["--format", "json"]].concat()).stdout)
        };
        let again = json(&repeat);
        assert!(again.contains("trace_hash"), "{again}");
        assert_eq!(json(&arguments), again, "{given}");
    }
}

/// Beside the recorded bugs, as the help has it, and not beside those of head.
#[test]
fn a_bug_comes_to_those_that_are_recorded() {
    let file = file("bug", INTENDED);
    let output = plugfest(&["run", &file, "--bug", "log_loop", "--format", "json"]);
    let said = text(&output.stdout);
    let words = r#""behaviour":"intended with early_finish and log_loop""#;
    assert!(said.contains(words), "{said}");
    assert_eq!(text(&output.stderr), "");
}

#[test]
fn what_other_ends_cannot_be_given_is_left_out_and_said() {
    let file = file("ends", INTENDED);
    let nobody = ["--target", "spdk", "--rpc-socket", "/nonexistent"];
    let output = plugfest(&[&["run", &file][..], &nobody].concat());
    let said = text(&output.stderr);
    let note = format!("note: {file} records bugs, schedule: ");
    assert!(said.starts_with(&note), "{said}");
}

#[test]
fn options_with_other_ends_are_as_usual_where_they_mean_nothing() {
    let own = RunOptions {
        volume: Volume::Full,
        behaviour: Behaviour::Intended,
        bugs: vec![sim::Bug::EarlyFinish],
        schedule: Schedule::Random,
        ..RunOptions::default()
    };
    let spdk = || TargetKind::Spdk(SpdkOptions::default());
    let linked = || TargetKind::Linked(plugfest::LinkedOptions::default());
    let qemu = || GuestKind::Qemu(plugfest::QemuOptions::default());
    let model = || GuestKind::Model;
    for (target, guests, lost) in [
        (TargetKind::Model, model(), &[][..]),
        (spdk(), model(), &["bugs", "schedule"]),
        (linked(), model(), &["bugs"]),
        (TargetKind::Model, qemu(), &["schedule", "io-count"]),
        (spdk(), qemu(), &["bugs", "schedule", "io-count"]),
    ] {
        let (options, said) = own.clone().with_ends(target, guests);
        assert_eq!(said, lost);
        let wrong = bugs(options.behaviour, &options.bugs);
        assert_eq!(wrong == Bugs::head(), lost.contains(&"bugs"));
        let timed = options.schedule == Schedule::Timed;
        assert_eq!(timed, lost.contains(&"schedule"));
        let usual = options.volume == Volume::Default;
        assert_eq!(usual, lost.contains(&"io-count"));
    }
    let (_, said) = RunOptions::default().with_ends(spdk(), qemu());
    assert!(
        said.is_empty(),
        "nothing is lost of what is usual: {said:?}"
    );
}

#[test]
fn what_did_not_record_its_end_is_not_the_same_run() {
    let file = file("no-end", INTENDED);
    let output = plugfest(&["replay", &file]);
    let said = text(&output.stdout);
    assert_eq!(output.status.code(), Some(3), "{said}");
    assert!(said.contains("does not record how its run ended"), "{said}");
    assert!(!said.contains("the same run"), "{said}");
}

#[test]
fn half_an_end_and_two_seeds_are_refused_with_their_line() {
    let trace = r#"trace-hash="00000000000000ff""#;
    let order = r#"order-hash="00000000000000ff""#;
    for (more, wrong) in [
        (
            format!("ended {trace} turns=3"),
            ":11:9: `ended` lacks `order-hash`",
        ),
        (
            format!("ended {trace} {order}"),
            ":11:9: `ended` lacks `turns`",
        ),
        ("seed 8".to_owned(), ":11:9: `seed` is there already"),
        (
            format!("ended {trace} {order} turns=3\n        ended {trace} {order} turns=4"),
            ":12:9: `ended` is there already",
        ),
    ] {
        let file = file("refused", &more);
        let output = plugfest(&["replay", &file]);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains(&format!("{file}{wrong}")), "{said}");
    }
}
