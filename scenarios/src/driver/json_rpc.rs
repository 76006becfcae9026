//! JSON-RPC 2.0 as a client speaks it: requests out as text, answers cut out of a stream of bytes.
//!
//! Knows framing and ids; knows no method and no socket.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::{Deserializer, Value};
use thiserror::Error;
use tracing::{Span, debug, debug_span};

/// The text of a request.
#[must_use]
pub fn request(id: impl fmt::Display, method: &str, params: Option<&Value>) -> String {
    // Written as it is, and not made of values first: a run has thousands.
    let method = Value::from(method);
    match params {
        Some(params) => {
            format!(r#"{{"jsonrpc":"2.0","id":{id},"method":{method},"params":{params}}}"#)
        }
        None => format!(r#"{{"jsonrpc":"2.0","id":{id},"method":{method}}}"#),
    }
}

/// A connection's bytes, as the JSON values that stand in it one after the other.
#[derive(Clone, Debug, Default)]
pub struct Stream {
    unread: Vec<u8>,
}

impl Stream {
    /// Takes over bytes, cut anywhere, and appends the values that are whole by now.
    ///
    /// # Errors
    ///
    /// What comes next is no JSON; the values before it have been appended.
    pub fn read(&mut self, bytes: &[u8], values: &mut Vec<Value>) -> Result<(), serde_json::Error> {
        self.unread.extend_from_slice(bytes);
        let mut stream = Deserializer::from_slice(&self.unread).into_iter();
        let mut read = 0;
        let end = loop {
            match stream.next() {
                Some(Ok(value)) => values.push(value),
                Some(Err(error)) if !error.is_eof() => break Err(error),
                Some(Err(_)) | None => break Ok(()),
            }
            read = stream.byte_offset();
        };
        self.unread.drain(..read);
        end
    }
}

/// The target refuses a call.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{message} ({code})")]
pub struct Refused {
    /// JSON-RPC's or SPDK's code.
    pub code: i64,
    /// SPDK's text.
    pub message: String,
}

/// What came from the target answers nothing.
#[derive(Debug, Error)]
pub enum Unreadable {
    /// It is no JSON.
    #[error("the target's answer is no JSON: {0}")]
    Json(serde_json::Error),
    /// It has the id of no call.
    #[error("an answer to no call: {0}")]
    NoCall(Value),
}

/// An answer: what its call was remembered by, and the result.
pub type Answer<P> = (P, Result<Value, Refused>);

/// A connection's calls, each with a `P` to remember it by.
#[derive(Clone, Debug)]
pub struct Client<P> {
    next: u64,
    open: BTreeMap<u64, (P, Span)>,
    /// Calls that were answered: an answer to one of them is an answer again.
    answered: BTreeMap<u64, (P, Span)>,
    stream: Stream,
}

impl<P> Default for Client<P> {
    fn default() -> Self {
        Self {
            next: 1,
            open: BTreeMap::new(),
            answered: BTreeMap::new(),
            stream: Stream::default(),
        }
    }
}

impl<P: Clone> Client<P> {
    /// The text of a call, whose answer will come with `call`.
    pub fn call(&mut self, method: &str, params: Option<&Value>, call: P) -> String {
        let id = self.next;
        self.next += 1;
        let span = debug_span!(target: "rpc", "rpc", id, method);
        span.in_scope(
            || debug!(target: "rpc", params = params.map(tracing::field::display), "called"),
        );
        self.open.insert(id, (call, span));
        request(id, method, params)
    }

    /// The calls that are not answered yet.
    pub fn open(&self) -> impl Iterator<Item = &P> {
        self.open.values().map(|(call, _)| call)
    }

    /// Reads answers. One that comes twice is there twice: what that means is not for a client to say.
    ///
    /// # Errors
    ///
    /// Bytes that are no JSON, or an answer to no call.
    pub fn read(&mut self, bytes: &[u8]) -> Result<Vec<Answer<P>>, Unreadable> {
        let mut values = Vec::new();
        let end = self.stream.read(bytes, &mut values);
        let answers = values.into_iter().map(|mut answer| {
            let call = answer["id"].as_u64().and_then(|id| self.take(id));
            let (call, span) = call.ok_or_else(|| Unreadable::NoCall(answer.clone()))?;
            span.in_scope(|| debug!(target: "rpc", %answer, "answered"));
            let result = match answer.get("error") {
                Some(error) => Err(Refused {
                    code: error["code"].as_i64().unwrap_or_default(),
                    message: error["message"].as_str().unwrap_or("no text").to_owned(),
                }),
                None => Ok(answer["result"].take()),
            };
            Ok((call, result))
        });
        let answers = answers.collect();
        end.map_err(Unreadable::Json)?;
        answers
    }

    fn take(&mut self, id: u64) -> Option<(P, Span)> {
        if let Some(call) = self.open.remove(&id) {
            self.answered.insert(id, call.clone());
            return Some(call);
        }
        self.answered.get(&id).cloned()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_call_is_a_request_of_json_rpc() {
        let mut client = Client::default();
        let params = json!({"name": "a \"b\""});
        let all = client.call("bdev_null_delete", Some(&params), ());
        let expected =
            r#"{"jsonrpc":"2.0","id":1,"method":"bdev_null_delete","params":{"name":"a \"b\""}}"#;
        assert_eq!(all, expected);
        let none = r#"{"jsonrpc":"2.0","id":2,"method":"bdev_null_delete"}"#;
        assert_eq!(client.call("bdev_null_delete", None, ()), none);
    }

    #[test]
    fn a_request_can_have_any_id_and_any_method() {
        let expected = r#"{"jsonrpc":"2.0","id":"x","method":"a\"b"}"#;
        assert_eq!(request(json!("x"), "a\"b", None), expected);
    }

    #[test]
    fn answers_find_their_calls_in_any_order_and_in_pieces() {
        let mut client = Client::default();
        client.call("a", None, 'a');
        client.call("b", None, 'b');
        let whole = client.read(br#"{"id":2,"result":true}{"id":1,"err"#);
        assert_eq!(whole.unwrap(), [('b', Ok(true.into()))]);
        assert_eq!(client.open().collect::<Vec<_>>(), [&'a']);
        let answers = client.read(br#"or":{"code":-1,"message":"no"}}"#).unwrap();
        let message = "no".to_owned();
        assert_eq!(answers, [('a', Err(Refused { code: -1, message }))]);
    }

    #[test]
    fn an_answer_that_comes_twice_is_handed_on_twice() {
        let mut client = Client::default();
        client.call("a", None, 'a');
        let answers = client.read(br#"{"id":1,"result":0}{"id":1,"result":0}"#);
        assert_eq!(answers.unwrap().len(), 2);
    }

    #[test]
    fn what_answers_no_call_is_an_error() {
        let read = |bytes| Client::<char>::default().read(bytes).unwrap_err();
        let none = read(br#"{"id":2,"result":true}"#);
        assert!(matches!(none, Unreadable::NoCall(_)), "{none}");
        let garbled = read(b"no JSON");
        assert!(matches!(garbled, Unreadable::Json(_)), "{garbled}");
    }
}
