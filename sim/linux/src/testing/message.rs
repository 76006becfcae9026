//! vhost-user messages in words, as a target's log has them.

use wire::message::{VhostUser, VhostUserReply};

/// A message as recordings have it, but for an answer.
pub fn message_words(message: &VhostUser) -> String {
    match message {
        VhostUser::GetFeatures => "GET_FEATURES".into(),
        VhostUser::SetFeatures(bits) => format!("SET_FEATURES {bits:#x}"),
        VhostUser::GetProtocolFeatures => "GET_PROTOCOL_FEATURES".into(),
        VhostUser::SetProtocolFeatures(bits) => format!("SET_PROTOCOL_FEATURES {bits:#x}"),
        VhostUser::GetQueueNum => "GET_QUEUE_NUM".into(),
        VhostUser::SetOwner => "SET_OWNER".into(),
        VhostUser::SetMemTable(_) => "SET_MEM_TABLE".into(),
        VhostUser::SetVringNum { vring, size } => format!("SET_VRING_NUM {} {size}", vring.0),
        VhostUser::SetVringBase { vring, base } => format!("SET_VRING_BASE {} {base}", vring.0),
        VhostUser::SetVringAddr {
            vring,
            desc,
            avail,
            used,
        } => {
            let n = vring.0;
            format!("SET_VRING_ADDR {n} desc {desc:#x} avail {avail:#x} used {used:#x}")
        }
        VhostUser::SetVringKick { vring } => format!("SET_VRING_KICK {} fd true", vring.0),
        VhostUser::SetVringCall { vring } => format!("SET_VRING_CALL {} fd true", vring.0),
        VhostUser::SetVringErr { vring } => format!("SET_VRING_ERR {} fd true", vring.0),
        VhostUser::SetVringEnable { vring, on } => format!("SET_VRING_ENABLE {} {on}", vring.0),
        VhostUser::GetVringBase { vring } => format!("GET_VRING_BASE {}", vring.0),
        VhostUser::GetInflightFd { queues, size } => {
            format!("GET_INFLIGHT_FD queues {queues} size {size}")
        }
        VhostUser::SetInflightFd { queues, size, .. } => {
            format!("SET_INFLIGHT_FD queues {queues} size {size}")
        }
        VhostUser::SetStatus(_) => "SET_STATUS".into(),
        VhostUser::GetStatus => "GET_STATUS".into(),
    }
}

/// A message with what it was answered; `held` commands were not answered by then.
pub fn answered(words: String, reply: Option<&VhostUserReply>, held: usize) -> String {
    match reply {
        Some(VhostUserReply::Features(bits) | VhostUserReply::ProtocolFeatures(bits)) => {
            format!("{words} -> {bits:#x}")
        }
        Some(VhostUserReply::VringBase { base, .. }) => format!("{words} -> {base} (held {held})"),
        Some(
            VhostUserReply::QueueNum(_)
            | VhostUserReply::Inflight { .. }
            | VhostUserReply::Status(_)
            | VhostUserReply::Ack { .. },
        )
        | None => words,
    }
}
