//! The JSON-RPC client's side: connections, and answers cut out of a stream of bytes.
//!
//! Knows no method.

use std::collections::BTreeMap;

use bytes::{Buf, Bytes, BytesMut};
use serde_json::{Deserializer, Map, Value, json};

use super::peer::Peer;
use wire::message::{ClientId, ToTarget};

/// The client's connections, by the number that a transcript gives them.
#[derive(Debug, Default)]
pub struct Clients {
    open: BTreeMap<u64, Client>,
    next: u32,
}

#[derive(Debug)]
struct Client {
    id: ClientId,
    unread: BytesMut,
}

impl Clients {
    /// Sends bytes; opens the connection if it is not.
    pub fn send(&mut self, conn: u64, text: &str, peer: &mut dyn Peer) {
        let next = &mut self.next;
        let client = self.open.entry(conn).or_insert_with(|| {
            *next += 1;
            Client {
                id: ClientId(*next),
                unread: BytesMut::new(),
            }
        });
        peer.send(ToTarget::Rpc {
            client: client.id,
            bytes: Bytes::copy_from_slice(text.as_bytes()),
        });
    }

    /// Closes a connection.
    pub fn close(&mut self, conn: u64, peer: &mut dyn Peer) {
        if let Some(client) = self.open.remove(&conn) {
            peer.send(ToTarget::RpcClosed { client: client.id });
        }
    }

    /// Every connection is gone with the process at its other end.
    pub fn lose_all(&mut self) {
        self.open.clear();
    }

    /// Bytes came.
    pub fn received(&mut self, id: ClientId, bytes: &[u8], seen: &mut Vec<Value>) {
        let Some(client) = self.open.values_mut().find(|client| client.id == id) else {
            return;
        };
        client.unread.extend_from_slice(bytes);
        let mut values = Deserializer::from_slice(&client.unread).into_iter::<Value>();
        let mut read = 0;
        while let Some(Ok(value)) = values.next() {
            read = values.byte_offset();
            seen.push(see_answer(value));
        }
        client.unread.advance(read);
    }

    /// The target closed a connection.
    pub fn closed(&mut self, id: ClientId, seen: &mut Vec<Value>) {
        let found = self.open.iter().find(|(_, client)| client.id == id);
        if let Some(conn) = found.map(|(conn, _)| *conn) {
            self.open.remove(&conn);
            seen.push(json!({"rpc_closed": {"conn": conn}}));
        }
    }
}

/// The text of a request.
#[must_use]
pub fn request(id: Option<&Value>, method: &str, params: Option<&Value>) -> String {
    let mut request = Map::new();
    request.insert("jsonrpc".into(), "2.0".into());
    if let Some(id) = id {
        request.insert("id".into(), id.clone());
    }
    request.insert("method".into(), method.into());
    if let Some(params) = params {
        request.insert("params".into(), params.clone());
    }
    Value::Object(request).to_string()
}

/// What is reported of an answer.
fn see_answer(answer: Value) -> Value {
    match answer {
        Value::Object(answer) => {
            let mut rpc = Map::new();
            for (name, value) in answer {
                if name != "jsonrpc" {
                    rpc.insert(name, value);
                }
            }
            json!({ "rpc": rpc })
        }
        batch => json!({ "rpc_batch": batch }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_cut_out_of_the_stream() {
        let mut clients = Clients::default();
        clients.open.insert(
            0,
            Client {
                id: ClientId(1),
                unread: BytesMut::new(),
            },
        );
        let mut seen = Vec::new();
        let text = "{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":true}\n[{\"id\":2}]\n{\"id\"";
        clients.received(ClientId(1), text.as_bytes(), &mut seen);
        clients.received(ClientId(1), b":3,\"result\":7}", &mut seen);
        assert_eq!(
            seen,
            [
                json!({"rpc": {"id": 1, "result": true}}),
                json!({"rpc_batch": [{"id": 2}]}),
                json!({"rpc": {"id": 3, "result": 7}}),
            ]
        );
        clients.closed(ClientId(1), &mut seen);
        assert_eq!(seen[3], json!({"rpc_closed": {"conn": 0}}));
        assert!(clients.open.is_empty());
    }
}
