//! What a run on a target would erase on this machine: devices in use are refused, the others are named.
//!
//! ```text
//!  PCI address ──▶ sysfs: driver, disks ─┐
//!                                        ├─▶ in use? ─▶ Refused, or Erased
//!  bdev ──▶ its file, its PCI address ───┘   (mounts, swap, holders, partitions)
//! ```
//!
//! Looks, and changes nothing. A device that sysfs does not know is none of this machine: a target that has it
//! nevertheless, as the model does, cannot erase anything here with it.
//!
//! # Divergence from SPDK
//!
//! SPDK's `scripts/setup.sh` spares what is mounted, has partitions or holders, and is asked for by whoever
//! binds drivers. This asks again, for what a target is about to write to, and looks at swap space, btrfs,
//! loop devices and exclusive opens too. What neither sees: a file system that nobody mounts; a namespace that
//! is in use by way of another controller of the same subsystem; what a socket that is forwarded from
//! elsewhere has there.

mod address;
mod bdevs;
mod block;
mod refusal;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

pub use address::PciAddress;
pub use bdevs::{Known, USERS, own_name};
pub use refusal::{Erased, Refused};

/// PCI class of an NVMe controller, without its programming interface (PCI Code and ID Assignment, 1.8).
const NVME_CLASS: &str = "0x0108";
/// Drivers that leave a device to user space (SPDK's `scripts/setup.sh`).
const USER_SPACE: [&str; 3] = ["vfio-pci", "uio_pci_generic", "igb_uio"];

/// What the system knows of its devices, and of who uses them.
#[derive(Clone, Debug)]
pub struct Machine {
    sysfs: PathBuf,
    dev: PathBuf,
    mountinfo: String,
    swaps: String,
}

impl Machine {
    /// This one.
    ///
    /// # Errors
    ///
    /// The system does not tell.
    pub fn this() -> io::Result<Self> {
        let read = |path: &str| {
            let text = fs::read_to_string(path);
            text.map_err(|error| io::Error::new(error.kind(), format!("{path}: {error}")))
        };
        let swaps = match read("/proc/swaps") {
            // A kernel without swap space.
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            read => read?,
        };
        let mountinfo = read("/proc/self/mountinfo")?;
        let machine = Self::new(Path::new("/sys"), Path::new("/dev"), &mountinfo, &swaps);
        if machine.class_block().is_dir() {
            return Ok(machine);
        }
        let missing = "/sys/class/block: there is no sysfs";
        Err(io::Error::new(io::ErrorKind::NotFound, missing))
    }

    /// One whose sysfs and device nodes are at `sysfs` and `dev`, with the texts of `/proc/self/mountinfo` and
    /// `/proc/swaps`.
    #[must_use]
    pub fn new(sysfs: &Path, dev: &Path, mountinfo: &str, swaps: &str) -> Self {
        Self {
            sysfs: sysfs.to_owned(),
            dev: dev.to_owned(),
            mountinfo: mountinfo.to_owned(),
            swaps: swaps.to_owned(),
        }
    }

    /// The NVMe controllers that it has.
    #[must_use]
    pub fn controllers(&self) -> Vec<PciAddress> {
        let devices = self.sysfs.join("bus/pci/devices");
        let is_one = |name: &String| {
            let class = word(&devices.join(name).join("class"));
            class.is_some_and(|class| class.starts_with(NVME_CLASS))
        };
        let names = names(&devices).into_iter().filter(is_one);
        names.filter_map(|name| name.parse().ok()).collect()
    }

    /// What is erased with the NVMe controller at an address.
    ///
    /// # Errors
    ///
    /// It is no NVMe controller, a disk of it is in use, or the kernel has it.
    pub fn device(&self, address: &PciAddress) -> Result<Erased, Refused> {
        let name = address.to_string();
        let device = self.sysfs.join("bus/pci/devices").join(&name);
        let Ok(device) = fs::canonicalize(device) else {
            let about = "no device of this machine; the target says what it is".to_owned();
            return Ok(Erased { name, about });
        };
        let class = word(&device.join("class")).unwrap_or_default();
        if !class.starts_with(NVME_CLASS) {
            return Err(Refused {
                what: name,
                why: format!("it is no NVMe controller: its class is {class}"),
                way: "expected one of those that `lspci -Dd ::0108` lists".to_owned(),
            });
        }
        let disks = self.disks(&device);
        for disk in &disks {
            if let Some(held) = self.use_of(disk) {
                return Err(held.of(&format!("{name}: {}", self.words(disk))));
            }
        }
        let driver = fs::read_link(device.join("driver")).ok();
        let driver = driver.and_then(|link| Some(link.file_name()?.to_string_lossy().into_owned()));
        match driver {
            Some(driver) if !USER_SPACE.contains(&driver.as_str()) => Err(Refused {
                why: match disks.as_slice() {
                    [] => format!("the kernel's driver {driver} has it"),
                    disks => {
                        let disks: Vec<String> =
                            disks.iter().map(|disk| self.words(disk)).collect();
                        format!(
                            "the kernel's driver {driver} has it, as {}",
                            disks.join(", ")
                        )
                    }
                },
                way: format!(
                    "expected one that is left to user space: PCI_ALLOWED={name} scripts/setup.sh of SPDK does that"
                ),
                what: name,
            }),
            driver => {
                let id = |of| word(&device.join(of)).unwrap_or_else(|| "unknown".to_owned());
                let driver = driver.as_deref().unwrap_or("no driver");
                let (vendor, id) = (id("vendor"), id("device"));
                let about = format!("NVMe controller, vendor {vendor}, device {id}, {driver}");
                Ok(Erased { name, about })
            }
        }
    }
}

/// What a file of one line says.
fn word(file: &Path) -> Option<String> {
    let text = fs::read_to_string(file).ok()?;
    let text = text.trim();
    (!text.is_empty()).then(|| text.to_owned())
}

/// The names in a directory, sorted; none if there is no such directory.
fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    let mut names: Vec<String> = names.collect();
    names.sort();
    names
}
