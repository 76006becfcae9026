//! `shim/plugfest_target.h`, as Rust: layouts and numbers, no code. What they mean stands there.

#![expect(
    missing_docs,
    reason = "the header documents them, under the same names"
)]

use std::ffi::{c_char, c_int, c_void};

/// The version of the header that this is.
pub const ABI: u32 = 1;
/// Later than any time.
pub const BLOCKED: u64 = u64::MAX;
/// Regions of a guest's memory.
pub const REGIONS_MAX: usize = 8;
/// Memories that can be known at a time.
pub const MEMORIES_MAX: usize = 256;

pub const SECOND: c_int = -1;
pub const ROOM: c_int = -2;
pub const ARGUMENT: c_int = -3;
pub const DIED: c_int = -4;
pub const ORDER: c_int = -5;
pub const THREAD: c_int = -6;

pub const OUT_ANSWER: u32 = 1;
pub const OUT_CLOSED: u32 = 2;
pub const OUT_CALL: u32 = 3;
pub const OUT_RPC: u32 = 4;
pub const OUT_RPC_CLOSED: u32 = 5;
pub const OUT_LOG: u32 = 6;
pub const OUT_DIED: u32 = 7;
pub const OUT_WROTE: u32 = 8;

/// The request of an answer to `need_reply`.
pub const ACK: u32 = 0;

pub const DONE: u32 = 1;
pub const POINT: u32 = 2;
pub const WAITS: u32 = 3;

#[repr(C)]
pub struct Config {
    pub size: u32,
    pub cores: u32,
    pub socket_dir: *const c_char,
}

#[derive(Clone, Copy)]
#[repr(C)]
pub struct Region {
    pub address: u64,
    pub bytes: u64,
    pub host: *mut c_void,
}

#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct Message {
    pub request: u32,
    pub need_reply: u32,
    pub vring: u32,
    pub memory: u32,
    pub value: u64,
    pub desc: u64,
    pub avail: u64,
    pub used: u64,
    pub log: u64,
    pub queues: u16,
    pub queue_size: u16,
}

#[repr(C)]
pub struct Out {
    pub kind: u32,
    pub id: u32,
    pub a: u32,
    pub b: u32,
    pub value: u64,
    pub bytes: *const u8,
    pub length: u64,
}

#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct Stepped {
    pub how: u32,
    pub points: u32,
    pub name: u32,
    pub more: u32,
    pub hash: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Left {
    pub memory_registrations: u32,
    pub connections: u32,
    pub threads: u32,
    pub requests: u32,
    pub rpcs: u32,
    pub locks: u32,
}

/// The functions of the header.
pub struct Functions {
    pub abi: unsafe extern "C" fn() -> u32,
    pub about: unsafe extern "C" fn() -> *const c_char,
    pub boot: unsafe extern "C" fn(*const Config) -> c_int,
    pub actors: unsafe extern "C" fn() -> u32,
    pub actor_name: unsafe extern "C" fn(u32) -> *const c_char,
    pub mark: unsafe extern "C" fn(u32) -> c_int,
    pub rewind: unsafe extern "C" fn(u32, u32) -> i64,
    pub chance: unsafe extern "C" fn(u64) -> c_int,
    pub when: unsafe extern "C" fn(u32) -> u64,
    pub changed: unsafe extern "C" fn() -> u64,
    pub step: unsafe extern "C" fn(u32, u64, u32, *mut Stepped) -> c_int,
    pub name: unsafe extern "C" fn(u32) -> *const c_char,
    pub waits: unsafe extern "C" fn(u32, *mut c_char, usize) -> c_int,
    pub memory: unsafe extern "C" fn(u32, *const Region, u32) -> c_int,
    pub connect: unsafe extern "C" fn(u64, u32, *const c_char) -> c_int,
    pub disconnect: unsafe extern "C" fn(u64, u32) -> c_int,
    pub message: unsafe extern "C" fn(u64, u32, *const Message) -> c_int,
    pub look: unsafe extern "C" fn(u64, u32, u32) -> c_int,
    pub rpc: unsafe extern "C" fn(u64, u32, *const u8, usize) -> c_int,
    pub rpc_closed: unsafe extern "C" fn(u64, u32) -> c_int,
    pub pop: unsafe extern "C" fn(*mut Out) -> c_int,
    pub left: unsafe extern "C" fn(*mut Left) -> c_int,
}
