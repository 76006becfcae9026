//! What is said of a device: why it is not touched, or what is lost with it.

use std::fmt;

/// Why nothing is written to a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The device, and what it is.
    pub what: String,
    /// Who uses it.
    pub why: String,
    /// What would free it.
    pub way: String,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, why, way } = self;
        write!(f, "{what}: {why}; it is not touched\n  = {way}")
    }
}

impl std::error::Error for Refused {}

/// What loses its data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Erased {
    /// A PCI address, or the name of a bdev.
    pub name: String,
    /// What is known of it.
    pub about: String,
}

impl fmt::Display for Erased {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.name, self.about)
    }
}

/// "64 MiB", rounded down.
pub(super) fn size(bytes: u64) -> String {
    let units = [(40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB")];
    let fits = units.iter().find(|(shift, _)| bytes >> shift > 0);
    fits.map_or_else(
        || format!("{bytes} bytes"),
        |(shift, unit)| format!("{} {unit}", bytes >> shift),
    )
}
