//! Lengths, places and parts of a device.
//!
//! Knows nothing of jobs.

/// A length or place on a device: in bytes, or as a share of the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Span {
    /// Bytes.
    Bytes(u64),
    /// Percent of the device.
    Percent(u32),
}

impl Span {
    /// In bytes, on a device of `device` bytes.
    pub fn of(self, device: u64) -> u64 {
        match self {
            Span::Bytes(bytes) => bytes,
            Span::Percent(percent) => (u128::from(device) * u128::from(percent) / 100) as u64,
        }
    }
}

/// One of several equal parts of a disk, each of which stands for a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// Which one, from 0.
    pub index: u32,
    /// Of how many.
    pub of: u32,
}

impl Part {
    /// The whole disk.
    pub const WHOLE: Part = Part { index: 0, of: 1 };

    /// All of so many parts, in order.
    pub fn all(of: u32) -> Vec<Part> {
        let of = of.max(1);
        (0..of).map(|index| Part { index, of }).collect()
    }

    /// Where it begins on a disk of `device` bytes, and where it ends: at whole MiB, if there are.
    pub fn bytes(self, device: u64) -> (u64, u64) {
        if self == Part::WHOLE {
            return (0, device);
        }
        let even = device / u64::from(self.of);
        let unit = if even >= 1 << 20 { 1 << 20 } else { 4096 };
        let len = even / unit * unit;
        let start = len * u64::from(self.index);
        (start, start + len)
    }
}

/// The part of the device that a job uses, after sizes were resolved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Region {
    /// Where it starts, in bytes.
    pub start: u64,
    /// How long it is.
    pub size: u64,
}
