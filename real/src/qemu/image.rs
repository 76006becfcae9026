//! The guests' image: a kernel, and an initramfs of its modules, busybox, fio and our agent.
//!
//! Made once, and again when what it is made from has changed. Knows files; boots nothing.

use std::collections::BTreeMap;
use std::env;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::UNIX_EPOCH;

use super::ImageError;
use super::cpio::Archive;
use super::kernel::Kernel;

const INIT: &str = include_str!("init.sh");
const AGENT: &str = include_str!("agent.sh");
const GATE: &str = include_str!("gate.sh");
/// What the scripts use of busybox.
const APPLETS: [&str; 17] = [
    "sh", "mount", "insmod", "modprobe", "mkfifo", "printf", "read", "od", "tr", "sed", "grep",
    "head", "cut", "rm", "reboot", "poweroff", "cat",
];

/// What guests boot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// The kernel.
    pub kernel: PathBuf,
    /// The initramfs.
    pub initrd: PathBuf,
}

impl Image {
    /// The one that was put into `dir`.
    ///
    /// # Errors
    ///
    /// There is none.
    pub fn in_dir(dir: &Path) -> Result<Self, ImageError> {
        let image = Self {
            kernel: dir.join("vmlinuz"),
            initrd: dir.join("initrd"),
        };
        for file in [&image.kernel, &image.initrd] {
            fs::File::open(file).map_err(|error| {
                let command = format!("{error}; plugfest guest build --output {}", dir.display());
                ImageError::at(file, &command)
            })?;
        }
        Ok(image)
    }
}

/// What an image is made from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImageOptions {
    /// Where it is put; the user's cache if not given.
    pub output: Option<PathBuf>,
    /// A kernel in place of the distribution's.
    pub kernel: Option<PathBuf>,
    /// An initramfs that has the kernel's modules; ours is laid over it.
    pub initrd: Option<PathBuf>,
}

/// Where images are kept that nobody named a place for.
#[must_use]
pub fn cache() -> PathBuf {
    let cache = env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let home = || env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache"));
    cache
        .or_else(home)
        .unwrap_or_else(env::temp_dir)
        .join("plugfest")
}

/// The image that `options` describe: the one of last time if nothing has changed since.
///
/// # Errors
///
/// Something that it is made from is missing: with the package that has it.
pub fn build(options: &ImageOptions) -> Result<Image, ImageError> {
    let output = options
        .output
        .clone()
        .unwrap_or_else(|| cache().join("guest"));
    let kernel = match (&options.kernel, &options.initrd) {
        (Some(image), Some(_)) => Kernel {
            image: image.clone(),
            modules: PathBuf::new(),
        },
        (Some(image), None) => Kernel::of(image)?,
        (None, Some(_)) => return Err(ImageError::Missing("--initrd needs its --kernel".into())),
        (None, None) => Kernel::find(&cache())?,
    };
    let busybox = program("busybox", "busybox-static")?;
    let fio = program("fio", "fio")?;
    let libraries = libraries(&fio)?;
    let mut inputs = vec![&kernel.image, &busybox, &fio];
    inputs.extend(libraries.values());
    inputs.extend(&options.initrd);
    let inputs = fingerprint(&inputs)?;
    let image = Image {
        kernel: output.join("vmlinuz"),
        initrd: output.join("initrd"),
    };
    let record = output.join("inputs");
    let unchanged = fs::read_to_string(&record).is_ok_and(|known| known == inputs);
    if unchanged && image.kernel.is_file() && image.initrd.is_file() {
        return Ok(image);
    }
    let mut initrd = Vec::new();
    if let Some(base) = &options.initrd {
        initrd = read(base)?;
        // The kernel reads one archive after the other.
        initrd.resize(initrd.len().next_multiple_of(4), 0);
    }
    initrd.extend(archive(
        &kernel,
        options.initrd.is_none(),
        &busybox,
        &fio,
        &libraries,
    )?);
    fs::create_dir_all(&output).map_err(|error| ImageError::at(&output, &error))?;
    // The record last: an image that was cut short has none.
    let _ = fs::remove_file(&record);
    write(&image.kernel, &read(&kernel.image)?)?;
    write(&image.initrd, &initrd)?;
    write(&record, inputs.as_bytes())?;
    Ok(image)
}

fn archive(
    kernel: &Kernel,
    with_modules: bool,
    busybox: &Path,
    fio: &Path,
    libraries: &BTreeMap<String, PathBuf>,
) -> Result<Vec<u8>, ImageError> {
    let mut archive = Archive::default();
    for directory in [
        "/proc",
        "/sys",
        "/dev",
        "/run",
        "/tmp",
        "/usr/bin",
        "/usr/lib",
        "/usr/lib64",
    ] {
        archive.directory(directory);
    }
    // Before /dev is mounted, the kernel opens this for the first process.
    archive.device("/dev/console", 5, 1);
    for (link, to) in [
        ("/bin", "usr/bin"),
        ("/sbin", "usr/bin"),
        ("/lib", "usr/lib"),
        ("/lib64", "usr/lib64"),
    ] {
        archive.link(link, to);
    }
    archive.file("/usr/bin/busybox", 0o755, &read(busybox)?);
    for applet in APPLETS {
        archive.link(&format!("/usr/bin/{applet}"), "busybox");
    }
    archive.file("/usr/bin/fio", 0o755, &read(fio)?);
    for (path, file) in libraries {
        let merged = if path.starts_with("/usr/") {
            path.clone()
        } else {
            format!("/usr{path}")
        };
        archive.file(&merged, 0o755, &read(file)?);
    }
    if with_modules {
        let mut names = String::new();
        for (name, content) in kernel.guest_modules()? {
            archive.file(&format!("/plugfest/{name}.ko"), 0o644, &content);
            let _ = writeln!(names, "{name}");
        }
        archive.file("/plugfest/modules", 0o644, names.as_bytes());
    }
    archive.file("/plugfest/agent", 0o755, AGENT.as_bytes());
    archive.file("/plugfest/gate", 0o755, GATE.as_bytes());
    archive.file("/init", 0o755, INIT.as_bytes());
    Ok(archive.finish())
}

/// Where a program is, or the package that has it.
fn program(name: &str, package: &str) -> Result<PathBuf, ImageError> {
    let path = env::var_os("PATH").unwrap_or_default();
    let mut files = env::split_paths(&path).map(|dir| dir.join(name));
    let file = files.find(|file| file.is_file());
    let file = file.ok_or_else(|| {
        ImageError::Missing(format!(
            "{name} is not on the path, and guests need it: apt-get install {package}"
        ))
    })?;
    if name == "busybox" && !loaded(&file)?.is_empty() {
        return Err(ImageError::Missing(format!(
            "{} needs shared libraries: apt-get install {package}",
            file.display()
        )));
    }
    Ok(file)
}

/// The shared libraries of a program, by the path at which it looks for them.
fn libraries(program: &Path) -> Result<BTreeMap<String, PathBuf>, ImageError> {
    let mut found = BTreeMap::new();
    for line in loaded(program)? {
        if line.contains("not found") {
            let (program, line) = (program.display(), line.trim());
            return Err(ImageError::Missing(format!(
                "{program}: {line}: install that library's package"
            )));
        }
        // "libz.so.1 => /lib/…/libz.so.1 (0x…)", or the loader: "/lib64/ld-linux-x86-64.so.2 (0x…)".
        let path = line.split_whitespace().find(|word| word.starts_with('/'));
        if let Some(path) = path {
            found.insert(path.to_owned(), PathBuf::from(path));
        }
    }
    Ok(found)
}

/// What `ldd` says of a program; nothing if it is static.
fn loaded(program: &Path) -> Result<Vec<String>, ImageError> {
    let done = Command::new("ldd").arg(program).env("LC_ALL", "C").output();
    let done = done.map_err(|error| ImageError::Program(format!("cannot run ldd: {error}")))?;
    if !done.status.success() {
        let said = String::from_utf8_lossy(&done.stderr);
        if said.contains("not a dynamic executable") {
            return Ok(Vec::new());
        }
        return Err(ImageError::Program(format!(
            "ldd {}: {}",
            program.display(),
            said.trim()
        )));
    }
    let text = String::from_utf8_lossy(&done.stdout).into_owned();
    let dynamic = text
        .lines()
        .filter(|line| !line.contains("statically linked"));
    Ok(dynamic.map(str::to_owned).collect())
}

/// What the image is made from: a change of any of it shows here.
fn fingerprint(files: &[&PathBuf]) -> Result<String, ImageError> {
    let mut text = format!("{INIT}\n{AGENT}\n{GATE}\n{APPLETS:?}\n");
    for file in files {
        let about = fs::metadata(file).map_err(|error| ImageError::at(file, &error))?;
        let changed = about.modified().ok();
        let changed = changed.and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        let (path, size) = (file.display(), about.len());
        let _ = writeln!(
            text,
            "{path} {size} {}",
            changed.unwrap_or_default().as_nanos()
        );
    }
    Ok(text)
}

fn read(file: &Path) -> Result<Vec<u8>, ImageError> {
    fs::read(file).map_err(|error| ImageError::at(file, &error))
}

fn write(file: &Path, bytes: &[u8]) -> Result<(), ImageError> {
    fs::write(file, bytes).map_err(|error| ImageError::at(file, &error))
}
