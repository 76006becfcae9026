//! A model of SPDK's vhost-scsi and a model of a Linux guest, in one world with a seed.
//!
//! [`target`] and [`guest`] are sans-I/O and know nothing of each other or of [`world`], which
//! connects them: one thread, virtual time, a seed. Knows no sockets, processes, clocks, threads.
#![forbid(unsafe_code)]

pub mod access;
pub mod conform;
pub mod deviation;
pub mod dice;
pub mod end;
pub mod guest;
pub mod message;
pub mod target;
pub mod touched;
pub mod wire;
pub mod world;

pub use deviation::{Deviation, Deviations};
pub use dice::Dice;
pub use end::{ActorId, Cx, End, Memory, Took, When};
