//! What messages, features and events are called in transcripts, and how an event is reported.
//!
//! Names and bits only.

use serde_json::{Value, json};

use super::memory::{Buffer, FrontEndMemory};
use wire::message::VhostUser;
use wire::scsi::{EVENT_SIZE, event, feature};

/// What event buffers are filled with.
pub const EVENT_PREFILL: u8 = 0xee;

/// What is seen of an event buffer that came back.
#[must_use]
pub fn see_event(name: &str, memory: &FrontEndMemory, buffer: Buffer, used_len: u32) -> Value {
    let bytes = memory.read(buffer).unwrap_or_default();
    let untouched = bytes.iter().all(|byte| *byte == EVENT_PREFILL);
    let Some(event) = bytes
        .first_chunk::<{ EVENT_SIZE as usize }>()
        .filter(|_| !untouched)
    else {
        return json!({"event": {"frontend": name, "untouched": true, "used_len": used_len}});
    };
    let word =
        |at: usize| u32::from_le_bytes([event[at], event[at + 1], event[at + 2], event[at + 3]]);
    let (what, reason) = (word(0), word(12));
    json!({"event": {
        "frontend": name,
        "event": event_name(what),
        "lun": hex::encode(&event[4..12]),
        "reason": reason_name(what, reason),
        "used_len": used_len,
    }})
}

/// The name of an event (virtio 1.x §5.6.6.3), or the number.
fn event_name(what: u32) -> String {
    let name = match what & !event::EVENTS_MISSED {
        event::TRANSPORT_RESET => "TRANSPORT_RESET".to_owned(),
        event::PARAM_CHANGE => "PARAM_CHANGE".to_owned(),
        other => format!("{other:#x}"),
    };
    if what & event::EVENTS_MISSED == 0 {
        name
    } else {
        format!("{name}|EVENTS_MISSED")
    }
}

/// The name of a transport reset's reason, or the number.
fn reason_name(what: u32, reason: u32) -> String {
    match (what & !event::EVENTS_MISSED, reason) {
        (event::TRANSPORT_RESET, event::RESET_HARD) => "HARD".to_owned(),
        (event::TRANSPORT_RESET, event::RESET_RESCAN) => "RESCAN".to_owned(),
        (event::TRANSPORT_RESET, event::RESET_REMOVED) => "REMOVED".to_owned(),
        _ => format!("{reason:#x}"),
    }
}

/// The bits of named features; PROTOCOL_FEATURES is always accepted with them.
///
/// # Errors
///
/// There is no such feature.
pub fn feature_bits(names: &[String]) -> Result<u64, String> {
    names
        .iter()
        .try_fold(feature::PROTOCOL_FEATURES, |bits, name| {
            let bit = match name.as_str() {
                "INOUT" => feature::INOUT,
                "HOTPLUG" => feature::HOTPLUG,
                "CHANGE" => feature::CHANGE,
                "LOG_ALL" => feature::LOG_ALL,
                "ANY_LAYOUT" => feature::ANY_LAYOUT,
                "INDIRECT_DESC" => feature::INDIRECT_DESC,
                "PROTOCOL_FEATURES" => feature::PROTOCOL_FEATURES,
                "VERSION_1" => feature::VERSION_1,
                _ => return Err(format!("no such feature: {name}")),
            };
            Ok(bits | bit)
        })
}

/// The name of a message, as vhost-user has it.
#[must_use]
pub fn message_name(message: &VhostUser) -> &'static str {
    match message {
        VhostUser::GetFeatures => "GET_FEATURES",
        VhostUser::SetFeatures(_) => "SET_FEATURES",
        VhostUser::GetProtocolFeatures => "GET_PROTOCOL_FEATURES",
        VhostUser::SetProtocolFeatures(_) => "SET_PROTOCOL_FEATURES",
        VhostUser::GetQueueNum => "GET_QUEUE_NUM",
        VhostUser::SetOwner => "SET_OWNER",
        VhostUser::SetMemTable(_) => "SET_MEM_TABLE",
        VhostUser::SetVringNum { .. } => "SET_VRING_NUM",
        VhostUser::SetVringBase { .. } => "SET_VRING_BASE",
        VhostUser::SetVringAddr { .. } => "SET_VRING_ADDR",
        VhostUser::SetVringKick { .. } => "SET_VRING_KICK",
        VhostUser::SetVringCall { .. } => "SET_VRING_CALL",
        VhostUser::SetVringErr { .. } => "SET_VRING_ERR",
        VhostUser::SetVringEnable { .. } => "SET_VRING_ENABLE",
        VhostUser::GetVringBase { .. } => "GET_VRING_BASE",
        VhostUser::GetInflightFd { .. } => "GET_INFLIGHT_FD",
        VhostUser::SetInflightFd { .. } => "SET_INFLIGHT_FD",
        VhostUser::SetStatus(_) => "SET_STATUS",
        VhostUser::GetStatus => "GET_STATUS",
    }
}
