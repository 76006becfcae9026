//! What the simulator answered, kept as text: hashes of runs, and what comes of each recording.
//!
//! A change that is meant to change nothing may move none of these lines. The command line is asked, not
//! the library, so that they stand while everything behind it is laid out anew.
//!
//! After a deliberate change, write them anew, look at what moved, and say why in the commit:
//!
//! ```text
//! cargo build --release
//! GOLDEN=write PLUGFEST=target/release/plugfest cargo test --test simulator -- --include-ignored golden::
//! ```
//!
//! `PLUGFEST` names the program that is asked (this package's own, built like the test, if it is not set).

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
/// Every plan that ships.
const PLANS: [&str; 4] = ["hotattach", "hotdetach", "hotplug", "hotremove"];
const SCHEDULES: [&str; 2] = ["timed", "random"];
const BEHAVIOURS: [&str; 2] = ["head", "intended"];

/// Where the text of that name is kept.
fn path(name: &str) -> PathBuf {
    Path::new(ROOT).join("tests/golden").join(name)
}

/// A variable of the environment: who writes the golden texts is no run.
#[expect(clippy::disallowed_methods)]
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// What the program prints. It says with its status that something failed, which is no error here.
fn ask(args: &[&str]) -> String {
    let own = || env!("CARGO_BIN_EXE_plugfest").to_owned();
    let program = variable("PLUGFEST").unwrap_or_else(own);
    let output = Command::new(&program).args(args).current_dir(ROOT).output();
    let output = output.unwrap_or_else(|why| panic!("{program}: {why}"));
    let said = String::from_utf8_lossy(&output.stderr);
    let is_judged = matches!(output.status.code(), Some(0 | 1 | 3));
    assert!(is_judged, "{program} {args:?}: {}\n{said}", output.status);
    String::from_utf8(output.stdout).expect("a report is text")
}

/// The objects of a report, a line each.
fn objects(report: &str) -> impl Iterator<Item = Value> {
    let lines = report.lines();
    lines.map(|line| serde_json::from_str(line).unwrap_or_else(|why| panic!("{line}: {why}")))
}

/// A member that is a word or a number, as text.
fn word(object: &Value, member: &str) -> String {
    match &object[member] {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        other => panic!("{member} is {other} in {object}"),
    }
}

/// What is kept of a plan with one seed: the hashes and turns after its last case, and over all cases
/// their verdicts and how many observations the checks looked at.
#[derive(Default)]
struct Kept {
    trace: String,
    order: String,
    turns: String,
    verdicts: String,
    looked: u64,
}

impl Kept {
    fn take(&mut self, case: &Value) {
        self.trace = word(case, "trace_hash");
        self.order = word(case, "order_hash");
        self.turns = word(case, "turns");
        let verdict = word(case, "verdict");
        self.verdicts.push_str(&verdict[..1]);
        let checks = case["checks"].as_object().expect("a case has checks");
        let looked = checks.values().map(|check| check["observations"].as_u64());
        self.looked += looked.map(|n| n.expect("a count")).sum::<u64>();
    }
}

/// The lines of all plans, schedules and behaviours, in that order, with these seeds.
fn runs(io_count: &str, seeds: u64) -> String {
    let mut kept: BTreeMap<(usize, usize, usize, u64), Kept> = BTreeMap::new();
    let range = format!("0..{seeds}");
    for (s, schedule) in SCHEDULES.iter().enumerate() {
        for (b, behaviour) in BEHAVIOURS.iter().enumerate() {
            let options = [
                "--seeds",
                &range,
                "--workers",
                "2",
                "--io-count",
                io_count,
                "--schedule",
                schedule,
                "--target-behaviour",
                behaviour,
                "--format",
                "json",
            ];
            let report = ask(&[&["run"], &PLANS[..], &options].concat());
            for case in objects(&report) {
                let plan = word(&case, "plan");
                let plan = PLANS.iter().position(|name| *name == plan);
                let seed = case["seed"].as_u64().expect("a seed is a number");
                let key = (plan.expect("a plan of ours"), s, b, seed);
                kept.entry(key).or_default().take(&case);
            }
        }
    }
    let mut text =
        String::from("# plan schedule behaviour seed trace order turns verdicts looked\n");
    for ((plan, s, b, seed), kept) in kept {
        let Kept {
            trace,
            order,
            turns,
            verdicts,
            looked,
        } = kept;
        let (plan, schedule, behaviour) = (PLANS[plan], SCHEDULES[s], BEHAVIOURS[b]);
        let line = format!(
            "{plan} {schedule} {behaviour} {seed} {trace} {order} {turns} {verdicts} {looked}"
        );
        writeln!(text, "{line}").expect("a string takes everything");
    }
    text
}

/// The first line that differs, in words.
fn first_difference(kept: &str, now: &str) -> Option<String> {
    let mut pairs = (kept.lines().map(Some).chain([None])).zip(now.lines().map(Some).chain([None]));
    let (kept, now) = pairs.find(|(kept, now)| kept != now)?;
    let [kept, now] = [kept, now].map(|line| line.unwrap_or("no line"));
    Some(format!("kept: {kept}\nnow:  {now}"))
}

/// Compares with those lines of what is kept that `part` takes.
#[track_caller]
fn compare(name: &str, now: &str, part: impl Fn(&str) -> bool) {
    let path = path(name);
    let kept = std::fs::read_to_string(&path).expect("the golden text");
    let kept: String = kept
        .lines()
        .filter(|line| part(line))
        .fold(String::new(), |text, line| text + line + "\n");
    if let Some(difference) = first_difference(&kept, now) {
        panic!("{} is kept otherwise:\n{difference}", path.display());
    }
}

/// The same with all of it; or writes it anew, if the environment says so.
#[track_caller]
fn golden(name: &str, now: &str) {
    if variable("GOLDEN").as_deref() == Some("write") {
        std::fs::write(path(name), now).expect("tests/golden can be written");
    }
    compare(name, now, |_| true);
}

/// Whether it is the line of a seed below that, or the head of all lines.
fn is_below(line: &str, seeds: u64) -> bool {
    let seed = line.split(' ').nth(3).expect("a seed stands fourth");
    seed.parse().is_ok_and(|seed: u64| seed < seeds) || line.starts_with('#')
}

#[test]
fn runs_of_a_few_seeds_are_as_they_were() {
    // Written with all the others, below.
    if variable("GOLDEN").is_none() {
        compare("quick.txt", &runs("quick", 5), |line| is_below(line, 5));
    }
}

#[test]
#[ignore = "needs a release build"]
fn runs_of_many_seeds_are_as_they_were() {
    golden("quick.txt", &runs("quick", 100));
}

#[test]
#[ignore = "needs a release build"]
fn runs_at_the_default_volume_are_as_they_were() {
    golden("default.txt", &runs("default", 2));
}

#[test]
fn what_comes_of_each_recording_of_a_target_is_as_it_was() {
    let mut text = String::from("# behaviour case verdict line deviations\n");
    for behaviour in BEHAVIOURS {
        let args = ["conform", "tests/transcripts", "--format", "json"];
        let report = ask(&[&args[..], &["--target-behaviour", behaviour]].concat());
        for file in objects(&report) {
            let (case, verdict) = (word(&file, "case"), word(&file, "verdict"));
            let line = file["line"].as_u64().unwrap_or_default();
            let shows = file["deviations"].as_array().into_iter().flatten();
            let shows: Vec<&str> = shows.filter_map(Value::as_str).collect();
            let shows = shows.join(",");
            let line = format!("{behaviour} {case} {verdict} {line} {shows}");
            writeln!(text, "{}", line.trim_end()).expect("a string takes everything");
        }
    }
    golden("conform.txt", &text);
}

#[test]
fn what_comes_of_each_recording_of_a_guest_is_as_it_was() {
    let mut text = String::from("# verdict recording seed listed\n");
    for line in ask(&["conform", "--guest", "tests/guest_traces"]).lines() {
        let (what, counts) = line.split_once(':').expect("a recording's line");
        let is_number = |word: &&str| word.parse::<u64>().is_ok();
        let counts: Vec<&str> = counts.split([' ', ',']).filter(is_number).collect();
        writeln!(text, "{what} {}", counts.join(" ")).expect("a string takes everything");
    }
    golden("guest.txt", &text);
}

#[test]
fn the_first_line_that_moved_is_named() {
    let kept = "a\nb 1\nc 1\n";
    assert_eq!(first_difference(kept, kept), None);
    let moved = first_difference(kept, "a\nb 2\nc 2\n").expect("two lines differ");
    assert_eq!(moved, "kept: b 1\nnow:  b 2");
    let less = first_difference(kept, "a\nb 1\n").expect("one is missing");
    assert_eq!(less, "kept: c 1\nnow:  no line");
    let more = first_difference("a\n", kept).expect("there is more");
    assert_eq!(more, "kept: no line\nnow:  b 1");
}

/// One draw more than there should be, in the middle of a run: the hash that is kept is another.
#[test]
fn one_draw_more_is_another_hash() {
    let run = |more: &[&str]| {
        let args = [
            "run",
            "hotattach",
            "--io-count",
            "quick",
            "--format",
            "json",
        ];
        let mut kept = Kept::default();
        objects(&ask(&[&args[..], more].concat())).for_each(|case| kept.take(&case));
        kept
    };
    let disturbed = run(&["--seed", "3", "--disturb-at", "500"]);
    let whole = run(&["--seed", "3"]);
    let text = std::fs::read_to_string(path("quick.txt")).expect("the golden text");
    let line = text
        .lines()
        .find(|line| line.starts_with("hotattach timed head 3 "));
    let line = line.expect("it is kept");
    assert!(line.contains(&whole.trace), "{line}: {}", whole.trace);
    assert!(!line.contains(&disturbed.trace), "{line}");
}
