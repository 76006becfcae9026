//! The knowing differences between the model guest and a real one, as recordings show them, and why.
//!
//! A difference that stands here and is found nowhere is an error: the list is kept true by running.

use super::compare::Difference;

/// A difference that is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Known {
    /// The recording; `None`: any.
    pub trace: Option<&'static str>,
    /// What differs ([`Difference::what`]).
    pub what: &'static str,
    /// The beginning of what stands in the recording.
    pub recorded: &'static str,
    /// The beginning of what the model has.
    pub model: &'static str,
    /// Why, for people.
    pub why: &'static str,
}

impl Known {
    /// Whether it is this one.
    #[must_use]
    pub fn is(&self, trace: &str, difference: &Difference) -> bool {
        self.trace.is_none_or(|name| name == trace)
            && difference.what == self.what
            && difference.recorded.starts_with(self.recorded)
            && difference.model.starts_with(self.model)
    }
}

/// Every known difference.
pub const KNOWN: &[Known] = &[
    Known {
        trace: None,
        what: "marker",
        recorded: "SET_FEATURES 0x170000006",
        model: "SET_FEATURES 0x150000006",
        why: "the recorder offered EVENT_IDX, which SPDK does not, and the model guest does not accept",
    },
    Known {
        trace: None,
        what: "marker",
        recorded: "SET_PROTOCOL_FEATURES 0x1029",
        model: "SET_PROTOCOL_FEATURES 0x1009",
        why: "the model of QEMU does not accept BACKEND_REQ: the back-end has nothing to ask of it",
    },
];
