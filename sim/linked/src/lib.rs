//! SPDK's own vhost-scsi target in this process: its C, unmodified, on one thread and in virtual time.
//!
//! The user links their own SPDK with the C in `shim/` into a library (`make -C sim/linked/shim SPDK_DIR=…`);
//! this crate loads it and makes it a [`Component`](wire::Component) like the model. Everything passes through
//! the header `shim/plugfest_target.h`, so another vhost-user target can be put behind it as well.
//!
//! Knows messages, memory and time. Knows nothing of plans, checks, or which SPDK is in the library. The only
//! `unsafe` of the deterministic crates is here, in [`library`].
//!
//! # Divergence from SPDK
//!
//! * A thread can be preempted only where it calls something of the shim's: locks, semaphores, messages and
//!   `rte_vhost_*`. A race inside straight code is not seen.
//! * Guest and target never truly overlap, and memory is sequentially consistent.
//! * DPDK's `rte_vhost` is the shim's own, written after lib/vhost of 26.03.
//! * bdevs are malloc, delay, error, split and null; no NVMe, lvol, raid, vhost-blk or interrupt mode.
//! * Pollers that would find nothing are not run, and what sends itself again waits longer and longer.

pub mod abi;
pub mod library;
mod memories;
mod target;
mod turn;

pub use library::{Config, Error, How, Left, Library, Out, Stepped};
pub use target::{Mark, Target};
pub use turn::Turn;
