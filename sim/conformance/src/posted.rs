//! The stimuli that put something into a ring: commands, control requests, raw chains, event buffers.
//!
//! Data only; `request` builds them.

use serde::Deserialize;

/// SCSI commands.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scsi {
    /// The front-end.
    pub frontend: String,
    /// The request queue.
    pub queue: u16,
    /// Names the first request in the observations; those after it count up.
    pub tag: u64,
    /// The 8 LUN bytes, in hex.
    pub lun: String,
    /// The CDB, in hex.
    pub cdb: String,
    /// Bytes of the buffer for data from the target.
    #[serde(default)]
    pub data_in: Option<u32>,
    /// Data for the target.
    #[serde(default)]
    pub data_out: Option<DataOut>,
    /// Descriptors over which the data are split.
    #[serde(default)]
    pub segs: Option<u32>,
    /// In a table of its own.
    #[serde(default)]
    pub indirect: bool,
    /// How many.
    #[serde(default)]
    pub count: Option<u32>,
    /// The interval.
    #[serde(default)]
    pub every_ms: Option<u64>,
}

/// Data for the target.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataOut {
    /// Bytes.
    pub len: u32,
    /// What they all are; 0 if absent.
    #[serde(default)]
    pub fill: u8,
    /// The first of them, in hex.
    #[serde(default)]
    pub bytes: String,
}

/// A control queue request.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tmf {
    /// The front-end.
    pub frontend: String,
    /// Task management 0, asynchronous notification 1 and 2.
    #[serde(rename = "type")]
    pub kind: u32,
    /// Which task management function.
    #[serde(default)]
    pub subtype: u32,
    /// The 8 LUN bytes, in hex.
    pub lun: String,
    /// Names the request in the observations.
    pub tag: u64,
    /// The task it is about.
    #[serde(default)]
    pub task_tag: u64,
    /// Events asked for, in an asynchronous notification.
    #[serde(default)]
    pub event_requested: u32,
    /// Bytes of the response descriptor.
    #[serde(default)]
    pub resp_len: Option<u32>,
}

/// A descriptor chain, as it stands.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Chain {
    /// The front-end.
    pub frontend: String,
    /// The queue.
    pub queue: u16,
    /// Names the request in the observations.
    pub tag: u64,
    /// Its descriptors.
    pub descs: Vec<ChainDesc>,
    /// In a table of its own.
    #[serde(default)]
    pub indirect: Option<Indirect>,
    /// What is written into the available ring, if not the first descriptor's index.
    #[serde(default)]
    pub head: Option<u16>,
    /// How far the available index moves, if not by one.
    #[serde(default)]
    pub avail_jump: Option<u16>,
}

/// A descriptor of a chain.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChainDesc {
    /// Its length.
    pub len: u32,
    /// The device writes there.
    #[serde(default)]
    pub write: bool,
    /// What is there, in hex, whatever `len` says.
    #[serde(default)]
    pub bytes: Option<String>,
    /// What all bytes there are.
    #[serde(default)]
    pub fill: Option<u8>,
    /// Where it points, if not to memory of its own.
    #[serde(default)]
    pub addr: Option<u64>,
    /// What `next` says, if not the descriptor after it.
    #[serde(default)]
    pub next: Option<u16>,
    /// Which descriptor of the chain `next` names.
    #[serde(default)]
    pub next_desc: Option<usize>,
    /// Carries the indirect flag.
    #[serde(default)]
    pub indirect_flag: bool,
    /// `resp` or `data`: what is reported of it.
    #[serde(default)]
    pub role: Option<Role>,
}

/// What a descriptor of a chain is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// The response.
    Resp,
    /// Data from the target.
    Data,
}

/// A table of descriptors.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Indirect {
    /// The length in the descriptor that points to it.
    pub len: Option<u32>,
    /// Where it is.
    pub addr: Option<u64>,
}

/// Event buffers are given to the target.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PostEvents {
    /// The front-end.
    pub frontend: String,
    /// How many.
    pub count: u16,
    /// Bytes of each; those of an event if absent.
    #[serde(default)]
    pub len: Option<u32>,
}
