//! fio as a model: its job files, the I/O that a job issues and the order it issues it in, its
//! on-media verify format, its checks, its words and its exit status. The model is fio 3.33's.
//!
//! Knows nothing of virtio, SPDK and time: requests are handed out, completions are handed in,
//! clocks are arguments. What fio writes, [`FioThread`] writes, byte for byte, apart from the
//! header's time; what fio would not notice, [`strict`](StrictOracle) notices beside it.
#![forbid(unsafe_code)]

mod continue_on_error;
mod errno;
mod job;
mod job_check;
mod job_error;
mod job_file;
mod kinds;
mod known_options;
mod numbers;
mod options;
mod placing;
mod source;
mod span;

mod distribution;
mod doubts;
mod lfsr;
mod offsets;
mod places;
mod random;
mod random_map;

mod digest;
mod digest_cache;
mod fingerprint;
mod header;
mod pattern;
mod payload;
mod sums;
mod verify;
mod verify_state;

mod request;
mod result;
mod strict;
mod terms;
mod thread;
mod units;
mod write_log;

pub use continue_on_error::ContinueOnError;
pub use digest::{TRAILER_MAX, Trailer, VerifyType};
pub use digest_cache::DigestCache;
pub use distribution::Distribution;
pub use errno::Errno;
pub use fingerprint::{Fingerprint, fingerprint};
pub use header::{HEADER_LEN, Header, MAGIC};
pub use job::{FileOrder, Generator, IoEngine, Job, ReadWrite, Sequencer, Step};
pub use job_error::{JobError, JobErrorKind, JobErrors};
pub use job_file::JobFile;
pub use known_options::NoEffect;
pub use pattern::{Mismatch, PATTERN_MAX, Pattern};
pub use payload::{fill, fill_from, is_pristine};
pub use placing::{GivenDisk, Placed};
pub use random::{SeedTable, Taus88};
pub use request::{Completion, Device, Next, Op, Request, UnitId};
pub use result::{
    FirstFailure, GroupSummary, IoCounts, JobResult, KEPT_MAX, Origin, client_exit_status,
    exit_status,
};
pub use source::{Surroundings, expand};
pub use span::{Part, Span};
pub use strict::{Moment, StrictKind, StrictOracle, StrictViolation};
pub use sums::crc32c;
pub use terms::{SetupError, Volume};
pub use thread::{FioThread, Progress};
pub use verify::{Cause, Expected, Stamp, VerifyFailure, check, stamp};
pub use verify_state::{VerifyState, VerifyStateError};
