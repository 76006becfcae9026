//! How many schedules each deviation takes until a story shows it, and by which check.
//!
//! `cargo bench --bench hunt` looks at up to 20 000 stories a deviation; a number behind `--` is
//! another limit. The stories and schedules are those of the seeds 0, 1, 2 …, so the figures are the same on
//! every machine.

use plugfest::story::{StoryOptions, drawn, tell};
use sim::{Deviation, Deviations};

const SCHEDULES: u64 = 20_000;

fn main() {
    let given = std::env::args().skip(1).find_map(|word| word.parse().ok());
    let limit = given.unwrap_or(SCHEDULES);
    let mut missed = Vec::new();
    println!("deviation                        schedules  checks");
    for deviation in Deviation::ALL {
        let found = (0..limit).find_map(|seed| checks(*deviation, seed).map(|ids| (seed + 1, ids)));
        let (id, name) = (deviation.id(), deviation.name());
        match found {
            Some((schedules, ids)) => println!("{id:4} {name:28}{schedules:>9}  {ids}"),
            None => {
                println!("{id:4} {name:28}{:>9}  -", "none");
                missed.push(id);
            }
        }
    }
    let all = Deviation::ALL.len();
    let found = all - missed.len();
    println!(
        "{found} of {all} found within {limit} schedules; not: {}",
        missed.join(" ")
    );
}

/// The checks that the story of a seed breaks with a deviation.
fn checks(deviation: Deviation, seed: u64) -> Option<String> {
    let options = StoryOptions {
        deviations: Deviations::INTENDED.with(deviation),
        ..StoryOptions::intended(seed)
    };
    let report = tell(&drawn(seed), options).ok()?;
    let ids: Vec<String> = report
        .violated()
        .map(|check| check.id.to_string())
        .collect();
    (!ids.is_empty()).then(|| ids.join(" "))
}
