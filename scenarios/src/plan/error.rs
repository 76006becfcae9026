//! What is wrong with a plan file, and where: file, line, column, the line itself, a caret.

use std::fmt;

/// Bytes of a line that an error shows.
const SHOWN_MAX: usize = 400;

/// A place in a plan file, from 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Position {
    /// The line.
    pub line: u32,
    /// The column, in characters.
    pub column: u32,
    /// How many characters are meant.
    pub width: u32,
}

/// A plan file that says nothing sensible, or something impossible.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct PlanError {
    /// The file, as it was given.
    pub file: String,
    /// Where in it.
    pub at: Position,
    /// The line; empty if it is too long to be shown.
    pub shown: String,
    /// What is wrong.
    pub what: String,
    /// What was expected instead, or what to do.
    pub help: String,
}

impl fmt::Display for PlanError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Position {
            line,
            column,
            width,
        } = self.at;
        let margin = " ".repeat(line.to_string().len());
        write!(f, "{}:{line}:{column}: {}", self.file, self.what)?;
        if !self.shown.is_empty() {
            writeln!(f, "\n{margin} |")?;
            writeln!(f, "{line} | {}", self.shown)?;
            let indent = " ".repeat(column as usize - 1);
            let carets = "^".repeat(width.max(1) as usize);
            write!(f, "{margin} | {indent}{carets}")?;
        }
        if !self.help.is_empty() {
            write!(f, "\n{margin} = {}", self.help)?;
        }
        Ok(())
    }
}

impl PlanError {
    /// What is wrong with `text`, and where.
    pub(crate) fn new(file: &str, text: &str, at: Position, what: String, help: String) -> Self {
        let sourced = None;
        let text = Text {
            file,
            text,
            sourced,
        };
        text.error(at, what, help)
    }
}

/// The text of a plan file and its name.
pub(crate) struct Text<'a> {
    pub(crate) file: &'a str,
    pub(crate) text: &'a str,
    /// The line of the first node that says which line of a document it follows, or why it is implied: if there
    /// is one, all have to.
    pub(crate) sourced: Option<u32>,
}

impl Text<'_> {
    /// Where `length` bytes from `offset` are, without the blanks around them, and no further than the end
    /// of their first line.
    pub(crate) fn position(&self, offset: usize, length: usize) -> Position {
        let begin = self.boundary(offset);
        let end = self.boundary(offset + length).max(begin);
        let inside = &self.text[begin..end];
        let begin = begin + (inside.len() - inside.trim_start().len());
        let inside = inside.trim();
        let inside = inside.lines().next().unwrap_or_default().trim_end();
        let before = &self.text[..begin];
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        let count = |text: &str| u32::try_from(text.chars().count()).unwrap_or(u32::MAX);
        Position {
            line: 1 + u32::try_from(before.matches('\n').count()).unwrap_or(u32::MAX - 1),
            column: 1 + count(&self.text[line_start..begin]),
            width: count(inside),
        }
    }

    /// The character boundary at or before `offset`.
    fn boundary(&self, offset: usize) -> usize {
        (0..=offset.min(self.text.len()))
            .rev()
            .find(|at| self.text.is_char_boundary(*at))
            .unwrap_or(0)
    }

    /// An error at `at`.
    pub(crate) fn error(
        &self,
        at: Position,
        what: impl Into<String>,
        help: impl Into<String>,
    ) -> PlanError {
        let at = Position {
            line: at.line.max(1),
            column: at.column.max(1),
            width: at.width,
        };
        let shown = self.text.lines().nth(at.line as usize - 1);
        let shown = shown.filter(|line| line.len() <= SHOWN_MAX);
        PlanError {
            file: self.file.to_owned(),
            at,
            shown: shown.unwrap_or_default().replace('\t', " "),
            what: what.into(),
            help: help.into(),
        }
    }
}

/// The word of `known` that `word` was probably meant to be.
pub fn nearest<'a>(word: &str, known: &[&'a str]) -> Option<&'a str> {
    let close = |candidate: &&'a str| {
        let far = strsim::levenshtein(word, candidate);
        (far <= 2 && far < candidate.chars().count()).then_some((far, *candidate))
    };
    known
        .iter()
        .filter_map(close)
        .min_by_key(|(far, _)| *far)
        .map(|(_, word)| word)
}

/// "one of `a`, `b`; did you mean `a`?", for error messages.
pub(crate) fn one_of(word: &str, known: &[&str]) -> String {
    let mut text = format!("expected one of {}", known.join(", "));
    if let Some(near) = nearest(word, known) {
        text.push_str(&format!("; did you mean `{near}`?"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suggests_only_what_is_near() {
        assert_eq!(nearest("atach", &["attach", "detach"]), Some("attach"));
        assert_eq!(nearest("xyz", &["attach", "detach"]), None);
        assert_eq!(nearest("at", &["of"]), None, "nothing of it is left");
    }

    #[test]
    fn counts_columns_in_characters() {
        let text = Text {
            sourced: None,
            file: "p.kdl",
            text: "a\n\u{e9}\u{e9} bad",
        };
        let at = text.position(7, 3);
        assert_eq!((at.line, at.column, at.width), (2, 4, 3));
    }
}
