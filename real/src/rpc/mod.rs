//! SPDK's JSON-RPC on Unix sockets: the socket that a target listens on, and a client.
//!
//! Moves bytes and frames them; knows no method.

pub mod client;
pub mod server;
