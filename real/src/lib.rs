//! Everything that touches the machine.
//!
//! For now: what the machine has (`doctor`). Knows nothing of how schedules are chosen.
#![deny(unsafe_code)]

pub mod doctor;
pub mod qemu;
