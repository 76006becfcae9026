//! A plan whose steps come at other moments: what a seed makes of it.
//!
//! Times are no earlier than, so that what a plan expects holds at any moment; a script in which a step comes at
//! another place in the order would be another plan.

use std::time::Duration;

use scenarios::plan::{Branch, Clock, Plan, Step, StepKind};
use scenarios::resolve::{Options, draw};

use crate::run_error::RunError;
use sim::{Rng, Stream};

/// Times before a step, in microseconds: none, less than a hop between threads, about a turn, about each of the
/// target's periods (management 5 ms, RPC 4 ms), and longer.
const GAPS_US: [u64; 8] = [0, 3, 40, 700, 4_100, 5_300, 33_000, 210_000];
/// The latest moment on a job's clock, as a multiple of what the plan says, in quarters: jobs run for ten seconds,
/// and plans wait for three.
const QUARTERS_MAX: u32 = 10;
/// The grid of moments on a job's clock.
const GRID: Duration = Duration::from_millis(10);

/// `plan` with its steps at moments that `seed` draws.
///
/// # Errors
///
/// The plan asks for something impossible.
pub fn moved(plan: &Plan, seed: u64) -> Result<Plan, RunError> {
    let drawn = draw(plan, seed, &Options::default());
    let mut plan = drawn?;
    let mut rng = Rng::new(seed, Stream::Moments);
    for case in &mut plan.cases {
        move_all(&mut rng, &mut case.steps);
    }
    plan.recorded = None;
    Ok(plan)
}

fn move_all(rng: &mut Rng, steps: &mut [Step]) {
    for step in steps {
        match &mut step.kind {
            StepKind::After { at, .. } => {
                let (Clock::AtLeast(said) | Clock::Exactly(said)) = *at;
                let most = said * QUARTERS_MAX / 4;
                let ticks = (most.as_millis() / GRID.as_millis()) as u32;
                *at = Clock::Exactly(GRID * rng.below(ticks + 1));
            }
            StepKind::Fio { body, .. } => move_all(rng, body),
            StepKind::Parallel { branches } => {
                for Branch { steps, .. } in branches {
                    move_all(rng, steps);
                }
            }
            StepKind::Repeat { steps, .. } => move_all(rng, steps),
            StepKind::Attach { .. }
            | StepKind::Detach { .. }
            | StepKind::Act(_)
            | StepKind::Gone { .. }
            | StepKind::Present { .. }
            | StepKind::Failed { .. }
            | StepKind::Passed { .. }
            | StepKind::Kept { .. } => {
                let gap = GAPS_US[rng.below(GAPS_US.len() as u32) as usize];
                step.after = Duration::from_micros(gap);
            }
        }
    }
}
