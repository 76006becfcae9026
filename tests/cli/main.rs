//! The command as its users know it: arguments, files, output, exit status; and the rules of the sources.

mod arguments;
mod bisect;
mod commands;
mod inputs;
mod log;
mod other_jobs;
mod outputs;
mod readme;
mod recorded;
mod repro;
mod tidy;
