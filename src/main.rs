//! `plugfest`: arguments in, exit status out.
//!
//! 0: everything that was expected was seen. 1: something was not. 2: bad arguments, a bad file, or
//! a testbed that did not come up. 3: inconclusive.
#![forbid(unsafe_code)]

mod campaign;
mod cli;
mod fuzz_command;
mod list_command;
mod lookup;
mod output;
mod replay_command;
mod run_command;

use std::process::ExitCode;

use clap::Parser;

use cli::{BehaviourWord, Cli, Command, ConformArguments, Format};
use output::{Stop, print};
use plugfest::{ConformOptions, conform_command};

/// Bad arguments, a bad file, or a testbed that did not come up.
const EXIT_ERROR: u8 = 2;
/// Nothing can be said.
const EXIT_INCONCLUSIVE: u8 = 3;

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Run(arguments) => run_command::run(&arguments),
        Command::Fuzz(arguments) => fuzz_command::run(&arguments),
        Command::Replay(arguments) => replay_command::run(&arguments),
        Command::Conform(arguments) => conform(&arguments),
        Command::List => list_command::list(),
        Command::Doctor(arguments) => list_command::doctor(&arguments),
    };
    ExitCode::from(match done {
        Ok(exit) => exit,
        Err(Stop::Error(error)) => {
            eprintln!("plugfest: {error}");
            EXIT_ERROR
        }
        // Whoever read the output has gone; there is nobody to tell.
        Err(Stop::NobodyReads) => EXIT_INCONCLUSIVE,
    })
}

fn conform(arguments: &ConformArguments) -> Result<u8, Stop> {
    let options = ConformOptions {
        intended: arguments.target_behaviour == BehaviourWord::Intended,
        json: arguments.format == Format::Json,
    };
    let mut text = Vec::new();
    let exit = conform_command(&arguments.paths, options, &mut text).map_err(Stop::error)?;
    print(&String::from_utf8_lossy(&text))?;
    Ok(exit)
}
