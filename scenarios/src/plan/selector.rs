//! Which disks a fio runs on: `on="vm 3 4 but disk 9"`.
//!
//! Knows nothing of where disks are attached; [`resolve`](crate::resolve()) does.

use std::fmt;

use crate::names::{ControllerId, DiskId, VmId};

/// A set of attached disks, in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selector {
    /// Of these…
    pub base: Base,
    /// …but not these.
    pub but: Vec<DiskId>,
}

/// Before exceptions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Base {
    /// "attached", or "all": every disk attached now, in a VM that runs.
    Attached,
    /// "disk 3 4".
    Disks(Vec<DiskId>),
    /// "vm 1 2": every disk attached there.
    Vms(Vec<VmId>),
    /// "controller 5": every disk attached there.
    Controllers(Vec<ControllerId>),
}

/// What a selector may look like, for error messages.
pub(super) const EXPECTED: &str = r#""attached", "all", "disk 3", "vm 3 4" or "controller 5", and perhaps " but disk 9" behind it"#;

impl Selector {
    /// Reads one; `None` if it is not of the form in [`EXPECTED`].
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut words = text.split_whitespace().peekable();
        let noun = words.next()?;
        let mut numbers = Vec::new();
        while let Some(word) = words.next_if(|word| *word != "but") {
            numbers.push(number(word)?);
        }
        let mut but = Vec::new();
        if words.next().is_some() {
            if words.next()? != "disk" {
                return None;
            }
            for word in words {
                but.push(DiskId(number(word)?));
            }
            if but.is_empty() {
                return None;
            }
        }
        let base = match noun {
            "attached" | "all" if numbers.is_empty() => Base::Attached,
            _ if numbers.is_empty() => return None,
            "disk" => Base::Disks(numbers.into_iter().map(DiskId).collect()),
            "vm" => Base::Vms(numbers.into_iter().map(VmId).collect()),
            "controller" => Base::Controllers(numbers.into_iter().map(ControllerId).collect()),
            _ => return None,
        };
        Some(Self { base, but })
    }
}

/// An ID: 1 to 255.
fn number(word: &str) -> Option<u8> {
    word.parse().ok().filter(|n| *n > 0)
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.base {
            Base::Attached => write!(f, "all disks")?,
            Base::Disks(ids) => write!(f, "disk {}", spaced(ids.iter().map(|id| id.0)))?,
            Base::Vms(ids) => write!(f, "the disks of VM {}", spaced(ids.iter().map(|id| id.0)))?,
            Base::Controllers(ids) => write!(
                f,
                "the disks of controller {}",
                spaced(ids.iter().map(|id| id.0))
            )?,
        }
        if !self.but.is_empty() {
            write!(f, " but disk {}", spaced(self.but.iter().map(|id| id.0)))?;
        }
        Ok(())
    }
}

/// "1 2 3".
pub(crate) fn spaced(ids: impl Iterator<Item = u8>) -> String {
    ids.map(|id| id.to_string()).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_it_shows() {
        for (text, shown) in [
            ("attached", "all disks"),
            ("all", "all disks"),
            ("all but disk 9", "all disks but disk 9"),
            ("disk 3", "disk 3"),
            ("vm 3 4", "the disks of VM 3 4"),
            ("vm 3 4 but disk 9 10", "the disks of VM 3 4 but disk 9 10"),
            ("controller 5", "the disks of controller 5"),
        ] {
            assert_eq!(Selector::parse(text).unwrap().to_string(), shown);
        }
    }

    #[test]
    fn refuses_everything_else() {
        for text in [
            "",
            "disk",
            "disks 3",
            "disk 0",
            "disk 256",
            "disk x",
            "vm",
            "all 3",
            "all but",
            "all but 9",
            "all but disk",
            "disk 3 but vm 1",
        ] {
            assert_eq!(Selector::parse(text), None, "{text:?}");
        }
    }
}
