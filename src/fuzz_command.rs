//! `plugfest fuzz`: stories from seeds, until one breaks a check; then the smallest that does.

use std::path::PathBuf;

use plugfest::repro::Repro;
use plugfest::shrink;
use plugfest::story::{StoryOptions, drawn, tell};
use sim::Deviations;
use sim::world::Strategy;

use plugfest::interrupt::asked;

use crate::cli::{BehaviourWord, FuzzArguments, ScheduleWord};
use crate::output::{Stop, print, write_whole};
use crate::replay_command::{finding_lines, story_lines};

/// No story broke a check.
const EXIT_HELD: u8 = 0;
/// One did.
const EXIT_FAILED: u8 = 1;
/// Somebody wanted it to end before.
const EXIT_INTERRUPTED: u8 = 3;
/// Stories between two signs of life.
const SIGN_OF_LIFE: u64 = 1_000;

/// Tells stories, each under the schedule of its seed.
pub fn run(arguments: &FuzzArguments) -> Result<u8, Stop> {
    let preset = match arguments.target_behaviour {
        BehaviourWord::Head => Deviations::head(),
        BehaviourWord::Intended => Deviations::INTENDED,
    };
    let more = arguments.deviation.iter();
    let deviations = more.fold(preset, |all, deviation| all.with(*deviation));
    let end = arguments.seed.saturating_add(arguments.stories);
    let first = arguments.seed;
    print(&format!("stories of seeds {first}..{end}\n"))?;
    let mut verified = 0;
    for seed in first..end {
        if asked() {
            let done = seed - first;
            print(&format!(
                "interrupted: {done} stories, {verified} blocks verified, no check was broken\n"
            ))?;
            return Ok(EXIT_INTERRUPTED);
        }
        let story = drawn(seed);
        let options = StoryOptions {
            seed,
            deviations,
            strategy: match arguments.schedule {
                ScheduleWord::Timed => Strategy::Timed,
                ScheduleWord::Random => Strategy::random(seed),
            },
            record: false,
        };
        let report = tell(&story, options.clone()).map_err(Stop::error)?;
        verified += report.verified;
        if let Some(broken) = report.violated().next() {
            print(&format!(
                "seed {seed} breaks {}; making it smaller\n",
                broken.id
            ))?;
            let (story, options) = shrink(story, options, broken.id).map_err(Stop::error)?;
            let repro = Repro::of_story(&story, options).map_err(Stop::error)?;
            let path = match &arguments.repro {
                Some(path) => path.clone(),
                None => PathBuf::from(format!("plugfest-{}-{seed}.json", broken.id)),
            };
            write_whole(&path, repro.text().as_bytes())?;
            print(&story_lines(&story))?;
            print(&finding_lines(&repro.findings))?;
            print(&format!("again: plugfest replay {}\n", path.display()))?;
            return Ok(EXIT_FAILED);
        }
        let done = seed + 1 - first;
        if done.is_multiple_of(SIGN_OF_LIFE) {
            print(&format!("{done} stories, {verified} blocks verified\n"))?;
        }
    }
    let stories = end - first;
    print(&format!(
        "{stories} stories, {verified} blocks verified: no check was broken\n"
    ))?;
    Ok(EXIT_HELD)
}
