//! A plan and a seed make a script: every place, slot, delay and number of a fio is fixed.
//!
//! First what is left to chance is drawn ([`draw`]), from a stream of its own, so that a testbed that draws too does
//! not change what a seed asks for, and every testbed is asked the same. Then each step becomes what is asked
//! for, and what is to come of it. What is impossible (a disk attached twice, a fio on no disk) is found there,
//! since only there is it known what hangs where.

mod act;
mod bare;
mod draw;
mod select;
mod world;

use std::collections::BTreeMap;
use std::time::Duration;

use crate::plan::{Expects, Plan, Position, Source, Wait};
use crate::script::{Case, Expect, Script, Step};
use crate::testbed::Action;

pub use draw::draw;
use world::World;

/// What of a plan is carried out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// The one case to judge; those before it are set-up. `None`: all cases.
    pub only: Option<String>,
}

/// A plan asks for something impossible.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Impossible {
    /// At which step of the plan file.
    pub at: Position,
    /// What.
    pub what: String,
    /// What would be possible.
    pub help: String,
}

impl std::fmt::Display for Impossible {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}; {}", self.what, self.help)
    }
}

impl std::error::Error for Impossible {}

/// The most that the seed adds to an `after`, and in which steps.
pub const AFTER_EXTRA_MAX: Duration = Duration::from_secs(2);
/// The grid of the delays that the seed draws.
pub const AFTER_EXTRA_STEP: Duration = Duration::from_millis(10);

/// Draws what `plan` leaves to chance from `seed`, and makes a script of it.
///
/// # Errors
///
/// The plan asks for something impossible, or `options` name a case that it does not have.
pub fn resolve(plan: &Plan, seed: u64, options: &Options) -> Result<Script, Impossible> {
    script(&draw(plan, seed, options)?)
}

/// The script of a plan in which nothing is left to chance; what is, is taken as it stands.
///
/// # Errors
///
/// The plan asks for something impossible.
pub fn script(plan: &Plan) -> Result<Script, Impossible> {
    let mut world = World::new(plan);
    let mut prerequisites = vec![start(plan)];
    prerequisites.extend(world.case(&plan.prerequisites)?);
    let mut cases = Vec::new();
    for case in &plan.cases {
        let steps = match case.expects {
            Expects::Steps => {
                let mut steps = world.case(&case.steps)?;
                steps.push(settle(Expect::Rest));
                steps
            }
            Expects::Nothing => {
                world.unknown = true;
                bare::case(&case.steps)?
            }
        };
        cases.push(Case {
            id: case.id.clone(),
            title: case.title.clone(),
            role: case.role,
            expects: case.expects,
            steps,
        });
    }
    let vms = plan.vms.iter();
    Ok(Script {
        plan: plan.name.clone(),
        vms: vms.map(|vm| (vm.vm, vm.controllers.clone())).collect(),
        prerequisites,
        cases,
        doubts: BTreeMap::new(),
    })
}

/// The start of the target: the first step of every script.
fn start(plan: &Plan) -> Step {
    let action = Action::StartTarget {
        controllers: plan.controllers.clone(),
        disks: plan.disks.clone(),
        kinds: plan.kinds.clone(),
    };
    let (controllers, disks) = (plan.controllers.len(), plan.disks.len());
    Step {
        source: both(&plan.controllers_source, &plan.disks_source),
        text: format!("run the target with {controllers} empty controllers, prepare {disks} disks"),
        after: Duration::ZERO,
        does: vec![action],
        wait: Wait::Answer,
        expect: Expect::Success { under: Vec::new() },
        branches: Vec::new(),
    }
}

/// The end of every case.
fn settle(expect: Expect) -> Step {
    Step {
        source: Source::Implied("what a case leaves pending would be blamed on the next".into()),
        text: Action::Settle.to_string(),
        after: Duration::ZERO,
        does: vec![Action::Settle],
        wait: Wait::Answer,
        expect,
        branches: Vec::new(),
    }
}

/// The lines of both.
fn both(a: &Source, b: &Source) -> Source {
    match (a, b) {
        (Source::Lines(a), Source::Lines(b)) => {
            let mut lines: Vec<u32> = a.iter().chain(b).copied().collect();
            lines.sort_unstable();
            lines.dedup();
            Source::Lines(lines)
        }
        (Source::Implied(_) | Source::Itself, other) => other.clone(),
        (lines, Source::Implied(_) | Source::Itself) => lines.clone(),
    }
}
