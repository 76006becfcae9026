//! What each vhost-user message does, as DPDK's message thread handles it.
//!
//! Source: `vhost_message_handlers` (lib/vhost/vhost_user.c of DPDK).

use super::{
    Ack, DpdkThread, FEATURES, Handled, PROTOCOL_FEATURES, QUEUE_NUM, Then, inflight, kick, stop,
};
use crate::turn::TargetTurn;
use wire::message::{ConnId, VhostUser, VhostUserReply};

/// How a message is responded to.
enum Response {
    Reply(VhostUserReply),
    Ack(Handled),
    /// The handler goes on in later turns, and responds then.
    Later(TargetTurn),
}

/// The name of a message, and the ring that it is about.
fn name(message: &VhostUser) -> (&'static str, u16) {
    match message {
        VhostUser::GetFeatures => ("GET_FEATURES", 0),
        VhostUser::GetProtocolFeatures => ("GET_PROTOCOL_FEATURES", 0),
        VhostUser::GetQueueNum => ("GET_QUEUE_NUM", 0),
        VhostUser::GetStatus => ("GET_STATUS", 0),
        VhostUser::GetInflightFd { .. } => ("GET_INFLIGHT_FD", 0),
        VhostUser::GetVringBase { vring } => ("GET_VRING_BASE", vring.0),
        VhostUser::SetMemTable(_) => ("SET_MEM_TABLE", 0),
        VhostUser::SetVringKick { vring } => ("SET_VRING_KICK", vring.0),
        VhostUser::SetFeatures(_) => ("SET_FEATURES", 0),
        VhostUser::SetProtocolFeatures(_) => ("SET_PROTOCOL_FEATURES", 0),
        VhostUser::SetOwner => ("SET_OWNER", 0),
        VhostUser::SetStatus(_) => ("SET_STATUS", 0),
        VhostUser::SetVringNum { vring, .. } => ("SET_VRING_NUM", vring.0),
        VhostUser::SetVringBase { vring, .. } => ("SET_VRING_BASE", vring.0),
        VhostUser::SetVringAddr { vring, .. } => ("SET_VRING_ADDR", vring.0),
        VhostUser::SetVringCall { vring } => ("SET_VRING_CALL", vring.0),
        VhostUser::SetVringErr { vring } => ("SET_VRING_ERR", vring.0),
        VhostUser::SetVringEnable { vring, .. } => ("SET_VRING_ENABLE", vring.0),
        VhostUser::SetInflightFd { .. } => ("SET_INFLIGHT_FD", 0),
    }
}

/// Handles a message; `None` if its connection is gone.
pub(super) fn handle(
    dpdk: &mut DpdkThread<'_>,
    conn: ConnId,
    message: VhostUser,
    ack: Ack,
) -> Option<TargetTurn> {
    let (request, ring) = name(&message);
    match respond(dpdk, conn, message, ack)? {
        Response::Reply(reply) => dpdk.answer(conn, reply),
        Response::Ack(handled) => dpdk.ack(conn, ack, handled),
        Response::Later(turn) => return Some(turn),
    }
    Some(dpdk.own.turn_of(conn, request, ring))
}

fn respond(
    dpdk: &mut DpdkThread<'_>,
    conn: ConnId,
    message: VhostUser,
    ack: Ack,
) -> Option<Response> {
    use Response::{Ack as Acked, Later, Reply};
    use VhostUserReply as R;
    let session = dpdk.session_of(conn);
    let device = dpdk.own.device(conn)?;
    let response = match message {
        VhostUser::GetVringBase { vring } => {
            Later(stop::get_vring_base(dpdk, conn, vring, session))
        }
        VhostUser::SetMemTable(memory) => {
            let then = Then::Memory(conn, memory, ack);
            Later(stop::set_mem_table(dpdk, then, session))
        }
        VhostUser::SetVringKick { vring } => Later(kick::kick(dpdk, conn, vring, ack, session)),
        VhostUser::GetFeatures => Reply(R::Features(FEATURES)),
        VhostUser::GetProtocolFeatures => Reply(R::ProtocolFeatures(PROTOCOL_FEATURES)),
        VhostUser::GetQueueNum => Reply(R::QueueNum(QUEUE_NUM)),
        VhostUser::GetStatus => Reply(R::Status(device.status)),
        VhostUser::GetInflightFd { queues, size } => match inflight::buffer(queues, size) {
            Some(buffer) => Reply(R::Inflight { buffer }),
            None => Acked(Handled::Badly),
        },
        VhostUser::SetFeatures(features) => {
            let handled = Handled::well(device.set_features(features));
            if let (Handled::Well, Some(at)) = (handled, session) {
                dpdk.session(at).features = features;
            }
            Acked(handled)
        }
        VhostUser::SetProtocolFeatures(bits) => {
            Acked(Handled::well(bits & !PROTOCOL_FEATURES == 0))
        }
        VhostUser::SetOwner => Acked(Handled::Well),
        VhostUser::SetStatus(status) => {
            device.status = status;
            Acked(Handled::Well)
        }
        VhostUser::SetVringNum { vring, size } => {
            Acked(Handled::well(device.set_ring_size(vring, size)))
        }
        VhostUser::SetVringBase { vring, base } => {
            Acked(Handled::well(device.set_ring_base(vring, base)))
        }
        VhostUser::SetVringAddr {
            vring,
            desc,
            avail,
            used,
        } => Acked(Handled::well(
            device.set_ring_addresses(vring, [desc, avail, used]),
        )),
        VhostUser::SetVringCall { vring } => {
            let handled = Handled::well(device.ring(vring).is_some());
            if let (Handled::Well, Some(at)) = (handled, session) {
                kick::spurious_call(dpdk, at, vring);
            }
            Acked(handled)
        }
        // A disabled ring does not stop SPDK's polling.
        VhostUser::SetVringErr { vring } | VhostUser::SetVringEnable { vring, on: _ } => {
            Acked(Handled::well(device.ring(vring).is_some()))
        }
        VhostUser::SetInflightFd {
            queues,
            size,
            buffer,
        } => {
            let set = dpdk.shared.inflight.set(conn, queues, size, buffer);
            Acked(Handled::well(set))
        }
    };
    Some(response)
}
