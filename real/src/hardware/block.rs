//! Block devices as sysfs has them, and who uses them.
//!
//! Sources: Documentation/ABI/stable/sysfs-block (`partition`, `holders`, `size` in units of 512 bytes);
//! Documentation/filesystems/proc.rst, 3.5 (`mountinfo`); drivers/nvme/host/multipath.c (`nvme%dc%dn%d`, a path
//! of the disk `nvme%dn%d`, which is under `nvme-subsystem`); Documentation/filesystems/btrfs and fs/btrfs/sysfs.c
//! (`/sys/fs/btrfs/UUID/devices`); drivers/block/loop.c (`loop/backing_file`).

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use nix::libc::{O_EXCL, O_NONBLOCK};
use nix::sys::stat::{major, minor};

use super::refusal::{Refused, size};
use super::{Machine, names, word};

/// Bytes of a sector, for sysfs.
const SECTOR: u64 = 512;
/// Mount points of what the system runs from.
const SYSTEM: [&str; 4] = ["/", "/boot", "/boot/efi", "/usr"];

/// Who uses a device, and what would end that.
pub(super) struct Use {
    why: String,
    way: String,
}

impl Use {
    pub(super) fn of(self, what: &str) -> Refused {
        Refused {
            what: what.to_owned(),
            why: self.why,
            way: self.way,
        }
    }
}

/// A line of `mountinfo`.
struct Mount {
    /// "259:1"; of no device for file systems with several, such as btrfs.
    number: String,
    point: String,
    source: String,
}

impl Machine {
    pub(super) fn class_block(&self) -> PathBuf {
        self.sysfs.join("class/block")
    }

    fn block(&self, disk: &str) -> PathBuf {
        self.class_block().join(disk)
    }

    /// The disks of a device, whose directory this is. A path of an NVMe disk that has several stands for it.
    pub(super) fn disks(&self, device: &Path) -> Vec<String> {
        let mut disks = Vec::new();
        for name in names(&self.class_block()) {
            let block = self.block(&name);
            let is_here = fs::canonicalize(&block).is_ok_and(|path| path.starts_with(device));
            if !is_here || block.join("partition").exists() {
                continue;
            }
            // A path has no node, and nobody uses it but the disk.
            match head(&name).filter(|head| self.block(head).exists()) {
                Some(head) => disks.push(head),
                None => disks.push(name),
            }
        }
        disks.sort();
        disks.dedup();
        disks
    }

    /// The disk or partition that a device node or a link to one stands for; `None`: it is an ordinary file.
    pub(super) fn named(&self, node: &Path) -> io::Result<Option<String>> {
        let all = names(&self.class_block());
        let path = node.to_string_lossy();
        if let Some(name) = all.iter().find(|name| self.is_node(&path, name)) {
            return Ok(Some(name.clone()));
        }
        let about = fs::metadata(node)?;
        if !about.file_type().is_block_device() {
            return Ok(None);
        }
        let number = format!("{}:{}", major(about.rdev()), minor(about.rdev()));
        let is_it = |name: &&String| self.number(name).as_ref() == Some(&number);
        all.iter().find(is_it).cloned().map(Some).ok_or_else(|| {
            let text = format!("sysfs has no block device {number}");
            io::Error::new(io::ErrorKind::NotFound, text)
        })
    }

    /// A disk's name, with its model, serial number and size, as far as they are known.
    pub(super) fn words(&self, disk: &str) -> String {
        let block = self.block(disk);
        let sectors = word(&block.join("size")).and_then(|text| text.parse().ok());
        let bytes = sectors.map(|sectors: u64| size(sectors.saturating_mul(SECTOR)));
        let about = ["device/model", "device/serial"].map(|file| word(&block.join(file)));
        let [model, serial] = about;
        let serial = serial.map(|serial| format!("serial number {serial}"));
        let known: Vec<String> = [model, serial, bytes].into_iter().flatten().collect();
        if known.is_empty() {
            return format!("/dev/{disk}");
        }
        format!("/dev/{disk} ({})", known.join(", "))
    }

    /// Who uses a disk: itself, its partitions, or what is built of them.
    pub(super) fn use_of(&self, disk: &str) -> Option<Use> {
        let all = self.tree(disk);
        let mounts = self.mounts();
        let mounted = |name: &String| {
            let on = mounts.iter().filter(|mount| self.is_of(mount, name));
            on.map(|mount| (name.clone(), mount.point.clone()))
                .collect::<Vec<_>>()
        };
        let mounted: Vec<(String, String)> = all.iter().flat_map(mounted).collect();
        let system = mounted.iter().find(|(_, at)| SYSTEM.contains(&at.as_str()));
        if let Some((name, at)) = system {
            return Some(Use {
                why: format!("this machine runs from it: /dev/{name} is mounted at {at}"),
                way: "expected another device".to_owned(),
            });
        }
        if let Some((name, at)) = mounted.first() {
            return Some(Use {
                why: format!("/dev/{name} is mounted at {at}"),
                way: format!("if what is there may be lost: umount {at}"),
            });
        }
        all.iter()
            .find_map(|name| self.claim(name))
            .or_else(|| self.partitioned(disk))
            .or_else(|| self.opened(disk))
    }

    /// A claim on one disk or partition that is no mount.
    fn claim(&self, name: &str) -> Option<Use> {
        let swaps = self.swaps.lines().skip(1);
        let swaps = swaps.filter_map(|line| line.split_whitespace().next());
        if { swaps }.any(|swap| self.is_node(&unescaped(swap), name)) {
            return Some(Use {
                why: format!("/dev/{name} is swap space"),
                way: format!("if it can be spared: swapoff /dev/{name}"),
            });
        }
        let btrfs = self.sysfs.join("fs/btrfs");
        let in_btrfs = |id: &String| btrfs.join(id).join("devices").join(name).exists();
        if let Some(id) = names(&btrfs).into_iter().find(in_btrfs) {
            return Some(Use {
                why: format!("/dev/{name} is part of the mounted btrfs {id}"),
                way: "if what is there may be lost: umount it".to_owned(),
            });
        }
        let holder = names(&self.block(name).join("holders"))
            .into_iter()
            .next()?;
        let called = word(&self.block(&holder).join("dm/name"));
        let called = called.map_or(String::new(), |called| format!(" ({called})"));
        Some(Use {
            why: format!("/dev/{name} is part of /dev/{holder}{called}"),
            way: format!(
                "if what is there may be lost: take {holder} apart (vgchange -an, mdadm --stop, dmsetup remove)"
            ),
        })
    }

    fn partitioned(&self, disk: &str) -> Option<Use> {
        let partitions = self.partitions(disk);
        (!partitions.is_empty()).then(|| Use {
            why: format!("it has partitions: {}", partitions.join(", ")),
            way: format!("if what is there may be lost: wipefs -a /dev/{disk}"),
        })
    }

    /// Whether somebody has it open for himself, such as a mount in another name space.
    fn opened(&self, disk: &str) -> Option<Use> {
        let flags = O_EXCL | O_NONBLOCK;
        let node = self.dev.join(disk);
        let opened = fs::OpenOptions::new()
            .read(true)
            .custom_flags(flags)
            .open(node);
        // Any other error says nothing: only root may open it.
        opened
            .is_err_and(|error| error.kind() == io::ErrorKind::ResourceBusy)
            .then(|| Use {
                why: format!("somebody has /dev/{disk} open for himself"),
                way: format!("to see who: fuser -v /dev/{disk}, lsblk /dev/{disk}"),
            })
    }

    /// A disk, its partitions, and all that is built of them.
    fn tree(&self, disk: &str) -> Vec<String> {
        let mut all = vec![disk.to_owned()];
        let mut next = 0;
        while let Some(name) = all.get(next).cloned() {
            next += 1;
            let below = [
                self.partitions(&name),
                names(&self.block(&name).join("holders")),
            ];
            for more in below.into_iter().flatten() {
                if !all.contains(&more) {
                    all.push(more);
                }
            }
        }
        all
    }

    fn partitions(&self, disk: &str) -> Vec<String> {
        let block = self.block(disk);
        let is_one = |name: &String| block.join(name).join("partition").is_file();
        names(&block).into_iter().filter(is_one).collect()
    }

    /// "259:1".
    fn number(&self, name: &str) -> Option<String> {
        word(&self.block(name).join("dev"))
    }

    fn mounts(&self) -> Vec<Mount> {
        self.mountinfo.lines().filter_map(mount).collect()
    }

    fn is_of(&self, mount: &Mount, name: &str) -> bool {
        self.number(name).as_ref() == Some(&mount.number) || self.is_node(&mount.source, name)
    }

    /// Whether a path is the node of a device, or a link to it.
    fn is_node(&self, path: &str, name: &str) -> bool {
        let Some(path) = path.strip_prefix("/dev/") else {
            return false;
        };
        let target = fs::canonicalize(self.dev.join(path));
        let target = target
            .ok()
            .and_then(|target| Some(target.file_name()?.to_owned()));
        path == name || target.is_some_and(|target| target == *name)
    }

    /// The loop device that a file is behind, if there is one.
    pub(super) fn looped(&self, file: &Path) -> Option<Use> {
        let behind = |name: &String| {
            let backing = word(&self.block(name).join("loop/backing_file"));
            backing.is_some_and(|backing| Path::new(&backing) == file)
        };
        let name = names(&self.class_block()).into_iter().find(behind)?;
        Some(Use {
            why: format!("{} is behind /dev/{name}", file.display()),
            way: format!("if what is there may be lost: losetup -d /dev/{name}"),
        })
    }
}

/// The disk of which this is a path: nvme0n1 of nvme0c1n1.
fn head(name: &str) -> Option<String> {
    let (subsystem, rest) = name.strip_prefix("nvme")?.split_once('c')?;
    let (_, namespace) = rest.split_once('n')?;
    Some(format!("nvme{subsystem}n{namespace}"))
}

/// `ID PARENT MAJOR:MINOR ROOT POINT OPTIONS [FIELD]… - TYPE SOURCE OPTIONS`.
fn mount(line: &str) -> Option<Mount> {
    let (before, after) = line.split_once(" - ")?;
    let mut before = before.split(' ').skip(2);
    let (number, point) = (before.next()?, before.nth(1)?);
    let source = after.split(' ').nth(1)?;
    Some(Mount {
        number: number.to_owned(),
        point: unescaped(point),
        source: unescaped(source),
    })
}

/// Without the kernel's `\040`.
fn unescaped(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((first, more)) = rest.split_first() {
        let octal = more.get(..3).and_then(|digits| {
            let digits = std::str::from_utf8(digits).ok()?;
            u8::from_str_radix(digits, 8).ok()
        });
        match octal.filter(|_| *first == b'\\') {
            Some(byte) => {
                bytes.push(byte);
                rest = &more[3..];
            }
            None => {
                bytes.push(*first);
                rest = more;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
