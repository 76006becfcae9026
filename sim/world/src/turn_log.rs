//! What turns were taken, one by one: to compare two runs and name the first turn that differs.
//!
//! Knows records, not where they are kept.

use std::fmt;

use scenarios::Time;
use wire::ActorId;

/// One turn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TurnRecord {
    /// Its number, from 1.
    pub turn: u64,
    /// When it was taken.
    pub at: Time,
    /// Who took it: the number in the schedule.
    pub actor: ActorId,
    /// What kind of turn it was: "session start".
    pub kind: &'static str,
    /// What that is called: "target: app thread".
    pub name: String,
    /// What it was: kind and fields.
    pub words: [u64; 3],
    /// The trace hash after it.
    pub hash: u64,
}

impl fmt::Display for TurnRecord {
    /// One line: `turn 17 at 0.000123 actor 4 (target: app thread): 3 0 1 (hash 0123456789abcdef)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [kind, a, b] = self.words;
        let (turn, at, actor, hash) = (self.turn, self.at, self.actor.0, self.hash);
        let name = &self.name;
        write!(
            f,
            "turn {turn} at {at} actor {actor} ({name}): {kind:x} {a:x} {b:x} (hash {hash:016x})"
        )
    }
}

/// Who is told of every turn.
pub type Record = Box<dyn FnMut(&TurnRecord) + Send>;

/// Where two runs part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The number of the turn, from 1.
    pub turn: u64,
    /// The turn in the first run, or that it had ended.
    pub first: String,
    /// The turn in the second run, or that it had ended.
    pub second: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the runs part at turn {}:\n  {}\n  {}",
            self.turn, self.first, self.second
        )
    }
}

/// The first line in which two turn logs (a turn a line, as [`TurnRecord`] prints it) differ.
#[must_use]
pub fn first_difference(first: &str, second: &str) -> Option<Difference> {
    let mut a = first.lines();
    let mut b = second.lines();
    let mut turn = 0;
    loop {
        turn += 1;
        match (a.next(), b.next()) {
            (None, None) => return None,
            (one, other) if one == other => {}
            (one, other) => {
                let show = |line: Option<&str>| line.unwrap_or("(ended)").to_owned();
                return Some(Difference {
                    turn,
                    first: show(one),
                    second: show(other),
                });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(hashes: &[u64]) -> String {
        let mut text = String::new();
        for (n, hash) in hashes.iter().enumerate() {
            let turn = n as u64 + 1;
            let record = TurnRecord {
                turn,
                at: Time(turn),
                actor: ActorId(1),
                kind: "toy",
                name: "somebody".to_owned(),
                words: [1, 2, 3],
                hash: *hash,
            };
            text.push_str(&format!("{record}\n"));
        }
        text
    }

    #[test]
    fn equal_logs_do_not_differ() {
        assert_eq!(first_difference(&log(&[1, 2]), &log(&[1, 2])), None);
    }

    #[test]
    fn the_first_turn_that_differs_is_named() {
        let difference = first_difference(&log(&[1, 2, 3]), &log(&[1, 9, 8])).expect("they differ");
        assert_eq!(difference.turn, 2);
        assert!(
            difference.first.contains("0000000000000002"),
            "{difference}"
        );
    }

    #[test]
    fn a_run_that_ends_early_differs() {
        let difference = first_difference(&log(&[1]), &log(&[1, 2])).expect("they differ");
        assert_eq!((difference.turn, difference.first.as_str()), (2, "(ended)"));
    }
}
