//! A PCI address as the kernel writes it.

use std::fmt;
use std::str::FromStr;

/// Devices of a bus (PCI Local Bus Specification, 3.2.2.3.4).
const DEVICES: u8 = 32;
/// Functions of a device.
const FUNCTIONS: u8 = 8;

/// A PCI address: `0000:01:00.0`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PciAddress {
    domain: u32,
    bus: u8,
    device: u8,
    function: u8,
}

impl PciAddress {
    /// Reads an address as SPDK's `spdk_pci_addr_parse` does: the domain may be missing, and zeros before
    /// numbers; digits are large or small. `None`: it is none.
    #[must_use]
    pub fn lenient(text: &str) -> Option<Self> {
        let (rest, function) = text.rsplit_once('.')?;
        let mut parts = rest.rsplit(':');
        let (device, bus) = (parts.next()?, parts.next()?);
        let domain = parts.next().unwrap_or("0");
        if parts.next().is_some() {
            return None;
        }
        let address = Self {
            domain: number(domain, 8)?,
            bus: u8::try_from(number(bus, 2)?).ok()?,
            device: u8::try_from(number(device, 2)?).ok()?,
            function: u8::try_from(number(function, 1)?).ok()?,
        };
        (address.device < DEVICES && address.function < FUNCTIONS).then_some(address)
    }
}

/// A hexadecimal number of so many digits at most.
fn number(text: &str, digits_max: usize) -> Option<u32> {
    let digits = text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let fits = (1..=digits_max).contains(&text.len());
    u32::from_str_radix(text, 16)
        .ok()
        .filter(|_| digits && fits)
}

impl FromStr for PciAddress {
    type Err = String;

    /// Reads one in full: what it names shall be the same for the kernel, for SPDK and for `--erase`.
    fn from_str(text: &str) -> Result<Self, String> {
        match Self::lenient(text) {
            Some(address) if address.to_string() == text => Ok(address),
            Some(address) => Err(format!("{text}: expected it in full, {address}")),
            None => Err(format!(
                "{text}: expected a PCI address, such as 0000:01:00.0"
            )),
        }
    }
}

impl fmt::Display for PciAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (domain, bus, device) = (self.domain, self.bus, self.device);
        write!(f, "{domain:04x}:{bus:02x}:{device:02x}.{}", self.function)
    }
}
