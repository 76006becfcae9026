//! What README.md shows is what the program prints.

use std::process::Command;

#[test]
fn the_sample_of_a_run_is_what_it_prints() {
    let output = Command::new(env!("CARGO_BIN_EXE_plugfest"))
        .args(["run", "hotdetach/1"])
        .output()
        .expect("plugfest starts");
    let printed = String::from_utf8(output.stdout).expect("the report is text");
    let readme = include_str!("../../README.md");
    let sample = readme.split("```").nth(1).expect("a sample");
    let shown = sample.lines().filter(|line| line.starts_with("  ok"));
    let missing: Vec<_> = shown
        .clone()
        .filter(|line| !printed.lines().any(|printed| printed == *line))
        .collect();
    assert!(shown.count() > 4, "{sample}");
    assert!(missing.is_empty(), "{missing:#?}\nin\n{printed}");
}
