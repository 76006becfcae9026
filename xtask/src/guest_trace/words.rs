//! The words of a shell script: quotes, variables, substitutions, operators.
//!
//! As much of the POSIX shell's grammar as scenarios use. Knows no command.

use std::collections::BTreeMap;

/// A token of a script.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Token {
    /// A word, with its substitutions still in it.
    Word(Vec<Piece>),
    /// `;`, a new line, `&`, `&&`, `||`, `|`, `(`, `)`, `;;`, `<`, `>`.
    Operator(&'static str),
}

/// A part of a word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// As it stands.
    Text(String),
    /// `$NAME`.
    Variable(String),
    /// `$(COMMAND)`.
    Output(String),
}

/// What does not end.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum WordError {
    #[error("a quote does not end: {0}")]
    Quote(String),
    #[error("a substitution does not end: ${0}")]
    Substitution(String),
}

/// What a substitution that is not known stands for in a word.
pub const UNKNOWN: char = '\u{1}';
/// `$(disks)`: the disks that the guest lists.
pub const DISKS: &str = "\u{2}";
/// `$(disk N)` is this, then the target.
pub const DISK: char = '\u{3}';

const OPERATORS: [&str; 10] = [";;", "&&", "||", ";", "&", "|", "(", ")", "<", ">"];

/// Takes a script apart.
///
/// # Errors
///
/// A quote or a substitution does not end.
pub fn tokens(text: &str) -> Result<Vec<Token>, WordError> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        if let Some(end) = ["2>&1", "2>/dev/null", ">/dev/null"]
            .iter()
            .find(|e| rest.starts_with(**e))
        {
            rest = &rest[end.len()..];
        } else if c == '\n' {
            found.push(Token::Operator(";"));
            rest = &rest[1..];
        } else if c.is_whitespace() {
            rest = &rest[c.len_utf8()..];
        } else if c == '#' {
            rest = &rest[rest.find('\n').unwrap_or(rest.len())..];
        } else if let Some(operator) = OPERATORS.iter().find(|o| rest.starts_with(**o)) {
            found.push(Token::Operator(operator));
            rest = &rest[operator.len()..];
        } else {
            let (word, after) = word(rest)?;
            found.push(Token::Word(word));
            rest = after;
        }
    }
    Ok(found)
}

/// The word at the beginning of `text`, and what follows it.
fn word(text: &str) -> Result<(Vec<Piece>, &str), WordError> {
    let mut pieces = Vec::new();
    let mut literal = String::new();
    let mut quote = None;
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let after = &rest[c.len_utf8()..];
        match (quote, c) {
            (None, '"' | '\'') => quote = Some(c),
            (Some(open), _) if open == c => quote = None,
            (None | Some('"'), '$') => {
                let (piece, next) = substitution(after)?;
                if !literal.is_empty() {
                    pieces.push(Piece::Text(std::mem::take(&mut literal)));
                }
                pieces.push(piece);
                rest = next;
                continue;
            }
            (None, c) if c.is_whitespace() || OPERATORS.iter().any(|o| o.starts_with(c)) => break,
            _ => literal.push(c),
        }
        rest = after;
    }
    if quote.is_some() {
        return Err(WordError::Quote(text.to_owned()));
    }
    if !literal.is_empty() || pieces.is_empty() {
        pieces.push(Piece::Text(literal));
    }
    Ok((pieces, rest))
}

/// What stands behind a `$`.
fn substitution(text: &str) -> Result<(Piece, &str), WordError> {
    if let Some(inside) = text.strip_prefix('(') {
        let mut depth = 1;
        for (at, c) in inside.char_indices() {
            depth += i32::from(c == '(') - i32::from(c == ')');
            if depth == 0 {
                return Ok((Piece::Output(inside[..at].to_owned()), &inside[at + 1..]));
            }
        }
        return Err(WordError::Substitution(text.to_owned()));
    }
    let (text, braced) = text
        .strip_prefix('{')
        .map_or((text, false), |text| (text, true));
    let end = text.find(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let (name, rest) = text.split_at(end.unwrap_or(text.len()));
    let rest = if braced {
        rest.strip_prefix('}').unwrap_or(rest)
    } else {
        rest
    };
    Ok((Piece::Variable(name.to_owned()), rest))
}

/// A word with its variables and outputs put in.
#[must_use]
pub fn expand(word: &[Piece], variables: &BTreeMap<String, String>) -> String {
    let text = |piece: &Piece| match piece {
        Piece::Text(text) => text.clone(),
        Piece::Variable(name) => variables.get(name).cloned().unwrap_or_default(),
        Piece::Output(command) if command == "disks" => DISKS.to_owned(),
        Piece::Output(command) => match command.strip_prefix("disk ").map(str::parse::<u8>) {
            Some(Ok(target)) => format!("{DISK}{target}"),
            _ => UNKNOWN.to_string(),
        },
    };
    word.iter().map(text).collect()
}

/// Whether a pattern of `case` (with `*` only) fits.
#[must_use]
pub fn fits(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((start, rest)) => text.strip_prefix(start).is_some_and(|text| {
            let cuts = text.char_indices().map(|(at, _)| at).chain([text.len()]);
            cuts.into_iter().any(|at| fits(rest, &text[at..]))
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_put_together_from_their_pieces() {
        let variables = [("D".to_owned(), "sda".to_owned())].into();
        let text = "iot /dev/$D \"a ${D} $(disk 2)\" '$D' $(cat \"$(x)\")&& b # c";
        let mut words = Vec::new();
        for token in tokens(text).unwrap() {
            match token {
                Token::Word(word) => words.push(expand(&word, &variables)),
                Token::Operator(operator) => words.push(operator.to_owned()),
            }
        }
        let expected = ["iot", "/dev/sda", "a sda \u{3}2", "$D", "\u{1}", "&&", "b"];
        assert_eq!(words, expected);
        assert!(tokens("say \"a").is_err());
        assert!(tokens("say $(a").is_err());
    }

    #[test]
    fn patterns_fit_where_the_shell_says() {
        assert!(fits("6 *", "6 0x29 0") && fits("*", "") && fits("a*c*", "abcd"));
        assert!(!fits("6 *", "16 0") && !fits("a", "ab") && !fits("a*c", "abcd"));
    }
}
