//! What host and guest say to each other on the virtio-serial port: lines.
//!
//! | to the guest | it answers |
//! |---|---|
//! | | `ready BOOT_ID`, once its agent runs |
//! | `ping N` | `pong N` |
//! | `disks N` | `disks N`, a line ` PCI_SLOT TARGET SECTORS NAME VPD80` a disk, `listed N` |
//! | `job FIO LINES` and that many lines | nothing |
//! | `fio FIO PCI_SLOT:TARGET…` | `armed FIO` once its sections are about to begin their I/O, or it ended |
//! | `go FIO` | they begin: `io FIO` once each disk has done I/O; at the end `fio FIO EXIT NAME…`, lines ` jFIO JSON`, ` zFIO COUNT`, ` eFIO TEXT`, `ended FIO`. Or `absent FIO PCI_SLOT:TARGET…` |
//! | `moved N FIO` | `moved N` once each disk that it still has did more I/O, or it ended |
//! | `reboot` | `ready` with another BOOT_ID |
//!
//! Lines of a fio's end bear its number, for two may end at once. Knows no plan; reads and writes nothing.

use std::collections::BTreeMap;

/// A disk as a guest has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// The PCI slot of its HBA.
    pub slot: u8,
    /// Its SCSI target.
    pub target: u8,
    /// Its size.
    pub sectors: u64,
    /// Its unit serial number, as it was when the disk was probed; empty if it told none.
    pub serial: String,
}

/// How a fio ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FioEnd {
    /// Its exit status.
    pub exit: u8,
    /// The names of its disks, in the order of its sections: "sda".
    pub names: Vec<String>,
    /// Its report, as it printed it.
    pub json: String,
    /// Blocks that were read and never written: their header is zero.
    pub unwritten: u64,
    /// The first lines of what it complained of.
    pub complaints: Vec<String>,
}

/// Something that a guest said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    /// Its agent runs; Linux's `boot_id`.
    Ready(String),
    /// It lives.
    Pong,
    /// Its disks.
    Disks(Vec<Listed>),
    /// A fio is about to begin its I/O, and waits.
    Armed(u16),
    /// A fio does I/O on every disk.
    Io(u16),
    /// The answer to `moved`.
    Moved(u32),
    /// A fio was not started, for these disks are not there: PCI slot and target.
    Absent(u16, Vec<(u8, u8)>),
    /// A fio ended.
    Ended(u16, FioEnd),
}

/// Puts lines of a guest together.
#[derive(Debug, Default)]
pub struct Reader {
    disks: Vec<Listed>,
    ends: BTreeMap<u16, FioEnd>,
}

impl Reader {
    /// Takes a line; an answer, if it is the last of one.
    ///
    /// # Errors
    ///
    /// It is none that the agent says.
    pub fn line(&mut self, line: &str) -> Result<Option<Said>, String> {
        if let Some(part) = line.strip_prefix(' ') {
            return self.part(part).map(|()| None).ok_or_else(|| garbled(line));
        }
        let mut words = line.split_whitespace();
        let Some(verb) = words.next() else {
            return Ok(None);
        };
        let words: Vec<&str> = words.collect();
        self.whole(verb, &words).ok_or_else(|| garbled(line))
    }

    fn whole(&mut self, verb: &str, words: &[&str]) -> Option<Option<Said>> {
        let said = match (verb, words) {
            ("ready", [boot]) => {
                *self = Self::default();
                Said::Ready((*boot).to_owned())
            }
            ("pong", [_]) => Said::Pong,
            ("disks", [_]) => {
                self.disks.clear();
                return Some(None);
            }
            ("listed", [_]) => Said::Disks(std::mem::take(&mut self.disks)),
            ("armed", [fio]) => Said::Armed(fio.parse().ok()?),
            ("io", [fio]) => Said::Io(fio.parse().ok()?),
            ("moved", [number]) => Said::Moved(number.parse().ok()?),
            ("absent", [fio, places @ ..]) => {
                let places: Option<Vec<_>> = places.iter().map(|text| place(text)).collect();
                Said::Absent(fio.parse().ok()?, places?)
            }
            ("fio", [fio, exit, names @ ..]) => {
                let names = names.iter().map(|name| (*name).to_owned()).collect();
                let end = FioEnd {
                    exit: exit.parse().ok()?,
                    names,
                    ..FioEnd::default()
                };
                self.ends.insert(fio.parse().ok()?, end);
                return Some(None);
            }
            ("ended", [fio]) => {
                let fio = fio.parse().ok()?;
                Said::Ended(fio, self.ends.remove(&fio)?)
            }
            _ => return None,
        };
        Some(Some(said))
    }

    fn part(&mut self, part: &str) -> Option<()> {
        let (head, rest) = part.split_once(' ').unwrap_or((part, ""));
        let number = head.get(1..).and_then(|number| number.parse::<u16>().ok());
        if let (Some(kind @ ('j' | 'z' | 'e')), Some(fio)) = (head.chars().next(), number) {
            let end = self.ends.get_mut(&fio)?;
            match kind {
                'j' => {
                    end.json.push_str(rest);
                    end.json.push('\n');
                }
                'z' => end.unwritten = rest.parse().ok()?,
                _ => end.complaints.push(rest.to_owned()),
            }
            return Some(());
        }
        let words: Vec<&str> = part.split_whitespace().collect();
        let (slot, target, sectors, page) = match words[..] {
            [slot, target, sectors, _, page] => (slot, target, sectors, page),
            [slot, target, sectors, _] => (slot, target, sectors, ""),
            _ => return None,
        };
        self.disks.push(Listed {
            slot: u8::from_str_radix(slot, 16).ok()?,
            target: target.parse().ok()?,
            sectors: sectors.parse().ok()?,
            serial: serial(page),
        });
        Some(())
    }
}

/// How a disk is named to the agent: its HBA's PCI slot in hexadecimal, and its target.
#[must_use]
pub fn place_word(slot: u8, target: u8) -> String {
    format!("{slot:02x}:{target}")
}

fn place(text: &str) -> Option<(u8, u8)> {
    let (slot, target) = text.split_once(':')?;
    Some((u8::from_str_radix(slot, 16).ok()?, target.parse().ok()?))
}

/// The unit serial number in VPD page 80h (SPC-5 7.7.16), in hexadecimal: four bytes of header, the last of
/// which is the length.
fn serial(page: &str) -> String {
    let digits = page.as_bytes().chunks_exact(2);
    let bytes: Vec<u8> = digits
        .filter_map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
        .collect();
    let [0, 0x80, high, low, ref text @ ..] = bytes[..] else {
        return String::new();
    };
    let len = usize::from(u16::from_be_bytes([high, low])).min(text.len());
    String::from_utf8_lossy(&text[..len])
        .trim_matches(['\0', ' '])
        .to_owned()
}

fn garbled(line: &str) -> String {
    format!("the guest's agent says what it never should: {line:?}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(lines: &[&str]) -> Vec<Said> {
        let mut reader = Reader::default();
        let said = lines
            .iter()
            .map(|line| reader.line(line).expect("a line of the agent"));
        said.flatten().collect()
    }

    #[test]
    fn disks_are_known_by_slot_target_and_serial() {
        let said = all(&[
            "disks 2",
            " 10 0 131072 sda 008000074e766d65306e31",
            " 11 3 131072 sdb ",
            "listed 2",
        ]);
        let disk = |slot, target, serial: &str| Listed {
            slot,
            target,
            sectors: 131_072,
            serial: serial.to_owned(),
        };
        assert_eq!(
            said,
            [Said::Disks(vec![disk(16, 0, "Nvme0n1"), disk(17, 3, "")])]
        );
    }

    #[test]
    fn two_fios_may_end_at_once() {
        let said = all(&[
            "fio 7 0 sda",
            " j7 {",
            "fio 8 1 sdb sdc",
            " z7 2",
            " e8 fio: io_u error",
            " j7 }",
            "io 9",
            "ended 8",
            "ended 7",
        ]);
        let [Said::Io(9), Said::Ended(8, b), Said::Ended(7, a)] = &said[..] else {
            panic!("{said:?}");
        };
        assert_eq!((a.json.as_str(), a.unwritten, a.exit), ("{\n}\n", 2, 0));
        assert_eq!(b.names, ["sdb", "sdc"]);
        assert_eq!(b.complaints, ["fio: io_u error"]);
    }

    #[test]
    fn a_boot_ends_what_was_half_said() {
        let mut reader = Reader::default();
        reader.line("fio 7 0 sda").expect("a line");
        assert_eq!(
            reader.line("ready x").expect("a line"),
            Some(Said::Ready("x".into()))
        );
        assert!(reader.line("ended 7").is_err());
    }

    #[test]
    fn what_no_agent_says_is_an_error() {
        for line in [
            "io",
            "io x",
            "fio 7",
            " j7 {",
            " 10 0",
            "hello",
            "absent 1 16",
        ] {
            assert!(Reader::default().line(line).is_err(), "{line:?}");
        }
        assert_eq!(
            all(&["", "absent 3 10:1 11:7"]),
            [Said::Absent(3, vec![(16, 1), (17, 7)])]
        );
    }
}
