//! Byte layouts that both ends share: the virtio ring and virtio-scsi.
//!
//! Numbers and offsets only, from the virtio 1.x specification; no policy of either end.

pub mod ring;
pub mod scsi;
