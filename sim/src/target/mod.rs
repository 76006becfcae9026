//! The model target: SPDK's vhost-scsi as SPDK is, sans-I/O.
//!
//! Knows memory, messages and time. Knows nothing of the guest model, of the world, or of sockets.

pub mod bdev;
pub mod rpc;
pub mod scsi;
