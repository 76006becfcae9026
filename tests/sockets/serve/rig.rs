//! A target to test against: in this process, or as the binary.
//!
//! Knows files and processes; no vhost-user.

use std::fmt;
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use real::rpc::client::RpcClient;
use real::serve::{Ended, ServeError, ServeOptions, Server};
use serde_json::{Value, json};
use sim::Bugs;
use sim::spdk::{NvmeDevice, TargetConfig};

/// An answer comes within this, on a machine that is busy with other things.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// A directory of its own for each test.
pub fn dir(name: &str) -> PathBuf {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let (id, number) = (std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    // A socket's path is short.
    let dir = std::env::temp_dir().join(format!("plugfest-{name}-{id}-{number}"));
    fs::create_dir(&dir).expect("a fresh directory");
    dir
}

/// A target in this process.
pub struct Rig {
    dir: PathBuf,
    server: Server,
    pub rpc: RpcClient,
}

impl Rig {
    pub fn start(bugs: Bugs) -> Self {
        Self::start_in(dir("serve"), bugs)
    }

    pub fn start_in(dir: PathBuf, bugs: Bugs) -> Self {
        let server = serve(&dir, bugs).expect("it starts");
        let rpc = RpcClient::connect(&dir.join("rpc.sock"), PATIENCE).expect("it listens");
        Self { dir, server, rpc }
    }

    /// A second target at the same place.
    pub fn second(&self) -> Result<Server, ServeError> {
        serve(&self.dir, Bugs::INTENDED)
    }

    pub fn rpc_path(&self) -> PathBuf {
        self.dir.join("rpc.sock")
    }

    pub fn socket(&self, controller: &str) -> PathBuf {
        self.dir.join(controller)
    }

    /// A controller, with targets 0 and so on made of new bdevs.
    pub fn controller(&mut self, name: &str, bdevs: &[&str]) {
        self.call("vhost_create_scsi_controller", json!({"ctrlr": name}));
        for (target, bdev) in bdevs.iter().enumerate() {
            self.malloc(bdev);
            self.attach(name, target, bdev);
        }
    }

    pub fn malloc(&mut self, name: &str) {
        let params = json!({"name": name, "num_blocks": 8192, "block_size": 512});
        self.call("bdev_malloc_create", params);
    }

    pub fn attach(&mut self, controller: &str, target: usize, bdev: &str) {
        let params = json!({"ctrlr": controller, "scsi_target_num": target, "bdev_name": bdev});
        self.call("vhost_scsi_controller_add_target", params);
    }

    pub fn detach(&mut self, controller: &str, target: usize) {
        let params = json!({"ctrlr": controller, "scsi_target_num": target});
        self.call("vhost_scsi_controller_remove_target", params);
    }

    fn call(&mut self, method: &str, params: Value) {
        let answer = self.rpc.call(method, Some(params));
        assert!(answer.is_ok(), "{method}: {answer:?}");
    }

    /// The controllers, once they are as wanted.
    pub fn until(&mut self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let mut last = Value::Null;
        self.wait(what, |rig| {
            last = rig
                .rpc
                .call("vhost_get_controllers", None)
                .expect("an answer");
            wanted(&last)
        });
        last
    }

    pub fn wait(&mut self, what: &str, mut wanted: impl FnMut(&mut Self) -> bool) {
        wait(what, || wanted(self));
    }

    /// Another JSON-RPC client, which waits no longer than this.
    pub fn impatient(&self, patience: Duration) -> RpcClient {
        RpcClient::connect(&self.rpc_path(), patience).expect("it listens")
    }

    /// Ends the target, which leaves nothing behind.
    pub fn stop(self) {
        let dir = self.dir.clone();
        assert_eq!(self.server.stop(), Ended::Stopped);
        assert!(files(&dir).is_empty(), "left behind: {:?}", files(&dir));
        fs::remove_dir(dir).expect("it is empty");
    }
}

fn wait(what: &str, mut wanted: impl FnMut() -> bool) {
    let began = Instant::now();
    while !wanted() {
        assert!(began.elapsed() < PATIENCE, "never: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn serve(dir: &Path, bugs: Bugs) -> Result<Server, ServeError> {
    let options = ServeOptions {
        rpc_socket: dir.join("rpc.sock"),
        vhost_sockets: dir.to_owned(),
        target: TargetConfig {
            bugs,
            nvme: vec![NvmeDevice {
                traddr: "0000:01:00.0".to_owned(),
                namespaces: vec![(8192, 512)],
            }],
            ..TargetConfig::default()
        },
        seed: 0,
        record: None,
    };
    Server::start(options, |_| {})
}

fn files(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).expect("the directory");
    let names = entries.flatten().map(|entry| entry.file_name());
    names
        .map(|name| name.to_string_lossy().into_owned())
        .collect()
}

/// What a process holds of the system.
#[derive(Clone, Debug)]
pub struct Held {
    pub descriptors: usize,
    /// Of memory that has no file: front-ends', and what belongs to them.
    pub mappings: usize,
    pub threads: u64,
    pub resident_kib: u64,
}

impl fmt::Display for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (descriptors, mappings) = (self.descriptors, self.mappings);
        let (threads, kib) = (self.threads, self.resident_kib);
        write!(
            f,
            "{descriptors} descriptors, {mappings} mappings, {threads} threads, {kib} KiB"
        )
    }
}

/// `plugfest serve`.
pub struct Process {
    dir: PathBuf,
    child: Child,
    out: BufReader<ChildStdout>,
    rpc: RpcClient,
}

impl Process {
    pub fn start(arguments: &[&str]) -> Self {
        let dir = dir("process");
        let log = File::create(dir.with_extension("log")).expect("a log");
        let mut command = command(&dir);
        command.args(arguments).stderr(log);
        let mut child = command.spawn().expect("it starts");
        let mut out = BufReader::new(child.stdout.take().expect("piped"));
        let line = line(&mut out);
        let path = dir.join("rpc.sock");
        assert_eq!(line, format!("JSON-RPC listens at {}", path.display()));
        let rpc = RpcClient::connect(&path, PATIENCE).expect("it listens");
        Self {
            dir,
            child,
            out,
            rpc,
        }
    }

    pub fn socket(&self, controller: &str) -> PathBuf {
        self.dir.join(controller)
    }

    pub fn rpc_path(&self) -> PathBuf {
        self.dir.join("rpc.sock")
    }

    /// The next line that it prints.
    pub fn line(&mut self) -> String {
        line(&mut self.out)
    }

    pub fn call(&mut self, method: &str, params: Value) {
        let answer = self.rpc.call(method, Some(params));
        assert!(answer.is_ok(), "{method}: {answer:?}");
    }

    /// A controller with a new disk as target 0.
    pub fn disk(&mut self, controller: &str, bdev: &str) {
        let malloc = json!({"name": bdev, "num_blocks": 8192, "block_size": 512});
        self.call("bdev_malloc_create", malloc);
        self.call("vhost_create_scsi_controller", json!({"ctrlr": controller}));
        let attach = json!({"ctrlr": controller, "scsi_target_num": 0, "bdev_name": bdev});
        self.call("vhost_scsi_controller_add_target", attach);
    }

    /// Sessions of a controller, by its number.
    pub fn sessions(&mut self, controller: usize) -> usize {
        let shown = self.rpc.call("vhost_get_controllers", None);
        let shown = shown.expect("an answer");
        let sessions = shown[controller]["sessions"].as_array();
        sessions.expect("sessions").len()
    }

    pub fn wait(&mut self, what: &str, mut wanted: impl FnMut(&mut Self) -> bool) {
        wait(what, || wanted(self));
    }

    /// What it holds of the system.
    pub fn held(&self) -> Held {
        let proc = PathBuf::from(format!("/proc/{}", self.child.id()));
        let status = fs::read_to_string(proc.join("status")).expect("it runs");
        let number = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            let word = line.and_then(|line| line.split_whitespace().next());
            word.expect("a line of its own").parse().expect("a number")
        };
        let maps = fs::read_to_string(proc.join("maps")).expect("it runs");
        Held {
            descriptors: self.descriptors(),
            mappings: maps.lines().filter(|line| line.contains("memfd:")).count(),
            threads: number("Threads:"),
            resident_kib: number("VmRSS:"),
        }
    }

    /// Another one at the same place: its exit status and what it says.
    pub fn beside(&self) -> (Option<i32>, String) {
        let said = command(&self.dir).output().expect("it runs");
        (
            said.status.code(),
            String::from_utf8_lossy(&said.stderr).into_owned(),
        )
    }

    pub fn signal(&self, signal: &str) {
        let id = self.child.id().to_string();
        let sent = Command::new("kill").args([signal, &id]).status();
        assert!(sent.expect("kill").success());
    }

    /// Waits for its end: exit status or signal.
    pub fn end(&mut self) -> (Option<i32>, Option<i32>) {
        let began = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("our child") {
                return (status.code(), status.signal());
            }
            assert!(began.elapsed() < PATIENCE, "it does not end");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        fs::read_to_string(self.dir.with_extension("log")).expect("text")
    }

    /// What is in its directory.
    pub fn files(&self) -> Vec<String> {
        files(&self.dir)
    }

    /// Open descriptors.
    pub fn descriptors(&self) -> usize {
        let open = fs::read_dir(format!("/proc/{}/fd", self.child.id()));
        open.expect("it runs").count()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended; its directory is temporary in any case.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.dir);
        let _ = fs::remove_file(self.dir.with_extension("log"));
    }
}

fn command(dir: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_plugfest"));
    command
        .arg("serve")
        .arg("--rpc-socket")
        .arg(dir.join("rpc.sock"));
    command.arg("--vhost-sockets").arg(dir);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn line(out: &mut BufReader<ChildStdout>) -> String {
    let mut line = String::new();
    out.read_line(&mut line).expect("text");
    line.trim_end().to_owned()
}
