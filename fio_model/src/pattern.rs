//! `verify_pattern`: the bytes that a job writes again and again, in place of a generator's.
//!
//! Knows nothing of headers and intervals. As fio 3.33's `lib/pattern.c` reads and pastes it.

/// Bytes that a pattern may have (fio's MAX_PATTERN_SIZE).
pub const PATTERN_MAX: usize = 512;
/// How many `%o` a pattern may have (fio's `verify_fmt`).
const FORMATS_MAX: usize = 8;
/// Bytes of a `%o`: the offset of the write, little-endian.
const FORMAT_LEN: usize = 8;

/// A pattern, as `verify_pattern` gives it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    bytes: Vec<u8>,
    /// Where in it a `%o` stands.
    formats: Vec<usize>,
}

/// Where a buffer differs from the pattern, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mismatch {
    /// How many bytes behind the header.
    pub at: u32,
    /// What stood there.
    pub got: u8,
    /// What should have.
    pub wanted: u8,
}

impl Pattern {
    /// Reads numbers, `"text"` and `%o`, one behind the other: `0xdeadbeef`, `-12`, `"abc"%o0xff`. A hex
    /// number is taken byte by byte as written, a decimal one is little-endian without its leading zeros.
    ///
    /// `None` if fio would not take it, and for the names of files, which are not read.
    pub fn parse(text: &str) -> Option<Pattern> {
        let mut pattern = Pattern {
            bytes: Vec::new(),
            formats: Vec::new(),
        };
        let mut rest = text;
        while !rest.is_empty() {
            let before = pattern.bytes.len();
            rest = if let Some(string) = rest.strip_prefix('"') {
                let (string, rest) = string.split_once('"')?;
                pattern.bytes.extend_from_slice(string.as_bytes());
                rest
            } else if let Some(rest) = rest.strip_prefix("%o") {
                pattern.formats.push(before);
                pattern.bytes.extend([0; FORMAT_LEN]);
                rest
            } else if let Some(digits) = rest.strip_prefix("0x").or(rest.strip_prefix("0X"))
                && digits.starts_with(|c: char| c.is_ascii_hexdigit())
            {
                pattern.hexadecimal(digits)
            } else {
                pattern.decimal(rest)?
            };
            let is_filled = before < pattern.bytes.len();
            if !is_filled || pattern.bytes.len() > PATTERN_MAX {
                return None;
            }
        }
        let fits = !pattern.bytes.is_empty() && pattern.formats.len() <= FORMATS_MAX;
        fits.then_some(pattern)
    }

    /// Takes the hex digits in front of `text`; the zero of a following `0x` is not one of them.
    fn hexadecimal<'a>(&mut self, text: &'a str) -> &'a str {
        let digits = text.bytes().take_while(u8::is_ascii_hexdigit).count();
        let next = text[digits..].starts_with(['x', 'X']) && text[..digits].ends_with('0');
        let (digits, rest) = text.split_at(digits - usize::from(next));
        let mut nibbles = digits.bytes().map(|digit| (digit as char).to_digit(16));
        let mut nibble = || nibbles.next().flatten().unwrap_or(0) as u8;
        // An odd number of digits begins with a byte of one.
        if digits.len() % 2 == 1 {
            self.bytes.push(nibble());
        }
        for _ in 0..digits.len() / 2 {
            self.bytes.push(nibble() << 4 | nibble());
        }
        rest
    }

    /// Takes the decimal number in front of `text`, which ends where a `0x` begins.
    fn decimal<'a>(&mut self, text: &'a str) -> Option<&'a str> {
        let hex = text.to_ascii_lowercase().find("0x").filter(|at| *at > 0);
        let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
        let sign = text.len() - digits.len();
        let digits = digits.bytes().take_while(u8::is_ascii_digit).count();
        let end = hex.unwrap_or(text.len()).min(sign + digits);
        let value: i32 = text[..end].parse().ok()?;
        let bytes = value.to_le_bytes();
        let len = bytes.iter().rposition(|byte| *byte != 0).unwrap_or(0) + 1;
        self.bytes.extend_from_slice(&bytes[..len]);
        Some(&text[end..])
    }

    /// Whether a `%o` is in it: it differs from write to write.
    pub fn has_format(&self) -> bool {
        !self.formats.is_empty()
    }

    /// The bytes that stand in a write at `offset`.
    fn at(&self, offset: u64) -> Vec<u8> {
        let mut bytes = self.bytes.clone();
        for format in &self.formats {
            bytes[*format..format + FORMAT_LEN].copy_from_slice(&offset.to_le_bytes());
        }
        bytes
    }

    /// Fills `buffer`, a write that goes to `offset`.
    pub fn fill(&self, offset: u64, buffer: &mut [u8]) {
        let bytes = self.at(offset);
        for chunk in buffer.chunks_mut(bytes.len()) {
            chunk.copy_from_slice(&bytes[..chunk.len()]);
        }
    }

    /// The first byte of `buffer` that is not the pattern's. `buffer` stands at byte `from` of a request at
    /// `offset`.
    pub fn mismatch(&self, offset: u64, from: usize, buffer: &[u8]) -> Option<Mismatch> {
        let bytes = self.at(offset);
        let wanted = bytes.iter().cycle().skip(from % bytes.len());
        let mut pairs = (0..).zip(buffer.iter().zip(wanted));
        let (at, (got, wanted)) = pairs.find(|(_, (got, wanted))| got != wanted)?;
        let (got, wanted) = (*got, *wanted);
        Some(Mismatch { at, got, wanted })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The examples in fio's own comment, and what its parser makes of the odd ones.
    #[test]
    fn patterns_are_read_as_fio_reads_them() {
        let rows: [(&str, &[u8]); 13] = [
            ("\"abcd\"", b"abcd"),
            ("-1024", &[0, 0xfc, 0xff, 0xff]),
            ("66", &[0x42]),
            ("0xFF0X1", &[0xff, 1]),
            ("%o", &[0; 8]),
            ("\"123\"0xFFeeCC", &[0x31, 0x32, 0x33, 0xff, 0xee, 0xcc]),
            (
                "-100xab\"1\"%o\"2\"",
                &[
                    0xf6, 0xff, 0xff, 0xff, 0xab, 0x31, 0, 0, 0, 0, 0, 0, 0, 0, 0x32,
                ],
            ),
            ("0x12345", &[0x01, 0x23, 0x45]),
            ("305419896", &[0x78, 0x56, 0x34, 0x12]),
            ("0", &[0]),
            ("0xff00x10", &[0x0f, 0xf0, 0x10]),
            ("2147483647", &[0xff, 0xff, 0xff, 0x7f]),
            ("120xab", &[12, 0xab]),
        ];
        for (text, bytes) in rows {
            let pattern = Pattern::parse(text).map(|pattern| pattern.bytes);
            assert_eq!(pattern.as_deref(), Some(bytes), "{text}");
        }
        for text in [
            "",
            "\"\"",
            "\"abc",
            "0x",
            "%",
            "%x",
            "abc",
            "'f'",
            "2147483648",
            "1 2",
        ] {
            assert_eq!(Pattern::parse(text), None, "{text}");
        }
        assert!(Pattern::parse(&format!("0x{}", "ab".repeat(512))).is_some());
        assert_eq!(Pattern::parse(&format!("0x{}", "ab".repeat(513))), None);
        assert_eq!(Pattern::parse(&"%o".repeat(9)), None);
    }

    #[test]
    fn what_is_filled_matches_and_what_is_changed_does_not() {
        let pattern = Pattern::parse("\"x\"%o0x0102").expect("a pattern");
        let mut buffer = vec![0; 100];
        pattern.fill(0x1122, &mut buffer);
        assert_eq!(
            &buffer[..13],
            &[b'x', 0x22, 0x11, 0, 0, 0, 0, 0, 0, 1, 2, b'x', 0x22]
        );
        for from in [0, 7, 40] {
            assert_eq!(pattern.mismatch(0x1122, from, &buffer[from..]), None);
        }
        buffer[50] ^= 3;
        let found = pattern.mismatch(0x1122, 40, &buffer[40..]);
        assert_eq!(found.map(|found| found.at), Some(10));
        assert!(pattern.mismatch(0x1123, 0, &buffer[..13]).is_some());
    }
}
