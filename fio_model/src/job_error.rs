//! What is wrong with a job file: one clear line an obstacle, all of them at once.
//!
//! Three kinds must not be mixed: an option that fio does not know, one that fio knows and the model
//! does not, and options that contradict each other. Knows nothing of how options are read.

use std::fmt;

/// All that keeps a job file from being carried out as written, in the order of the file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct JobErrors(Vec<JobError>);

impl JobErrors {
    /// `found`, if anything was.
    pub(crate) fn check(found: Vec<JobError>) -> Result<(), JobErrors> {
        if found.is_empty() {
            Ok(())
        } else {
            Err(JobErrors(found))
        }
    }

    /// One by one; there is at least one.
    pub fn iter(&self) -> impl Iterator<Item = &JobError> {
        self.0.iter()
    }
}

impl From<JobError> for JobErrors {
    fn from(error: JobError) -> JobErrors {
        JobErrors(vec![error])
    }
}

impl fmt::Display for JobErrors {
    /// A line an obstacle.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.0.iter().enumerate() {
            let before = if index == 0 { "" } else { "\n" };
            write!(f, "{before}{error}")?;
        }
        Ok(())
    }
}

/// An obstacle, and where it stands.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{file}:{line}: {kind}")]
pub struct JobError {
    /// The file's name, as given to the parser.
    pub file: String,
    /// Line, from 1.
    pub line: u32,
    /// Column of the option's name, from 1.
    pub column: u32,
    /// What is wrong.
    pub kind: JobErrorKind,
}

/// What is wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JobErrorKind {
    /// fio 3.33 does not know the option.
    #[error("unknown option \"{option}\"{}", hint(*nearest))]
    Unknown {
        /// As written.
        option: String,
        /// The known option that looks most like it.
        nearest: Option<&'static str>,
    },
    /// A later fio knows the option; the model is fio 3.33's.
    #[error("unknown option \"{option}\": it came with fio {since}, and the model is fio 3.33's")]
    Newer {
        /// As written.
        option: String,
        /// The first version that has it.
        since: &'static str,
    },
    /// fio knows the option, or its value; the model does not do what it asks for.
    #[error(
        "unsupported \"{option}{}\": fio knows it, the model {expected}",
        given(value)
    )]
    Unsupported {
        /// As written.
        option: String,
        /// Its value, if it has one.
        value: Option<String>,
        /// What the model does do.
        expected: String,
    },
    /// Two options, or an option and a default, cannot both hold.
    #[error("contradictory \"{option}\": {why}")]
    Contradictory {
        /// The option.
        option: &'static str,
        /// What it contradicts, in words.
        why: String,
    },
    /// The option does not take this value.
    #[error("bad value \"{option}{}\": expected {expected}", given(value))]
    BadValue {
        /// As written.
        option: String,
        /// As written; `None` if it has none.
        value: Option<String>,
        /// What it takes.
        expected: String,
    },
    /// The line is no section, no option and no comment.
    #[error("found \"{}\", expected {expected}", short(found))]
    Syntax {
        /// What was found.
        found: String,
        /// What was expected.
        expected: &'static str,
    },
}

fn hint(nearest: Option<&str>) -> String {
    nearest.map_or(String::new(), |nearest| {
        format!(": did you mean \"{nearest}\"?")
    })
}

fn given(value: &Option<String>) -> String {
    let value = value.as_deref();
    value.map_or(String::new(), |value| format!("={}", short(value)))
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
