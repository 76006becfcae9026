//! What a guest's turns are.

use fio_model::Request;

use wire::component::TurnInfo;

/// A turn that a guest took; fields: device, then what it is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GuestTurn {
    /// QEMU sent vhost-user messages or went on after an answer: device, messages sent.
    Qemu(u8, u32),
    /// A CPU handled a call: CPU, commands that came back.
    Irq(u8, u32),
    /// A CPU popped event buffers: device, how many.
    Events(u8, u32),
    /// A kernel flow took a step: device, flow, its step.
    Flow(u8, u8, FlowStep),
    /// A fio thread ran: thread, requests handed to the block layer, completions taken, and a hash of what
    /// the requests were (op, offset, length; in order).
    Fio(u8, u32, u32, u64),
    /// A CPU popped the answers to task management requests (TMFs): device, how many.
    Managed(u8, u32),
    /// There was nothing to do after all.
    Idle,
}

/// A step of a kernel flow, with the target that it is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlowStep {
    /// A command of a scan or probe was sent or answered.
    Command(u8),
    /// An event handler looked its target up.
    LookUp(u8),
    /// The scan mutex was taken.
    Locked(u8),
    /// A scan of one target ended.
    Scanned(u8),
    /// A disk became usable.
    Appeared(u8),
    /// A removal began: CANCEL.
    Cancelled(u8),
    /// The capacity is 0.
    Dead(u8),
    /// The removal drained or synchronised, and ended: DEL.
    Deleted(u8),
    /// The handler posted its buffer again.
    Posted(u8),
    /// It waits.
    Waits(u8),
}

impl FlowStep {
    fn number(self) -> (u64, u8) {
        match self {
            Self::Command(target) => (0, target),
            Self::LookUp(target) => (1, target),
            Self::Locked(target) => (2, target),
            Self::Scanned(target) => (3, target),
            Self::Appeared(target) => (4, target),
            Self::Cancelled(target) => (5, target),
            Self::Dead(target) => (6, target),
            Self::Deleted(target) => (7, target),
            Self::Posted(target) => (8, target),
            Self::Waits(target) => (9, target),
        }
    }
}

/// An odd number whose multiples spread over all bits: 2⁶⁴ divided by the golden ratio.
const SPREAD: u64 = 0x9E37_79B9_7F4A_7C15;

/// Folds a request's op, offset and length into a turn's hash of its requests, which begins as 0.
#[inline]
pub(super) fn fold_request(hash: u64, request: &Request) -> u64 {
    let what = u64::from(request.len) << 1 | request.op as u64;
    let hash = (hash ^ request.offset).wrapping_mul(SPREAD).rotate_left(29);
    (hash ^ what).wrapping_mul(SPREAD).rotate_left(29)
}

impl TurnInfo for GuestTurn {
    fn words(&self) -> [u64; 3] {
        match *self {
            Self::Qemu(hba, sent) => [1, hba.into(), sent.into()],
            Self::Irq(cpu, done) => [2, cpu.into(), done.into()],
            Self::Events(hba, popped) => [3 << 8 | u64::from(hba), popped.into(), 0],
            Self::Flow(hba, flow, step) => {
                let (number, target) = step.number();
                let identity = 4 << 24 | u64::from(hba) << 16 | number << 8 | u64::from(target);
                [identity, flow.into(), 0]
            }
            Self::Fio(thread, submitted, reaped, requests) => {
                let counts = u64::from(submitted) << 32 | u64::from(reaped);
                [5 | u64::from(thread) << 8, counts, requests]
            }
            Self::Idle => [6, 0, 0],
            Self::Managed(hba, popped) => [7 << 8 | u64::from(hba), popped.into(), 0],
        }
    }

    fn kind(&self) -> &'static str {
        match self {
            Self::Qemu(..) => "QEMU",
            Self::Irq(..) => "interrupt",
            Self::Events(..) => "event",
            Self::Flow(..) => "kernel flow",
            Self::Fio(..) => "fio",
            Self::Managed(..) => "TMF answer",
            Self::Idle => "nothing",
        }
    }

    fn is_hotplug(&self) -> bool {
        match self {
            Self::Events(..) | Self::Managed(..) => true,
            Self::Flow(_, _, step) => !matches!(step, FlowStep::Command(_) | FlowStep::Waits(_)),
            Self::Qemu(..) | Self::Irq(..) | Self::Fio(..) | Self::Idle => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use fio_model::{Op, UnitId};

    use super::*;

    #[test]
    fn op_offset_length_and_order_count() {
        let request = |op, offset, len| Request {
            unit: UnitId(0),
            op,
            offset,
            len,
            buffer_offset: 0,
            verify: false,
        };
        let hash = |requests: &[Request]| requests.iter().fold(0, fold_request);
        let (one, other) = (request(Op::Read, 0, 4096), request(Op::Read, 4096, 4096));
        let all = [
            hash(&[]),
            hash(&[one]),
            hash(&[other]),
            hash(&[request(Op::Write, 0, 4096)]),
            hash(&[request(Op::Read, 0, 8192)]),
            hash(&[one, other]),
            hash(&[other, one]),
        ];
        for (n, hash) in all.iter().enumerate() {
            assert!(!all[..n].contains(hash), "{n}");
        }
    }
}
