//! The kinds of things that a job asks for by name.
//!
//! Knows nothing of jobs.

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
    /// `trim`
    Trim,
    /// `randtrim`
    RandTrim,
    /// `trimwrite`: a place is trimmed, then written.
    TrimWrite,
    /// `randtrimwrite`
    RandTrimWrite,
}

impl ReadWrite {
    /// Names in job files.
    pub const NAMES: [(&'static str, ReadWrite); 11] = [
        ("read", ReadWrite::Read),
        ("write", ReadWrite::Write),
        ("randread", ReadWrite::RandRead),
        ("randwrite", ReadWrite::RandWrite),
        ("rw", ReadWrite::Mixed),
        ("readwrite", ReadWrite::Mixed),
        ("randrw", ReadWrite::RandMixed),
        ("trim", ReadWrite::Trim),
        ("randtrim", ReadWrite::RandTrim),
        ("trimwrite", ReadWrite::TrimWrite),
        ("randtrimwrite", ReadWrite::RandTrimWrite),
    ];

    /// Whether offsets are drawn.
    pub fn is_random(self) -> bool {
        use ReadWrite::{RandMixed, RandRead, RandTrim, RandTrimWrite, RandWrite};
        matches!(
            self,
            RandRead | RandWrite | RandMixed | RandTrim | RandTrimWrite
        )
    }

    /// Whether the job reads, apart from verification.
    pub fn reads(self) -> bool {
        use ReadWrite::{Mixed, RandMixed, RandRead, Read};
        matches!(self, Read | RandRead | Mixed | RandMixed)
    }

    /// Whether the job writes.
    pub fn writes(self) -> bool {
        use ReadWrite::{Mixed, RandMixed, RandTrimWrite, RandWrite, TrimWrite, Write};
        matches!(
            self,
            Write | RandWrite | Mixed | RandMixed | TrimWrite | RandTrimWrite
        )
    }

    /// Whether the job trims.
    pub fn trims(self) -> bool {
        use ReadWrite::{RandTrim, RandTrimWrite, Trim, TrimWrite};
        matches!(self, Trim | RandTrim | TrimWrite | RandTrimWrite)
    }

    /// Whether it reads and writes.
    pub fn is_mixed(self) -> bool {
        self.reads() && self.writes()
    }
}

/// How often a random job draws a place, or how far a sequential one skips: what stands behind the colon of
/// `rw`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Step {
    /// Every I/O goes to a place of its own, or on where the last one ended.
    #[default]
    Each,
    /// Every so many-th I/O of a random job draws a place; the others follow `rw_sequencer`.
    Random(u32),
    /// A sequential job leaves out so many bytes between two I/Os, or goes back by them.
    Skip(i64),
}

/// Where an I/O of a random job goes that draws no place: `rw_sequencer`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sequencer {
    /// On from the last one.
    #[default]
    Sequential,
    /// To the same place.
    Identical,
}

/// What draws the places of a random job: `random_generator`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Generator {
    /// `tausworthe`
    #[default]
    Tausworthe,
    /// `lfsr`: every place once, without a map.
    Lfsr,
}

/// How I/O is handed to the kernel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum IoEngine {
    /// Linux native AIO.
    Libaio,
    /// io_uring.
    IoUring,
    /// POSIX AIO.
    Posixaio,
    /// `pread`/`pwrite`: one at a time. fio's default.
    #[default]
    Psync,
    /// `lseek`, then `read`/`write`: one at a time.
    ///
    /// # Divergence from fio
    ///
    /// After an error that `continue_on_error` lets pass, fio 3.33 leaves out its `lseek` where the next request
    /// begins at the end of the last good one (`engines/sync.c`, `LAST_POS`), and goes to a wrong place.
    Sync,
    /// One that reaches no disk: it changes the layout of regular files (`e4defrag`, `falloc`), or does no I/O
    /// (`null`, `cpuio`).
    NoDisk,
}

impl IoEngine {
    /// Names in job files. `pvsync`, `pvsync2`, `vsync`, `splice` and `mmap` differ from `psync` in the system
    /// call only.
    pub const NAMES: [(&'static str, IoEngine); 18] = [
        ("libaio", IoEngine::Libaio),
        ("io_uring", IoEngine::IoUring),
        ("posixaio", IoEngine::Posixaio),
        ("psync", IoEngine::Psync),
        ("pvsync", IoEngine::Psync),
        ("pvsync2", IoEngine::Psync),
        ("vsync", IoEngine::Psync),
        ("splice", IoEngine::Psync),
        ("mmap", IoEngine::Psync),
        ("sync", IoEngine::Sync),
        ("e4defrag", IoEngine::NoDisk),
        ("falloc", IoEngine::NoDisk),
        ("ftruncate", IoEngine::NoDisk),
        ("filecreate", IoEngine::NoDisk),
        ("filestat", IoEngine::NoDisk),
        ("filedelete", IoEngine::NoDisk),
        ("null", IoEngine::NoDisk),
        ("cpuio", IoEngine::NoDisk),
    ];

    /// The engine of this name; fio takes all names that begin with `aio` or `linuxaio` for `libaio`
    /// (`ioengines.c`, `parse_engine`).
    pub fn named(name: &str) -> Option<IoEngine> {
        if name.starts_with("aio") || name.starts_with("linuxaio") {
            return Some(IoEngine::Libaio);
        }
        let row = Self::NAMES.iter().find(|row| row.0 == name)?;
        Some(row.1)
    }

    /// Whether it does one request at a time, whatever `iodepth` says.
    pub fn is_sync(self) -> bool {
        match self {
            IoEngine::Psync | IoEngine::Sync | IoEngine::NoDisk => true,
            IoEngine::Libaio | IoEngine::IoUring | IoEngine::Posixaio => false,
        }
    }
}

/// How a job chooses between its files: `file_service_type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileOrder {
    /// One after the other, so many I/Os to each.
    RoundRobin(u32),
    /// One after the other, each to its end.
    Sequential,
    /// Drawn, so many I/Os to each.
    Random(u32),
}
