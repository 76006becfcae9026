//! A JSON-RPC client that is handed bytes: ids out, answers in.
//!
//! Knows JSON-RPC 2.0 framing; knows no method.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use bytes::Bytes;
use serde_json::Value;

use wire::message::ClientId;

/// The one connection of this client.
const CLIENT: ClientId = ClientId(0);

/// Bytes that most requests fit into.
const REQUEST_USUAL: usize = 256;

/// Calls that wait for an answer, each with a `P` to remember it by.
#[derive(Clone, Debug)]
pub struct RpcClient<P> {
    next: u64,
    pending: BTreeMap<u64, P>,
    /// Calls that were answered: an answer to one of them is an answer again.
    answered: BTreeMap<u64, P>,
    unread: Vec<u8>,
}

impl<P> Default for RpcClient<P> {
    fn default() -> Self {
        Self {
            next: 1,
            pending: BTreeMap::new(),
            answered: BTreeMap::new(),
            unread: Vec::new(),
        }
    }
}

/// An answer: what its call was remembered by, and the result or the text of the error.
pub type Answer<P> = (P, Result<Value, String>);

impl<P: Clone> RpcClient<P> {
    /// The bytes of a call; its answer will come with `pending`.
    pub fn call(
        &mut self,
        method: &'static str,
        params: Option<Value>,
        pending: P,
    ) -> (ClientId, Bytes) {
        let id = self.next;
        self.next += 1;
        self.pending.insert(id, pending);
        // Written as it is, and not made of values first: no name of a method needs an escape.
        let mut request = String::with_capacity(REQUEST_USUAL);
        let wrote = match params {
            Some(params) => write!(
                request,
                r#"{{"jsonrpc":"2.0","id":{id},"method":"{method}","params":{params}}}"#
            ),
            None => write!(
                request,
                r#"{{"jsonrpc":"2.0","id":{id},"method":"{method}"}}"#
            ),
        };
        wrote.expect("there is memory");
        (CLIENT, Bytes::from(request))
    }

    /// Reads answers: the result, or the text of the error. One that comes twice is there twice: what
    /// that means is not for a client to say.
    ///
    /// # Errors
    ///
    /// Bytes that are no JSON, or an answer to no call.
    pub fn read(&mut self, bytes: &[u8]) -> Result<Vec<Answer<P>>, String> {
        self.unread.extend_from_slice(bytes);
        let mut answers = Vec::new();
        let mut stream = serde_json::Deserializer::from_slice(&self.unread).into_iter::<Value>();
        let mut read = 0;
        while let Some(answer) = stream.next() {
            let mut answer = match answer {
                Ok(answer) => answer,
                Err(error) if error.is_eof() => break,
                Err(error) => return Err(format!("the target's answer is no JSON: {error}")),
            };
            read = stream.byte_offset();
            let pending = answer["id"]
                .as_u64()
                .and_then(|id| take(&mut self.pending, &mut self.answered, id));
            let pending = pending.ok_or_else(|| format!("an answer to no call: {answer}"))?;
            let result = match answer.get("error") {
                Some(error) => Err(error["message"].as_str().unwrap_or("no text").to_owned()),
                None => Ok(answer["result"].take()),
            };
            answers.push((pending, result));
        }
        self.unread.drain(..read);
        Ok(answers)
    }
}

fn take<P: Clone>(
    pending: &mut BTreeMap<u64, P>,
    answered: &mut BTreeMap<u64, P>,
    id: u64,
) -> Option<P> {
    if let Some(call) = pending.remove(&id) {
        answered.insert(id, call.clone());
        return Some(call);
    }
    answered.get(&id).cloned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_a_request_of_json_rpc() {
        let mut client = RpcClient::default();
        let mut call = |params| {
            let (_, bytes) = client.call("bdev_null_delete", params, ());
            String::from_utf8(bytes.to_vec()).expect("text")
        };
        let all = call(Some(serde_json::json!({"name": "a \"b\""})));
        let expected =
            r#"{"jsonrpc":"2.0","id":1,"method":"bdev_null_delete","params":{"name":"a \"b\""}}"#;
        assert_eq!(all, expected);
        let none = r#"{"jsonrpc":"2.0","id":2,"method":"bdev_null_delete"}"#;
        assert_eq!(call(None), none);
    }

    #[test]
    fn answers_find_their_calls_in_any_order_and_in_pieces() {
        let mut client = RpcClient::default();
        client.call("a", None, 'a');
        client.call("b", None, 'b');
        assert_eq!(
            client
                .read(br#"{"id":2,"result":true}{"id":1,"err"#)
                .unwrap()
                .len(),
            1
        );
        let answers = client.read(br#"or":{"code":-1,"message":"no"}}"#).unwrap();
        assert_eq!(answers, [('a', Err("no".to_owned()))]);
    }

    #[test]
    fn an_answer_that_comes_twice_is_handed_on_twice() {
        let mut client = RpcClient::default();
        client.call("a", None, 'a');
        let answers = client.read(br#"{"id":1,"result":0}{"id":1,"result":0}"#);
        assert_eq!(answers.map(|answers| answers.len()), Ok(2));
    }

    #[test]
    fn an_answer_to_no_call_is_an_error() {
        assert!(
            RpcClient::<char>::default()
                .read(br#"{"id":2,"result":true}"#)
                .is_err()
        );
    }
}
