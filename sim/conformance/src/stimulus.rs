//! The stimuli of a transcript: what a recorder did to the target.
//!
//! Data only. The player knows how each is done.

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::posted::{Chain, PostEvents, Scsi, Tmf};

/// How long the recorder waited after a stimulus, unless it said otherwise: milliseconds.
const PATIENCE_MS: u64 = 250;
/// The silence that ended a step, unless it said otherwise: milliseconds.
const QUIET_MS: u64 = 30;
/// The longest wait that a transcript may ask for, four times the longest recorded: milliseconds.
const WAIT_MAX_MS: u64 = 60_000;
/// The most commands that a stimulus may send.
const COUNT_MAX: u32 = 65_536;

/// How long the recorder waited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// The next stimulus followed at once.
    pub nowait: bool,
    /// For the stimulus' own answer.
    pub patience_ms: u64,
    /// For silence after that.
    pub quiet_ms: u64,
}

impl Timing {
    /// Takes the members that are about time out of a stimulus.
    pub(super) fn take(body: &mut Map<String, Value>) -> Result<Self, String> {
        let mut number = |name: &str, default: u64| match body.shift_remove(name) {
            None => Ok(default),
            Some(value) => value
                .as_u64()
                .filter(|ms| *ms <= WAIT_MAX_MS)
                .ok_or_else(|| {
                    format!("`{name}` must be a number of milliseconds from 0 to {WAIT_MAX_MS}")
                }),
        };
        let patience_ms = number("patience_ms", PATIENCE_MS)?;
        let quiet_ms = number("quiet_ms", QUIET_MS)?;
        let nowait = match body.shift_remove("nowait") {
            None => false,
            Some(Value::Bool(nowait)) => nowait,
            Some(_) => return Err("`nowait` must be true or false".into()),
        };
        Ok(Self {
            nowait,
            patience_ms,
            quiet_ms,
        })
    }
}

/// A stimulus.
#[derive(Clone, Debug)]
pub enum Stimulus {
    /// A JSON-RPC request.
    Rpc(Rpc),
    /// Bytes on an RPC connection.
    RpcRaw(RpcRaw),
    /// An RPC connection is closed.
    RpcClose(RpcClose),
    /// A JSON-RPC request again and again until it succeeds.
    RpcUntil(RpcUntil),
    /// A front-end connects.
    Connect(FrontEndOnly),
    /// A front-end's connection is closed.
    Disconnect(FrontEndOnly),
    /// A front-end starts its device.
    Start(Start),
    /// GET_VRING_BASE for each queue.
    Stop(Stop),
    /// SCSI commands: one, several at once, one after the other, or at intervals.
    Scsi(ScsiPace, Scsi),
    /// A control queue request.
    Tmf(Tmf),
    /// A descriptor chain, as it stands.
    Chain(Chain),
    /// Event buffers are given to the target.
    PostEvents(PostEvents),
    /// SET_VRING_KICK again.
    Kick(Kick),
    /// SET_VRING_CALL again.
    SetCall(QueueOnly),
    /// SET_VRING_ENABLE.
    VringEnable(QueueSwitch),
    /// SET_MEM_TABLE again.
    SetMemTable(SetMemTable),
    /// SET_FEATURES again.
    SetFeatures(SetFeatures),
    /// The driver's flag against calls.
    NoInterrupt(QueueSwitch),
    /// Reads the target's flag against kicks.
    UsedFlags(QueueOnly),
    /// From now on calls are reported, or no longer.
    WatchCalls(Switch),
    /// Stops a thread of the target.
    Freeze(Thread),
    /// Lets it run again.
    Thaw(Thread),
    /// The target is killed, and started anew with the same set-up.
    PeerRestart,
    /// Nothing: only collects.
    Settle(Settle),
}

/// How often and how fast SCSI commands are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScsiPace {
    /// One.
    Once,
    /// All in one publish.
    Burst,
    /// The next when the last has been answered; reported as a summary.
    Series,
    /// At intervals.
    Steady,
}

/// A JSON-RPC request.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rpc {
    /// Its id.
    pub id: Value,
    /// Its method.
    pub method: String,
    /// Its parameters; none are sent if absent.
    #[serde(default)]
    pub params: Option<Value>,
    /// The connection; 0 if absent.
    #[serde(default)]
    pub conn: u64,
}

/// Bytes on an RPC connection.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RpcRaw {
    /// The bytes.
    pub text: String,
    /// The id of the answer to wait for.
    #[serde(default)]
    pub id: Option<Value>,
    /// The connection; 0 if absent.
    #[serde(default)]
    pub conn: u64,
}

/// An RPC connection is closed.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RpcClose {
    /// The connection; 0 if absent.
    #[serde(default)]
    pub conn: u64,
}

/// A JSON-RPC request again and again until it succeeds.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RpcUntil {
    /// Its id.
    #[serde(default)]
    pub id: Option<Value>,
    /// Its method.
    pub method: String,
    /// Its parameters.
    #[serde(default)]
    pub params: Option<Value>,
    /// The pause after an error.
    pub every_us: u64,
    /// The connection; 0 if absent.
    #[serde(default)]
    pub conn: u64,
}

/// A stimulus that names a front-end only.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FrontEndOnly {
    /// The front-end.
    pub frontend: String,
}

/// A stimulus that names a queue only.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QueueOnly {
    /// The front-end.
    pub frontend: String,
    /// The queue.
    pub queue: u16,
}

/// Something of a queue that is on or off.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QueueSwitch {
    /// The front-end.
    pub frontend: String,
    /// The queue.
    pub queue: u16,
    /// On or off.
    #[serde(alias = "enable", alias = "enabled")]
    pub on: Flag,
}

/// Something that is on or off.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Switch {
    /// On or off.
    pub on: Flag,
}

/// A truth value, also as the number that vhost-user carries.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(untagged)]
pub enum Flag {
    /// As JSON has it.
    Bool(bool),
    /// 0 or 1.
    Number(u8),
}

impl Flag {
    /// Whether it is on.
    #[must_use]
    pub fn is_on(self) -> bool {
        match self {
            Self::Bool(on) => on,
            Self::Number(number) => number != 0,
        }
    }
}

/// A front-end starts its device.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Start {
    /// The front-end.
    pub frontend: String,
    /// Only these queues.
    #[serde(default)]
    pub queues: Option<Vec<u16>>,
    /// Memory regions in the table; with 0 there is no SET_MEM_TABLE at all.
    #[serde(default)]
    pub regions: Option<usize>,
    /// The rings stay as they are; otherwise they begin afresh.
    #[serde(default)]
    pub keep: bool,
    /// `used`: the bases are the used indices; otherwise what GET_VRING_BASE said.
    #[serde(default)]
    pub base: Option<String>,
}

/// GET_VRING_BASE for each queue.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stop {
    /// The front-end.
    pub frontend: String,
    /// Only these queues.
    #[serde(default)]
    pub queues: Option<Vec<u16>>,
}

/// SET_VRING_KICK again.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kick {
    /// The front-end.
    pub frontend: String,
    /// The queue.
    pub queue: u16,
    /// With size, base and addresses before it.
    #[serde(default)]
    pub full: bool,
}

/// SET_MEM_TABLE again.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SetMemTable {
    /// The front-end.
    pub frontend: String,
    /// Regions in it; both if absent.
    #[serde(default)]
    pub regions: Option<usize>,
}

/// SET_FEATURES again.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SetFeatures {
    /// The front-end.
    pub frontend: String,
    /// Feature bits, by name.
    pub features: Vec<String>,
}

/// A thread of the target.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Thread {
    /// Its name, as SPDK has it: `reactor_1`.
    pub thread: String,
}

/// Only collects.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settle {
    /// For so long.
    pub ms: u64,
}

impl Stimulus {
    /// Whether carrying it out takes time of its own, or a new process, or stops a thread.
    pub(super) const fn takes_time(&self) -> bool {
        matches!(
            self,
            Self::Settle(_)
                | Self::RpcUntil(_)
                | Self::Scsi(ScsiPace::Series | ScsiPace::Steady, _)
                | Self::Freeze(_)
                | Self::Thaw(_)
                | Self::PeerRestart
        )
    }

    /// Reads a stimulus.
    pub(super) fn read(kind: &str, body: Map<String, Value>) -> Result<Self, String> {
        let scsi = |pace: ScsiPace, body| -> Result<Self, String> {
            let scsi: Scsi = from_object(kind, body)?;
            if scsi.count.is_some() == (pace == ScsiPace::Once) {
                return Err(format!(
                    "`{kind}`: only a burst, series or steady has a count"
                ));
            }
            if scsi.every_ms.is_some() != (pace == ScsiPace::Steady) {
                return Err(format!("`{kind}`: only a steady has an interval"));
            }
            let count = scsi.count.unwrap_or(1);
            at_most(kind, "count", count.into(), COUNT_MAX.into())?;
            at_most(kind, "tag", scsi.tag, u64::MAX - u64::from(count))?;
            let every_ms = scsi.every_ms.unwrap_or(0);
            at_most(
                kind,
                "every_ms",
                every_ms,
                WAIT_MAX_MS / u64::from(count.max(1)),
            )?;
            Ok(Self::Scsi(pace, scsi))
        };
        Ok(match kind {
            "rpc" => Self::Rpc(from_object(kind, body)?),
            "rpc_raw" => Self::RpcRaw(from_object(kind, body)?),
            "rpc_close" => Self::RpcClose(from_object(kind, body)?),
            "rpc_until" => {
                let until: RpcUntil = from_object(kind, body)?;
                at_most(kind, "every_us", until.every_us, WAIT_MAX_MS * 1000)?;
                Self::RpcUntil(until)
            }
            "connect" => Self::Connect(from_object(kind, body)?),
            "disconnect" => Self::Disconnect(from_object(kind, body)?),
            "start" => Self::Start(from_object(kind, body)?),
            "stop" => Self::Stop(from_object(kind, body)?),
            "scsi" => scsi(ScsiPace::Once, body)?,
            "burst" => scsi(ScsiPace::Burst, body)?,
            "series" => scsi(ScsiPace::Series, body)?,
            "steady" => scsi(ScsiPace::Steady, body)?,
            "tmf" => Self::Tmf(from_object(kind, body)?),
            "chain" => Self::Chain(from_object(kind, body)?),
            "post_events" => Self::PostEvents(from_object(kind, body)?),
            "kick" => Self::Kick(from_object(kind, body)?),
            "set_call" => Self::SetCall(from_object(kind, body)?),
            "vring_enable" => Self::VringEnable(from_object(kind, body)?),
            "set_mem_table" => Self::SetMemTable(from_object(kind, body)?),
            "set_features" => Self::SetFeatures(from_object(kind, body)?),
            "no_interrupt" => Self::NoInterrupt(from_object(kind, body)?),
            "used_flags" => Self::UsedFlags(from_object(kind, body)?),
            "watch_calls" => Self::WatchCalls(from_object(kind, body)?),
            "freeze" => Self::Freeze(from_object(kind, body)?),
            "thaw" => Self::Thaw(from_object(kind, body)?),
            "peer_restart" if body.is_empty() => Self::PeerRestart,
            "settle" => {
                let settle: Settle = from_object(kind, body)?;
                at_most(kind, "ms", settle.ms, WAIT_MAX_MS)?;
                Self::Settle(settle)
            }
            _ => return Err(format!("no such stimulus: `{kind}`")),
        })
    }
}

/// A number that has no sense beyond a bound, and would keep the player for ever.
fn at_most(kind: &str, name: &str, number: u64, max: u64) -> Result<(), String> {
    if number <= max {
        return Ok(());
    }
    Err(format!(
        "`{kind}`: `{name}` is {number}, expected at most {max}"
    ))
}

/// Reads a struct out of a JSON object.
fn from_object<T: DeserializeOwned>(kind: &str, body: Map<String, Value>) -> Result<T, String> {
    serde_json::from_value(Value::Object(body)).map_err(|e| format!("`{kind}`: {e}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_never_end_is_refused() {
        let scsi = r#""frontend":"f0","queue":2,"lun":"01","cdb":"00""#;
        let huge = u64::MAX;
        let rows = [
            ("settle", format!(r#"{{"ms":{huge}}}"#), "`ms`"),
            ("settle", r#"{"ms":60001}"#.to_owned(), "at most 60000"),
            (
                "rpc_until",
                format!(r#"{{"method":"x","every_us":{huge}}}"#),
                "`every_us`",
            ),
            (
                "burst",
                format!(r#"{{{scsi},"tag":1,"count":4294967295}}"#),
                "`count`",
            ),
            ("scsi", format!(r#"{{{scsi},"tag":{huge}}}"#), "`tag`"),
            (
                "steady",
                format!(r#"{{{scsi},"tag":1,"count":9,"every_ms":6667}}"#),
                "`every_ms`",
            ),
        ];
        for (kind, body, words) in rows {
            let error = Stimulus::read(kind, serde_json::from_str(&body).unwrap()).unwrap_err();
            assert!(error.contains(words), "{kind} {body}: {error}");
        }
        let mut body = serde_json::from_str(r#"{"patience_ms":60001}"#).unwrap();
        assert!(Timing::take(&mut body).unwrap_err().contains("to 60000"));
    }

    #[test]
    fn timing_is_taken_out_of_the_stimulus() {
        let mut body = Map::new();
        body.insert("nowait".into(), true.into());
        body.insert("patience_ms".into(), 7.into());
        let timing = Timing::take(&mut body).unwrap();
        assert!(timing.nowait && body.is_empty());
        assert_eq!((timing.patience_ms, timing.quiet_ms), (7, QUIET_MS));
    }
}
