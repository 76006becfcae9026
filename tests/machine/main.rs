//! This machine: real fio, real guests, real disks.

mod fio;
mod fio_bytes;
mod fio_jobs;
mod fio_options;
mod hardware;
mod qemu;
