//! How many schedules each bug takes until something shows it, and by which check.
//!
//! Scenarios are looked at first, of the seeds 0, 1, 2 …; then the malformed inputs of one seed; then, for
//! what neither reaches, the directed tests of the table (`testkit::bugs`). So the figures
//! are the same on every machine. `cargo bench --bench hunt` looks at up to 20 000 schedules a bug;
//! a number behind `--` is another limit. `cargo bench --bench hunt -- clean 200000` looks at so many
//! scenarios with no bug, which nothing may find anything in.

use plugfest::command::{FuzzProgress, ScenarioOptions, carry_out, drawn};
use plugfest::{Failure, Property};
use scenarios::run::{CheckOutcome, CheckResult};
use sim::{Bug, Bugs};
use testkit::bugs::{ROWS, results};
use testkit::malformed::Fire;

const SCHEDULES: u64 = 20_000;
/// Bugs that the property has to find by itself.
const FOUND_IN_SCENARIOS_MIN: usize = 30;

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let given = words.iter().find_map(|word| word.parse().ok());
    let limit = given.unwrap_or(SCHEDULES);
    if words.iter().any(|word| word == "clean") {
        return clean(limit);
    }
    let mut found = [0; 3];
    println!("bug                              schedules  found in, by");
    for bug in Bug::ALL {
        let (id, name) = (bug.id(), bug.name());
        let ways = [by_scenario, by_malformed, by_directed_test];
        let shown = ways.iter().enumerate().find_map(|(way, look)| {
            let (schedules, how) = look(*bug, limit)?;
            found[way] += 1;
            Some(format!("{schedules:>9}  {how}"))
        });
        let shown = shown.unwrap_or_else(|| format!("{:>9}  -", "none"));
        println!("{id:4} {name:28}{shown}");
    }
    let [scenarios, malformed, directed] = found;
    println!(
        "{} of {} found within {limit} schedules: {scenarios} in scenarios, {malformed} by malformed inputs, {directed} in \
         directed tests",
        scenarios + malformed + directed,
        Bug::ALL.len()
    );
    let all = scenarios + malformed + directed;
    if all < Bug::ALL.len() || scenarios < FOUND_IN_SCENARIOS_MIN {
        let expected = format!("all, and {FOUND_IN_SCENARIOS_MIN} of them in scenarios");
        eprintln!("expected {expected}, to be found");
        std::process::exit(1);
    }
}

/// Nothing is found where nothing is wrong.
fn clean(scenarios: u64) {
    let property = Property {
        seeds: 0..scenarios,
        ..Property::default()
    };
    let tried = property.check_with(&mut |progress| {
        if let FuzzProgress::Tried(tried) = progress
            && tried.scenarios.is_multiple_of(20_000)
        {
            println!(
                "{} schedules, {} blocks verified",
                tried.scenarios, tried.verified
            );
        }
    });
    match tried {
        Ok(tried) => println!("{} schedules: no check was broken", tried.scenarios),
        Err(failure @ Failure::Violated { .. }) => {
            panic!("a right target is found wrong:\n{failure}")
        }
        Err(failure) => panic!("{failure}"),
    }
}

fn by_scenario(bug: Bug, limit: u64) -> Option<(u64, String)> {
    (0..limit).find_map(|seed| {
        let options = ScenarioOptions {
            bugs: Bugs::INTENDED.with(bug),
            ..ScenarioOptions::intended(seed)
        };
        let report = carry_out(&drawn(seed), options).ok()?;
        let ids = violated(&report.checks)?;
        Some((seed + 1, format!("a scenario, {ids}")))
    })
}

fn by_malformed(bug: Bug, limit: u64) -> Option<(u64, String)> {
    let bugs = Bugs::INTENDED.with(bug);
    let mut fire = Fire::new(0, bugs);
    (0..limit).find_map(|input| {
        let what = fire.give(1).err()?;
        let what = what
            .split_once(": ")
            .map_or(what.as_str(), |(_, what)| what);
        Some((input + 1, format!("malformed inputs, {what}")))
    })
}

fn by_directed_test(bug: Bug, limit: u64) -> Option<(u64, String)> {
    let rows = || ROWS.iter().filter(|row| row.bug == bug);
    (0..limit.min(16)).find_map(|seed| {
        rows().find_map(|row| {
            let bugs = row.base.with(row.bug);
            let all = results(bugs, seed, &[row.check], row.test);
            Some((seed + 1, format!("a directed test, {}", violated(&all)?)))
        })
    })
}

/// The checks that are violated, if any.
fn violated(checks: &[CheckResult]) -> Option<String> {
    let violated = checks
        .iter()
        .filter(|check| matches!(check.outcome, CheckOutcome::Violated { .. }));
    let ids: Vec<String> = violated.map(|check| check.id.to_string()).collect();
    (!ids.is_empty()).then(|| ids.join(" "))
}
