//! Everything that touches the machine: what it has (`doctor`, `huge_pages`), what must not be erased of it
//! (`hardware`), the model target behind sockets (`serve`),
//! vhost-user and JSON-RPC on sockets, recordings played over them (`socket_peer`), guests in QEMU (`qemu`) and
//! modelled ones on sockets (`model`), and the testbed that these make (`testbed`).
//!
//! Knows nothing of how schedules are chosen.
#![deny(unsafe_code)]

pub mod doctor;
pub mod hardware;
pub mod huge_pages;
pub mod model;
pub mod qemu;
pub mod rpc;
pub mod serve;
pub mod socket_peer;
pub mod stopwatch;
pub mod testbed;
pub mod vhost_user;
