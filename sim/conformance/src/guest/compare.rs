//! Two runs of one scenario, side by side: what the target saw, and what the guest printed.
//!
//! Normalised away: times, tags, addresses, names of disks, the request queue that a command took, the
//! numbers of commands that depend on time. What is left must be the same:
//!
//! * messages, events with the buffers that they went into, and what the target was told, in order;
//! * between two of these, the commands of each target, in order, with lengths and answers. REPORT LUNS
//!   of a scan is sent beside the probe of `sd`, so that its place among the others is free; READ(6) and
//!   WRITE(6) count as I/O, of which only its kinds are compared;
//! * the disks listed, and which results an application got;
//! * how often READs and WRITEs were tried.
//!
//! READs and WRITEs that a log shows all the same are passed over.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fmt;

use super::console::{Iot, Numbered, Printed};
use super::play::{Played, Window};
use linux::testing::log::{Command, Line, What};

/// Something that is not the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The line of the recording: of the target's log, or of the guest's.
    pub line: usize,
    /// Whether that is the guest's.
    pub guest: bool,
    /// What differs: `marker`, `commands of target N`, `disks`, `results`, `tries`, `printed`, `undone`.
    pub what: String,
    /// What stands in the recording.
    pub recorded: String,
    /// What the model has.
    pub model: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let file = if self.guest {
            "guest.log"
        } else {
            "target.log"
        };
        let (what, recorded, model) = (&self.what, &self.recorded, &self.model);
        write!(
            f,
            "{file}:{}: {what}: recorded {recorded}, model {model}",
            self.line
        )
    }
}

/// A recording.
#[derive(Clone, Debug)]
pub struct Recorded {
    /// The target's log.
    pub log: Vec<Line>,
    /// What the guest printed.
    pub printed: Vec<Numbered>,
    /// The machine was ended from outside: what came after is not the guest's.
    pub killed: bool,
}

/// Every difference, in the order of the recording.
#[must_use]
pub fn compare(recorded: &Recorded, model: &Played) -> Vec<Difference> {
    let mut found = Vec::new();
    for step in &model.undone {
        found.push(difference((0, false), "undone", "done", step));
    }
    let theirs = Side::new(&recorded.log, recorded.killed);
    let ours = Side::new(&model.log, false);
    theirs.compare(&ours, recorded.killed, &mut found);
    compare_printed(&recorded.printed, &model.printed, &mut found);
    compare_tries(recorded, model, &mut found);
    found
}

fn difference(
    (line, guest): (usize, bool),
    what: &str,
    recorded: impl ToString,
    model: impl ToString,
) -> Difference {
    let (recorded, model) = (recorded.to_string(), model.to_string());
    let what = what.to_owned();
    Difference {
        line,
        guest,
        what,
        recorded,
        model,
    }
}

/// A line's number, and what is compared of it.
type Item = (usize, String);
type ByTarget = BTreeMap<u8, Vec<Item>>;

/// A target's log, for comparison.
struct Side {
    /// All but commands.
    markers: Vec<Item>,
    /// The commands after each marker; before the first one there are none.
    commands: Vec<ByTarget>,
}

impl Side {
    fn new(log: &[Line], killed: bool) -> Self {
        let mut side = Self {
            markers: Vec::new(),
            commands: Vec::new(),
        };
        // A machine that is ended stops its device: that is not what the guest did.
        let is_message = |line: &Line| matches!(line.what, What::Message(_) | What::Ended(_));
        let ended = log
            .iter()
            .rev()
            .take_while(|line| killed && is_message(line))
            .count();
        let mut linux = false;
        for (n, line) in log[..log.len() - ended].iter().enumerate() {
            let number = n + 1;
            let marker = match &line.what {
                What::Command(command) => {
                    side.command(number, command);
                    continue;
                }
                What::Ended(_) | What::Shown(_) | What::Buffer(_) => continue,
                What::Message(text) => {
                    linux = !text.starts_with("SET_FEATURES")
                        && (linux || text == "SET_VRING_NUM 0 128");
                    message(text, linux)
                }
                What::ReadsWrites(_) => "rw commands".to_owned(),
                other => other.to_string(),
            };
            side.markers.push((number, marker));
            side.commands.push(ByTarget::new());
        }
        for commands in side.commands.iter_mut().flat_map(BTreeMap::values_mut) {
            commands.sort_by(|(_, a), (_, b)| {
                let (place_a, place_b) = (place(a), place(b));
                let io = if place_a == 2 {
                    a.cmp(b)
                } else {
                    Ordering::Equal
                };
                place_a.cmp(&place_b).then(io)
            });
            commands.dedup_by(|(_, a), (_, b)| a == b && place(a) == 2);
        }
        side
    }

    fn command(&mut self, number: usize, command: &Command) {
        let Some(commands) = self.commands.last_mut() else {
            return;
        };
        let mut command = command.clone();
        command.vring = 0;
        let is_io = matches!(command.cdb[0], 0x08 | 0x0a);
        if is_io {
            command.cdb[1..4].fill(0);
        }
        let text = command.to_string();
        let text = text
            .split_once(" lun ")
            .map_or("", |(_, rest)| rest)
            .to_owned();
        commands
            .entry(command.target)
            .or_default()
            .push((number, text));
    }

    fn compare(&self, ours: &Self, prefix: bool, found: &mut Vec<Difference>) {
        for (n, (line, recorded)) in self.markers.iter().enumerate() {
            let Some((_, model)) = ours.markers.get(n) else {
                found.push(difference(
                    (*line, false),
                    "marker",
                    recorded,
                    "nothing more",
                ));
                return;
            };
            if recorded != model {
                found.push(difference((*line, false), "marker", recorded, model));
                if kind(recorded) != kind(model) {
                    return;
                }
            }
            let last = n + 1 == self.markers.len();
            let (theirs, ours) = (&self.commands[n], &ours.commands[n]);
            compare_commands(*line, theirs, ours, prefix && last, found);
        }
        if let Some((_, more)) = ours.markers.get(self.markers.len())
            && !prefix
        {
            let line = self.markers.last().map_or(0, |(line, _)| *line);
            found.push(difference((line, false), "marker", "nothing more", more));
        }
    }
}

/// Where a command stands among those of its target: REPORT LUNS of a scan behind the others, I/O last.
fn place(text: &str) -> u8 {
    let is_io = text.contains("cdb 08") || text.contains("cdb 0a");
    match text.contains("cdb a0000000000000001000") {
        _ if is_io => 2,
        true => 1,
        false => 0,
    }
}

/// A message or an event without what it carries.
fn kind(text: &str) -> String {
    let words = text.split([' ', '=']);
    words
        .take_while(|word| !word.starts_with(|c: char| c.is_ascii_digit()))
        .take(1)
        .collect()
}

/// A message without addresses, and without counts that depend on time.
fn message(text: &str, linux: bool) -> String {
    let words: Vec<&str> = text.split(' ').collect();
    let kept = match words[..] {
        ["SET_VRING_ADDR", ..] => 2,
        ["SET_MEM_TABLE", ..] => 1,
        ["SET_INFLIGHT_FD", ..] => 5,
        // Where a request queue of Linux was stopped says how much I/O there was.
        ["GET_VRING_BASE", "2" | "3", ..] if linux => 2,
        _ => words.len(),
    };
    words[..kept.min(words.len())].join(" ")
}

/// So many commands that only one side has are skipped, to go on with comparing behind them.
const MORE_MAX: usize = 64;

fn compare_commands(
    line: usize,
    theirs: &ByTarget,
    ours: &ByTarget,
    prefix: bool,
    found: &mut Vec<Difference>,
) {
    let none = Vec::new();
    let targets: std::collections::BTreeSet<u8> =
        theirs.keys().chain(ours.keys()).copied().collect();
    for target in targets {
        let recorded = theirs.get(&target).unwrap_or(&none);
        let model = ours.get(&target).unwrap_or(&none);
        let what = format!("commands of target {target}");
        let nothing = || "nothing more".to_owned();
        let (mut at, mut of) = (0, 0);
        while at < recorded.len() || (of < model.len() && !prefix) {
            let (theirs, ours) = (recorded.get(at), model.get(of));
            let is = |a: Option<&Item>, b: Option<&Item>| match (a, b) {
                (Some((_, a)), Some((_, b))) => a == b,
                _ => false,
            };
            if is(theirs, ours) {
                (at, of) = (at + 1, of + 1);
                continue;
            }
            let place = (theirs.map_or(line, |(line, _)| *line), false);
            let text = |item: Option<&Item>| item.map_or_else(nothing, |(_, text)| text.clone());
            let (theirs_more, ours_more) = (1..=MORE_MAX)
                .find_map(|more| {
                    let theirs_more = is(recorded.get(at + more), ours).then_some((more, 0));
                    theirs_more.or_else(|| is(theirs, model.get(of + more)).then_some((0, more)))
                })
                .unwrap_or((1, 1));
            let (theirs, ours) = match (theirs_more, ours_more) {
                (more, 0) => (
                    format!("{more} more: {}", text(theirs)),
                    "goes on".to_owned(),
                ),
                (0, more) => ("goes on".to_owned(), format!("{more} more: {}", text(ours))),
                _ => (text(theirs), text(ours)),
            };
            found.push(difference(place, &what, theirs, ours));
            (at, of) = (at + theirs_more, of + ours_more);
        }
    }
}

fn compare_printed(theirs: &[Numbered], ours: &[Printed], found: &mut Vec<Difference>) {
    let mut ours = ours.iter();
    for (line, printed) in theirs {
        // What the recorder's own script says behind the scenario.
        if let Printed::Said(said) = printed
            && said.words == "done"
        {
            continue;
        }
        let at = (*line, true);
        match (printed, ours.next()) {
            (Printed::Said(said), Some(Printed::Said(model))) => {
                if !said.words.starts_with(&model.words) {
                    found.push(difference(at, "printed", &said.words, &model.words));
                    return;
                }
                if said.disks != model.disks {
                    let show = |disks| format!("{disks:?}");
                    found.push(difference(
                        at,
                        "disks",
                        show(&said.disks),
                        show(&model.disks),
                    ));
                }
            }
            (Printed::Iot(iot), Some(Printed::Iot(model))) => {
                let (recorded, model) = (results(iot), results(model));
                if recorded != model {
                    found.push(difference(at, "results", recorded, model));
                }
            }
            (printed, other) => {
                let show = format!("{other:?}");
                found.push(difference(at, "printed", format!("{printed:?}"), show));
                return;
            }
        }
    }
    if let Some(more) = ours.next() {
        found.push(difference(
            (0, true),
            "printed",
            "nothing more",
            format!("{more:?}"),
        ));
    }
}

/// Which results there were, not how many.
fn results(iot: &Iot) -> String {
    let kinds: Vec<_> = iot
        .results
        .keys()
        .map(|(write, returned)| format!("{} {returned:?}", if *write { "write" } else { "read" }))
        .collect();
    let end = iot.end.map_or(String::new(), |(fsync, reopen)| {
        format!(", fsync {fsync}, reopen {reopen}")
    });
    let unopened = iot
        .unopened
        .map_or(String::new(), |errno| format!("open {errno}"));
    format!("{}{end}{unopened}", kinds.join(", "))
}

/// How often commands were tried, as far as that does not depend on time.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Tries {
    /// Nobody asked for anything: so many commands.
    Alone(u32),
    /// Each request took so many.
    Each(u32),
    /// All together took so many more than one.
    More(u32),
    /// Again and again: so many a request.
    Many(f64),
}

/// Nothing is tried more often, unless it is tried without end.
const TRIES_MAX: u32 = 6;
/// Where things are tried without end, how much oftener one may do so than the other.
const RATE: f64 = 4.0;

impl Tries {
    fn new(commands: u32, requests: u32) -> Self {
        match commands.checked_div(requests) {
            None => Self::Alone(commands),
            Some(each) if commands == each * requests && (1..=TRIES_MAX).contains(&each) => {
                Self::Each(each)
            }
            Some(_) if commands > requests && commands - requests <= 2 * TRIES_MAX => {
                Self::More(commands - requests)
            }
            Some(_) => Self::Many(f64::from(commands) / f64::from(requests)),
        }
    }

    fn is_like(self, other: Self) -> bool {
        match (self, other) {
            (Self::Many(a), Self::Many(b)) => a < b * RATE && b < a * RATE,
            (a, b) => a == b,
        }
    }
}

fn compare_tries(recorded: &Recorded, model: &Played, found: &mut Vec<Difference>) {
    let theirs = windows(&recorded.log, &model.windows);
    let all: Vec<&Iot> = recorded
        .printed
        .iter()
        .filter_map(|(_, printed)| iot_of(printed))
        .collect();
    let ours: Vec<&Iot> = model.printed.iter().filter_map(iot_of).collect();
    for (n, (line, window)) in theirs.iter().enumerate() {
        let tries = |window: &Window, iots: &[&Iot]| {
            let iots = iots.get(window.iots.0..window.iots.1).unwrap_or_default();
            let requests: u64 = iots.iter().flat_map(|iot| iot.results.values()).sum();
            let commands = (window.counted + window.short).saturating_sub(window.controls);
            Tries::new(commands, requests as u32)
        };
        let (a, b) = (tries(window, &all), tries(&model.windows[n], &ours));
        if !a.is_like(b) {
            found.push(difference(
                (*line, false),
                "tries",
                format!("{a:?}"),
                format!("{b:?}"),
            ));
        }
    }
}

fn iot_of(printed: &Printed) -> Option<&Iot> {
    match printed {
        Printed::Iot(iot) => Some(iot),
        Printed::Said(_) => None,
    }
}

/// The counts of a recording, each with what the scenario says of it, and its line.
fn windows(log: &[Line], model: &[Window]) -> Vec<(usize, Window)> {
    let mut found = Vec::new();
    let mut short = 0;
    for (n, line) in log.iter().enumerate() {
        match &line.what {
            What::Command(command) => short += u32::from(matches!(command.cdb[0], 0x08 | 0x0a)),
            What::ReadsWrites(counted) => {
                let Some(window) = model.get(found.len()) else {
                    break;
                };
                let (counted, short) = (*counted, std::mem::take(&mut short));
                found.push((
                    n + 1,
                    Window {
                        counted,
                        short,
                        ..*window
                    },
                ));
            }
            _ => {}
        }
    }
    found
}
