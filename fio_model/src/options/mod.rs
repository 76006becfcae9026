//! The options that the model carries out: what each takes, and what it sets.
//!
//! Knows nothing of files, sections and lines, and nothing of which options go together
//! (`job_check`).

mod blocks;
mod io;
mod offsets;
mod run;
mod verify;

use crate::digest::VerifyType;
use crate::job::Job;
use crate::numbers;
use crate::span::Span;

/// Longest block: lengths have 32 bits.
const BLOCK_MAX: u64 = 1 << 30;
/// Most I/O units: their numbers have 16 bits.
const DEPTH_MAX: u64 = 65_535;

/// A job that is being read: options that depend on others wait here until all are known.
#[derive(Clone, Debug, Default)]
pub(crate) struct Draft {
    pub job: Job,
    pub blocks: [Option<u32>; 3],
    pub ranges: [Option<(u32, u32)>; 3],
    pub kb_base: Option<u32>,
    /// `directory`: in front of each `filename`.
    pub directory: Option<String>,
    /// `verify` was set, to whatever: a pattern alone does not imply a type then.
    pub verify_given: bool,
}

impl Draft {
    /// The unit of `k`: 1024, or 1000.
    pub fn base(&self) -> u32 {
        self.kb_base.unwrap_or(1024)
    }

    /// The job, lengths resolved: a range beats a fixed size, whatever came first.
    pub fn finish(&self) -> Job {
        let mut job = self.job.clone();
        let lengths = [&mut job.read_len, &mut job.write_len, &mut job.trim_len];
        for (index, len) in lengths.into_iter().enumerate() {
            let fixed = self.blocks[index].unwrap_or(4096);
            *len = self.ranges[index].unwrap_or((fixed, fixed));
        }
        if job.verify_pattern.is_some() && !self.verify_given {
            job.verify = Some(VerifyType::Pattern);
        }
        if let Some(directory) = self.directory.as_ref().filter(|_| job.filename.is_some()) {
            let names = job.file_names().into_iter();
            let names = names.map(|name| format!("{directory}/{name}").replace(':', "\\:"));
            job.filename = Some(names.collect::<Vec<_>>().join(":"));
        }
        job
    }
}

/// Why an option's value was not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// Not a value of this option: what would be.
    Bad(String),
    /// fio takes it, the model does not: what the model does instead.
    Unsupported(&'static str),
}

type Taken = Result<(), Refusal>;

/// How an option is set. What it returns on success is what fio ignored behind a number.
pub(crate) struct Setter {
    /// fio's name for it.
    pub name: &'static str,
    /// Another name for it, or the same.
    pub alias: &'static str,
    set: fn(&mut Draft, Value<'_>) -> Taken,
}

/// An option's value, as written, and what to do about garbage behind a number.
pub(crate) struct Value<'a> {
    pub text: Option<&'a str>,
    pub ignored: &'a mut String,
}

fn bad(expected: impl Into<String>) -> Refusal {
    Refusal::Bad(expected.into())
}

impl<'a> Value<'a> {
    fn text(&self, expected: &str) -> Result<&'a str, Refusal> {
        self.text
            .filter(|text| !text.is_empty())
            .ok_or_else(|| bad(expected))
    }

    /// A bare option, or a number: fio takes all but 0 for 1 (`parse.c`, `FIO_OPT_STR_SET`).
    fn flag(&self) -> Result<bool, Refusal> {
        let Some(text) = self.text else {
            return Ok(true);
        };
        let number = numbers::size(text.trim(), 1024).map(|number| number.value != 0);
        number.ok_or_else(|| bad("no value, 0 or 1"))
    }

    fn bool(&self) -> Result<bool, Refusal> {
        match self.text {
            Some("1") => Ok(true),
            Some("0") => Ok(false),
            _ => Err(bad("0 or 1")),
        }
    }

    /// One number in `min..=max`.
    fn number(&mut self, base: u32, min: u64, max: u64) -> Result<u64, Refusal> {
        let expected = || bad(format!("a number from {min} to {max}"));
        let text = self.text.ok_or_else(expected)?;
        if text.starts_with(' ')
            && numbers::size(text.trim(), base).map(|n| n.value) != text.trim().parse().ok()
        {
            return Err(bad("no blank after \"=\": fio would not read the suffix"));
        }
        let number = numbers::size(text.trim(), base).ok_or_else(expected)?;
        if number.ignored.ends_with('%') {
            return Err(bad("a number, not a percentage"));
        }
        self.ignored.push_str(number.ignored);
        Some(number.value)
            .filter(|value| (min..=max).contains(value))
            .ok_or_else(expected)
    }

    fn span(&mut self, base: u32) -> Result<Span, Refusal> {
        if let Some(percent) = self.text.and_then(numbers::percent) {
            return Ok(Span::Percent(percent));
        }
        self.number(base, 0, u64::MAX).map(Span::Bytes)
    }

    fn named<T: Copy>(&self, names: &[(&str, T)]) -> Result<T, Refusal> {
        let list = || names.iter().map(|row| row.0).collect::<Vec<_>>().join(", ");
        let text = self.text(&list())?;
        names
            .iter()
            .find(|row| row.0 == text)
            .map(|row| row.1)
            .ok_or_else(|| bad(list()))
    }
}

/// The setter of the option that a job file calls `name`.
pub(crate) fn find(name: &str) -> Option<&'static Setter> {
    setters().find(|setter| setter.name == name || setter.alias == name)
}

impl Setter {
    /// Sets the option in `draft`. Garbage that fio would skip is appended to `ignored`.
    pub fn set(&self, draft: &mut Draft, text: Option<&str>, ignored: &mut String) -> Taken {
        (self.set)(draft, Value { text, ignored })
    }
}

const fn setter(
    name: &'static str,
    alias: &'static str,
    set: fn(&mut Draft, Value<'_>) -> Taken,
) -> Setter {
    Setter { name, alias, set }
}

/// Every option that is carried out.
pub(crate) fn setters() -> impl Iterator<Item = &'static Setter> {
    let all = [
        run::SETTERS,
        io::SETTERS,
        blocks::SETTERS,
        offsets::SETTERS,
        verify::SETTERS,
    ];
    all.into_iter().flatten()
}

fn put<T>(field: &mut T, value: Result<T, Refusal>) -> Taken {
    *field = value?;
    Ok(())
}

fn set_u32(field: &mut u32, value: Result<u64, Refusal>) -> Taken {
    *field = value?.try_into().map_err(|_| bad("a smaller number"))?;
    Ok(())
}
