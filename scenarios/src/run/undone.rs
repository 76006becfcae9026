//! What the testbed could not do, and which failures that takes the blame for.
//!
//! A disk that was not removed is still there: what a later step finds says nothing of the target then. Knows
//! nothing of checks, which judge only what was done.

use super::StepResult;
use super::known::Known;
use crate::script::Step;
use crate::testbed::Action;

/// The first step that was not done, if what is there is another than the plan says because of it.
#[derive(Default)]
pub(super) struct Undone(Option<String>);

impl Undone {
    /// Takes note of a step that could not even be asked for.
    pub(super) fn note(&mut self, step: &Step) {
        if step.does.iter().any(Action::changes_what_is_there) {
            self.0.get_or_insert_with(|| step.text.clone());
        }
    }

    /// What is left of a result: a failure that may come of what was not done says nothing. Nothing that was left
    /// undone makes anybody crash, or the target fall silent.
    pub(super) fn excuse(&self, result: StepResult, known: &Known) -> StepResult {
        match (result, &self.0) {
            (StepResult::Violated { expected, seen }, Some(undone)) if !known.is_broken() => {
                StepResult::Inconclusive {
                    reason: format!("\"{undone}\" was not done: expected {expected}, seen {seen}"),
                }
            }
            (result, _) => result,
        }
    }
}
