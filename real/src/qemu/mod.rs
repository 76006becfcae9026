//! Real guests: QEMU with a Linux of the distribution's, fio, and an agent of ours.
//!
//! ```text
//!  image ─▶ process ──virtio-serial──▶ agent.sh   (agent: what is said on that line)
//!              │  └────QMP────▶ qmp
//!              └─ the console, read for oopses
//! ```
//!
//! Knows QEMU and Linux; knows no plan, and of the target nothing but the paths of its sockets.

mod cpio;
pub mod image;
mod kernel;

use std::fmt;
use std::path::Path;

pub use image::{Image, ImageOptions};

/// Why there is no image for guests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageError(pub String);

impl ImageError {
    fn at(path: &Path, error: &dyn fmt::Display) -> Self {
        Self(format!("{}: {error}", path.display()))
    }
}

impl fmt::Display for ImageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ImageError {}
