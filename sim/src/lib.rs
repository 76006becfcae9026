//! The simulator: a model of SPDK vhost-scsi and a model of a Linux guest, in one world with a seed.
//!
//! Assembles the rooms and names them: [`spdk`] and [`linux`] are sans-I/O and know nothing of each other or of
//! [`world`], which connects any two ends; [`wire`] is what passes between them; [`conformance`] plays recordings.
//! Knows no sockets, processes, clocks, threads.
#![forbid(unsafe_code)]

mod disks;
mod ends;
mod linked_disks;
mod options;
mod sim_snapshot;
mod testbed;

pub use conformance;
pub use disks::{DISKS_MAX, ModelledDisks, nvme_devices};
pub use ends::guest_act;
pub use linked;
pub use linked_disks::LinkedDisks;
pub use linux;
pub use options::SimOptions;
pub use sim_snapshot::SimSnapshot;
pub use spdk;
pub use testbed::Sim;
pub use wire;
pub use wire::{ActorId, Bug, Bugs, Component, Cx, Memory, Rng, Stream, TurnInfo, When};
pub use world;

/// The model target and model guests in one world.
pub type ModelWorld = world::World<spdk::Target, linux::Guest>;
