//! A QEMU process: started with a guest's devices, read line by line, ended on every way out.
//!
//! Ended: when this is dropped, or told to; with the thread that started it, however that ends (PR_SET_PDEATHSIG). It is
//! in a process group of its own, so that a Ctrl-C of the terminal does not reach it before us.

use std::io;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};

use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use tokio::io::{AsyncBufReadExt as _, AsyncRead, BufReader};
use tokio::net::UnixListener;
use tokio::process::Child;
use tokio::task::JoinSet;

use super::Shared;
use super::pipe::Pipe;
use crate::huge_pages::Pages;
use crate::testbed::guests::Hba;

/// Memory of a guest. The initramfs is there twice while it is unpacked, 85 MiB each.
const MEMORY_MIB: u32 = 320;
/// A small buffer of translated code, in MiB. What is in it is guarded against writes, page by page: a reboot
/// that unpacks a kernel over the code of the last one takes four times as long with the usual one.
const EMULATED: &str = "tcg,tb-size=32";
/// The console is read for what a kernel says when it is not well, and no more. Without `swiotlb`, Linux
/// sets 64 MiB aside for devices that cannot reach the memory that could be plugged in; without the last word, it
/// panics if too few timer interrupts come while it counts them ("IO-APIC + timer doesn't work!"), as on a busy
/// machine without KVM.
const KERNEL_ARGUMENTS: &str =
    "console=ttyS0 loglevel=5 random.trust_cpu=on swiotlb=noforce no_timer_check";
/// The first HBA's PCI slot; the others follow.
pub const HBA_SLOT: u8 = 0x10;

/// The program.
pub const PROGRAM: &str = "qemu-system-x86_64";

/// What runs a guest's instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accelerator {
    /// The CPU.
    Kvm,
    /// QEMU's translator.
    Tcg,
}

/// A line from a process.
#[derive(Debug)]
pub enum Line {
    /// Of the agent's port.
    Agent(String),
    /// Of QMP.
    Qmp(String),
    /// Of the guest's console.
    Console(String),
    /// Of its standard error.
    Error(String),
    /// A connection, before its first line.
    Connected(Port, Pipe),
    /// Its console and its standard error are closed: it has ended, or is about to.
    Ended,
}

/// A socket that it connects to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Port {
    /// The agent's.
    Agent,
    /// QMP.
    Qmp,
}

/// A process.
#[derive(Debug)]
pub struct Process {
    child: Child,
    /// Read what it says; they go with it.
    _readers: JoinSet<()>,
}

impl Process {
    /// Starts a guest called `name`, from within the runtime whose thread it is not to outlive. What it says goes to
    /// `lines`.
    ///
    /// # Errors
    ///
    /// QEMU cannot be run, or the system refuses.
    pub fn start(
        name: &str,
        shared: &Shared,
        hbas: &[Hba],
        lines: &(impl Fn(Line) + Clone + Send + Sync + 'static),
    ) -> io::Result<Self> {
        shared.pages.can_be_had(u64::from(MEMORY_MIB) << 20)?;
        let (dir, image) = (&shared.dir, &shared.image);
        let mut readers = JoinSet::new();
        let sockets = [(Port::Agent, "agent"), (Port::Qmp, "qmp")];
        for (port, what) in sockets {
            let path = dir.path().join(format!("{name}.{what}"));
            readers.spawn(listen(port, bind(&path)?, lines.clone()));
        }
        let mut command = Command::new(PROGRAM);
        arguments(&mut command, name, hbas, shared);
        command
            .arg("-kernel")
            .arg(&image.kernel)
            .arg("-initrd")
            .arg(&image.initrd);
        command.args(["-append", KERNEL_ARGUMENTS]);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command.process_group(0);
        die_with_us(&mut command);
        let mut command = tokio::process::Command::from(command);
        // From here on it is ended if anything fails.
        let mut child = command.kill_on_drop(true).spawn()?;
        let id = child.id().ok_or(io::ErrorKind::NotFound)?;
        if let (Some(console), Some(errors)) = (child.stdout.take(), child.stderr.take()) {
            let tell = lines.clone();
            readers.spawn(async move {
                let console = each_line(console, |line| tell(Line::Console(line)));
                tokio::join!(console, each_line(errors, |line| tell(Line::Error(line))));
                tell(Line::Ended);
            });
        }
        dir.record(name, id)?;
        Ok(Self {
            child,
            _readers: readers,
        })
    }

    /// Ends it, and says how it ended.
    ///
    /// # Errors
    ///
    /// The system refuses.
    pub async fn end(&mut self) -> io::Result<ExitStatus> {
        if let Some(status) = self.child.try_wait()? {
            return Ok(status);
        }
        self.child.start_kill()?;
        self.child.wait().await
    }
}

/// Where QEMU works with KVM, and where not: it may be there, and fail to run a single CPU.
#[must_use]
pub fn accelerator() -> Accelerator {
    let mut probe = Command::new(PROGRAM);
    probe.args([
        "-accel",
        "kvm",
        "-cpu",
        "host",
        "-machine",
        "q35",
        "-m",
        "16",
        "-nodefaults",
    ]);
    // Stopped before its first instruction; ends by itself at the end of its input.
    probe.args([
        "-no-user-config",
        "-display",
        "none",
        "-S",
        "-monitor",
        "stdio",
    ]);
    probe
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    probe.process_group(0);
    die_with_us(&mut probe);
    let works = probe.spawn().and_then(|mut child| {
        if let Some(mut input) = child.stdin.take() {
            use std::io::Write as _;
            // It may have gone before it read.
            let _ = input.write_all(b"quit\n");
        }
        child.wait()
    });
    if works.is_ok_and(|status| status.success()) {
        Accelerator::Kvm
    } else {
        Accelerator::Tcg
    }
}

/// Whether somebody ended it: that says nothing of the guest, nor of the target.
#[must_use]
pub fn was_killed(status: ExitStatus) -> bool {
    let signal = status
        .signal()
        .and_then(|signal| Signal::try_from(signal).ok());
    let sent = [
        Signal::SIGKILL,
        Signal::SIGTERM,
        Signal::SIGINT,
        Signal::SIGHUP,
    ];
    signal.is_some_and(|signal| sent.contains(&signal))
}

/// How a process ended, for people.
#[must_use]
pub fn how(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit status {code}"),
        (None, Some(signal)) => match Signal::try_from(signal) {
            Ok(signal) => signal.to_string(),
            Err(_) => format!("signal {signal}"),
        },
        (None, None) => "an unknown end".to_owned(),
    }
}

fn arguments(command: &mut Command, name: &str, hbas: &[Hba], shared: &Shared) {
    let dir = shared.dir.path();
    let (accel, cpu) = match shared.accelerator {
        Accelerator::Kvm => ("kvm", "host"),
        Accelerator::Tcg => (EMULATED, "max"),
    };
    let socket = |what: &str| dir.join(format!("{name}.{what}")).display().to_string();
    command.args(["-name", name, "-accel", accel, "-cpu", cpu, "-smp", "1"]);
    command.args(["-nodefaults", "-no-user-config", "-display", "none"]);
    // Shared with the target; room for a DIMM.
    command.args(["-m", &format!("{MEMORY_MIB},slots=2,maxmem=1G")]);
    let memory = format!("memory-backend-memfd,id=memory,size={MEMORY_MIB}M,share=on");
    let memory = memory + memory_pages(shared.pages);
    command.args(["-object", &memory, "-machine", "q35,memory-backend=memory"]);
    command.args([
        "-chardev",
        "file,id=console,path=/dev/stdout",
        "-serial",
        "chardev:console",
    ]);
    let qmp = format!("socket,id=qmp,path={}", socket("qmp"));
    command.args(["-chardev", &qmp, "-mon", "chardev=qmp,mode=control"]);
    let agent = format!("socket,id=agent,path={}", socket("agent"));
    command.args(["-chardev", &agent, "-device", "virtio-serial-pci"]);
    command.args(["-device", "virtserialport,chardev=agent,name=plugfest"]);
    for (number, hba) in (0_u8..).zip(hbas) {
        let chardev = format!("socket,id=hba{number},path={}", hba.socket.display());
        let slot = HBA_SLOT + number;
        let device = format!("vhost-user-scsi-pci,chardev=hba{number},addr={slot:#x},num_queues=1");
        command.args(["-chardev", &chardev, "-device", &device]);
    }
}

/// Options of a `memory-backend-memfd`. Pages that are missing are an error of QEMU's, not a SIGBUS later.
const fn memory_pages(pages: Pages) -> &'static str {
    match pages {
        Pages::Ordinary => "",
        Pages::Huge => ",hugetlb=on,hugetlbsize=2M,prealloc=on",
    }
}

/// The process dies when the thread that starts it does.
#[expect(
    unsafe_code,
    reason = "what runs between fork and exec cannot be checked by the compiler"
)]
fn die_with_us(command: &mut Command) {
    let parent = std::process::id();
    let before_exec = move || {
        set_pdeathsig(Signal::SIGKILL)?;
        // Had we died before that, the signal would never come.
        if nix::unistd::getppid().as_raw().cast_unsigned() == parent {
            return Ok(());
        }
        Err(io::Error::from(io::ErrorKind::BrokenPipe))
    };
    // SAFETY: prctl and getppid are system calls and nothing else; nothing is allocated (an error of one
    // kind holds no text).
    unsafe {
        command.pre_exec(before_exec);
    }
}

fn bind(path: &Path) -> io::Result<UnixListener> {
    // Left by the process that ran before under this name.
    let _ = std::fs::remove_file(path);
    UnixListener::bind(path)
}

/// Waits for the one connection that QEMU makes, and reads it to its end.
async fn listen(port: Port, listener: UnixListener, tell: impl Fn(Line)) {
    let Ok((stream, _)) = listener.accept().await else {
        return;
    };
    let (theirs, ours) = stream.into_split();
    tell(Line::Connected(port, Pipe::new(ours)));
    let line = match port {
        Port::Agent => Line::Agent,
        Port::Qmp => Line::Qmp,
    };
    each_line(theirs, |text| tell(line(text))).await;
}

/// Hands on each line, however it is encoded, until the end or an error, which is an end as well.
async fn each_line(from: impl AsyncRead + Unpin, tell: impl Fn(String)) {
    let mut from = BufReader::new(from);
    let mut line = Vec::new();
    while from
        .read_until(b'\n', &mut line)
        .await
        .is_ok_and(|read| read > 0)
    {
        let text = String::from_utf8_lossy(&line);
        tell(text.trim_end_matches(['\r', '\n']).to_owned());
        line.clear();
    }
}
