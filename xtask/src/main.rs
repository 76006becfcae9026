//! What the project's own developers run: `cargo xtask NAME`.
//!
//! Exit status: 0 all is well; 1 something was found; 2 bad arguments, or a file that cannot be read.
#![forbid(unsafe_code)]

mod circles;
mod guest_trace;
mod modules;

use std::path::Path;
use std::process::ExitCode;

const USAGE: &str = "\
usage: cargo xtask NAME
  circles          prints the circles of files that import each other; parents and children may
  guest-trace DIR  converts the recordings of a guest in DIR: each NAME.scenario to NAME.steps.json";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let done = match words[..] {
        ["circles"] => circles::print(&root),
        ["guest-trace", dir] => guest_trace::convert(Path::new(dir)),
        _ => Err(USAGE.to_owned()),
    };
    match done {
        Ok(status) => ExitCode::from(status),
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(2)
        }
    }
}
