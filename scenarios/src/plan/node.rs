//! A KDL node, read word by word, so that every word is used or complained about.
//!
//! Knows the shapes of values (numbers, lists, spans of time), not which nodes a plan has.

use std::fmt;
use std::time::Duration;

use kdl::{KdlEntry, KdlNode, KdlValue};

use super::Source;
use super::error::{PlanError, Position, Text, nearest, one_of};

/// A node whose values are being taken.
pub(crate) struct Node<'a> {
    pub(crate) text: &'a Text<'a>,
    node: &'a KdlNode,
    /// Values that nobody has asked for yet.
    left: Vec<&'a KdlEntry>,
    /// The keys that were asked for.
    known: Vec<&'static str>,
}

impl<'a> Node<'a> {
    pub(crate) fn new(text: &'a Text<'a>, node: &'a KdlNode) -> Self {
        Self {
            text,
            node,
            left: node.entries().iter().collect(),
            known: Vec::new(),
        }
    }

    pub(crate) fn name(&self) -> &'a str {
        self.node.name().value()
    }

    /// Where its name stands.
    pub(crate) fn at(&self) -> Position {
        let span = self.node.name().span();
        self.text.position(span.offset(), span.len())
    }

    /// An error at its name.
    pub(crate) fn error(&self, what: impl Into<String>, help: impl Into<String>) -> PlanError {
        self.text.error(self.at(), what, help)
    }

    /// An error at one of its values.
    fn error_at(&self, entry: &KdlEntry, what: String, help: impl Into<String>) -> PlanError {
        let span = entry.span();
        let at = self.text.position(span.offset(), span.len());
        self.text.error(at, what, help)
    }

    /// The nodes between its braces; none if it has no braces.
    pub(crate) fn children(&self) -> &'a [KdlNode] {
        self.node
            .children()
            .map_or(&[], |children| children.nodes())
    }

    /// That it has no braces.
    pub(crate) fn childless(&self) -> Result<(), PlanError> {
        match self.node.children() {
            Some(_) => Err(self.error(
                format!("`{}` takes no body", self.name()),
                "remove the braces and what is between them",
            )),
            None => Ok(()),
        }
    }

    /// That it has a body with something in it.
    pub(crate) fn with_body(&self) -> Result<(), PlanError> {
        if self.children().is_empty() {
            return Err(self.error(
                format!("`{}` is empty", self.name()),
                "expected steps between braces",
            ));
        }
        Ok(())
    }

    /// The next value without a name.
    fn argument(&mut self, what: &str) -> Result<&'a KdlEntry, PlanError> {
        match self.left.iter().position(|entry| entry.name().is_none()) {
            Some(at) => Ok(self.left.remove(at)),
            None => Err(self.error(
                format!("`{}` lacks {what}", self.name()),
                format!("expected {what} behind `{}`", self.name()),
            )),
        }
    }

    /// The next value without a name, a text.
    pub(crate) fn text_argument(&mut self, what: &str) -> Result<String, PlanError> {
        let entry = self.argument(what)?;
        self.as_text(entry, what)
    }

    /// The next value without a name, a number from `min` to `max`.
    pub(crate) fn number_argument<T: Number>(
        &mut self,
        what: &str,
        min: T,
        max: T,
    ) -> Result<T, PlanError> {
        let entry = self.argument(what)?;
        self.as_number(entry, what, min, max)
    }

    /// As many as there are: `8`, or these: `"1 3"`; each from 1 to `max`.
    pub(crate) fn ids_argument(&mut self, max: u8) -> Result<Vec<u8>, PlanError> {
        let entry = self.argument("how many")?;
        match entry.value() {
            KdlValue::String(_) => self.as_numbers(entry, "how many", max),
            _ => Ok((1..=self.as_number(entry, "how many", 1, max)?).collect()),
        }
    }

    /// The next values without a name, texts.
    pub(crate) fn text_arguments(&mut self, what: &str) -> Result<Vec<String>, PlanError> {
        let mut texts = Vec::new();
        while self.left.iter().any(|entry| entry.name().is_none()) {
            texts.push(self.text_argument(what)?);
        }
        Ok(texts)
    }

    /// The next value without a name, a span of time, if there is one.
    pub(crate) fn span_argument(&mut self) -> Result<Option<Duration>, PlanError> {
        if !self.left.iter().any(|entry| entry.name().is_none()) {
            return Ok(None);
        }
        let entry = self.argument("a time")?;
        self.as_span(entry).map(Some)
    }

    /// The span of time of `key`, if it is there.
    pub(crate) fn span(&mut self, key: &'static str) -> Result<Option<Duration>, PlanError> {
        match self.property(key) {
            Some(entry) => self.as_span(entry).map(Some),
            None => Ok(None),
        }
    }

    /// The truth of `key`, if it is there.
    pub(crate) fn truth(&mut self, key: &'static str) -> Result<Option<bool>, PlanError> {
        let Some(entry) = self.property(key) else {
            return Ok(None);
        };
        entry.value().as_bool().map(Some).ok_or_else(|| {
            let what = format!("`{key}` cannot be {}", entry.value());
            self.error_at(entry, what, "expected #true or #false")
        })
    }

    /// The slot that `target` names, if it is there: a number up to `max`, or how one is found.
    pub(crate) fn slot(&mut self, max: u8) -> Result<Option<Slot>, PlanError> {
        let Some(entry) = self.property("target") else {
            return Ok(None);
        };
        match entry.value().as_string() {
            Some("any") => Ok(Some(Slot::Any)),
            Some("lowest") => Ok(Some(Slot::Lowest)),
            Some(_) | None => {
                let number = self.as_number(entry, "`target`", 0, max)?;
                Ok(Some(Slot::Number(number)))
            }
        }
    }

    fn as_span(&self, entry: &KdlEntry) -> Result<Duration, PlanError> {
        let read = entry.value().as_string().and_then(span);
        read.ok_or_else(|| {
            self.error_at(
                entry,
                format!("{} is no time", entry.value()),
                "expected a text such as \"3s\" or \"250ms\", at most one hour",
            )
        })
    }

    /// A line of a text, which may be empty: `- "line"`.
    pub(crate) fn line(&mut self) -> Result<&'a str, PlanError> {
        let entry = self.argument("a line")?;
        let text = entry.value().as_string();
        text.ok_or_else(|| {
            let what = format!("a line cannot be {}", entry.value());
            self.error_at(entry, what, "expected a text in quotes")
        })
    }

    /// The value of `key`, if it is there.
    fn property(&mut self, key: &'static str) -> Option<&'a KdlEntry> {
        self.known.push(key);
        let is_key = |entry: &&KdlEntry| entry.name().is_some_and(|name| name.value() == key);
        let at = self.left.iter().position(is_key)?;
        Some(self.left.remove(at))
    }

    /// The text of `key`, if it is there.
    pub(crate) fn text(&mut self, key: &'static str) -> Result<Option<String>, PlanError> {
        match self.property(key) {
            Some(entry) => self.as_text(entry, &format!("`{key}`")).map(Some),
            None => Ok(None),
        }
    }

    /// The text of `key`, read by `read`, which returns `None` if it is not as `expected`.
    pub(crate) fn read<T>(
        &mut self,
        key: &'static str,
        expected: &str,
        read: impl Fn(&str) -> Option<T>,
    ) -> Result<Option<T>, PlanError> {
        let Some(entry) = self.property(key) else {
            return Ok(None);
        };
        let text = self.as_text(entry, &format!("`{key}`"))?;
        let complain = || {
            let what = format!("{key}={text:?} is not understood");
            self.error_at(entry, what, format!("expected {expected}"))
        };
        read(&text).map(Some).ok_or_else(complain)
    }

    /// The number of `key`, if it is there, from `min` to `max`.
    pub(crate) fn number<T: Number>(
        &mut self,
        key: &'static str,
        min: T,
        max: T,
    ) -> Result<Option<T>, PlanError> {
        match self.property(key) {
            Some(entry) => self
                .as_number(entry, &format!("`{key}`"), min, max)
                .map(Some),
            None => Ok(None),
        }
    }

    /// The number of `key`, from 1 to `max`.
    pub(crate) fn required<T: Number>(
        &mut self,
        key: &'static str,
        min: T,
        max: T,
    ) -> Result<T, PlanError> {
        self.number(key, min, max)?
            .ok_or_else(|| self.missing(key, "a number"))
    }

    /// The numbers of `key`, each from 1 to `max`: `key=3` or `key="3 4"`.
    pub(crate) fn numbers(
        &mut self,
        key: &'static str,
        max: u8,
    ) -> Result<Option<Vec<u8>>, PlanError> {
        let Some(entry) = self.property(key) else {
            return Ok(None);
        };
        self.as_numbers(entry, &format!("`{key}`"), max).map(Some)
    }

    fn as_numbers(&self, entry: &KdlEntry, what: &str, max: u8) -> Result<Vec<u8>, PlanError> {
        let read = list(entry.value()).and_then(|all| {
            let fit = |n: u32| u8::try_from(n).ok().filter(|n| (1..=max).contains(n));
            all.into_iter().map(fit).collect::<Option<Vec<u8>>>()
        });
        read.ok_or_else(|| {
            self.error_at(
                entry,
                format!("{what} cannot be {}", entry.value()),
                format!("expected numbers from 1 to {max}, each once: 1 or \"1 2\""),
            )
        })
    }

    /// The numbers of `key`, which must be there.
    pub(crate) fn required_numbers(
        &mut self,
        key: &'static str,
        max: u8,
    ) -> Result<Vec<u8>, PlanError> {
        self.numbers(key, max)?
            .ok_or_else(|| self.missing(key, "one number or several"))
    }

    /// Why the node is there: `line=` or `implied=`; nothing, if the plan has neither anywhere.
    pub(crate) fn source(&mut self) -> Result<Source, PlanError> {
        let line = self.property("line");
        let implied = self.text("implied")?;
        let help = "expected line=N (a line of test_plan.md) or implied=\"why\", and not both";
        match (line, implied) {
            (Some(entry), None) => list(entry.value()).map(Source::Lines).ok_or_else(|| {
                self.error_at(
                    entry,
                    format!("`line` cannot be {}", entry.value()),
                    "expected lines of test_plan.md: line=28 or line=\"28 30\"",
                )
            }),
            (None, Some(why)) if why.trim().is_empty() => {
                Err(self.error("`implied` does not say why", help))
            }
            (None, Some(why)) => Ok(Source::Implied(why)),
            (Some(_), Some(_)) => Err(self.error(
                format!("`{}` has both `line` and `implied`", self.name()),
                help,
            )),
            (None, None) => match self.text.sourced {
                None => Ok(Source::Itself),
                Some(at) => Err(self.error(
                    format!("`{}` does not say where it comes from", self.name()),
                    format!("{help}: line {at} of this file has one, so all need one"),
                )),
            },
        }
    }

    /// An error: `key` is not there, unless a name that is nearly `key` is.
    pub(crate) fn missing(&self, key: &str, what: &str) -> PlanError {
        let near = self.left.iter().find_map(|entry| {
            let name = entry.name()?.value();
            nearest(name, &[key]).map(|_| (*entry, name))
        });
        match near {
            Some((entry, name)) => self.error_at(
                entry,
                format!("`{}` has no `{name}`", self.name()),
                format!("did you mean `{key}`?"),
            ),
            None => self.error(
                format!("`{}` lacks `{key}`", self.name()),
                format!("expected {key}= and behind it {what}"),
            ),
        }
    }

    /// That every value was asked for.
    pub(crate) fn finish(&self) -> Result<(), PlanError> {
        let Some(entry) = self.left.first() else {
            return Ok(());
        };
        let Some(key) = entry.name().map(|name| name.value()) else {
            return Err(self.error_at(
                entry,
                format!("`{}` has a value too many: {}", self.name(), entry.value()),
                "values behind the first need a name, as in disk=1",
            ));
        };
        if self.known.contains(&key) {
            return Err(self.error_at(entry, format!("`{key}` is given twice"), "keep one"));
        }
        Err(self.error_at(
            entry,
            format!("`{}` has no `{key}`", self.name()),
            one_of(key, &self.known),
        ))
    }

    fn as_text(&self, entry: &KdlEntry, what: &str) -> Result<String, PlanError> {
        let text = entry.value().as_string().filter(|text| !text.is_empty());
        text.map(str::to_owned).ok_or_else(|| {
            self.error_at(
                entry,
                format!("{what} cannot be {}", entry.value()),
                "expected a text in quotes",
            )
        })
    }

    fn as_number<T: Number>(
        &self,
        entry: &KdlEntry,
        what: &str,
        min: T,
        max: T,
    ) -> Result<T, PlanError> {
        let number = entry.value().as_integer().and_then(|n| T::try_from(n).ok());
        number.filter(|n| (min..=max).contains(n)).ok_or_else(|| {
            self.error_at(
                entry,
                format!("{what} cannot be {}", entry.value()),
                format!("expected a number from {min} to {max}"),
            )
        })
    }
}

/// A slot, as a plan names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Slot {
    /// This one.
    Number(u8),
    /// The lowest free one, asked for by its number.
    Lowest,
    /// The lowest free one, asked for as "any".
    Any,
}

/// What a number of a plan fits into.
pub(crate) trait Number: TryFrom<i128> + PartialOrd + fmt::Display + Copy {}

impl<T: TryFrom<i128> + PartialOrd + fmt::Display + Copy> Number for T {}

/// Numbers above 0, each once: `28` or `"28 30"`.
fn list(value: &KdlValue) -> Option<Vec<u32>> {
    let numbers: Vec<u32> = match value {
        KdlValue::Integer(n) => vec![u32::try_from(*n).ok()?],
        KdlValue::String(text) => text
            .split_whitespace()
            .map(|word| word.parse().ok())
            .collect::<Option<_>>()?,
        _ => return None,
    };
    let distinct = (0..numbers.len()).all(|at| !numbers[..at].contains(&numbers[at]));
    (distinct && !numbers.is_empty() && !numbers.contains(&0)).then_some(numbers)
}

/// "3s", "250ms", "40us" or "7ns", up to an hour.
fn span(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit())?);
    let (_, nanos) = UNITS.iter().find(|(name, _)| *name == unit)?;
    let all = digits.parse::<u64>().ok()?.checked_mul(*nanos)?;
    (all <= SPAN_MAX).then(|| Duration::from_nanos(all))
}

/// Units of time, and their nanoseconds, from the greatest on.
const UNITS: [(&str, u64); 4] = [
    ("s", 1_000_000_000),
    ("ms", 1_000_000),
    ("us", 1_000),
    ("ns", 1),
];
/// An hour in nanoseconds.
const SPAN_MAX: u64 = 3_600_000_000_000;

/// A span as [`span`] reads it: in the greatest unit of which it is a whole number.
pub(crate) fn shown_span(span: Duration) -> String {
    let nanos = u64::try_from(span.as_nanos()).unwrap_or(u64::MAX);
    let whole = |(_, unit): &&(&str, u64)| nanos.is_multiple_of(*unit);
    let (name, unit) = UNITS.iter().find(whole).unwrap_or(&("ns", 1));
    format!("{}{name}", nanos / unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_spans() {
        assert_eq!(span("3s"), Some(Duration::from_secs(3)));
        assert_eq!(span("250ms"), Some(Duration::from_millis(250)));
        for text in ["0s", "3s", "250ms", "4100us", "7ns", "3600s"] {
            assert_eq!(shown_span(span(text).unwrap()), text);
        }
        for text in [
            "3",
            "s",
            "3m",
            "-3s",
            "3.5s",
            "3601s",
            "99999999999999999999s",
            "18446744073709551615s",
        ] {
            assert_eq!(span(text), None, "{text}");
        }
    }
}
