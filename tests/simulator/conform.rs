//! Every recording of a real SPDK, played to the model: as SPDK head is, as it should be, and with
//! each kind of observation damaged.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use sim::conformance::conform;
use sim::conformance::differences::{Known, UNDER_HEAD, UNDER_INTENDED};
use sim::conformance::model_peer::ModelPeer;
use sim::conformance::model_target::TargetMaker;
use sim::conformance::report::{FileReport, Outcome, Report};
use sim::{Bug, Bugs};

const TRANSCRIPTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/transcripts");

struct Recording {
    name: String,
    text: String,
}

/// Every transcript, in the order of their names.
fn recordings() -> Vec<Recording> {
    let mut paths: Vec<PathBuf> = std::fs::read_dir(TRANSCRIPTS)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|end| end == "jsonl"))
        .collect();
    paths.sort();
    let read = |path: &PathBuf| Recording {
        name: path.file_name().unwrap().to_string_lossy().into_owned(),
        text: std::fs::read_to_string(path).unwrap(),
    };
    paths.iter().map(read).collect()
}

fn play(recording: &Recording, bugs: Bugs) -> FileReport {
    play_text(&recording.name, &recording.text, bugs)
}

fn play_text(name: &str, text: &str, bugs: Bugs) -> FileReport {
    let mut peer = ModelPeer::new(TargetMaker::new(bugs));
    conform(name, text, &mut peer)
}

fn held(report: &FileReport) -> bool {
    matches!(report.outcome, Outcome::Held)
}

/// Plays everything; the cases that do not hold are exactly those of the list.
#[track_caller]
fn exactly_these_differ(bugs: Bugs, list: &'static [Known]) {
    let files: Vec<FileReport> = recordings().iter().map(|r| play(r, bugs)).collect();
    let listed: BTreeSet<&str> = list.iter().map(|known| known.case).collect();
    assert_eq!(listed.len(), list.len(), "a case is listed twice");
    let differ: BTreeSet<&str> = files
        .iter()
        .filter(|file| !held(file))
        .map(|file| file.case.as_str())
        .collect();
    let report = Report {
        list,
        files: files.clone(),
    };
    assert_eq!(differ, listed, "\n{}", report.text());
    assert!(!report.any_broke(), "{}", report.text());
}

#[test]
fn all_recordings_are_here() {
    let count = recordings().len();
    assert!(count >= 152, "{count}");
}

#[test]
fn the_model_of_head_answers_as_recorded_but_for_the_listed_differences() {
    exactly_these_differ(Bugs::head(), UNDER_HEAD);
}

#[test]
fn the_intended_target_differs_exactly_where_head_is_wrong() {
    exactly_these_differ(Bugs::INTENDED, UNDER_INTENDED);
    for known in UNDER_INTENDED {
        assert!(!known.shows.is_empty(), "{}: shows nothing", known.case);
        assert!(!known.why.is_empty(), "{}: no reason", known.case);
    }
}

/// The list does not only name cases: with just the listed bugs the recording holds, and
/// without any one of them it does not.
#[test]
fn each_listed_bug_is_what_its_recording_shows() {
    let with = |shows: &[Bug]| {
        let all = shows.iter();
        all.fold(Bugs::INTENDED, |all, one| all.with(*one))
    };
    let recordings = recordings();
    assert!(!UNDER_INTENDED.is_empty(), "head is not without fault");
    for known in UNDER_INTENDED {
        let name = format!("{}.jsonl", known.case);
        let recording = recordings.iter().find(|r| r.name == name).unwrap();
        let enough = with(known.shows);
        let report = play(recording, enough);
        assert!(held(&report), "{}: {:#?}", known.case, report.outcome);
        for one in known.shows {
            let less = enough.without(*one);
            let id = one.id();
            assert!(!held(&play(recording, less)), "{}: {id}", known.case);
        }
    }
}

#[test]
fn a_verdict_does_not_depend_on_what_was_played_before() {
    let recordings = recordings();
    let judge = |recording| format!("{:?}", play(recording, Bugs::INTENDED).outcome);
    let forward: Vec<String> = recordings.iter().map(judge).collect();
    let mut backward: Vec<String> = recordings.iter().rev().map(judge).collect();
    backward.reverse();
    assert_eq!(forward, backward);
}

/// Every field of every kind of observation, with the files and lines where it stands.
fn fields(recordings: &[Recording]) -> BTreeMap<String, Vec<(usize, usize, String)>> {
    fn walk(name: &str, path: &str, value: &Value, found: &mut Vec<(String, String)>) {
        match value {
            Value::Object(members) if !members.is_empty() => {
                for (member, value) in members {
                    walk(
                        &format!("{name}.{member}"),
                        &format!("{path}/{member}"),
                        value,
                        found,
                    );
                }
            }
            Value::Array(elements) if !elements.is_empty() => {
                for (n, value) in elements.iter().enumerate() {
                    walk(&format!("{name}[]"), &format!("{path}/{n}"), value, found);
                }
            }
            _ => found.push((name.to_owned(), path.to_owned())),
        }
    }
    let mut fields: BTreeMap<String, Vec<_>> = BTreeMap::new();
    for (n, recording) in recordings.iter().enumerate() {
        for (line, text) in recording.text.lines().enumerate() {
            let record: Value = serde_json::from_str(text).unwrap();
            let Some(see) = record.get("see") else {
                continue;
            };
            let mut found = Vec::new();
            walk("see", "/see", see, &mut found);
            for (name, path) in found {
                fields.entry(name).or_default().push((n, line, path));
            }
        }
    }
    fields
}

/// Another value of the same kind.
fn damaged(value: &Value) -> Value {
    match value {
        Value::Null => Value::from(0),
        Value::Bool(truth) => Value::from(!truth),
        Value::Number(number) => match number.as_i64() {
            Some(number) => Value::from(number + 1),
            None => Value::from(0),
        },
        Value::String(text) => Value::from(format!("{text}0")),
        Value::Array(_) => Value::from(vec![0]),
        Value::Object(_) => Value::from("not an object"),
    }
}

/// A recording with the leaf at `path` of a line damaged.
fn with_damage(text: &str, line: usize, path: &str) -> String {
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let mut record: Value = serde_json::from_str(&lines[line]).unwrap();
    let leaf = record.pointer_mut(path).unwrap();
    *leaf = damaged(leaf);
    lines[line] = record.to_string();
    lines.join("\n")
}

/// For each field, in the first and the last recording that holds and has it: damaged, it no
/// longer holds. A field that no recording on the list's good side has would be compared by nobody.
#[test]
fn a_damaged_field_of_any_kind_of_observation_is_found() {
    let head = Bugs::head();
    let recordings = recordings();
    let holds: Vec<bool> = recordings.iter().map(|r| held(&play(r, head))).collect();
    let mut never = Vec::new();
    for (field, places) in fields(&recordings) {
        let mut places = places.iter().filter(|(n, ..)| holds[*n]);
        let Some(first) = places.next() else {
            never.push(field);
            continue;
        };
        let last = places.next_back().unwrap_or(first);
        for (n, line, path) in [first, last] {
            let recording = &recordings[*n];
            let text = with_damage(&recording.text, *line, path);
            let report = play_text(&recording.name, &text, head);
            let at = line + 1;
            assert!(!held(&report), "{field}: {}:{at} {path}", recording.name);
        }
    }
    assert!(never.is_empty(), "no recording that holds has {never:?}");
}

fn command(arguments: &[&str]) -> (i32, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_plugfest"));
    let mut said = command.arg("conform").args(arguments).output().unwrap();
    said.stdout.append(&mut said.stderr);
    let exit = said.status.code().unwrap();
    (exit, String::from_utf8(said.stdout).unwrap())
}

#[test]
fn the_command_exits_with_0_only_if_every_file_held() {
    let good = format!("{TRANSCRIPTS}/T-C01-attach-event.jsonl");
    let (exit, text) = command(&[&good]);
    assert_eq!(exit, 0, "{text}");

    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("conform");
    std::fs::create_dir_all(&directory).unwrap();
    let wrong = directory.join("wrong.jsonl");
    let damaged = std::fs::read_to_string(&good)
        .unwrap()
        .replace("RESCAN", "REMOVED");
    std::fs::write(&wrong, damaged).unwrap();
    let wrong = wrong.to_str().unwrap();
    let (exit, text) = command(&[&good, wrong]);
    assert_eq!(exit, 1, "{text}");
    assert!(
        text.contains("event.reason: expected \"REMOVED\", got \"RESCAN\""),
        "{text}"
    );
    assert!(text.contains("slots     controller 0 target 0"), "{text}");

    let (exit, text) = command(&["--format", "json", &good, wrong]);
    assert_eq!(exit, 1);
    let verdicts: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["verdict"].clone())
        .collect();
    assert_eq!(verdicts, ["held", "mismatch"]);
}

#[test]
fn what_is_no_transcript_is_an_error_and_the_others_are_still_judged() {
    let good = format!("{TRANSCRIPTS}/T-C01-attach-event.jsonl");
    let readme = format!("{TRANSCRIPTS}/README.md");
    let (exit, text) = command(&["/nonexistent.jsonl", &readme, &good]);
    assert_eq!(exit, 2);
    assert!(text.contains("/nonexistent.jsonl: "), "{text}");
    assert!(
        text.contains("README.md:1: it is no transcript: "),
        "{text}"
    );
    assert!(text.contains("C          1   1"), "{text}");
}
