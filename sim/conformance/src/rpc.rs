//! The JSON-RPC client's side: connections, and what is reported of answers.
//!
//! Knows no method.

use std::collections::BTreeMap;

use bytes::Bytes;
use scenarios::driver::json_rpc::Stream;
use serde_json::{Map, Value, json};

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
    stream: Stream,
}

impl Clients {
    /// Sends bytes; opens the connection if it is not.
    pub fn send(&mut self, conn: u64, text: &str, peer: &mut dyn Peer) {
        let next = &mut self.next;
        let client = self.open.entry(conn).or_insert_with(|| {
            *next += 1;
            Client {
                id: ClientId(*next),
                stream: Stream::default(),
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
        let mut values = Vec::new();
        // What is no JSON is no answer: who waits for one waits on.
        let _ = client.stream.read(bytes, &mut values);
        seen.extend(values.into_iter().map(see_answer));
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
                stream: Stream::default(),
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
