//! How long requests are.

use super::{BLOCK_MAX, Draft, Setter, Taken, Value, bad, put, setter};
use crate::numbers;

pub(super) static SETTERS: &[Setter] = &[
    setter("bs", "blocksize", blocksize),
    setter("bsrange", "blocksize_range", blocksize_range),
    setter("bssplit", "bssplit", bssplit),
    setter("ba", "blockalign", blockalign),
    setter("bs_is_seq_rand", "bs_is_seq_rand", |d, v| {
        put(&mut d.job.bs_is_seq_rand, v.bool())
    }),
];

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

/// Up to three sizes, of reads, writes and trims.
fn blockalign(draft: &mut Draft, value: Value<'_>) -> Taken {
    let expected = "up to three sizes for reads, writes and trims, such as 4k or 4k,8k";
    let parts = numbers::triple(value.text(expected)?).ok_or_else(|| bad(expected))?;
    let base = draft.base();
    for (align, part) in draft.job.align.iter_mut().zip(parts) {
        if part.is_some() {
            let mut number = Value {
                text: part,
                ignored: &mut *value.ignored,
            };
            *align = number.number(base, 1, BLOCK_MAX)? as u32;
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
    for index in 0..3 {
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
