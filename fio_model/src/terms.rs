//! The numbers that a fio thread works with: a job's options after fio's own corrections, on a
//! device of known size, scaled to a volume.
//!
//! Knows nothing of I/O; computed once, when the thread starts.

use crate::continue_on_error::ContinueOnError;
use crate::digest::VerifyType;
use crate::errno::Errno;
use crate::job::Job;
use crate::pattern::Pattern;
use crate::result::Origin;
use crate::span::{Region, Span};
use crate::verify_state::VerifyStateError;

/// How much of a disk a job covers in the simulator, in place of its run time.
///
/// The thread then makes exactly one pass over `blocks` blocks (or the device or `size`, if
/// smaller): each is written once and verified once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Volume {
    /// Blocks of the job's smallest block size.
    pub blocks: u64,
    /// Divides depth, batch, low-water mark and backlog, so that a small volume keeps its shape.
    pub scale: u32,
}

/// Why a thread cannot start; fio counts it as a failed job with EINVAL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SetupError {
    /// Neither `size` nor the device gives a size.
    #[error("you need to specify size=")]
    NoSize,
    /// Without `size`, the offset lies behind the end of the device.
    #[error("you need to specify valid offset=")]
    NoOffset,
    /// Without `size`, less than a block lies between the offset and the end of the device.
    #[error("fio: blocksize is larger than data set range")]
    RangeTooSmall,
    /// Of what `size` asks for, the device has not one block: fio does nothing, and takes that for success.
    #[error("its range lies behind the end of the disk: fio does nothing")]
    NothingToDo,
    /// Blocks do not hold the verify header and its checksum.
    #[error("fio: Blocksize too small: {interval} bytes for a header of {header}")]
    BlocksizeTooSmall {
        /// Bytes of an interval.
        interval: u32,
        /// Bytes that it must exceed.
        header: u32,
    },
    /// `verify_state_load`, and the file cannot be used. fio then ends with an exit status of 1.
    #[error(transparent)]
    VerifyState(#[from] VerifyStateError),
    /// More blocks than fio's 32-bit generator can address; fio then changes to another generator,
    /// which is not modelled.
    #[error("{blocks} blocks are more than the model's 32-bit generator addresses")]
    TooManyBlocks {
        /// How many.
        blocks: u64,
    },
}

impl SetupError {
    /// Where fio 3.33 finds it; it does not say so of a state file.
    pub fn origin(self) -> Option<Origin> {
        match self {
            SetupError::BlocksizeTooSmall { .. } => Some(Origin::BlocksizeTooSmall),
            SetupError::NoSize | SetupError::TooManyBlocks { .. } => Some(Origin::TotalFileSize),
            SetupError::VerifyState(_) => None,
            SetupError::NoOffset | SetupError::RangeTooSmall | SetupError::NothingToDo => None,
        }
    }

    /// The error that its job ends with.
    pub fn errno(self) -> Errno {
        match self {
            SetupError::NothingToDo => Errno::OK,
            _ => Errno::EINVAL,
        }
    }
}

/// The corrected numbers of one thread.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Terms {
    /// What it uses of each of its files, and where that file ends.
    pub files: Vec<(Region, u64)>,
    /// Bytes that it uses of all its files.
    pub covered: u64,
    /// From the first of them to the last.
    pub region: Region,
    pub depth: u32,
    pub batch: u32,
    pub batch_complete: u32,
    pub low: u32,
    pub backlog: u64,
    pub backlog_batch: u64,
    pub verify: Option<VerifyType>,
    pub interval: u32,
    /// Where in an interval its header stands; 0: in front, or there is none.
    pub verify_offset: u32,
    pub pattern: Option<Pattern>,
    pub is_sync: bool,
    pub reads: bool,
    pub writes: bool,
    pub trims: bool,
    /// Whether a pass repeats the one before: all generators are seeded again.
    pub repeats: bool,
    /// Whether the run goes on until its time is over.
    pub time_based: bool,
    pub runtime_ns: u64,
    pub loops: u64,
    pub do_verify: bool,
    pub verify_fatal: bool,
    pub verify_dump: bool,
    pub verify_async: bool,
    /// Nothing is written: what would have been is verified.
    pub verify_only: bool,
    /// Verification draws the places again.
    pub experimental_verify: bool,
    /// An I/O waits for those in flight that it overlaps.
    pub serialize_overlap: bool,
    /// `ENOSPC` ends the job well.
    pub fill_device: bool,
    pub exitall_on_error: bool,
    /// I/Os of all passes; 0 is any number.
    pub number_ios: u64,
    /// The time before counts begin.
    pub ramp_ns: u64,
    /// Depth as a state file has it, if the job leaves one.
    pub state_depth: Option<u32>,
    pub continue_on_error: ContinueOnError,
    pub checks_seed: bool,
    pub checks_numberio: bool,
    pub len_min: u32,
    pub len_max: u32,
    /// Bytes that a unit's buffer holds.
    pub buffer_len: u32,
    /// Bytes to issue before a pass ends, verify reads included.
    pub pass_bytes: u64,
    /// Bytes that `size` asks for, of the region.
    pub size: u64,
    /// Bytes after which no pass begins, verify reads included, and no more is written: `io_size`.
    pub io_bytes: u64,
    /// `io_size` is given: a pass that finds no place any more is not the last one.
    pub has_io_size: bool,
    pub is_volume: bool,
}

impl Terms {
    pub fn new(job: &Job, device: u64, volume: Option<Volume>) -> Result<Terms, SetupError> {
        let files = regions(job, device, volume)?;
        let region = hull(&files);
        let covered = files.iter().map(|(region, _)| region.size).sum();
        let depths = Depths::new(job, volume);
        let (depth, backlog) = (depths.depth, depths.backlog);
        let writes = job.rw.writes();
        let verifies_inside = job.verify.is_some() && writes && backlog > 0;
        let (read, write, trim) = (job.read_len, job.write_len, job.trim_len);
        let fixed_len = read == write && write == trim && read.0 == read.1;
        // Each place is trimmed, then written.
        let by_place = 1 + u64::from(job.rw.trims() && writes);
        let interval = interval(job)?;
        let goes_by_time = job.time_based && job.runtime_ns > 0;
        let is_timed = volume.is_none() && job.runtime_ns > 0;
        let runtime_ns = if is_timed {
            job.runtime_ns + job.ramp_ns
        } else {
            0
        };
        let fills = job.verify.is_some_and(|verify| verify != VerifyType::Null);
        let size = size_of(job, covered);
        let io_bytes = io_bytes(job, device, size, volume.is_some());
        // Without a map a random job goes on to io_size before it verifies.
        let goes_on = writes && job.rw.is_random() && !job.has_map_option();
        let pass_bytes = if goes_on { size.max(io_bytes) } else { size };
        Ok(Terms {
            files,
            covered,
            region,
            depth,
            batch: depths.batch,
            batch_complete: depths.batch_complete,
            low: depths.low,
            backlog: if verifies_inside { backlog } else { 0 },
            backlog_batch: depths.backlog_batch,
            verify: job.verify,
            interval,
            verify_offset: header_at(job),
            pattern: job.verify_pattern.clone().filter(|_| fills),
            is_sync: job.ioengine.is_sync(),
            reads: job.rw.reads(),
            writes,
            trims: job.rw.trims(),
            repeats: job.repeats(),
            time_based: job.time_based && is_timed,
            runtime_ns,
            loops: volume.map_or(u64::from(job.loops), |_| 1),
            do_verify: job.do_verify,
            verify_fatal: job.verify_fatal,
            verify_dump: job.verify_dump,
            verify_only: job.verify_only && writes,
            experimental_verify: job.experimental_verify && writes,
            serialize_overlap: job.serialize_overlap && writes && depth > 1,
            fill_device: job.fill_device,
            exitall_on_error: job.exitall_on_error,
            number_ios: (job.number_ios).saturating_mul(by_place * u64::from(job.loops)),
            ramp_ns: if runtime_ns > 0 { job.ramp_ns } else { 0 },
            state_depth: state_depth(job, volume.map(|_| depth)),
            continue_on_error: job.continue_on_error.clone(),
            verify_async: job.verify_async > 0,
            checks_seed: job.rw.is_mixed() && !verifies_inside,
            checks_numberio: writes && fixed_len && !job.verify_only && !goes_by_time,
            len_min: job.len_min(),
            len_max: (job.len_max()).max(if job.rw.trims() { trim.1 } else { 0 }),
            buffer_len: job.len_max(),
            pass_bytes: pass_bytes + if verifies_inside { size } else { 0 },
            size,
            io_bytes,
            has_io_size: job.io_size.is_some(),
            is_volume: volume.is_some(),
        })
    }

    /// Bytes that a job issues of its own in a pass, if nothing stops it.
    pub fn pass_of_own(&self) -> u64 {
        self.size.min(self.io_bytes)
    }
}

/// From the start of the first file to the end of the last.
fn hull(files: &[(Region, u64)]) -> Region {
    let (first, last) = (files[0].0, files[files.len() - 1].0);
    Region {
        start: first.start,
        size: last.start + last.size - first.start,
    }
}

/// How much is in flight, submitted, reaped and logged at once, scaled to a volume.
struct Depths {
    depth: u32,
    batch: u32,
    batch_complete: u32,
    low: u32,
    backlog: u64,
    backlog_batch: u64,
}

impl Depths {
    fn new(job: &Job, volume: Option<Volume>) -> Depths {
        let scale = volume.map_or(1, |volume| volume.scale.max(1));
        let scaled = |number: u32| {
            if number == 0 {
                0
            } else {
                (number / scale).max(1)
            }
        };
        let depth = if job.ioengine.is_sync() {
            1
        } else {
            scaled(job.iodepth)
        };
        let up_to_depth = |number: u32| {
            if number == 0 {
                depth
            } else {
                number.min(depth)
            }
        };
        let backlog = u64::from(scaled(job.verify_backlog));
        let backlog_batch = u64::from(scaled(job.verify_backlog_batch));
        Depths {
            depth,
            batch: up_to_depth(scaled(job.iodepth_batch)),
            batch_complete: scaled(job.iodepth_batch_complete).clamp(1, depth),
            low: up_to_depth(scaled(job.iodepth_low)),
            backlog,
            backlog_batch: if backlog_batch == 0 {
                backlog
            } else {
                backlog_batch
            },
        }
    }
}

/// What `size` asks for: less than the region only where `filesize` gives that.
fn size_of(job: &Job, covered: u64) -> u64 {
    match (job.filesize, job.size) {
        (Some(_), Some(Span::Bytes(size @ 1..))) => size.min(covered),
        _ => covered,
    }
}

/// Bytes after which nothing more is written: of a volume, at most one pass.
fn io_bytes(job: &Job, device: u64, size: u64, is_volume: bool) -> u64 {
    match job.io_size {
        Some(given) if is_volume => given.of(device).min(size),
        Some(given) => given.of(device),
        None => size,
    }
}

/// `iodepth`, also of a synchronous engine, unless a volume scales it.
fn state_depth(job: &Job, scaled: Option<u32>) -> Option<u32> {
    let saves = job.verify_state_save && job.verify.is_some() && job.rw.writes();
    let saves = saves && job.parts.len() == 1;
    saves.then(|| scaled.unwrap_or(job.iodepth))
}

/// Where headers stand, if there are any.
fn header_at(job: &Job) -> u32 {
    let verify = job.verify.filter(|verify| verify.has_header());
    verify.map_or(0, |_| job.verify_offset)
}

/// Bytes of an interval, which must hold a header and a checksum.
fn interval(job: &Job) -> Result<u32, SetupError> {
    let interval = job.interval();
    if let Some(verify) = job.verify {
        let header = verify.header_len() as u32;
        if interval < header {
            return Err(SetupError::BlocksizeTooSmall { interval, header });
        }
    }
    Ok(interval)
}

/// What is used of each of the files, and where that ends.
fn regions(
    job: &Job,
    device: u64,
    volume: Option<Volume>,
) -> Result<Vec<(Region, u64)>, SetupError> {
    let (files, unit) = (job.parts.len() as u64, u64::from(job.len_min()));
    let parts = (0u64..).zip(&job.parts);
    let regions = parts.map(|(index, part)| {
        let size = job.size.map(|size| match size {
            // The first files take what cannot be shared out.
            Span::Bytes(bytes) => {
                let even = bytes / files;
                let more = (bytes - even * files) / unit;
                Span::Bytes(even + unit * u64::from(index < more))
            }
            Span::Percent(_) => size,
        });
        let volume = volume.map(|volume| (volume.blocks / files).max(1));
        let (from, to) = part.bytes(device);
        Ok((region(job, (from, to), size, volume)?, to))
    });
    regions.collect()
}

/// Resolves offset and size in a file: percentages, its end, whole blocks, at most so many blocks.
fn region(
    job: &Job,
    (from, to): (u64, u64),
    asked: Option<Span>,
    blocks_max: Option<u64>,
) -> Result<Region, SetupError> {
    let unit = u64::from(job.len_min());
    let device = to - from;
    let further = u64::from(job.clone_number).saturating_mul(job.offset_increment.of(device));
    let start = job.offset.of(device).saturating_add(further);
    let is_share = |span| matches!(span, Span::Percent(1..));
    let start = match job.offset_align {
        _ if !is_share(job.offset) && !is_share(job.offset_increment) => start,
        0 => start.next_multiple_of(unit),
        align => start.next_multiple_of(u64::from(align)),
    };
    let rest = device.saturating_sub(start);
    let mut size = match (job.filesize, asked) {
        (Some(size), _) => size.saturating_sub(start).min(rest),
        (None, None | Some(Span::Bytes(0))) => rest,
        (None, Some(Span::Bytes(bytes))) => bytes.min(rest),
        (None, Some(share)) => (share.of(device) / unit * unit).min(rest),
    };
    if let Some(most) = blocks_max {
        size = size.min(most * unit);
    }
    let blocks = size / unit;
    if blocks == 0 {
        let behind = start > job.filesize.unwrap_or(device);
        return Err(match job.size {
            _ if device == 0 => SetupError::NoSize,
            Some(Span::Bytes(1..)) if job.filesize.is_none() => SetupError::NothingToDo,
            _ if behind => SetupError::NoOffset,
            _ => SetupError::RangeTooSmall,
        });
    }
    if job.rw.is_random() && blocks > u64::from(u32::MAX) {
        return Err(SetupError::TooManyBlocks { blocks });
    }
    let start = from + start;
    Ok(Region { start, size })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job_file::JobFile;

    /// As fio 3.33 does on a block device of 64 MiB.
    #[test]
    fn a_range_behind_the_end_is_an_error_only_where_no_size_is_given() {
        let of = |options: &str| {
            let text = format!("[global]\nrw=write\nverify=md5\n{options}\n");
            let file = JobFile::parse("x.fio", &text).expect("a job");
            let found = regions(file.template(), 64 << 20, None);
            found.map(|files| files[0].0.size)
        };
        for (options, error) in [
            ("offset=1g", SetupError::NoOffset),
            ("offset=64m", SetupError::RangeTooSmall),
            ("offset=1g\nsize=1m", SetupError::NothingToDo),
            ("offset=64m\nsize=1m", SetupError::NothingToDo),
            ("offset=65000k\nbs=1m", SetupError::RangeTooSmall),
            ("offset=65000k\nbs=1m\nsize=2m", SetupError::NothingToDo),
            ("filesize=1m\noffset=2m", SetupError::NoOffset),
            ("size=50%\noffset=80m", SetupError::NoOffset),
        ] {
            assert_eq!(of(options), Err(error), "{options}");
        }
        assert_eq!(of("offset=63m\nsize=2m"), Ok(1 << 20));
        assert_eq!(SetupError::NothingToDo.errno(), Errno::OK);
    }
}
