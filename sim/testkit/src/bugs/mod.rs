//! Directed tests of known bugs: a table of which check catches which bug, and in which short script.
//!
//! On the models of SPDK and Linux.

pub mod episodes;
pub mod lab;
mod ring_episodes;
mod rpc_episodes;
pub mod table;

pub use lab::Lab;
pub use table::{ROWS, Row, results};
