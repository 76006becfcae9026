//! What all threads of the target use, and SPDK guards with locks of its own: the mail, the tables of SCSI
//! devices and of bdevs, inflight buffers, and whether the process still lives.
//!
//! Knows no thread's state.

use scenarios::{CheckId, Time};

use crate::bdev::io::{Ended, IoKind};
use crate::bdev::store::StoreId;
use crate::bdev::{Bdev, Bdevs, Waiter};
use crate::devices::Devices;
use crate::dpdk::inflight::Inflights;
use crate::handles::{APP, BdevHandle};
use crate::mail::{AppMessage, Mail};
use wire::bugs::{Bug, Bugs};
use wire::component::Cx;
use wire::message::{Crash, FromTarget, LogLevel, LogLine};

/// What a turn of the target is told.
pub type Out<'a> = Cx<'a, FromTarget>;

#[derive(Clone, Debug)]
pub struct Shared {
    pub bugs: Bugs,
    pub is_dead: bool,
    pub now: Time,
    /// The actor whose turn it is.
    pub running: usize,
    pub mail: Mail,
    pub devs: Devices,
    pub bdevs: Bdevs,
    pub inflight: Inflights,
    /// Requests that a front-end can never learn the fate of (S7 off): no response could be found.
    pub unanswerable: u64,
    /// Where the last read went (X3).
    cursor: Option<StoreId>,
    pub scratch: Scratch,
}

/// Room for the data of a command, kept for the next one.
#[derive(Clone, Debug, Default)]
pub struct Scratch {
    pub data_in: Vec<u8>,
    pub data_out: Vec<u8>,
}

/// The same turn, for a part of it.
pub fn reborrow<'a>(cx: &'a mut Out<'_>) -> Out<'a> {
    Cx {
        now: cx.now,
        rng: cx.rng,
        out: cx.out,
        saw: cx.saw,
    }
}

pub fn log(cx: &mut Out<'_>, level: LogLevel, text: String) {
    cx.out.push(FromTarget::Log(LogLine { level, text }));
}

impl Shared {
    pub fn new(bugs: Bugs, bdevs: Bdevs) -> Self {
        Self {
            bugs,
            is_dead: false,
            now: Time::ZERO,
            running: APP,
            mail: Mail::default(),
            devs: Devices::default(),
            bdevs,
            inflight: Inflights::default(),
            unanswerable: 0,
            cursor: None,
            scratch: Scratch::default(),
        }
    }

    /// The next I/O that the devices have ended by `now`.
    #[inline]
    pub fn pop_ended(&mut self, now: Time) -> Option<Ended> {
        let mut ended = self.bdevs.engine.pop(now)?;
        if ended.kind == IoKind::Read && self.bugs.has(Bug::SharedCursor) {
            let before = std::mem::replace(&mut self.cursor, ended.store);
            ended.store = before.or(ended.store);
        }
        Some(ended)
    }

    /// The modelled process dies; nothing of it acts any more.
    pub fn die(&mut self, cx: &mut Out<'_>, signal: &'static str, place: &'static str) {
        if !self.is_dead {
            self.is_dead = true;
            cx.out.push(FromTarget::Died(Crash { signal, place }));
        }
    }

    /// Guest memory was used that is not there, or not there any more.
    pub fn memory_gone(&mut self, cx: &mut Out<'_>, place: &'static str) {
        cx.broken(CheckId::G4, place.to_owned());
        self.die(cx, "SIGSEGV", place);
    }

    /// Somebody closed a bdev: one that is going, and that nobody has open, is gone.
    pub fn bdev_closed(&mut self, handle: BdevHandle) {
        let still = |bdev: &Bdev| !bdev.going || bdev.is_open();
        if self.bdevs.get(handle).is_none_or(still) {
            return;
        }
        let Some(gone) = self.bdevs.destroy(handle) else {
            return;
        };
        if let Some(under) = gone.kind.base()
            && let Some(base) = self.bdevs.get_mut(under)
        {
            base.tops.retain(|top| *top != handle);
            if base.tops.is_empty() {
                base.claimed = None;
                let (going, name) = (base.going, base.name.clone());
                if going {
                    // The part base goes with its base, and the configuration with it.
                    self.bdevs.splits.retain(|split| split.base != name);
                }
                self.bdev_closed(under);
            }
        }
        for waiter in gone.waiters {
            match waiter {
                Waiter::Call(call) => {
                    let bdev = handle;
                    let gone = AppMessage::BdevGone { bdev, call };
                    self.mail.send_app(self.now, gone);
                }
                Waiter::NvmeDetach(name) => self.mail.nvme_gone(name),
            }
        }
        self.mail.touch(APP);
    }
}
