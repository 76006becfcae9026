//! Where a job's I/O goes, in which direction, how much, how deep.

use super::{DEPTH_MAX, Draft, Refusal, Setter, Taken, Value, bad, put, set_u32, setter};
use crate::job::{FileOrder, IoEngine, ReadWrite, Sequencer, Step};
use crate::known_options::OTHER_ENGINES;
use crate::numbers;

pub(super) static SETTERS: &[Setter] = &[
    setter("filename", "filename", filename),
    setter("nrfiles", "nr_files", |d, mut v| {
        set_u32(&mut d.job.nrfiles, v.number(1024, 1, FILES_MAX))
    }),
    setter("file_service_type", "file_service_type", file_order),
    setter("directory", "directory", |d, v| {
        put(
            &mut d.directory,
            v.text("a directory").map(|it| Some(it.to_owned())),
        )
    }),
    setter("ioengine", "ioengine", ioengine),
    setter("rw", "readwrite", readwrite),
    setter("rw_sequencer", "rw_sequencer", |d, v| {
        let names = [
            ("sequential", Sequencer::Sequential),
            ("identical", Sequencer::Identical),
        ];
        put(&mut d.job.sequencer, v.named(&names))
    }),
    setter("rwmixread", "rwmixread", |d, mut v| {
        set_u32(&mut d.job.rwmixread, v.number(1024, 0, 100))
    }),
    setter("rwmixwrite", "rwmixwrite", |d, mut v| {
        set_u32(
            &mut d.job.rwmixread,
            v.number(1024, 0, 100).map(|percent| 100 - percent),
        )
    }),
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
    setter("serialize_overlap", "serialize_overlap", |d, v| {
        put(&mut d.job.serialize_overlap, v.bool())
    }),
    setter("direct", "direct", |d, v| put(&mut d.job.direct, v.bool())),
    setter("buffered", "buffered", |d, v| {
        put(&mut d.job.direct, v.bool().map(|on| !on))
    }),
    setter("atomic", "atomic", |d, v| match v.bool()? {
        true => put(&mut d.job.direct, Ok(true)),
        false => Ok(()),
    }),
    setter("size", "size", |d, mut v| {
        let size = v.span(d.base());
        put(&mut d.job.size, size.map(Some))
    }),
    setter("filesize", "filesize", filesize),
    setter("io_size", "io_limit", |d, mut v| {
        let size = v.span(d.base());
        put(&mut d.job.io_size, size.map(Some))
    }),
    setter("fill_device", "fill_fs", |d, v| {
        put(&mut d.job.fill_device, v.bool())
    }),
];

fn filename(draft: &mut Draft, value: Value<'_>) -> Taken {
    let text = value.text("a file or device")?;
    draft.job.filename = Some(text.to_owned());
    Ok(())
}

/// Most files of a job: each has a map of its own.
const FILES_MAX: u64 = 65_536;

/// `roundrobin:4`: how the next file is chosen, and how many I/Os it gets.
fn file_order(draft: &mut Draft, value: Value<'_>) -> Taken {
    let expected = "roundrobin, random or sequential, with how many I/Os each gets behind a colon";
    let text = value.text(expected)?;
    let (name, number) = text.split_once(':').unwrap_or((text, "1"));
    let number = number.parse().ok().filter(|number| *number > 0);
    let number: u32 = number.ok_or_else(|| bad(expected))?;
    draft.job.file_order = match name {
        "roundrobin" => FileOrder::RoundRobin(number),
        "random" => FileOrder::Random(number),
        "sequential" => FileOrder::Sequential,
        "zipf" | "pareto" | "normal" | "gauss" => {
            return Err(Refusal::Unsupported("prefers no file"));
        }
        _ => return Err(bad(expected)),
    };
    Ok(())
}

fn ioengine(draft: &mut Draft, value: Value<'_>) -> Taken {
    let name = value.text.unwrap_or_default().trim();
    let other = name.split(':').next().unwrap_or_default();
    if OTHER_ENGINES.contains(&other) || name.starts_with('/') {
        return Err(Refusal::Unsupported(
            "has libaio, io_uring, posixaio, mmap and the synchronous ones",
        ));
    }
    let names = || IoEngine::NAMES.map(|row| row.0).join(", ");
    let engine = IoEngine::named(name).ok_or_else(|| bad(names()));
    put(&mut draft.job.ioengine, engine)
}

fn readwrite(draft: &mut Draft, value: Value<'_>) -> Taken {
    let text = value.text.unwrap_or_default().trim();
    let (name, step) = match text.split_once(':') {
        Some((name, step)) => (name, Some(step.trim())),
        None => (text, None),
    };
    let name = Value {
        text: Some(name),
        ignored: value.ignored,
    };
    draft.job.rw = name.named(&ReadWrite::NAMES)?;
    draft.job.step = match step {
        None => Step::Each,
        Some(step) => step_of(step, draft)
            .ok_or_else(|| bad("a number of I/Os behind a random rw, a distance behind another"))?,
    };
    Ok(())
}

/// What stands behind the colon of `rw`.
fn step_of(text: &str, draft: &Draft) -> Option<Step> {
    if draft.job.rw.is_random() {
        return text.parse().ok().filter(|n| *n > 0).map(Step::Random);
    }
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => (-1, digits),
        None => (1, text),
    };
    let size = numbers::size(digits, draft.base())?;
    let size = i64::try_from(size.value).ok()?;
    Some(Step::Skip(sign * size))
}

/// A fixed size, or the lower and the upper end of one that is drawn for each file.
fn filesize(draft: &mut Draft, mut value: Value<'_>) -> Taken {
    if let Some((low, _)) = value.text.and_then(|text| text.split_once('-')) {
        value.text = Some(low);
    }
    let size = value.number(draft.base(), 1, u64::MAX);
    put(&mut draft.job.filesize, size.map(Some))
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
