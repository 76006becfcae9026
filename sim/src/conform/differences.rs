//! The knowing differences: transcripts that the model does not reproduce, and why.
//!
//! One list for each preset of the target. Under `head` it holds what the model does not model;
//! under `intended` it holds the transcripts that show a deviation of SPDK head, and which. A
//! transcript that stands here and passes anyway is an error: the list is kept true by running.

use crate::deviation::Deviation;

/// Why a transcript does not pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Known {
    /// The case.
    pub case: &'static str,
    /// The deviations of head that it shows; none if the model is to blame.
    pub shows: &'static [Deviation],
    /// Why, for people.
    pub why: &'static str,
}

/// What the model of SPDK head does otherwise than SPDK head.
pub const UNDER_HEAD: &[Known] = &[];

/// What SPDK head does otherwise than it should.
pub const UNDER_INTENDED: &[Known] = &[];
