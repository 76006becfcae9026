//! A session lets go of its targets.
//!
//! Sources: `spdk_scsi_dev_free_io_channels` (lib/scsi/dev.c), `destroy_session_poller_cb`
//! (lib/vhost/vhost_scsi.c); fact sheet §1.7.

use scenarios::{CheckId, Inside, Observation, SlotState};

use super::slot::Cause;
use super::thread::VdevThread;
use super::wake::lun_poll_soon;
use crate::devices::Removal;
use crate::handles::{DevHandle, SessionId, SlotId};
use crate::mail::VdevMessage;
use crate::turn::ForeachOp;
use wire::bugs::Bug;

/// `spdk_scsi_dev_free_io_channels`: a session lets go of a device.
pub fn free_channel(vdev: &mut VdevThread<'_>, dev: DevHandle) {
    let bugs = vdev.shared.bugs;
    let Some(device) = vdev.shared.devs.get_mut(dev) else {
        let text = format!(
            "a session let go of SCSI device {}, which is gone",
            dev.index
        );
        vdev.cx.broken(CheckId::I3, text);
        return;
    };
    let number = device.number;
    let Some(lun) = &mut device.lun else {
        return;
    };
    if lun.removed && bugs.has(Bug::UnlinkLunFirst) {
        return;
    }
    if lun.references == 0 {
        let text = format!("device {number}: an io-channel reference too few");
        vdev.cx.broken(CheckId::I4, text);
        return;
    }
    lun.references -= 1;
    if bugs.has(Bug::ChannelNotRefcounted) {
        lun.references = 0;
    }
    if lun.references == 0 {
        lun.channel = None;
        if lun.removal == Removal::Told {
            lun_poll_soon(vdev, dev);
        }
    }
}

/// A session that has stopped lets go of all its targets.
pub fn release_slots(vdev: &mut VdevThread<'_>, index: usize) {
    let bugs = vdev.shared.bugs;
    for slot in SlotId::all() {
        let here = vdev.own.sessions[index].slots[slot.index()];
        if here.state == SlotState::Removed && bugs.has(Bug::KeepTombstoneOnStop) {
            continue;
        }
        vdev.own
            .move_session_slot(&mut vdev.cx, index, slot, Cause::Stopped);
        let held = vdev.own.sessions[index].slots[slot.index()].dev.take();
        let Some(dev) = held else {
            continue;
        };
        free_channel(vdev, dev);
        if here.state == SlotState::Removing && !bugs.has(Bug::StopForgetsRemoving) {
            let mail = &mut vdev.shared.mail;
            vdev.own
                .foreach(mail, vdev.cx.now, ForeachOp::ProcessRemoved, slot);
        }
    }
}

/// The last I/O of a session whose stop had timed out has returned (S13 off).
pub fn drained_at_last(vdev: &mut VdevThread<'_>, id: SessionId) {
    let Some(index) = vdev.own.session_index(id) else {
        return;
    };
    release_slots(vdev, index);
    let controller = vdev.own.id();
    let session = &mut vdev.own.sessions[index];
    session.draining = false;
    vdev.cx.see(Observation::Inside(Inside::SessionStopped {
        controller,
        session: session.id.0,
    }));
    let mail = &mut vdev.shared.mail;
    if session.gone {
        vdev.own.close_session(&mut vdev.cx, mail, index);
    } else if session.starting {
        let start = VdevMessage::Start(id);
        vdev.own.send(mail, vdev.cx.now, start);
    }
}
