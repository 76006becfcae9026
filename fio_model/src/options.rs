//! The options that the model carries out: what each takes, and what it sets.
//!
//! Knows nothing of files, sections and lines, and nothing of which options go together
//! (`job_check`).

use crate::continue_on_error::ContinueOnError;
use crate::digest::VerifyType;
use crate::job::{IoEngine, Job, ReadWrite, Span};
use crate::known_options::OTHER_ENGINES;
use crate::numbers;
use crate::pattern::Pattern;

/// Longest block: what the model's buffers and tables are made for.
const BLOCK_MAX: u64 = 64 << 20;
/// Most I/O units: their numbers have 16 bits.
const DEPTH_MAX: u64 = 65_535;

/// A job that is being read: options that depend on others wait here until all are known.
#[derive(Clone, Debug, Default)]
pub(crate) struct Draft {
    pub job: Job,
    pub blocks: [Option<u32>; 2],
    pub ranges: [Option<(u32, u32)>; 2],
    pub kb_base: Option<u32>,
    pub verify_only: bool,
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
        let lengths = [&mut job.read_len, &mut job.write_len];
        for (index, len) in lengths.into_iter().enumerate() {
            let fixed = self.blocks[index].unwrap_or(4096);
            *len = self.ranges[index].unwrap_or((fixed, fixed));
        }
        if job.verify_pattern.is_some() && !self.verify_given {
            job.verify = Some(VerifyType::Pattern);
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

    /// A bare option, or 0 or 1.
    fn flag(&self) -> Result<bool, Refusal> {
        match self.text {
            None | Some("1") => Ok(true),
            Some("0") => Ok(false),
            Some(_) => Err(bad("0, 1 or no value")),
        }
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
    SETTERS
        .iter()
        .find(|setter| setter.name == name || setter.alias == name)
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
pub(crate) static SETTERS: &[Setter] = &[
    setter("name", "name", |d, v| {
        put(&mut d.job.name, v.text("a name").map(str::to_owned))
    }),
    setter("description", "description", |_, _| Ok(())),
    setter("filename", "filename", filename),
    setter("ioengine", "ioengine", ioengine),
    setter("rw", "readwrite", readwrite),
    setter("rwmixread", "rwmixread", |d, mut v| {
        set_u32(&mut d.job.rwmixread, v.number(1024, 0, 100))
    }),
    setter("rwmixwrite", "rwmixwrite", |d, mut v| {
        set_u32(
            &mut d.job.rwmixread,
            v.number(1024, 0, 100).map(|percent| 100 - percent),
        )
    }),
    setter("bs", "blocksize", blocksize),
    setter("bsrange", "blocksize_range", blocksize_range),
    setter("bssplit", "bssplit", bssplit),
    setter("iodepth", "iodepth", |d, mut v| {
        set_u32(&mut d.job.iodepth, v.number(1024, 1, DEPTH_MAX))
    }),
    setter("iodepth_batch", "iodepth_batch_submit", |d, mut v| {
        set_u32(&mut d.job.iodepth_batch, v.number(1024, 0, DEPTH_MAX))
    }),
    setter(
        "iodepth_batch_complete_min",
        "iodepth_batch_complete",
        batch_complete,
    ),
    setter("iodepth_low", "iodepth_low", |d, mut v| {
        set_u32(&mut d.job.iodepth_low, v.number(1024, 0, DEPTH_MAX))
    }),
    setter("direct", "direct", |d, v| put(&mut d.job.direct, v.bool())),
    setter("buffered", "buffered", |d, v| {
        put(&mut d.job.direct, v.bool().map(|on| !on))
    }),
    setter("thread", "thread", |d, v| put(&mut d.job.thread, v.flag())),
    setter("numjobs", "numjobs", |d, mut v| {
        set_u32(&mut d.job.numjobs, v.number(1024, 1, DEPTH_MAX))
    }),
    setter("group_reporting", "group_reporting", |d, v| {
        put(&mut d.job.group_reporting, v.flag())
    }),
    setter("stonewall", "wait_for_previous", |d, v| {
        put(&mut d.job.stonewall, v.flag())
    }),
    setter("size", "size", |d, mut v| {
        let size = v.span(d.base());
        put(&mut d.job.size, size.map(Some))
    }),
    setter("io_size", "io_limit", |d, mut v| {
        let size = v.span(d.base());
        put(&mut d.job.io_size, size.map(Some))
    }),
    setter("offset", "fileoffset", |d, mut v| {
        let offset = v.span(d.base());
        put(&mut d.job.offset, offset)
    }),
    setter("time_based", "time_based", |d, v| {
        put(&mut d.job.time_based, v.flag())
    }),
    setter("runtime", "timeout", |d, v| {
        let time = v.text.and_then(|text| numbers::time_ns(text.trim()));
        put(
            &mut d.job.runtime_ns,
            time.ok_or_else(|| bad("a time such as 10, 500ms or 5m")),
        )
    }),
    setter("loops", "loops", |d, mut v| {
        set_u32(&mut d.job.loops, v.number(1024, 1, u64::from(u32::MAX)))
    }),
    setter("do_verify", "do_verify", |d, v| {
        put(&mut d.job.do_verify, v.bool())
    }),
    setter("verify", "verify", verify),
    setter("verify_backlog", "verify_backlog", |d, mut v| {
        let value = v.number(d.base(), 0, u64::from(u32::MAX));
        set_u32(&mut d.job.verify_backlog, value)
    }),
    setter(
        "verify_backlog_batch",
        "verify_backlog_batch",
        |d, mut v| {
            let value = v.number(d.base(), 0, u64::from(u32::MAX));
            set_u32(&mut d.job.verify_backlog_batch, value)
        },
    ),
    setter("verify_interval", "verify_interval", |d, mut v| {
        let value = v.number(d.base(), 80, BLOCK_MAX);
        set_u32(&mut d.job.verify_interval, value)
    }),
    setter("verify_offset", "verify_offset", |d, mut v| {
        let value = v.number(d.base(), 0, BLOCK_MAX);
        set_u32(&mut d.job.verify_offset, value)
    }),
    setter("verify_fatal", "verify_fatal", |d, v| {
        put(&mut d.job.verify_fatal, v.bool())
    }),
    setter("verify_only", "verify_only", |d, v| {
        put(&mut d.verify_only, v.flag())
    }),
    setter("verify_pattern", "verify_pattern", verify_pattern),
    setter("verify_state_save", "verify_state_save", |d, v| {
        put(&mut d.job.verify_state_save, v.bool())
    }),
    setter("verify_state_load", "verify_state_load", |d, v| {
        put(&mut d.job.verify_state_load, v.bool())
    }),
    setter("continue_on_error", "continue_on_error", |d, v| {
        let which = v.named(&ContinueOnError::NAMES);
        put(&mut d.job.continue_on_error, which)
    }),
    setter("norandommap", "norandommap", |d, v| {
        put(&mut d.job.norandommap, v.flag())
    }),
    setter("randrepeat", "randrepeat", |d, v| {
        put(&mut d.job.randrepeat, v.bool())
    }),
    setter("allrandrepeat", "allrandrepeat", |d, v| {
        put(&mut d.job.allrandrepeat, v.bool())
    }),
    setter("randseed", "randseed", |d, mut v| {
        let seed = v.number(d.base(), 0, u64::MAX);
        put(&mut d.job.randseed, seed.map(Some))
    }),
    setter("kb_base", "kb_base", |d, v| {
        let base = v.named(&[("1024", 1024), ("1000", 1000)]);
        put(&mut d.kb_base, base.map(Some))
    }),
];

fn put<T>(field: &mut T, value: Result<T, Refusal>) -> Taken {
    *field = value?;
    Ok(())
}

fn set_u32(field: &mut u32, value: Result<u64, Refusal>) -> Taken {
    *field = value?.try_into().map_err(|_| bad("a smaller number"))?;
    Ok(())
}

fn filename(draft: &mut Draft, value: Value<'_>) -> Taken {
    let text = value.text("a file or device")?;
    if text.contains(':') {
        return Err(Refusal::Unsupported("uses one file a job"));
    }
    draft.job.filename = Some(text.to_owned());
    Ok(())
}

fn ioengine(draft: &mut Draft, value: Value<'_>) -> Taken {
    let name = value.text.unwrap_or_default();
    let other = name.split(':').next().unwrap_or_default();
    if OTHER_ENGINES.contains(&other) || name.starts_with('/') {
        return Err(Refusal::Unsupported("has libaio, io_uring, psync and sync"));
    }
    put(&mut draft.job.ioengine, value.named(&IoEngine::NAMES))
}

fn readwrite(draft: &mut Draft, value: Value<'_>) -> Taken {
    let name = value.text.unwrap_or_default();
    if name.contains(':') || name.contains("trim") {
        return Err(Refusal::Unsupported(
            "has no trims and no modifiers of the sequence",
        ));
    }
    put(&mut draft.job.rw, value.named(&ReadWrite::NAMES))
}

fn blocksize(draft: &mut Draft, value: Value<'_>) -> Taken {
    let expected = "up to three sizes for reads, writes and trims, such as 4k or 4k,8k";
    let parts = numbers::triple(value.text(expected)?).ok_or_else(|| bad(expected))?;
    let base = draft.base();
    for (block, part) in draft.blocks.iter_mut().zip(parts) {
        if part.is_some() {
            let mut number = Value {
                text: part,
                ignored: &mut *value.ignored,
            };
            *block = Some(number.number(base, 1, BLOCK_MAX)? as u32);
        }
    }
    Ok(())
}

fn blocksize_range(draft: &mut Draft, value: Value<'_>) -> Taken {
    let expected = "a range such as 4k-512k, or up to three, separated by commas";
    let text = value.text(expected)?;
    let parts: Vec<&str> = text.split(',').collect();
    if parts.len() > 3 {
        return Err(bad(expected));
    }
    for (index, range) in draft.ranges.iter_mut().enumerate() {
        let part = parts[index.min(parts.len() - 1)];
        let ends = numbers::range(part, draft.kb_base.unwrap_or(1024));
        let (low, high) = ends
            .filter(|ends| ends.0 > 0 && ends.1 <= BLOCK_MAX)
            .ok_or_else(|| bad(expected))?;
        *range = Some((low as u32, high as u32));
    }
    Ok(())
}

/// `4k/10:64k/50:32k`, for reads, writes and trims; what has no share divides what is left.
fn bssplit(draft: &mut Draft, value: Value<'_>) -> Taken {
    let expected = "lengths and how many in a hundred, such as 4k/10:64k/50:32k/40";
    let text = value.text(expected)?;
    let parts: Vec<&str> = text.split(',').collect();
    if parts.len() > 3 {
        return Err(bad(expected));
    }
    for index in 0..2 {
        let part = parts[index.min(parts.len() - 1)];
        let split = split(part, draft.base()).ok_or_else(|| bad(expected))?;
        let lengths = || split.iter().map(|(len, _)| *len);
        draft.ranges[index] = lengths().min().zip(lengths().max());
        draft.job.splits[index] = split;
    }
    Ok(())
}

fn split(text: &str, base: u32) -> Option<Vec<(u32, u32)>> {
    let mut split = Vec::new();
    for entry in text.split(':') {
        let (len, share) = match entry.split_once('/') {
            Some((len, share)) if !share.is_empty() => (len, Some(share.parse().ok()?)),
            Some((len, _)) => (len, None),
            None => (entry, None),
        };
        let len = numbers::size(len, base).filter(|len| len.ignored.is_empty())?;
        let len = u32::try_from(len.value).ok()?;
        if len == 0 || u64::from(len) > BLOCK_MAX {
            return None;
        }
        split.push((len, share));
    }
    let shares = split
        .iter()
        .filter_map(|(_, share): &(u32, Option<u32>)| *share);
    let given = shares.fold(0u32, u32::saturating_add);
    let open = split.iter().filter(|(_, share)| share.is_none()).count() as u32;
    if given > 100 {
        return None;
    }
    let rest = (100 - given).checked_div(open).unwrap_or_default();
    let mut split: Vec<(u32, u32)> = split
        .into_iter()
        .map(|(len, share)| (len, share.unwrap_or(rest)))
        .collect();
    // fio looks at the rarest first.
    split.sort_by_key(|(_, share)| *share);
    Some(split)
}

fn batch_complete(draft: &mut Draft, mut value: Value<'_>) -> Taken {
    if value.text == Some("0") {
        return Err(Refusal::Unsupported(
            "waits for completions and does not poll",
        ));
    }
    set_u32(
        &mut draft.job.iodepth_batch_complete,
        value.number(1024, 1, DEPTH_MAX),
    )
}

fn verify(draft: &mut Draft, value: Value<'_>) -> Taken {
    let name = value.text.unwrap_or_default();
    draft.verify_given = true;
    if name == "0" {
        return put(&mut draft.job.verify, Ok(None));
    }
    let list = VerifyType::ALL
        .iter()
        .map(|row| row.1)
        .collect::<Vec<_>>()
        .join(", ");
    put(
        &mut draft.job.verify,
        VerifyType::named(name).map(Some).ok_or_else(|| bad(list)),
    )
}

fn verify_pattern(draft: &mut Draft, value: Value<'_>) -> Taken {
    let expected = "bytes such as 0xdeadbeef, 123, \"text\" or %o, up to 512 of them";
    let text = value.text(expected)?;
    if text.contains('\'') {
        return Err(Refusal::Unsupported("reads no files: write the bytes"));
    }
    let pattern = Pattern::parse(text).ok_or_else(|| bad(expected))?;
    put(&mut draft.job.verify_pattern, Ok(Some(pattern)))
}
