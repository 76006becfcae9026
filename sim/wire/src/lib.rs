//! What passes between a target and its guests, and what both know of it: messages, guest memory and which of
//! its pages were written, the virtio ring and virtio-scsi as bytes, known bugs by name.
//!
//! Knows neither end. Layouts are numbers and offsets from the virtio 1.x specification; no policy.
#![forbid(unsafe_code)]

pub mod access;
pub mod bugs;
pub mod component;
pub mod dirty;
pub mod inside;
pub mod invariant;
pub mod message;
pub mod ring;
mod said;
pub mod scsi;

pub use bugs::{Bug, Bugs};
pub use component::{ActorId, Component, Cx, Memory, TurnInfo, When};
pub use inside::{BackEnd, FrontEnd, Inside};
pub use invariant::Invariant;
pub use scenarios::rng::{Rng, Stream};
