//! A plan file, read whole: its text is a plan, and nothing in it is impossible.

use crate::plan::{self, Plan, PlanError};
use crate::resolve::script;

/// Reads a plan; `file` is its name in errors.
///
/// # Errors
///
/// The text is not KDL, or no plan, or asks for something impossible (a disk attached twice, a slot that is taken).
pub fn parse(file: &str, text: &str) -> Result<Plan, PlanError> {
    let plan = plan::parse(file, text)?;
    match script(&plan) {
        Ok(_) => Ok(plan),
        Err(error) => Err(PlanError::new(file, text, error.at, error.what, error.help)),
    }
}
