//! The target as a front-end and an RPC client see it.

mod bugs;
mod front_end;
mod hotplug;
mod invariants;
mod life;
mod rig;
mod rings;

/// Invariants by name, each with a change to a target that breaks it.
pub type Mutants = &'static [(&'static str, fn(&mut crate::Target))];
