//! This machine: real fio, real guests, real disks.

mod fio;
mod fio_bytes;
mod fio_files;
mod fio_jobs;
mod fio_options;
mod fio_trims;
mod hardware;
mod qemu;
