//! Malformed inputs to the model target, on end: `cargo bench --bench malformed -- 10000000`.
//!
//! Without a number: one million. Ends with an error at the first input that does harm.

use std::process::ExitCode;

use sim::Bugs;
use testkit::malformed::Fire;

const INPUTS: u64 = 1_000_000;

fn main() -> ExitCode {
    let given = std::env::args().skip(1).find_map(|word| word.parse().ok());
    let inputs = given.unwrap_or(INPUTS);
    let mut fire = Fire::new(1, Bugs::INTENDED);
    match fire.give(inputs) {
        Ok(()) => {
            println!("{inputs} malformed inputs, no harm: {:?}", fire.tally);
            ExitCode::SUCCESS
        }
        Err(what) => {
            println!("{what}");
            ExitCode::FAILURE
        }
    }
}
