//! The messages between the two ends, as the sockets would carry them.
//!
//! vhost-user messages are an enum of our own, with file descriptors already resolved to what they
//! stand for; JSON-RPC stays bytes. Payloads never travel here: they are in guest memory.

#![expect(
    missing_docs,
    reason = "the fields are those of the vhost-user specification, under its names"
)]

use std::time::Duration;

use bytes::Bytes;
use fio_model::JobFile;
use scenarios::{ControllerId, DiskId, FioId, Place, TaskFunction, Ticket};

use crate::component::Memory;

/// A vhost-user connection, numbered by whoever connects; never reused in a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnId(pub u32);

/// A connection to the RPC socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClientId(pub u32);

/// A virtio-scsi device of one guest, in the order of its devices.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HbaId(pub u8);

/// A vring: 0 control, 1 event, from 2 request queues.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VringIndex(pub u16);

/// The control queue.
pub const CONTROLQ: VringIndex = VringIndex(0);
/// The event queue.
pub const EVENTQ: VringIndex = VringIndex(1);
/// The first request queue.
pub const REQUESTQ: VringIndex = VringIndex(2);

/// A vhost-user request of a front-end.
#[derive(Clone, Debug)]
pub enum VhostUser {
    /// Answered with `Features`.
    GetFeatures,
    /// The bits that the driver accepted.
    SetFeatures(u64),
    /// Answered with `ProtocolFeatures`.
    GetProtocolFeatures,
    /// The protocol bits that the front-end accepted.
    SetProtocolFeatures(u64),
    /// Answered with `QueueNum`.
    GetQueueNum,
    /// The session begins.
    SetOwner,
    /// The guest's memory.
    SetMemTable(Memory),
    /// Ring size.
    SetVringNum { vring: VringIndex, size: u32 },
    /// Where the back-end starts in the available ring.
    SetVringBase { vring: VringIndex, base: u16 },
    /// Guest physical addresses of a ring.
    SetVringAddr {
        vring: VringIndex,
        desc: u64,
        avail: u64,
        used: u64,
    },
    /// The kick descriptor: in SPDK this (re)initialises the queue and starts the session.
    SetVringKick { vring: VringIndex },
    /// The call descriptor.
    SetVringCall { vring: VringIndex },
    /// The error descriptor.
    SetVringErr { vring: VringIndex },
    /// Enable or disable a ring.
    SetVringEnable { vring: VringIndex, on: bool },
    /// Stop a ring; answered with `VringBase` when drained.
    GetVringBase { vring: VringIndex },
    /// Ask for an inflight buffer; answered with `Inflight`.
    GetInflightFd { queues: u16, size: u16 },
    /// Hand over an inflight buffer.
    SetInflightFd {
        queues: u16,
        size: u16,
        buffer: Memory,
    },
    /// Device status; SPDK takes and ignores it.
    SetStatus(u64),
    /// Answered with `Status`.
    GetStatus,
}

/// A back-end's answer.
#[derive(Clone, Debug)]
pub enum VhostUserReply {
    /// To GET_FEATURES.
    Features(u64),
    /// To GET_PROTOCOL_FEATURES.
    ProtocolFeatures(u64),
    /// To GET_QUEUE_NUM.
    QueueNum(u64),
    /// To GET_VRING_BASE.
    VringBase { vring: VringIndex, base: u16 },
    /// To GET_INFLIGHT_FD.
    Inflight { buffer: Memory },
    /// To GET_STATUS.
    Status(u64),
    /// To any request that carried need_reply.
    Ack { ok: bool },
}

/// To the target.
#[derive(Clone, Debug)]
pub enum ToTarget {
    /// A front-end connected to the socket of the controller with this name.
    Connect { conn: ConnId, controller: Box<str> },
    /// The connection closed.
    Disconnect { conn: ConnId },
    /// A request; `need_reply` asks for an `Ack` where there is no other answer (REPLY_ACK).
    VhostUser {
        conn: ConnId,
        message: VhostUser,
        need_reply: bool,
    },
    /// "The available index may have moved": a publish (sim), a kick or a poll tick (serve).
    Doorbell { conn: ConnId, vring: VringIndex },
    /// Bytes on an RPC connection, cut anywhere.
    Rpc { client: ClientId, bytes: Bytes },
    /// An RPC connection closed.
    RpcClosed { client: ClientId },
}

/// From the target.
#[derive(Clone, Debug)]
pub enum FromTarget {
    /// An answer to a vhost-user request.
    Answer { conn: ConnId, reply: VhostUserReply },
    /// The target refused the connection, or closed it.
    Closed { conn: ConnId },
    /// The call descriptor was signalled.
    Call { conn: ConnId, vring: VringIndex },
    /// Bytes for an RPC connection.
    Rpc { client: ClientId, bytes: Bytes },
    /// The target closed an RPC connection.
    RpcClosed { client: ClientId },
    /// A line of SPDK's log.
    Log(LogLine),
    /// The process died: nothing of it acts any more.
    Died(Crash),
}

/// How much a line of SPDK's log matters (`enum spdk_log_level`, include/spdk/log.h).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    /// `SPDK_ERRLOG`.
    Error,
    /// `SPDK_WARNLOG`.
    Warn,
    /// `SPDK_NOTICELOG`.
    Notice,
    /// `SPDK_INFOLOG`: only with the flag of its component, which is `vhost` here.
    Info,
    /// `SPDK_DEBUGLOG`: a release build has none.
    Debug,
}

/// A line of SPDK's log, without time and place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLine {
    /// How much it matters.
    pub level: LogLevel,
    /// What it says.
    pub text: String,
}

/// How a modelled process dies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Crash {
    /// "SIGSEGV", "SIGFPE", or "hang" for an endless loop.
    pub signal: &'static str,
    /// The symbol it dies in, and why.
    pub place: &'static str,
}

/// To a guest.
#[derive(Clone, Debug)]
pub enum ToGuest {
    /// An answer to a vhost-user request of a device.
    Answer { hba: HbaId, reply: VhostUserReply },
    /// The call descriptor of a device's vring was signalled.
    Call { hba: HbaId, vring: VringIndex },
    /// The back-end closed the connection.
    Closed { hba: HbaId },
    /// Something to do, for the people or scripts in the guest.
    Do(GuestAct),
}

/// What a guest is asked to do.
#[derive(Clone, Debug)]
pub enum GuestAct {
    /// Power on (connects its devices) or, when running, `reboot -f`.
    Boot,
    /// Run a fio with one section a disk; `jobs` is the parsed file.
    StartFio {
        fio: FioId,
        job: std::sync::Arc<JobFile>,
        on: Vec<(DiskId, Place)>,
    },
    /// Answer the ticket when the fio's clock (its slowest disk's progress) says `at`.
    WaitJobClock {
        ticket: Ticket,
        fio: FioId,
        at: Duration,
    },
    /// List the disks (observed: `DisksListed`).
    ListDisks,
    /// Pause all vCPUs and the devices (QMP `stop`).
    Pause,
    /// Go on after a pause (QMP `cont`).
    Continue,
    /// The process is killed: connections close, nothing is drained.
    Kill,
    /// A DIMM is plugged: QEMU hands over a new memory table while its devices run.
    AddMemory,
    /// The connection of the device on this controller breaks, and is made anew; answers the ticket when
    /// that begins, or says why it cannot.
    Reconnect {
        ticket: Ticket,
        controller: ControllerId,
    },
    /// A task management request to this place; answers the ticket with the response.
    Manage {
        ticket: Ticket,
        place: Place,
        function: TaskFunction,
    },
    /// Nothing will ever come back: end every fio that runs as hung.
    GiveUp,
    /// Do what neither QEMU nor Linux does by itself.
    Script(Script),
}

/// A step of a script: a tool, another operating system, or an attacker in the guest.
#[derive(Clone, Debug)]
pub enum Script {
    /// A SCSI command, as `sg_raw` sends it.
    Command {
        hba: HbaId,
        lun: [u8; 8],
        cdb: Vec<u8>,
        data_in: u32,
    },
    /// A task management request, as `sg_reset` makes Linux send it.
    Manage {
        hba: HbaId,
        lun: [u8; 8],
        subtype: u32,
    },
    /// A chain of descriptors on the first request queue; `endless`: the last one points to itself.
    Chain {
        hba: HbaId,
        lun: [u8; 8],
        parts: Vec<Part>,
        endless: bool,
    },
    /// A vhost-user message out of turn.
    Message { hba: HbaId, message: VhostUser },
    /// Posts event buffers, whatever was negotiated.
    PostEvents { hba: HbaId },
    /// Says that calls are wanted, or not.
    Calls {
        hba: HbaId,
        vring: VringIndex,
        wanted: bool,
    },
}

/// A descriptor of a scripted chain.
#[derive(Clone, Copy, Debug)]
pub struct Part {
    pub what: PartOf,
    pub len: u32,
    pub write: bool,
}

/// What a descriptor of a scripted chain points to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PartOf {
    /// The request header.
    Header,
    /// The response.
    Response,
    /// Some memory.
    Data,
    /// An address that is in no region.
    Nowhere,
}

/// From a guest.
#[derive(Clone, Debug)]
pub enum FromGuest {
    /// A device connects to its controller's socket.
    Connect { hba: HbaId },
    /// A device's connection closed (power-off, kill).
    Disconnect { hba: HbaId },
    /// A vhost-user request of a device.
    VhostUser {
        hba: HbaId,
        message: VhostUser,
        need_reply: bool,
    },
    /// A device published new available entries.
    Doorbell { hba: HbaId, vring: VringIndex },
}
