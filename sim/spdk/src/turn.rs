//! What a turn of the target was, for the trace.
//!
//! Describes; decides nothing. One variant for each kind of step that another thread can precede.

use wire::component::TurnInfo;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TargetTurn {
    /// The RPC poller ran on the app thread.
    Rpc {
        /// Requests read and begun.
        requests: u16,
        /// Those that attach, detach, or remove a bdev or a controller.
        hotplug: u16,
        /// Folds in the methods and places of those, in their order.
        what: u64,
    },
    /// A hop of a foreach-session operation.
    Foreach {
        op: ForeachOp,
        /// On the controller's thread; false: its completion on the app thread.
        visit: bool,
        /// The controller, by creation order.
        controller: u8,
        slot: u8,
    },
    /// The DPDK thread took a vhost-user message, or went on with one.
    VhostUser {
        request: &'static str,
        /// The controller, by creation order; 0 if there is none.
        controller: u8,
        /// The ring it is about, if any.
        vring: u16,
    },
    /// A session tried to start.
    Start {
        controller: u8,
        session: u32,
        started: bool,
    },
    /// A session was told to stop: its pollers are gone.
    StopBegan { controller: u8, session: u32 },
    /// The stop poller ended, one way or the other.
    StopEnded {
        controller: u8,
        session: u32,
        /// Not by a time-out.
        clean: bool,
    },
    /// Request queues were polled.
    Poll { controller: u8, requests: u16 },
    /// The management poller of a session: control queue, event calls, drain.
    Manage {
        controller: u8,
        session: u32,
        control: u16,
        /// Slots let go, as a bit set.
        drained: u8,
    },
    /// A step of a LUN's hot-remove or reset.
    Lun { device: u32, step: LunStep },
    /// A bdev told one of its users that it goes, or was closed by it.
    BdevEvent {
        /// Index of the bdev.
        bdev: u16,
    },
    /// The bdevs finished I/O, and its tasks ended.
    BdevDone { ios: u16 },
    /// A controller without targets was unregistered, or not yet.
    Unregister { controller: u8, gone: bool },
    /// A waiting RPC tried again.
    Retry { calls: u16 },
    /// A thread woke and found nothing to do.
    Idle,
}

/// What a foreach-session operation does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ForeachOp {
    /// Tell of a new target.
    Attach,
    /// Tell of a removal.
    Remove,
    /// Ask whether every session has let go.
    ProcessRemoved,
    /// Tell of a new capacity.
    Resize,
}

/// A step in the life of a LUN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LunStep {
    /// The hot-remove arrived on the thread of the io channel.
    RemoveBegan,
    /// Its tasks have ended, the controller was told.
    RemoveTold,
    Closed,
    /// A reset has nothing more to wait for.
    ResetDone,
}

impl TurnInfo for TargetTurn {
    fn words(&self) -> [u64; 3] {
        // The identity: what kind of turn, what of it, and where; then what it carries.
        let (kind, what, place, carries) = match *self {
            Self::Rpc {
                requests,
                hotplug,
                what,
            } => (1, what >> 40, 0, [requests.into(), hotplug.into()]),
            Self::Foreach {
                op,
                visit,
                controller,
                slot,
            } => {
                let what = (op as u64) << 1 | u64::from(visit);
                (
                    2,
                    what,
                    u64::from(controller) << 8 | u64::from(slot),
                    [0; 2],
                )
            }
            Self::VhostUser {
                request,
                controller,
                vring,
            } => (3, fold(request) >> 40, controller.into(), [vring.into(), 0]),
            Self::Start {
                controller,
                session,
                started,
            } => (4, started.into(), controller.into(), [session.into(), 0]),
            Self::StopBegan {
                controller,
                session,
            } => (5, 0, controller.into(), [session.into(), 0]),
            Self::StopEnded {
                controller,
                session,
                clean,
            } => (6, clean.into(), controller.into(), [session.into(), 0]),
            Self::Poll {
                controller,
                requests,
            } => (7, 0, controller.into(), [requests.into(), 0]),
            Self::Manage {
                controller,
                session,
                control,
                drained,
            } => (
                8,
                drained.into(),
                controller.into(),
                [session.into(), control.into()],
            ),
            Self::Lun { device, step } => (9, step as u64, device.into(), [0; 2]),
            Self::BdevEvent { bdev } => (10, 0, bdev.into(), [0; 2]),
            Self::BdevDone { ios } => (11, 0, 0, [ios.into(), 0]),
            Self::Unregister { controller, gone } => (12, gone.into(), controller.into(), [0; 2]),
            Self::Retry { calls } => (13, 0, 0, [calls.into(), 0]),
            Self::Idle => (14, 0, 0, [0; 2]),
        };
        [kind << 56 | what << 32 | place, carries[0], carries[1]]
    }

    fn kind(&self) -> &'static str {
        match self {
            Self::Rpc { .. } => "RPC",
            Self::Foreach { op, .. } => match op {
                ForeachOp::Attach => "attach visit",
                ForeachOp::Remove => "remove visit",
                ForeachOp::ProcessRemoved => "removal visit",
                ForeachOp::Resize => "resize visit",
            },
            Self::VhostUser { request, .. } => request,
            Self::Start { .. } => "session start",
            Self::StopBegan { .. } => "session stop",
            Self::StopEnded { .. } => "session stopped",
            Self::Poll { .. } => "request poll",
            Self::Manage { .. } => "management poll",
            Self::Lun { step, .. } => match step {
                LunStep::RemoveBegan | LunStep::RemoveTold => "LUN removal",
                LunStep::Closed => "LUN close",
                LunStep::ResetDone => "LUN reset",
            },
            Self::BdevEvent { .. } => "bdev event",
            Self::BdevDone { .. } => "bdev I/O",
            Self::Unregister { .. } => "unregister",
            Self::Retry { .. } => "RPC again",
            Self::Idle => "nothing",
        }
    }

    fn is_hotplug(&self) -> bool {
        match *self {
            Self::Rpc { hotplug, .. } => hotplug > 0,
            Self::Foreach { .. }
            | Self::Start { .. }
            | Self::StopBegan { .. }
            | Self::StopEnded { .. }
            | Self::Lun { .. }
            | Self::BdevEvent { .. }
            | Self::Unregister { .. } => true,
            Self::Manage { drained, .. } => drained != 0,
            Self::VhostUser { .. }
            | Self::Poll { .. }
            | Self::BdevDone { .. }
            | Self::Retry { .. }
            | Self::Idle => false,
        }
    }
}

/// FNV-1a of a word.
pub(super) fn fold(word: &str) -> u64 {
    word.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
    })
}
