//! `plugfest`: arguments in, exit status out.
//!
//! 0: everything that was expected was seen. 1: something was not. 2: bad arguments, a bad file, or
//! a testbed that did not come up. 3: inconclusive.
#![forbid(unsafe_code)]

mod campaign;
mod clean_command;
mod cli;
mod conform_command;
mod fuzz_arguments;
mod fuzz_command;
mod fuzz_report;
mod guest_command;
mod guest_conform_command;
mod input;
mod junit;
mod list_command;
mod log;
mod lookup;
mod output;
mod preset;
mod progress;
mod replay_command;
mod run_command;
mod run_outputs;
mod serve_command;
mod sink;
mod target_arguments;
mod words;

use std::process::ExitCode;

use clap::{CommandFactory as _, Parser};

use log::Clock;
use tracing::Level;

use cli::{Cli, Command, ConformArguments, ConformFormat};
use conform_command::{ConformOptions, conform_command};
use guest_conform_command::guest_conform_command;
use output::{Stop, print, printed, tell};
use target_arguments::BehaviourWord;

/// Bad arguments, a bad file, or a testbed that did not come up.
const EXIT_ERROR: u8 = 2;
/// Nothing can be said.
const EXIT_INCONCLUSIVE: u8 = 3;

fn main() -> ExitCode {
    let Cli { command, log } = match Cli::try_parse() {
        Ok(arguments) => arguments,
        Err(said) => return ExitCode::from(status(show(&said))),
    };
    match &command {
        Command::Run(run) => log::listen(&log, None, Clock::Testbed, run.turns.is_some()),
        Command::Serve(_) => log::listen(&log, Some(Level::INFO), Clock::Calendar, false),
        _ => log::listen(&log, None, Clock::Testbed, false),
    }
    if let Err(error) = plugfest::command::listen() {
        tell(&format!("plugfest: {error}\n"));
        return ExitCode::from(EXIT_ERROR);
    }
    let done = match command {
        Command::Run(arguments) => run_command::run(&arguments),
        Command::Fuzz(arguments) => fuzz_command::run(&arguments),
        Command::Replay(arguments) => replay_command::run(&arguments),
        Command::Conform(arguments) => conform(&arguments),
        Command::Guest { command } => guest_command::run(&command),
        Command::Serve(arguments) => serve_command::run(&arguments),
        Command::Clean(arguments) => clean_command::run(&arguments),
        Command::List => list_command::list(),
        Command::Completions { shell } => {
            let mut text = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "plugfest", &mut text);
            print(&String::from_utf8_lossy(&text)).map(|()| 0)
        }
        Command::Man => manual(),
        Command::Doctor(arguments) => list_command::doctor(&arguments),
    };
    let exit = status(done);
    if exit == 0 && real::testbed::undo::something_stays() {
        return ExitCode::from(EXIT_INCONCLUSIVE);
    }
    ExitCode::from(exit)
}

/// Help and version are output like any other; what is wrong with arguments is an error.
fn show(said: &clap::Error) -> Result<u8, Stop> {
    if said.use_stderr() {
        // There is nowhere to say that it cannot be written.
        let _ = said.print();
        return Ok(EXIT_ERROR);
    }
    printed(said.print()).map(|()| 0)
}

/// The exit status of what came of a command, which is told if nobody has been told yet.
fn status(done: Result<u8, Stop>) -> u8 {
    match done {
        Ok(exit) => exit,
        // Before there was anything to report.
        Err(Stop::Error(error)) if plugfest::command::asked() => {
            tell(&format!("plugfest: {error}\n"));
            EXIT_INCONCLUSIVE
        }
        Err(Stop::Error(error)) => {
            tell(&format!("plugfest: {error}\n"));
            EXIT_ERROR
        }
        // Whoever read the output has gone; there is nobody to tell.
        Err(Stop::NobodyReads) => EXIT_INCONCLUSIVE,
    }
}

/// Prints the manual page, with a section a command.
fn manual() -> Result<u8, Stop> {
    let mut text = Vec::new();
    let command = Cli::command();
    let page = clap_mangen::Man::new(command.clone());
    page.render_title(&mut text).map_err(Stop::error)?;
    page.render_name_section(&mut text).map_err(Stop::error)?;
    page.render_synopsis_section(&mut text)
        .map_err(Stop::error)?;
    page.render_description_section(&mut text)
        .map_err(Stop::error)?;
    page.render_options_section(&mut text)
        .map_err(Stop::error)?;
    for sub in command.get_subcommands().filter(|sub| !sub.is_hide_set()) {
        let name = format!("plugfest {}", sub.get_name());
        let man = clap_mangen::Man::new(sub.clone().bin_name(name));
        man.render_synopsis_section(&mut text)
            .map_err(Stop::error)?;
        man.render_description_section(&mut text)
            .map_err(Stop::error)?;
        man.render_options_section(&mut text).map_err(Stop::error)?;
        man.render_extra_section(&mut text).map_err(Stop::error)?;
    }
    page.render_extra_section(&mut text).map_err(Stop::error)?;
    page.render_version_section(&mut text)
        .map_err(Stop::error)?;
    print(&String::from_utf8_lossy(&text))?;
    Ok(0)
}

fn conform(arguments: &ConformArguments) -> Result<u8, Stop> {
    let options = ConformOptions {
        intended: arguments.target_behaviour == BehaviourWord::Intended,
        json: arguments.format == ConformFormat::Json,
        serve: if arguments.serve {
            Some(std::env::current_exe().map_err(Stop::error)?)
        } else {
            None
        },
    };
    let (mut text, mut errors) = (Vec::new(), Vec::new());
    let exit = if arguments.guest {
        guest_conform_command(&arguments.paths, &mut text, &mut errors)
    } else {
        conform_command(&arguments.paths, options, &mut text, &mut errors)
    };
    let exit = exit.map_err(Stop::error)?;
    tell(&String::from_utf8_lossy(&errors));
    print(&String::from_utf8_lossy(&text))?;
    if plugfest::command::asked() {
        tell("interrupted: what was played by then is above\n");
    }
    Ok(exit)
}
