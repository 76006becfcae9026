//! The simulator: the same turns from the same seed, recordings, known bugs, properties.

mod bugs;
mod conform;
mod determinism;
mod golden;
mod guest_traces;
mod malformed;
mod plan_files;
mod property;
mod verify_state;
