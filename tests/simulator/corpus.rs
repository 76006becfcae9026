//! The corpus: the smallest scenarios that show what was found once, a file each. Each still shows it, and a target
//! that is as it should be breaks nothing in any of them.
//!
//! A file has no recorded choices: they are good for one state of the models. A seed is not good for much longer,
//! so each is looked at under a few schedules.

use std::path::{Path, PathBuf};

use plugfest::command::{Repro, ScenarioOptions, carry_out};
use scenarios::plan::Plan;
use sim::world::Strategy;
use sim::{Bug, Bugs};

/// Schedules that a scenario is looked at under, beside its own.
const SCHEDULES: u64 = 64;

fn files() -> Vec<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus");
    let entries = std::fs::read_dir(directory).expect("there is a corpus");
    let paths = entries.map(|entry| entry.expect("it can be read").path());
    let mut paths: Vec<PathBuf> = paths.collect();
    paths.sort();
    paths
}

/// A file of the corpus.
struct Kept {
    name: String,
    plan: Plan,
    repro: Repro,
}

fn kept() -> Vec<Kept> {
    let read = files().into_iter().map(|path| {
        let text = std::fs::read_to_string(&path).expect("it is a text");
        let name = path.display().to_string();
        let repro = Repro::parse(&name, &text).unwrap_or_else(|why| panic!("{why}"));
        let plan = repro.plan().expect("it is no old one").clone();
        Kept { name, plan, repro }
    });
    read.collect()
}

impl Kept {
    /// The options under which the scenario is carried out: its own, and those of other seeds.
    fn options(&self, bugs: Bugs) -> impl Iterator<Item = ScenarioOptions> {
        let recorded = &self.repro.recorded;
        let is_timed = recorded.schedule == "timed";
        let own = ScenarioOptions::intended(recorded.seed);
        let asked = recorded.targets_asked.unwrap_or(sim::linux::QEMU_TARGETS);
        std::iter::once(recorded.seed)
            .chain(0..SCHEDULES)
            .map(move |seed| ScenarioOptions {
                seed,
                bugs,
                strategy: if is_timed {
                    Strategy::Timed
                } else {
                    Strategy::random(seed)
                },
                targets_asked: asked,
                ..own.clone()
            })
    }

    /// Whether a check that it broke once is broken.
    fn shows(&self, options: ScenarioOptions) -> bool {
        let report = carry_out(&self.plan, options).expect("it can be carried out");
        let known = &self.repro.recorded.findings;
        report
            .violated()
            .any(|broken| known.iter().any(|finding| finding.check == broken.id))
    }
}

#[test]
fn each_file_shows_what_it_is_kept_for() {
    let all = kept();
    assert!(all.len() >= 10, "{} files", all.len());
    for kept in all {
        let name = &kept.name;
        assert!(kept.repro.recorded.choices.is_empty(), "{name}: choices");
        let bugs = kept
            .repro
            .bugs()
            .unwrap_or_else(|why| panic!("{name}: {why}"));
        let shown = kept.options(bugs).any(|options| kept.shows(options));
        assert!(shown, "{name} shows nothing any more");
    }
}

#[test]
fn a_right_target_breaks_nothing_in_any_of_them() {
    for kept in kept() {
        for options in kept.options(Bugs::INTENDED).take(4) {
            let report = carry_out(&kept.plan, options).expect("it can be carried out");
            let broken: Vec<_> = report.violated().collect();
            assert!(broken.is_empty(), "{}: {broken:#?}", kept.name);
        }
    }
}

/// A file is named for the known bug that it shows, and without that bug it shows nothing.
#[test]
fn each_file_is_named_for_what_makes_it_happen() {
    for kept in kept() {
        let stem = Path::new(&kept.name).file_stem().expect("a name");
        let id = stem.to_string_lossy();
        let id = id.split('-').next().unwrap_or_default();
        let bug = Bug::named(id).unwrap_or_else(|| panic!("{}: no bug {id}", kept.name));
        let bugs = kept.repro.bugs().expect("they are known");
        assert!(bugs.has(bug), "{}", kept.name);
        let without = bugs.without(bug);
        let shown = kept
            .options(without)
            .take(8)
            .any(|options| kept.shows(options));
        assert!(!shown, "{} without {id}", kept.name);
    }
}
