//! SPDK's JSON-RPC server: bytes in, typed methods out; results in, bytes out.
//!
//! Sans-I/O. Knows connections, framing, envelopes, batches and the parameters of each method.
//! What a method does is the target core's; when the socket is polled, too.

mod decode;
mod json;
mod method;
pub mod render;
mod server;
#[cfg(test)]
mod tests;

pub use decode::{Field, Kind};
pub use method::*;
pub use server::{CallId, RpcServer};

/// Every method, and its parameters.
pub fn methods() -> impl Iterator<Item = (&'static str, &'static [Field])> {
    TABLE.iter().map(|spec| (spec.name, spec.fields))
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RpcError {
    /// The code: a JSON-RPC one, or a negative errno.
    pub code: i32,
    pub message: String,
}

/// JSON-RPC 2.0 error codes, as SPDK uses them.
pub mod code {
    /// The request is not one.
    pub const INVALID_REQUEST: i32 = -32600;
    pub const METHOD_NOT_FOUND: i32 = -32601;
    /// Wrong parameters; in vhost, any failure.
    pub const INVALID_PARAMS: i32 = -32602;
    /// Internal error; in bdev, parameters that cannot be decoded.
    pub const INTERNAL_ERROR: i32 = -32603;
    /// The framework is not (or already) initialised.
    pub const INVALID_STATE: i32 = -1;
}

impl RpcError {
    pub fn new(code: i32, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
        }
    }

    /// How vhost methods fail: -32602 and the errno's text.
    pub fn vhost(errno: Errno) -> Self {
        Self::new(code::INVALID_PARAMS, errno.text())
    }

    /// How `vhost_get_controllers` fails: -32603 and the errno's text.
    pub fn internal(errno: Errno) -> Self {
        Self::new(code::INTERNAL_ERROR, errno.text())
    }

    /// How most bdev methods fail: the negative errno and its text.
    pub fn errno(errno: Errno) -> Self {
        Self::new(-errno.number(), errno.text())
    }
}

/// The errnos that SPDK answers with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are errno(3)'s")]
pub enum Errno {
    Perm,
    NoEnt,
    Io,
    NxIo,
    NoMem,
    Busy,
    Exist,
    NoDev,
    Inval,
    NoSpc,
    TimedOut,
    Already,
}

impl Errno {
    /// Its number on Linux.
    pub const fn number(self) -> i32 {
        match self {
            Self::Perm => 1,
            Self::NoEnt => 2,
            Self::Io => 5,
            Self::NxIo => 6,
            Self::NoMem => 12,
            Self::Busy => 16,
            Self::Exist => 17,
            Self::NoDev => 19,
            Self::Inval => 22,
            Self::NoSpc => 28,
            Self::TimedOut => 110,
            Self::Already => 114,
        }
    }

    /// What strerror(3) says (glibc).
    pub const fn text(self) -> &'static str {
        match self {
            Self::Perm => "Operation not permitted",
            Self::NoEnt => "No such file or directory",
            Self::Io => "Input/output error",
            Self::NxIo => "No such device or address",
            Self::NoMem => "Cannot allocate memory",
            Self::Busy => "Device or resource busy",
            Self::Exist => "File exists",
            Self::NoDev => "No such device",
            Self::Inval => "Invalid argument",
            Self::NoSpc => "No space left on device",
            Self::TimedOut => "Connection timed out",
            Self::Already => "Operation already in progress",
        }
    }
}
