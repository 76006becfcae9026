//! fio's numbers: sizes, percentages, times, lists and ranges.
//!
//! Knows nothing of options.

/// A number as fio reads it, and what fio would ignore behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Number<'a> {
    /// The value.
    pub value: u64,
    /// Garbage that fio skips without a word: `4kfoo` is 4096.
    pub ignored: &'a str,
}

/// Digits and what follows them; decimal, or hexadecimal after `0x`.
fn digits(text: &str) -> Option<(u64, &str)> {
    let (base, text) = match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(hex) => (16, hex),
        None => (10, text),
    };
    let end = text.find(|c: char| !c.is_digit(base)).unwrap_or(text.len());
    let value = u64::from_str_radix(&text[..end], base).ok()?;
    Some((value, &text[end..]))
}

/// Suffixes, longest first, with the power of the base; `true` if it is of the other base.
const SIZES: [(&str, u32, bool); 20] = [
    ("kib", 1, true),
    ("mib", 2, true),
    ("gib", 3, true),
    ("tib", 4, true),
    ("pib", 5, true),
    ("kb", 1, false),
    ("mb", 2, false),
    ("gb", 3, false),
    ("tb", 4, false),
    ("pb", 5, false),
    ("ki", 1, false),
    ("mi", 2, false),
    ("gi", 3, false),
    ("ti", 4, false),
    ("pi", 5, false),
    ("k", 1, false),
    ("m", 2, false),
    ("g", 3, false),
    ("t", 4, false),
    ("p", 5, false),
];

/// A size: `4k` and `4ki` are in units of `kb_base`, `4kib` in units of the *other* base, so that
/// by default `4k` is 4096 and `4kib` is 4000.
pub fn size(text: &str, kb_base: u32) -> Option<Number<'_>> {
    let (value, rest) = digits(text)?;
    let lower = rest.to_ascii_lowercase();
    let suffix = SIZES.iter().find(|row| lower.starts_with(row.0));
    let Some((suffix, power, other)) = suffix else {
        return Some(Number {
            value,
            ignored: rest,
        });
    };
    let base: u64 = if (kb_base == 1000) != *other {
        1000
    } else {
        1024
    };
    let value = value.checked_mul(base.checked_pow(*power)?)?;
    Some(Number {
        value,
        ignored: &rest[suffix.len()..],
    })
}

/// A percentage such as `13%`.
pub fn percent(text: &str) -> Option<u32> {
    text.strip_suffix('%')?
        .parse()
        .ok()
        .filter(|percent| *percent <= 100)
}

/// A time, in nanoseconds: a bare number is in seconds.
pub fn time_ns(text: &str) -> Option<u64> {
    let (value, unit) = digits(text)?;
    let scale = match unit.to_ascii_lowercase().as_str() {
        "us" | "usec" => 1_000,
        "ms" | "msec" => 1_000_000,
        "" | "s" | "sec" => 1_000_000_000,
        "m" | "min" => 60_000_000_000,
        "h" => 3_600_000_000_000,
        "d" => 86_400_000_000_000,
        // Garbage that is no word is skipped, as behind other numbers.
        garbage if !garbage.starts_with(|c: char| c.is_alphabetic()) => 1_000_000_000,
        _ => return None,
    };
    value.checked_mul(scale)
}

/// Up to three values for reads, writes and trims, separated by `,`, `:` or `-`. A missing later
/// value repeats the last one given; an empty one is `None`: it keeps what was.
pub fn triple(text: &str) -> Option<[Option<&str>; 3]> {
    let mut values = [None; 3];
    let mut last = None;
    let parts: Vec<&str> = text.split([',', ':', '-']).collect();
    if parts.len() > 3 {
        return None;
    }
    for (i, value) in values.iter_mut().enumerate() {
        match parts.get(i) {
            Some(part) => {
                *value = Some(*part).filter(|part| !part.is_empty());
                last = value.or(last);
            }
            None => *value = last,
        }
    }
    Some(values)
}

/// The two ends of a range, `lo-hi` or `lo:hi`, in order of size.
pub fn range(text: &str, kb_base: u32) -> Option<(u64, u64)> {
    let (low, high) = text.split_once(['-', ':'])?;
    let low = size(low, kb_base)
        .filter(|number| number.ignored.is_empty())?
        .value;
    let high = size(high, kb_base)
        .filter(|number| number.ignored.is_empty())?
        .value;
    Some((low.min(high), low.max(high)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_fios() {
        let cases = [
            ("4k", 1024, 4096, ""),
            ("4KB", 1024, 4096, ""),
            ("4ki", 1024, 4096, ""),
            ("4kib", 1024, 4000, ""),
            ("4k", 1000, 4000, ""),
            ("4kib", 1000, 4096, ""),
            ("0x1000", 1024, 4096, ""),
            ("1g", 1024, 1 << 30, ""),
            ("12abc", 1024, 12, "abc"),
            ("4kfoo", 1024, 4096, "foo"),
            ("4.5k", 1024, 4, ".5k"),
        ];
        for (text, base, value, ignored) in cases {
            assert_eq!(
                size(text, base),
                Some(Number { value, ignored }),
                "{text} of {base}"
            );
        }
        assert_eq!(size("k", 1024), None);
        assert_eq!(size("99999999p", 1024), None);
    }

    #[test]
    fn times_percentages_ranges_and_triples() {
        assert_eq!(time_ns("10"), Some(10_000_000_000));
        assert_eq!(time_ns("5m"), Some(300_000_000_000));
        assert_eq!(time_ns("5x"), None);
        assert_eq!(time_ns("30*2"), Some(30_000_000_000));
        assert_eq!(percent("13%"), Some(13));
        assert_eq!(percent("13"), None);
        assert_eq!(range("512k-4k", 1024), Some((4096, 524_288)));
        assert_eq!(range("4k", 1024), None);
        assert_eq!(
            triple("4k-512k"),
            Some([Some("4k"), Some("512k"), Some("512k")])
        );
        assert_eq!(triple(",8k"), Some([None, Some("8k"), Some("8k")]));
        assert_eq!(triple("1,2,3,4"), None);
    }
}
