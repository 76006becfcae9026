//! A job: what one section of a job file asks for, with fio's defaults.
//!
//! Knows nothing of the text it came from (`job_file`, `options`) and nothing of how it is carried
//! out (`thread`).

use crate::continue_on_error::ContinueOnError;
use crate::digest::VerifyType;
use crate::pattern::Pattern;

/// Which directions a job moves data in, and in which order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReadWrite {
    /// `read`
    #[default]
    Read,
    /// `write`
    Write,
    /// `randread`
    RandRead,
    /// `randwrite`
    RandWrite,
    /// `rw`, `readwrite`
    Mixed,
    /// `randrw`
    RandMixed,
}

impl ReadWrite {
    /// Names in job files.
    pub const NAMES: [(&'static str, ReadWrite); 7] = [
        ("read", ReadWrite::Read),
        ("write", ReadWrite::Write),
        ("randread", ReadWrite::RandRead),
        ("randwrite", ReadWrite::RandWrite),
        ("rw", ReadWrite::Mixed),
        ("readwrite", ReadWrite::Mixed),
        ("randrw", ReadWrite::RandMixed),
    ];

    /// Whether offsets are drawn.
    pub fn is_random(self) -> bool {
        matches!(
            self,
            ReadWrite::RandRead | ReadWrite::RandWrite | ReadWrite::RandMixed
        )
    }

    /// Whether the job reads, apart from verification.
    pub fn reads(self) -> bool {
        !matches!(self, ReadWrite::Write | ReadWrite::RandWrite)
    }

    /// Whether the job writes.
    pub fn writes(self) -> bool {
        !matches!(self, ReadWrite::Read | ReadWrite::RandRead)
    }

    /// Whether it does both.
    pub fn is_mixed(self) -> bool {
        self.reads() && self.writes()
    }
}

/// How I/O is handed to the kernel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum IoEngine {
    /// Linux native AIO.
    Libaio,
    /// io_uring.
    IoUring,
    /// `pread`/`pwrite`: one at a time. fio's default.
    #[default]
    Psync,
    /// `lseek`, then `read`/`write`: one at a time.
    Sync,
}

impl IoEngine {
    /// Names in job files.
    pub const NAMES: [(&'static str, IoEngine); 4] = [
        ("libaio", IoEngine::Libaio),
        ("io_uring", IoEngine::IoUring),
        ("psync", IoEngine::Psync),
        ("sync", IoEngine::Sync),
    ];

    /// Whether it does one request at a time, whatever `iodepth` says.
    pub fn is_sync(self) -> bool {
        matches!(self, IoEngine::Psync | IoEngine::Sync)
    }
}

/// A length or place on a device: in bytes, or as a share of the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Span {
    /// Bytes.
    Bytes(u64),
    /// Percent of the device.
    Percent(u32),
}

impl Span {
    /// In bytes, on a device of `device` bytes.
    pub fn of(self, device: u64) -> u64 {
        match self {
            Span::Bytes(bytes) => bytes,
            Span::Percent(percent) => (u128::from(device) * u128::from(percent) / 100) as u64,
        }
    }
}

/// What one job does. Fields are fio's options of the same name, after aliases were resolved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    /// Section name, or `name=`.
    pub name: String,
    /// `filename`
    pub filename: Option<String>,
    /// `ioengine`
    pub ioengine: IoEngine,
    /// `rw`, `readwrite`
    pub rw: ReadWrite,
    /// `rwmixread`, or 100 minus `rwmixwrite`: percent of reads in a mixed job
    pub rwmixread: u32,
    /// Shortest and longest read: `bs`, or `bsrange`
    pub read_len: (u32, u32),
    /// Shortest and longest write
    pub write_len: (u32, u32),
    /// `bssplit`, for reads and for writes: lengths, and how many in a hundred; empty is none
    pub splits: [Vec<(u32, u32)>; 2],
    /// `iodepth`
    pub iodepth: u32,
    /// `iodepth_batch`; 0 is `iodepth`
    pub iodepth_batch: u32,
    /// `iodepth_batch_complete_min`
    pub iodepth_batch_complete: u32,
    /// `iodepth_low`; 0 is `iodepth`
    pub iodepth_low: u32,
    /// `direct`
    pub direct: bool,
    /// `thread`
    pub thread: bool,
    /// `numjobs`: clones of this job, each a thread of its own
    pub numjobs: u32,
    /// `group_reporting`
    pub group_reporting: bool,
    /// `stonewall`: wait for the jobs before
    pub stonewall: bool,
    /// `size`; `None` is the whole device
    pub size: Option<Span>,
    /// `io_size`: bytes to move, verify reads included; `None` is `size`
    pub io_size: Option<Span>,
    /// `offset`
    pub offset: Span,
    /// `time_based`
    pub time_based: bool,
    /// `runtime` in nanoseconds, 0 is none
    pub runtime_ns: u64,
    /// `loops`
    pub loops: u32,
    /// `do_verify`
    pub do_verify: bool,
    /// `verify`
    pub verify: Option<VerifyType>,
    /// `verify_backlog`, 0 is none
    pub verify_backlog: u32,
    /// `verify_backlog_batch`, 0 is `verify_backlog`
    pub verify_backlog_batch: u32,
    /// `verify_interval`, 0 is none given
    pub verify_interval: u32,
    /// `verify_offset`: where in an interval its header stands, 0 is in front
    pub verify_offset: u32,
    /// `verify_pattern`
    pub verify_pattern: Option<Pattern>,
    /// `verify_fatal`
    pub verify_fatal: bool,
    /// `verify_state_save`
    pub verify_state_save: bool,
    /// `verify_state_load`
    pub verify_state_load: bool,
    /// `continue_on_error`
    pub continue_on_error: ContinueOnError,
    /// `norandommap`
    pub norandommap: bool,
    /// `randrepeat`
    pub randrepeat: bool,
    /// `allrandrepeat`
    pub allrandrepeat: bool,
    /// `randseed`; `None` is fio's 0x89, and then `randrepeat` holds
    pub randseed: Option<u64>,
}

impl Default for Job {
    fn default() -> Job {
        Job {
            name: String::new(),
            filename: None,
            ioengine: IoEngine::default(),
            rw: ReadWrite::default(),
            rwmixread: 50,
            read_len: (4096, 4096),
            write_len: (4096, 4096),
            splits: [const { Vec::new() }; 2],
            iodepth: 1,
            iodepth_batch: 1,
            iodepth_batch_complete: 1,
            iodepth_low: 0,
            direct: false,
            thread: false,
            numjobs: 1,
            group_reporting: false,
            stonewall: false,
            size: None,
            io_size: None,
            offset: Span::Bytes(0),
            time_based: false,
            runtime_ns: 0,
            loops: 1,
            do_verify: true,
            verify: None,
            verify_backlog: 0,
            verify_backlog_batch: 0,
            verify_interval: 0,
            verify_offset: 0,
            verify_pattern: None,
            verify_fatal: false,
            verify_state_save: true,
            verify_state_load: false,
            continue_on_error: ContinueOnError::default(),
            norandommap: false,
            randrepeat: true,
            allrandrepeat: false,
            randseed: None,
        }
    }
}

impl Job {
    /// The longest request: what an I/O unit's buffer must hold.
    pub fn len_max(&self) -> u32 {
        let read = if self.rw.reads() { self.read_len.1 } else { 0 };
        let write = if self.rw.writes() {
            self.write_len.1
        } else {
            0
        };
        read.max(write)
    }

    /// The shortest block of either direction, the unit of the random map.
    pub fn len_min(&self) -> u32 {
        self.read_len.0.min(self.write_len.0)
    }

    /// Why fio may find blocks of this job wrong on a disk that does nothing wrong, if it may.
    ///
    /// Of clones fio itself says "multiple writers may overwrite blocks that belong to other jobs. This can
    /// cause verification failures." Without a map a block is written again while the write before is in
    /// flight, or, where the job reads, under seeds that verification does not repeat.
    pub fn can_spoil_itself(&self) -> Option<String> {
        let is_checked = self.verify.is_some_and(|verify| verify != VerifyType::Null);
        if !(self.rw.writes() && self.do_verify && is_checked) {
            return None;
        }
        if self.numjobs > 1 {
            let clones = self.numjobs;
            return Some(format!(
                "numjobs={clones}: its clones write the same blocks"
            ));
        }
        let meets = self.iodepth > 1 || self.rw.reads();
        let again = self.rw.is_random() && self.norandommap && meets;
        let why = "norandommap: it writes blocks again before they are verified";
        again.then(|| why.to_owned())
    }

    /// The interval between headers: as given, if it divides every write, else what does.
    pub fn interval(&self) -> u32 {
        let (min, max) = self.write_len;
        let given = if self.verify_interval == 0 && min != max {
            min
        } else {
            self.verify_interval
        };
        let mut interval = given.min(min);
        if self.rw.reads() {
            interval = interval.min(self.read_len.0);
        }
        if interval == 0 || !min.is_multiple_of(interval) || !max.is_multiple_of(interval) {
            gcd(min, max)
        } else {
            interval
        }
    }
}

fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}
