//! The event queue: one buffer an event, or the event is dropped.
//!
//! Source: `eventq_enqueue` (lib/vhost/vhost_scsi.c), fact sheet §3.4. Events are written at once,
//! on the controller's thread; the call follows at the management poller's next tick.

use scenarios::{EventKind, Inside, Observation};
use vm_memory::GuestAddress;

use super::chain::Walk;
use super::session::Session;
use super::thread::VdevThread;
use super::vring::FullRing;
use crate::handles::SlotId;
use wire::access::Access as _;
use wire::bugs::Bug;
use wire::message::{EVENTQ, LogLevel};
use wire::scsi::{EVENT_SIZE, event};

/// What became of an event.
enum Sent {
    /// It is in a buffer.
    Delivered,
    /// A buffer was taken, and was of no use.
    Spoiled(&'static str),
    /// No buffer is posted.
    NoBuffer,
    /// There is nothing to write to: guest memory is unmapped (N1).
    Unmapped,
    /// There is no event queue, and nobody looked (B22).
    NoQueue,
}

/// Sends an event to a session, or drops it.
pub fn send_event(vdev: &mut VdevThread<'_>, index: usize, slot: SlotId, kind: EventKind) {
    let bugs = vdev.shared.bugs;
    let (code, reason) = match kind {
        EventKind::Rescan => (event::TRANSPORT_RESET, event::RESET_RESCAN),
        EventKind::Removed => (event::TRANSPORT_RESET, event::RESET_REMOVED),
        // CAPACITY DATA HAS CHANGED, 2a/09.
        EventKind::CapacityChanged => (event::PARAM_CHANGE, 0x2a | 0x09 << 8),
        EventKind::Missed => (0, 0),
    };
    let session = &mut vdev.own.sessions[index];
    let missed = session.events_missed;
    let code = if missed {
        code | event::EVENTS_MISSED
    } else {
        code
    };
    let lun = if kind == EventKind::Missed {
        [0; 2]
    } else {
        [1, slot.0]
    };
    let sent = if bugs.has(Bug::EventqUnchecked) && !session.has_ring(EVENTQ.0) {
        Sent::NoQueue
    } else {
        write_event(session, FullRing::with(bugs), code, lun, reason)
    };
    let delivered = matches!(sent, Sent::Delivered);
    if delivered {
        session.events_missed = false;
    } else if !bugs.has(Bug::EventsMissedUnsaid) {
        session.events_missed = true;
    }
    session.manage(vdev.cx.now);
    let session = session.id.0;
    vdev.cx.see(Observation::Inside(Inside::Event {
        controller: vdev.own.id(),
        session,
        target: slot.target(),
        kind,
        delivered,
        missed: missed && delivered,
    }));
    let why = match sent {
        Sent::Delivered => return,
        Sent::NoBuffer => "failed to send virtio event (no avail ring entries?).".to_owned(),
        Sent::Spoiled(why) => format!("invalid eventq descriptor: {why}"),
        Sent::NoQueue => {
            let place = "eventq_enqueue: the event queue was never set up (B22)";
            return vdev.die("SIGSEGV", place);
        }
        Sent::Unmapped => {
            let place = "eventq_enqueue: the session leaked and its memory is unmapped (N1)";
            return vdev.die("SIGSEGV", place);
        }
    };
    let name = vdev.own.session_name(index);
    vdev.log(LogLevel::Error, format!("{name}: {why}"));
}

/// Sends the bit EVENTS_MISSED alone, now that a buffer may be posted (EV off).
pub fn confess_missed(vdev: &mut VdevThread<'_>, index: usize) {
    let full = FullRing::with(vdev.shared.bugs);
    let session = &mut vdev.own.sessions[index];
    if !session.events_missed {
        return;
    }
    let Some(memory) = session.memory.clone() else {
        return;
    };
    let ring = session.ring(EVENTQ.0);
    if ring.is_some_and(|ring| ring.available(&memory, full) > 0) {
        send_event(vdev, index, SlotId(0), EventKind::Missed);
    }
}

fn write_event(
    session: &mut Session,
    full: FullRing,
    code: u32,
    lun: [u8; 2],
    reason: u32,
) -> Sent {
    if session.unmapped {
        return Sent::Unmapped;
    }
    let Some(memory) = session.memory.clone() else {
        return Sent::NoBuffer;
    };
    let Some(ring) = session.ring(EVENTQ.0) else {
        return Sent::NoBuffer;
    };
    let mut head = [0];
    let (count, _) = ring.fetch(&memory, full, &mut head);
    if count == 0 {
        return Sent::NoBuffer;
    }
    let head = head[0];
    let spoiled = if head >= ring.size() {
        Some("head out of range")
    } else {
        match Walk::begin(&memory, ring.table(), ring.size(), head) {
            Err(malformed) => Some(malformed.0),
            Ok(walk) if walk.desc.len < EVENT_SIZE || !walk.holds(EVENT_SIZE) => {
                Some("too short or not in guest memory")
            }
            Ok(walk) => {
                let mut bytes = [0; EVENT_SIZE as usize];
                bytes[0..4].copy_from_slice(&code.to_le_bytes());
                bytes[4..6].copy_from_slice(&lun);
                bytes[12..16].copy_from_slice(&reason.to_le_bytes());
                let written = memory.write_at(&bytes, GuestAddress(walk.desc.addr));
                written.err().map(|_| "not in guest memory")
            }
        }
    };
    let len = if spoiled.is_some() { 0 } else { EVENT_SIZE };
    if !ring.put_used(&memory, head, len) {
        return Sent::Spoiled("the used ring is not in guest memory");
    }
    spoiled.map_or(Sent::Delivered, Sent::Spoiled)
}
