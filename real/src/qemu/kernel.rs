//! The guests' kernel and its modules: installed here, or taken out of the distribution's package.
//!
//! Knows Debian's names of packages and where they put a kernel; of a module, what it depends on.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::ImageError;

/// The package that depends on the newest small kernel for virtual machines.
const PACKAGE: &str = "linux-image-cloud-amd64";
/// Where it is unpacked, in the cache.
const KEPT: &str = "kernel";
/// What a guest cannot do without. Those that they depend on come with them.
const MODULES: [&str; 4] = ["virtio_pci", "virtio_console", "virtio_scsi", "sd_mod"];

/// A kernel, and where its modules are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kernel {
    /// The image that is booted.
    pub image: PathBuf,
    /// `…/lib/modules/VERSION`.
    pub modules: PathBuf,
}

impl Kernel {
    /// The one that `image` is, with its modules beside it or in `/lib/modules`.
    ///
    /// # Errors
    ///
    /// It is no kernel, or there are no modules of its version.
    pub fn of(image: &Path) -> Result<Self, ImageError> {
        let bytes = fs::read(image).map_err(|error| ImageError::at(image, &error))?;
        let version = version(&bytes)
            .ok_or_else(|| ImageError::at(image, &"not a Linux kernel image (bzImage)"))?;
        let beside = image.parent().and_then(Path::parent);
        let roots = beside.into_iter().chain([Path::new("/")]);
        let mut modules = roots.map(|root| root.join("lib/modules").join(&version));
        let modules = modules.find(|dir| dir.join("kernel").is_dir());
        let modules = modules.ok_or_else(|| {
            let why = format!(
                "no /lib/modules/{version}; install that kernel's package, or give an --initrd that has them"
            );
            ImageError::at(image, &why)
        })?;
        Ok(Self {
            image: image.to_owned(),
            modules,
        })
    }

    /// The newest kernel for virtual machines: an installed one, else the distribution's, taken out of its
    /// package below `cache`.
    ///
    /// # Errors
    ///
    /// There is none, with the command that would get one.
    pub fn find(cache: &Path) -> Result<Self, ImageError> {
        if let Some(found) = Self::known(cache) {
            return Ok(found);
        }
        let kept = cache.join(KEPT);
        unpack(&kept)?;
        let image = newest(&kept.join("boot"));
        let image = image
            .ok_or_else(|| ImageError::Missing(format!("{PACKAGE} has no /boot/vmlinuz-*")))?;
        Self::of(&image)
    }

    /// The one that there is without a download.
    #[must_use]
    pub fn known(cache: &Path) -> Option<Self> {
        let kept = cache.join(KEPT).join("boot");
        let images = [Path::new("/boot"), &kept].into_iter().filter_map(newest);
        images.filter_map(|image| Self::of(&image).ok()).next()
    }

    /// The modules that a guest loads, by name and content, each after those that it depends on.
    ///
    /// # Errors
    ///
    /// One is missing, or cannot be read.
    pub fn guest_modules(&self) -> Result<Vec<(String, Vec<u8>)>, ImageError> {
        let built_in = fs::read_to_string(self.modules.join("modules.builtin")).unwrap_or_default();
        let mut files = Vec::new();
        files_below(&self.modules.join("kernel"), &mut files)?;
        let mut found = Found {
            files,
            built_in,
            done: BTreeSet::new(),
            order: Vec::new(),
        };
        for module in MODULES {
            found.add(module, &self.modules)?;
        }
        Ok(found.order)
    }
}

/// Modules on the way into a guest.
struct Found {
    files: Vec<PathBuf>,
    built_in: String,
    done: BTreeSet<String>,
    order: Vec<(String, Vec<u8>)>,
}

impl Found {
    fn add(&mut self, name: &str, dir: &Path) -> Result<(), ImageError> {
        if !self.done.insert(name.to_owned()) {
            return Ok(());
        }
        let called = |path: &str| {
            let file = path.rsplit('/').next().unwrap_or_default();
            let stem = file.split(".ko").next().unwrap_or_default();
            file.contains(".ko") && stem.replace('-', "_") == name
        };
        let file = self
            .files
            .iter()
            .find(|file| called(&file.to_string_lossy()));
        let Some(file) = file.cloned() else {
            if self.built_in.lines().any(called) {
                return Ok(());
            }
            let missing = format!("{}: no module {name}; {PACKAGE} has it", dir.display());
            return Err(ImageError::Missing(missing));
        };
        let content = read_module(&file)?;
        for needed in depends(&content) {
            self.add(&needed, dir)?;
        }
        self.order.push((name.to_owned(), content));
        Ok(())
    }
}

/// The release that a kernel image says it is: `6.1.0-56-cloud-amd64`. Its offset stands at 0x20e of the
/// header (Linux's Documentation/arch/x86/boot.rst), 0x200 too low.
fn version(image: &[u8]) -> Option<String> {
    if image.get(0x202..0x206)? != b"HdrS" {
        return None;
    }
    let low = image.get(0x20e..0x210)?;
    let at = usize::from(u16::from_le_bytes([low[0], low[1]])) + 0x200;
    let text = image.get(at..)?;
    let end = text.iter().position(|byte| matches!(byte, 0 | b' '))?;
    String::from_utf8(text[..end].to_vec()).ok()
}

/// The modules that a module names in its section `.modinfo`.
fn depends(module: &[u8]) -> Vec<String> {
    const KEY: &[u8] = b"\0depends=";
    let Some(at) = module.windows(KEY.len()).position(|window| window == KEY) else {
        return Vec::new();
    };
    let text = module[at + KEY.len()..].split(|byte| *byte == 0).next();
    let text = String::from_utf8_lossy(text.unwrap_or_default()).into_owned();
    let names = text.split(',').filter(|name| !name.is_empty());
    names.map(|name| name.replace('-', "_")).collect()
}

/// A module's content; distributions compress them in several ways.
fn read_module(file: &Path) -> Result<Vec<u8>, ImageError> {
    let program = match file.extension().and_then(|ext| ext.to_str()) {
        Some("xz") => "xz",
        Some("zst") => "zstd",
        Some("gz") => "gzip",
        _ => return fs::read(file).map_err(|error| ImageError::at(file, &error)),
    };
    run(Command::new(program).arg("-dc").arg(file), program)
}

/// The kernel image in `boot` whose name comes last, one for virtual machines before others.
fn newest(boot: &Path) -> Option<PathBuf> {
    let mut images = Vec::new();
    for entry in fs::read_dir(boot).ok()?.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with("vmlinuz") && fs::File::open(entry.path()).is_ok() {
            images.push((name.contains("cloud"), name, entry.path()));
        }
    }
    images.sort();
    images.pop().map(|(_, _, path)| path)
}

fn files_below(dir: &Path, files: &mut Vec<PathBuf>) -> Result<(), ImageError> {
    let entries = fs::read_dir(dir).map_err(|error| ImageError::at(dir, &error))?;
    for entry in entries.flatten() {
        let path = entry.path();
        if path.is_dir() {
            files_below(&path, files)?;
        } else {
            files.push(path);
        }
    }
    Ok(())
}

/// Downloads the kernel's package, and unpacks it into `into`; installs nothing.
fn unpack(into: &Path) -> Result<(), ImageError> {
    let to_get_it = |error: ImageError| {
        ImageError::Missing(format!(
            "there is no kernel for guests here ({error}); apt-get install {PACKAGE}, or give --kernel and --initrd"
        ))
    };
    let depends = run(
        Command::new("apt-cache").args(["depends", PACKAGE]),
        "apt-cache",
    );
    let depends = String::from_utf8_lossy(&depends.map_err(to_get_it)?).into_owned();
    let real = depends
        .lines()
        .find_map(|line| line.trim().strip_prefix("Depends: "));
    let real = real.ok_or_else(|| {
        to_get_it(ImageError::Missing(format!(
            "no package {PACKAGE} is known"
        )))
    })?;
    let _ = fs::remove_dir_all(into);
    fs::create_dir_all(into).map_err(|error| ImageError::at(into, &error))?;
    let mut download = Command::new("apt-get");
    download.args(["download", "-q", real]).current_dir(into);
    run(&mut download, "apt-get download").map_err(to_get_it)?;
    let mut files = Vec::new();
    files_below(into, &mut files)?;
    let deb = files
        .into_iter()
        .find(|file| file.extension().is_some_and(|ext| ext == "deb"));
    let deb =
        deb.ok_or_else(|| to_get_it(ImageError::Missing(format!("{real} was not downloaded"))))?;
    run(
        Command::new("dpkg-deb").arg("-x").arg(&deb).arg(into),
        "dpkg-deb",
    )?;
    fs::remove_file(&deb).map_err(|error| ImageError::at(&deb, &error))
}

/// What a program prints.
fn run(command: &mut Command, name: &str) -> Result<Vec<u8>, ImageError> {
    let done = command.stdin(Stdio::null()).output();
    let done = done.map_err(|error| ImageError::Program(format!("cannot run {name}: {error}")))?;
    if done.status.success() {
        return Ok(done.stdout);
    }
    let said = String::from_utf8_lossy(&done.stderr);
    let last = said.lines().last().unwrap_or_default();
    Err(ImageError::Program(format!(
        "{name}: {}: {last}",
        done.status
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_names_what_it_needs() {
        let module = b"junk\0license=GPL\0depends=scsi_mod,virtio-ring\0retpoline=Y\0";
        assert_eq!(depends(module), ["scsi_mod", "virtio_ring"]);
        assert_eq!(depends(b"\0depends=\0"), [""; 0]);
        assert_eq!(depends(b"nothing"), [""; 0]);
    }

    #[test]
    fn a_kernel_image_says_its_release() {
        let mut image = vec![0; 0x400];
        image[0x202..0x206].copy_from_slice(b"HdrS");
        image[0x20e..0x210].copy_from_slice(&0x100_u16.to_le_bytes());
        image[0x300..0x310].copy_from_slice(b"6.1.0-56-cl (x) ");
        assert_eq!(version(&image).as_deref(), Some("6.1.0-56-cl"));
        assert_eq!(version(b"no kernel"), None);
    }
}
