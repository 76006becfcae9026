//! What somebody in the guest sends beside its driver: task management, and steps of a script.

pub mod script;
pub mod tmf;
