//! The rules of the design that no compiler checks, read off the sources: how long a file may
//! be, what it begins with, where `unsafe` is forbidden.

use std::fs;
use std::path::{Path, PathBuf};

/// Lines of a file at most.
const LINES_MAX: usize = 500;
/// Where our sources are.
const SOURCES: [&str; 8] = [
    "benches",
    "fio_model",
    "real",
    "scenarios",
    "sim",
    "src",
    "tests",
    "xtask",
];
/// Crates in which `unsafe` is forbidden, by their root.
const SAFE: [&str; 12] = [
    "fio_model/src/lib.rs",
    "scenarios/src/lib.rs",
    "sim/conformance/src/lib.rs",
    "sim/linux/src/lib.rs",
    "sim/spdk/src/lib.rs",
    "sim/src/lib.rs",
    "sim/testkit/src/lib.rs",
    "sim/wire/src/lib.rs",
    "sim/world/src/lib.rs",
    "src/bin/plugfest/main.rs",
    "src/lib.rs",
    "xtask/src/main.rs",
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The Rust files below a directory, with their text, in the order of their paths.
fn sources(dir: &str) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut dirs = vec![root().join(dir)];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(&dir).expect("a directory of the workspace") {
            let path = entry.expect("an entry of it").path();
            if path.is_dir() {
                dirs.push(path);
            } else if path.extension().is_some_and(|ext| ext == "rs") {
                let text = fs::read_to_string(&path).expect("a source file is text");
                found.push((path, text));
            }
        }
    }
    found.sort();
    assert!(!found.is_empty(), "no sources in {dir}");
    found
}

fn all() -> impl Iterator<Item = (PathBuf, String)> {
    SOURCES.into_iter().flat_map(sources)
}

#[test]
fn a_file_is_short_and_says_what_it_is() {
    let mut wrong = Vec::new();
    for (path, text) in all() {
        let lines = text.lines().count();
        if lines > LINES_MAX {
            wrong.push(format!("{}: {lines} lines", path.display()));
        }
        if !text.starts_with("//!") {
            wrong.push(format!("{}: no word on what it is", path.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn unsafe_is_forbidden_but_where_the_machine_is() {
    for path in SAFE {
        let text = fs::read_to_string(root().join(path)).expect("the root of a crate");
        let forbids = text.lines().any(|line| line == "#![forbid(unsafe_code)]");
        assert!(forbids, "{path}");
    }
}

#[test]
fn every_path_that_a_document_names_exists() {
    let mut wrong = Vec::new();
    for document in [
        "ARCHITECTURE.md",
        "README.md",
        "docs/jobs.md",
        "docs/plans.md",
    ] {
        let text = fs::read_to_string(root().join(document)).expect("a document");
        // What stands between two backticks, if it begins with one of our folders.
        for named in text.split('`').skip(1).step_by(2) {
            let ours = SOURCES.iter().any(|dir| {
                let rest = named.strip_prefix(dir);
                rest.is_some_and(|rest| rest.starts_with('/'))
            });
            if ours && !named.contains(['*', ' ']) && !root().join(named).exists() {
                wrong.push(format!("{document}: {named}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
