//! The command line from outside: names, errors, exit statuses.

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;
use std::process::{Command, Stdio};

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
    let quick = ["run", "hotattach/1", "--io-count", "quick"];
    for output in ["--trace", "--turns"] {
        let said = plugfest(&[&quick[..], &[output, "/dev/full"]].concat());
        assert!(said.ends_with("exit 2\n"), "{said}");
        assert!(said.contains("No space left on device"), "{said}");
    }
}

#[test]
fn the_command_that_repeats_a_run_can_be_pasted() {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("a dir with 'quotes'");
    std::fs::create_dir_all(&directory).unwrap();
    let (plan, job) = (
        directory.join("my plan.kdl"),
        directory.join("false alarm.fio"),
    );
    std::fs::copy("scenarios/plans/hotattach.kdl", &plan).unwrap();
    std::fs::write(
        &job,
        // fio compares seeds that such a job does not repeat.
        "[global]\nioengine=libaio\ndirect=1\nrw=randrw\nnorandommap\nbs=4k\nverify=md5\n",
    )
    .unwrap();
    let case = format!("{}/1", plan.display());
    let said = plugfest(&[
        "run",
        &case,
        "--io-count",
        "quick",
        "--job",
        job.to_str().unwrap(),
    ]);
    assert!(said.ends_with("exit 3\n"), "{said}");
    let command = said.lines().rev().nth(1).unwrap();
    let words = command.strip_prefix("plugfest ").unwrap();
    let shell = format!(
        "{} {words}",
        env!("CARGO_BIN_EXE_plugfest").replace(' ', "\\ ")
    );
    let again = Command::new("sh").args(["-c", &shell]).output().unwrap();
    let again = String::from_utf8(again.stdout).unwrap();
    assert!(said.contains(&again) && again.len() > 1000, "{said}{again}");
}

#[test]
fn wrong_arguments_are_one_clear_error_each() {
    let said: Vec<String> = [
        &["run", "nonsense"][..],
        &["run", "hotatach"],
        &["run", "hotattach/5"],
        &["run", "nowhere.kdl"],
        &["run", "--target", "spdk", "--bug", "early_finish"],
        &["run", "tests/plans/malformed.kdl"],
        &["run", "tests/plans/impossible.kdl/1"],
        &["run", "tests/plans/unknown_job.kdl"],
        &["run", "/tmp"],
        &["run", "./"],
        &["run", "./README.md"],
        &["run", "./nowhere"],
        &["run", ""],
        &["run", "/dev/zero"],
        &["run", "hotattach", "hotattach"],
        &["run", "hotattach/1", "hotattach"],
        &["run", "hotattach", "--trace", "same", "--turns", "./same"],
        &[
            "run",
            "tests/plans/unknown_job.kdl",
            "--junit",
            "tests/plans/unknown_job.kdl",
        ],
        &[
            "run",
            "hotattach",
            "--job",
            "same.fio",
            "--repro",
            "same.fio",
        ],
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
        &["run", "--workers", "0"],
        &["run", "--io-count", "huge"],
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
    for command in ["run", "fuzz", "replay", "conform"] {
        let said = plugfest(&[command, "--help"]);
        assert!(said.contains("Exit status: 0 "), "{said}");
    }
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

#[test]
fn doctor_names_what_closes_each_gap() {
    let said = Command::new(env!("CARGO_BIN_EXE_plugfest"))
        .args(["doctor", "--rpc-socket", "/nonexistent/rpc.sock"])
        .envs(["PATH", "HOME", "XDG_CACHE_HOME"].map(|name| (name, "/nonexistent")))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    let (testbeds, machine) = said.split_once("this machine:").expect("two parts");
    for (name, missing) in [
        ("serve ", "qemu, "),
        ("socket ", "SPDK RPC socket"),
        ("full ", "SPDK RPC socket"),
    ] {
        let mut lines = testbeds
            .lines()
            .skip_while(|line| !line.trim().starts_with(name));
        assert!(
            lines.next().is_some_and(|line| line.ends_with("not ready")),
            "{said}"
        );
        let next = lines.next().unwrap_or_default();
        assert!(
            next.contains("missing: ") && next.contains(missing),
            "{said}"
        );
    }
    let words = testbeds.lines().filter_map(|line| {
        line.split_once("missing: ")
            .or(line.split_once("better with: "))
    });
    for word in words.flat_map(|(_, words)| words.split(", ")) {
        let found = machine
            .lines()
            .find(|line| line.trim().starts_with(&format!("no  {word} ")));
        let found = found.unwrap_or_else(|| panic!("{word}: {said}"));
        assert!(
            found.contains("apt install ") || found.contains('`'),
            "{found}"
        );
    }
}

/// Starts `plugfest`, waits until it prints `sign`, and presses Ctrl-C: exit status, output, errors.
fn interrupted(arguments: &[&str], sign: &str) -> (Option<i32>, String, String) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_plugfest"))
        .args(arguments)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let mut text = String::new();
    while !text.contains(sign) {
        assert!(out.read_line(&mut text).unwrap() > 0, "no {sign} in {text}");
    }
    let id = child.id().to_string();
    let kill = Command::new("kill").args(["-INT", &id]).status();
    assert!(kill.unwrap().success());
    out.read_to_string(&mut text).unwrap();
    let said = child.wait_with_output().unwrap();
    let err = String::from_utf8(said.stderr).unwrap();
    (said.status.code(), text, err)
}

#[test]
fn ctrl_c_leaves_a_partial_report() {
    let full = ["run", "hotattach", "--io-count", "full"];
    let (exit, out, _) = interrupted(&full, "start fio");
    assert_eq!(exit, Some(3), "{out}");
    assert!(out.contains("stopped early: interrupted"), "{out}");
    assert!(out.contains("verdict"), "the table is there: {out}");
    let (exit, out, err) = interrupted(&["run", "--io-count", "full"], "start fio");
    assert_eq!(exit, Some(3), "{out}{err}");
    assert!(
        out.contains("\n0 of 9 cases passed, 1 inconclusive, 8 did not begin\n"),
        "{out}"
    );
    assert_eq!(out.matches("  not begun\n").count(), 3, "{out}");
    let (stopping, begun) = err.split_once('\n').unwrap();
    assert!(stopping.starts_with("plugfest: stopping: "), "{err}");
    assert_eq!(begun, "interrupted: 1 of 9 cases were begun, 8 were not\n");

    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("interrupted.xml");
    let file = path.to_str().unwrap();
    let seeds = [
        "run",
        "hotattach/1",
        "--io-count",
        "quick",
        "--seeds",
        "0..1000000",
    ];
    let more = ["--format", "json", "--junit", file];
    let (exit, out, err) = interrupted(&[&seeds[..], &more].concat(), "passed");
    assert_eq!(exit, Some(3), "{out}{err}");
    let carried_out = err.split_once("interrupted: ").unwrap().1;
    let seeds = carried_out.split(' ').next().unwrap();
    assert_eq!(
        carried_out,
        format!("{seeds} of 1000000 seeds were carried out, {seeds} of 1000000 cases\n")
    );
    let xml = std::fs::read_to_string(&path).unwrap();
    assert!(xml.contains("hotattach/1 seed 0"), "what was done is kept");
}

/// Whether a process that runs has a handler for SIGINT, by proc(5).
fn catches_interrupts(id: u32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{id}/status")).unwrap();
    assert!(!status.contains("State:\tZ"), "it has ended");
    let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
    let caught = u64::from_str_radix(caught.unwrap().trim(), 16).unwrap();
    caught & 1 << (2 - 1) != 0
}

#[test]
fn conform_can_be_interrupted() {
    let child = Command::new(env!("CARGO_BIN_EXE_plugfest"))
        .args(["conform", "--serve", "tests/transcripts"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // It prints at its end only, which is a minute away.
    while !catches_interrupts(child.id()) {
        std::thread::yield_now();
    }
    let id = child.id().to_string();
    let kill = Command::new("kill").args(["-INT", &id]).status();
    assert!(kill.unwrap().success());
    let said = child.wait_with_output().unwrap();
    let err = String::from_utf8(said.stderr).unwrap();
    assert_eq!(said.status.code(), Some(3), "{err}");
    assert!(err.contains("interrupted"), "{err}");
}

#[test]
fn a_file_that_cannot_be_written_is_known_before_the_work() {
    let run = ["run", "hotattach", "--io-count", "full"];
    let fuzz = ["fuzz", "--target-behaviour", "head"];
    for (command, option) in [
        (&run[..], "--junit"),
        (&run[..], "--repro"),
        (&fuzz[..], "--repro"),
    ] {
        for (place, why) in [
            ("/nonexistent/x", "No such file"),
            ("tests", "is a directory"),
        ] {
            let said = plugfest(&[command, &[option, place]].concat());
            assert!(said.ends_with("exit 2\n"), "{said}");
            assert!(
                said.contains(&format!("cannot write {place}: {why}")),
                "{said}"
            );
            assert_eq!(said.lines().count(), 3, "nothing was done: {said}");
        }
    }
}

#[test]
fn what_was_found_is_told_even_if_its_file_cannot_be_written() {
    let fuzz = ["fuzz", "--bug", "answered_twice", "--stop-at", "1"];
    let said = plugfest(&[&fuzz[..], &["--repro", "/dev/full"]].concat());
    assert!(said.contains("\nFAIL I"), "{said}");
    assert!(
        said.contains("cannot write /dev/full: No space left"),
        "{said}"
    );
    assert!(said.ends_with("exit 2\n"), "{said}");
    let last = u64::MAX.to_string();
    let said = plugfest(&["fuzz", "--seed", &last, "--scenarios", "2"]);
    assert!(said.contains("there are no 2 seeds from"), "{said}");
    assert!(said.ends_with("exit 2\n"), "{said}");
}

/// Where nobody looks on, ten lines say how far it is, apart from what is found out.
#[test]
fn fuzz_says_how_far_it_is() {
    let said = Command::new(env!("CARGO_BIN_EXE_plugfest"))
        .args(["fuzz", "--scenarios", "30"])
        .current_dir(env!("CARGO_TARGET_TMPDIR"))
        .output()
        .unwrap();
    assert_eq!(said.status.code(), Some(0));
    let err = String::from_utf8(said.stderr).unwrap();
    let lines: Vec<&str> = err.lines().collect();
    assert_eq!(lines.len(), 10, "{err}");
    for (n, line) in lines.iter().enumerate() {
        let begins = format!("{} of 30 scenarios, ", 3 * (n + 1));
        assert!(line.starts_with(&begins), "{line}");
        assert!(line.contains("/s, "), "{line}");
        assert!(line.ends_with(" orders, 0 new findings, 0 known"), "{line}");
    }
    let out = String::from_utf8(said.stdout).unwrap();
    assert_eq!(out.lines().count(), 4, "{out}");
}

#[test]
fn nobody_who_reads_is_no_crash() {
    for arguments in [
        &["run", "hotattach/1", "--io-count", "quick"][..],
        &[
            "run",
            "hotattach/1",
            "--io-count",
            "quick",
            "--seeds",
            "0..20",
            "--format",
            "json",
        ],
        &["fuzz"],
    ] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let said = Command::new(env!("CARGO_BIN_EXE_plugfest"))
            .args(arguments)
            .stdout(writer)
            .output()
            .unwrap();
        assert_eq!(said.status.code(), Some(3), "{arguments:?}");
        let err = String::from_utf8(said.stderr).unwrap();
        assert!(!err.contains("panicked"), "{arguments:?}: {err}");
    }
}

#[test]
fn junit_has_a_case_a_case_and_seed_and_says_what_failed() {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("junit.xml");
    let file = path.to_str().unwrap();
    let wrong = [
        "run",
        "hotdetach/1",
        "--io-count",
        "quick",
        "--bug",
        "used_len_zero_on_read",
    ];
    let said = plugfest(&[&wrong[..], &["--junit", file]].concat());
    let xml = std::fs::read_to_string(&path).unwrap();
    assert!(xml.contains(r#"name="hotdetach/1 seed 0""#), "{xml}");
    assert!(said.ends_with("exit 1\n"), "{said}");
    assert!(xml.contains("<failure message="), "{xml}");
    assert!(xml.contains("I17"), "the check that is broken: {xml}");
    let said = plugfest(&[
        "run",
        "hotattach/1",
        "--io-count",
        "quick",
        "--junit",
        "/dev/full",
    ]);
    assert!(said.ends_with("exit 2\n"), "{said}");
    assert!(
        said.contains("1 of 1 cases passed"),
        "the report is not lost: {said}"
    );
    assert!(
        said.contains("cannot write /dev/full: No space left"),
        "{said}"
    );
}

#[test]
fn completions_and_the_manual_know_every_command() {
    for text in [plugfest(&["completions", "bash"]), plugfest(&["man"])] {
        for command in [
            "run", "fuzz", "replay", "conform", "serve", "list", "doctor",
        ] {
            assert!(text.contains(command), "{command}");
        }
        assert!(text.ends_with("exit 0\n"));
    }
}
