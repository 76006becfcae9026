//! The jobs that a plan names, and where it does.
//!
//! Knows no job file: which jobs there are is for whoever carries the plan out.

use super::{Plan, Position, READ_BACK_JOB, Step, StepKind};
use crate::testbed::Action;

/// A job that a plan names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NamedJob<'a> {
    /// Its name.
    pub name: &'a str,
    /// The line of the plan that names it.
    pub at: Position,
}

impl Plan {
    /// Every job that the plan names: its own first, then those of its fios, in order.
    #[must_use]
    pub fn jobs(&self) -> Vec<NamedJob<'_>> {
        let mut jobs = vec![NamedJob {
            name: &self.job,
            at: self.job_at,
        }];
        collect(&self.prerequisites, &mut jobs);
        for case in &self.cases {
            collect(&case.steps, &mut jobs);
        }
        jobs
    }
}

fn collect<'a>(steps: &'a [Step], jobs: &mut Vec<NamedJob<'a>>) {
    for step in steps {
        match &step.kind {
            StepKind::Fio { job, body, .. } => {
                jobs.push(NamedJob {
                    name: job,
                    at: step.at,
                });
                collect(body, jobs);
            }
            StepKind::Parallel { branches } => {
                branches.iter().for_each(|of| collect(&of.steps, jobs));
            }
            StepKind::Repeat { steps, .. } => collect(steps, jobs),
            StepKind::Act(actions) => {
                let named = actions.iter().filter_map(Action::job);
                jobs.extend(named.map(|name| NamedJob { name, at: step.at }));
            }
            StepKind::Kept { .. } => jobs.push(NamedJob {
                name: READ_BACK_JOB,
                at: step.at,
            }),
            StepKind::Attach { .. }
            | StepKind::Detach { .. }
            | StepKind::After { .. }
            | StepKind::Gone { .. }
            | StepKind::Present { .. }
            | StepKind::Failed { .. }
            | StepKind::Passed { .. } => {}
        }
    }
}
