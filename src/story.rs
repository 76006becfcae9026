//! Stories on the simulator: one from a seed, told under a schedule, and what the checks made of it.
//!
//! Knows nothing of arguments and files.

use scenarios::check::Judge;
use scenarios::run::{CheckOutcome, CheckResult};
use scenarios::story::{self, BeatBytes, ShapeBytes, Story};
use scenarios::testbed::Testbed as _;
use scenarios::{Ending, Seen};
use sim::world::{Choices, Strategy};
use sim::{Bugs, Rng, Stream};
use sim::{Sim, SimOptions};

use crate::run::{RunError, RunOptions};
use crate::testbed::{self, parse_jobs};

/// Beats of a drawn story.
const BEATS: (u32, u32) = (8, 40);

/// How a story is told.
#[derive(Clone, Debug)]
pub struct StoryOptions {
    /// Feeds the accidents of the world.
    pub seed: u64,
    /// How the target is wrong.
    pub bugs: Bugs,
    /// Who goes next.
    pub strategy: Strategy,
    /// Whether who went is noted.
    pub record: bool,
}

impl StoryOptions {
    /// A target as it should be, under a random schedule that `seed` draws.
    #[must_use]
    pub fn intended(seed: u64) -> Self {
        Self {
            seed,
            bugs: Bugs::INTENDED,
            strategy: Strategy::random(seed),
            record: false,
        }
    }
}

/// What came of a story.
#[derive(Clone, Debug)]
pub struct StoryReport {
    /// What every check said.
    pub checks: Vec<CheckResult>,
    /// Blocks that fio found right.
    pub verified: u64,
    /// Beats that the simulator cannot do.
    pub skipped: usize,
    /// Hashes and counts.
    pub ending: Ending,
    /// Who went, if that was noted.
    pub choices: Option<Choices>,
    /// The turn at which a replayed schedule could not be followed.
    pub strayed: Option<u64>,
}

impl StoryReport {
    /// The checks that were violated.
    pub fn violated(&self) -> impl Iterator<Item = &CheckResult> {
        let violated =
            |check: &&CheckResult| matches!(check.outcome, CheckOutcome::Violated { .. });
        self.checks.iter().filter(violated)
    }
}

/// The story that `seed` draws.
#[must_use]
pub fn drawn(seed: u64) -> Story {
    let mut rng = Rng::new(seed, Stream::Scenario);
    let shape: ShapeBytes = first(rng.bits());
    let beats = rng.between(BEATS.0, BEATS.1);
    let beats: Vec<BeatBytes> = (0..beats).map(|_| first(rng.bits())).collect();
    story::choose(shape, &beats)
}

/// The first bytes of a draw.
fn first<const N: usize>(bits: u64) -> [u8; N] {
    let bytes = bits.to_le_bytes();
    std::array::from_fn(|n| bytes[n])
}

/// Tells `story` on the simulator, with every check on.
///
/// # Errors
///
/// The simulator cannot carry it out: too many actors, or no such VM.
pub fn tell(story: &Story, options: StoryOptions) -> Result<StoryReport, RunError> {
    tell_watched(story, options, &mut |_| {})
}

/// Like [`tell`], and shows `watch` everything that is seen.
///
/// # Errors
///
/// As [`tell`].
pub fn tell_watched(
    story: &Story,
    options: StoryOptions,
    watch: &mut dyn FnMut(&Seen),
) -> Result<StoryReport, RunError> {
    let shipped = RunOptions::default();
    let jobs = parse_jobs(&shipped.jobs, &shipped.guests)?;
    let mut sim = Sim::new(SimOptions {
        seed: options.seed,
        bugs: options.bugs,
        volume: None,
        jobs,
        strategy: options.strategy,
        per_io: true,
        digests: testbed::digests(),
        disturb_at: None,
    });
    if options.record {
        sim.record_choices();
    }
    let vms = story.vms.iter();
    let vms = vms.map(|vm| (vm.vm, vm.controllers.clone())).collect();
    let judge = testbed::judge(sim.evidence(), vms, options.bugs);
    let mut judge = Watched { judge, watch };
    let told = story::run(story, &mut sim, &mut judge);
    let outcome = told.map_err(|error| RunError(error.to_string()))?;
    Ok(StoryReport {
        checks: outcome.checks,
        verified: outcome.verified,
        skipped: outcome.skipped,
        ending: outcome.ending,
        choices: sim.choices().cloned(),
        strayed: sim.strayed(),
    })
}

/// A judge, and somebody who looks on.
struct Watched<'a> {
    judge: Judge,
    watch: &'a mut dyn FnMut(&Seen),
}

impl scenarios::run::Judge for Watched<'_> {
    fn begin_case(&mut self) {
        self.judge.begin_case();
    }

    fn see(&mut self, seen: &Seen) {
        (self.watch)(seen);
        self.judge.see(seen);
    }

    fn end_case(&mut self) -> Vec<CheckResult> {
        self.judge.end_case()
    }
}
