//! This machine: real fio, real guests, real disks.

mod fio;
mod fio_bytes;
mod fio_jobs;
mod hardware;
mod qemu;
