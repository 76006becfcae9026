//! A scenario as recorded, `NAME.scenario`, a shell script, made a list of steps.
//!
//! Loops and cases are decided here, for their words are known; what is known only when it happens
//! (the name of a disk) stays a target. Knows no guest.
//!
//! # Divergence from a shell
//!
//! Pipes are their first command; outputs of other commands than `disk` and `disks` are unknown; a
//! command that is not known is a step that is not carried out, and said to be.

use std::collections::BTreeMap;
use std::iter::Peekable;
use std::time::Duration;
use std::vec::IntoIter;

use conformance::guest::scenario::{HoldOpen, IotStep, Say, Scenario, Step, THREADS_MAX, TIME_MAX};

use super::words::{DISK, DISKS, Piece, Token, UNKNOWN, WordError, expand, fits, tokens};

/// Commands within commands.
const DEPTH_MAX: usize = 64;

/// Why a text is no script.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ShellError {
    #[error(transparent)]
    Word(#[from] WordError),
    #[error("more than {DEPTH_MAX} commands within each other")]
    Deep,
    #[error("{0} is missing")]
    Missing(&'static str),
    #[error("expected a command, got {0:?}")]
    NoCommand(Option<Token>),
}

/// What a script does.
///
/// # Errors
///
/// It is no script.
pub fn scenario(text: &str) -> Result<Scenario, ShellError> {
    let nodes = Parser::new(tokens(text)?).list(&[])?;
    let mut shell = Shell::default();
    let mut steps = Vec::new();
    shell.list(&nodes, &mut steps);
    let reboots = shell
        .variables
        .get("REBOOT")
        .is_some_and(|word| word == "1");
    Ok(Scenario { reboots, steps })
}

type Word = Vec<Piece>;

/// A command, with how it is joined to the one before and the one after.
#[derive(Clone, Debug)]
struct Item {
    node: Node,
    /// `&&`: only after a success.
    only_then: bool,
    background: bool,
}

#[derive(Clone, Debug)]
enum Node {
    Simple(Vec<Word>, Option<(&'static str, Word)>),
    For(String, Vec<Word>, Vec<Item>),
    Case(Word, Vec<(Vec<Word>, Vec<Item>)>),
    Sub(Vec<Item>),
}

struct Parser {
    tokens: Peekable<IntoIter<Token>>,
    /// Lists that are being read.
    depth: usize,
}

fn is(token: &Token, word: &str) -> bool {
    matches!(token, Token::Word(pieces) if matches!(&pieces[..], [Piece::Text(text)] if text == word))
}

impl Parser {
    fn new(tokens: Vec<Token>) -> Self {
        let tokens = tokens.into_iter().peekable();
        Self { tokens, depth: 0 }
    }

    fn skip(&mut self, operators: &[&str]) {
        while self
            .tokens
            .next_if(|t| matches!(t, Token::Operator(o) if operators.contains(o)))
            .is_some()
        {}
    }

    fn take(&mut self, operator: &str) -> bool {
        self.tokens
            .next_if(|t| matches!(t, Token::Operator(o) if *o == operator))
            .is_some()
    }

    fn expect(&mut self, word: &'static str) -> Result<(), ShellError> {
        let found = self.tokens.next_if(|t| is(t, word));
        found.map(drop).ok_or(ShellError::Missing(word))
    }

    /// Commands up to one of these words, `)`, `;;`, or the end.
    fn list(&mut self, ends: &[&str]) -> Result<Vec<Item>, ShellError> {
        let mut items = Vec::new();
        let mut only_then = false;
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(ShellError::Deep);
        }
        loop {
            self.skip(&[";"]);
            let over = |t: &Token| {
                matches!(t, Token::Operator(")" | ";;")) || ends.iter().any(|e| is(t, e))
            };
            if self.tokens.peek().is_none_or(over) {
                self.depth -= 1;
                return Ok(items);
            }
            let node = self.command()?;
            while self.take("|") {
                self.command()?;
            }
            items.push(Item {
                node,
                only_then,
                background: self.take("&"),
            });
            only_then = self.take("&&");
        }
    }

    fn command(&mut self) -> Result<Node, ShellError> {
        if self.take("(") {
            let inside = self.list(&[])?;
            if !self.take(")") {
                return Err(ShellError::Missing(")"));
            }
            return Ok(Node::Sub(inside));
        }
        if self.tokens.next_if(|t| is(t, "for")).is_some() {
            let variable = expand(&self.word()?, &BTreeMap::new());
            self.expect("in")?;
            let mut words = Vec::new();
            while matches!(self.tokens.peek(), Some(Token::Word(_))) {
                words.push(self.word()?);
            }
            self.skip(&[";"]);
            self.expect("do")?;
            let body = self.list(&["done"])?;
            self.expect("done")?;
            return Ok(Node::For(variable, words, body));
        }
        if self.tokens.next_if(|t| is(t, "case")).is_some() {
            return self.case();
        }
        self.simple()
    }

    fn case(&mut self) -> Result<Node, ShellError> {
        let word = self.word()?;
        self.expect("in")?;
        let mut arms = Vec::new();
        loop {
            self.skip(&[";", ";;"]);
            if self.tokens.next_if(|t| is(t, "esac")).is_some() {
                return Ok(Node::Case(word, arms));
            }
            let mut patterns = vec![self.word()?];
            while self.take("|") {
                patterns.push(self.word()?);
            }
            if !self.take(")") {
                return Err(ShellError::Missing(")"));
            }
            arms.push((patterns, self.list(&["esac"])?));
        }
    }

    fn word(&mut self) -> Result<Word, ShellError> {
        match self.tokens.next() {
            Some(Token::Word(word)) => Ok(word),
            _ => Err(ShellError::Missing("a word")),
        }
    }

    fn simple(&mut self) -> Result<Node, ShellError> {
        let mut words = Vec::new();
        let mut redirect = None;
        loop {
            match self.tokens.peek() {
                Some(Token::Word(_)) => words.push(self.word()?),
                Some(Token::Operator(o @ ("<" | ">"))) => {
                    let operator = *o;
                    self.tokens.next();
                    redirect = Some((operator, self.word()?));
                }
                _ if words.is_empty() => {
                    return Err(ShellError::NoCommand(self.tokens.next()));
                }
                _ => return Ok(Node::Simple(words, redirect)),
            }
        }
    }
}

/// How a command ended, for what follows it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ran {
    Well,
    Badly,
    Continue,
}

#[derive(Default)]
struct Shell {
    variables: BTreeMap<String, String>,
}

impl Shell {
    fn list(&mut self, items: &[Item], steps: &mut Vec<Step>) -> Ran {
        let mut last = Ran::Well;
        for item in items {
            if item.only_then && last != Ran::Well {
                continue;
            }
            if item.background {
                let mut inside = Vec::new();
                self.node(&item.node, &mut inside);
                steps.push(Step::Background(inside));
            } else {
                last = self.node(&item.node, steps);
                if last == Ran::Continue {
                    return last;
                }
            }
        }
        last
    }

    fn node(&mut self, node: &Node, steps: &mut Vec<Step>) -> Ran {
        match node {
            Node::Simple(words, redirect) => {
                let words: Vec<String> = words.iter().map(|w| expand(w, &self.variables)).collect();
                let redirect = redirect
                    .as_ref()
                    .map(|(o, w)| (*o, expand(w, &self.variables)));
                self.simple(&words, redirect, steps)
            }
            Node::For(variable, words, body) => {
                for word in words {
                    let word = expand(word, &self.variables);
                    self.variables.insert(variable.clone(), word);
                    self.list(body, steps);
                }
                Ran::Well
            }
            Node::Case(word, arms) => {
                let word = expand(word, &self.variables);
                let fit = |patterns: &[Word]| {
                    patterns
                        .iter()
                        .any(|p| fits(&expand(p, &self.variables), &word))
                };
                match arms.iter().find(|(patterns, _)| fit(patterns)) {
                    Some((_, body)) => self.list(body, steps),
                    None => Ran::Well,
                }
            }
            Node::Sub(body) => self.list(body, steps),
        }
    }

    fn simple(
        &mut self,
        words: &[String],
        to: Option<(&str, String)>,
        steps: &mut Vec<Step>,
    ) -> Ran {
        let texts: Vec<&str> = words.iter().map(String::as_str).collect();
        if let Some((name, value)) = assignment(texts[0]) {
            self.variables.insert(name.to_owned(), value.to_owned());
            return Ran::Well;
        }
        let unknown = || Step::Unknown(shown(&texts.join(" ")));
        let step = match (&texts[..], &to) {
            (["[", a, "=", b, "]"], _) => return if a == b { Ran::Well } else { Ran::Badly },
            (["continue"], _) => return Ran::Continue,
            (["time", rest @ ..], _) if !rest.is_empty() => {
                let rest: Vec<String> = rest.iter().map(|word| (*word).to_owned()).collect();
                return self.simple(&rest, to, steps);
            }
            (["ctl", words @ ..], _) => {
                Step::Control(words.iter().map(|w| (*w).to_owned()).collect())
            }
            (["say", words @ ..], _) => say(&words.join(" ")),
            (["wait"], _) => Step::Wait,
            (["sleep", time], Some(("<", file))) => match (seconds(time), disk(file)) {
                (Some(time), Some(target)) => Step::HoldOpen(HoldOpen { target, time }),
                _ => unknown(),
            },
            (["sleep", time], None) => seconds(time).map_or_else(unknown, Step::Sleep),
            (["iot", device, time, threads, buffered @ ..], _) => {
                match (disk(device), seconds(time), threads.parse()) {
                    (Some(target), Some(time), Ok(threads @ 0..=THREADS_MAX)) => {
                        Step::Iot(IotStep {
                            target,
                            time,
                            threads,
                            buffered: buffered == ["buf"],
                        })
                    }
                    _ => unknown(),
                }
            }
            (["echo", word], Some((">", file))) => sysfs(word, file)
                .unwrap_or_else(|| Step::Unknown(shown(&format!("echo {word} > {file}")))),
            // They only look.
            (
                [
                    "echo" | "cat" | "ls" | "ps" | "dmesg" | "grep" | "head" | "tail" | "true"
                    | ":",
                    ..,
                ],
                None,
            ) => return Ran::Well,
            _ => unknown(),
        };
        steps.push(step);
        Ran::Well
    }
}

fn shown(word: &str) -> String {
    word.replace(DISK, "disk ").replace(UNKNOWN, "…")
}

fn assignment(word: &str) -> Option<(&str, &str)> {
    let (name, value) = word.split_once('=')?;
    let is_name = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    is_name.then_some((name, value))
}

fn say(text: &str) -> Step {
    let known = text
        .split([UNKNOWN, '\u{2}', DISK])
        .next()
        .unwrap_or_default();
    let words: Vec<&str> = known.split_whitespace().collect();
    Step::Say(Say {
        words: words.join(" "),
        disks: text.contains(DISKS),
    })
}

fn seconds(text: &str) -> Option<Duration> {
    let time = Duration::try_from_secs_f64(text.parse().ok()?).ok()?;
    (time <= TIME_MAX).then_some(time)
}

/// The target in a path with `$(disk N)` in it.
fn disk(text: &str) -> Option<u8> {
    let (_, rest) = text.split_once(DISK)?;
    let end = rest
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(rest.len());
    rest[..end].parse().ok()
}

fn sysfs(word: &str, file: &str) -> Option<Step> {
    if file.ends_with("/device/delete") {
        return Some(Step::Delete(disk(file)?));
    }
    let place: Vec<&str> = word.split(' ').collect();
    match place[..] {
        ["0", target, "0"] if file.ends_with("/scan") => target.parse().ok().map(Step::Scan),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn steps(text: &str) -> Vec<Step> {
        scenario(text).unwrap().steps
    }

    fn control(words: &[&str]) -> Step {
        Step::Control(words.iter().map(|w| (*w).to_owned()).collect())
    }

    #[test]
    fn loops_and_cases_are_unrolled() {
        let text = "for r in 3 4 \"6 1\"; do [ $r = 4 ] && continue\ncase \"$r\" in \"6 \"*|9) ctl \"a $r\" b;; *) \
            ctl c$r;; esac; done; ctl end";
        let expected = [
            control(&["c3"]),
            control(&["a 6 1", "b"]),
            control(&["end"]),
        ];
        assert_eq!(steps(text), expected);
    }

    #[test]
    fn what_runs_beside_stands_beside() {
        let text = "D=$(disk 2); ( sleep 0.5; say \"at: $(disks)\" ) & iot /dev/$D 3 6 buf; wait\n\
            sleep 4 < /dev/$(disk 0) & echo 1 > /sys/block/$D/device/delete; ps | grep x | head";
        let half = Duration::from_millis(500);
        let expected = [
            Step::Background(vec![Step::Sleep(half), say("at:\u{2}")]),
            Step::Iot(IotStep {
                target: 2,
                time: Duration::from_secs(3),
                threads: 6,
                buffered: true,
            }),
            Step::Wait,
            Step::Background(vec![Step::HoldOpen(HoldOpen {
                target: 0,
                time: Duration::from_secs(4),
            })]),
            Step::Delete(2),
        ];
        assert_eq!(steps(text), expected);
    }

    #[test]
    fn what_is_not_known_is_said() {
        let Scenario { steps, reboots } =
            scenario("dd if=/dev/$(disk 0) of=/dev/null; frobnicate now; REBOOT=1").unwrap();
        assert!(reboots);
        assert!(
            matches!(&steps[..], [Step::Unknown(_), Step::Unknown(text)] if text == "frobnicate now")
        );
        for bad in ["( a", "for x in 1; do a", "case x in y a", "& a"] {
            assert!(scenario(bad).is_err(), "{bad}");
        }
    }
}
