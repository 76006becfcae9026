//! The target as a front-end and an RPC client see it.

mod bugs;
mod front_end;
mod hotplug;
mod invariants;
mod life;
mod rig;
mod rings;
