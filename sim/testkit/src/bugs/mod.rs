//! Directed tests of known bugs: a table of which check catches which bug, and in which short script.
//!
//! On the models of SPDK and Linux.

pub mod harness;
pub mod hotplug;
mod rings;
mod rpcs;
pub mod table;

pub use harness::Harness;
pub use table::{ROWS, Row, results};
