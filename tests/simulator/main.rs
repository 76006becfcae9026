//! The simulator: the same turns from the same seed, recordings, known bugs, properties.

mod bugs;
mod campaign;
mod conform;
mod corpus;
mod determinism;
mod golden;
mod guest_traces;
mod malformed;
mod plan_files;
mod property;
mod verify_state;
