//! Bdevs as a target describes them, and what of this machine is behind them.
//!
//! Source: `bdev_get_bdevs` of SPDK. What is particular to a kind of bdev stands in `driver_specific`: `filename`
//! (bdev_aio, bdev_uring), `pci_address` (bdev_nvme), the name of another bdev (split, error, lvol, raid and
//! whatever else is built of bdevs).

use std::path::Path;

use serde_json::Value;

use super::refusal::{Erased, Refused, size};
use super::{Machine, PciAddress};

/// What a target says of its bdevs, and of those who use them.
#[derive(Clone, Debug, Default)]
pub struct Known {
    /// Its answer to `bdev_get_bdevs`.
    pub bdevs: Value,
    /// Its answers to [`USERS`]: SCSI devices open bdevs, and do not claim them (lib/scsi/lun.c).
    pub users: Vec<Value>,
}

/// Under which they stand there.
const BDEV_KEYS: [&str; 2] = ["bdev", "bdev_name"];

/// The methods that show who has opened a bdev without a claim.
pub const USERS: [&str; 4] = [
    "vhost_get_controllers",
    "iscsi_get_target_nodes",
    "nbd_get_disks",
    "ublk_get_disks",
];

impl Machine {
    /// What is erased with the NVMe controller at an address, once a target has attached it.
    ///
    /// # Errors
    ///
    /// The target has it already, or as [`Machine::device`].
    pub fn attached(&self, address: &PciAddress, known: &Known) -> Result<Erased, Refused> {
        for bdev in known.bdevs.as_array().into_iter().flatten() {
            let texts = texts(&bdev["driver_specific"]);
            let attached = texts.iter().filter(|(key, _)| *key == "pci_address");
            if { attached }.any(|(_, at)| PciAddress::lenient(at) == Some(*address)) {
                let name = bdev["name"].as_str().unwrap_or_default();
                return Err(Refused {
                    what: address.to_string(),
                    why: format!("the target has it already, as {name}"),
                    way: format!(
                        "expected a device of no bdev; if that is meant: --bdevs names:{name}"
                    ),
                });
            }
        }
        self.device(address)
    }

    /// What is erased with a bdev of a target.
    ///
    /// # Errors
    ///
    /// There is none of that name, somebody on the target uses it, or something of this machine that is behind it is in use.
    pub fn bdev(&self, name: &str, known: &Known) -> Result<Erased, Refused> {
        let Some(bdev) = find(name, &known.bdevs) else {
            return Err(Refused {
                what: name.to_owned(),
                why: "the target has no such bdev".to_owned(),
                way: "expected one of those that bdev_get_bdevs shows".to_owned(),
            });
        };
        if bdev["claimed"] != false {
            return Err(Refused {
                what: name.to_owned(),
                why: "somebody on the target has claimed it".to_owned(),
                way: "expected a bdev that no controller and no other bdev uses".to_owned(),
            });
        }
        let of_all = known.users.iter().flat_map(texts);
        if { of_all }.any(|(key, text)| BDEV_KEYS.contains(&key) && bdev["name"] == text) {
            return Err(Refused {
                what: name.to_owned(),
                why: "a controller of the target has it".to_owned(),
                way: "expected a bdev that no controller and no other bdev uses".to_owned(),
            });
        }
        let mut seen = vec![bdev];
        let mut next = 0;
        while let Some(bdev) = seen.get(next).copied() {
            next += 1;
            for (key, text) in texts(&bdev["driver_specific"]) {
                self.behind(name, key, text)?;
                let base = find(text, &known.bdevs).filter(|base| !seen.contains(base));
                seen.extend(base);
            }
        }
        Ok(Erased {
            name: name.to_owned(),
            about: about(bdev),
        })
    }

    /// That what a bdev says of itself names nothing that is in use on this machine.
    fn behind(&self, name: &str, key: &str, text: &str) -> Result<(), Refused> {
        match key {
            "pci_address" => match PciAddress::lenient(text) {
                Some(address) => self
                    .device(&address)
                    .map(|_| ())
                    .map_err(|refused| Refused {
                        what: format!("{name}: {}", refused.what),
                        ..refused
                    }),
                None => Ok(()),
            },
            "filename" => self.file(name, Path::new(text)),
            _ => Ok(()),
        }
    }

    fn file(&self, name: &str, file: &Path) -> Result<(), Refused> {
        let disk = match self.named(file) {
            Ok(disk) => disk,
            Err(error) => {
                return Err(Refused {
                    what: name.to_owned(),
                    why: format!(
                        "it is {}, and nobody can say who uses that: {error}",
                        file.display()
                    ),
                    way: "expected a file that can be looked at".to_owned(),
                });
            }
        };
        let held = match &disk {
            Some(disk) => self.use_of(disk),
            None => self.looped(file),
        };
        let of = disk.map_or_else(|| file.display().to_string(), |disk| self.words(&disk));
        held.map_or(Ok(()), |held| Err(held.of(&format!("{name}: {of}"))))
    }
}

/// What a target itself calls a bdev that is named by its name, an alias or its UUID.
#[must_use]
pub fn own_name(name: &str, known: &Known) -> Option<String> {
    let bdev = find(name, &known.bdevs)?;
    bdev["name"].as_str().map(str::to_owned)
}

fn find<'a>(name: &str, known: &'a Value) -> Option<&'a Value> {
    let is_called = |bdev: &&Value| {
        let aliases = bdev["aliases"].as_array().into_iter().flatten();
        bdev["name"] == name || bdev["uuid"] == name || { aliases }.any(|alias| alias == name)
    };
    known.as_array()?.iter().find(is_called)
}

/// All texts in a value, with the key under which each stands.
fn texts(value: &Value) -> Vec<(&str, &str)> {
    let mut found = Vec::new();
    let mut rest = vec![("", value)];
    while let Some((key, value)) = rest.pop() {
        match value {
            Value::String(text) => found.push((key, text.as_str())),
            Value::Array(all) => rest.extend(all.iter().map(|value| (key, value))),
            Value::Object(all) => rest.extend(all.iter().map(|(key, value)| (key.as_str(), value))),
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }
    found
}

/// "NVMe disk, 64 MiB", and whatever it says of model and serial number.
fn about(bdev: &Value) -> String {
    let kind = bdev["product_name"].as_str().unwrap_or("bdev");
    let number = |key: &str| bdev[key].as_u64().unwrap_or_default();
    let bytes = number("num_blocks").saturating_mul(number("block_size"));
    let mut about = format!("{kind}, {}", size(bytes));
    for (key, text) in texts(&bdev["driver_specific"]) {
        match key {
            "model_number" => about += &format!(", {}", text.trim()),
            "serial_number" => about += &format!(", serial number {}", text.trim()),
            "filename" | "pci_address" => about += &format!(", {text}"),
            _ => {}
        }
    }
    about
}
