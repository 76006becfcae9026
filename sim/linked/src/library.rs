//! A library behind `plugfest_target.h`, loaded, with a safe face.
//!
//! What makes the face safe: it cannot leave its thread (the header wants one), its strings are copied before
//! the next call, and memory that is handed over stays mapped because `memories.rs` holds it.

#![expect(unsafe_code, reason = "C is called here and nowhere else")]

use std::ffi::{CStr, CString, c_char, c_int};
use std::fmt;
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::path::Path;
use std::ptr::null;

use bytes::Bytes;
use libloading::os::unix::{Library as Loaded, RTLD_LOCAL, RTLD_NOW};
use wire::message::{LogLevel, LogLine};

use crate::abi::{self, Functions};

/// What goes wrong between this process and a library.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// The library cannot be loaded, or lacks a function: what the loader says.
    Load(String),
    /// The library is for another version of the header.
    Version(u32),
    /// A call failed: which, and the header's number.
    Call(&'static str, i64),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Load(why) => write!(f, "{why}"),
            Self::Version(is) => write!(
                f,
                "the library has version {is} of plugfest_target.h, this plugfest has {}: build it again",
                abi::ABI
            ),
            Self::Call(call, code) => write!(f, "{call}: {}", meaning(*code)),
        }
    }
}

impl std::error::Error for Error {}

fn meaning(code: i64) -> String {
    match c_int::try_from(code) {
        Ok(abi::SECOND) => "there is a target in this process already".to_owned(),
        Ok(abi::ROOM) => "an address range is taken, or a table is full".to_owned(),
        Ok(abi::ARGUMENT) => "a number is out of range".to_owned(),
        Ok(abi::DIED) => "the target has died".to_owned(),
        Ok(abi::ORDER) => "not now".to_owned(),
        Ok(abi::THREAD) => "not from this thread".to_owned(),
        _ => format!("error {code}"),
    }
}

/// How a target is started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Reactors: with one, the target's threads never overlap.
    pub cores: u8,
    /// Where the vhost-user sockets are said to be.
    pub socket_dir: String,
}

/// How a step ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// At the end of a poll or of a message.
    Done,
    /// At the preemption point that was asked for.
    Point,
    /// It waits in the middle of something.
    Waits,
}

/// What a step did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stepped {
    /// How it ended.
    pub how: How,
    /// Preemption points that it passed.
    pub points: u32,
    /// The first function that did something; 0: none.
    pub name: u32,
    /// Of the names of all functions that did something.
    pub hash: u64,
}

/// Something that came out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Out {
    /// To a request of this number, or [`abi::ACK`].
    Answer {
        /// Connection.
        conn: u32,
        /// Its number in the specification.
        request: u32,
        /// Vring, or memory.
        of: u32,
        /// The payload.
        value: u64,
    },
    /// A connection was refused or closed.
    Closed(u32),
    /// A call on a vring of a connection.
    Call(u32, u32),
    /// Bytes for an RPC client.
    Rpc(u32, Bytes),
    /// An RPC connection was closed.
    RpcClosed(u32),
    /// A line of the log.
    Log(LogLine),
    /// The target died: how, then the call stack.
    Died(String),
    /// Guest memory that may have been written, or will be.
    Wrote {
        /// Its number.
        memory: u32,
        /// Which region.
        region: u32,
        /// From where in it.
        offset: u64,
        /// How many bytes.
        bytes: u32,
    },
}

pub use crate::abi::Left;

/// A target in this process. Never unloaded: nothing could put back what SPDK's constructors did.
pub struct Library {
    call: Functions,
    _loaded: ManuallyDrop<Loaded>,
    /// Neither `Send` nor `Sync`.
    _thread: PhantomData<*const ()>,
}

impl Library {
    /// Loads a library and looks at its version. Starts nothing.
    ///
    /// # Errors
    ///
    /// It is not one, or is for another version of the header.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let load = |error: libloading::Error| Error::Load(error.to_string());
        // SAFETY: its constructors are SPDK's and the shim's, which only fill tables of their own.
        let loaded = unsafe { Loaded::open(Some(path), RTLD_NOW | RTLD_LOCAL) }.map_err(load)?;
        // SAFETY: the types are those of the header, whose version is looked at before anything else is called.
        let call = unsafe { functions(&loaded) }.map_err(load)?;
        let library = Self {
            call,
            _loaded: ManuallyDrop::new(loaded),
            _thread: PhantomData,
        };
        // SAFETY: no arguments, no condition.
        match unsafe { (library.call.abi)() } {
            abi::ABI => Ok(library),
            other => Err(Error::Version(other)),
        }
    }

    /// What is in it: "SPDK v26.09-pre".
    #[must_use]
    pub fn about(&self) -> String {
        // SAFETY: a string that lives as long as the library.
        text(unsafe { (self.call.about)() })
    }

    /// Starts the target.
    ///
    /// # Errors
    ///
    /// There is one in this process already, or something of it does not start.
    pub fn boot(&self, config: &Config) -> Result<(), Error> {
        let dir = CString::new(config.socket_dir.as_str()).unwrap_or_default();
        let config = abi::Config {
            size: size_of::<abi::Config>() as u32,
            cores: u32::from(config.cores),
            socket_dir: dir.as_ptr(),
        };
        // SAFETY: the configuration and its string live until the call returns, which copies both.
        done("pf_boot", unsafe { (self.call.boot)(&raw const config) })
    }

    /// How many actors there can be.
    #[must_use]
    pub fn actors(&self) -> u32 {
        // SAFETY: no arguments, no condition.
        unsafe { (self.call.actors)() }
    }

    /// An actor's name, for people.
    #[must_use]
    pub fn actor_name(&self, actor: u32) -> String {
        // SAFETY: any number may be asked; the string is copied at once.
        text(unsafe { (self.call.actor_name)(actor) })
    }

    /// Marks the target as it is now, in a slot.
    ///
    /// # Errors
    ///
    /// Something that came out was not taken, or there is no room.
    pub fn mark(&self, slot: u32) -> Result<(), Error> {
        // SAFETY: any number may be given; that it is booted is checked there.
        done("pf_mark", unsafe { (self.call.mark)(slot) })
    }

    /// Becomes what it was at the mark in a slot. `compare` looks at every byte, and says how many pages nobody knew of.
    ///
    /// # Errors
    ///
    /// It was not marked.
    pub fn rewind(&self, slot: u32, compare: bool) -> Result<u64, Error> {
        // SAFETY: nothing of the library's is borrowed over a call.
        let late = unsafe { (self.call.rewind)(slot, u32::from(compare)) };
        u64::try_from(late).map_err(|_| Error::Call("pf_rewind", late))
    }

    /// Seeds what the target draws itself.
    pub fn chance(&self, seed: u64) {
        // SAFETY: any number may be given; a dead target draws nothing.
        unsafe { (self.call.chance)(seed) };
    }

    /// From when on an actor can take a step, in ns; `None` if it is blocked.
    #[must_use]
    pub fn when(&self, actor: u32) -> Option<u64> {
        // SAFETY: any number may be asked.
        let at = unsafe { (self.call.when)(actor) };
        (at != abi::BLOCKED).then_some(at)
    }

    /// The actors whose `when` has changed, as a bit set.
    pub fn changed(&self) -> u64 {
        // SAFETY: no arguments, no condition.
        unsafe { (self.call.changed)() }
    }

    /// Lets an actor run; `None` if the target died in it (see [`Out::Died`]).
    ///
    /// # Errors
    ///
    /// The actor is blocked.
    pub fn step(&self, actor: u32, now: u64, stop_at: u32) -> Result<Option<Stepped>, Error> {
        let mut step = abi::Stepped::default();
        // SAFETY: the result has room; faults of the target end in the library.
        let code = unsafe { (self.call.step)(actor, now, stop_at, &raw mut step) };
        if code == abi::DIED {
            return Ok(None);
        }
        done("pf_step", code)?;
        Ok(Some(Stepped {
            how: match step.how {
                abi::DONE => How::Done,
                abi::POINT => How::Point,
                _ => How::Waits,
            },
            points: step.points,
            name: step.name,
            hash: step.hash,
        }))
    }

    /// The text of a name.
    #[must_use]
    pub fn name(&self, name: u32) -> String {
        // SAFETY: any number may be asked; the string is copied at once.
        text(unsafe { (self.call.name)(name) })
    }

    /// Whom an actor waits for, in words.
    #[must_use]
    pub fn waits(&self, actor: u32) -> Option<String> {
        let mut line = [0 as c_char; 256];
        // SAFETY: it writes at most the length that it is given, and ends it with a zero.
        let length = unsafe { (self.call.waits)(actor, line.as_mut_ptr(), line.len()) };
        (length > 0).then(|| text(line.as_ptr()))
    }

    /// Makes memory known under a number, or forgets it if there are no regions.
    ///
    /// # Errors
    ///
    /// The number or the regions are too many.
    ///
    /// # Safety
    ///
    /// The regions stay mapped and may be written by anybody at any time, until they are forgotten or the
    /// target goes back to where they were not known.
    pub(crate) unsafe fn memory(&self, memory: u32, regions: &[abi::Region]) -> Result<(), Error> {
        let at = if regions.is_empty() {
            null()
        } else {
            regions.as_ptr()
        };
        // SAFETY: the caller's promise; the table itself is copied.
        done("pf_memory", unsafe {
            (self.call.memory)(memory, at, regions.len() as u32)
        })
    }

    /// A front-end connects.
    ///
    /// # Errors
    ///
    /// Too many connections.
    pub fn connect(&self, now: u64, conn: u32, controller: &str) -> Result<(), Error> {
        let name = CString::new(controller).unwrap_or_default();
        // SAFETY: the string lives until the call returns, which copies it.
        done("pf_connect", unsafe {
            (self.call.connect)(now, conn, name.as_ptr())
        })
    }

    /// It closes its connection.
    ///
    /// # Errors
    ///
    /// There is none.
    pub fn disconnect(&self, now: u64, conn: u32) -> Result<(), Error> {
        // SAFETY: any number may be given.
        done("pf_disconnect", unsafe {
            (self.call.disconnect)(now, conn)
        })
    }

    /// It sends a request.
    ///
    /// # Errors
    ///
    /// There is no such connection.
    pub fn message(&self, now: u64, conn: u32, message: &abi::Message) -> Result<(), Error> {
        // SAFETY: the message is copied; what it says is checked as a back-end checks a front-end.
        done("pf_message", unsafe {
            (self.call.message)(now, conn, message)
        })
    }

    /// The available index of a vring may have moved.
    pub fn look(&self, now: u64, conn: u32, vring: u32) {
        // SAFETY: any number may be given.
        unsafe { (self.call.look)(now, conn, vring) };
    }

    /// Bytes on an RPC connection.
    ///
    /// # Errors
    ///
    /// Too many RPC connections.
    pub fn rpc(&self, now: u64, client: u32, bytes: &[u8]) -> Result<(), Error> {
        // SAFETY: the bytes are copied.
        done("pf_rpc", unsafe {
            (self.call.rpc)(now, client, bytes.as_ptr(), bytes.len())
        })
    }

    /// The client closes its RPC connection.
    pub fn rpc_closed(&self, now: u64, client: u32) {
        // SAFETY: any number may be given; a client that is not connected has nothing to close.
        unsafe { (self.call.rpc_closed)(now, client) };
    }

    /// The next thing that came out.
    pub fn pop(&self) -> Option<Out> {
        let mut out = abi::Out {
            kind: 0,
            id: 0,
            a: 0,
            b: 0,
            value: 0,
            bytes: null(),
            length: 0,
        };
        // SAFETY: the result has room.
        if unsafe { (self.call.pop)(&raw mut out) } != 1 {
            return None;
        }
        let bytes: &[u8] = if out.length == 0 {
            &[]
        } else {
            // SAFETY: valid until the next call; copied below.
            unsafe { std::slice::from_raw_parts(out.bytes, out.length as usize) }
        };
        let line = || String::from_utf8_lossy(bytes).into_owned();
        Some(match out.kind {
            abi::OUT_ANSWER => Out::Answer {
                conn: out.id,
                request: out.a,
                of: out.b,
                value: out.value,
            },
            abi::OUT_CLOSED => Out::Closed(out.id),
            abi::OUT_CALL => Out::Call(out.id, out.a),
            abi::OUT_RPC => Out::Rpc(out.id, Bytes::copy_from_slice(bytes)),
            abi::OUT_RPC_CLOSED => Out::RpcClosed(out.id),
            abi::OUT_WROTE => Out::Wrote {
                memory: out.id,
                region: out.a,
                offset: out.value,
                bytes: out.b,
            },
            abi::OUT_DIED => Out::Died(line()),
            _ => Out::Log(LogLine {
                level: level(out.a),
                text: line(),
            }),
        })
    }

    /// What is left over.
    #[must_use]
    pub fn left(&self) -> Left {
        let mut left = Left::default();
        // SAFETY: the result has room.
        unsafe { (self.call.left)(&raw mut left) };
        left
    }
}

/// A C string, copied.
/// The header's number of a level.
const fn level(number: u32) -> LogLevel {
    match number {
        0 => LogLevel::Error,
        1 => LogLevel::Warn,
        2 => LogLevel::Notice,
        3 => LogLevel::Info,
        _ => LogLevel::Debug,
    }
}

fn text(at: *const c_char) -> String {
    // SAFETY: all callers hand over a string that ends with a zero and lives until the next call.
    unsafe { CStr::from_ptr(at) }.to_string_lossy().into_owned()
}

fn done(call: &'static str, code: c_int) -> Result<(), Error> {
    if code < 0 {
        Err(Error::Call(call, code.into()))
    } else {
        Ok(())
    }
}

/// Looks the functions of the header up.
unsafe fn functions(from: &Loaded) -> Result<Functions, libloading::Error> {
    macro_rules! table {
        ($($field:ident)*) => {
            // SAFETY: each symbol has the type of its field, by the header.
            Ok(Functions { $($field: *unsafe { from.get(concat!("pf_", stringify!($field)).as_bytes())? },)* })
        };
    }
    table!(abi about boot actors actor_name mark rewind chance when changed step name waits memory connect disconnect
        message look rpc rpc_closed pop left)
}
