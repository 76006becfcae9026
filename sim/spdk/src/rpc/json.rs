//! JSON text (RFC 8259) as lib/json reads it from a stream: a value, more needed, or malformed.
//!
//! Not serde_json: this keeps duplicate keys and the text of numbers, which SPDK's decoding and the
//! echo of ids depend on.

/// Containers may nest this deep (`SPDK_JSON_MAX_NESTING_DEPTH`).
const DEPTH_MAX: usize = 64;
/// A request may have this many values, counting keys, and both ends of containers
/// (`SPDK_JSONRPC_MAX_VALUES`).
const VALUES_MAX: usize = 1024;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Json {
    Null,
    Bool(bool),
    Number(String),
    String(String),
    Array(Vec<Json>),
    /// In order, duplicates kept.
    Object(Vec<(String, Json)>),
}

/// Why there is no value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// What is there may become a value.
    Incomplete,
    Malformed,
}

type Parse<T> = Result<T, Fault>;

/// The first value in `text`, and how many bytes it takes with the white space before it.
pub(super) fn parse(text: &[u8]) -> Parse<(Json, usize)> {
    let mut parser = Parser {
        text,
        at: 0,
        values: 0,
    };
    let value = parser.value(0)?;
    Ok((value, parser.at))
}

/// How many bytes of white space `text` begins with.
pub(super) fn blanks(text: &[u8]) -> usize {
    let blank = |b: &&u8| matches!(**b, b' ' | b'\t' | b'\r' | b'\n');
    text.iter().take_while(blank).count()
}

struct Parser<'a> {
    text: &'a [u8],
    at: usize,
    values: usize,
}

impl Parser<'_> {
    fn peek(&self) -> Parse<u8> {
        self.text.get(self.at).copied().ok_or(Fault::Incomplete)
    }

    fn next(&mut self) -> Parse<u8> {
        let byte = self.peek()?;
        self.at += 1;
        Ok(byte)
    }

    /// The next byte that is not white space, not taken.
    fn token(&mut self) -> Parse<u8> {
        self.at += blanks(&self.text[self.at..]);
        self.peek()
    }

    fn take_token(&mut self) -> Parse<u8> {
        let token = self.token()?;
        self.at += 1;
        Ok(token)
    }

    fn count(&mut self, values: usize) -> Parse<()> {
        self.values += values;
        if self.values > VALUES_MAX {
            return Err(Fault::Malformed);
        }
        Ok(())
    }

    fn value(&mut self, depth: usize) -> Parse<Json> {
        let first = self.token()?;
        self.count(if matches!(first, b'{' | b'[') { 2 } else { 1 })?;
        match first {
            b'{' => self.object(depth + 1),
            b'[' => self.array(depth + 1),
            b'"' => Ok(Json::String(self.string()?)),
            b'-' | b'0'..=b'9' => self.number(),
            b't' => self.literal(b"true", Json::Bool(true)),
            b'f' => self.literal(b"false", Json::Bool(false)),
            b'n' => self.literal(b"null", Json::Null),
            _ => Err(Fault::Malformed),
        }
    }

    fn literal(&mut self, name: &[u8], value: Json) -> Parse<Json> {
        for want in name {
            if self.next()? != *want {
                return Err(Fault::Malformed);
            }
        }
        Ok(value)
    }

    fn object(&mut self, depth: usize) -> Parse<Json> {
        if depth > DEPTH_MAX {
            return Err(Fault::Malformed);
        }
        self.at += 1;
        let mut members = Vec::new();
        if self.token()? == b'}' {
            self.at += 1;
            return Ok(Json::Object(members));
        }
        loop {
            if self.token()? != b'"' {
                return Err(Fault::Malformed);
            }
            self.count(1)?;
            let key = self.string()?;
            if self.token()? != b':' {
                return Err(Fault::Malformed);
            }
            self.at += 1;
            members.push((key, self.value(depth)?));
            match self.take_token()? {
                b',' => {}
                b'}' => return Ok(Json::Object(members)),
                _ => return Err(Fault::Malformed),
            }
        }
    }

    fn array(&mut self, depth: usize) -> Parse<Json> {
        if depth > DEPTH_MAX {
            return Err(Fault::Malformed);
        }
        self.at += 1;
        let mut items = Vec::new();
        if self.token()? == b']' {
            self.at += 1;
            return Ok(Json::Array(items));
        }
        loop {
            items.push(self.value(depth)?);
            match self.take_token()? {
                b',' => {}
                b']' => return Ok(Json::Array(items)),
                _ => return Err(Fault::Malformed),
            }
        }
    }

    /// A number ends at the first byte that cannot be part of it, which has to be there.
    fn number(&mut self) -> Parse<Json> {
        let from = self.at;
        if self.peek()? == b'-' {
            self.at += 1;
        }
        let zero = self.peek()? == b'0';
        let digits = self.digits()?;
        if zero && digits > 1 {
            return Err(Fault::Malformed);
        }
        if self.peek()? == b'.' {
            self.at += 1;
            self.digits()?;
        }
        if matches!(self.peek()?, b'e' | b'E') {
            self.at += 1;
            if matches!(self.peek()?, b'+' | b'-') {
                self.at += 1;
            }
            self.digits()?;
        }
        let text = str::from_utf8(&self.text[from..self.at]);
        Ok(Json::Number(text.expect("digits are ASCII").to_owned()))
    }

    /// One digit or more.
    fn digits(&mut self) -> Parse<usize> {
        let from = self.at;
        while self.peek()?.is_ascii_digit() {
            self.at += 1;
        }
        match self.at - from {
            0 => Err(Fault::Malformed),
            count => Ok(count),
        }
    }

    fn string(&mut self) -> Parse<String> {
        self.at += 1;
        let mut bytes = Vec::new();
        loop {
            let rest = &self.text[self.at..];
            let plain = |byte: &u8| *byte >= 0x20 && *byte != b'"' && *byte != b'\\';
            let run = rest.iter().take_while(|byte| plain(byte)).count();
            bytes.extend_from_slice(&rest[..run]);
            self.at += run;
            match self.next()? {
                b'"' => return String::from_utf8(bytes).map_err(|_| Fault::Malformed),
                b'\\' => {
                    let escaped = self.escape()?;
                    bytes.extend_from_slice(escaped.encode_utf8(&mut [0; 4]).as_bytes());
                }
                _ => return Err(Fault::Malformed),
            }
        }
    }

    fn escape(&mut self) -> Parse<char> {
        Ok(match self.next()? {
            c @ (b'"' | b'\\' | b'/') => c.into(),
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => {
                let high = self.hex()?;
                if !(0xd800..0xdc00).contains(&high) {
                    return char::from_u32(high).ok_or(Fault::Malformed);
                }
                if self.next()? != b'\\' || self.next()? != b'u' {
                    return Err(Fault::Malformed);
                }
                let low = self.hex()?;
                if !(0xdc00..0xe000).contains(&low) {
                    return Err(Fault::Malformed);
                }
                let code = 0x1_0000 + ((high - 0xd800) << 10 | (low - 0xdc00));
                char::from_u32(code).ok_or(Fault::Malformed)?
            }
            _ => return Err(Fault::Malformed),
        })
    }

    fn hex(&mut self) -> Parse<u32> {
        let mut code = 0;
        for _ in 0..4 {
            let digit = char::from(self.next()?).to_digit(16);
            code = code << 4 | digit.ok_or(Fault::Malformed)?;
        }
        Ok(code)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_string_holds_anything_but_raw_control_characters() {
        let parsed = |text: &str| parse(text.as_bytes()).map(|(value, _)| value);
        for (text, expected) in [
            (r#""""#, ""),
            (r#"" a ""#, " a "),
            (r#""\n""#, "\n"),
            (r#""a\"b\\c\u0041\u00e9d""#, "a\"b\\cA\u{e9}d"),
            (r#""\ud83d\ude00é""#, "\u{1f600}é"),
        ] {
            assert_eq!(
                parsed(text),
                Ok(Json::String(expected.to_owned())),
                "{text}"
            );
        }
        for before in ["", "a", "\\n", "a\\n"] {
            for control in ['\0', '\n', '\u{1f}'] {
                let text = format!("\"{before}{control}b\"");
                assert_eq!(parsed(&text), Err(Fault::Malformed), "{text:?}");
            }
            let space = format!("\"{before}\u{20}\u{7f}\"");
            assert!(matches!(parsed(&space), Ok(Json::String(_))), "{space:?}");
            assert_eq!(parsed(&format!("\"{before}")), Err(Fault::Incomplete));
        }
        assert_eq!(
            parse(b"\"\xff\"").map(|(value, _)| value),
            Err(Fault::Malformed)
        );
    }

    #[test]
    fn a_number_keeps_its_text_and_needs_an_end() {
        for text in ["0", "-1", "10", "1.50", "2e+07", "-0.0E-1"] {
            let (value, len) = parse(format!("{text} ").as_bytes()).expect("a number");
            assert_eq!((value, len), (Json::Number(text.to_owned()), text.len()));
            assert_eq!(parse(text.as_bytes()), Err(Fault::Incomplete), "{text}");
        }
        assert_eq!(parse(b"01 "), Err(Fault::Malformed));
    }
}
