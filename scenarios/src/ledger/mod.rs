//! A ledger: findings that are known already, so that a campaign can look past them.
//!
//! ```text
//! ledger {
//!     known "S1" "the first session that drained completes the removal" {
//!         shows "I6" "true for # at #: session # holds *"
//!         shows "V3" "*" at="rest"
//!     }
//! }
//! ```
//!
//! What comes after a known finding in the same run may come of it, and is not looked at, unless the ledger says
//! `goes-on=#true`: it leaves no wrong state behind.
//!
//! Knows no bug: what is known has an ID and a title, and shows itself in [`Signature`]s.

mod signature;

use crate::plan::{Node, PlanError, Text, document, one_of};

pub use signature::{Broken, Signature, shape};

/// Findings that are known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ledger {
    /// In the order of the file.
    pub known: Vec<Known>,
}

/// A finding that is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    /// What people call it: "S1".
    pub id: String,
    /// What it is, in a line.
    pub title: String,
    /// Whether what comes after it in a run still says something: it leaves no wrong state behind.
    pub goes_on: bool,
    /// How it shows itself: any of these.
    pub shows: Vec<Pattern>,
}

/// Signatures, by what they look like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    /// What is broken.
    pub what: Broken,
    /// The shape of the message; a `*` stands for anything.
    pub shape: String,
    /// The turn at which it is seen; a `*` stands for anything.
    pub turn: String,
}

impl Pattern {
    /// Whether a signature looks like this.
    #[must_use]
    pub fn matches(&self, signature: &Signature) -> bool {
        self.what == signature.what
            && looks_like(&self.shape, &signature.shape)
            && looks_like(&self.turn, &signature.turn)
    }
}

/// Whether `text` is what `pattern` says, where a `*` stands for anything.
fn looks_like(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = text.strip_prefix(first) else {
        return false;
    };
    let mut parts: Vec<&str> = parts.collect();
    let Some(last) = parts.pop() else {
        return rest.is_empty();
    };
    for part in parts {
        let Some(at) = rest.find(part) else {
            return false;
        };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}

impl Ledger {
    /// Reads a ledger; `file` is its name in errors.
    ///
    /// # Errors
    ///
    /// The text is not KDL, or no ledger, with the place.
    pub fn parse(file: &str, text: &str) -> Result<Self, PlanError> {
        let text = &Text {
            file,
            text,
            sourced: None,
        };
        let document = document(text)?;
        let [node] = document.nodes() else {
            let nowhere = text.position(0, 0);
            let expected = "expected ledger { … } and nothing else";
            return Err(text.error(nowhere, "the file is no ledger", expected));
        };
        let node = Node::new(text, node);
        if node.name() != "ledger" {
            let what = format!("`{}` is no ledger", node.name());
            return Err(node.error(what, "expected ledger { … }"));
        }
        let mut ledger = Self::default();
        for child in node.children() {
            let mut child = Node::new(text, child);
            if child.name() != "known" {
                let what = format!("a ledger has no `{}`", child.name());
                return Err(child.error(what, one_of(child.name(), &["known"])));
            }
            let known = known(&mut child)?;
            if ledger.known.iter().any(|other| other.id == known.id) {
                let what = format!("{:?} is there already", known.id);
                return Err(child.error(what, "add its patterns there"));
            }
            ledger.known.push(known);
        }
        node.finish()?;
        Ok(ledger)
    }

    /// What is known that shows itself so, all of it: two may show themselves in the same way.
    pub fn find(&self, signature: &Signature) -> impl Iterator<Item = &Known> {
        let shows = |known: &&Known| known.shows.iter().any(|one| one.matches(signature));
        self.known.iter().filter(shows)
    }
}

fn known(node: &mut Node<'_>) -> Result<Known, PlanError> {
    let id = node.text_argument("an ID")?;
    let title = node.text_argument("a title")?;
    let goes_on = node.truth("goes-on")?.unwrap_or(false);
    node.finish()?;
    let mut shows = Vec::new();
    for child in node.children() {
        let mut child = Node::new(node.text, child);
        if child.name() != "shows" {
            let what = format!("`known` has no `{}`", child.name());
            return Err(child.error(what, one_of(child.name(), &["shows"])));
        }
        let name = child.text_argument("a check")?;
        let what = Broken::named(&name);
        let unknown = || child.error(format!("there is no check {name:?}"), "see docs/checks.md");
        let what = what.ok_or_else(unknown)?;
        let pattern = Pattern {
            what,
            shape: child.text_argument("a message")?,
            turn: child.text("at")?.unwrap_or_else(|| "*".to_owned()),
        };
        child.childless()?;
        child.finish()?;
        if pattern.shape.trim_matches('*').is_empty() && pattern.turn == "*" {
            let help = "say more: what else breaks this check would never be told";
            return Err(child.error("it looks like everything", help));
        }
        shows.push(pattern);
    }
    if shows.is_empty() {
        let help = "expected shows \"I6\" \"message\" in braces";
        return Err(node.error(format!("{id} shows itself in nothing"), help));
    }
    Ok(Known {
        id,
        title,
        goes_on,
        shows,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check_id::CheckId;

    fn signature(what: Broken, shape: &str, turn: &str) -> Signature {
        Signature {
            what,
            shape: shape.to_owned(),
            turn: turn.to_owned(),
        }
    }

    #[test]
    fn a_star_stands_for_anything() {
        for (pattern, text, is_like) in [
            ("a", "a", true),
            ("a", "ab", false),
            ("a*", "ab", true),
            ("*b", "ab", true),
            ("*", "", true),
            ("a*c", "abc", true),
            ("a*c", "ac", true),
            ("a*c", "acd", false),
            ("a*b*c", "a b b c", true),
            ("a*b*c", "a c", false),
            ("ab*ba", "aba", false),
            ("", "", true),
            ("", "a", false),
        ] {
            assert_eq!(looks_like(pattern, text), is_like, "{pattern} {text}");
        }
    }

    const TEXT: &str = r##"
        ledger {
            known "S1" "answered too early" {
                shows "I6" "true for #*" at="foreach *"
                shows "V3" "disk # *"
            }
            known "P" "a known panic" goes-on=#true { shows "panic" "index #"; }
        }
    "##;

    #[test]
    fn what_is_known_is_found_by_its_signature() {
        let ledger = Ledger::parse("a.kdl", TEXT).expect("it is one");
        let (i6, v3) = (Broken::Check(CheckId::I6), Broken::Check(CheckId::V3));
        for (what, shape, turn, id) in [
            (i6, "true for # too early", "foreach remove", Some("S1")),
            (i6, "true for # too early", "poll", None),
            (i6, "false", "foreach remove", None),
            (v3, "disk # stays", "rest", Some("S1")),
            (v3, "true for #", "foreach remove", None),
            (Broken::Panic, "index #", "a.rs", Some("P")),
        ] {
            let found = ledger.find(&signature(what, shape, turn)).next();
            assert_eq!(found.map(|known| known.id.as_str()), id, "{shape} {turn}");
        }
        let goes_on: Vec<bool> = ledger.known.iter().map(|known| known.goes_on).collect();
        assert_eq!(goes_on, [false, true]);
    }

    #[test]
    fn what_is_no_ledger_says_where() {
        for (text, said) in [
            ("plan \"x\" {}", "a.kdl:1:1: `plan` is no ledger"),
            ("", "a.kdl:1:1: the file is no ledger"),
            ("ledger { knows 1; }", "a.kdl:1:10: a ledger has no `knows`"),
            (
                "ledger { known \"S1\" \"x\"; }",
                "a.kdl:1:10: S1 shows itself in nothing",
            ),
            (
                "ledger { known \"S1\" \"x\" { shows \"I99\" \"y\"; }; }",
                "a.kdl:1:27: there is no check \"I99\"",
            ),
            (
                "ledger { known \"S1\" \"x\" { shows \"I6\" \"*\"; }; }",
                "a.kdl:1:27: it looks like everything",
            ),
            (
                "ledger { known \"a\" \"x\" { shows \"I6\" \"y\"; }; known \"a\" \"x\" { shows \"I6\" \"y\"; }; }",
                "a.kdl:1:45: \"a\" is there already",
            ),
        ] {
            let error = Ledger::parse("a.kdl", text).expect_err(text).to_string();
            assert!(error.starts_with(said), "{error}");
        }
    }
}
