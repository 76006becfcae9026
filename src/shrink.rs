//! Makes a story that breaks a check smaller, while it still breaks it.
//!
//! Beats go first, in halves and then one by one; then VMs, disks and waiting. Where it does not matter when a
//! beat comes, it comes when what was before it has come to rest: so it is read, and so it can be imposed on a
//! target whose time nobody holds still. That goes on until nothing becomes smaller. A smaller story takes another
//! schedule, so each is tried under a few, and what is small at last under many: a beat that nobody needs shifts
//! the draws of the others. A story that broke the check under the timed schedule is only tried under timed ones.

use scenarios::CheckId;
use scenarios::story::Story;
use sim::world::Strategy;

use crate::ordered::GAP_MAX;
use crate::run::RunError;
use crate::story::{StoryOptions, StoryReport, tell};

/// Schedules that a smaller story is tried under, beside the one that broke the check: while it is large, and
/// at last.
const SCHEDULES: [u64; 2] = [24, 200];

/// Nanoseconds in which everything comes to rest that is not held up: the longest gap that [`Ordered`] keeps.
///
/// [`Ordered`]: crate::ordered::Ordered
const REST: u64 = GAP_MAX.as_nanos() as u64;

/// A smaller story that breaks `check`, and the options under which it does.
///
/// # Errors
///
/// `story` itself cannot be carried out.
pub fn shrink(
    story: Story,
    options: StoryOptions,
    check: CheckId,
) -> Result<(Story, StoryOptions), RunError> {
    tell(&story, options.clone())?;
    let mut best = (story, options);
    for schedules in SCHEDULES {
        loop {
            let before = best.0.clone();
            drop_beats(&mut best, check, schedules);
            simplify(&mut best, check, schedules);
            if best.0 == before {
                break;
            }
        }
    }
    Ok(best)
}

/// Takes beats away, in halves and then one by one.
fn drop_beats(best: &mut (Story, StoryOptions), check: CheckId, schedules: u64) {
    let mut piece = best.0.beats.len().div_ceil(2);
    while piece > 0 {
        let mut from = 0;
        while from < best.0.beats.len() {
            let mut smaller = best.0.clone();
            let to = (from + piece).min(smaller.beats.len());
            smaller.beats.drain(from..to);
            match broken(&smaller, &best.1, check, schedules) {
                Some(options) => *best = (smaller, options),
                None => from += piece,
            }
        }
        piece /= 2;
    }
}

/// Makes what is left simpler.
fn simplify(best: &mut (Story, StoryOptions), check: CheckId, schedules: u64) {
    for change in simpler(&best.0) {
        let mut smaller = best.0.clone();
        change.make(&mut smaller);
        if smaller == best.0 {
            continue;
        }
        if let Some(options) = broken(&smaller, &best.1, check, schedules) {
            *best = (smaller, options);
        }
    }
}

/// Something that makes a story simpler without taking a beat away.
#[derive(Clone, Copy, Debug)]
enum Change {
    DropVm(usize),
    DropDisk(usize),
    AwaitBoot(usize),
    Rested(usize),
    NoGap(usize),
    Awaited(usize),
}

impl Change {
    fn make(self, story: &mut Story) {
        match self {
            Self::DropVm(n) if n < story.vms.len() && story.vms.len() > 1 => {
                story.vms.remove(n);
            }
            Self::DropDisk(n) if n < story.disks.len() => {
                story.disks.remove(n);
            }
            Self::AwaitBoot(n) if n < story.vms.len() => story.vms[n].awaited = true,
            Self::Rested(n) => story.beats[n].after = REST,
            Self::NoGap(n) if story.beats[n].after != REST => story.beats[n].after = 0,
            Self::Awaited(n) => story.beats[n].awaited = true,
            Self::DropVm(_) | Self::DropDisk(_) | Self::AwaitBoot(_) | Self::NoGap(_) => {}
        }
    }
}

fn simpler(story: &Story) -> Vec<Change> {
    let vms = (0..story.vms.len()).rev();
    let disks = (0..story.disks.len()).rev();
    let beats = 0..story.beats.len();
    vms.clone()
        .map(Change::DropVm)
        .chain(disks.map(Change::DropDisk))
        .chain(vms.map(Change::AwaitBoot))
        .chain(beats.clone().map(Change::Awaited))
        .chain(beats.clone().map(Change::Rested))
        .chain(beats.map(Change::NoGap))
        .collect()
}

/// Options under which `story` breaks `check`, if any that are tried.
fn broken(
    story: &Story,
    options: &StoryOptions,
    check: CheckId,
    schedules: u64,
) -> Option<StoryOptions> {
    let breaks = |report: StoryReport| report.violated().any(|broken| broken.id == check);
    let timed = matches!(options.strategy, Strategy::Timed);
    let others = (0..schedules).map(|seed| StoryOptions {
        strategy: if timed {
            Strategy::Timed
        } else {
            Strategy::random(seed)
        },
        seed,
        ..options.clone()
    });
    let mut tried = std::iter::once(options.clone()).chain(others);
    tried.find(|options| tell(story, options.clone()).is_ok_and(breaks))
}

#[cfg(test)]
mod tests {
    use sim::{Bug, Bugs};

    use super::*;
    use crate::story::drawn;

    #[test]
    fn a_timed_schedule_stays_timed_and_what_is_left_is_small() {
        let timed = |seed| StoryOptions {
            bugs: Bugs::INTENDED.with(Bug::EarlyFinish),
            strategy: Strategy::Timed,
            ..StoryOptions::intended(seed)
        };
        let broken = (0..1_000).find_map(|seed| {
            let report = tell(&drawn(seed), timed(seed)).ok()?;
            report
                .violated()
                .next()
                .map(|broken| (drawn(seed), timed(seed), broken.id))
        });
        let (story, options, check) = broken.expect("S1 is shown by one of 1000");
        let before = story.beats.len();
        let (story, options) = shrink(story, options, check).expect("it can be told");
        assert!(matches!(options.strategy, Strategy::Timed), "{options:?}");
        assert!(story.beats.len() < before);
        let report = tell(&story, options).expect("it can be told");
        assert!(report.violated().any(|broken| broken.id == check));
    }

    #[test]
    fn a_beat_that_only_shifts_the_draws_goes_too() {
        let options = StoryOptions {
            bugs: Bugs::head(),
            strategy: Strategy::random(3),
            ..StoryOptions::intended(3)
        };
        let (story, _) = shrink(drawn(3), options, CheckId::I17).expect("it can be told");
        // An attach and a detach are all that it takes.
        assert!(story.beats.len() <= 2 && story.vms.len() == 1, "{story:#?}");
    }

    #[test]
    fn where_time_does_not_matter_everything_comes_to_rest_first() {
        let options = StoryOptions {
            bugs: Bugs::INTENDED.with(Bug::TmfNullLun),
            strategy: Strategy::Timed,
            ..StoryOptions::intended(8010)
        };
        let (story, _) = shrink(drawn(8010), options, CheckId::I11).expect("it can be told");
        assert!(!story.beats.is_empty());
        assert!(
            story.beats.iter().all(|beat| beat.after == REST),
            "{story:?}"
        );
    }
}
