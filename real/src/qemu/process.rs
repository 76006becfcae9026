//! A QEMU process: started with a guest's devices, read line by line, ended on every way out.
//!
//! Ended: when this is dropped; with the thread that started it, however that ends (PR_SET_PDEATHSIG). It is
//! in a process group of its own, so that a Ctrl-C of the terminal does not reach it before us.

use std::io::{self, BufRead as _, BufReader, Read};
use std::os::unix::net::UnixListener;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;

use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;

use super::Shared;
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
    Connected(Port, std::os::unix::net::UnixStream),
    /// Its console is closed: it has ended, or is about to.
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
}

impl Process {
    /// Starts a guest called `name`. What it says goes to `lines`.
    ///
    /// # Errors
    ///
    /// QEMU cannot be run, or the system refuses.
    pub fn start(
        name: &str,
        shared: &Shared,
        hbas: &[Hba],
        lines: &(impl Fn(Line) + Clone + Send + 'static),
    ) -> io::Result<Self> {
        shared.pages.can_be_had(u64::from(MEMORY_MIB) << 20)?;
        let (dir, image) = (&shared.dir, &shared.image);
        let sockets = [(Port::Agent, "agent"), (Port::Qmp, "qmp")];
        for (port, what) in sockets {
            listen(
                port,
                &dir.path().join(format!("{name}.{what}")),
                lines.clone(),
            )?;
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
        let mut child = command.spawn()?;
        // From here on it is ended if anything fails.
        let (console, errors) = (child.stdout.take(), child.stderr.take());
        let process = Self { child };
        dir.record(name, process.child.id())?;
        if let (Some(console), Some(errors)) = (console, errors) {
            let tell = lines.clone();
            read_lines("stderr", errors, move |line| tell(Line::Error(line)))?;
            let (tell, end) = (lines.clone(), lines.clone());
            read_then(
                "console",
                console,
                move |line| tell(Line::Console(line)),
                move || end(Line::Ended),
            )?;
        }
        Ok(process)
    }

    /// Ends it, and says how it ended.
    ///
    /// # Errors
    ///
    /// The system refuses.
    pub fn end(&mut self) -> io::Result<ExitStatus> {
        if let Some(status) = self.child.try_wait()? {
            return Ok(status);
        }
        self.child.kill()?;
        self.child.wait()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It has gone already, or it goes with its parent.
        let _ = self.end();
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

/// Listens for the one connection that QEMU makes, and reads it to its end.
fn listen(port: Port, path: &Path, tell: impl Fn(Line) + Clone + Send + 'static) -> io::Result<()> {
    // Left by the process that ran before under this name.
    let _ = std::fs::remove_file(path);
    let listener = UnixListener::bind(path)?;
    let accept = move || {
        let accepted = listener
            .accept()
            .and_then(|(stream, _)| Ok((stream.try_clone()?, stream)));
        let Ok((ours, theirs)) = accepted else {
            return;
        };
        tell(Line::Connected(port, ours));
        each_line(theirs, |line| {
            tell(match port {
                Port::Agent => Line::Agent(line),
                Port::Qmp => Line::Qmp(line),
            });
        });
    };
    thread::Builder::new()
        .name(format!("{port:?}"))
        .spawn(accept)?;
    Ok(())
}

fn read_lines(
    name: &str,
    from: impl Read + Send + 'static,
    tell: impl FnMut(String) + Send + 'static,
) -> io::Result<()> {
    read_then(name, from, tell, || {})
}

fn read_then(
    name: &str,
    from: impl Read + Send + 'static,
    tell: impl FnMut(String) + Send + 'static,
    end: impl FnOnce() + Send + 'static,
) -> io::Result<()> {
    let read = move || {
        each_line(from, tell);
        end();
    };
    thread::Builder::new().name(name.to_owned()).spawn(read)?;
    Ok(())
}

/// Hands on each line, however it is encoded, until the end or an error, which is an end as well.
fn each_line(from: impl Read, mut tell: impl FnMut(String)) {
    let mut from = BufReader::new(from);
    let mut line = Vec::new();
    while from.read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
        let text = String::from_utf8_lossy(&line);
        tell(text.trim_end_matches(['\r', '\n']).to_owned());
        line.clear();
    }
}
