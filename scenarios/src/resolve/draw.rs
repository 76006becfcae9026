//! What a plan leaves to chance, drawn: a plan again, in which everything stands.

use std::time::Duration;

use super::{AFTER_EXTRA_MAX, AFTER_EXTRA_STEP, Impossible, Options};
use crate::plan::{Branch, Case, Clock, Plan, Position, Role, SlotBy, Step, StepKind};
use crate::rng::{Rng, Stream};
use crate::testbed::Action;

/// The cases of `plan` that `options` name, with every draw made from `seed`.
///
/// # Errors
///
/// `options` name a case that it does not have.
pub fn draw(plan: &Plan, seed: u64, options: &Options) -> Result<Plan, Impossible> {
    let last = match &options.only {
        None => plan.cases.len().saturating_sub(1),
        Some(id) => {
            let known = || {
                let known: Vec<&str> = plan.cases.iter().map(|case| case.id.as_str()).collect();
                Impossible {
                    at: Position::default(),
                    what: format!("plan {:?} has no case {id:?}", plan.name),
                    help: format!("it has {}", known.join(", ")),
                }
            };
            let named = plan.cases.iter().position(|case| case.id == *id);
            named.ok_or_else(known)?
        }
    };
    let mut rng = Rng::new(seed, Stream::Stimulus);
    let prerequisites = steps(&mut rng, &plan.prerequisites);
    let cases = plan.cases.iter().enumerate().take(last + 1);
    let cases = cases.map(|(at, case)| Case {
        role: if options.only.is_none() || at == last {
            case.role
        } else {
            Role::SetUp
        },
        steps: steps(&mut rng, &case.steps),
        ..case.clone()
    });
    Ok(Plan {
        prerequisites,
        cases: cases.collect(),
        ..plan.clone()
    })
}

fn steps(rng: &mut Rng, all: &[Step]) -> Vec<Step> {
    let mut drawn = Vec::new();
    for step in all {
        if let StepKind::Repeat { times, steps: body } = &step.kind {
            (0..*times).for_each(|_| drawn.extend(steps(rng, body)));
            continue;
        }
        drawn.push(Step {
            kind: kind(rng, step),
            ..step.clone()
        });
    }
    drawn
}

fn kind(rng: &mut Rng, step: &Step) -> StepKind {
    match &step.kind {
        // What is to be refused has no slot.
        StepKind::Attach {
            disk,
            controller,
            by: SlotBy::Drawn,
        } => {
            if step.refused.is_none() && rng.chance(1, 2) {
                let by = SlotBy::Number;
                return StepKind::Attach {
                    disk: *disk,
                    controller: *controller,
                    by,
                };
            }
            StepKind::Act(vec![Action::Attach {
                disk: *disk,
                controller: *controller,
                target: None,
            }])
        }
        StepKind::After {
            at: Clock::AtLeast(at),
            of,
        } => {
            let most = AFTER_EXTRA_MAX.as_millis() / AFTER_EXTRA_STEP.as_millis();
            let extra: Duration = AFTER_EXTRA_STEP * rng.below(most as u32 + 1);
            StepKind::After {
                at: Clock::Exactly(*at + extra),
                of: of.clone(),
            }
        }
        StepKind::Fio {
            label,
            on,
            job,
            expect,
            body,
        } => StepKind::Fio {
            label: label.clone(),
            on: on.clone(),
            job: job.clone(),
            expect: *expect,
            body: steps(rng, body),
        },
        StepKind::Parallel { branches } => StepKind::Parallel {
            branches: branches
                .iter()
                .map(|branch| Branch {
                    name: branch.name.clone(),
                    steps: steps(rng, &branch.steps),
                })
                .collect(),
        },
        StepKind::Attach {
            by: SlotBy::Number, ..
        }
        | StepKind::After {
            at: Clock::Exactly(_),
            ..
        }
        | StepKind::Detach { .. }
        | StepKind::Act(_)
        | StepKind::Gone { .. }
        | StepKind::Present { .. }
        | StepKind::Failed { .. }
        | StepKind::Passed { .. }
        | StepKind::Kept { .. }
        | StepKind::Repeat { .. } => step.kind.clone(),
    }
}
