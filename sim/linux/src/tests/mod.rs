//! The model guest against a scripted back-end, and against recordings of a real one.
//!
//! `data/` holds what a back-end saw of a Debian 6.1 guest in QEMU 7.2, distilled.

mod back_end;
mod boot;
mod hotplug;
mod io;
mod recorded;
