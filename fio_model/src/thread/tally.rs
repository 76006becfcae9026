//! How far a fio thread has come: what steers its passes, and what it says of them.

/// How far a thread has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Blocks written so far.
    pub written: u64,
    /// Blocks read and checked so far.
    pub verified: u64,
    /// Blocks that the job has to verify, as of now: those that a pass covers, less those that were only
    /// read (`rw=randrw`), those that were written again before they were verified (`norandommap`),
    /// and those that fio leaves out of its pass. What has failed is not taken off. 0 of a job that verifies nothing.
    ///
    /// It is counted from what was issued, never from what was verified. Of several passes
    /// it is the sum, with those of `loops` that are still to come; of a job with a run time, the sum of those
    /// that are over, or the first one.
    pub volume: u64,
    /// The job's clock, in thousandths of its whole: of blocks to write and verify, or of its run
    /// time when it has one and no volume.
    pub permille: u32,
}

/// Byte and I/O counts that steer the passes.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tally {
    /// Own I/Os issued, by direction, over all passes.
    pub issued: [u64; 3],
    /// Own bytes issued, over all passes.
    pub issued_bytes: u64,
    /// Bytes issued in this pass, verify reads included.
    pub pass_issued: u64,
    /// Bytes done in this pass, verify reads included.
    pub pass_done: u64,
    /// Bytes done in all passes, verify reads included.
    pub done: u64,
    /// Own bytes done: none at all ends the job.
    pub own_done: u64,
    /// Own bytes chosen in this pass.
    pub pass_own: u64,
    /// Own bytes read in this pass that nothing is checked of.
    pub only_read: u64,
    /// Nothing more of its own will be chosen in this pass.
    pub own_is_over: bool,
    /// There was no place left in this half of the pass.
    pub found_no_place: bool,
    /// Bytes that the passes before this one had to verify.
    pub passes_before: u64,
    /// Bytes that the passes before this one wrote.
    pub written_before: u64,
    /// Bytes that `experimental_verify` has read in all passes.
    pub reread: u64,
}
