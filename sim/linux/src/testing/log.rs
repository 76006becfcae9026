//! What a target saw of a guest, as text: `NAME.target.log`.
//!
//! ```text
//! [   0.5730] MSG GET_FEATURES -> 0x179000006
//! [   0.7536] vq2 tgt 0 lun [40, 00] cdb a0000000000000000010000000000000 [hdr 51 out 0x0B resp 108 in 1x16B] -> GOOD
//! [   9.0809] EVENT ev=0x1 lun=[01, 00, 00, 00] reason=0x2 (desc len 16 wr true) head 0
//! ```
//!
//! One line a thing seen, with seconds since the start. READ and WRITE are only counted ("rw commands
//! since last stat"), for they would be most of it. Reads and writes this text; knows no meaning.

use std::fmt;
use std::time::Duration;

/// A line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Since the target was started.
    pub at: Duration,
    /// What was seen.
    pub what: What,
}

/// Something that a target saw, or was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// A front-end connected.
    Connected,
    /// A connection ended; why.
    Ended(String),
    /// A vhost-user message, with its numbers and, behind `->`, the answer.
    Message(String),
    /// A command.
    Command(Command),
    /// A READ or WRITE that was shown all the same.
    Shown(String),
    /// The target was told something.
    Control(String),
    /// An event was given.
    Event(Event),
    /// An event found no buffer.
    Dropped,
    /// The driver gave an event buffer: its head.
    Buffer(u16),
    /// READs and WRITEs since the last such line.
    ReadsWrites(u32),
}

/// A command on a request queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    /// The ring.
    pub vring: u16,
    /// The target.
    pub target: u8,
    /// Bytes 2 and 3 of the LUN.
    pub lun: [u8; 2],
    /// The first 16 bytes of the CDB.
    pub cdb: [u8; 16],
    /// Bytes of the request header and of the response.
    pub header: (u32, u32),
    /// Descriptors and bytes of the data that go out.
    pub data_out: (usize, u32),
    /// Descriptors and bytes of the data that come in.
    pub data_in: (usize, u32),
    /// What it was answered: `GOOD`, `BAD_TARGET`, `NULL LUN`, `CHECK (key, asc, ascq)` in hex, ….
    pub answer: String,
}

/// An event that was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// Its kind.
    pub event: u32,
    /// The first four bytes of the LUN.
    pub lun: [u8; 4],
    /// Its reason.
    pub reason: u32,
    /// The buffer that it went into.
    pub head: u16,
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{:9.4}] {}", self.at.as_secs_f64(), self.what)
    }
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connected => f.write_str("=== connected"),
            Self::Ended(why) => write!(f, "=== connection ended: {why}"),
            Self::Message(text) => write!(f, "MSG {text}"),
            Self::Command(command) => command.fmt(f),
            Self::Shown(text) => f.write_str(text),
            Self::Control(text) => write!(f, "CONTROL {text}"),
            Self::Event(event) => event.fmt(f),
            Self::Dropped => f.write_str("EVENT dropped: no avail buffer"),
            Self::Buffer(head) => write!(f, "EVENT buffer: head {head}"),
            Self::ReadsWrites(count) => write!(f, "rw commands since last stat: {count}"),
        }
    }
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (header, response) = self.header;
        write!(
            f,
            "vq{} tgt {} lun {:02x?} cdb ",
            self.vring, self.target, self.lun
        )?;
        for byte in self.cdb {
            write!(f, "{byte:02x}")?;
        }
        write!(
            f,
            " [hdr {header} out {}x{}B resp {response} in {}x{}B] -> {}",
            self.data_out.0, self.data_out.1, self.data_in.0, self.data_in.1, self.answer
        )
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "EVENT ev={:#x} lun={:02x?} reason={:#x} (desc len 16 wr true) head {}",
            self.event, self.lun, self.reason, self.head
        )
    }
}

/// The first line that is none of a target's log: its number, and the line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {0}: no line of a target's log: {1}")]
pub struct LogError(usize, String);

/// Every line of a target's log, in order.
///
/// # Errors
///
/// A line is none.
pub fn parse(text: &str) -> Result<Vec<Line>, LogError> {
    let lines = text.lines().enumerate();
    let read =
        |(n, line): (usize, &str)| parse_line(line).ok_or_else(|| LogError(n + 1, line.to_owned()));
    lines.map(read).collect()
}

/// The text with each line of the form `vqN tgt A..B …`, by which recordings are abridged, as the lines that
/// it stands for: one for each target from A to B.
pub fn unabridged(text: &str) -> String {
    let mut whole = String::with_capacity(text.len());
    for line in text.lines() {
        let Some((start, targets, end)) = range(line) else {
            whole.push_str(line);
            whole.push('\n');
            continue;
        };
        for target in targets {
            whole.push_str(&format!("{start} tgt {target} {end}\n"));
        }
    }
    whole
}

fn range(line: &str) -> Option<(&str, std::ops::RangeInclusive<u8>, &str)> {
    let (start, rest) = line.split_once(" tgt ")?;
    let (targets, end) = rest.split_once(' ')?;
    let (first, last) = targets.split_once("..")?;
    Some((start, first.parse().ok()?..=last.parse().ok()?, end))
}

fn parse_line(line: &str) -> Option<Line> {
    let (at, rest) = line.strip_prefix('[')?.split_once("] ")?;
    let at = Duration::try_from_secs_f64(at.trim().parse().ok()?).ok()?;
    let what = parse_what(rest)?;
    Some(Line { at, what })
}

fn parse_what(text: &str) -> Option<What> {
    let of = |prefix: &str| text.strip_prefix(prefix);
    Some(if text == "=== connected" {
        What::Connected
    } else if let Some(why) = of("=== connection ended: ") {
        What::Ended(why.to_owned())
    } else if let Some(message) = of("MSG ") {
        What::Message(message.to_owned())
    } else if let Some(control) = of("CONTROL ") {
        What::Control(control.to_owned())
    } else if text == "EVENT dropped: no avail buffer" {
        What::Dropped
    } else if let Some(head) = of("EVENT buffer: head ") {
        What::Buffer(head.parse().ok()?)
    } else if let Some(event) = of("EVENT ") {
        What::Event(parse_event(event)?)
    } else if let Some(count) = of("rw commands since last stat: ") {
        What::ReadsWrites(count.parse().ok()?)
    } else if text.starts_with("vq") && text.contains(" op ") {
        What::Shown(text.to_owned())
    } else {
        What::Command(parse_command(of("vq")?)?)
    })
}

/// `2 tgt 0 lun [40, 00] cdb HEX [hdr 51 out 0x0B resp 108 in 1x16B] -> GOOD`.
fn parse_command(text: &str) -> Option<Command> {
    let (asked, answer) = text.split_once(" -> ")?;
    let (vring, rest) = asked.split_once(" tgt ")?;
    let (target, rest) = rest.split_once(" lun ")?;
    let (lun, rest) = rest.split_once(" cdb ")?;
    let (cdb, sizes) = rest.split_once(' ')?;
    let sizes = sizes.strip_prefix("[hdr ")?.strip_suffix(']')?;
    let (header, rest) = sizes.split_once(" out ")?;
    let (data_out, rest) = rest.split_once(" resp ")?;
    let (response, data_in) = rest.split_once(" in ")?;
    Some(Command {
        vring: vring.parse().ok()?,
        target: target.parse().ok()?,
        lun: hex_list(lun)?,
        cdb: hex(cdb)?,
        header: (header.parse().ok()?, response.parse().ok()?),
        data_out: parse_data(data_out)?,
        data_in: parse_data(data_in)?,
        answer: answer.to_owned(),
    })
}

/// `1x16B`.
fn parse_data(text: &str) -> Option<(usize, u32)> {
    let (descriptors, bytes) = text.strip_suffix('B')?.split_once('x')?;
    Some((descriptors.parse().ok()?, bytes.parse().ok()?))
}

/// `ev=0x1 lun=[01, 00, 00, 00] reason=0x2 (desc len 16 wr true) head 0`.
fn parse_event(text: &str) -> Option<Event> {
    let (event, rest) = text.strip_prefix("ev=0x")?.split_once(" lun=")?;
    let (lun, rest) = rest.split_once(" reason=0x")?;
    let (reason, rest) = rest.split_once(" (desc len 16 wr true) head ")?;
    Some(Event {
        event: u32::from_str_radix(event, 16).ok()?,
        lun: hex_list(lun)?,
        reason: u32::from_str_radix(reason, 16).ok()?,
        head: rest.parse().ok()?,
    })
}

/// `[01, 00]`.
fn hex_list<const N: usize>(text: &str) -> Option<[u8; N]> {
    let inside = text.strip_prefix('[')?.strip_suffix(']')?;
    let bytes = inside.split(", ").map(|byte| u8::from_str_radix(byte, 16));
    let bytes: Vec<u8> = bytes.collect::<Result<_, _>>().ok()?;
    bytes.try_into().ok()
}

fn hex(text: &str) -> Option<[u8; 16]> {
    let mut bytes = [0; 16];
    if text.len() != 32 || !text.is_ascii() {
        return None;
    }
    for (n, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * n..2 * n + 2], 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINES: &str = "\
[   0.4459] === connected
[   0.5730] MSG GET_FEATURES -> 0x179000006
[   7.2977] vq3 tgt 0 lun [40, 00] cdb a30c011200000000000a000000000000 [hdr 51 out 0x0B resp 108 in 1x10B] -> CHECK (5, 20, 0)
[  10.0213] vq3 tgt 0 op 0x28 lba 0 n 2048 [hdr 51 out 0x0B resp 108 in 23x1048576B] mode Normal
[  13.5421] CONTROL attach 1
[  13.5421] EVENT ev=0x80000000 lun=[01, 01, 00, 00] reason=0x92a (desc len 16 wr true) head 7
[  13.5422] EVENT dropped: no avail buffer
[  13.6000] EVENT buffer: head 7
[  29.3550] rw commands since last stat: 61
[ 200.3078] === connection ended: peer disconnected
";

    #[test]
    fn what_is_read_is_what_was_written() {
        let lines = parse(LINES).unwrap();
        let again: String = lines.iter().map(|line| format!("{line}\n")).collect();
        assert_eq!(again, LINES);
        let What::Command(command) = &lines[2].what else {
            panic!("{:?}", lines[2]);
        };
        assert_eq!((command.vring, command.data_in), (3, (1, 10)));
    }

    #[test]
    fn an_abridged_line_stands_for_one_a_target() {
        let line = |targets: &str| format!("[   0.1000] vq2 tgt {targets} lun [40, 00] cdb 00\n");
        let abridged = line("254..255") + "[   0.2000] === connected\n";
        let whole = line("254") + &line("255") + "[   0.2000] === connected\n";
        assert_eq!(unabridged(&abridged), whole);
        assert_eq!(unabridged(&whole), whole);
    }

    #[test]
    fn what_is_no_line_is_told_with_its_number() {
        for bad in [
            "",
            "MSG without a time",
            "[   1.0] vq2 tgt 300 lun [40, 00] cdb 00 [] -> GOOD",
            "[  -1.0] === connected",
            "[   nan] === connected",
            "[   1.0] EVENT ev=1",
            "[   1.0] something else",
        ] {
            let text = format!("[ 0.1] === connected\n{bad}\n");
            assert_eq!(parse(&text), Err(LogError(2, bad.to_owned())));
        }
    }
}
