//! The rules of the design that no compiler checks, read off the sources: who may know whom, how long a
//! file may be, what it begins with, where `unsafe` is forbidden.

use std::fs;
use std::path::{Path, PathBuf};

/// Lines of a file at most.
const LINES_MAX: usize = 500;
/// Where our sources are.
const SOURCES: [&str; 7] = [
    "benches",
    "fio_model",
    "real",
    "scenarios",
    "sim",
    "src",
    "tests",
];
/// Crates in which `unsafe` is forbidden, by their root.
const SAFE: [&str; 5] = [
    "fio_model/src/lib.rs",
    "scenarios/src/lib.rs",
    "sim/src/lib.rs",
    "src/lib.rs",
    "src/main.rs",
];
/// Each module, and the modules that it may not know.
const STRANGERS: [(&str, &[&str]); 2] = [
    ("sim/src/target", &["guest", "world"]),
    ("sim/src/guest", &["target", "world"]),
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

/// The code of a file: without comments and strings, as far as a path could hide there.
fn code(text: &str) -> String {
    let lines = text.lines().map(|line| {
        let line = line.split("//").next().unwrap_or_default();
        let parts = line.split('"').step_by(2);
        parts.collect::<Vec<_>>().join("\"\"")
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// Whether `text` names a module: as part of a path, or anywhere in a `use`.
fn names(text: &str, module: &str) -> bool {
    let code = code(text);
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    code.match_indices(module).any(|(at, _)| {
        let (before, after) = (&code[..at], &code[at + module.len()..]);
        if before.ends_with(is_word) || after.starts_with(is_word) {
            return false;
        }
        let item = before.rsplit(';').next().unwrap_or_default();
        let imports = item.rsplit_once("use ").is_some_and(|(_, path)| {
            path.chars()
                .all(|c| is_word(c) || c.is_whitespace() || "{}:,*".contains(c))
        });
        imports || before.ends_with("::") || after.starts_with("::")
    })
}

#[test]
fn target_and_guest_know_neither_each_other_nor_the_world() {
    let mut wrong = Vec::new();
    for (dir, strangers) in STRANGERS {
        for (path, text) in sources(dir) {
            let known = strangers.iter().filter(|module| names(&text, module));
            wrong.extend(known.map(|module| format!("{} knows {module}", path.display())));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_path_to_a_module_is_found_wherever_it_stands() {
    for text in [
        "use crate::world::World;",
        "use super::super::world;",
        "fn f() {}\nuse crate::{dice::Dice, world};",
        "fn f() {}\nuse crate::{\n    dice::Dice,\n    world::Step,\n};",
        "let step: crate::world::Step = last;",
        "pub use super::world as there;",
    ] {
        assert!(names(text, "world"), "{text}");
    }
    for text in [
        "// use crate::world::World;",
        "let world = 1;",
        "use crate::worlds::World;",
        "panic!(\"crate::world::World\");",
        "fn new_world() {}",
    ] {
        assert!(!names(text, "world"), "{text}");
    }
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
