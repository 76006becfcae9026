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

const fn known(
    trace: Option<&'static str>,
    what: &'static str,
    (recorded, model): (&'static str, &'static str),
    why: &'static str,
) -> Known {
    Known {
        trace,
        what,
        recorded,
        model,
        why,
    }
}

/// Every known difference.
pub const KNOWN: &[Known] = &[
    known(
        None,
        "marker",
        ("SET_FEATURES 0x170000006", "SET_FEATURES 0x150000006"),
        "the recorder offered EVENT_IDX, which SPDK does not, and the model guest does not accept",
    ),
    known(
        None,
        "marker",
        (
            "SET_PROTOCOL_FEATURES 0x1029",
            "SET_PROTOCOL_FEATURES 0x1009",
        ),
        "the model of QEMU does not accept BACKEND_REQ: the back-end has nothing to ask of it",
    ),
    known(
        None,
        "undone",
        ("done", "iot through the page cache"),
        NO_PAGE_CACHE,
    ),
    known(
        None,
        "undone",
        ("done", "dd "),
        "READs of several segments and read-ahead are not modelled",
    ),
    known(None, "undone", ("done", "echo offline > "), NO_OFFLINE),
    known(None, "undone", ("done", "echo running > "), NO_OFFLINE),
    known(
        Some("buffered"),
        "results",
        (
            "read Bytes(0), read Bytes(4096), read Failed(5), ",
            "read Bytes(0), read Bytes(4096), write ",
        ),
        NO_PAGE_CACHE,
    ),
    known(
        Some("probe"),
        "commands of target 0",
        (
            "22 more: [40, 00] cdb 12010000040000000000000000000000 ",
            "goes on",
        ),
        NO_SECOND_LOOK,
    ),
    known(
        Some("probe"),
        "commands of target 0",
        (
            "nothing more",
            "[40, 00] cdb 35000000000000000000000000000000 ",
        ),
        NO_SECOND_LOOK,
    ),
    known(
        Some("probe"),
        "commands of target 0",
        (
            "nothing more",
            "[40, 00] cdb a0000000000000001000000000000000 ",
        ),
        NO_SECOND_LOOK,
    ),
    known(
        Some("probe"),
        "results",
        ("open 6", "read Bytes(4096), write Bytes(4096), "),
        NO_OFFLINE,
    ),
    known(
        Some("resps2"),
        "commands of target 0",
        (
            "1 more: [40, 00] cdb 03000000600000000800000000000000 ",
            "goes on",
        ),
        NO_ERROR_HANDLER,
    ),
    known(
        Some("resps2"),
        "commands of target 0",
        (
            "[40, 00] cdb 08000000080000000000000000000000 ",
            "nothing more",
        ),
        STILL_LONG,
    ),
    known(
        Some("resps2"),
        "commands of target 0",
        (
            "[40, 00] cdb 0a000000080000000000000000000000 ",
            "nothing more",
        ),
        STILL_LONG,
    ),
    known(
        Some("resps2"),
        "results",
        ("read Failed(121), ", "read Failed(5), "),
        NO_ERROR_HANDLER,
    ),
    known(
        Some("resps2"),
        "tries",
        ("More(1)", "Each(6)"),
        NO_ERROR_HANDLER,
    ),
    known(
        Some("resps2"),
        "results",
        ("read Failed(121), ", "read Bytes(4096), "),
        STILL_LONG,
    ),
    known(
        Some("resps2"),
        "commands of target 0",
        (
            "[40, 00] cdb 35000000000000000000000000000000 ",
            "nothing more",
        ),
        STILL_LONG,
    ),
    known(
        Some("resps2"),
        "commands of target 0",
        (
            "nothing more",
            "[40, 00] cdb 35000000000000000000000000000000 ",
        ),
        STILL_LONG,
    ),
    known(Some("resps2"), "tries", ("Alone(", "Alone("), STILL_LONG),
];

const NO_SECOND_LOOK: &str =
    "a scan by hand looks at a disk once more at its end; the model's does not, and goes on sooner";
const NO_PAGE_CACHE: &str = "the model guest has no page cache: it does direct I/O in its place";
const NO_OFFLINE: &str = "a disk cannot be set offline by hand in the model guest";
const NO_ERROR_HANDLER: &str = "the error handler, which asks for sense data that did not come, is not modelled: it is another try";
const STILL_LONG: &str = "the sense that the error handler got made the real guest use READ(6) from then on; \
    the model's disk still has READ(10), which the target treats as the scenario says";
