//! `plugfest`: arguments in, exit status out.
//!
//! 0: everything that was expected was seen. 1: something was not. 2: bad arguments, a bad file, or
//! a testbed that did not come up. 3: inconclusive.
#![forbid(unsafe_code)]

mod campaign;
mod cli;
mod list_command;
mod lookup;
mod output;
mod run_command;

use std::process::ExitCode;

use clap::Parser;

use cli::{Cli, Command};
use output::Stop;

/// Bad arguments, a bad file, or a testbed that did not come up.
const EXIT_ERROR: u8 = 2;
/// Nothing can be said.
const EXIT_INCONCLUSIVE: u8 = 3;

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Run(arguments) => run_command::run(&arguments),
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
