//! For tests: a tiny target that any world takes, and a world driven by hand.
//!
//! Knows neither the models nor any plan or check; no product links it.
#![forbid(unsafe_code)]

pub mod chain;
pub mod directed;
pub mod disk;
pub mod target;

pub use directed::{Directed, Watch};
pub use target::Target;
