//! Every recording of a real guest, done over by the model guest; and with each kind of field damaged.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Command;

use sim::conformance::guest::known::KNOWN;
use sim::conformance::guest::log::unabridged;
use sim::conformance::guest::{Texts, Verdict, judge, judge_runs};

const TRACES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/guest_traces");

fn texts(name: &str) -> Texts {
    let read = |end: &str| std::fs::read_to_string(format!("{TRACES}/{name}.{end}")).unwrap();
    Texts {
        steps: read("steps.json"),
        target_log: unabridged(&read("target.log")),
        guest_log: read("guest.log"),
    }
}

fn names() -> Vec<String> {
    let entries = std::fs::read_dir(TRACES).unwrap();
    let files = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = files
        .filter_map(|file| file.strip_suffix(".scenario").map(str::to_owned))
        .collect();
    names.sort();
    names
}

#[track_caller]
fn verdict(name: &str, texts: &Texts) -> Verdict {
    judge(name, texts).unwrap_or_else(|why| panic!("{name}: {why}"))
}

/// What comes of a damaged recording in the run that holds for the whole one.
#[track_caller]
fn damaged_verdict(name: &str, whole: &Texts, texts: &Texts) -> Verdict {
    let seed = verdict(name, whole).seed;
    judge_runs(name, texts, seed..seed + 1).unwrap_or_else(|why| panic!("{name}: {why}"))
}

fn shown(verdict: &Verdict) -> String {
    let lines = verdict.unknown.iter().map(ToString::to_string);
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn the_model_guest_does_what_a_real_one_did_but_for_the_listed_differences() {
    let names = names();
    assert!(names.len() >= 8, "{names:?}");
    let mut used = BTreeSet::new();
    for name in names {
        let verdict = verdict(&name, &texts(&name));
        assert!(verdict.held(), "{name}:\n{}", shown(&verdict));
        for (_, known) in verdict.known {
            used.insert(KNOWN.iter().position(|other| other == known).unwrap());
        }
    }
    let unused = (0..KNOWN.len()).filter(|n| !used.contains(n));
    let unused: Vec<_> = unused.map(|n| &KNOWN[n]).collect();
    assert!(unused.is_empty(), "these differ no more: {unused:#?}");
}

/// The first line with all of `marks`, with `from` made `to`.
fn damaged(text: &str, marks: &[&str], from: &str, to: &str) -> String {
    let is_it = |line: &str| marks.iter().all(|mark| line.contains(mark)) && line.contains(from);
    let at = text.lines().position(is_it);
    let at = at.unwrap_or_else(|| panic!("no line with {marks:?} and {from}"));
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let changed = lines[at].replacen(from, to, 1);
    if changed.is_empty() {
        lines.remove(at);
    } else {
        lines[at] = changed;
    }
    lines.join("\n") + "\n"
}

/// Each kind of field of a target's log: where it stands, what is there, and what it is made.
const TARGET_FIELDS: &[(&[&str], &str, &str)] = &[
    (&["MSG"], "GET_QUEUE_NUM", "SET_OWNER"),
    (&["MSG SET_FEATURES"], "0x140000000", "0x140000001"),
    (&["MSG SET_VRING_NUM"], "2 128", "2 256"),
    (&["MSG SET_VRING_ENABLE"], "0 true", "0 false"),
    (&["MSG GET_VRING_BASE 2"], "-> 268", "-> 269"),
    (&["MSG GET_VRING_BASE 1"], "-> 25", "-> 24"),
    (&["MSG GET_VRING_BASE 1"], "held 0", "held 1"),
    (&["MSG GET_INFLIGHT_FD"], "queues 4", "queues 3"),
    (&["CONTROL"], "detach 0", "detach 1"),
    (&["EVENT"], "ev=0x1 ", "ev=0x2 "),
    (&["EVENT"], "lun=[01, 00", "lun=[01, 01"),
    (&["EVENT"], "reason=0x2", "reason=0x1"),
    (&["EVENT"], "head 3", "head 4"),
    (&[], "EVENT dropped: no avail buffer", "CONTROL stat"),
    (&["tgt 2 lun"], "tgt 2", "tgt 3"),
    (&["cdb 12"], "lun [40, 00]", "lun [00, 00]"),
    (&["cdb 12"], "cdb 120000002400", "cdb 120000002500"),
    (&["cdb 12"], "hdr 51", "hdr 50"),
    (&["cdb 12"], "resp 108", "resp 107"),
    (&["cdb 12"], "in 1x36B", "in 1x37B"),
    (&["cdb 12"], "in 1x36B", "in 2x36B"),
    (&["cdb 35"], "out 0x0B", "out 1x0B"),
    (&["cdb 12"], "-> GOOD", "-> NULL LUN"),
    (&["cdb a3"], "CHECK (5, 20, 0)", "CHECK (5, 24, 0)"),
];

#[test]
fn a_damaged_log_of_a_target_is_noticed_whatever_the_field() {
    let whole = texts("races");
    for (marks, from, to) in TARGET_FIELDS {
        let target_log = damaged(&whole.target_log, marks, from, to);
        let verdict = damaged_verdict(
            "races",
            &whole,
            &Texts {
                target_log,
                ..whole.clone()
            },
        );
        assert!(!verdict.held(), "{marks:?}: {from} made {to}");
    }
}

#[test]
fn a_command_that_is_missing_or_out_of_order_is_noticed() {
    let whole = texts("hang");
    let sync = |line: &&str| line.contains("tgt 0") && line.contains("cdb 35");
    let mut lines: Vec<&str> = whole.target_log.lines().collect();
    let at = lines.iter().position(sync).unwrap();
    let mut less = lines.clone();
    less.remove(at);
    let inquiry = lines
        .iter()
        .rposition(|line| line.contains("cdb 120000002400"))
        .unwrap();
    lines.swap(inquiry, inquiry + 1);
    for lines in [less, lines] {
        let target_log = lines.join("\n");
        let verdict = damaged_verdict(
            "hang",
            &whole,
            &Texts {
                target_log,
                ..whole.clone()
            },
        );
        assert!(!verdict.held());
    }
}

#[test]
fn tries_are_noticed() {
    let whole = texts("resps");
    // Six tries each, one, and three more than one each.
    for (from, to) in [
        ("stat: 61", "stat: 51"),
        ("stat: 47", "stat: 93"),
        ("stat: 2145", "stat: 2144"),
    ] {
        let target_log = damaged(&whole.target_log, &[], from, to);
        let verdict = damaged_verdict(
            "resps",
            &whole,
            &Texts {
                target_log,
                ..whole.clone()
            },
        );
        assert!(!verdict.held(), "{from}");
        assert_eq!(verdict.unknown[0].what, "tries");
    }
}

#[test]
fn a_damaged_console_is_noticed_whatever_the_field() {
    let races: &[(&[&str], &str, &str)] = &[
        (&["disks:"], "0:0:7:0", "0:0:6:0"),
        (&["disks:"], "running", "offline"),
        (&["disks:"], ":32768", ":32767"),
        (&["GUEST"], "=== HARD", "=== SOFT"),
        (&["IOT", "write"], "errno 5 ", "errno 28 "),
        (&["IOT", "write"], "write", "read"),
        (&["IOT", "ret 4096"], "4096", "2048"),
        (&["IOT", "fsync"], "-1 errno 5", "0 errno 0"),
        (&["IOT", "reopen"], "4 errno 0", "-1 errno 2"),
    ];
    let whole = texts("races");
    for (marks, from, to) in races {
        let guest_log = damaged(&whole.guest_log, marks, from, to);
        let verdict = damaged_verdict(
            "races",
            &whole,
            &Texts {
                guest_log,
                ..whole.clone()
            },
        );
        assert!(!verdict.held(), "{marks:?}: {from} made {to}");
        assert!(verdict.unknown[0].guest);
    }
}

#[test]
fn times_addresses_queues_and_names_are_nobodys_business() {
    let mut changed = texts("races");
    let target_log: String = changed
        .target_log
        .replace("] vq3 ", "] vq2 ")
        .replace("desc 0x", "desc 0x1");
    let later = |line: &str| line.replacen("[   9.", "[ 100.", 1);
    changed.target_log = target_log.lines().map(|line| later(line) + "\n").collect();
    changed.guest_log = changed.guest_log.replace("sda", "sdz");
    assert!(verdict("races", &changed).held());
}

#[test]
fn what_is_no_recording_is_told() {
    let whole = texts("hang");
    let bad = [
        Texts {
            steps: "ctl \"".into(),
            ..whole.clone()
        },
        Texts {
            target_log: "nonsense\n".into(),
            ..whole.clone()
        },
        Texts {
            guest_log: String::new(),
            ..whole.clone()
        },
    ];
    for texts in bad {
        assert!(judge("hang", &texts).is_err());
    }
}

fn command(paths: &[PathBuf]) -> (i32, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_plugfest"));
    let said = command.args(["conform", "--guest"]).args(paths).output();
    let mut said = said.unwrap();
    said.stdout.append(&mut said.stderr);
    let status = said.status.code().unwrap();
    (status, String::from_utf8(said.stdout).unwrap())
}

#[test]
fn the_command_says_a_line_a_recording() {
    let of = |name: &str| PathBuf::from(format!("{TRACES}/{name}.scenario"));
    let (status, text) = command(&[of("hang"), of("reboot")]);
    assert_eq!(status, 0, "{text}");
    assert!(text.lines().all(|line| line.starts_with("held ")), "{text}");
    assert_eq!(text.lines().count(), 2);
    let (status, steps) = command(&[PathBuf::from(format!("{TRACES}/hang.steps.json"))]);
    assert_eq!(
        (status, steps),
        (0, text.lines().next().unwrap().to_owned() + "\n")
    );
    let (status, text) = command(&["/nowhere".into()]);
    assert_eq!(status, 2, "{text}");
}

#[test]
fn a_recording_that_is_not_converted_names_what_converts_it() {
    let dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("unconverted");
    std::fs::create_dir_all(&dir).unwrap();
    std::fs::write(dir.join("new.scenario"), "ctl stat\n").unwrap();
    let (status, text) = command(std::slice::from_ref(&dir));
    assert_eq!(status, 2, "{text}");
    let named = format!("cargo xtask guest-trace {}", dir.display());
    assert!(text.contains(&named), "{text}");
}
