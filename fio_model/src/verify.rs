//! Stamps buffers as fio stamps them before a write, and checks them as fio checks them after a
//! read: same order, same words.
//!
//! Knows nothing of jobs and logs: what to expect is an argument. The costly part is shared: the
//! payload of a seed is regenerated and compared, and only what differs is digested for real.

use std::fmt;

use crate::digest::{TRAILER_MAX, Trailer, VerifyType};
use crate::digest_cache::DigestCache;
use crate::fingerprint::Fingerprint;
use crate::header::{HEADER_LEN, Header, MAGIC};
use crate::pattern::{Mismatch, Pattern};
use crate::payload;
use crate::sums::crc32c;

/// What a write stamps on its intervals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp<'a> {
    /// The job's verify type.
    pub verify: VerifyType,
    /// Length of an interval; divides the write.
    pub interval: u32,
    /// Where in an interval its header stands (`verify_offset`); 0: in front.
    pub header_at: u32,
    /// Payload seed; 0 with a pattern.
    pub seed: u64,
    /// What is written in place of the payload (`verify_pattern`).
    pub pattern: Option<&'a Pattern>,
    /// Where the write goes, in bytes.
    pub offset: u64,
    /// When it was prepared, in nanoseconds.
    pub now_ns: u64,
    /// The fio thread's number.
    pub thread: u16,
    /// Low 16 bits of the count of writes issued before this one.
    pub numberio: u16,
}

impl Stamp<'_> {
    /// The header of the interval at byte `at` of the write, without its CRC.
    fn header(&self, at: u32, len: u32) -> Header {
        Header {
            magic: MAGIC,
            verify_type: self.verify.number(),
            len,
            rand_seed: self.seed,
            offset: self.offset + u64::from(at),
            seconds: (self.now_ns / 1_000_000_000) as u32,
            nanoseconds: (self.now_ns % 1_000_000_000) as u32,
            thread: self.thread,
            numberio: self.numberio,
            crc: 0,
        }
    }

    /// The fingerprint of the interval at byte `at` of the write.
    pub fn fingerprint(&self, at: u32) -> Fingerprint {
        let mut header = self.header(at, self.interval);
        header.crc = header.encode(&mut [0; HEADER_LEN]);
        Fingerprint::of_header(&header)
    }
}

/// Fills `buffer` with payload, headers and trailers. Returns the header of the first interval.
///
/// Without headers (`verify=null`, `verify=pattern`) the one returned is the default one.
pub fn stamp(stamp: &Stamp<'_>, buffer: &mut [u8], digests: &mut DigestCache) -> Header {
    match stamp.pattern {
        Some(pattern) => pattern.fill(stamp.offset, buffer),
        None => payload::fill(stamp.seed, buffer),
    }
    let mut first = Header::default();
    if !stamp.verify.has_header() {
        return first;
    }
    let start = stamp.verify.header_len();
    for (index, interval) in buffer.chunks_mut(stamp.interval as usize).enumerate() {
        let at = index * stamp.interval as usize;
        let len = interval.len();
        if stamp.verify.is_costly() {
            let compute = || stamp.verify.digest(&interval[start..]);
            let trailer = match stamp.pattern {
                Some(_) => compute(),
                None => digests.get(stamp.verify, stamp.seed, at + start, len - start, compute),
            };
            interval[HEADER_LEN..start].copy_from_slice(&trailer[..start - HEADER_LEN]);
        }
        let mut header = stamp.header(at as u32, len as u32);
        header.crc = header.encode(interval);
        if index == 0 {
            first = header;
        }
    }
    if stamp.header_at > 0 {
        swap_headers(stamp.verify, stamp.interval, stamp.header_at, buffer);
    }
    first
}

/// Exchanges the header and trailer of every interval with the bytes at `header_at` (`verify_offset`).
pub fn swap_headers(verify: VerifyType, interval: u32, header_at: u32, buffer: &mut [u8]) {
    let len = verify.header_len();
    for interval in buffer.chunks_mut(interval as usize) {
        if let Some((front, behind)) = interval.split_at_mut_checked(header_at as usize)
            && let (Some(front), Some(behind)) = (front.get_mut(..len), behind.get_mut(..len))
        {
            front.swap_with_slice(behind);
        }
    }
}

/// What a verify read is held against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expected<'a> {
    /// The job's verify type; that on the medium is only reported.
    pub verify: VerifyType,
    /// Length of an interval.
    pub interval: u32,
    /// Where the read was, in bytes.
    pub offset: u64,
    /// The seed, if this job is one that compares it.
    pub seed: Option<u64>,
    /// What stands in place of the payload (`verify_pattern`).
    pub pattern: Option<&'a Pattern>,
    /// The count of writes, if this job is one that compares it.
    pub numberio: Option<u16>,
    /// Whether the first failure ends the check (`verify_fatal`).
    pub fatal: bool,
    /// Whether the message names the files that fio would leave (`verify_dump`).
    pub dump: bool,
    /// fio's flags of the I/O unit, as its message shows them.
    pub flags: u32,
}

/// What was wrong with an interval.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The first two bytes are not fio's.
    Magic {
        /// What stood there.
        got: u16,
    },
    /// The header's length is not the interval's.
    Length {
        /// What stood there.
        got: u32,
        /// The interval's length.
        wanted: u32,
    },
    /// The payload seed is not that of the write expected here.
    RandSeed {
        /// What stood there.
        got: u64,
        /// The seed of the write expected.
        wanted: u64,
    },
    /// The header belongs to another place.
    Offset {
        /// What stood there.
        got: u64,
        /// Where the I/O starts: fio's message shows this, not where the interval does.
        wanted: u64,
    },
    /// The header is that of another write of this job.
    Numberio {
        /// What stood there.
        got: u16,
        /// The count expected.
        wanted: u16,
    },
    /// The header's own CRC does not fit it.
    HeaderCrc {
        /// What stood there.
        got: u32,
        /// What the header's bytes amount to.
        calculated: u32,
    },
    /// The payload's checksum does not fit it.
    Payload {
        /// The job's verify type.
        verify: VerifyType,
        /// The type in the header, where fio reports a mismatch.
        media_type: u16,
        /// The trailer on the medium, which fio calls "Expected".
        expected: Box<Trailer>,
        /// The trailer computed, which fio calls "Received".
        received: Box<Trailer>,
    },
    /// The payload is not the pattern.
    Pattern {
        /// The job's verify type.
        verify: VerifyType,
        /// The type in the header, or what stands in its place.
        media_type: u16,
        /// The first byte that differs.
        mismatch: Mismatch,
    },
}

/// A failed check; its `Display` with a file name is what fio prints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifyFailure {
    /// What was wrong.
    pub cause: Cause,
    /// Where the interval starts.
    pub offset: u64,
    /// Its length.
    pub length: u32,
    /// Where the read started.
    pub request_offset: u64,
    /// How long the read was.
    pub request_length: u32,
    /// fio's flags of the I/O unit.
    pub flags: u32,
    /// Whether the message names the files that fio would leave.
    pub dump: bool,
}

impl VerifyFailure {
    /// The failure as fio prints it for `file`: one line, or several without a last line end.
    pub fn in_file<'a>(&'a self, file: &'a str) -> impl fmt::Display + 'a {
        InFile {
            failure: self,
            file,
        }
    }
}

struct InFile<'a> {
    failure: &'a VerifyFailure,
    file: &'a str,
}

impl fmt::Display for InFile<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let VerifyFailure {
            cause,
            offset,
            length,
            request_offset,
            request_length,
            flags,
            dump,
        } = self.failure;
        let name = self.file.rsplit('/').next().unwrap_or_default();
        // Without headers, fio takes the place of the whole read.
        let is_bare = matches!(
            cause,
            Cause::Pattern {
                verify: VerifyType::PatternNoHeader,
                ..
            }
        );
        let place = if is_bare { request_offset } else { offset };
        let dumped = |f: &mut fmt::Formatter<'_>, what: &str| {
            if !dump {
                return Ok(());
            }
            write!(f, "\n       {what} data dumped as {name}.{place}.{what}")
        };
        cause.what(f)?;
        write!(f, " at file {} offset {offset}, length {length}", self.file)?;
        write!(
            f,
            " (requested block: offset={request_offset}, length={request_length}"
        )?;
        let (Cause::Payload {
            verify, media_type, ..
        }
        | Cause::Pattern {
            verify, media_type, ..
        }) = cause
        else {
            f.write_str(")")?;
            return dumped(f, "hdr_fail");
        };
        write!(f, ", flags={flags:x})")?;
        if let Cause::Payload {
            expected, received, ..
        } = cause
        {
            let [expected, received] =
                [expected, received].map(|sum| hex::encode(&sum[..verify.trailer_len()]));
            write!(f, "\n       Expected CRC: {expected}")?;
            write!(f, "\n       Received CRC: {received}")?;
        }
        dumped(f, "received")?;
        dumped(f, "expected")?;
        if *media_type != verify.number() {
            let given = verify.number();
            write!(
                f,
                "\nfio: verify type mismatch ({media_type} media, {given} given)"
            )?;
        }
        Ok(())
    }
}

impl Cause {
    /// What is wrong, in fio's words, without the place.
    fn what(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Cause::Magic { got } => {
                write!(f, "verify: bad magic header {got:x}, wanted {MAGIC:x}")
            }
            Cause::Length { got, wanted } => {
                write!(f, "verify: bad header length {got}, wanted {wanted}")
            }
            Cause::RandSeed { got, wanted } => {
                write!(f, "verify: bad header rand_seed {got}, wanted {wanted}")
            }
            Cause::Offset { got, wanted } => {
                write!(f, "verify: bad header offset {got}, wanted {wanted}")
            }
            Cause::Numberio { got, wanted } => {
                write!(f, "verify: bad header numberio {got}, wanted {wanted}")
            }
            Cause::HeaderCrc { got, calculated } => {
                write!(
                    f,
                    "verify: bad header crc {got:x}, calculated {calculated:x}"
                )
            }
            Cause::Payload { verify, .. } => write!(f, "{:.8}: verify failed", verify.name()),
            Cause::Pattern {
                mismatch: Mismatch { at, got, wanted },
                ..
            } => {
                let bits = (got ^ wanted).count_ones();
                writeln!(
                    f,
                    "fio: got pattern '{got:02x}', wanted '{wanted:02x}'. Bad bits {bits}"
                )?;
                writeln!(f, "fio: bad pattern block offset {at}")?;
                f.write_str("pattern: verify failed")
            }
        }
    }
}

/// Checks `buffer`, interval by interval, as fio 3.33 does.
///
/// `report` is told of each failure that fio would print. Returns whether fio would go on: as in
/// fio, a bad header ends the check, while after a bad payload the *last* interval's verdict is
/// the one that counts, unless `fatal`.
pub fn check(
    expected: &Expected<'_>,
    buffer: &[u8],
    digests: &mut DigestCache,
    mut report: impl FnMut(VerifyFailure),
) -> bool {
    if expected.verify == VerifyType::Null {
        return true;
    }
    let mut good = true;
    for (index, interval) in buffer.chunks(expected.interval as usize).enumerate() {
        if !good && expected.fatal {
            break;
        }
        let at = index * expected.interval as usize;
        let failure = |cause, length: u32| VerifyFailure {
            cause,
            // fio multiplies 32 bits, by the length that stands on the medium.
            offset: expected.offset + u64::from((index as u32).wrapping_mul(length)),
            length,
            request_offset: expected.offset,
            request_length: buffer.len() as u32,
            flags: expected.flags,
            dump: expected.dump,
        };
        // Without a header, fio's messages show what stands in its place.
        let header = match interval.len() {
            HEADER_LEN.. => Header::decode(interval),
            _ => Header::default(),
        };
        if expected.verify.has_header()
            && let Some(cause) = check_header(expected, &header, at as u64, interval)
        {
            report(failure(cause, expected.interval));
            return false;
        }
        let cause = check_payload(expected, &header, at, interval, digests);
        good = cause.is_none();
        if let Some(cause) = cause {
            report(failure(cause, header.len));
        }
    }
    good
}

/// Magic, length, seed, offset, numberio, CRC: the first that is wrong.
fn check_header(expected: &Expected<'_>, header: &Header, at: u64, bytes: &[u8]) -> Option<Cause> {
    if header.magic != MAGIC {
        return Some(Cause::Magic { got: header.magic });
    }
    if header.len != expected.interval {
        return Some(Cause::Length {
            got: header.len,
            wanted: expected.interval,
        });
    }
    if let Some(wanted) = expected.seed.filter(|seed| *seed != header.rand_seed) {
        return Some(Cause::RandSeed {
            got: header.rand_seed,
            wanted,
        });
    }
    if header.offset != expected.offset + at {
        return Some(Cause::Offset {
            got: header.offset,
            wanted: expected.offset,
        });
    }
    if let Some(wanted) = expected
        .numberio
        .filter(|numberio| *numberio != header.numberio)
    {
        return Some(Cause::Numberio {
            got: header.numberio,
            wanted,
        });
    }
    let calculated = crc32c(&bytes[..36]);
    (calculated != header.crc).then_some(Cause::HeaderCrc {
        got: header.crc,
        calculated,
    })
}

fn check_payload(
    expected: &Expected<'_>,
    header: &Header,
    at: usize,
    interval: &[u8],
    digests: &mut DigestCache,
) -> Option<Cause> {
    let (verify, media_type) = (expected.verify, header.verify_type);
    let start = verify.header_len();
    let body = &interval[start..];
    if verify.compares_pattern() {
        let pattern = expected.pattern?;
        let mismatch = pattern.mismatch(expected.offset, at + start, body)?;
        return Some(Cause::Pattern {
            verify,
            media_type,
            mismatch,
        });
    }
    let (seed, from) = (header.rand_seed, at + start);
    let known = expected.pattern.is_none() && DigestCache::keeps(verify, from, body.len());
    let received = if known && payload::is_pristine(seed, from, body) {
        digests.get(verify, seed, from, body.len(), || verify.digest(body))
    } else {
        verify.digest(body)
    };
    let media = &interval[HEADER_LEN..start];
    if *media == received[..media.len()] {
        return None;
    }
    let mut expected = Box::new([0; TRAILER_MAX]);
    expected[..media.len()].copy_from_slice(media);
    let received = Box::new(received);
    Some(Cause::Payload {
        verify,
        media_type,
        expected,
        received,
    })
}

#[cfg(test)]
#[path = "verify_tests.rs"]
mod tests;
