//! `git bisect run` with the wrapper of the documents: commits of which nothing can be said are skipped.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Whatever is done in each commit of a small repository: two that are right, one whose arguments are wrong, one that
/// ends before anything can be said, and two that are wrong.
const COMMITS: [(&str, &str); 6] = [
    ("right", "fuzz --scenarios 2 --workers 1"),
    ("right still", "fuzz --scenarios 2 --workers 1 --seed 7"),
    ("does not build", "fuzz --scenarios nothing"),
    (
        "cannot be trusted",
        "fuzz --scenarios 2 --workers 1 --canary name_truncated",
    ),
    (
        "wrong",
        "fuzz --scenarios 8 --workers 1 --bug answered_twice",
    ),
    (
        "wrong still",
        "fuzz --scenarios 9 --workers 1 --bug answered_twice",
    ),
];

/// An empty directory of this test.
fn directory(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    // It is there if the test ran before.
    let _ = std::fs::remove_dir_all(&path);
    std::fs::create_dir_all(&path).expect("a place for files");
    path
}

fn git(at: &Path, arguments: &[&str]) -> String {
    let output = Command::new("git")
        .current_dir(at)
        .args([
            "-c",
            "user.name=a",
            "-c",
            "user.email=a@b",
            "-c",
            "commit.gpgsign=false",
        ])
        .args(arguments)
        .output()
        .expect("git is there");
    let (out, err) = (output.stdout, output.stderr);
    let said = String::from_utf8_lossy(&out) + String::from_utf8_lossy(&err);
    assert!(output.status.success(), "git {arguments:?}: {said}");
    said.into_owned()
}

#[test]
fn a_commit_of_which_nothing_can_be_said_is_skipped() {
    let at = directory("bisect");
    git(&at, &["init", "--quiet"]);
    for (subject, arguments) in COMMITS {
        std::fs::write(at.join("arguments"), arguments).expect("there is room");
        git(&at, &["add", "arguments"]);
        git(&at, &["commit", "--quiet", "-m", subject]);
    }
    git(&at, &["bisect", "start", "HEAD", "HEAD~5"]);
    let wrapper = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/bisect.sh");
    let plugfest = env!("CARGO_BIN_EXE_plugfest");
    // What is skipped may be the first that is wrong, so git names all of them, and fails.
    let said = Command::new("git")
        .current_dir(&at)
        .args(["bisect", "run", "sh", wrapper, "sh", "-c"])
        .arg(format!("exec {plugfest} $(cat arguments)"))
        .output()
        .expect("git is there");
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    let log = git(&at, &["log", "--format=%H %s", "--all"]);
    let hash = |subject: &str| {
        let line = log
            .lines()
            .find(|line| line.ends_with(&format!(" {subject}")));
        let line = line.unwrap_or_else(|| panic!("{subject}: {log}"));
        line.split(' ').next().unwrap_or_default().to_owned()
    };
    for subject in ["does not build", "cannot be trusted", "wrong"] {
        assert!(said.contains(&hash(subject)), "{subject}: {said}");
    }
    for subject in ["right still", "wrong still"] {
        let named = format!("{}\n", hash(subject));
        assert!(!said.contains(&named), "{subject}: {said}");
    }
}
