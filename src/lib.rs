//! Placeholder.

mod conform_command;

pub use conform_command::{ConformOptions, conform_command};
