//! A controller's thread: sessions, rings, tasks, LUNs with an io channel. A turn is the oldest message, or
//! the poller that is due first.
//!
//! Knows the devices, bdevs and mail that all threads share, and no state of the app thread or of DPDK's.

pub mod address;
mod answer;
pub mod chain;
pub mod controller;
mod controlq;
mod datapath;
mod eventq;
mod execute;
pub mod invariants;
mod parse;
mod release;
mod removal;
mod requestq;
mod reset;
pub mod session;
pub mod slot;
mod start_stop;
pub mod task;
pub mod thread;
mod used;
mod visit;
pub mod vring;
mod wake;

use scenarios::Time;

use crate::mail::VdevMessage;
use crate::turn::TargetTurn;
pub use datapath::end_io;
pub use removal::{lun_poll, lun_remove_began};
use thread::VdevThread;
pub use used::signal_all;

pub fn turn(vdev: &mut VdevThread<'_>) -> TargetTurn {
    let ctl = &mut *vdev.own;
    let message_at = ctl.inbox().first().0;
    let rest = ctl.due();
    if message_at != Time::NEVER && message_at <= rest {
        return match ctl.take_message() {
            Some(VdevMessage::Foreach(foreach)) => visit::visit(vdev, foreach),
            Some(VdevMessage::Start(session)) => start_stop::start(vdev, session),
            Some(VdevMessage::Stop(session)) => start_stop::stop(vdev, session),
            Some(VdevMessage::LunRemove(dev)) => lun_remove_began(vdev, dev),
            None => TargetTurn::Idle,
        };
    }
    if ctl.poll_at <= rest {
        return requestq::poll(vdev);
    }
    if let Some(index) = ctl.lun_polls.iter().position(|(at, _)| *at <= rest) {
        let (_, dev) = ctl.lun_polls.remove(index);
        return lun_poll(vdev, dev);
    }
    let mut sessions = ctl.sessions.iter();
    let Some(index) = sessions.position(|session| session.due() <= rest) else {
        return TargetTurn::Idle;
    };
    if ctl.sessions[index].manage_at <= rest {
        controlq::manage(vdev, index)
    } else {
        start_stop::stop_tick(vdev, index)
    }
}
