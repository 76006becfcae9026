//! What passes between a target and its guests, and what both know of it: messages, guest memory and which of
//! its pages were written, the virtio ring and virtio-scsi as bytes, known bugs by name, random numbers.
//!
//! Knows neither end. Layouts are numbers and offsets from the virtio 1.x specification; no policy.
#![forbid(unsafe_code)]

pub mod access;
pub mod deviation;
pub mod dice;
pub mod end;
pub mod message;
pub mod ring;
pub mod scsi;
pub mod touched;

pub use deviation::{Deviation, Deviations};
pub use dice::Dice;
pub use end::{ActorId, Cx, End, Memory, Took, When};
