//! `plugfest doctor`: which testbeds can run on this machine, and what is missing for the others.
//!
//! Looks, and changes nothing: opens files and a socket, asks programs for their version.

use std::env;
use std::fmt;
use std::fs;
use std::io;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::hardware::Machine;
use crate::qemu::kernel::Kernel;
use crate::qemu::{Accelerator, accelerator, image};

/// What the machine has, for every quadrant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Doctor {
    /// What was looked for.
    pub findings: Vec<Finding>,
    /// The quadrants.
    pub quadrants: Vec<Quadrant>,
}

/// Something that a quadrant needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What.
    pub what: Need,
    /// What was found, or how to get it.
    pub found: Result<String, String>,
}

/// Things that quadrants need, or are better with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// `qemu-system-x86_64`.
    Qemu,
    /// `/dev/kvm`, readable and writable.
    Kvm,
    /// `fio`, to be put into guests.
    Fio,
    /// A Linux kernel to boot guests with.
    Kernel,
    /// `busybox`, for the guests' initramfs.
    Busybox,
    /// Free huge pages.
    Hugepages,
    /// An NVMe controller that a run may erase.
    NvmeDevice,
    /// A JSON-RPC socket that somebody listens on.
    RpcSocket,
}

/// A testbed: a model or the real thing at each end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quadrant {
    /// Its name.
    pub name: &'static str,
    /// What it consists of.
    pub about: &'static str,
    /// What it cannot do without, and does not have here.
    pub missing: Vec<Need>,
    /// What it could do without, and does not have here.
    pub wanting: Vec<Need>,
}

impl Need {
    /// All.
    const ALL: [Self; 8] = [
        Self::Qemu,
        Self::Kvm,
        Self::Fio,
        Self::Kernel,
        Self::Busybox,
        Self::Hugepages,
        Self::NvmeDevice,
        Self::RpcSocket,
    ];

    /// What it is called.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Qemu => "qemu",
            Self::Kvm => "kvm",
            Self::Fio => "fio",
            Self::Kernel => "guest kernel",
            Self::Busybox => "busybox",
            Self::Hugepages => "huge pages",
            Self::NvmeDevice => "NVMe device",
            Self::RpcSocket => "SPDK RPC socket",
        }
    }
}

/// Looks at the machine; `rpc_socket` is where SPDK would listen.
#[must_use]
pub fn examine(rpc_socket: &Path) -> Doctor {
    let findings: Vec<Finding> = Need::ALL
        .into_iter()
        .map(|what| Finding {
            what,
            found: look_for(what, rpc_socket),
        })
        .collect();
    let lacks = |needs: &[Need]| {
        let absent = |need: &&Need| {
            findings
                .iter()
                .any(|f| f.what == **need && f.found.is_err())
        };
        needs.iter().filter(absent).copied().collect::<Vec<_>>()
    };
    let guests = [Need::Qemu, Need::Kernel, Need::Busybox, Need::Fio];
    let quadrants = vec![
        Quadrant {
            name: "sim",
            about: "model target, model guest",
            missing: Vec::new(),
            wanting: Vec::new(),
        },
        Quadrant {
            name: "serve",
            about: "model target, QEMU guest",
            missing: lacks(&guests),
            wanting: lacks(&[Need::Kvm]),
        },
        Quadrant {
            name: "socket",
            about: "SPDK target, model guest",
            missing: lacks(&[Need::RpcSocket]),
            wanting: lacks(&[Need::Hugepages, Need::NvmeDevice]),
        },
        Quadrant {
            name: "full",
            about: "SPDK target, QEMU guest",
            missing: lacks(&[&guests[..], &[Need::RpcSocket]].concat()),
            wanting: lacks(&[Need::Kvm, Need::Hugepages, Need::NvmeDevice]),
        },
    ];
    Doctor {
        findings,
        quadrants,
    }
}

fn look_for(what: Need, rpc_socket: &Path) -> Result<String, String> {
    match what {
        Need::Qemu => program("qemu-system-x86_64", &["--version"], "qemu-system-x86"),
        Need::Kvm => kvm(),
        Need::Fio => program("fio", &["--version"], "fio"),
        Need::Kernel => kernel(),
        Need::Busybox => program("busybox", &["--help"], "busybox-static"),
        Need::Hugepages => hugepages(),
        Need::NvmeDevice => nvme_device(),
        Need::RpcSocket => match UnixStream::connect(rpc_socket) {
            Ok(_) => Ok(format!("{} answers", rpc_socket.display())),
            Err(error) => Err(format!(
                "{}: {error}; start SPDK's vhost or `plugfest serve`, or say where with --rpc-socket PATH",
                rpc_socket.display()
            )),
        },
    }
}

/// A program on the path, and the first line that it says with `arguments`.
fn program(name: &str, arguments: &[&str], package: &str) -> Result<String, String> {
    let path = env::var_os("PATH").unwrap_or_default();
    let found = env::split_paths(&path)
        .map(|dir| dir.join(name))
        .find(|file| file.is_file());
    let Some(file) = found else {
        return Err(format!(
            "{name} is not on the path; for instance: apt install {package}"
        ));
    };
    let said = Command::new(&file)
        .args(arguments)
        .stdin(Stdio::null())
        .output();
    match said {
        Ok(said) if said.status.success() => {
            let said = String::from_utf8_lossy(&said.stdout);
            let line = said.lines().next().unwrap_or_default();
            Ok(format!("{}: {line}", file.display()))
        }
        Ok(said) => Err(format!("{} does not run: {}", file.display(), said.status)),
        Err(error) => Err(format!("{} does not run: {error}", file.display())),
    }
}

/// Where QEMU works with KVM. A device node alone says little: it may be there, and run no CPU.
fn kvm() -> Result<String, String> {
    let file = "/dev/kvm";
    let opened = fs::OpenOptions::new().read(true).write(true).open(file);
    let slow = "without it guests are emulated, and slow";
    match opened {
        Ok(_) if accelerator() == Accelerator::Kvm => {
            Ok(format!("{file}: QEMU runs a CPU with it"))
        }
        Ok(_) => Err(format!(
            "{file}: no QEMU runs a CPU with it; {slow}; in a VM, its host has to allow that (`modprobe kvm_intel nested=1`)"
        )),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            Err(format!("{file}: {error}; {slow}; `adduser $USER kvm`"))
        }
        Err(error) => Err(format!(
            "{file}: {error}; {slow}; `modprobe kvm_intel` or `modprobe kvm_amd`"
        )),
    }
}

/// Something for `--bdevs nvme:`.
fn nvme_device() -> Result<String, String> {
    let machine = Machine::this().map_err(|error| error.to_string())?;
    let all = machine.controllers();
    let looked: Vec<_> = all.iter().map(|address| machine.device(address)).collect();
    let memory = "without one, disks are memory of the target";
    let setup = "`lspci -Dd ::0108`, then SPDK's `scripts/setup.sh`";
    match looked.iter().find_map(|one| one.as_ref().ok()) {
        Some(erased) => Ok(erased.to_string()),
        None if looked.is_empty() => Err(format!("none here; {memory}; if one was added: {setup}")),
        None => Err(format!(
            "{} here, all in use; {memory}; to free one: {setup}",
            looked.len()
        )),
    }
}

/// A kernel with its modules: installed, or unpacked for an earlier image.
fn kernel() -> Result<String, String> {
    match Kernel::known(&image::cache()) {
        Some(kernel) => Ok(kernel.image.display().to_string()),
        None => Err(
            "none with its modules; `plugfest guest build` downloads one, or apt install linux-image-cloud-amd64"
                .into(),
        ),
    }
}

fn hugepages() -> Result<String, String> {
    let text =
        fs::read_to_string("/proc/meminfo").map_err(|error| format!("/proc/meminfo: {error}"))?;
    match free_hugepages(&text) {
        Some(free) if free > 0 => Ok(format!("{free} free")),
        _ => Err("none free; `sysctl vm.nr_hugepages=1024`, or run SPDK with --no-huge".into()),
    }
}

fn free_hugepages(meminfo: &str) -> Option<u64> {
    let line = meminfo
        .lines()
        .find_map(|line| line.strip_prefix("HugePages_Free:"))?;
    line.trim().parse().ok()
}

impl fmt::Display for Doctor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "testbeds:")?;
        for quadrant in &self.quadrants {
            let state = if quadrant.missing.is_empty() {
                "ready"
            } else {
                "not ready"
            };
            writeln!(f, "  {:<7} {:<26} {state}", quadrant.name, quadrant.about)?;
            if !quadrant.missing.is_empty() {
                writeln!(f, "          missing: {}", words(&quadrant.missing))?;
            }
            if !quadrant.wanting.is_empty() {
                writeln!(f, "          better with: {}", words(&quadrant.wanting))?;
            }
        }
        writeln!(f, "\nthis machine:")?;
        for finding in &self.findings {
            let (mark, text) = match &finding.found {
                Ok(text) => ("yes", text),
                Err(text) => ("no ", text),
            };
            writeln!(f, "  {mark} {:<16} {text}", finding.what.word())?;
        }
        Ok(())
    }
}

fn words(needs: &[Need]) -> String {
    needs
        .iter()
        .map(|need| need.word())
        .collect::<Vec<_>>()
        .join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_free_huge_pages() {
        assert_eq!(
            free_hugepages("HugePages_Total:  8\nHugePages_Free:   5\n"),
            Some(5)
        );
        assert_eq!(free_hugepages("MemTotal: 1 kB\n"), None);
    }

    #[test]
    fn a_socket_that_is_not_there_is_missing_where_it_is_needed() {
        let doctor = examine(Path::new("/nonexistent/spdk.sock"));
        let lacks = |name: &str| {
            let quadrant = doctor
                .quadrants
                .iter()
                .find(|quadrant| quadrant.name == name);
            quadrant.unwrap().missing.contains(&Need::RpcSocket)
        };
        assert!(lacks("socket") && lacks("full"));
        assert!(!lacks("sim") && !lacks("serve"));
        let text = doctor.to_string();
        assert!(text.contains("/nonexistent/spdk.sock: No such file or directory"));
        assert!(text.lines().count() <= 24, "one screen:\n{text}");
    }
}
