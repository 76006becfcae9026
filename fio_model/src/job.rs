//! A job: what one section of a job file asks for, with fio's defaults.
//!
//! Knows nothing of the text it came from (`job_file`, `options`) and nothing of how it is carried
//! out (`thread`).

use crate::continue_on_error::ContinueOnError;
use crate::digest::VerifyType;
use crate::distribution::Distribution;
pub use crate::kinds::{FileOrder, Generator, IoEngine, ReadWrite, Sequencer, Step};
use crate::pattern::Pattern;
use crate::span::{Part, Span};

/// What one job does. Fields are fio's options of the same name, after aliases were resolved.
#[derive(Clone, Debug, PartialEq)]
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
    /// Shortest and longest trim
    pub trim_len: (u32, u32),
    /// `bssplit`, for reads, writes and trims: lengths, and how many in a hundred; empty is none
    pub splits: [Vec<(u32, u32)>; 3],
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
    /// What stands behind the colon of `rw`
    pub step: Step,
    /// `rw_sequencer`
    pub sequencer: Sequencer,
    /// `ba`, `blockalign`: what offsets of random reads, writes and trims are multiples of; 0 is the block
    pub align: [u32; 3],
    /// `bs_is_seq_rand`: `read_len` is that of sequential I/O, `write_len` that of random I/O
    pub bs_is_seq_rand: bool,
    /// `serialize_overlap`
    pub serialize_overlap: bool,
    /// `new_group`
    pub new_group: bool,
    /// `exitall`: the end of a job ends those of its group
    pub exitall: bool,
    /// `exitall_on_error`
    pub exitall_on_error: bool,
    /// `filesize`: bytes that a file has, which `size` bytes are written to
    pub filesize: Option<u64>,
    /// `fill_device`: `ENOSPC` is a good end
    pub fill_device: bool,
    /// `offset_align`; 0 is the block
    pub offset_align: u32,
    /// `offset_increment`: how much further each clone begins
    pub offset_increment: Span,
    /// Number of this clone, from 0
    pub clone_number: u32,
    /// `ramp_time` in nanoseconds
    pub ramp_ns: u64,
    /// `number_ios`, 0 is none
    pub number_ios: u64,
    /// `verify_only`: nothing is written; what would have been is verified
    pub verify_only: bool,
    /// `experimental_verify`: verification draws the places again
    pub experimental_verify: bool,
    /// `verify_dump`
    pub verify_dump: bool,
    /// `verify_async`: threads that check; here the job's own does
    pub verify_async: u32,
    /// `random_distribution`
    pub distribution: Distribution,
    /// `random_generator`
    pub generator: Generator,
    /// `nrfiles`: files that it has, if none is named
    pub nrfiles: u32,
    /// `file_service_type`: how it chooses between its files
    pub file_order: FileOrder,
    /// The parts of the disk that stand for the job's files
    pub parts: Vec<Part>,
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
            trim_len: (4096, 4096),
            splits: [const { Vec::new() }; 3],
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
            step: Step::Each,
            sequencer: Sequencer::Sequential,
            align: [0; 3],
            bs_is_seq_rand: false,
            serialize_overlap: false,
            new_group: false,
            exitall: false,
            exitall_on_error: false,
            filesize: None,
            fill_device: false,
            offset_align: 0,
            offset_increment: Span::Bytes(0),
            clone_number: 0,
            ramp_ns: 0,
            number_ios: 0,
            verify_only: false,
            experimental_verify: false,
            verify_dump: false,
            verify_async: 0,
            distribution: Distribution::Random,
            generator: Generator::Tausworthe,
            nrfiles: 1,
            file_order: FileOrder::RoundRobin(1),
            parts: vec![Part::WHOLE],
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
        // A trim's parameters need some room, too.
        let trim = if self.rw.trims() { SECTOR } else { 0 };
        read.max(write).max(trim)
    }

    /// Whether a pass repeats the one before: all generators are seeded again. `randseed` overrides
    /// `randrepeat`.
    pub fn repeats(&self) -> bool {
        self.allrandrepeat || (self.randrepeat && self.randseed.is_none())
    }

    /// What every offset and every length is a multiple of.
    pub fn grain(&self) -> u32 {
        let mut grain = gcd(self.read_len.0, self.write_len.0);
        if self.rw.trims() {
            grain = gcd(grain, self.trim_len.0);
        }
        if self.rw.is_random() {
            grain = self
                .align
                .iter()
                .fold(grain, |grain, align| gcd(grain, *align));
        }
        match self.step {
            Step::Skip(skip) if skip != 0 => {
                let skip = skip.unsigned_abs() % u64::from(grain);
                gcd(grain, skip as u32)
            }
            Step::Each | Step::Random(_) | Step::Skip(_) => grain,
        }
    }

    /// Whether a random map keeps it from going to a place twice in a pass.
    pub fn has_map(&self) -> bool {
        self.rw.is_random() && self.has_map_option() && self.generator == Generator::Tausworthe
    }

    /// What fio makes of `norandommap`: it does without a map, too, where places are not drawn evenly, or not
    /// block by block.
    pub fn has_map_option(&self) -> bool {
        let lengths = [self.read_len.0, self.write_len.0, self.trim_len.0];
        let own = |(align, len): (&u32, u32)| *align == 0 || *align == len;
        let by_block = !self.rw.is_random() || self.align.iter().zip(lengths).all(own);
        !self.norandommap && self.distribution == Distribution::Random && by_block
    }

    /// The files that `filename` names: several with colons between them, of which a backslash takes the meaning.
    pub fn file_names(&self) -> Vec<String> {
        let mut names = vec![String::new()];
        let mut is_escaped = false;
        for c in self.filename.iter().flat_map(|name| name.chars()) {
            match c {
                ':' if !is_escaped => names.push(String::new()),
                '\\' if !is_escaped => {
                    is_escaped = true;
                    continue;
                }
                c => names.last_mut().expect("there is one").push(c),
            }
            is_escaped = false;
        }
        names.retain(|name| !name.is_empty());
        names
    }

    /// Whether its I/O goes to a disk.
    pub fn reaches_disks(&self) -> bool {
        self.ioengine != IoEngine::NoDisk
    }

    /// Whether it writes or trims anything on a disk.
    pub fn writes_blocks(&self) -> bool {
        let writes = self.rw.writes() && !self.verify_only;
        (writes || self.trims_blocks()) && self.reaches_disks()
    }

    /// Whether it trims anything on a disk.
    pub fn trims_blocks(&self) -> bool {
        let only_verifies = self.verify_only && self.rw.writes();
        self.rw.trims() && !only_verifies && self.reaches_disks()
    }

    /// Whether it compares what it reads.
    pub fn verifies(&self) -> bool {
        let is_checked = self.verify.is_some_and(|verify| verify != VerifyType::Null);
        let reads = match self.rw.writes() {
            true => self.do_verify,
            false => self.rw.reads(),
        };
        is_checked && reads && self.reaches_disks()
    }

    /// The shortest block of any direction, the unit of the random map.
    pub fn len_min(&self) -> u32 {
        self.read_len.0.min(self.write_len.0).min(self.trim_len.0)
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

/// Bytes of a sector of Linux's block layer.
const SECTOR: u32 = 512;

fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}
