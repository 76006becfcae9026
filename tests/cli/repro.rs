//! A repro does it again, in another process too; one that is damaged says how.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use plugfest::repro::{Repro, What};
use plugfest::story::{StoryOptions, drawn};
use plugfest::{RunOptions, Schedule, Volume};
use sim::{Bug, Bugs};

fn plugfest(arguments: &[&str]) -> Output {
    let program = env!("CARGO_BIN_EXE_plugfest");
    Command::new(program)
        .args(arguments)
        .output()
        .expect("it runs")
}

fn said(output: &Output) -> String {
    let all = [&output.stdout[..], &output.stderr[..]].concat();
    String::from_utf8(all).expect("text")
}

fn directory(test: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(test);
    std::fs::create_dir_all(&path).expect("a place for files");
    path
}

/// A story that breaks a check, as a repro.
fn failing() -> Repro {
    let wrong = |seed| StoryOptions {
        bugs: Bugs::INTENDED.with(Bug::EarlyFinish),
        ..StoryOptions::intended(seed)
    };
    let repros = (0..2_000).map(|seed| Repro::of_story(&drawn(seed), wrong(seed)));
    let mut repros = repros.map(|repro| repro.expect("the simulator does it"));
    let failing = repros.find(|repro| !repro.findings.is_empty());
    failing.expect("S1 shows within 2000 stories")
}

#[test]
fn a_story_fails_the_same_way_in_another_process() {
    let repro = failing();
    let path = directory("repro-story").join("failing.json");
    std::fs::write(&path, repro.text()).expect("written");
    let output = plugfest(&["replay", path.to_str().expect("a path")]);
    let said = said(&output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    let hash = format!("the same run: trace hash {:016x}", repro.ending.trace_hash);
    assert!(said.contains(&hash), "{said}");
    assert!(said.contains(&repro.findings[0].seen), "{said}");
}

#[test]
fn fuzz_finds_shrinks_and_writes_what_replay_reads() {
    let path = directory("repro-fuzz").join("found.json");
    let file = path.to_str().expect("a path");
    let wrong = ["fuzz", "--bug", "remove_while_adding", "--repro", file];
    let output = plugfest(&wrong);
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    let text = std::fs::read_to_string(&path).expect("a repro");
    let repro = Repro::parse(&text).expect("a repro");
    let What::Story(story) = &repro.what else {
        panic!("a story");
    };
    assert!(story.beats.len() <= 4, "{story:#?}");
    assert_eq!(plugfest(&["replay", file]).status.code(), Some(1));
    let right = plugfest(&["fuzz", "--stories", "50"]);
    assert_eq!(right.status.code(), Some(0), "{}", said(&right));
}

#[test]
fn a_plan_goes_the_same_way_again() {
    let text = include_str!("../../scenarios/plans/hotattach.kdl");
    let plan = plugfest::parse("hotattach.kdl", text).expect("it ships");
    let options = RunOptions {
        seed: 3,
        volume: Volume::Quick,
        schedule: Schedule::Random,
        ..RunOptions::default()
    };
    let report = plugfest::run(&plan, &options).expect("it runs");
    let repro = Repro::of_run(&plan, &options).expect("it runs");
    assert_eq!(repro.ending, report.ending, "recording changes nothing");
    let repro = Repro::parse(&repro.text()).expect("what was written is read");
    let again = repro.replay().expect("it runs");
    assert_eq!((again.ending, again.strayed), (report.ending, None));
}

#[test]
fn a_damaged_repro_says_what_is_wrong() {
    let text = failing().text();
    let parse = |text: &str| Repro::parse(text).expect_err("damaged").to_string();
    let cut = parse(&text[..text.len() / 2]);
    assert!(
        cut.contains("it is cut off") && cut.contains("line"),
        "{cut}"
    );
    for cut in [1, 2, 3, 10].map(|less| parse(&text[..text.len() - less])) {
        assert!(cut.contains("it is cut off"), "{cut}");
    }
    let more = parse(&text.replacen('{', "{ \"note\": 1,", 1));
    assert!(more.contains("\"note\" at its top"), "{more}");
    let edited = parse(&text.replace("\"seed\": ", "\"seed\": 1"));
    assert!(edited.contains("changed since it was written"), "{edited}");
    let schema = |number: u8| {
        let [old, new] = [2, number].map(|number| format!("\"plugfest_repro\": {number}"));
        assert!(text.contains(&old));
        parse(&text.replace(&old, &new))
    };
    assert!(schema(1).contains("older than this program"));
    let newer = schema(3);
    assert!(newer.contains("schema 3 is newer"), "{newer}");
    assert!(parse("{}\n").contains("expected \"plugfest_repro\""));
    assert!(parse("[1, 2").contains("line 1 column"));
    let output = plugfest(&["replay", "/nonexistent.json"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(said(&output).contains("/nonexistent.json: "));
}

#[test]
fn choices_that_cannot_be_followed_are_not_the_same_run() {
    let mut repro = failing();
    repro.choices = format!("127*3 {}", repro.choices);
    let again = repro.replay().expect("it runs");
    assert_eq!(again.strayed, Some(0), "actor 127 does not exist");
    let path = directory("repro-strayed").join("strayed.json");
    std::fs::write(&path, repro.text()).expect("written");
    let output = plugfest(&["replay", path.to_str().expect("a path")]);
    assert_eq!(output.status.code(), Some(3), "{}", said(&output));
    assert!(said(&output).contains("not the same run"));
}
