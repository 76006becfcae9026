//! vhost-user on sockets, both sides: a back-end's connection and a front-end's.
//!
//! Translates between the wire and [`sim::wire::message::VhostUser`]; knows neither model. The protocol itself is
//! the crate `vhost`'s, but for device status, which it does not know.

pub mod backend;
pub mod cut;
pub mod frontend;
mod header;
pub mod memory;
