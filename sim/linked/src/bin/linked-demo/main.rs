//! `linked-demo LIBRARY [SEEDS]`: a fixed scenario on a linked target, under a random schedule a seed. Prints
//! a line a seed: its trace hash, turns, virtual time, and what went wrong. For work on the shim: it needs no
//! simulated guest, only this file's front-end.
//!
//! SEEDS is `A..B`. Each seed begins at a snapshot. `--scenario=hotplug|delete|connect`; `--preempt=N`: one step in N
//! is stopped in its middle; `--turns` and `--set-up` print every turn.

mod front_end;
mod run;

use std::path::Path;
use std::process::ExitCode;

use linked::{Config, Target};

use run::Run;

struct Options {
    library: String,
    first: u64,
    last: u64,
    turns: bool,
    preempt: u32,
    scenario: String,
}

fn options() -> Result<Options, String> {
    let mut options = Options {
        library: String::new(),
        first: 0,
        last: 1,
        turns: false,
        preempt: 8,
        scenario: "hotplug".to_owned(),
    };
    for word in std::env::args().skip(1) {
        if word == "--set-up" {
        } else if word == "--turns" {
            options.turns = true;
        } else if let Some(n) = word.strip_prefix("--preempt=") {
            options.preempt = n.parse().map_err(|_| format!("{word}: not a number"))?;
        } else if let Some(name) = word.strip_prefix("--scenario=") {
            options.scenario = name.to_owned();
        } else if options.library.is_empty() {
            options.library = word;
        } else {
            let (first, last) = word.split_once("..").ok_or(format!("{word}: not A..B"))?;
            options.first = first.parse().map_err(|_| format!("{word}: not A..B"))?;
            options.last = last.parse().map_err(|_| format!("{word}: not A..B"))?;
        }
    }
    Ok(options)
}

fn main() -> ExitCode {
    let result = options().and_then(|options| all(&options).map_err(|error| error.to_string()));
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("linked-demo: {error}");
            ExitCode::from(2)
        }
    }
}

fn all(options: &Options) -> Result<(), linked::Error> {
    let config = Config {
        cores: 2,
        socket_dir: "/s/".to_owned(),
    };
    let mut run = Run::new(Target::boot(Path::new(&options.library), &config)?);
    eprintln!("{}", run.target().about());
    run.set_up();
    let mark = run.mark();
    for seed in options.first..options.last {
        run.rewind(&mark);
        run.begin(seed, options.preempt, options.turns);
        let verdict = run.scenario(&options.scenario);
        println!("seed {seed} {} {verdict}", run.line());
    }
    Ok(())
}
