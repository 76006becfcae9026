//! The simulator: a model of SPDK vhost-scsi and a model of a Linux guest, in one world with a seed.
//!
//! Assembles the rooms and names them: [`spdk`] and [`linux`] are sans-I/O and know nothing of each other or of
//! [`world`], which connects them; [`wire`] is what passes between them; [`conformance`] plays recordings.
//! Knows no sockets, processes, clocks, threads.
#![forbid(unsafe_code)]

pub mod calls;
pub mod rpc_client;
mod sim_snapshot;
mod testbed;
pub mod together;

pub use calls::DISK_BYTES;
pub use conformance;
pub use linux;
pub use sim_snapshot::SimSnapshot;
pub use spdk;
pub use testbed::{Sim, SimOptions};
pub use wire;
pub use wire::{ActorId, Bug, Bugs, Component, Cx, Memory, Rng, Stream, TurnInfo, When};
pub use world;
