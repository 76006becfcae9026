//! What is wrong with a job file, in one clear line.
//!
//! Three kinds must not be mixed: an option that fio does not know, one that fio knows and the model
//! does not, and options that contradict each other. Knows nothing of how options are read.

use std::fmt;

/// A job file that cannot be carried out as written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobError {
    /// The file's name, as given to the parser.
    pub file: String,
    /// Line, from 1.
    pub line: u32,
    /// Column of the option's name or, for a bad value, of the value, from 1.
    pub column: u32,
    /// What is wrong.
    pub kind: JobErrorKind,
}

/// What is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JobErrorKind {
    /// fio 3.33 does not know the option.
    Unknown {
        /// As written.
        option: String,
        /// The known option that looks most like it.
        nearest: Option<&'static str>,
    },
    /// fio knows the option, or its value; the model does not do what it asks for.
    Unsupported {
        /// As written.
        option: String,
        /// Its value, if it has one.
        value: Option<String>,
        /// What the model does do.
        expected: String,
    },
    /// Two options, or an option and a default, cannot both hold.
    Contradictory {
        /// The option.
        option: &'static str,
        /// What it contradicts, in words.
        why: String,
    },
    /// The option does not take this value.
    BadValue {
        /// As written.
        option: String,
        /// As written; `None` if it has none.
        value: Option<String>,
        /// What it takes.
        expected: String,
    },
    /// The line is no section, no option and no comment.
    Syntax {
        /// What was found.
        found: String,
        /// What was expected.
        expected: &'static str,
    },
}

impl fmt::Display for JobError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.file, self.line, self.kind)
    }
}

impl std::error::Error for JobError {}

impl fmt::Display for JobErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = |value: &Option<String>| match value {
            Some(value) => format!("={}", short(value)),
            None => String::new(),
        };
        match self {
            JobErrorKind::Unknown {
                option,
                nearest: Some(nearest),
            } => {
                write!(
                    f,
                    "unknown option \"{option}\": did you mean \"{nearest}\"?"
                )
            }
            JobErrorKind::Unknown {
                option,
                nearest: None,
            } => {
                write!(f, "unknown option \"{option}\"")
            }
            JobErrorKind::Unsupported {
                option,
                value: given,
                expected,
            } => {
                let given = value(given);
                write!(
                    f,
                    "unsupported \"{option}{given}\": fio knows it, the model {expected}"
                )
            }
            JobErrorKind::Contradictory { option, why } => {
                write!(f, "contradictory \"{option}\": {why}")
            }
            JobErrorKind::BadValue {
                option,
                value: given,
                expected,
            } => {
                let given = value(given);
                write!(f, "bad value \"{option}{given}\": expected {expected}")
            }
            JobErrorKind::Syntax { found, expected } => {
                write!(f, "found \"{}\", expected {expected}", short(found))
            }
        }
    }
}

/// Characters of what was written that an error shows.
const SHOWN_MAX: usize = 100;

/// What was written, or the beginning of it.
fn short(text: &str) -> String {
    match text.char_indices().nth(SHOWN_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
