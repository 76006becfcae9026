//! The virtio_scsi driver: rings and buffers in guest memory, and the requests in them.

pub mod answer;
pub mod command;
pub mod hba;
mod head;
pub mod layout;
pub mod request;
pub mod ring;
