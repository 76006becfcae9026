//! What makes two findings the same one.
//!
//! Knows messages of checks, not who wrote them.

use std::fmt;

use crate::check_id::CheckId;
use crate::verdict::{CheckOutcome, CheckResult};

/// What makes two findings the same one: the check, the shape of what it saw, and the turn at which it saw it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Signature {
    /// What was broken.
    pub what: Broken,
    /// The message, with `#` in place of each number.
    pub shape: String,
    /// What the turn was at which it was seen ("session start"); "rest" if nothing moved any more, and empty where
    /// there are no turns.
    pub turn: String,
}

/// What a finding is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Broken {
    /// A check does not hold.
    Check(CheckId),
    /// The simulator itself panicked.
    Panic,
}

impl Broken {
    /// What is called so.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "panic" => Some(Self::Panic),
            name => CheckId::named(name).map(Self::Check),
        }
    }
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Check(check) => check.fmt(f),
            Self::Panic => f.write_str("panic"),
        }
    }
}

impl Signature {
    /// That of a violated check, first seen at `turn`; `None` if it is not violated.
    #[must_use]
    pub fn of(check: &CheckResult, turn: &str) -> Option<Self> {
        let CheckOutcome::Violated { seen, .. } = &check.outcome else {
            return None;
        };
        Some(Self {
            what: Broken::Check(check.id),
            shape: shape(seen),
            turn: turn.to_owned(),
        })
    }

    /// That of a panic of the simulator; `place` is a place in its source.
    #[must_use]
    pub fn of_panic(message: &str, place: &str) -> Self {
        Self {
            what: Broken::Panic,
            shape: shape(message),
            // A line moves with every edit, a file does not.
            turn: place.split(':').next().unwrap_or_default().to_owned(),
        }
    }
}

impl fmt::Display for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.what, self.shape)?;
        match self.turn.as_str() {
            "" => Ok(()),
            turn => write!(f, " (at {turn})"),
        }
    }
}

/// A message without what differs from run to run: each number is a `#`, and what a list says twice it says once.
#[must_use]
pub fn shape(message: &str) -> String {
    let message = match message.rfind(" (and ") {
        Some(at) if message.ends_with(" more)") => &message[..at],
        _ => message,
    };
    let numbered = numbered(message);
    let mut items: Vec<&str> = Vec::new();
    for item in numbered.split(", ") {
        if !items.contains(&item) {
            items.push(item);
        }
    }
    items.join(", ")
}

/// `text` with a `#` for each number, be it decimal, with a point, or hexadecimal.
fn numbered(text: &str) -> String {
    let mut shaped = String::with_capacity(text.len());
    let mut word = String::new();
    let flush = |word: &mut String, shaped: &mut String| {
        if is_hexadecimal(word) {
            shaped.push('#');
        } else {
            push_without_digits(word, shaped);
        }
        word.clear();
    };
    for letter in text.chars() {
        if letter.is_ascii_alphanumeric() {
            word.push(letter);
        } else {
            flush(&mut word, &mut shaped);
            // 12.5 and -7 are one number each.
            shaped.push(letter);
        }
    }
    flush(&mut word, &mut shaped);
    shaped.replace("#.#", "#").replace("-#", "#")
}

/// Whether a word is a hash or an address.
fn is_hexadecimal(word: &str) -> bool {
    let digits = word.strip_prefix("0x").unwrap_or(word);
    let is_long = digits.len() >= 8 || digits.len() < word.len();
    is_long
        && digits.bytes().all(|byte| byte.is_ascii_hexdigit())
        && digits.bytes().any(|byte| byte.is_ascii_digit())
}

fn push_without_digits(word: &str, shaped: &mut String) {
    for letter in word.chars() {
        match letter {
            digit if digit.is_ascii_digit() => {
                if !shaped.ends_with('#') {
                    shaped.push('#');
                }
            }
            letter => shaped.push(letter),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Time;

    #[test]
    fn numbers_of_all_kinds_are_one_sign() {
        for (message, expected) in [
            ("no number", "no number"),
            ("vm 12 has 3 disks", "vm # has # disks"),
            ("residual -17 of 4294967264", "residual # of #"),
            ("after 0.123456 s", "after # s"),
            ("hash 0123456789abcdef, at 0x7f", "hash #, at #"),
            ("deadbeef is a word", "deadbeef is a word"),
            ("disk 1, disk 2, disk 17", "disk #"),
            ("ring 3 (and 12 more)", "ring #"),
            ("I17 and vhost.3", "I# and vhost.#"),
            ("", ""),
        ] {
            assert_eq!(shape(message), expected, "{message}");
        }
    }

    #[test]
    fn only_what_is_violated_has_a_signature() {
        let check = |outcome| CheckResult {
            id: CheckId::I6,
            outcome,
            observations: 1,
        };
        assert_eq!(Signature::of(&check(CheckOutcome::Held), "poll"), None);
        let violated = CheckOutcome::Violated {
            expected: "it".to_owned(),
            seen: "slot 3".to_owned(),
            at: Time::ZERO,
        };
        let signature = Signature::of(&check(violated), "poll").expect("it is violated");
        assert_eq!(signature.to_string(), "I6: slot # (at poll)");
    }

    #[test]
    fn a_panic_is_known_by_its_file_and_not_by_its_line() {
        let one = Signature::of_panic("index 7", "sim/spdk/src/lib.rs:12:3");
        let other = Signature::of_panic("index 8", "sim/spdk/src/lib.rs:14:9");
        assert_eq!(one, other);
        assert_eq!(one.to_string(), "panic: index # (at sim/spdk/src/lib.rs)");
        assert_ne!(
            one,
            Signature::of_panic("index 7", "sim/linux/src/lib.rs:1:1")
        );
    }
}
