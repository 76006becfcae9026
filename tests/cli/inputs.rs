//! Files that people name, and that are not what they should be: one clear error each, and at once.

use std::path::{Path, PathBuf};
use std::process::Command;

const TRANSCRIPTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/transcripts");

/// Runs `plugfest`, for some seconds at most: its exit status, output and errors.
fn plugfest(arguments: &[&str]) -> (Option<i32>, String, String) {
    let said = Command::new("timeout")
        .args(["-s", "KILL", "20", env!("CARGO_BIN_EXE_plugfest")])
        .args(arguments)
        .output()
        .unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (said.status.code(), text(said.stdout), text(said.stderr))
}

/// An empty directory.
fn directory(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = std::fs::remove_dir_all(&path);
    std::fs::create_dir_all(&path).unwrap();
    path
}

/// A pipe into which nobody writes, and a directory, both called `name`.
fn irregular(name: &str) -> [(String, &'static str); 2] {
    let place = directory("inputs").join(name);
    let (pipe, dir) = (place.join("pipe"), place.join("dir"));
    std::fs::create_dir_all(&dir).unwrap();
    std::fs::create_dir_all(&pipe).unwrap();
    let (pipe, dir) = (pipe.join(name), dir.join(name));
    let made = Command::new("mkfifo").arg(&pipe).status().unwrap();
    assert!(made.success());
    std::fs::create_dir(&dir).unwrap();
    let text = |path: PathBuf| path.to_str().unwrap().to_owned();
    [(text(pipe), "a pipe"), (text(dir), "a directory")]
}

#[test]
fn what_is_no_regular_file_is_refused_at_once() {
    let readers: [(&[&str], &str, &str); 4] = [
        (&["run"], "plan.kdl", "a plan"),
        (
            &["run", "hotattach/1", "--job"],
            "job.fio",
            "a fio job file",
        ),
        (
            &["replay"],
            "repro.json",
            "what `fuzz` or `run --repro` wrote",
        ),
        (&["conform"], "T-C01.jsonl", "a transcript (.jsonl)"),
    ];
    for (command, name, expected) in readers {
        for (path, kind) in irregular(name) {
            // A directory stands for the transcripts in it.
            if command == ["conform"] && kind == "a directory" {
                continue;
            }
            let (exit, out, err) = plugfest(&[command, &[&path]].concat());
            assert_eq!(exit, Some(2), "{path}: {out}{err}");
            let said = format!("{path}: it is {kind}\n  = expected {expected}, a regular file\n");
            assert!(err.starts_with("plugfest: "), "{err}");
            assert!(err.ends_with(&said), "{err}");
            assert_eq!(out, "");
        }
        if command != ["run"] {
            let (exit, _, err) = plugfest(&[command, &["/dev/zero"]].concat());
            assert_eq!(exit, Some(2), "{err}");
            assert!(err.contains("/dev/zero: it is a device\n"), "{err}");
        }
    }
    // Recordings of guests are three files, and a pipe may stand among transcripts.
    let (pipe, _) = &irregular("a.steps.json")[0];
    let (exit, _, err) = plugfest(&["conform", "--guest", pipe]);
    assert_eq!(exit, Some(2), "{err}");
    assert!(err.contains(&format!("{pipe}: it is a pipe\n")), "{err}");
    let (pipe, _) = &irregular("a.jsonl")[0];
    let place = Path::new(pipe).parent().unwrap().to_str().unwrap();
    let (exit, _, err) = plugfest(&["conform", place]);
    assert_eq!(exit, Some(2), "{err}");
    assert!(err.contains(&format!("{pipe}: it is a pipe\n")), "{err}");
}

#[test]
fn more_controllers_than_the_model_target_has_are_no_fault_of_the_target() {
    let controllers: Vec<String> = (1..=17).map(|n: u8| n.to_string()).collect();
    let plan = format!(
        r#"plan "many" {{
  about "A guest with many controllers."
  controllers 17
  disks 1 from="any"
  vm 1 controllers="{}"
  job "default_integrity"
  case "1" "Attach" {{
    attach disk=1 controller=17
  }}
}}
"#,
        controllers.join(" ")
    );
    let path = directory("inputs-many").join("many.kdl");
    std::fs::write(&path, plan).unwrap();
    let (exit, out, err) = plugfest(&["run", path.to_str().unwrap()]);
    assert_eq!(exit, Some(2), "{out}{err}");
    let expected = "the plan has 17 controllers; the model target has at most 16";
    assert!(err.contains(expected), "{err}");
}

#[test]
fn what_is_no_transcript_is_one_error_and_no_table() {
    let empty = directory("inputs-empty");
    let empty = empty.to_str().unwrap();
    let readme = format!("{TRANSCRIPTS}/README.md");
    let begins = r#"a recording of a target, whose first line is {"case":…,"#;
    for (arguments, place, expected) in [
        (&["conform", empty][..], empty, ".jsonl files in it"),
        (&["conform", &readme], &readme, begins),
        (
            &["conform", "/nowhere.jsonl"],
            "/nowhere.jsonl: No such file or directory",
            "a transcript (.jsonl)",
        ),
        (
            &["conform", "--guest", empty],
            empty,
            "NAME.steps.json files, ",
        ),
        (
            &["conform", "--guest", &readme],
            &readme,
            "NAME.steps.json files, ",
        ),
    ] {
        let (exit, out, err) = plugfest(arguments);
        assert_eq!(exit, Some(2), "{out}{err}");
        assert_eq!(out, "", "{arguments:?}");
        assert!(err.starts_with(&format!("plugfest: {place}")), "{err}");
        let lines: Vec<&str> = err.lines().collect();
        assert_eq!(lines.len(), 2, "{err}");
        let begins = format!("  = expected {expected}");
        assert!(lines[1].starts_with(&begins), "{err}");
    }
}

#[test]
fn the_table_of_transcripts_counts_transcripts_only() {
    let good = format!("{TRANSCRIPTS}/T-C01-attach-event.jsonl");
    let readme = format!("{TRANSCRIPTS}/README.md");
    let (exit, out, err) = plugfest(&["conform", &readme, &good]);
    assert_eq!(exit, Some(2), "{out}{err}");
    assert!(!out.contains('?'), "{out}");
    assert!(out.contains("all        1   1\n"), "{out}");
    assert!(err.contains("README.md:1: it is no transcript: "), "{err}");
    let (exit, out, err) = plugfest(&["conform", "--format", "json", &readme, &good]);
    assert_eq!((exit, err.as_str()), (Some(2), ""));
    let verdicts = out.lines().map(|line| {
        let file: serde_json::Value = serde_json::from_str(line).unwrap();
        file["verdict"].as_str().unwrap().to_owned()
    });
    assert_eq!(verdicts.collect::<Vec<_>>(), ["broke", "held"], "{out}");
}
