//! SCSI devices with their LUN 0: who refers to them, what is queued on them, and how they end.
//!
//! Knows no rings. Sources: lib/scsi/{dev,lun}.c; fact sheet §1.1, §1.6, §5.1. Handles carry a
//! generation: SPDK's array entries are used again, and a stale pointer there points to a stranger.

use std::collections::VecDeque;

use scenarios::{CheckId, Inside, Observation, Time};

use super::bdev::{BdevHandle, Bdevs};
use super::mail::{APP, AppMessage, VdevMessage};
use super::scsi::Reservation;
use super::task::TaskRef;
use super::turn::{LunStep, TargetTurn};
use super::{Out, Target};
use wire::bugs::Bug;

/// `SPDK_SCSI_MAX_DEVS`: SCSI devices of a process; one more is "Invalid argument".
pub const DEVICES_MAX: usize = 1024;
/// LUN pollers: outstanding tasks, io channel gone, reset.
pub const LUN_PERIOD: std::time::Duration = std::time::Duration::from_micros(10);

/// Names a SCSI device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DevHandle {
    /// SPDK's id: its place, used again.
    pub index: u16,
    generation: u32,
}

/// A SCSI device.
#[derive(Clone, Debug)]
pub struct Device {
    generation: u32,
    /// Rises with every attach, over the whole target.
    pub number: u32,
    /// The controller it was made for.
    pub vdev: u8,
    /// "Target 3".
    pub name: String,
    /// LUN 0, until it is closed.
    pub lun: Option<Lun>,
    /// It goes when its LUN is closed.
    pub destructing: bool,
}

/// Where a hot-remove is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Removal {
    /// None.
    No,
    /// It waits for tasks.
    Draining,
    /// The controller was told; it waits for the io channel to be freed.
    Told,
    /// It is to be closed on the app thread.
    Closing,
}

/// A LUN.
#[derive(Clone, Debug)]
pub struct Lun {
    /// Its bdev.
    pub bdev: BdevHandle,
    /// It is not found any more (`lun->removed`).
    pub removed: bool,
    /// The next command is told of a new capacity.
    pub resizing: bool,
    /// The controller's thread that owns the io channel.
    pub channel: Option<u8>,
    /// References to the io channel.
    pub references: u32,
    /// Tasks that the bdev has.
    pub outstanding: u32,
    /// Tasks that wait.
    pub pending: VecDeque<TaskRef>,
    /// The reset that the bdev has or that waits for tasks.
    pub reset: Option<TaskRef>,
    /// The bdev has done the reset.
    pub reset_done: bool,
    /// Resets that wait for the one before.
    pub resets: VecDeque<TaskRef>,
    /// Where a hot-remove is.
    pub removal: Removal,
    /// The hot-remove runs on the app thread: there was no io channel when it began.
    pub on_app: bool,
    /// A poller is due for it.
    pub polled: bool,
    /// A session waits for it to be idle.
    pub awaited: bool,
    /// Reservations.
    pub reservation: Reservation,
}

impl Lun {
    /// Nothing is queued or outstanding (`scsi_lun_has_pending_tasks` and the like, all false).
    #[must_use]
    pub fn idle(&self) -> bool {
        self.outstanding == 0
            && self.pending.is_empty()
            && self.reset.is_none()
            && self.resets.is_empty()
    }
}

/// All SCSI devices.
#[derive(Clone, Debug, Default)]
pub struct Devices {
    list: Vec<Option<Device>>,
    generations: u32,
}

impl Devices {
    /// The device, unless the handle is stale.
    #[must_use]
    pub fn get(&self, handle: DevHandle) -> Option<&Device> {
        self.list
            .get(usize::from(handle.index))
            .and_then(Option::as_ref)
            .filter(|dev| dev.generation == handle.generation)
    }

    /// The device, unless the handle is stale.
    pub fn get_mut(&mut self, handle: DevHandle) -> Option<&mut Device> {
        self.list
            .get_mut(usize::from(handle.index))
            .and_then(Option::as_mut)
            .filter(|dev| dev.generation == handle.generation)
    }

    /// The LUN, unless the handle is stale or it was closed.
    pub fn lun(&mut self, handle: DevHandle) -> Option<&mut Lun> {
        self.get_mut(handle).and_then(|dev| dev.lun.as_mut())
    }

    /// All devices, by SPDK's id.
    pub fn all(&self) -> impl Iterator<Item = (usize, &Device)> {
        self.list
            .iter()
            .enumerate()
            .filter_map(|(id, dev)| dev.as_ref().map(|dev| (id, dev)))
    }

    /// `spdk_scsi_dev_construct`: opens the bdev for writing. `None` if the bdev is claimed, goes, or
    /// there are [`DEVICES_MAX`] devices.
    pub fn construct(
        &mut self,
        bdevs: &mut Bdevs,
        bdev: BdevHandle,
        vdev: u8,
        slot: u8,
        number: u32,
    ) -> Option<DevHandle> {
        let index = self
            .list
            .iter()
            .position(Option::is_none)
            .unwrap_or(self.list.len());
        if index >= DEVICES_MAX {
            return None;
        }
        let under = bdevs.get_mut(bdev).filter(|bdev| !bdev.going)?;
        if under.claimed.is_some() {
            return None;
        }
        let handle = DevHandle {
            index: index as u16,
            generation: self.generations,
        };
        self.generations += 1;
        under.luns.push(handle);
        if index == self.list.len() {
            self.list.push(None);
        }
        self.list[index] = Some(Device {
            generation: handle.generation,
            number,
            vdev,
            name: format!("Target {slot}"),
            lun: Some(Lun {
                bdev,
                removed: false,
                resizing: false,
                channel: None,
                references: 0,
                outstanding: 0,
                pending: VecDeque::new(),
                reset: None,
                reset_done: false,
                resets: VecDeque::new(),
                removal: Removal::No,
                on_app: false,
                polled: false,
                awaited: false,
                reservation: Reservation::default(),
            }),
            destructing: false,
        });
        Some(handle)
    }

    /// `spdk_scsi_dev_allocate_io_channels` on a controller's thread. `false`: another thread has
    /// the channel. A device without a LUN has nothing to allocate, and succeeds.
    pub fn take_channel(&mut self, dev: DevHandle, vdev: u8) -> bool {
        let Some(lun) = self.lun(dev) else {
            return true;
        };
        match lun.channel {
            Some(owner) if owner != vdev => false,
            _ => {
                lun.channel = Some(vdev);
                lun.references += 1;
                true
            }
        }
    }

    /// A session waits for the LUN to be idle.
    pub fn note_removing(&mut self, dev: DevHandle) {
        if let Some(lun) = self.lun(dev) {
            lun.awaited = true;
        }
    }

    /// Whether nothing is queued or outstanding on the device.
    #[must_use]
    pub fn idle(&self, dev: DevHandle) -> bool {
        let lun = self.get(dev).and_then(|dev| dev.lun.as_ref());
        lun.is_none_or(Lun::idle)
    }

    /// Tasks queued or outstanding on the device.
    #[must_use]
    pub fn tasks(&self, dev: DevHandle) -> u32 {
        let lun = self.get(dev).and_then(|dev| dev.lun.as_ref());
        lun.map_or(0, |lun| {
            let waiting = lun.pending.len() + lun.resets.len() + usize::from(lun.reset.is_some());
            lun.outstanding + waiting as u32
        })
    }

    fn free(&mut self, dev: DevHandle) {
        if self.get(dev).is_some() {
            self.list[usize::from(dev.index)] = None;
        }
    }
}

impl Target {
    /// `spdk_scsi_dev_free_io_channels`: a session lets go.
    pub fn free_channel(&mut self, cx: &mut Out<'_>, dev: DevHandle) {
        let Some(device) = self.devs.get_mut(dev) else {
            let text = format!(
                "a session let go of SCSI device {}, which is gone",
                dev.index
            );
            cx.broken(CheckId::I3, text);
            return;
        };
        let number = device.number;
        let Some(lun) = &mut device.lun else {
            return;
        };
        if lun.removed && self.dev.has(Bug::UnlinkLunFirst) {
            return;
        }
        if lun.references == 0 {
            let text = format!("device {number}: an io-channel reference too few");
            cx.broken(CheckId::I4, text);
            return;
        }
        lun.references -= 1;
        if self.dev.has(Bug::ChannelNotRefcounted) {
            lun.references = 0;
        }
        if lun.references == 0 {
            lun.channel = None;
            if lun.removal == Removal::Told {
                self.lun_poll_soon(cx.now, dev);
            }
        }
    }

    /// `spdk_scsi_dev_destruct`: the device goes, with its LUN.
    pub fn destruct(&mut self, cx: &mut Out<'_>, dev: DevHandle) {
        let Some(device) = self.devs.get_mut(dev) else {
            let text = format!("SCSI device {} was destructed twice", dev.index);
            cx.broken(CheckId::I3, text);
            return;
        };
        device.destructing = true;
        if device.lun.is_none() {
            self.devs.free(dev);
        } else {
            self.lun_hot_remove(cx, dev);
        }
    }

    /// `scsi_lun_hot_remove`, on the app thread.
    pub fn lun_hot_remove(&mut self, cx: &mut Out<'_>, dev: DevHandle) {
        let needs_channel = self.dev.has(Bug::HotremoveNeedsChannel);
        let Some(device) = self.devs.get_mut(dev) else {
            return;
        };
        let (number, destructing) = (device.number, device.destructing);
        let Some(lun) = device.lun.as_mut().filter(|lun| !lun.removed) else {
            return;
        };
        lun.removed = true;
        cx.see(Observation::Inside(Inside::LunGoing { device: number }));
        if lun.channel.is_none() && needs_channel && !destructing {
            return;
        }
        if let Some(vdev) = lun.channel {
            self.send_vdev(cx.now, usize::from(vdev), VdevMessage::LunRemove(dev));
        } else {
            lun.on_app = true;
            self.lun_remove_began(cx, dev);
        }
    }

    /// `_scsi_lun_hot_remove`: what waits is aborted, what the bdev has is waited for.
    pub fn lun_remove_began(&mut self, cx: &mut Out<'_>, dev: DevHandle) -> TargetTurn {
        let number = self.devs.get(dev).map_or(0, |dev| dev.number);
        let Some(lun) = self.devs.lun(dev) else {
            return TargetTurn::Idle;
        };
        lun.removal = Removal::Draining;
        let pending = std::mem::take(&mut lun.pending);
        for task in pending {
            self.abort(cx, task);
        }
        self.lun_remove_goes_on(cx, dev);
        TargetTurn::Lun {
            device: number,
            step: LunStep::RemoveBegan,
        }
    }

    /// A step of a hot-remove, if it can be taken.
    pub fn lun_remove_goes_on(&mut self, cx: &mut Out<'_>, dev: DevHandle) {
        let skips = self.dev.has(Bug::SkipHotremoveCb);
        let here = self.dev.has(Bug::CloseOnVdevThread);
        let Some(device) = self.devs.get_mut(dev) else {
            return;
        };
        let vdev = usize::from(device.vdev);
        let Some(lun) = &mut device.lun else {
            return;
        };
        if lun.removal == Removal::Draining && lun.idle() {
            lun.removal = Removal::Told;
            if lun.channel.is_some() || !skips {
                self.hot_removed(cx, vdev, dev);
            }
        }
        let Some(lun) = self.devs.lun(dev) else {
            return;
        };
        if lun.removal == Removal::Told && lun.channel.is_none() {
            lun.removal = Removal::Closing;
            if lun.on_app || here {
                self.lun_close(cx, dev);
            } else {
                self.send_app(cx.now, AppMessage::LunClose(dev));
            }
        }
    }

    /// `_scsi_lun_remove`, on the thread that opened the bdev: closes it.
    pub fn lun_close(&mut self, cx: &mut Out<'_>, dev: DevHandle) -> TargetTurn {
        let Some(device) = self.devs.get_mut(dev) else {
            return TargetTurn::Idle;
        };
        let Some(lun) = device.lun.take() else {
            return TargetTurn::Idle;
        };
        let (number, destructing) = (device.number, device.destructing);
        if self.running != APP {
            let text =
                format!("device {number}: its bdev is not closed on the thread that opened it");
            cx.broken(CheckId::I4, text);
        }
        cx.see(Observation::Inside(Inside::LunClosed {
            device: number,
            references: lun.references,
        }));
        if lun.references > 0 {
            let text = format!(
                "device {number}: closed with {} io-channel references",
                lun.references
            );
            cx.broken(CheckId::I4, text);
        }
        if destructing {
            self.devs.free(dev);
        }
        if let Some(bdev) = self.bdevs.get_mut(lun.bdev) {
            bdev.luns.retain(|user| *user != dev);
        } else {
            let text = format!("device {number}: its bdev was gone before it was closed");
            cx.broken(CheckId::I3, text);
        }
        self.bdev_closed(lun.bdev);
        self.retry_soon(cx.now);
        TargetTurn::Lun {
            device: number,
            step: LunStep::Closed,
        }
    }

    /// The LUN's poller looks again at its next tick, on the thread that it runs on.
    pub fn lun_poll_soon(&mut self, now: Time, dev: DevHandle) {
        let Some(device) = self.devs.get_mut(dev) else {
            return;
        };
        let vdev = usize::from(device.vdev);
        let Some(lun) = &mut device.lun else {
            return;
        };
        if std::mem::replace(&mut lun.polled, true) {
            return;
        }
        if lun.on_app && lun.removal != Removal::No {
            self.app_later(now + LUN_PERIOD, AppMessage::LunRemove(dev));
        } else if let Some(ctl) = self.ctl[vdev].as_mut() {
            ctl.lun_polls.push((now + LUN_PERIOD, dev));
        } else {
            // The controller's thread exits, and runs its pollers to their end.
            self.app_later(now + LUN_PERIOD, AppMessage::LunRemove(dev));
        }
    }

    /// A run of the LUN's poller.
    pub fn lun_poll(&mut self, cx: &mut Out<'_>, dev: DevHandle) -> TargetTurn {
        let number = self.devs.get(dev).map_or(0, |dev| dev.number);
        let Some(lun) = self.devs.lun(dev) else {
            return TargetTurn::Idle;
        };
        lun.polled = false;
        if lun.reset_done && lun.outstanding == 0 {
            self.reset_answered(cx, dev);
            self.lun_idle(cx.now, dev);
            return TargetTurn::Lun {
                device: number,
                step: LunStep::ResetDone,
            };
        }
        self.lun_remove_goes_on(cx, dev);
        TargetTurn::Lun {
            device: number,
            step: LunStep::RemoveTold,
        }
    }

    /// Wakes those who wait for the LUN to be idle, if it is.
    pub fn lun_idle(&mut self, now: Time, dev: DevHandle) {
        let Some(device) = self.devs.get_mut(dev) else {
            return;
        };
        let vdev = usize::from(device.vdev);
        let Some(lun) = &mut device.lun else {
            return;
        };
        let reset_waits = lun.reset_done && lun.outstanding == 0;
        let idle = lun.idle();
        let removal_waits = lun.removal == Removal::Draining && idle;
        let awaited = lun.awaited && idle;
        if reset_waits || removal_waits {
            self.lun_poll_soon(now, dev);
        }
        if awaited && let Some(ctl) = self.ctl[vdev].as_mut() {
            for session in &mut ctl.sessions {
                if session.slots.iter().any(|slot| slot.dev == Some(dev)) {
                    session.manage(now);
                }
            }
        }
    }
}
