//! For tests and benches: a tiny target that any world takes, a world driven by hand, malformed inputs, and directed
//! tests of known bugs.
//!
//! No product links it. [`bugs`] and [`malformed`] know the models; the rest knows [`wire`] and [`world`] alone.
#![forbid(unsafe_code)]

pub mod bugs;
pub mod chain;
pub mod directed;
pub mod disk;
pub mod malformed;
pub mod target;

pub use directed::{Directed, Watch};
pub use target::Target;
