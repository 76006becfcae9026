//! Makes a generated scenario that breaks a check smaller, while it still breaks it.
//!
//! Steps go first, in halves and then one by one; then VMs, disks and waiting. Where it does not matter when a
//! step comes, it comes when what was before it has come to rest: so it is read, and so it can be imposed on a
//! target whose time nobody holds still. That goes on until nothing becomes smaller. A smaller scenario takes another
//! schedule, so each is tried under a few, and what is small at last under many: a step that nobody needs shifts
//! the draws of the others. What broke the check under the timed schedule is only tried under timed ones.

use std::time::Duration;

use scenarios::plan::{Plan, Step, StepKind, Wait};
use scenarios::{Action, CheckId, ControllerId, VmId};
use sim::world::Strategy;

use crate::ordered::GAP_MAX;
use crate::renumber::renumbered;
use crate::scenario::{ScenarioOptions, carry_out};

/// Schedules that a smaller scenario is tried under, beside the one that broke the check: while it is large, and
/// at last.
pub const THOROUGHLY: [u64; 2] = [24, 200];
/// The same, where many are made smaller.
pub const QUICKLY: [u64; 2] = [16, 48];

/// The time in which everything comes to rest that is not held up: the longest gap that [`Ordered`] keeps.
///
/// [`Ordered`]: crate::ordered::Ordered
const REST: Duration = GAP_MAX;

/// A scenario, and the options under which it breaks the check.
type Broken = (Plan, ScenarioOptions);

/// Whether a scenario still breaks what it is to break.
pub type Breaks<'a> = dyn Fn(&Plan, &ScenarioOptions) -> bool + 'a;

/// Whether a scenario breaks `check`.
pub fn breaks_check(check: CheckId) -> impl Fn(&Plan, &ScenarioOptions) -> bool {
    move |plan, options| {
        let report = carry_out(plan, options.clone());
        report.is_ok_and(|report| report.violated().any(|broken| broken.id == check))
    }
}

/// A smaller scenario that still breaks what it is to break, and the options under which it does.
pub fn shrink(plan: Plan, options: ScenarioOptions, breaks: &Breaks<'_>, how: [u64; 2]) -> Broken {
    let mut best = (plan, options);
    for schedules in how {
        loop {
            let before = best.0.clone();
            drop_steps(&mut best, breaks, schedules);
            simplify(&mut best, breaks, schedules);
            renumber(&mut best, breaks, schedules);
            if best.0 == before {
                break;
            }
        }
    }
    best
}

/// The steps of a generated scenario's one case.
fn steps(plan: &mut Plan) -> &mut Vec<Step> {
    &mut plan.cases[0].steps
}

/// The VM that a step boots.
fn boots(step: &Step) -> Option<VmId> {
    let StepKind::Act(actions) = &step.kind else {
        return None;
    };
    match actions.as_slice() {
        [Action::BootVm { vm, .. } | Action::BootFirmware { vm, .. }] => Some(*vm),
        _ => None,
    }
}

/// Where the steps begin that are no boots.
fn first(plan: &Plan) -> usize {
    let steps = plan.cases[0].steps.iter();
    steps.take_while(|step| boots(step).is_some()).count()
}

/// Takes steps away, in halves and then one by one.
fn drop_steps(best: &mut Broken, breaks: &Breaks<'_>, schedules: u64) {
    let mut piece = (steps(&mut best.0).len() - first(&best.0)).div_ceil(2);
    while piece > 0 {
        let mut from = first(&best.0);
        while from < steps(&mut best.0).len() {
            let mut smaller = best.0.clone();
            let all = steps(&mut smaller);
            let to = (from + piece).min(all.len());
            all.drain(from..to);
            match broken(&smaller, &best.1, breaks, schedules) {
                Some(options) => *best = (smaller, options),
                None => from += piece,
            }
        }
        piece /= 2;
    }
}

/// Makes what is left simpler.
fn simplify(best: &mut Broken, breaks: &Breaks<'_>, schedules: u64) {
    for change in simpler(&best.0) {
        let mut smaller = best.0.clone();
        change.make(&mut smaller);
        if smaller == best.0 {
            continue;
        }
        if let Some(options) = broken(&smaller, &best.1, breaks, schedules) {
            *best = (smaller, options);
        }
    }
}

/// Numbers what is left from the lowest.
fn renumber(best: &mut Broken, breaks: &Breaks<'_>, schedules: u64) {
    let numbered = renumbered(&best.0);
    if numbered == best.0 {
        return;
    }
    if let Some(options) = broken(&numbered, &best.1, breaks, schedules) {
        *best = (numbered, options);
    }
}

/// Something that makes a scenario simpler without taking a step away; steps are counted from the end, as boots go
/// with their VMs.
#[derive(Clone, Copy, Debug)]
enum Change {
    DropVm(usize),
    DropDisk(usize),
    DropController(usize),
    AwaitBoot(usize),
    Rested(usize),
    NoGap(usize),
    Awaited(usize),
}

impl Change {
    fn make(self, plan: &mut Plan) {
        let last = plan.cases[0].steps.len();
        match self {
            Self::DropVm(n) if n < plan.vms.len() && plan.vms.len() > 1 => {
                let vm = plan.vms.remove(n).vm;
                steps(plan).retain(|step| boots(step) != Some(vm));
            }
            Self::DropDisk(n) if n < plan.disks.len() => {
                let disk = plan.disks.remove(n);
                plan.kinds.retain(|(of, _)| *of != disk);
            }
            Self::DropController(n) if n < plan.controllers.len() && plan.controllers.len() > 1 => {
                let controller = plan.controllers.remove(n);
                for vm in &mut plan.vms {
                    vm.controllers.retain(|of| *of != controller);
                }
                steps(plan)
                    .iter_mut()
                    .for_each(|step| step_without(step, controller));
            }
            Self::AwaitBoot(n) if n < first(plan) => {
                let step = &mut steps(plan)[n];
                if !is_firmware(step) {
                    step.wait = Wait::Answer;
                }
            }
            Self::Rested(n) => steps(plan)[last - n].after = REST,
            Self::NoGap(n) if plan.cases[0].steps[last - n].after != REST => {
                steps(plan)[last - n].after = Duration::ZERO;
            }
            Self::Awaited(n) => steps(plan)[last - n].wait = Wait::Answer,
            Self::DropVm(_)
            | Self::DropDisk(_)
            | Self::DropController(_)
            | Self::AwaitBoot(_)
            | Self::NoGap(_) => {}
        }
    }
}

/// A boot without a device of `controller`.
fn step_without(step: &mut Step, controller: ControllerId) {
    if let StepKind::Act(actions) = &mut step.kind {
        for action in actions {
            if let Action::BootVm { controllers, .. } | Action::BootFirmware { controllers, .. } =
                action
                && controllers.len() > 1
            {
                controllers.retain(|of| *of != controller);
            }
        }
    }
}

/// Whether a step boots a firmware, of which nobody hears.
fn is_firmware(step: &Step) -> bool {
    matches!(&step.kind, StepKind::Act(all) if matches!(all[..], [Action::BootFirmware { .. }]))
}

fn simpler(plan: &Plan) -> Vec<Change> {
    let vms = (0..plan.vms.len()).rev();
    let disks = (0..plan.disks.len()).rev();
    let controllers = (0..plan.controllers.len()).rev();
    let steps = (1..=plan.cases[0].steps.len() - first(plan)).rev();
    vms.clone()
        .map(Change::DropVm)
        .chain(disks.map(Change::DropDisk))
        .chain(controllers.map(Change::DropController))
        .chain(vms.map(Change::AwaitBoot))
        .chain(steps.clone().map(Change::Awaited))
        .chain(steps.clone().map(Change::Rested))
        .chain(steps.map(Change::NoGap))
        .collect()
}

/// Options under which `plan` breaks `check`, if any that are tried. What no reader of plan files would take (no
/// disk is left, or a step names one that is not) is none: it is to be written down.
fn broken(
    plan: &Plan,
    options: &ScenarioOptions,
    breaks: &Breaks<'_>,
    schedules: u64,
) -> Option<ScenarioOptions> {
    scenarios::parse(&plan.name, &plan.to_string()).ok()?;
    let timed = matches!(options.strategy, Strategy::Timed);
    let others = (0..schedules).map(|seed| ScenarioOptions {
        strategy: if timed {
            Strategy::Timed
        } else {
            Strategy::random(seed)
        },
        seed,
        ..options.clone()
    });
    let mut tried = std::iter::once(options.clone()).chain(others);
    tried.find(|options| breaks(plan, options))
}

#[cfg(test)]
mod tests {
    use sim::{Bug, Bugs};

    use super::*;
    use crate::repro::Repro;
    use crate::scenario::drawn;

    #[test]
    fn a_timed_schedule_stays_timed_and_what_is_left_is_small() {
        let timed = |seed| ScenarioOptions {
            bugs: Bugs::INTENDED.with(Bug::EarlyFinish),
            strategy: Strategy::Timed,
            ..ScenarioOptions::intended(seed)
        };
        let broken = (0..1_000).find_map(|seed| {
            let report = carry_out(&drawn(seed), timed(seed)).ok()?;
            report
                .violated()
                .next()
                .map(|broken| (drawn(seed), timed(seed), broken.id))
        });
        let (plan, options, check) = broken.expect("S1 is shown by one of 1000");
        let before = plan.cases[0].steps.len();
        let (plan, options) = shrink(plan, options, &breaks_check(check), THOROUGHLY);
        assert!(matches!(options.strategy, Strategy::Timed), "{options:?}");
        assert!(plan.cases[0].steps.len() < before);
        let report = carry_out(&plan, options).expect("it can be carried out");
        assert!(report.violated().any(|broken| broken.id == check));
    }

    #[test]
    fn a_step_that_only_shifts_the_draws_goes_too() {
        let options = ScenarioOptions {
            bugs: Bugs::head(),
            strategy: Strategy::random(3),
            ..ScenarioOptions::intended(3)
        };
        let (plan, _) = shrink(drawn(3), options, &breaks_check(CheckId::I17), THOROUGHLY);
        // A boot, an attach and a detach are all that it takes.
        let steps = plan.cases[0].steps.len();
        assert!(steps <= 3 && plan.vms.len() == 1, "{plan}");
    }

    #[test]
    fn what_is_left_can_be_read_again() {
        let stalls = |seed| ScenarioOptions {
            bugs: Bugs::INTENDED.with(Bug::DeleteStalls),
            ..ScenarioOptions::intended(seed)
        };
        let broken = (0..1_000).find_map(|seed| {
            let report = carry_out(&drawn(seed), stalls(seed)).ok()?;
            let check = report.violated().next()?.id;
            Some((drawn(seed), stalls(seed), check))
        });
        let (plan, options, check) = broken.expect("it is shown by one of 1000");
        let (plan, options) = shrink(plan, options, &breaks_check(check), THOROUGHLY);
        let repro = Repro::of_scenario(&plan, options).expect("it can be carried out");
        let text = repro.text().expect("it was written by this version");
        let read = Repro::parse("small.kdl", &text).unwrap_or_else(|why| panic!("{why}\n{text}"));
        assert_eq!(read.recorded.findings, repro.recorded.findings);
    }

    #[test]
    fn where_time_does_not_matter_everything_comes_to_rest_first() {
        let stale = |seed| ScenarioOptions {
            bugs: Bugs::INTENDED.with(Bug::TmfStaleDev),
            strategy: Strategy::Timed,
            ..ScenarioOptions::intended(seed)
        };
        let breaks = breaks_check(CheckId::I11);
        let seed = (0..5_000).find(|seed| breaks(&drawn(*seed), &stale(*seed)));
        let seed = seed.expect("S3 is shown by one of 5000");
        let (plan, _) = shrink(drawn(seed), stale(seed), &breaks, THOROUGHLY);
        let steps = &plan.cases[0].steps[first(&plan)..];
        assert!(!steps.is_empty());
        assert!(steps.iter().all(|step| step.after == REST), "{plan}");
    }
}
