//! What a guest printed in a recording: disks listed, and what its applications got. `NAME.guest.log`.
//!
//! Of a console only this is read: `GUEST[seconds] words`, with disks as
//! `sda=0:0:2:0:running:32768`, and `IOT` lines, the results of an `iot` by direction and errno. Knows no
//! kernel message.

use std::collections::{BTreeMap, BTreeSet};

/// A thing printed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Printed {
    /// Words of the scenario, with the disks among them.
    Said(Said),
    /// An `iot` is over.
    Iot(Iot),
}

/// What a scenario said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Said {
    /// The words, without the disks.
    pub words: String,
    /// Targets, states and blocks of the disks; their names differ from boot to boot.
    pub disks: BTreeSet<(u8, String, u64)>,
}

/// The results of an `iot`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Iot {
    /// How often a read (false) or write (true) returned what.
    pub results: BTreeMap<(bool, Returned), u64>,
    /// What `fsync` returned in the end, and whether the disk could be opened once more: errnos, 0 for
    /// success.
    pub end: Option<(u16, u16)>,
    /// It could not open the disk: the errno.
    pub unopened: Option<u16>,
}

/// What a system call returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Returned {
    /// So many bytes.
    Bytes(u32),
    /// An errno.
    Failed(u16),
}

/// A line's number, from 1, and what was printed there.
pub type Numbered = (usize, Printed);

/// What the scenario and its applications printed, and whether the machine was ended from outside.
#[must_use]
pub fn parse(text: &str) -> (Vec<Numbered>, bool) {
    let mut printed: Vec<Numbered> = Vec::new();
    let mut open: BTreeMap<String, (usize, Iot)> = BTreeMap::new();
    for (n, line) in text.lines().enumerate().map(|(n, line)| (n + 1, line)) {
        if let Some(words) = line
            .strip_prefix("GUEST[")
            .and_then(|rest| rest.split_once("] "))
        {
            printed.push((n, Printed::Said(said(words.1))));
        } else if let Some(errno) = after(line, "IOT open ").and_then(|rest| after(rest, "errno "))
        {
            let unopened = number(errno);
            let iot = Iot {
                unopened,
                ..Iot::default()
            };
            printed.push((n, Printed::Iot(iot)));
        } else if let Some(rest) = line.strip_prefix("IOT ") {
            let Some((device, rest)) = rest.split_once(' ') else {
                continue;
            };
            let (_, iot) = open.entry(device.to_owned()).or_insert((n, Iot::default()));
            if result(rest, iot).is_some_and(|over| over) {
                let (first, iot) = open.remove(device).expect("it was just there");
                printed.push((first, Printed::Iot(iot)));
            }
        }
    }
    (printed, text.contains("terminating on signal"))
}

/// How often the scenario was begun: a guest that reboots begins it again.
#[must_use]
pub fn runs(text: &str) -> usize {
    let begins = |line: &&str| line.starts_with("GUEST[") && line.contains("] scenario ");
    text.lines().filter(begins).count()
}

fn after<'a>(text: &'a str, what: &str) -> Option<&'a str> {
    text.find(what).map(|at| &text[at + what.len()..])
}

fn number<T: std::str::FromStr>(text: &str) -> Option<T> {
    let end = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    text[..end].parse().ok()
}

fn said(text: &str) -> Said {
    let mut said = Said::default();
    let mut words = Vec::new();
    for word in text.split_whitespace() {
        match disk(word) {
            Some(disk) => _ = said.disks.insert(disk),
            None => words.push(word),
        }
    }
    said.words = words.join(" ");
    said
}

/// `sda=0:0:2:0:running:32768`.
fn disk(word: &str) -> Option<(u8, String, u64)> {
    let (_, rest) = word.strip_prefix("sd")?.split_once('=')?;
    let parts: Vec<&str> = rest.split(':').collect();
    let [_, _, target, _, state, blocks] = parts[..] else {
        return None;
    };
    Some((target.parse().ok()?, state.to_owned(), blocks.parse().ok()?))
}

/// A line of an `iot` behind the device; true with its last one.
fn result(text: &str, iot: &mut Iot) -> Option<bool> {
    let errno: u16 = number(after(text, "errno ")?)?;
    let failed = text.contains(" -1 errno");
    let errno = if failed { errno } else { 0 };
    if text.starts_with("fsync ") {
        iot.end = Some((errno, 0));
    } else if text.starts_with("reopen ") {
        iot.end = iot.end.map(|(fsync, _)| (fsync, errno));
        return Some(true);
    } else {
        let write = text.starts_with("write ");
        let returned = match failed {
            true => Returned::Failed(errno),
            false => Returned::Bytes(number(after(text, "ret ")?)?),
        };
        iot.results
            .insert((write, returned), number(after(text, ") x")?)?);
    }
    Some(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn disks_and_results_are_read_and_the_rest_is_passed_over() {
        let text = "\
[   10.835573] device offline error, dev sda, sector 9072
GUEST[9.48] === detach under I/O
IOT /dev/sda read ret 4096 errno 0 (-) x2009 first 0.020s last 1.384s maxlat 0.115s
IOT /dev/sda write ret -1 errno 28 (No space left on device) x211 first 1.409s
IOT /dev/sda fsync -1 errno 5 (Input/output error)
IOT /dev/sda reopen -1 errno 2 (No such file or directory)
GUEST[12.69] disks: sdb=0:0:2:0:running:32768 sdc=0:0:7:0:running:32768 
IOT open /dev/sdb: errno 6 No such device or address
qemu-system-x86_64: terminating on signal 15 from pid 5338 (timeout)
";
        let (printed, killed) = parse(text);
        assert!(killed);
        let results = [
            ((false, Returned::Bytes(4096)), 2009),
            ((true, Returned::Failed(28)), 211),
        ];
        let iot = Iot {
            results: results.into(),
            end: Some((5, 2)),
            unopened: None,
        };
        let running = |target| (target, "running".to_owned(), 32768);
        let disks = Said {
            words: "disks:".to_owned(),
            disks: [running(2), running(7)].into(),
        };
        assert_eq!(printed[1], (3, Printed::Iot(iot)));
        assert_eq!(printed[2], (7, Printed::Said(disks)));
        let unopened = Iot {
            unopened: Some(6),
            ..Iot::default()
        };
        assert_eq!(printed[3], (8, Printed::Iot(unopened)));
        assert_eq!(printed.len(), 4);
    }
}
