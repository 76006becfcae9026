//! The command line from outside: names, errors, exit statuses.

use std::process::Command;

/// Runs `plugfest` in this directory: its exit status, output and errors.
fn plugfest(arguments: &[&str]) -> String {
    let said = Command::new(env!("CARGO_BIN_EXE_plugfest"))
        .args(arguments)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    let (out, err) = (
        String::from_utf8(said.stdout).unwrap(),
        String::from_utf8(said.stderr).unwrap(),
    );
    let status = said.status.code().unwrap();
    format!(
        "$ plugfest {}\n{out}{err}exit {status}\n",
        arguments.join(" ")
    )
}

#[test]
fn list_names_every_plan_and_case() {
    insta::assert_snapshot!(plugfest(&["list"]));
}

#[test]
fn a_full_disk_is_an_error_and_not_a_verdict() {
    let quick = ["run", "hotattach/1", "--volume", "quick"];
    for output in ["--trace", "--turns"] {
        let said = plugfest(&[&quick[..], &[output, "/dev/full"]].concat());
        assert!(said.ends_with("exit 2\n"), "{said}");
        assert!(said.contains("No space left on device"), "{said}");
    }
}

#[test]
fn wrong_arguments_are_one_clear_error_each() {
    let said: Vec<String> = [
        &["run", "nonsense"][..],
        &["run", "hotatach"],
        &["run", "hotattach/5"],
        &["run", "nowhere.kdl"],
        &["run", "tests/plans/malformed.kdl"],
        &["run", "tests/plans/impossible.kdl/1"],
        &["run", "--job", "nowhere.fio"],
        &["run", "--job", "tests/jobs/unknown.fio"],
        &["run", "--job", "tests/jobs/unsupported.fio"],
        &["run", "--job", "tests/jobs/contradictory.fio"],
        &["run", "--job", "tests/jobs/value.fio"],
        &["run", "--job", "tests/jobs/outside.fio"],
        &["conform", "nowhere.jsonl"],
        &["run", "--seed", "minus"],
        &["run", "--seeds", "5..5"],
        &["run", "--seeds", "5"],
        &["run", "--seed", "1", "--seeds", "1..2"],
        &["run", "--jobs", "0"],
        &["run", "--volume", "huge"],
        &["run", "--target-behaviour", "worse"],
        &["run", "--format", "xml"],
        &["run", "--trace", "/nonexistent/trace.jsonl", "hotattach"],
        &["run", "--trace", "trace.jsonl"],
        &["runs"],
    ]
    .iter()
    .map(|arguments| plugfest(arguments))
    .collect();
    assert!(
        said.iter().all(|said| said.ends_with("exit 2\n")),
        "{said:#?}"
    );
    insta::assert_snapshot!(said.join("\n"));
}

#[test]
fn help_is_enough_to_begin() {
    for arguments in [&["--help"][..], &["run", "--help"], &["doctor", "--help"]] {
        let said = plugfest(arguments);
        assert!(said.ends_with("exit 0\n"), "{said}");
    }
    assert!(plugfest(&["run", "--help"]).contains("plugfest run hotattach/3"));
}

#[test]
fn doctor_fits_on_a_screen() {
    let said = plugfest(&["doctor", "--rpc-socket", "/nonexistent/rpc.sock"]);
    assert!(
        said.contains("sim     model target, model guest  ready"),
        "{said}"
    );
    assert!(said.lines().count() <= 26, "{said}");
}
